"""Runs as a table: filtered, sorted and formatted, with notes below it; and the learning curves of runs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple

from mnist_trainer.config.messages import field_at, nearest
from mnist_trainer.config.yaml_reader import SourceLocation, read_text
from mnist_trainer.errors import UsageError, one_line, shell_quote
from mnist_trainer.reports.text import Column, interval, loss_text, percent, table_lines
from mnist_trainer.storage.run_folder import RunFolder
from mnist_trainer.studies.run_summary import DAMAGED, KILLED, Row, RunSummary, read_metrics

if TYPE_CHECKING:
    from mnist_trainer.reports.curves import RunCurve

_NO_KEYS = ("path", "loss", "problems", "made_with", "config", "rows")
SORT_KEYS = {
    "folder": "folder",
    **{field.name: field.name for field in fields(RunSummary) if field.name not in _NO_KEYS},
    "time": "started_at",
    "best": "best_epoch",
    "val_acc": "val_accuracy",
    "test_acc": "test_accuracy",
    "interval": "test_interval",
}
"""The columns by which runs can be sorted and filtered, besides config keys, and their attributes of `RunSummary`."""

LOSSES = ("val_loss", "test_loss")
ACCURACIES = ("val_accuracy", "test_accuracy", "test_interval")
BY_VALIDATION = {"test_loss": "val_loss", "test_accuracy": "val_accuracy", "test_interval": "val_accuracy"}
"""The metric by which runs without test metrics are sorted instead."""

TABLE_COLUMNS = (
    Column("folder"),
    Column("time", least=11, keeps_end=True, rank=10),
    Column("name", least=12, rank=6),
    Column("model", least=12, rank=7),
    Column("data", least=6, rank=9),
    *(Column(head, right=True, rank=rank) for head, rank in (("epochs", 2), ("best", 3), ("val_loss", 4))),
    *(Column(head, right=True) for head in ("val_acc", "test_acc")),
    *(Column(head, right=True, rank=rank) for head, rank in (("interval", 8), ("seconds", 5))),
    Column("status"),
)
"""On a narrow terminal, columns with a high rank are left out first. Folders are never cut."""

FORMATS: Mapping[str, Callable[[Any], str]] = {
    **dict.fromkeys(LOSSES, loss_text),
    **dict.fromkeys(ACCURACIES, percent),
    "test_interval": interval,
    "seconds": "{:,.1f}".format,
    "parameters": "{:,}".format,
}

SERIES = {
    "seeds": "Metrics of a series are means over its seeds, with the 95 % interval of the mean.",
    "sweep": "Metrics of a sweep are those of its best trial by validation; trials.csv in its folder has all trials.",
}
"""The notes on what the metrics of several runs are, by kind."""

MEMBERS = {"seeds": "seeds", "sweep": "trials"}
"""What the runs of each kind are called."""

SILENT_MINUTES = 10
"""A running run that has written nothing for longer may be dead."""


class Table(NamedTuple):
    """Aligned lines, the heads first, and the notes that belong below them."""

    lines: list[str]
    notes: list[str]


# --- selection ---


def value_of(run: RunSummary, key: str) -> Any:
    """Return the value of a column or of a key of the config (`optimizer.lr`); for a section, its `name` key."""
    if key in SORT_KEYS:
        return getattr(run, SORT_KEYS[key])
    value: Any = run.config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value.get("name") if isinstance(value, Mapping) else value


def filtered(runs: Sequence[RunSummary], conditions: Sequence[str]) -> list[RunSummary]:
    """Return the runs that fulfil every condition `KEY=VALUE`.

    For text the first word is enough, and `*` matches anything. Raises `UsageError` for an unknown key, or a condition
    of another form.
    """
    tests = [_condition(runs, text) for text in conditions]
    return [run for run in runs if all(test(run) for test in tests)]


def _condition(runs: Sequence[RunSummary], text: str) -> Callable[[RunSummary], bool]:
    """Return a function that says whether a run fulfils the condition `text`."""
    key, equals, written = text.partition("=")
    if not equals or not key:
        raise UsageError(f"--filter {one_line(text)}: write KEY=VALUE, as in optimizer.name=adam or status=finished.")
    _check_key(runs, key)
    read = read_text(written, SourceLocation(override=1))
    wanted = written if read.problems else read.data

    def matches(run: RunSummary) -> bool:
        value = value_of(run, key)
        if isinstance(value, str):
            return fnmatchcase(value, written) or value.startswith(f"{written} ")
        return bool(value == wanted) and isinstance(value, bool) == isinstance(wanted, bool)

    return matches


def ordered(runs: Sequence[RunSummary], key: str | None, reverse: bool = False) -> list[RunSummary]:
    """Return the runs sorted by `key`, or in their order if it is None. Raises `UsageError` for an unknown key.

    Runs without a value come last; if `key` is a test metric, these are sorted by the same metric of the validation.
    """
    if key is None:
        return list(reversed(runs) if reverse else runs)
    _check_key(runs, key)
    known = [run for run in runs if value_of(run, key) is not None]
    unknown = [run for run in runs if value_of(run, key) is None]
    if instead := BY_VALIDATION.get(SORT_KEYS.get(key, "")):
        unknown = ordered(unknown, instead, reverse)
    return sorted(known, key=lambda run: _sort_key(value_of(run, key)), reverse=reverse) + unknown


def _sort_key(value: Any) -> tuple[bool, Any]:
    """Sort numbers, times and intervals before text: a config key may hold `auto` or 3."""
    return (False, value) if isinstance(value, int | float | datetime | tuple) else (True, str(value))


def _check_key(runs: Sequence[RunSummary], key: str) -> None:
    """Raise `UsageError` if `key` is neither a column nor a key of a config."""
    if key in SORT_KEYS or (key and field_at(tuple(key.split("."))) is not None):
        return
    near = nearest(key, {*SORT_KEYS, *(name for run in runs for name in _keys(run.config))})
    hint = f"Did you mean {near}?" if near else "A column is test_acc, as the table's heads say; a key is optimizer.lr."
    raise UsageError(f"{one_line(key)} is neither a column nor a key of a config. {hint}")


def _keys(config: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Yield every key of a config, such as `optimizer` and `optimizer.lr`."""
    for key, value in config.items():
        yield f"{above}{key}"
        if isinstance(value, Mapping):
            yield from _keys(value, f"{above}{key}.")


