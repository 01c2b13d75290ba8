"""What a run's folder tells, read with patience: whatever is missing, torn or garbled is named and left out.

What is known of one run, or of a series of them.

Many folders are read by one process for each core.

The runs in a folder, one `RunSummary` each, whatever state their folders are in.
"""

from __future__ import annotations

import csv
import json
import os
import pickle
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Annotated, Any, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, Strict, ValidationError, ValidationInfo, WrapValidator

from mnist_trainer.config.load import load_config
from mnist_trainer.config.schema import Config
from mnist_trainer.errors import ConfigError, UsageError, one_line
from mnist_trainer.files import is_locked
from mnist_trainer.storage.find import find_place, places_tried
from mnist_trainer.storage.run_folder import MARKS, RunFolder

MAX_BYTES = 50_000_000
"""More than this is no record of a training."""

LARGEST = 1e100
"""More than this is no figure of a training; it could not be drawn."""

Row = dict[str, float | None]
"""A row of `metrics.csv`: its numbers by column. What is empty or not finite is None."""


def _or_none(value: Any, validate: Callable[[Any], Any], info: ValidationInfo) -> Any:
    try:
        return validate(value)
    except ValidationError:
        if value is not None and info.context is not None:
            info.context.append(info.field_name)
        return None


T = TypeVar("T")
Lenient = Annotated[T | None, WrapValidator(_or_none)]
"""None where the value has another type; the field's name then joins the list that is the validation's context."""

Count = Annotated[int, Field(ge=0, lt=2**53)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0, lt=1e12)]
Interval = Annotated[tuple[float, float], Strict(False)]
Timestamp = Annotated[
    AwareDatetime, Strict(False), Field(gt=datetime(1971, 1, 1, tzinfo=UTC), lt=datetime(9999, 1, 1, tzinfo=UTC))
]


