"""A small made-up run, as reports are given it, and the pixels of a plot."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from mnist_trainer.config.load import load_config
from mnist_trainer.inference.metrics import Evaluation, confusion_matrix, metrics_by_class, wilson_interval
from mnist_trainer.reports.callbacks import Run, RunInfo
from mnist_trainer.training.loop import EpochRecord

CLASSES = ("not 7", "7")


def pixels(png: bytes) -> NDArray[np.int64]:
    """The picture [height, width, 3]."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    with Image.open(BytesIO(png)) as image:
        assert "Software" not in image.info
        return np.asarray(image.convert("RGB")).astype(np.int64)


def where(picture: NDArray[np.int64], colour: tuple[int, int, int]) -> NDArray[np.bool_]:
    """Which pixels [height, width] have (nearly) this colour."""
    close: NDArray[np.bool_] = np.abs(picture - colour).max(axis=2) <= 3
    return close


@pytest.fixture
def info() -> RunInfo:
    return RunInfo(
        name="mlp",
        data="mnist: 55,000 images to train, 5,000 to validate",
        model="mlp 784-512-256-10, relu, 535,818 parameters",
        device="cpu, float32, 2 threads",
        seed=0,
        epochs=12,
        folder=Path("runs") / "one",
    )


@pytest.fixture
def record() -> EpochRecord:
    return EpochRecord(
        epoch=3,
        train_loss=0.12344,
        train_accuracy=0.96,
        val_loss=0.08766,
        val_accuracy=0.974,
        lr=0.00123,
        seconds=2.345,
        images_per_second=23456.7,
        terms={"cross_entropy": 0.1, "penalties": 0.02344},
        best=True,
        kept=True,
        gradient_norm=1.25,
    )


@pytest.fixture
def evaluation() -> Evaluation:
    labels = torch.tensor([0] * 1990 + [1] * 10)
    predicted = labels.clone()
    predicted[:3] = 1
    confusion = confusion_matrix(labels, predicted, 2)
    return Evaluation(
        accuracy=1997 / 2000,
        errors=3,
        count=2000,
        loss=0.01234,
        interval=wilson_interval(1997, 2000),
        ece=0.00456,
        per_class=metrics_by_class(confusion, CLASSES),
        confusion=((1987, 3), (0, 10)),
        dataset="mnist",
        split="test",
    )


@pytest.fixture
def result(evaluation: Evaluation, record: EpochRecord) -> Run:
    config = load_config({"model": {"architecture": "mlp", "hidden": [8]}})
    plots = ("plots/curves.png", "plots/confusion.png")
    return Run(Path("runs") / "one", config, (record,), 3, "epochs", evaluation, None, nn.Identity(), 31.26, plots)
