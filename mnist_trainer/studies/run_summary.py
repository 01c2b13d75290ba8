"""The summary of a run, a series or a sweep from its folder, read leniently: what is missing or damaged is named."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, Strict, ValidationError

from mnist_trainer.config.load import load_config
from mnist_trainer.config.schema import Config
from mnist_trainer.errors import ConfigError, UsageError, one_line
from mnist_trainer.files import is_locked
from mnist_trainer.storage.find import find_path, tried_paths
from mnist_trainer.storage.run_folder import RUN_FILES, RunFolder

MAX_BYTES = 50_000_000
"""A larger file is not a record of a training."""

MAX_METRIC = 1e100
"""A larger number is not a metric of a training; it could not be drawn."""

NO_RUNS = ("plots", "tensorboard")
"""Folders inside a run or a series that are not runs themselves."""

DAMAGED = "damaged"
"""The status of a folder that does not say how its training went."""

KILLED = "killed"
"""The status of a run whose process ended before it could write a status."""

Row = dict[str, float | None]
"""A row of `metrics.csv`: its numbers by column; None where a cell is empty or not finite."""

T = TypeVar("T")


# --- run.json ---

Count = Annotated[int, Field(ge=0, lt=2**53)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0, lt=1e12)]
Interval = Annotated[tuple[float, float], Strict(False)]
Timestamp = Annotated[
    AwareDatetime, Strict(False), Field(gt=datetime(1971, 1, 1, tzinfo=UTC), lt=datetime(9999, 1, 1, tzinfo=UTC))
]


class Section(BaseModel):
    """A mapping in `run.json`; unknown keys are ignored."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)


class Spread(Section):
    """A metric over several runs."""

    mean: Annotated[float, Field(gt=-MAX_METRIC, lt=MAX_METRIC)]
    interval: Interval | None = None
    count: Count


class Metrics(Section):
    """Metrics of one model, or of several, on one split."""

    accuracy: Fraction | Spread
    loss: float | Spread | None = None
    interval: Interval | None = None

    def means(self) -> tuple[float | None, float, Interval | None]:
        """Return loss, accuracy and the interval of the accuracy, of several models their means."""
        loss = self.loss.mean if isinstance(self.loss, Spread) else self.loss
        if isinstance(self.accuracy, Spread):
            return loss, self.accuracy.mean, self.accuracy.interval
        return loss, self.accuracy, self.interval


class Timings(Section):
    """Seconds of one run, or of several."""

    training_seconds: Seconds | Spread | None = None
    total_seconds: Seconds | None = None


class Trial(Section):
    """The best trial of a sweep."""

    epoch: Count
    val_loss: float | None = None
    val_accuracy: Fraction | None = None


class DataFacts(Section):
    """The data set of a run."""

    name: str


class Record(Section):
    """`run.json` of a run, a series or a sweep."""

    name: str | None = None
    kind: str | None = None
    status: str | None = None
    stop_reason: str | None = None
    best_epoch: Count | None = None
    epochs: Count | None = None
    test: Metrics | None = None
    validation: Metrics | None = None
    data: DataFacts | None = None
    model: str | None = None
    custom: dict[str, str] | None = None
    parameters: Count | None = None
    seed: Count | None = None
    seeds: list[Count] | None = None
    trials: Count | None = None
    best: Trial | None = None
    started_at: Timestamp | None = None
    finished_at: Timestamp | None = None
    timings: Timings | None = None
    device: str | None = None
    precision: str | None = None
    threads: Count | None = None
    versions: dict[str, str] | None = None
    git_commit: str | None = None


def read_record(folder: RunFolder, problems: list[str]) -> Record:
    """Return `run.json`; what is wrong with it is appended to `problems` and left out."""
    found = _parse(folder.path / "run.json", lambda text: [json.loads(text)], "JSON", problems, is_required=True)
    content = found[0] if found else {}
    if not isinstance(content, dict):
        problems.append("run.json is no JSON object")
        return Record()
    try:
        return Record.model_validate(content)
    except ValidationError as error:
        wrong = dict.fromkeys(str(each["loc"][0]) for each in error.errors())
    problems.append(f"run.json: wrong {', '.join(wrong)}")
    return Record.model_validate({key: value for key, value in content.items() if key not in wrong})


