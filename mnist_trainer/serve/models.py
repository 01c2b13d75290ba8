"""The models of a server: those that it was started with, and the newest weights of each run in its folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from fastapi import HTTPException
from numpy.typing import NDArray

from mnist_trainer.pipeline.predict import Reader, checkpoint_reader, load_reader
from mnist_trainer.storage.onnx_file import ArrayPredictor, recorded_test
from mnist_trainer.storage.run_folder import RunFolder, find_checkpoint

if TYPE_CHECKING:
    from mnist_trainer.storage.checkpoint import Checkpoint

RUN = "run:"
"""Prefix of the names of models that are runs."""

MAX_RUNS = 4
"""The number of runs whose models are kept in memory."""


@dataclass(frozen=True)
class ServedModel:
    """A model, and the name by which requests call it.

    `test` are its metrics on the test images, if they are known; `epoch` is the number of complete epochs of a run
    that has not finished.
    """

    name: str
    reader: Reader
    sha256: str
    test: dict[str, Any] | None = None
    epoch: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return an entry of `/v1/models`."""
        return {
            "name": self.name,
            "sha256": self.sha256,
            "classes": self.reader.classes,
            "can_refuse": self.reader.predictor.refusal_threshold is not None,
            "trained_on": self.reader.trained_on,
            "limits": self.reader.limits,
            "test": self.test,
        }


class Models:
    """Models by name; those of runs are loaded when they are asked for, and again when their file has changed.

    `find_run` returns the folder of a run, or raises `HTTPException`: no name of a client becomes a path.

    Raises `CheckpointError` if one of `names` (as `mnist-predict --checkpoint` takes them) can't be loaded.
    """

    def __init__(self, names: Sequence[str], find_run: Callable[[str], Path]) -> None:
        self.find_run = find_run
        self.fixed = {name: _load(name) for name in names}
        self.runs: dict[str, tuple[tuple[Path, int], ServedModel]] = {}
        self._lock = Lock()

    def find(self, name: str) -> ServedModel:
        """Return the model `name`; the first one for an empty name.

        Raises `HTTPException` (404) if there is none, `CheckpointError` if a run has no model yet, or a damaged one.
        """
        if name.startswith(RUN):
            return self._newest_of_run(name)
        if name and name not in self.fixed:
            raise HTTPException(404, f"There is no model {name}. GET /v1/models and GET /v1/runs list them.")
        return self.fixed[name or next(iter(self.fixed))]

    def _newest_of_run(self, name: str) -> ServedModel:
        """Return the model of the last step of a run that trains or was stopped, or the best one of a finished run."""
        folder = RunFolder(self.find_run(name.removeprefix(RUN)))
        is_finished = folder.read_record().get("status") == "finished"
        with self._lock:
            path = folder.last if folder.last.exists() and not is_finished else find_checkpoint(str(folder.path))
            version = path, path.stat().st_mtime_ns if path.exists() else 0
            known = self.runs.pop(name, None)
            model = known[1] if known and known[0] == version else _load_run(name, path)
            self.runs[name] = version, model
            while len(self.runs) > MAX_RUNS:
                del self.runs[next(iter(self.runs))]
        return model


def _load(name: str) -> ServedModel:
    path = find_checkpoint(name)
    reader = load_reader(name)
    return ServedModel(name, _locked(reader), hashlib.sha256(path.read_bytes()).hexdigest(), recorded_test(path))


def _load_run(name: str, path: Path) -> ServedModel:
    """Return the model in `best.pt`, or that of the last step in `last.pt`. Raises `CheckpointError`."""
    from mnist_trainer.storage.checkpoint import load_checkpoint

    loaded = load_checkpoint(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    epoch = None if loaded.training_state is None else loaded.training_state["epoch"]
    return ServedModel(name, _locked(checkpoint_reader(_newest(loaded), name)), digest, recorded_test(path), epoch)


def _newest(checkpoint: Checkpoint) -> Checkpoint:
    """Return a checkpoint with the weights of the last step instead of those of the best epoch."""
    state = checkpoint.training_state
    if state is None:
        return checkpoint
    averages = {
        key.removeprefix("module."): value for key, value in (state["ema"] or {}).items() if key.startswith("module.")
    }
    member = replace(checkpoint.only, weights=averages or state["model"])
    return replace(checkpoint, members=(member,), training_state=None)


def _locked(reader: Reader) -> Reader:
    """Return a reader that several threads may use: OpenCV's networks take one batch at a time."""
    rows = None if reader.rows is None else _one_at_a_time(reader.rows)
    return replace(reader, predictor=_one_at_a_time(reader.predictor), rows=rows)


def _one_at_a_time(predictor: ArrayPredictor) -> ArrayPredictor:
    lock = Lock()

    def run(images: NDArray[np.uint8]) -> tuple[NDArray[Any], ...]:
        """Run the network, when no other thread does."""
        with lock:
            return predictor.run(images)

    return replace(predictor, run=run)
