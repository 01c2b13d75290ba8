"""The runs in a folder, one `RunSummary` each, whatever state their folders are in."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mnist_trainer.config.document import printable
from mnist_trainer.config.schema import Config
from mnist_trainer.errors import UsageError
from mnist_trainer.locks import is_locked
from mnist_trainer.storage.find import find_place, places_tried
from mnist_trainer.storage.run_folder import MARKS, RunFolder
from mnist_trainer.studies.runs.records import (
    Metrics,
    Record,
    Row,
    Spread,
    Timings,
    read_config,
    read_metrics,
    read_record,
)
from mnist_trainer.studies.runs.sharing import read_all
from mnist_trainer.studies.runs.summary import DAMAGED, KILLED, RunSummary

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
        return f"no run, but {inner} in it: mnist-runs {printable(str(path), 200)}"
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