class Section(BaseModel):
    """A mapping in `run.json`; keys that nobody asks for are let be."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)


class Spread(Section):
    """A figure of several runs."""

    mean: Annotated[float, Field(gt=-LARGEST, lt=LARGEST)]
    interval: Interval | None = None
    count: Count


class Metrics(Section):
    """Of a model on one split, or of several."""

    accuracy: Fraction | Spread
    loss: float | Spread | None = None
    interval: Interval | None = None


class Timings(Section):
    """In seconds."""

    training_seconds: Seconds | Spread | None = None
    total_seconds: Seconds | None = None


class Trial(Section):
    """The best of a sweep."""

    epoch: Count
    val_loss: float | None = None
    val_accuracy: Fraction | None = None


class DataFacts(Section):
    """Of the data set."""

    name: str


class Record(Section):
    """`run.json` of a run, a series or a sweep."""

    name: Lenient[str] = None
    kind: Lenient[str] = None
    status: Lenient[str] = None
    stop_reason: Lenient[str] = None
    best_epoch: Lenient[Count] = None
    epochs: Lenient[Count] = None
    test: Lenient[Metrics] = None
    validation: Lenient[Metrics] = None
    data: Lenient[DataFacts] = None
    model: Lenient[str] = None
    custom: Lenient[dict[str, str]] = None
    parameters: Lenient[Count] = None
    seed: Lenient[Count] = None
    seeds: Lenient[list[Count]] = None
    trials: Lenient[Count] = None
    best: Lenient[Trial] = None
    started_at: Lenient[Timestamp] = None
    finished_at: Lenient[Timestamp] = None
    timings: Lenient[Timings] = None
    device: Lenient[str] = None
    precision: Lenient[str] = None
    threads: Lenient[Count] = None
    versions: Lenient[dict[str, str]] = None
    git_commit: Lenient[str] = None


def read_record(folder: RunFolder, problems: list[str]) -> Record:
    """`run.json`; what is wrong with it joins `problems`."""
    name = "run.json"
    try:
        content = json.loads(_text(folder.path / name))
    except FileNotFoundError:
        problems.append(f"no {name}")
        return Record()
    except OSError as error:
        problems.append(f"{name} can't be read: {error.strerror or error}")
        return Record()
    except (ValueError, RecursionError):
        problems.append(f"{name} is no JSON")
        return Record()
    if not isinstance(content, dict):
        problems.append(f"{name} is no JSON object")
        return Record()
    wrong: list[str] = []
    record = Record.model_validate(content, context=wrong)
    problems.extend([f"{name}: wrong {', '.join(wrong)}"] if wrong else [])
    return record


def read_config(path: Path, problems: list[str]) -> Config | None:
    """The config in the file `path`; what is wrong with it joins `problems`."""
    if not os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises where it may not look
        problems.append(f"{path.name} is no file" if os.path.lexists(path) else f"no {path.name}")
        return None
    try:
        return load_config(path)
    except ConfigError as error:
        first, more = error.problems[0], len(error.problems) - 1
        where = f"{first.path}: " if first.path else ""
        problems.append(f"{path.name}: {where}{first.message}{f' (and {more} more)' if more else ''}")
    return None


def read_metrics(folder: RunFolder, problems: list[str]) -> tuple[Row, ...]:
    """The rows of the first fit in `metrics.csv`; none if there is no such file yet."""
    name = folder.metrics.name
    try:
        *lines, rest = _text(folder.metrics).split("\n")
        head, *rows = csv.reader(lines)
    except FileNotFoundError:
        return ()
    except OSError as error:
        problems.append(f"{name} can't be read: {error.strerror or error}")
        return ()
    except (ValueError, csv.Error):
        problems.append(f"{name} is no table")
        return ()
    found = [dict(zip(head, row, strict=False)) for row in rows if len(row) == len(head)]
    read = [_numbers(cells) for cells in found if cells.get("phase", "train") == "train"]
    whole = tuple(row for row in read if row is not None)
    if rest:
        problems.append(f"{name}: its last row is torn")
    if broken := len(rows) - len(found) + len(read) - len(whole):
        problems.append(f"{name}: {broken} unreadable row{'' if broken == 1 else 's'}")
    return whole


def read_trials(path: Path) -> list[Sequence[Row]]:
    """The rows of each trial in a sweep's `curves.csv`; empty where it can't be read."""
    try:
        head, *rows = csv.reader(_text(path).splitlines())
    except (OSError, ValueError, csv.Error):
        return []
    trials: dict[float, list[Row]] = {}
    for row in rows:
        cells = _numbers(dict(zip(head, row, strict=False)))
        if cells is not None and (trial := cells.pop("trial", None)) is not None:
            trials.setdefault(trial, []).append(cells)
    return list(trials.values())


def _numbers(cells: dict[str, str]) -> Row | None:
    """None for a row that has a cell with something else in it, or no epoch."""
    try:
        row = {name: float(text) if text else None for name, text in cells.items() if name != "phase"}
    except ValueError:
        return None
    if not 1 <= (row.get("epoch") or 0) < 1e9:
        return None
    return {name: value if value is not None and abs(value) < LARGEST else None for name, value in row.items()}


def _text(path: Path) -> str:
    """A file's content. Raises `OSError`, also for what is no file: a pipe would be waited for, a device never ends."""
    if not os.path.isfile(path):  # noqa: PTH113 - as above
        if os.path.lexists(path):
            raise OSError("it is no file")
        raise FileNotFoundError
    if path.stat().st_size > MAX_BYTES:
        raise OSError("it is larger than 50 MB")
    return path.read_text(encoding="utf-8", errors="replace")


DAMAGED = "damaged"
"""The status of a folder that does not say how its training went."""

KILLED = "killed"
"""The status of a run that had no time to say how it ended."""


