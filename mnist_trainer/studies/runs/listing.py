"""Runs as a table, with the notes that belong to it."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from mnist_trainer.config.document import printable
from mnist_trainer.reports.table import Column, table_lines
from mnist_trainer.reports.text import figure, interval, percent
from mnist_trainer.studies.runs.selection import is_mixed
from mnist_trainer.studies.runs.summary import DAMAGED, KILLED, RunSummary

if TYPE_CHECKING:
    from mnist_trainer.reports.overlay import Curve

COLUMNS = (
    Column("time", least=11, keeps_end=True, rank=1),
    Column("name", least=12),
    Column("model", least=12, rank=7),
    Column("data", least=6, rank=9),
    Column("epochs", right=True, rank=2),
    Column("best", right=True, rank=5),
    Column("val_loss", right=True, rank=4),
    Column("val_acc", right=True),
    Column("test_acc", right=True),
    Column("interval", right=True, rank=8),
    Column("seconds", right=True, rank=6),
    Column("status"),
    Column("folder", rank=10),
)
"""Of the table; those with a high rank are left out first on a narrow terminal."""

SERIES = {
    "seeds": "Of seeds: the means, and the 95 % interval of the mean.",
    "sweep": "Of trials: the best one by validation; trials.csv in its folder has all.",
}
"""What the figures of several runs are."""

SILENT_MINUTES = 10
"""A run that says running, and wrote nothing for so long, may be a dead one."""


class Table(NamedTuple):
    """Aligned lines, the heads first, and the notes that belong below them."""

    lines: list[str]
    notes: list[str]


def table(runs: Sequence[RunSummary], width: int | None = None) -> Table:
    """The runs as a table of at most `width` characters; without one every column is whole."""
    marks = _marks(runs)
    lines, left_out = table_lines(COLUMNS, [_cells(run, marks) for run in runs], width)
    notes = [] if not marks or "val_loss" in left_out else [_legend(marks)]
    notes += [about for kind, about in SERIES.items() if any(run.kind == kind for run in runs)]
    notes += [note for run in runs for note in _notes(run)]
    return Table(lines, [*notes, *([f"Not shown, for want of width: {', '.join(left_out)}."] if left_out else [])])


def order_notes(runs: Sequence[RunSummary], key: str | None) -> list[str]:
    """What to know of an order by `key`."""
    mixed = f"{key} is not the same figure in all these runs: their order holds within one kind of loss."
    return [mixed] if is_mixed(runs, key) else []


def labels(runs: Sequence[RunSummary]) -> list[str]:
    """What to call each run among the others: its name, or its folder where another has the same name."""
    names = Counter(run.name for run in runs)
    return [printable_line(run.name) if names[run.name] == 1 else run.folder for run in runs]


def curves(runs: Sequence[RunSummary]) -> tuple[list[Curve], list[str]]:
    """The curves of the runs that have any, and what the others are called."""
    from mnist_trainer.reports.overlay import Curve

    named = list(zip(labels(runs), runs, strict=True))
    drawn = [Curve(label, printable_line(run.loss or "unknown"), run.rows) for label, run in named if run.rows]
    return drawn, [label for label, run in named if not run.rows]


def _cells(run: RunSummary, marks: Mapping[str, str]) -> tuple[str, ...]:
    began = "-" if run.started_at is None else f"{run.started_at.astimezone():%Y-%m-%d %H:%M}"
    some = "" if run.members is None else f" ({run.members} {'trials' if run.kind == 'sweep' else 'seeds'})"
    mark = f" {marks[run.loss]}" if run.loss and run.loss in marks and run.val_loss is not None else ""
    done = "-" if run.epochs is None else str(run.epochs)
    return (
        began,
        printable_line(run.name) + some,
        printable_line(run.model or "-"),
        printable(run.data or "-"),
        done if run.planned_epochs is None else f"{done}/{run.planned_epochs}",
        "-" if run.best_epoch is None else str(run.best_epoch),
        figure(run.val_loss) + mark,
        percent(run.val_accuracy),
        percent(run.test_accuracy),
        interval(run.test_interval),
        "-" if run.seconds is None else f"{run.seconds:,.1f}",
        _status(run),
        run.folder,
    )


def _status(run: RunSummary) -> str:
    status = printable(run.status or "-", 20)
    if run.status == "running" and run.started_at is not None:
        began = run.started_at.astimezone()
        today = began.date() == datetime.now().date()
        status = f"running since {began:{'%H:%M' if today else '%m-%d'}}"
    elif run.status == "failed" and run.stop_reason:
        status = f"failed ({printable(run.stop_reason.removesuffix('Error'), 20)})"
    return f"{status}, {DAMAGED}" if run.problems and run.status != DAMAGED else status


def _marks(runs: Sequence[RunSummary]) -> dict[str, str]:
    """A letter for each kind of loss, if there are several."""
    kinds = dict.fromkeys(run.loss for run in runs if run.loss is not None and run.val_loss is not None)
    letters = [chr(ord("a") + index) if index < 26 else f"a{index}" for index in range(len(kinds))]
    return dict(zip(kinds, letters, strict=True)) if len(kinds) > 1 else {}


def _legend(marks: Mapping[str, str]) -> str:
    kinds = "; ".join(f"{letter} {printable(kind, 80)}" for kind, letter in marks.items())
    return f"Losses with different letters can't be compared: {kinds}."


def _notes(run: RunSummary) -> Iterator[str]:
    if run.problems:
        yield f"{run.folder}: {'; '.join(map(printable_line, run.problems))}"
    if run.status in (KILLED, "interrupted") and run.kind != "sweep":
        command = f"mnist-train --resume {shlex.quote(printable_line(str(run.path)))}"
        yield f"{run.folder} was {run.status}. Go on with: {command}"
    if (silence := _silence(run)) > SILENT_MINUTES:
        yield f"{run.folder}: wrote nothing for {_duration(silence)}; if its process is dead, it will not go on."


def printable_line(text: str) -> str:
    """`text` without what would upset a terminal."""
    return printable(text, 300)


def _silence(run: RunSummary) -> float:
    """Minutes since a running run wrote anything."""
    return 0.0 if run.written_at is None else (datetime.now(UTC) - run.written_at).total_seconds() / 60


def _duration(minutes: float) -> str:
    for size, unit in ((24 * 60, "days"), (60, "hours")):
        if minutes >= 2 * size:
            return f"{minutes / size:.0f} {unit}"
    return f"{minutes:.0f} minutes"
