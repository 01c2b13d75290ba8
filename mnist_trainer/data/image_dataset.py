"""What every data set becomes, whatever its files look like.

How much memory there is, and which images would take too much of it.

Images that stay where they are until a batch of them is asked for: in a file, or off a card that is too small.

`ImageDataset` treats them like a tensor: the same positions give the same images, wherever these lie.

Images and labels, taken a batch at a time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

if TYPE_CHECKING:
    import torch

Part = Literal["train", "validation", "test"]
"""`validation` exists only where a data set brings its own (a folder with `val/`); else it is split from `train`."""

Split = Part | Literal["test50k"]
"""What can be evaluated on: `test50k` is QMNIST's second half, digits that MNIST never had."""


@dataclass(frozen=True, eq=False)
class LabeledImages:
    """One part of a data set, in the order of its files."""

    images: Images
    """uint8 [N, 28, 28], bright ink on black; `MappedImages` where they are too many for the memory."""
    labels: Tensor
    """int64 [N], positions in `classes`."""
    classes: tuple[str, ...]


MEMORY_FRACTION = 0.25
"""Of the memory that can still be had, a container's limit counted: images that need more of a computer's stay in a
mapped file, those that need more of a card's stay off it, see `data/image_dataset.py`. A quarter, for what is split is
copied,
a second fit holds both fits' images, and the model wants room too. No figure and no weight depends on it."""

CONTROL_GROUP = Path("/sys/fs/cgroup")


def too_large(size: int, device: torch.device | None = None) -> bool:
    """Whether `size` bytes of images are more than `MEMORY_FRACTION` of the memory of `device`, without one of the
    computer."""
    there = available_memory(device)
    return there is not None and size > MEMORY_FRACTION * there


def available_memory(device: torch.device | None = None) -> int | None:
    """Bytes that can still be had on `device`, without one in the computer; None where the system does not say."""
    if device is not None and device.type == "cuda":
        import torch

        return torch.cuda.mem_get_info(device)[0]
    return min((amount for amount in (_system_memory(), _cgroup_memory()) if amount is not None), default=None)


def _system_memory() -> int | None:
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _cgroup_memory() -> int | None:
    """What a container is still allowed (cgroup v2); files that are merely cached make room when asked."""
    try:
        limit, used = (int((CONTROL_GROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        facts = dict(line.split() for line in (CONTROL_GROUP / "memory.stat").read_text().splitlines())
        return limit - used + int(facts["inactive_file"])
    except (OSError, ValueError, KeyError):
        return None


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


@dataclass(frozen=True, eq=False)
class ImageDataset(Dataset[tuple[Tensor, Tensor]]):
    """Images and labels that lie on one device. Indexing it with a tensor of positions is `gather`."""

    images: Images
    """uint8 [N, 28, 28]; `MappedImages` where they are too many for the memory."""
    labels: Tensor
    """int64 [N]."""
    indices: Tensor
    """int64 [N]: where each image stands in the files of its part of the data set."""

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        return self.gather(positions)

    def gather(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Images uint8 [B, 28, 28] and labels int64 [B] at `positions` [B], on the source's device."""
        images = self.images.index_select(0, positions.to(self.images.device))
        return images, self.labels.index_select(0, positions.to(self.labels.device))

    def subset(self, positions: Tensor) -> ImageDataset:
        """A source of its own with the images at `positions` [B]."""
        images = select(self.images, positions.to(self.images.device))
        here = positions.to(self.labels.device)
        return ImageDataset(images, self.labels.index_select(0, here), self.indices.index_select(0, here))

    def followed_by(self, other: ImageDataset) -> ImageDataset:
        """These images, then those of `other`."""
        labels, indices = torch.cat((self.labels, other.labels)), torch.cat((self.indices, other.indices))
        return ImageDataset(concat(self.images, other.images), labels, indices)

    def to(self, device: torch.device | str) -> ImageDataset:
        """The same images on `device`; too many for it, they stay, and batches go there."""
        there = torch.device(device)
        return ImageDataset(to_device(self.images, there), self.labels.to(there), self.indices.to(there))