# --- config.yaml, metrics.csv, curves.csv ---


def read_config(path: Path, problems: list[str]) -> Config | None:
    """Return the config in the file `path`; what is wrong with it is appended to `problems`."""
    if not os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises without the right to look
        problems.append(f"{path.name} is no file" if os.path.lexists(path) else f"no {path.name}")
        return None
    try:
        return load_config(path)
    except ConfigError as error:
        first, more = error.problems[0], len(error.problems) - 1
        where = f"{first.path}: " if first.path else ""
        problems.append(f"{path.name}: {where}{first.message}{f' (and {more} more)' if more else ''}")
    return None


def read_metrics(path: Path, problems: list[str]) -> tuple[Row, ...]:
    """Return the rows of the first fit in a table of epochs; empty if there is no such file yet."""
    head, rows, rest = _parse(path, _split_table, "table", problems) or ([], [], "")
    cells = [dict(zip(head, row, strict=False)) for row in rows if len(row) == len(head)]
    read = [_numbers(each) for each in cells if each.get("phase", "train") == "train"]
    whole = tuple(row for row in read if row is not None)
    problems += [f"{path.name}: its last row is torn"] if rest else []
    if broken := len(rows) - len(cells) + len(read) - len(whole):
        problems.append(f"{path.name}: {broken} unreadable row{'' if broken == 1 else 's'}")
    return whole


def read_trials(path: Path) -> list[Sequence[Row]]:
    """Return the rows of each trial in the `curves.csv` of a sweep; empty if it can't be read."""
    trials: dict[float | None, list[Row]] = {}
    for row in read_metrics(path, []):
        trials.setdefault(row.pop("trial", None), []).append(row)
    return list(trials.values())


def _split_table(text: str) -> tuple[list[str], list[list[str]], str]:
    """Return the head, the rows, and what follows the last line feed of a CSV table."""
    *lines, rest = text.split("\n")
    head, *rows = csv.reader(lines)
    return head, rows, rest


def _numbers(cells: Mapping[str, str]) -> Row | None:
    """Return the cells as numbers; None for a row with other text in it, or without an epoch."""
    try:
        row = {name: float(text) if text else None for name, text in cells.items() if name != "phase"}
    except ValueError:
        return None
    limited = {name: value if value is not None and abs(value) < MAX_METRIC else None for name, value in row.items()}
    return limited if 1 <= (row.get("epoch") or 0) < 1e9 else None


def _parse(
    path: Path, parse: Callable[[str], T], kind: str, problems: list[str], is_required: bool = False
) -> T | None:
    """Return the parsed file; None if it is missing or can't be read, which is appended to `problems`."""
    try:
        return parse(_read_text(path))
    except FileNotFoundError:
        problems += [f"no {path.name}"] if is_required else []
    except OSError as error:
        problems.append(f"{path.name} can't be read: {error.strerror or error}")
    except (ValueError, RecursionError, csv.Error):
        problems.append(f"{path.name} is no {kind}")
    return None


def _read_text(path: Path) -> str:
    """Return a file's text. Raises `OSError` also for a pipe or a device, which would block or never end."""
    if not os.path.isfile(path):  # noqa: PTH113 - as above
        raise OSError("it is no file") if os.path.lexists(path) else FileNotFoundError
    if path.stat().st_size > MAX_BYTES:
        raise OSError("it is larger than 50 MB")
    return path.read_text(encoding="utf-8", errors="replace")


# --- summaries ---


