"""Compare two runs: their configs, the versions and the device they were made with, and their results."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnist_trainer.config.load import Difference, differences
from mnist_trainer.errors import UsageError, one_line
from mnist_trainer.reports.text import Column, table_lines
from mnist_trainer.storage.run_folder import RUNS, find_path, latest_run
from mnist_trainer.studies.run_summary import RunSummary, read_run, read_runs
from mnist_trainer.studies.run_table import ACCURACIES, LOSSES, Table, format_problems, format_value

RESULTS = (
    *("status", "stop_reason", "epochs", "best_epoch", "val_loss", "val_accuracy"),
    *("test_loss", "test_accuracy", "test_interval", "seconds", "parameters"),
)


@dataclass(frozen=True)
class Comparison:
    """Two runs and their differences; `config` is None if one of the configs is not known."""

    runs: tuple[RunSummary, RunSummary]
    config: list[Difference] | None
    made_with: list[Difference]
    results: list[Difference]

    @property
    def have_one_task(self) -> bool:
        """Whether both have the same data set and classes, so that accuracies can be compared."""
        return len({run.task for run in self.runs}) == 1

    @property
    def have_one_loss(self) -> bool:
        """Whether the kind of both losses is known and the same."""
        return len({run.loss for run in self.runs}) == 1 and self.runs[0].loss is not None

    def to_json(self) -> dict[str, Any]:
        """Return pairs by key under `config` (null if one is not known), `made_with` and `results`."""
        parts = {"config": self.config, "made_with": self.made_with, "results": self.results}
        return {
            "runs": [str(run.path) for run in self.runs],
            **{name: None if part is None else {key: pair for key, *pair in part} for name, part in parts.items()},
            "losses_comparable": self.have_one_loss and self.have_one_task,
        }


def compare(first: RunSummary, second: RunSummary) -> Comparison:
    """Return the differences of two runs; of the results, all that one of them has."""
    config = list(differences(first.config, second.config)) if first.config and second.config else None
    results = [Difference(key, getattr(first, key), getattr(second, key)) for key in RESULTS]
    known = [result for result in results if result[1:] != (None, None)]
    return Comparison((first, second), config, list(differences(first.made_with, second.made_with)), known)


def find_summary(wanted: str, folder: Path) -> RunSummary:
    """Return the run that `wanted` names: its folder (see `find_path`), `latest`, or its name in `folder`.

    Raises `UsageError` if there is none, or more than one.
    """
    for path in (Path(wanted), folder / wanted, find_path(wanted)):
        if wanted and os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises on long texts
            return read_run(path)
    if wanted == "latest":
        return read_run(latest_run(folder).path)
    is_file = os.path.isfile(wanted)  # noqa: PTH113 - as above
    found = [] if is_file and not folder.is_dir() else [run for run in read_runs(folder) if run.name == wanted]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(run.folder for run in found)
        raise UsageError(f"{folder} has {len(found)} runs of the name {one_line(wanted)}; name a folder: {names}.")
    if is_file:
        raise UsageError(f"{one_line(wanted)} is a file. Name the folder of a run, or a run's name.")
    where = f"here or in {folder}" if folder == RUNS else f"here, in {folder} or in {RUNS}"
    raise UsageError(f"There is no run {one_line(wanted)}: neither a folder, {where}, nor a name in {folder}.")


def difference_table(found: Comparison, width: int | None = None) -> Table:
    """Return the differences as a table with a column for each run."""
    names = [run.folder for run in found.runs]
    heads = names if names[0] != names[1] else [one_line(str(run.path), 300) for run in found.runs]
    lines, _ = table_lines([Column(""), *(Column(head, least=12) for head in heads)], list(_rows(found)), width)
    notes = []
    if not found.have_one_task:
        tasks = " and ".join(run.task or "unknown" for run in found.runs)
        notes.append(f"Neither accuracies nor losses can be compared: {tasks}.")
    if not found.have_one_loss:
        kinds = " and ".join(format_value("", run.loss or "unknown") for run in found.runs)
        notes.append(f"The losses can't be compared: {kinds}.")
    return Table(lines, notes + [f"{run.folder}: {format_problems(run)}" for run in found.runs if run.problems])


def _rows(found: Comparison) -> Iterator[Sequence[str]]:
    """Yield the rows of the table. The names of metrics that can't be compared have a remark."""
    is_comparable = found.have_one_loss and found.have_one_task
    remarks = {} if is_comparable else dict.fromkeys(LOSSES, " (another loss)")
    remarks |= {} if found.have_one_task else dict.fromkeys(ACCURACIES, " (another task)")
    if found.config is None:
        yield ("config", *("known" if run.config else "unknown" for run in found.runs))
    elif not found.config:
        yield ("config", "the same", "the same")
    for head, part in (("config", found.config), ("made with", found.made_with), ("results", found.results)):
        if part:
            yield (head, "", "")
        for key, *values in part or []:
            yield (f"  {key}{remarks.get(key, '')}", *(format_value(key, value) for value in values))
