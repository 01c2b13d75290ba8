"""Small pictures made into MNIST's: 20 px high or wide, in 28×28, by their centre of mass."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

SIDE, INK = 28, 20
CENTRE = 14.0
"""Where MNIST has the centroid of the ink, as a 0-based index of rows and columns (measured on its files)."""


def to_mnist(images: Tensor) -> Tensor:
    """uint8 [N, 28, 28] from float [N, S, S] with values 0 (paper) to 1 (ink), S < 20, whose ink fills the frame.

    The frame becomes 20×20 by bicubic interpolation and is moved by whole pixels, not cut, to where the centroid is
    nearest to 14.
    """
    frames = interpolate(images[:, None], size=(INK, INK), mode="bicubic", align_corners=False)[:, 0]
    frames = frames.clamp_(0, 1).mul_(255).round_().to(torch.uint8)
    places = torch.stack((_offsets(frames.sum(2)), _offsets(frames.sum(1))), 1)
    enlarged = frames.new_zeros(len(frames), SIDE, SIDE)
    for top, left in sorted(set(map(tuple, places.tolist()))):
        same = (places[:, 0] == top) & (places[:, 1] == left)
        enlarged[same, top : top + INK, left : left + INK] = frames[same]
    return enlarged


def _offsets(profile: Tensor) -> Tensor:
    """int64 [N]: by how much to move each row of ink sums [N, 20] so that its centroid comes to `CENTRE`."""
    positions = torch.arange(INK, dtype=torch.float64)
    centroids = (profile.double() @ positions) / profile.sum(1).clamp(min=1)
    return (CENTRE - centroids).round().long().clamp(0, SIDE - INK)
