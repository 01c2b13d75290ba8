"""Normalization of pixels with the mean and standard deviation of the training images."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Literal, assert_never

import numpy as np
import torch
from torch import Tensor

from mnist_trainer.data.image_dataset import ImageDataset

CHUNK = 64
"""Number of images whose pixels are summed at once: the sum of squares, at most 64 · 784 · 255², fits into uint32."""


@dataclass(frozen=True)
class Normalization:
    """The function (pixel / 255 − mean) / std."""

    mean: float
    std: float

    def apply(self, images: Tensor) -> Tensor:
        """Return normalized images, float32 [B, 1, 28, 28], from images [B, 28, 28] with pixels from 0 to 255."""
        return images.to(torch.float32, copy=True).sub_(255 * self.mean).div_(255 * self.std).unsqueeze(1)


def measure(dataset: ImageDataset, kind: Literal["mean_std", "unit", "none"]) -> Normalization:
    """Return the normalization for `dataset`.

    `mean_std` normalizes to mean 0 and standard deviation 1, `unit` to pixels from 0 to 1; `none` leaves 0 to 255.
    """
    match kind:
        case "mean_std":
            return _mean_and_deviation(dataset)
        case "unit":
            return Normalization(0.0, 1.0)
        case "none":
            return Normalization(0.0, 1 / 255)
        case _:
            assert_never(kind)


def _mean_and_deviation(dataset: ImageDataset) -> Normalization:
    """Return the normalization to mean 0 and standard deviation 1."""
    # Sums of integers are the same on every machine and in any order.
    pixels = total = squares = 0
    for images in dataset.images.split(CHUNK):
        values = images.cpu().numpy().astype(np.uint32)
        pixels += values.size
        total += int(values.sum(dtype=np.uint32))
        values *= values
        squares += int(values.sum(dtype=np.uint32))
    deviation = sqrt(pixels * squares - total**2) / pixels
    # The standard deviation of images of a single grey level is 0.
    return Normalization(total / pixels / 255, deviation / 255 or 1.0)
