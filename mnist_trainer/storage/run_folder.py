"""A run's folder: config, status, metrics, checkpoints and plots of one training; and how a user's name finds it.

runs/2026-03-14_15-09-26-mlp/
  config.yaml    complete, can be trained as it is; the first file to appear
  run.json       status, versions, device, timings, result
  metrics.csv    one row for each epoch, appended in one write
  best.pt        the best epoch's weights: all that eval and predict need
  last.pt        the same and the state of the training, to resume from
  plots/*.png    log.txt
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

from mnist_trainer.errors import CheckpointError, UsageError
from mnist_trainer.files import (
    append_line,
    folder_lock,
    is_folder,
    make_folder,
    remove_file,
    user_path,
    write_bytes,
    write_text,
)

COLUMNS = (
    *("epoch", "phase", "train_loss", "train_accuracy", "val_loss", "val_accuracy"),
    *("lr", "gradient_norm", "seconds", "images_per_second"),
)

RUN_FILES = ("config.yaml", "run.json", "metrics.csv", "best.pt", "last.pt")
"""A folder with one of these holds a run."""

RUNS = Path("runs")
"""The default folder of runs, below the working directory."""

LR_RANGES = RUNS / "find-lr"
"""The folder of the plots of `mnist-train --find-lr`."""

BUNDLED = "bundled"
"""Stands for the model that comes with the package, `mnist_trainer/bundled.pt`. `bundled.onnx` is its twin."""

BUNDLED_ROWS = "bundled-rows.pt"
"""The model of rows that comes with the package and reads together with the bundled model."""


class RunFolder:
    """The files of one run. No other module knows the names of its files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.metrics = path / "metrics.csv"
        self.best = path / "best.pt"
        self.last = path / "last.pt"
        self.plots = path / "plots"

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Replace `run.json`."""
        write_text(self.path / "run.json", json.dumps(record, indent=2, ensure_ascii=False) + "\n")

    def read_record(self) -> dict[str, Any]:
        """Return the content of `run.json`; empty if it is missing or damaged."""
        try:
            record = json.loads((self.path / "run.json").read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return record if isinstance(record, dict) else {}

    def add_metrics(self, row: Mapping[str, object]) -> None:
        """Append an epoch's row to `metrics.csv`, and the header before the first row."""
        if not self.metrics.exists():
            append_line(self.metrics, ",".join(COLUMNS))
        append_line(self.metrics, _metrics_line(row))

    def rewrite_metrics(self, rows: Iterable[Mapping[str, object]]) -> None:
        """Replace `metrics.csv` by `rows`; without any row it is removed."""
        lines = [",".join(COLUMNS), *map(_metrics_line, rows)]
        if len(lines) == 1:
            remove_file(self.metrics)
        else:
            write_text(self.metrics, "".join(f"{line}\n" for line in lines))

    def log(self, line: str) -> None:
        """Append a line with the time to `log.txt`."""
        append_line(self.path / "log.txt", f"{datetime.now():%Y-%m-%d %H:%M:%S}  {line}")

    def write_plot(self, name: str, png: bytes) -> None:
        """Write a picture to `plots/<name>`."""
        make_folder(self.plots)
        write_bytes(self.plots / name, png)


def _metrics_line(row: Mapping[str, object]) -> str:
    """Return a row of `metrics.csv`; None is an empty cell."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="").writerow("" if row[name] is None else row[name] for name in COLUMNS)
    return stream.getvalue()


def create_run_folder(name: str, folder: Path | None = None) -> RunFolder:
    """Create `folder`, or a new one `runs/<time>-<name>`, with the suffix -2, -3, … if another run has that name.

    Raises `UsageError` if `folder` already holds a run, `StorageError` if it cannot be created.
    """
    if folder is not None:
        check_free(folder)
        make_folder(folder)
        return RunFolder(folder)
    path = first = RUNS / f"{datetime.now():%Y-%m-%d_%H-%M-%S}-{name}"
    for number in count(2):
        with suppress(FileExistsError):
            make_folder(path, exist_ok=False)
            break
        path = first.with_name(f"{first.name}-{number}")
    return RunFolder(path)


def holds_run(folder: Path) -> bool:
    """Return whether `folder` holds a run, finished or not."""
    return any(os.path.lexists(folder / name) for name in RUN_FILES)


def belongs_to_run(path: Path) -> bool:
    """Return whether `path` is, or would be, a file of a run."""
    return path.name in (*RUN_FILES, "log.txt") and holds_run(path.parent)


def check_output_file(out: Path, sources: Sequence[Path]) -> None:
    """Raise `UsageError` if `out` is a folder, one of the files `sources`, or a file of a run."""
    if out.exists() and any(out.samefile(source) for source in sources):
        raise UsageError(f"{out} is one of the checkpoints, and is not overwritten. Name another file to write to.")
    if is_folder(out):
        raise UsageError(f"{out} is a folder. Name a file to write to.")
    if belongs_to_run(out):
        raise UsageError(
            f"{out} belongs to the run in that folder, and is not overwritten. Name another file to write to."
        )


def check_free(folder: Path) -> None:
    """Raise `UsageError` if `folder` holds a run, `StorageError` if it is locked, can't be written, or is a file."""
    if is_folder(folder):
        with folder_lock(folder):
            check_no_run(folder)
    else:
        check_not_file(folder)