@dataclass(frozen=True)
class RunSummary:
    """One run, or a series of them; None is what is not known. Accuracies are fractions from 0 to 1.

    `problems` says what of the folder is damaged. Figures of loss can be compared where `loss` is equal. The validation
    figures are those of the best epoch; a series has means over its finished `members`, and the seconds of all of
    these; a sweep has its best trial's, and as `members` its trials. `written_at` is when a run that calls itself
    running wrote anything last.
    """

    path: Path
    name: str
    problems: tuple[str, ...] = ()
    kind: str = "run"
    status: str | None = None
    stop_reason: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    model: str | None = None
    data: str | None = None
    parameters: int | None = None
    seed: int | None = None
    loss: str | None = None
    epochs: int | None = None
    planned_epochs: int | None = None
    best_epoch: int | None = None
    val_loss: float | None = None
    val_accuracy: float | None = None
    test_loss: float | None = None
    test_accuracy: float | None = None
    test_interval: tuple[float, float] | None = None
    seconds: float | None = None
    members: int | None = None
    written_at: datetime | None = None
    made_with: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    rows: tuple[Row, ...] = ()

    @property
    def folder(self) -> str:
        """The folder's name, without what would upset a terminal."""
        return one_line(self.path.name or str(self.path), 200)

    @property
    def task(self) -> str | None:
        """The data set, and the one class of a yes/no model. Accuracies can be compared within one task."""
        data = self.config.get("data", {})
        binary, path = data.get("binary"), data.get("path") if self.data == "folder" else None
        parts = [self.data, *([] if path is None else [one_line(path, 200)])]
        return (
            None if self.data is None else " ".join(map(str, parts)) + ("" if binary is None else f", {binary} or not")
        )

    def to_json(self) -> dict[str, Any]:
        """An object of `mnist-runs --json`: every field but the rows; times in UTC as in `run.json`."""
        values = {name.name: getattr(self, name.name) for name in fields(self) if name.name != "rows"}
        times = {key: value.isoformat() for key, value in values.items() if isinstance(value, datetime)}
        return {"folder": self.path.name, **values, "path": str(self.path), **times}


Found = TypeVar("Found")

WORTH = 100
"""For so many folders it is worth starting a process."""


