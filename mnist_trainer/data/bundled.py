"""The data set that comes with the package, for a first run without a network (source: LICENSE-digits.md)."""

from __future__ import annotations

import gzip
from importlib.resources import files
from io import BytesIO

import numpy as np
import torch
from numpy.typing import NDArray

from mnist_trainer.config.classes import DIGITS
from mnist_trainer.data.dataset import LabeledImages, Part
from mnist_trainer.data.enlarge import to_mnist

TEST_SHARE = 5
"""The last fifth of each class, rounded down, is the test set."""


def load_digits(part: Part) -> LabeledImages:
    """1,442 images to train with or 355 to test with, 8×8 enlarged to 28×28, in the order of the file."""
    packed = files("mnist_trainer.data").joinpath("digits.csv.gz").read_bytes()
    table = np.loadtxt(BytesIO(gzip.decompress(packed)), delimiter=",", dtype=np.uint8)
    chosen = _in_test(table[:, 64]) == (part == "test")
    images = to_mnist(table[chosen, :64].reshape(-1, 8, 8).astype(np.float32) / np.float32(16))
    return LabeledImages(torch.from_numpy(images), torch.from_numpy(table[chosen, 64].astype(np.int64)), DIGITS)


def _in_test(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    marks = np.zeros(len(labels), np.bool_)
    for label in np.unique(labels):
        of_class = np.flatnonzero(labels == label)
        marks[of_class[len(of_class) - len(of_class) // TEST_SHARE :]] = True
    return marks
