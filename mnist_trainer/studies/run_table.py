"""Which runs of a list are meant, and in which order.

Runs as a table, with the notes that belong to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple

from mnist_trainer.config.messages import field_at, nearest
from mnist_trainer.config.yaml_reader import SourceLocation, read_text
from mnist_trainer.errors import UsageError, one_line, shell_quote
from mnist_trainer.reports.table import Column, table_lines
from mnist_trainer.reports.text import figure, interval, percent
from mnist_trainer.storage.run_folder import RunFolder
from mnist_trainer.studies.run_summary import DAMAGED, KILLED, Row, RunSummary, read_metrics, read_trials

if TYPE_CHECKING:
    from mnist_trainer.reports.overlay import Curve

_NO_COLUMNS = ("path", "loss", "problems", "made_with", "config", "rows")

SORT_KEYS = {
    "folder": "folder",
    **{field.name: field.name for field in fields(RunSummary) if field.name not in _NO_COLUMNS},
    "time": "started_at",
    "best": "best_epoch",
    "val_acc": "val_accuracy",
    "test_acc": "test_accuracy",
    "interval": "test_interval",
}
"""What runs are sorted and filtered by besides their config's keys, and the attribute of `RunSummary` it stands for."""

LOSSES = ("val_loss", "test_loss")
ACCURACIES = ("val_accuracy", "test_accuracy", "test_interval")
BY_VALIDATION = {"test_loss": "val_loss", "test_accuracy": "val_accuracy", "test_interval": "val_accuracy"}
"""How runs that were not tested are ordered instead."""


def value_of(run: RunSummary, key: str) -> Any:
    """A column, or a key of the config: `optimizer.lr`; of a section that has a name its name: `optimizer`."""
    if key in SORT_KEYS:
        return getattr(run, SORT_KEYS[key])
    value: Any = run.config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value.get("name") if isinstance(value, Mapping) else value


def filtered(runs: Sequence[RunSummary], conditions: Sequence[str]) -> list[RunSummary]:
    """The runs that fulfil every `key=value`; of a text its first word suffices, and `*` stands for anything.

    Raises `UsageError` for what is no condition or asks for a key that there is not.
    """
    tests = [_condition(runs, text) for text in conditions]
    return [run for run in runs if all(test(run) for test in tests)]


def ordered(runs: Sequence[RunSummary], key: str | None, reverse: bool = False) -> list[RunSummary]:
    """The runs by rising `key`, or falling; those without a value are last; among these, runs that were not tested
    are in the order of their validation. Without a key the order stays.

    Raises `UsageError` for an unknown key.
    """
    if key is None:
        return list(reversed(runs) if reverse else runs)
    _check_key(runs, key)
    known = [run for run in runs if value_of(run, key) is not None]
    unknown = [run for run in runs if value_of(run, key) is None]
    if instead := BY_VALIDATION.get(SORT_KEYS.get(key, "")):
        unknown = ordered(unknown, instead, reverse)
    return sorted(known, key=lambda run: _rank(value_of(run, key)), reverse=reverse) + unknown


def is_mixed(runs: Sequence[RunSummary], key: str | None) -> bool:
    """Whether `key` is a loss or an accuracy that is not the same quantity in all `runs`."""
    column = SORT_KEYS.get(key or "")
    known = [run for run in runs if value_of(run, key or "") is not None]
    if column in LOSSES:
        return len({(run.loss, run.task) for run in known}) > 1
    return column in ACCURACIES and len({run.task for run in known}) > 1


def _condition(runs: Sequence[RunSummary], text: str) -> Callable[[RunSummary], bool]:
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


def _check_key(runs: Sequence[RunSummary], key: str) -> None:
    if key in SORT_KEYS or (key and field_at(tuple(key.split("."))) is not None):
        return
    near = nearest(key, {*SORT_KEYS, *(name for run in runs for name in _keys(run.config))})
    hint = f"Did you mean {near}?" if near else "A column is test_acc, as the table's heads say; a key is optimizer.lr."
    raise UsageError(f"{one_line(key)} is neither a column nor a key of a config. {hint}")


def _keys(config: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for key, value in config.items():
        yield f"{above}{key}"
        if isinstance(value, Mapping):
            yield from _keys(value, f"{above}{key}.")


def _rank(value: Any) -> tuple[int, Any]:
    """Numbers before text: a key may hold either, `auto` or 3."""
    match value:
        case datetime():
            return (0, value.timestamp())
        case int() | float():
            return (0, value)
        case (float(low), _):
            return (0, low)
        case _:
            return (1, str(value))


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
    status = one_line(run.status or "-", 20)
    if run.status == "running" and run.started_at is not None:
        began = run.started_at.astimezone()
        today = began.date() == datetime.now().date()
        status = f"running since {began:{'%H:%M' if today else '%m-%d'}}"
    elif run.status == "failed" and run.stop_reason:
        status = f"failed ({one_line(run.stop_reason.removesuffix('Error'), 20)})"
    return f"{status}, {DAMAGED}" if run.problems and run.status != DAMAGED else status


def _marks(kinds: Sequence[str | None], first: str) -> dict[str, str]:
    """Return a letter for each kind if there are several, from `first` on."""
    found = [kind for kind in dict.fromkeys(kinds) if kind is not None]
    letters = [chr(ord(first) + index) if index < 26 else f"{first}{index}" for index in range(len(found))]
    return dict(zip(found, letters, strict=True)) if len(found) > 1 else {}


def _legend(figures: str, marks: Mapping[str, str]) -> str:
    kinds = "; ".join(f"{letter} {one_line(kind, 80)}" for kind, letter in marks.items())
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
    return one_line(text, 300)


def _silence(run: RunSummary) -> float:
    """Minutes since a running run wrote anything."""
    return 0.0 if run.written_at is None else (datetime.now(UTC) - run.written_at).total_seconds() / 60


def _duration(minutes: float) -> str:
    for size, unit in ((24 * 60, "days"), (60, "hours")):
        if minutes >= 2 * size:
            return f"{minutes / size:.0f} {unit}"
    return f"{minutes:.0f} minutes"