@dataclass(frozen=True)
class RunSummary:
    """A run, a series or a sweep; None is what is not known. Accuracies are fractions from 0 to 1.

    `problems` says what of the folder is damaged. Losses can be compared where `loss` is equal. The validation metrics
    are those of the best epoch; a series has means over its finished `members`, and the seconds of all of them; a
    sweep has its best trial's, and its trials as `members`. `written_at` is when a running run last wrote a file.
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
        """The folder's name, escaped for a terminal."""
        return one_line(self.path.name or str(self.path), 200)

    @property
    def task(self) -> str | None:
        """The data set, and the one class of a yes/no model. Accuracies can be compared within one task."""
        if self.data is None:
            return None
        data = self.config.get("data", {})
        path = f" {one_line(data['path'], 200)}" if self.data == "folder" and data.get("path") is not None else ""
        return f"{self.data}{path}" + (f", {data['binary']} or not" if data.get("binary") is not None else "")

    def to_json(self) -> dict[str, Any]:
        """Return an object of `mnist-runs --json`: every field but the rows; times in UTC as in `run.json`."""
        values = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "rows"}
        times = {key: value.isoformat() for key, value in values.items() if isinstance(value, datetime)}
        return {"folder": self.path.name, **values, "path": str(self.path), **times}


def read_runs(folder: Path) -> list[RunSummary]:
    """Return the runs in `folder` (see `find_path`), the latest last; a folder that is itself a run is read alone.

    Raises `UsageError` if there is no such folder or it can't be read.
    """
    folder = find_path(str(folder))
    try:
        found = sorted(folder.iterdir())
    except FileNotFoundError:
        raise UsageError(
            f"{folder}: there is no such folder{tried_paths(folder)}. Train a run (mnist-train --config quickstart), "
            "or name the folder that holds the runs."
        ) from None
    except NotADirectoryError:
        raise UsageError(f"{folder} is a file. Name the folder that holds the runs.") from None
    except OSError as error:
        raise UsageError(f"{folder} can't be read: {error.strerror or error}. Name another folder.") from None
    is_run = (
        any(path.name in RUN_FILES for path in found) and read_run(folder).kind != "seeds" and not _count_runs(found)
    )
    runs = map(read_run, [folder] if is_run else filter(_may_be_run, found))
    return sorted(runs, key=lambda run: (run.started_at is not None, run.started_at and run.started_at.timestamp()))


def _may_be_run(path: Path) -> bool:
    """Whether `path` is a folder, or a link that leads nowhere; os.path never raises, pathlib does."""
    is_broken = path.is_symlink() and not os.path.exists(path)  # noqa: PTH110
    is_folder = is_broken or os.path.isdir(path)  # noqa: PTH112
    return is_folder and not path.name.startswith(".") and path.name not in NO_RUNS


def _count_runs(found: Sequence[Path]) -> int:
    return sum(any(os.path.exists(path / mark) for mark in RUN_FILES) for path in found)  # noqa: PTH110


def read_run(path: Path) -> RunSummary:
    """Return the run, series or sweep in the folder `path`. Never raises."""
    started_at, name = None, path.name
    with suppress(ValueError, OverflowError, OSError):  # OverflowError, OSError: a year that the system does not know
        started_at = datetime.strptime(name[:19], "%Y-%m-%d_%H-%M-%S").astimezone()
        name = name[19:].removeprefix("-") or name
    try:
        found = list(path.iterdir())
    except OSError as error:
        problem = f"can't be read: {error.strerror or error}"
        return RunSummary(path, name, (problem,), status=DAMAGED, started_at=started_at)
    if any(inner.name in RUN_FILES for inner in found):
        return _summarise(RunFolder(path), started_at, name)
    problem = "no config.yaml, no run.json" if found else "empty folder"
    if inner := _count_runs(found):
        problem = f"no run, but {inner} in it: mnist-runs {one_line(str(path), 200)}"
    return RunSummary(path, name, (problem,), status=DAMAGED, started_at=started_at)


