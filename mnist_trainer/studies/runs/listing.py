"""Runs as a table, with the notes that belong to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from mnist_trainer.config.document import printable
from mnist_trainer.errors import shell_quote
from mnist_trainer.reports.table import Column, table_lines
from mnist_trainer.reports.text import figure, interval, percent
from mnist_trainer.storage.run_folder import RunFolder
from mnist_trainer.studies.runs.records import Row, read_metrics, read_trials
from mnist_trainer.studies.runs.selection import is_mixed
from mnist_trainer.studies.runs.summary import DAMAGED, KILLED, RunSummary

if TYPE_CHECKING:
    from mnist_trainer.reports.overlay import Curve

TABLE_COLUMNS = (
    Column("folder"),
    Column("time", least=11, keeps_end=True, rank=10),
    Column("name", least=12, rank=6),
    Column("model", least=12, rank=7),
    Column("data", least=6, rank=9),
    Column("epochs", right=True, rank=2),
    Column("best", right=True, rank=3),
    Column("val_loss", right=True, rank=4),
    Column("val_acc", right=True),
    Column("test_acc", right=True),
    Column("interval", right=True, rank=8),
    Column("seconds", right=True, rank=5),
    Column("status"),
)
"""Of the table; those with a high rank are left out first on a narrow terminal, and folders are always whole."""

SERIES = {
    "seeds": "Of seeds: the means, and the 95 % interval of the mean.",
    "sweep": "Of trials: the best one by validation; trials.csv in its folder has all.",
}
"""What the figures of several runs are."""

MEMBERS = {"seeds": "seeds", "sweep": "trials"}
"""What the runs of a series are called."""

SILENT_MINUTES = 10
"""A run that says running, and wrote nothing for so long, may be a dead one."""


class Table(NamedTuple):
    """Aligned lines, the heads first, and the notes that belong below them."""

    lines: list[str]
    notes: list[str]


def table(runs: Sequence[RunSummary], width: int | None = None) -> Table:
    """The runs as a table of at most `width` characters; without one every column is whole."""
    losses = _marks([run.loss for run in runs if run.val_loss is not None], "a")
    tasks = _marks([run.task for run in runs if run.val_accuracy is not None or run.test_accuracy is not None], "A")
    lines, left_out = table_lines(TABLE_COLUMNS, [_cells(run, losses, tasks) for run in runs], width)
    notes = [_legend("Accuracies and losses", tasks)] if tasks else []
    notes += [_legend("Losses", losses)] if losses and "val_loss" not in left_out else []
    notes += [about for kind, about in SERIES.items() if any(run.kind == kind for run in runs)]
    notes += [note for run in runs for note in _notes(run)]
    return Table(lines, [*notes, *([f"Not shown, for want of width: {', '.join(left_out)}."] if left_out else [])])


def order_notes(runs: Sequence[RunSummary], key: str | None) -> list[str]:
    """What to know of an order by `key`."""
    within = "one kind of loss" if len({run.task for run in runs}) == 1 else "one data set"
    mixed = f"{key} is not the same figure in all these runs: their order holds within {within}."
    return [mixed] if is_mixed(runs, key) else []


def labels(runs: Sequence[RunSummary]) -> list[str]:
    """What to call each run among the others: its name, or its folder where another has the same name."""
    names = Counter(run.name for run in runs)
    return [escape_line(run.name) if names[run.name] == 1 else run.folder for run in runs]


def curves(runs: Sequence[RunSummary]) -> tuple[list[Curve], list[str]]:
    """The curves of the runs that have any, and what the others are called; those of a series share their label."""
    from mnist_trainer.reports.overlay import Curve

    drawn: list[Curve] = []
    left_out = []
    for label, run in zip(labels(runs), runs, strict=True):
        members = [rows for rows in _member_rows(run) if rows]
        name = label if run.kind == "run" else f"{label}: {len(members)} {MEMBERS.get(run.kind, 'runs')}"
        drawn += [Curve(name, escape_line(run.loss or "unknown"), rows, run.task or "unknown") for rows in members]
        left_out += [] if members else [label]
    return drawn, left_out


def _member_rows(run: RunSummary) -> list[Sequence[Row]]:
    """Return the rows of each run of a series, of each trial of a sweep, or of the run itself."""
    match run.kind:
        case "seeds":
            return [read_metrics(RunFolder(path), []) for path in sorted(run.path.glob("seed-*"))]
        case "sweep":
            return read_trials(run.path / "curves.csv")
        case _:
            return [run.rows]


def _cells(run: RunSummary, losses: Mapping[str, str], tasks: Mapping[str, str]) -> tuple[str, ...]:
    began = "-" if run.started_at is None else f"{run.started_at.astimezone():%Y-%m-%d %H:%M}"
    some = "" if run.members is None else f" ({run.members} {MEMBERS.get(run.kind, 'runs')})"
    done = "-" if run.epochs is None else str(run.epochs)
    return (
        run.folder,
        began,
        escape_line(run.name) + some,
        escape_line(run.model or "-"),
        run.task or "-",
        done if run.planned_epochs is None else f"{done}/{run.planned_epochs}",
        "-" if run.best_epoch is None else str(run.best_epoch),
        _marked(figure(run.val_loss), losses, run.loss),
        _marked(percent(run.val_accuracy), tasks, run.task),
        _marked(percent(run.test_accuracy), tasks, run.task),
        interval(run.test_interval),
        "-" if run.seconds is None else f"{run.seconds:,.1f}",
        _status(run),
    )


def _marked(text: str, marks: Mapping[str, str], kind: str | None) -> str:
    return f"{text} {marks[kind]}" if kind is not None and kind in marks and text != "-" else text


def _status(run: RunSummary) -> str:
    status = printable(run.status or "-", 20)
    if run.status == "running" and run.started_at is not None:
        began = run.started_at.astimezone()
        today = began.date() == datetime.now().date()
        status = f"running since {began:{'%H:%M' if today else '%m-%d'}}"
    elif run.status == "failed" and run.stop_reason:
        status = f"failed ({printable(run.stop_reason.removesuffix('Error'), 20)})"
    return f"{status}, {DAMAGED}" if run.problems and run.status != DAMAGED else status


def _marks(kinds: Sequence[str | None], first: str) -> dict[str, str]:
    """Return a letter for each kind if there are several, from `first` on."""
    found = [kind for kind in dict.fromkeys(kinds) if kind is not None]
    letters = [chr(ord(first) + index) if index < 26 else f"{first}{index}" for index in range(len(found))]
    return dict(zip(found, letters, strict=True)) if len(found) > 1 else {}


def _legend(figures: str, marks: Mapping[str, str]) -> str:
    kinds = "; ".join(f"{letter} {printable(kind, 80)}" for kind, letter in marks.items())
    return f"{figures} with different letters can't be compared: {kinds}."


def _notes(run: RunSummary) -> Iterator[str]:
    if run.problems:
        yield f"{run.folder}: {'; '.join(map(escape_line, run.problems))}"
    if run.status in (KILLED, "interrupted") and run.kind != "sweep":
        command = f"mnist-train --resume {shell_quote(escape_line(str(run.path)))}"
        yield f"{run.folder} was {run.status}. Go on with: {command}"
    if (silence := _silence(run)) > SILENT_MINUTES:
        yield f"{run.folder}: wrote nothing for {_duration(silence)}; if its process is dead, it will not go on."


def escape_line(text: str) -> str:
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
