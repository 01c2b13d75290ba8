"""What a run's folder tells, read with patience: whatever is missing, torn or garbled is named and left out."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, Strict, ValidationError, ValidationInfo, WrapValidator

from mnist_trainer.config.load import load_config
from mnist_trainer.config.schema import Config
from mnist_trainer.errors import ConfigError
from mnist_trainer.storage.run_folder import RunFolder

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
