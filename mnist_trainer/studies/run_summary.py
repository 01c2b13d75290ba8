"""Summaries of runs, series and sweeps, read from their folders. What is missing or damaged is named, not raised."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from mnist_trainer.config.load import load_config
from mnist_trainer.config.schema import Config
from mnist_trainer.errors import ConfigError, UsageError, one_line
from mnist_trainer.files import is_locked
from mnist_trainer.storage.run_folder import RunFolder, find_path, holds_run, tried_paths

MAX_BYTES = 50_000_000
"""Larger files are not read, because they are no records of a training."""

MAX_METRIC = 1e100
"""Larger numbers are left out, because they are no metrics of a training and could not be drawn."""

NO_RUNS = ("plots", "tensorboard", "lab", "find-lr")
"""Folders that the program makes and that are no runs: inside a run or a series, and inside `runs/`."""

DAMAGED = "damaged"
"""The status of a folder whose files do not say how its training went."""

KILLED = "killed"
"""The status of a run whose process ended before it could write a status."""

Row = dict[str, float | None]
"""A row of `metrics.csv`: its numbers by column; None where a cell is empty or not finite."""

T = TypeVar("T")


# --- run.json ---

Count = Annotated[int, Field(ge=0, lt=2**53)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0, lt=1e12)]
Timestamp = Annotated[AwareDatetime, Field(gt=datetime(1971, 1, 1, tzinfo=UTC), lt=datetime(9999, 1, 1, tzinfo=UTC))]


class Section(BaseModel):
    """A mapping in `run.json`; unknown keys are ignored."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class Spread(Section):
    """A metric over several runs."""

    mean: Annotated[float, Field(gt=-MAX_METRIC, lt=MAX_METRIC)]
    interval: tuple[float, float] | None = None
    count: Count


class Metrics(Section):
    """Metrics of one model, or of several, on one split."""

    accuracy: Fraction | Spread
    loss: float | Spread | None = None
    interval: tuple[float, float] | None = None
    count: Count | None = None


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
    train_count: Count | None = None
    validation_count: Count | None = None
    split_seed: int | None = None
    fold: str | None = None
    split: str | None = None
    fingerprint: str | None = None


class Position(Section):
    """How far a training was when a session began or ended."""

    phase: str
    epochs: Count


class Session(Section):
    """A process that trained a run; a resumed run has several."""

    status: str
    started_at: Timestamp
    finished_at: Timestamp | None = None
    began: Position | None = None
    ended: Position | None = None


class Finding(Section):
    """A sentence of a diagnosis."""

    text: str


class DiagnosisRecord(Section):
    """What a training showed, and the override to try next."""

    healthy: bool
    findings: list[Finding]
    suggestion: str | None = None


class RunRecord(Section):
    """The keys of `run.json` that are read, of a run, a series or a sweep."""

    name: str | None = None
    kind: str | None = None
    status: str | None = None
    stop_reason: str | None = None
    started_at: Timestamp | None = None
    finished_at: Timestamp | None = None
    model: str | None = None
    data: DataFacts | None = None
    parameters: Count | None = None
    seed: Count | None = None
    seeds: list[Count] | None = None
    epochs: Count | None = None
    best_epoch: Count | None = None
    test: Metrics | None = None
    validation: Metrics | None = None
    timings: Timings | None = None
    trials: Count | None = None
    best: Trial | None = None
    device: str | None = None
    precision: str | None = None
    threads: Count | None = None
    git_commit: str | None = None
    versions: dict[str, str] | None = None
    custom: dict[str, str] | None = None
    device_name: str | None = None
    platform: str | None = None
    deterministic: bool | None = None
    sessions: list[Session] | None = None
    diagnosis: DiagnosisRecord | None = None


def read_record(path: Path, problems: list[str]) -> RunRecord:
    """Return the content of the `run.json` at `path`; what is wrong with it is appended to `problems` and left out."""

    def parse(text: str) -> RunRecord:
        """Return the record without the keys whose values have the wrong type. Raises `ValueError` for other JSON."""
        try:
            return RunRecord.model_validate_json(text)
        except ValidationError as error:
            found = error.errors()
        wrong = list(dict.fromkeys(str(each["loc"][0]) for each in found if each["loc"]))
        if not wrong:
            raise ValueError
        problems.append(f"run.json: wrong {', '.join(wrong)}")
        rest = {key: value for key, value in json.loads(text).items() if key not in wrong}
        return RunRecord.model_validate_json(json.dumps(rest))

    return _parse(path, parse, "JSON object", problems) or RunRecord()


