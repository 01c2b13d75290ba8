"""Small pictures made into MNIST's: 20 px high or wide, in 28×28, by their centre of mass."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

SIDE, INK = 28, 20
CENTRE = 14
"""Where MNIST has the centroid of the ink, as a 0-based index of rows and columns (measured on its files)."""


def to_mnist(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    """[N, 28, 28] from [N, S, S] with values 0 (paper) to 1 (ink), S < 20, whose ink fills the frame.

    The frame becomes 20×20 by bicubic interpolation and is moved by whole pixels, not cut, to where the centroid is
    nearest to index 14.
    """
    # numpy from here on: dozens of small steps, which torch would share out among threads, each time waiting for all.
    smooth = interpolate(torch.from_numpy(images)[:, None], size=(INK, INK), mode="bicubic")[:, 0].numpy()
    frames = (smooth.clip(0, 1) * 255).round().astype(np.uint8)
    tops, lefts = (_offsets(frames.sum(axis=axis, dtype=np.int64)) for axis in (2, 1))
    enlarged = np.zeros((len(frames), SIDE, SIDE), np.uint8)
    for top, left in sorted(set(zip(tops.tolist(), lefts.tolist(), strict=True))):
        same = (tops == top) & (lefts == left)
        enlarged[same, top : top + INK, left : left + INK] = frames[same]
    return enlarged


def _offsets(profiles: NDArray[np.int64]) -> NDArray[np.int64]:
    """[N]: by how much to move each row of ink sums [N, 20] so that its centroid comes to `CENTRE`."""
    centroids: NDArray[np.float64] = profiles @ np.arange(INK) / profiles.sum(axis=1).clip(min=1)
    return (CENTRE - centroids).round().astype(np.int64).clip(0, SIDE - INK)