def read_all(read: Callable[[Path], Found], places: Sequence[Path]) -> list[Found]:
    """What `read` finds in each of `places`; it travels by pickle.

    Processes are forked, and only where that is safe: on Linux, and before torch has threads and locks of its own.
    """
    jobs = min(len(os.sched_getaffinity(0)), len(places) // WORTH) if sys.platform == "linux" else 1
    if jobs < 2 or "torch" in sys.modules:
        return list(map(read, places))
    shares = [places[first::jobs] for first in range(jobs)]
    others = [_begin(read, share) for share in shares[1:]]
    found: list[Any] = [None] * len(places)
    found[::jobs] = map(read, shares[0])
    for first, (share, other) in enumerate(zip(shares[1:], others, strict=True), start=1):
        part = _end(*other)
        found[first::jobs] = map(read, share) if part is None else part
    return found


def _begin(read: Callable[[Path], Found], share: Sequence[Path]) -> tuple[int, IO[bytes]]:
    """A process that reads its share, and the pipe that the answer comes by; without a parent it ends."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # the parent says that it was stopped
            os.close(ours)
            with os.fdopen(theirs, "wb") as stream:
                pickle.dump(list(map(read, share)), stream)
        finally:
            os._exit(0)
    os.close(theirs)
    return child, os.fdopen(ours, "rb")


def _end(child: int, answer: IO[bytes]) -> list[Any] | None:
    """What a process has read; None if it was killed."""
    part: list[Any] | None = None
    with answer, suppress(EOFError, pickle.UnpicklingError):
        part = pickle.load(answer)
    os.waitpid(child, 0)
    return part


NO_RUNS = ("plots", "tensorboard")
"""Folders of a run, or of a series of runs, that are no runs themselves."""

_TIME = "%Y-%m-%d_%H-%M-%S"
_TIME_LENGTH = 19


def read_runs(place: Path) -> list[RunSummary]:
    """The runs in the folder `place` (see `find_place`), the latest last; one that is itself a run is listed alone.

    Raises `UsageError` if there is no such folder or it can't be read.
    """
    place = find_place(str(place))
    try:
        found = sorted(place.iterdir())
    except FileNotFoundError:
        raise UsageError(
            f"{place}: there is no such folder{places_tried(place)}. Train a run (mnist-train --config quickstart), "
            "or name the folder that holds the runs."
        ) from None
    except NotADirectoryError:
        raise UsageError(f"{place} is a file. Name the folder that holds the runs.") from None
    except OSError as error:
        raise UsageError(f"{place} can't be read: {error.strerror or error}. Name another folder.") from None
    is_run = any(path.name in MARKS for path in found) and read_run(place).kind != "seeds" and not _inner(found)
    runs = read_all(read_run, [place] if is_run else [path for path in found if _may_be_run(path)])
    return sorted(runs, key=lambda run: (run.started_at is not None, run.started_at and run.started_at.timestamp()))


def _may_be_run(path: Path) -> bool:
    # os.path's never raise, pathlib's do where they may not look
    leads_nowhere = path.is_symlink() and not os.path.exists(path)  # noqa: PTH110
    is_folder = leads_nowhere or os.path.isdir(path)  # noqa: PTH112
    return is_folder and not path.name.startswith(".") and path.name not in NO_RUNS


def read_run(path: Path) -> RunSummary:
    """The run, or series of runs, in the folder `path`. Never raises."""
    began, name = _named(path.name)
    try:
        found = list(path.iterdir())
    except OSError as error:
        reason = f"can't be read: {error.strerror or error}"
        return RunSummary(path, name, (reason,), status=DAMAGED, started_at=began)
    if not any(inner.name in MARKS for inner in found):
        return RunSummary(path, name, (_no_run(path, found),), status=DAMAGED, started_at=began)
    return _summary(RunFolder(path), began, name)


def _summary(folder: RunFolder, began: datetime | None, name: str) -> RunSummary:
    """What the folder's files say; its own name says when it `began` and the run's `name`, if nothing else does."""
    problems: list[str] = []
    record = read_record(folder, problems)
    kind = record.kind or "run"
    is_empty_sweep = kind == "sweep" and record.best is None
    file = folder.path / "best.yaml" if kind == "sweep" else folder.config
    config = None if is_empty_sweep else read_config(file, problems)
    rows = read_metrics(folder, problems)
    if record.status == "finished" and kind == "run" and not rows and not problems:
        problems.append(f"no {folder.metrics.name}")
    best = record.best.model_dump() if record.best else _best(record, config, rows)
    validation, test = record.validation, record.test
    return RunSummary(
        path=folder.path,
        name=record.name or (config.name if config else name),
        problems=tuple(problems),
        kind=kind,
        status=_status(record, folder) or (DAMAGED if problems else None),
        stop_reason=record.stop_reason,
        started_at=record.started_at or began,
        finished_at=record.finished_at,
        model=record.model or (config.model.architecture if config else None),
        data=record.data.name if record.data else config.data.name if config else None,
        parameters=record.parameters,
        seed=config.seed if config else record.seed,
        loss=_loss(config, record),
        epochs=record.epochs or len(rows) or record.epochs,  # a run that is not closed has 0 in its record
        planned_epochs=config.training.epochs if config else None,
        best_epoch=record.best_epoch or _whole(best.get("epoch")),
        val_loss=_mean(validation.loss) if validation else best.get("val_loss"),
        val_accuracy=_mean(validation.accuracy) if validation else best.get("val_accuracy"),
        test_loss=_mean(test.loss) if test else None,
        test_accuracy=_mean(test.accuracy) if test else None,
        test_interval=_interval(test) if test else None,
        seconds=_seconds(record.timings, rows),
        members=record.trials if kind == "sweep" else len(record.seeds) if record.seeds else None,
        written_at=_written_at(folder) if _status(record, folder) == "running" else None,
        made_with=_made_with(record),
        config=config.model_dump(mode="json") if config else {},
        rows=rows,
    )


def _status(record: Record, folder: RunFolder) -> str | None:
    """What the record says, but `killed` if it says running and no process is at work there."""
    is_dead = record.status == "running" and record.kind != "sweep" and not is_locked(folder.path)
    return KILLED if is_dead else record.status


def _named(folder: str) -> tuple[datetime | None, str]:
    """The time and the name that make up a folder's name, `2026-03-14_15-09-26-mlp`."""
    try:
        began = datetime.strptime(folder[:_TIME_LENGTH], _TIME).astimezone()
    except (ValueError, OverflowError, OSError):
        return None, folder
    return began, folder[_TIME_LENGTH:].removeprefix("-") or folder


def _no_run(path: Path, found: Sequence[Path]) -> str:
    if inner := _inner(found):
        return f"no run, but {inner} in it: mnist-runs {one_line(str(path), 200)}"
    return "no config.yaml, no run.json" if found else "empty folder"


def _inner(found: Sequence[Path]) -> int:
    """How many of these are run folders."""
    return sum(any(os.path.exists(path / mark) for mark in MARKS) for path in found)  # noqa: PTH110 - never raises


def _best(record: Record, config: Config | None, rows: tuple[Row, ...]) -> Row:
    """The best epoch's row, by the run's own rule; the last one without validation, empty without rows."""
    if record.best_epoch:
        return next((row for row in rows if row["epoch"] == record.best_epoch), {})
    rule = config.training.early_stopping if config else None
    key, sign = ("val_accuracy", 1) if rule and rule.monitor == "val_accuracy" else ("val_loss", -1)
    judged = [(sign * figure, -index) for index, row in enumerate(rows) if (figure := row.get(key)) is not None]
    return rows[-max(judged)[1]] if judged else rows[-1] if rows else {}


def _loss(config: Config | None, record: Record) -> str | None:
    """What the figures of loss are: two of the same can be compared."""
    if record.custom and "loss" in record.custom:
        return record.custom["loss"]
    if config is None:
        return None
    loss = config.loss
    given = loss.class_weights
    weights = "" if given is None else f", class_weights {given if isinstance(given, dict) else list(given)}"
    return f"{loss.name}, {loss.reduction}{weights}"


def _made_with(record: Record) -> dict[str, Any]:
    facts = {key: getattr(record, key) for key in ("device", "precision", "threads", "git_commit")}
    return facts | {f"versions.{name}": version for name, version in (record.versions or {}).items()}


def _mean(figure: float | Spread | None) -> float | None:
    return figure.mean if isinstance(figure, Spread) else figure


def _interval(figures: Metrics) -> tuple[float, float] | None:
    return figures.accuracy.interval if isinstance(figures.accuracy, Spread) else figures.interval


def _seconds(timings: Timings | None, rows: tuple[Row, ...]) -> float | None:
    """Of training, of all runs in a series; the whole time of a sweep."""
    trained = timings.training_seconds if timings else None
    if isinstance(trained, Spread):
        return trained.mean * trained.count
    if trained is None and rows:
        return sum(row.get("seconds") or 0.0 for row in rows)
    return timings.total_seconds if timings and trained is None else trained


def _written_at(folder: RunFolder) -> datetime | None:
    """When anything in the folder, or in one just below it, was written last."""
    try:
        times = [path.stat().st_mtime for depth in ("*", "*/*") for path in folder.path.glob(depth)]
        return datetime.fromtimestamp(max(times), UTC)
    except (OSError, ValueError, OverflowError):
        return None


def _whole(number: float | None) -> int | None:
    return None if number is None else int(number)
