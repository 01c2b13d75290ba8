"""Finds the file or folder that a user names: a path, a name below `runs/`, `latest` or `bundled`."""

from __future__ import annotations

import os
from pathlib import Path

from mnist_trainer.errors import CheckpointError
from mnist_trainer.files import is_folder, user_path
from mnist_trainer.storage.run_folder import RUNS, RunFolder, holds_run, is_series

BUNDLED = "bundled"
"""Stands for the model that comes with the package, `mnist_trainer/bundled.pt`."""


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
