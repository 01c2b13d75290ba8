"""The data set `digits`, which is included in the package and needs no download (source: LICENSE-digits.md)."""

from __future__ import annotations

import gzip
from importlib.resources import files
from io import BytesIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from mnist_trainer.config.classes import DIGITS
from mnist_trainer.data.image_dataset import ImageDataset, Part

SIDE, INK = 28, 20
CENTRE = 14
"""Where MNIST has the centroid of the ink, as a 0-based index of rows and columns (measured on its files)."""


def to_mnist(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return MNIST-like images [N, 28, 28] from images [N, S, S], S < 20, from 0 (paper) to 1 (ink).

    The ink must fill each image. It is enlarged to 20×20 by bicubic interpolation, and placed so that its centroid is
    as near as possible to index 14.
    """
    # From here on numpy, because torch would synchronize its threads in dozens of small steps.
    smooth = interpolate(torch.from_numpy(images)[:, None], size=(INK, INK), mode="bicubic")[:, 0].numpy()
    frames = (smooth.clip(0, 1) * 255).round().astype(np.uint8)
    tops, lefts = (_offsets(frames.sum(axis=axis, dtype=np.int64)) for axis in (2, 1))
    enlarged = np.zeros((len(frames), SIDE, SIDE), np.uint8)
    for top, left in sorted(set(zip(tops.tolist(), lefts.tolist(), strict=True))):
        same = (tops == top) & (lefts == left)
        enlarged[same, top : top + INK, left : left + INK] = frames[same]
    return enlarged


def _offsets(profiles: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the offset [N] of each row of ink sums [N, 20] that moves its centroid to `CENTRE`."""
    centroids: NDArray[np.float64] = profiles @ np.arange(INK) / profiles.sum(axis=1).clip(min=1)
    return (CENTRE - centroids).round().astype(np.int64).clip(0, SIDE - INK)


TEST_SHARE = 5
"""The last fifth of each class, rounded down, is the test set."""


def load_digits(part: Part) -> ImageDataset:
    """Return 1,442 training images or 355 test images, 8×8 enlarged to 28×28, in the order of the file."""
    packed = files("mnist_trainer.data").joinpath("digits.csv.gz").read_bytes()
    table = np.loadtxt(BytesIO(gzip.decompress(packed)), delimiter=",", dtype=np.uint8)
    chosen = _in_test(table[:, 64]) == (part == "test")
    images = to_mnist(table[chosen, :64].reshape(-1, 8, 8).astype(np.float32) / np.float32(16))
    labels = torch.from_numpy(table[chosen, 64].astype(np.int64))
    return ImageDataset(torch.from_numpy(images), labels, torch.arange(len(labels)), DIGITS)


def _in_test(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which images with `labels` [N] belong to the test set."""
    is_test = np.zeros(len(labels), np.bool_)
    for label in np.unique(labels):
        of_class = np.flatnonzero(labels == label)
        is_test[of_class[len(of_class) - len(of_class) // TEST_SHARE :]] = True
    return is_test
