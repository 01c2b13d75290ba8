"""Read MNIST's files as numpy arrays, in the fastest way."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def read(part: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return images [N, 28, 28] from 0 to 1 and labels [N] of `train` or `t10k`, from MNIST_TRAINER_DATA/MNIST/raw."""
    folder = Path(os.environ["MNIST_TRAINER_DATA"]) / "MNIST" / "raw"
    images = np.fromfile(folder / f"{part}-images-idx3-ubyte", np.uint8)[16:].reshape(-1, 28, 28)
    labels = np.fromfile(folder / f"{part}-labels-idx1-ubyte", np.uint8)[8:]
    return images.astype(np.float32) / 255, labels.astype(np.int64)
