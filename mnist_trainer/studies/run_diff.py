"""What two runs differ in: their configs, what they were made with, and their results."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnist_trainer.config.load import Difference, differences
from mnist_trainer.errors import UsageError, one_line
from mnist_trainer.reports.table import Column, table_lines
from mnist_trainer.reports.text import figure, interval, percent
from mnist_trainer.storage.find import find_place, latest_run
from mnist_trainer.storage.run_folder import RUNS
from mnist_trainer.studies.run_summary import RunSummary, read_run, read_runs
from mnist_trainer.studies.run_table import ACCURACIES, LOSSES, Table, escape_line

RESULTS = (
    "status",
    "stop_reason",
    "epochs",
    "best_epoch",
    "val_loss",
    "val_accuracy",
    "test_loss",
    "test_accuracy",
    "test_interval",
    "seconds",
    "parameters",
)


@dataclass(frozen=True)
class Comparison:
    """Two runs; `config` is None where one of the configs is not known."""

    first: RunSummary
    second: RunSummary
    config: tuple[Difference, ...] | None
    made_with: tuple[Difference, ...]
    results: tuple[Difference, ...]

    def to_json(self) -> dict[str, Any]:
        """Pairs by key under `config` (null where one is not known), `made_with` and `results`."""
        parts = {"config": self.config, "made_with": self.made_with, "results": self.results}
        return {
            "runs": [str(run.path) for run in (self.first, self.second)],
            **{name: None if part is None else {key: pair for key, *pair in part} for name, part in parts.items()},
            "losses_comparable": self.are_losses_comparable,
        }

    @property
    def are_losses_comparable(self) -> bool:
        """Whether both losses are the same quantity."""
        return self.first.loss is not None and self.first.loss == self.second.loss and self.have_one_task

    @property
    def have_one_task(self) -> bool:
        """Whether both are about the same data set and classes, so that accuracies can be compared."""
        return self.first.task == self.second.task


def compare(first: RunSummary, second: RunSummary) -> Comparison:
    """What the two differ in; of the results, all that one of them has."""
    results = (Difference(key, getattr(first, key), getattr(second, key)) for key in RESULTS)
    return Comparison(
        first,
        second,
        tuple(differences(first.config, second.config)) if first.config and second.config else None,
        tuple(differences(first.made_with, second.made_with)),
        tuple(result for result in results if result[1:] != (None, None)),
    )


def find_run(wanted: str, place: Path) -> RunSummary:
    """The run in the folder `wanted` (see `find_place`), `latest`, or that has this folder or name below `place`.

    Raises `UsageError` if there is none, or more than one.
    """
    for path in (Path(wanted), place / wanted, find_place(wanted)):
        if wanted and os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises on long texts
            return read_run(path)
    if wanted == "latest":
        return read_run(latest_run(place).path)
    is_file = os.path.isfile(wanted)  # noqa: PTH113 - as above
    found = [] if is_file and not place.is_dir() else [run for run in read_runs(place) if run.name == wanted]
    if len(found) == 1:
        return found[0]
    if found:
        folders = ", ".join(run.folder for run in found)
        raise UsageError(f"{place} has {len(found)} runs of the name {one_line(wanted)}; name a folder: {folders}.")
    if is_file:
        raise UsageError(f"{one_line(wanted)} is a file. Name the folder of a run, or a run's name.")
    places = f"here or in {place}" if place == RUNS else f"here, in {place} or in {RUNS}"
    raise UsageError(f"There is no run {one_line(wanted)}: neither a folder, {places}, nor a name in {place}.")


def difference_table(found: Comparison, width: int | None = None) -> Table:
    """The differences as a table with a column for each run."""
    runs = (found.first, found.second)
    heads = [run.folder if found.first.folder != found.second.folder else escape_line(str(run.path)) for run in runs]
    columns = [Column(""), *(Column(head, least=12) for head in heads)]
    rows = [*_config_rows(found), *_rows("made with", found.made_with), *_results(found)]
    lines, _ = table_lines(columns, rows, width)
    notes = [f"{run.folder}: {'; '.join(map(escape_line, run.problems))}" for run in runs if run.problems]
    if found.first.loss is None or found.first.loss != found.second.loss:
        kinds = " and ".join(escape_line(run.loss or "unknown") for run in runs)
        notes.insert(0, f"The losses can't be compared: {kinds}.")
    if not found.have_one_task:
        tasks = " and ".join(run.task or "unknown" for run in runs)
        notes.insert(0, f"Neither accuracies nor losses can be compared: {tasks}.")
    return Table(lines, notes)


def _config_rows(found: Comparison) -> Iterator[Sequence[str]]:
    if found.config is None:
        yield ("config", *("unknown" if not run.config else "known" for run in (found.first, found.second)))
    elif not found.config:
        yield ("config", "the same", "the same")
    else:
        yield from _rows("config", found.config)


def _rows(head: str, found: Sequence[Difference]) -> Iterator[Sequence[str]]:
    if found:
        yield (head, "", "")
    for key, first, second in found:
        yield (f"  {key}", _format(first), _format(second))


def _results(found: Comparison) -> Iterator[Sequence[str]]:
    yield ("results", "", "")
    for key, *values in found.results:
        mark = " (another loss)" if key in LOSSES and not found.are_losses_comparable else ""
        mark = " (another task)" if key in ACCURACIES and not found.have_one_task else mark
        yield (f"  {key}{mark}", *(_result(key, value) for value in values))


def _result(key: str, value: Any) -> str:
    match key:
        case "val_loss" | "test_loss":
            return figure(value)
        case "val_accuracy" | "test_accuracy":
            return percent(value)
        case "test_interval":
            return interval(value)
        case "seconds" if value is not None:
            return f"{value:,.1f}"
        case "parameters" if value is not None:
            return f"{value:,}"
        case _:
            return _format(value)


def _format(value: Any) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return str(value).lower()
        case Mapping():
            return "{" + ", ".join(f"{key}: {_format(inner)}" for key, inner in value.items()) + "}"
        case list():
            return f"[{', '.join(map(_format, value))}]"
        case _:
            return escape_line(str(value))
