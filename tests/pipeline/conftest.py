"""A config that trains in a fraction of a second, and a callback that remembers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from torch import Tensor

from mnist_trainer.reports.callbacks import Callback, Run, RunInfo
from mnist_trainer.storage.run_folder import holds_run
from mnist_trainer.training.loop import EpochRecord

TINY: dict[str, Any] = {
    "name": "tiny",
    "precision": "float32",  # the same products within and without `train`, on every CPU
    "threads": 1,
    "data": {"name": "digits", "limit": 20, "batch_size": 32, "validation": 40},
    "model": {"architecture": "mlp", "hidden": [8]},
    "training": {"epochs": 2},
    "report": {"plots": False, "gallery": False},
}


class Remembering(Callback):
    """Keeps what it is told; asks for a stop after `stop_after` steps in all."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.told: list[str] = []
        self.warnings: list[tuple[str, str]] = []
        self.headers: list[RunInfo] = []
        self.outcomes: list[Run] = []
        self.records: list[EpochRecord] = []
        self.steps: list[tuple[int, int, int]] = []
        self.could_stop: set[bool] = set()
        self.stop_after = stop_after

    def on_warning(self, path: str, reason: str) -> None:
        self.warnings.append((path, reason))

    def on_train_start(self, header: RunInfo) -> None:
        self.told.append("started")
        self.headers.append(header)

    def on_step_end(self, epoch: int, step: int, steps: int) -> None:
        self.steps.append((epoch, step, steps))
        self.could_stop.add(self.can_stop)
        self.should_stop = len(self.steps) == self.stop_after

    def on_epoch_end(self, record: EpochRecord) -> None:
        self.told.append(f"epoch {record.epoch}")
        self.records.append(record)

    def on_refit_start(self, epochs: int, images: int) -> None:
        self.told.append(f"refitting {epochs} on {images}")

    def on_test_start(self) -> None:
        self.told.append("drawing")

    def on_train_end(self, outcome: Run) -> None:
        self.told.append("finished")
        self.outcomes.append(outcome)


@pytest.fixture
def tiny() -> dict[str, Any]:
    return {key: dict(value) if isinstance(value, dict) else value for key, value in TINY.items()}


@pytest.fixture
def callback() -> Remembering:
    return Remembering()


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, so that no test leaves runs behind."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def pictures() -> Callable[[Path, dict[str, int]], None]:
    """Writes a folder of pictures: a sub-folder for each name, with 15 pictures of the digit it stands for."""
    from mnist_trainer.data.digits import load_digits

    digits = load_digits("train")
    images = digits.images
    assert isinstance(images, Tensor)

    def write(folder: Path, classes: dict[str, int]) -> None:
        for name, digit in classes.items():
            (folder / name).mkdir(parents=True)
            for index, image in enumerate(images[digits.labels == digit][:15]):
                Image.fromarray(image.numpy()).save(folder / name / f"{index}.png")

    return write


SMALL = """\
name: tiny
threads: 1
data: {name: digits, limit: 8, batch_size: 32, validation: 40}
model: {architecture: mlp, hidden: [8], dropout: 0.3}
optimizer: {name: adam, lr: 0.01}
training: {epochs: 2, checkpoint_seconds: 0}
report: {plots: false, gallery: false}
"""
Command = Callable[..., list[str]]


@pytest.fixture
def command(here: Path) -> Command:
    """`command(folder, *overrides)`: starts a small run in `folder`, or resumes it."""
    (here / "tiny.yaml").write_text(SMALL)

    def arguments(folder: Path, *overrides: str) -> list[str]:
        if holds_run(folder):
            return ["--resume", str(folder)]
        return ["--config", str(here / "tiny.yaml"), "--run-dir", str(folder), *overrides]

    return arguments
