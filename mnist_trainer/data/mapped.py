"""Images that stay where they are until a batch of them is asked for: in a file, or off a card that is too small.

`ImageDataset` treats them like a tensor: the same positions give the same images, wherever these lie.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mnist_trainer.data.memory import too_large

CPU = torch.device("cpu")

CHUNK_SIZE = 4096
"""Images that go to a card at once."""


@dataclass(frozen=True, eq=False)
class MappedImages:
    """Stands for images uint8 [N, 28, 28]."""

    parts: tuple[NDArray[np.uint8], ...]
    """Each [M, 28, 28], in a file that is mapped into memory or in the computer's memory."""
    rows: Tensor
    """int64 [N], on the CPU: where each image stands, counted through all parts."""
    target: torch.device = CPU
    """Where those go that are asked for."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def device(self) -> torch.device:
        """Where positions are looked up."""
        return self.rows.device

    @property
    def nbytes(self) -> int:
        """Of all images, were they in memory."""
        return len(self) * prod(self.parts[0].shape[1:])

    def index_select(self, dimension: int, positions: Tensor) -> Tensor:
        """The images [B, 28, 28] at `positions` [B], on `target`; `dimension` is always 0."""
        rows = self.rows.index_select(dimension, positions).numpy()
        images = np.empty((len(rows), *self.parts[0].shape[1:]), np.uint8)
        start = 0
        for part in self.parts:
            inside = (start <= rows) & (rows < start + len(part))
            images[inside] = part[rows[inside] - start]
            start += len(part)
        return torch.from_numpy(images).to(self.target)

    def split(self, size: int) -> Iterator[Tensor]:
        """All images, `size` at a time."""
        for start in range(0, len(self) or 1, size):  # like torch, one piece of nothing
            yield self.index_select(0, torch.arange(start, min(start + size, len(self))))


Images = Tensor | MappedImages


def as_images(pixels: NDArray[np.uint8]) -> Images:
    """`pixels` [N, 28, 28] as a tensor, or where they are: what cannot be written is a mapped file."""
    return torch.from_numpy(pixels) if pixels.flags.writeable else _as_mapped(pixels)


def _as_mapped(pixels: NDArray[np.uint8]) -> MappedImages:
    return MappedImages((pixels,), torch.arange(len(pixels)))


def select(images: Images, positions: Tensor) -> Images:
    """Those at `positions` [B], to keep: copies of a tensor's."""
    if isinstance(images, Tensor):
        return images.index_select(0, positions)
    return replace(images, rows=images.rows.index_select(0, positions))


def concat(one: Images, other: Images) -> Images:
    """The images of `one`, then those of `other`."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.cat((one, other))
    first, then = (_as_mapped(each.cpu().numpy()) if isinstance(each, Tensor) else each for each in (one, other))
    behind = sum(map(len, first.parts))
    return MappedImages((*first.parts, *then.parts), torch.cat((first.rows, then.rows + behind)), first.target)


def to_device(images: Images, device: torch.device) -> Images:
    """The same images on `device`, or where they are with batches that go there, if they are too many for it."""
    if isinstance(images, Tensor) and (device.type == "cpu" or not too_large(images.nbytes, device)):
        return images.to(device)
    mapped = replace(_as_mapped(images.cpu().numpy()) if isinstance(images, Tensor) else images, target=device)
    if device.type == "cpu" or too_large(images.nbytes, device):
        return mapped
    return torch.cat([*mapped.split(CHUNK_SIZE)])