def _summarise(folder: RunFolder, started_at: datetime | None, name: str) -> RunSummary:
    """Return what the files say; `started_at` and `name` are those of the folder's name, if no file says it."""
    problems: list[str] = []
    record = read_record(folder, problems)
    kind = record.kind or "run"
    config = None
    if kind != "sweep" or record.best is not None:
        config = read_config(folder.path / "best.yaml" if kind == "sweep" else folder.config, problems)
    rows = read_metrics(folder.metrics, problems)
    if record.status == "finished" and kind == "run" and not rows and not problems:
        problems.append(f"no {folder.metrics.name}")
    status = record.status
    if status == "running" and kind != "sweep" and not is_locked(folder.path):
        status = KILLED
    best = record.best.model_dump() if record.best else _best_row(record, config, rows)
    val_loss, val_accuracy, _ = (
        record.validation.means() if record.validation else (best.get("val_loss"), best.get("val_accuracy"), None)
    )
    test_loss, test_accuracy, test_interval = record.test.means() if record.test else (None, None, None)
    return RunSummary(
        path=folder.path,
        name=record.name or (config.name if config else name),
        problems=tuple(problems),
        kind=kind,
        status=status or (DAMAGED if problems else None),
        stop_reason=record.stop_reason,
        started_at=record.started_at or started_at,
        finished_at=record.finished_at,
        model=record.model or (config.model.architecture if config else None),
        data=record.data.name if record.data else config.data.name if config else None,
        parameters=record.parameters,
        seed=config.seed if config else record.seed,
        loss=_loss(config, record),
        epochs=record.epochs or len(rows) or record.epochs,  # run.json says 0 until the run ends
        planned_epochs=config.training.epochs if config else None,
        best_epoch=record.best_epoch or (int(best["epoch"] or 0) if best else None),
        val_loss=val_loss,
        val_accuracy=val_accuracy,
        test_loss=test_loss,
        test_accuracy=test_accuracy,
        test_interval=test_interval,
        seconds=_seconds(record.timings or Timings(), rows),
        members=record.trials if kind == "sweep" else len(record.seeds) if record.seeds else None,
        written_at=_written_at(folder) if status == "running" else None,
        made_with=_made_with(record),
        config=config.model_dump(mode="json") if config else {},
        rows=rows,
    )


def _best_row(record: Record, config: Config | None, rows: tuple[Row, ...]) -> Row:
    """Return the row of the best epoch; without validation the last one, without rows an empty one."""
    if record.best_epoch:
        return next((row for row in rows if row["epoch"] == record.best_epoch), {})
    rule = config.training.early_stopping if config else None
    key, sign = ("val_accuracy", 1) if rule and rule.monitor == "val_accuracy" else ("val_loss", -1)
    validated = [row for row in rows if row.get(key) is not None]
    return max(validated or rows[-1:], key=lambda row: sign * (row.get(key) or 0.0), default={})


def _loss(config: Config | None, record: Record) -> str | None:
    """Return the kind of the loss: losses of one kind can be compared."""
    if record.custom and "loss" in record.custom:
        return record.custom["loss"]
    if config is None:
        return None
    loss, weights = config.loss, config.loss.class_weights
    given = weights if weights is None or isinstance(weights, dict) else list(weights)
    return f"{loss.name}, {loss.reduction}" + ("" if given is None else f", class_weights {given}")


def _made_with(record: Record) -> dict[str, Any]:
    facts = {key: getattr(record, key) for key in ("device", "precision", "threads", "git_commit")}
    return facts | {f"versions.{name}": version for name, version in (record.versions or {}).items()}


def _seconds(timings: Timings, rows: tuple[Row, ...]) -> float | None:
    """Return the seconds of training, of all runs in a series; the whole time of a sweep."""
    trained = timings.training_seconds
    if isinstance(trained, Spread):
        return trained.mean * trained.count
    if trained is None and rows:
        return sum(row.get("seconds") or 0.0 for row in rows)
    return timings.total_seconds if trained is None else trained


def _written_at(folder: RunFolder) -> datetime | None:
    """Return when a file in the folder, or in a folder inside it, was last written."""
    try:
        times = [path.stat().st_mtime for depth in ("*", "*/*") for path in folder.path.glob(depth)]
        return datetime.fromtimestamp(max(times), UTC)
    except (OSError, ValueError, OverflowError):
        return None