# --- config.yaml, metrics.csv, curves.csv ---


def read_config(path: Path, problems: list[str]) -> Config | None:
    """Return the config in the file `path`; what is wrong with it is appended to `problems`."""
    return _parse(path, lambda _: load_config(path), "config", problems)


def read_metrics(path: Path, problems: list[str]) -> tuple[Row, ...]:
    """Return the rows of the first fit in a table of epochs; empty if there is no such file yet."""
    head, table, torn = _parse(path, _split_table, "table", problems, is_required=False) or ([], [], "")
    fitted = [cells for cells in table if dict(zip(head, cells, strict=False)).get("phase", "train") == "train"]
    rows = tuple(row for cells in fitted if (row := _numbers(head, cells)))
    problems += [f"{path.name}: its last row is torn"] if torn else []
    if broken := len(fitted) - len(rows):
        problems.append(f"{path.name}: {broken} unreadable row{'' if broken == 1 else 's'}")
    return rows


def _split_table(text: str) -> tuple[list[str], list[list[str]], str]:
    """Return the head, the rows, and what follows the last line feed of a CSV table."""
    *lines, torn = text.split("\n")
    head, *rows = csv.reader(lines)
    return head, rows, torn


def _numbers(head: list[str], cells: list[str]) -> Row | None:
    """Return the cells as numbers; None for a row with other text in it, or without an epoch."""
    row: Row = {}
    try:
        for name, text in zip(head, cells, strict=True):
            if name != "phase":
                value = float(text or "nan")
                row[name] = value if abs(value) < MAX_METRIC else None
    except ValueError:
        return None
    return row if 1 <= (row.get("epoch") or 0) < 1e9 else None


def _parse(path: Path, parse: Callable[[str], T], kind: str, problems: list[str], is_required: bool = True) -> T | None:
    """Return the parsed text of a file; None if it is missing or can't be read, which is appended to `problems`."""
    try:
        size = path.stat().st_size
        if not path.is_file():  # a pipe or a device would block or never end
            raise OSError("it is no file")
        if size > MAX_BYTES:
            raise OSError("it is larger than 50 MB")
        return parse(path.read_text(encoding="utf-8", errors="replace"))
    except FileNotFoundError:
        problems += [f"no {path.name}"] if is_required else []
    except OSError as error:
        problems.append(f"{path.name} can't be read: {error.strerror or error}")
    except ConfigError as error:
        first, more = error.problems[0], len(error.problems) - 1
        where = f"{first.path}: " if first.path else ""
        problems.append(f"{path.name}: {where}{first.message}{f' (and {more} more)' if more else ''}")
    except (ValueError, RecursionError, csv.Error):
        problems.append(f"{path.name} is no {kind}")
    return None


# --- summaries ---