def order_notes(runs: Sequence[RunSummary], key: str | None) -> list[str]:
    """Return a note if `key` is a loss or an accuracy that can't be compared among all `runs`."""
    column, known = SORT_KEYS.get(key or ""), [run for run in runs if value_of(run, key or "") is not None]
    kinds = {(run.task, run.loss if column in LOSSES else None) for run in known}
    if column not in (*LOSSES, *ACCURACIES) or len(kinds) < 2:
        return []
    within = "one kind of loss" if len({run.task for run in runs}) == 1 else "one data set"
    return [f"{key} is not the same metric in all these runs: their order is valid only within {within}."]


# --- the table ---


def table(runs: Sequence[RunSummary], width: int | None = None) -> Table:
    """Return the runs as a table of at most `width` characters; without a width every column is whole."""
    losses = _letters([run.loss for run in runs if run.val_loss is not None], "a")
    tasks = _letters([run.task for run in runs if run.val_accuracy is not None or run.test_accuracy is not None], "A")
    lines, left_out = table_lines(TABLE_COLUMNS, [_cells(run, losses, tasks) for run in runs], width)
    notes = [_legend("Accuracies and losses", tasks)] if tasks else []
    notes += [_legend("Losses", losses)] if losses and "val_loss" not in left_out else []
    notes += [about for kind, about in SERIES.items() if any(run.kind == kind for run in runs)]
    notes += [note for run in runs for note in _notes(run)]
    notes += [f"Not shown, because the terminal is too narrow: {', '.join(left_out)}."] if left_out else []
    return Table(lines, notes)


def format_value(key: str, value: Any) -> str:
    """Return the value of a column or a config key as text."""
    if value is None:
        return "-"
    if key in FORMATS:
        return FORMATS[key](value)
    return one_line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), 300)


def _cells(run: RunSummary, losses: Mapping[str, str], tasks: Mapping[str, str]) -> tuple[str, ...]:
    """Return the row of a run; letters mark losses and tasks that can't be compared."""

    def cell(key: str, letter: str = "") -> str:
        text = format_value(key, getattr(run, key))
        return f"{text} {letter}".rstrip() if text != "-" else text

    loss, task = losses.get(run.loss or "", ""), tasks.get(run.task or "", "")
    return (
        run.folder,
        f"{run.started_at.astimezone():%Y-%m-%d %H:%M}" if run.started_at else "-",
        cell("name", f"({run.members} {MEMBERS.get(run.kind, 'runs')})" if run.members is not None else ""),
        cell("model"),
        run.task or "-",
        cell("epochs") + (f"/{run.planned_epochs}" if run.planned_epochs is not None else ""),
        cell("best_epoch"),
        cell("val_loss", loss),
        cell("val_accuracy", task),
        cell("test_accuracy", task),
        cell("test_interval"),
        cell("seconds"),
        _status(run),
    )


