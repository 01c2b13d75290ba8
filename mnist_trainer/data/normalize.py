"""Normalization of pixels, measured on the training images."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Literal, assert_never

import numpy as np
import torch
from torch import Tensor

from mnist_trainer.data.image_dataset import ImageDataset

CHUNK = 64
"""Images whose pixels are summed at once: their squares, at most 64 · 784 · 255² < 2³², fit into uint32."""


@dataclass(frozen=True)
class Normalization:
    """(pixel / 255 − mean) / std."""

    mean: float
    std: float

    def apply(self, images: Tensor) -> Tensor:
        """Return float32 [B, 1, 28, 28] from images [B, 28, 28] of 0 to 255, on the same device."""
        return images.to(torch.float32, copy=True).sub_(255 * self.mean).div_(255 * self.std).unsqueeze(1)


def measure(dataset: ImageDataset, kind: Literal["mean_std", "unit", "none"]) -> Normalization:
    """Return what brings `dataset` to mean 0 and standard deviation 1 (`mean_std`) or pixels to 0…1 (`unit`).

    `none` leaves them 0…255.
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
    # Sums of integers: the same to the last bit on every machine, in any order.
    pixels = total = squares = 0
    for images in dataset.images.split(CHUNK):
        values = images.cpu().numpy().astype(np.uint32)
        pixels += values.size
        total += int(values.sum(dtype=np.uint32))
        values *= values
        squares += int(values.sum(dtype=np.uint32))
    deviation = sqrt(pixels * squares - total**2) / pixels
    # Pictures of one single grey have no deviation to divide by.
    return Normalization(total / pixels / 255, deviation / 255 or 1.0)