def check_not_file(folder: Path | None) -> None:
    """Raise `StorageError` if `folder` exists and is not a folder."""
    if folder is not None and os.path.lexists(folder):
        make_folder(folder)


def check_no_run(folder: Path) -> None:
    """Raise `UsageError` if `folder` holds a run."""
    if holds_run(folder):
        raise UsageError(f"{folder} already holds a run. Choose another --run-dir, or remove it first.")


def is_series(folder: Path) -> bool:
    """Return whether `folder` holds a series of runs, with a subfolder for each seed."""
    return RunFolder(folder).read_record().get("kind") == "seeds"


def as_folder(run_dir: str | Path | None) -> Path | None:
    """Return the path that `run_dir` names. Raises `UsageError` for other types."""
    if run_dir is not None and not isinstance(run_dir, str | os.PathLike):
        raise UsageError(f"run_dir names a folder, as in run_dir='runs/x', not {run_dir!r}.")
    return None if run_dir is None else user_path(run_dir)


def find_path(name: str) -> Path:
    """Return the path `name`; if it does not exist, the path of this name below `runs/`, if that exists."""
    path, below = user_path(name), RUNS / name
    return below if name and not os.path.lexists(path) and os.path.lexists(below) else path


def tried_paths(path: Path) -> str:
    """Return where `find_path` looked for a path that does not exist, as a part of a message."""
    return "" if path.is_absolute() or path.is_relative_to(RUNS) else f", here or in {RUNS}"


def latest_run(runs: Path = RUNS) -> RunFolder:
    """Return the finished run under `runs`, or in a series there, that ended last. Raises `CheckpointError`."""
    finished: list[tuple[str, str]] = []
    for path in (*runs.glob("*/run.json"), *runs.glob("*/seed-*/run.json")):
        folder = RunFolder(path.parent)
        record = folder.read_record() if folder.best.exists() else {}
        if record.get("status") == "finished":
            finished.append((str(record.get("finished_at")), str(folder.path)))
    if not finished:
        raise CheckpointError(
            f"There is no finished run under {runs}. Train one (mnist-train --config quickstart) or name a checkpoint."
        )
    return RunFolder(Path(max(finished)[1]))


def find_checkpoint(ref: str) -> Path:
    """Return the `.pt` file that `ref` stands for: itself, a run folder's `best.pt`, `latest`, or `bundled`.

    `bundled` always is the package's own model. Raises `CheckpointError` if there is none.
    """
    if ref == BUNDLED:
        return Path(__file__).parents[1] / "bundled.pt"
    path = find_path(ref)
    if ref == "latest" and not Path(ref).exists():
        return latest_run().best
    if is_folder(path):
        return _best_of_folder(path)
    if not os.path.lexists(path):
        raise CheckpointError(
            f"{path}: there is no such file{tried_paths(path)}. Name a .pt file, a run folder, latest or bundled."
        )
    return path


def _best_of_folder(path: Path) -> Path:
    """Return the `best.pt` in a folder. Raises `CheckpointError` that says what the folder is if it has none."""
    folder = RunFolder(path)
    if is_series(path):
        runs = path / "seed-*"
        raise CheckpointError(f"{path} is a series: its models are in {runs}. Name one of these folders, or all.")
    if not os.path.lexists(folder.best):
        record = folder.read_record()
        reason = "its training has not completed an epoch" if record else "it is no run folder"
        if record.get("kind") == "sweep":
            reason = f"it is a sweep, which keeps no models; train its best one: --config {path / 'best.yaml'}"
        elif any(map(holds_run, path.glob("*"))):
            reason = "it is a folder of runs; name one of them"
        raise CheckpointError(f"{path} holds no best.pt: {reason}.")
    return folder.best