def _status(run: RunSummary) -> str:
    """Return the status, with the time since when a run is running, and why it failed."""
    status = one_line(run.status or "-", 20)
    if run.status == "running" and run.started_at is not None:
        started = run.started_at.astimezone()
        status = f"running since {started:{'%H:%M' if started.date() == datetime.now().date() else '%m-%d'}}"
    elif run.status == "failed" and run.stop_reason:
        status = f"failed ({one_line(run.stop_reason.removesuffix('Error'), 20)})"
    return f"{status}, {DAMAGED}" if run.problems and run.status != DAMAGED else status


def _letters(kinds: Iterable[str | None], first: str) -> dict[str, str]:
    """Return a letter for each kind, from `first` on; empty if all are of one kind."""
    found = [kind for kind in dict.fromkeys(kinds) if kind is not None]
    letters = [chr(ord(first) + index) if index < 26 else f"{first}{index}" for index in range(len(found))]
    return dict(zip(found, letters, strict=True)) if len(found) > 1 else {}


def _legend(metrics: str, letters: Mapping[str, str]) -> str:
    kinds = "; ".join(f"{letter} {one_line(kind, 80)}" for kind, letter in letters.items())
    return f"{metrics} with different letters can't be compared: {kinds}."


def _notes(run: RunSummary) -> Iterator[str]:
    """Yield what is damaged in a run's folder, how to resume the run, and whether it may be dead."""
    if run.problems:
        yield f"{run.folder}: {format_problems(run)}"
    if run.status in (KILLED, "interrupted") and run.kind != "sweep":
        command = f"mnist-train --resume {shell_quote(one_line(str(run.path), 300))}"
        yield f"{run.folder} was {run.status}. Resume with: {command}"
    minutes = (datetime.now(UTC) - run.written_at).total_seconds() / 60 if run.written_at else 0.0
    if minutes > SILENT_MINUTES:
        units = ((24 * 60, "days"), (60, "hours"), (1, "minutes"))
        silent = next(f"{minutes / size:.0f} {unit}" for size, unit in units if minutes >= 2 * size)
        yield f"{run.folder}: has written nothing for {silent}; its process may be dead."


def format_problems(run: RunSummary) -> str:
    """Return what is damaged in the run's folder, in one line."""
    return "; ".join(one_line(problem, 300) for problem in run.problems)


# --- curves ---


def labels(runs: Sequence[RunSummary]) -> list[str]:
    """Return a label for each run: its name, or its folder if another run has the same name."""
    names = Counter(run.name for run in runs)
    return [one_line(run.name, 300) if names[run.name] == 1 else run.folder for run in runs]


def curves(runs: Sequence[RunSummary]) -> tuple[list[RunCurve], list[str]]:
    """Return the curves of the runs, and the labels of runs without any; the curves of a series share a label."""
    from mnist_trainer.reports.curves import RunCurve

    drawn: list[RunCurve] = []
    left_out = []
    for label, run in zip(labels(runs), runs, strict=True):
        members = [rows for rows in _member_rows(run) if rows]
        name = label if run.kind == "run" else f"{label}: {len(members)} {MEMBERS.get(run.kind, 'runs')}"
        loss = one_line(run.loss or "unknown", 300)
        drawn += [RunCurve(name, loss, rows, run.task or "unknown") for rows in members]
        left_out += [] if members else [label]
    return drawn, left_out


def _member_rows(run: RunSummary) -> Iterable[Sequence[Row]]:
    """Return the rows of each run of a series, of each trial of a sweep, or of the run itself."""
    if run.kind == "seeds":
        return [read_metrics(RunFolder(path).metrics, []) for path in sorted(run.path.glob("seed-*"))]
    if run.kind != "sweep":
        return [run.rows]
    trials: dict[float | None, list[Row]] = {}
    for row in read_metrics(run.path / "curves.csv", []):
        trials.setdefault(row.pop("trial", None), []).append(row)
    return trials.values()