@dataclass(frozen=True)
class RunSummary:
    """A run, a series or a sweep; unknown values are None. Accuracies are fractions from 0 to 1.

    `problems` says what is damaged in the folder. Losses can be compared if `loss` is equal. The validation metrics
    are those of the best epoch. A series has means over its finished runs, and the seconds of all of them; a sweep has
    the metrics of its best trial. `members` counts the runs or trials. `written_at` is when a running run last wrote a
    file.
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
    except OSError as error:
        problem = "is a file" if isinstance(error, NotADirectoryError) else f"can't be read: {error.strerror or error}"
        raise UsageError(f"{folder} {problem}. Name the folder that holds the runs.") from None
    if holds_run(folder) and not any(map(holds_run, found)) and (run := read_run(folder)).kind != "seeds":
        return [run]
    visible = [path for path in found if not path.name.startswith(".") and path.name not in NO_RUNS]
    runs = [read_run(path) for path in visible if not os.path.isfile(path)]  # noqa: PTH113 - Path.is_file may raise
    return sorted(runs, key=lambda run: run.started_at.timestamp() if run.started_at else float("-inf"))


def read_run(path: Path) -> RunSummary:
    """Return the run, series or sweep in the folder `path`. Never raises."""
    started_at, name = None, path.name
    try:
        started_at = datetime.strptime(name[:19], "%Y-%m-%d_%H-%M-%S").astimezone()
        name = name[19:].removeprefix("-") or name
    except (ValueError, OverflowError, OSError):  # the name has no time, or a year that the system does not know
        pass
    try:
        found = list(path.iterdir())
    except OSError as error:
        problem = f"can't be read: {error.strerror or error}"
    else:
        if holds_run(path):
            return _summarize(RunFolder(path), started_at, name)
        problem = "no config.yaml, no run.json" if found else "empty folder"
        if inner := sum(map(holds_run, found)):
            problem = f"no run, but {inner} in it: mnist-runs {one_line(str(path), 200)}"
    return RunSummary(path, name, (problem,), status=DAMAGED, started_at=started_at)


def _summarize(folder: RunFolder, started_at: datetime | None, name: str) -> RunSummary:
    """Return the summary of a folder; `started_at` and `name` are taken from its name, and used if no file has them."""
    problems: list[str] = []
    record = read_record(folder.path / "run.json", problems)
    kind, status, config = record.kind or "run", record.status, None
    if kind != "sweep" or record.best:
        config = read_config(folder.path / "best.yaml" if kind == "sweep" else folder.config, problems)
    rows = read_metrics(folder.metrics, problems)
    if status == "finished" and kind == "run" and not rows and not problems:
        problems.append(f"no {folder.metrics.name}")
    best = vars(record.best) if record.best else _best_row(record, config, rows)
    validation, test = _means(record.validation), _means(record.test)
    is_dead = status == "running" and kind != "sweep" and not is_locked(folder.path)
    versions = {f"versions.{key}": version for key, version in (record.versions or {}).items()}
    return RunSummary(
        path=folder.path,
        name=record.name or (config.name if config else name),
        problems=tuple(problems),
        kind=kind,
        status=KILLED if is_dead else status or (DAMAGED if problems else None),
        stop_reason=record.stop_reason,
        started_at=record.started_at or started_at,
        finished_at=record.finished_at,
        model=record.model or (config.model.architecture if config else None),
        data=record.data.name if record.data else config.data.name if config else None,
        parameters=record.parameters,
        seed=config.seed if config else record.seed,
        loss=_loss_kind(config, record.custom or {}),
        epochs=record.epochs or len(rows) or record.epochs,  # run.json says 0 until the run ends
        planned_epochs=config.training.epochs if config else None,
        best_epoch=record.best_epoch or (int(best["epoch"] or 0) if best else None),
        val_loss=validation.get("loss", best.get("val_loss")),
        val_accuracy=validation.get("accuracy", best.get("val_accuracy")),
        test_loss=test.get("loss"),
        test_accuracy=test.get("accuracy"),
        test_interval=test.get("interval"),
        seconds=_seconds(record.timings or Timings(), rows),
        members=record.trials if kind == "sweep" else len(record.seeds or ()) or None,
        written_at=_written_at(folder) if status == "running" else None,
        made_with=record.model_dump(include={"device", "precision", "threads", "git_commit"}) | versions,
        config=config.model_dump(mode="json") if config else {},
        rows=rows,
    )


def _means(metrics: Metrics | None) -> dict[str, Any]:
    """Return loss, accuracy and the interval of the accuracy (of several models: the means); empty without metrics."""
    if metrics is None:
        return {}
    loss, accuracy = (each.mean if isinstance(each, Spread) else each for each in (metrics.loss, metrics.accuracy))
    interval = metrics.accuracy.interval if isinstance(metrics.accuracy, Spread) else metrics.interval
    return {"loss": loss, "accuracy": accuracy, "interval": interval}


def _best_row(record: RunRecord, config: Config | None, rows: tuple[Row, ...]) -> Row:
    """Return the row of the epoch that was kept, by default the best one; without rows it is empty."""
    if record.best_epoch:
        return next((row for row in rows if row["epoch"] == record.best_epoch), {})
    rule = config.training.early_stopping if config else None
    key, sign = ("val_accuracy", 1) if rule and rule.monitor == "val_accuracy" else ("val_loss", -1)
    keeps_last = config is not None and config.training.keep == "last"
    validated = [] if keeps_last else [row for row in rows if row.get(key) is not None]
    return max(validated or rows[-1:], key=lambda row: sign * (row.get(key) or 0.0), default={})


def _loss_kind(config: Config | None, custom: Mapping[str, str]) -> str | None:
    """Return the kind of the loss; two losses can be compared if their kinds are equal."""
    if config is None or "loss" in custom:
        return custom.get("loss")
    weights = config.loss.class_weights
    given = "" if weights is None else f", class_weights {weights if isinstance(weights, dict) else list(weights)}"
    return f"{config.loss.name}, {config.loss.reduction}{given}"


def _seconds(timings: Timings, rows: tuple[Row, ...]) -> float | None:
    """Return the seconds of training: of a run, of all runs of a series, or of a whole sweep."""
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
