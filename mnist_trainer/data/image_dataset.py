"""Images and labels, indexed by batches: in memory, or in a memory-mapped file if they are too many."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

Part = Literal["train", "validation", "test"]
"""`validation` exists only where a data set brings its own (a folder with `val/`); else it is split from `train`."""

Split = Part | Literal["test50k", "hsf04", "hsf1"]
"""Splits for evaluation. `test50k` is the rest of QMNIST's test set, which MNIST does not contain. Its two parts are
`hsf04` and `hsf1`, by the series of NIST's forms: no training image is from hsf_1."""


MEMORY_FRACTION = 0.25
"""Maximum fraction of the free memory for images. If they need more, they stay in a memory-mapped file, or only batches
are moved to the GPU. It is a quarter, because splitting copies the images and the model needs memory. Results do not
depend on it."""

CONTROL_GROUP = Path("/sys/fs/cgroup")


def too_large(size: int, device: torch.device | None = None) -> bool:
    """Return whether `size` bytes exceed `MEMORY_FRACTION` of the free memory of `device` (None: main memory)."""
    free = available_memory(device)
    return free is not None and size > MEMORY_FRACTION * free


def available_memory(device: torch.device | None = None) -> int | None:
    """Return the free bytes of a CUDA `device`, else of the main memory; None if unknown."""
    if device is not None and device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return min((amount for amount in (_system_memory(), _cgroup_memory()) if amount is not None), default=None)


def _system_memory() -> int | None:
    """Return the bytes of main memory that are available; all of it where that is unknown."""
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _cgroup_memory() -> int | None:
    """Return the bytes that a container may still use (cgroup v2); the memory of cached files counts as free."""
    try:
        limit, used = (int((CONTROL_GROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        facts = dict(line.split() for line in (CONTROL_GROUP / "memory.stat").read_text().splitlines())
        return limit - used + int(facts["inactive_file"])
    except (OSError, ValueError, KeyError):
        return None


CPU = torch.device("cpu")

CHUNK_SIZE = 4096
"""Number of images that are copied to a GPU at once."""


@dataclass(frozen=True, eq=False)
class MappedImages:
    """Images uint8 [N, 28, 28] that stay in a memory-mapped file, or in main memory, until a batch is indexed.

    `ImageDataset` uses them like a tensor: the same positions give the same images.
    """

    arrays: tuple[NDArray[np.uint8], ...]
    """Each [M, 28, 28], in a memory-mapped file or in main memory."""
    rows: Tensor
    """int64 [N] on the CPU: the position of each image in the concatenated arrays."""
    target: torch.device = CPU
    """The device of the images that `index_select` returns."""

    @classmethod
    def of(cls, images: Images | NDArray[np.uint8]) -> MappedImages:
        """Return `images` [N, 28, 28] as mapped images; those in main memory are not copied."""
        if isinstance(images, MappedImages):
            return images
        array = images.cpu().numpy() if isinstance(images, Tensor) else images
        return MappedImages((array,), torch.arange(len(array)))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def device(self) -> torch.device:
        """The device that positions must be on."""
        return self.rows.device

    @property
    def nbytes(self) -> int:
        """The size of all images in bytes."""
        return len(self) * prod(self.arrays[0].shape[1:])

    def index_select(self, dimension: int, positions: Tensor) -> Tensor:
        """Return the images [B, 28, 28] at `positions` [B], on `target`; `dimension` is always 0."""
        rows = self.rows.index_select(dimension, positions).numpy()
        images = np.empty((len(rows), *self.arrays[0].shape[1:]), np.uint8)
        start = 0
        for array in self.arrays:
            inside = (start <= rows) & (rows < start + len(array))
            images[inside] = array[rows[inside] - start]
            start += len(array)
        return torch.from_numpy(images).to(self.target)

    def split(self, size: int) -> Iterator[Tensor]:
        """Yield all images, `size` at a time."""
        for start in range(0, len(self) or 1, size):  # one empty chunk without images, as torch.split
            yield self.index_select(0, torch.arange(start, min(start + size, len(self))))


Images = Tensor | MappedImages


def as_images(pixels: NDArray[np.uint8]) -> Images:
    """Return `pixels` [N, 28, 28] as a tensor, or as mapped images if they are read-only."""
    return torch.from_numpy(pixels) if pixels.flags.writeable else MappedImages.of(pixels)


def select(images: Images, positions: Tensor) -> Images:
    """Return the images at `positions` [B]; only those of a tensor are copied."""
    if isinstance(images, Tensor):
        return images.index_select(0, positions)
    return replace(images, rows=images.rows.index_select(0, positions))


def concat(first: Images, second: Images) -> Images:
    """Return the images of both, concatenated."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return torch.cat((first, second))
    one, other = MappedImages.of(first), MappedImages.of(second)
    rows = torch.cat((one.rows, other.rows + sum(map(len, one.arrays))))
    return MappedImages((*one.arrays, *other.arrays), rows, one.target)


def to_device(images: Images, device: torch.device) -> Images:
    """Return the images on `device`; if they are too many for it, only batches are moved there."""
    stay = device.type == "cpu" or too_large(images.nbytes, device)
    if isinstance(images, Tensor) and (device.type == "cpu" or not stay):
        return images.to(device)
    mapped = replace(MappedImages.of(images), target=device)
    return mapped if stay else torch.cat([*mapped.split(CHUNK_SIZE)])


@dataclass(frozen=True, eq=False)
class ImageDataset(Dataset[tuple[Tensor, Tensor]]):
    """Images and labels on one device, indexed by a tensor of the positions of a batch."""

    images: Images
    """uint8 [N, 28, 28]; `MappedImages` if they are too many for the memory."""
    labels: Tensor
    """int64 [N]."""
    indices: Tensor
    """int64 [N]: the position of each image in its part of the data set, as in its files."""
    classes: tuple[str, ...] = ()
    """The class name of each label; empty if the images don't come from a data set."""

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        return self.gather(positions)

    def gather(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return images uint8 [B, 28, 28] and labels int64 [B] at `positions` [B], on the data set's device."""
        images = self.images.index_select(0, positions.to(self.images.device))
        return images, self.labels.index_select(0, positions.to(self.labels.device))

    def subset(self, positions: Tensor) -> ImageDataset:
        """Return a new data set with the images at `positions` [B]."""
        images, rows = select(self.images, positions.to(self.images.device)), positions.to(self.labels.device)
        return replace(self, images=images, labels=self.labels[rows], indices=self.indices[rows])

    def followed_by(self, other: ImageDataset) -> ImageDataset:
        """Return a data set with these images, then those of `other`."""
        labels, indices = torch.cat((self.labels, other.labels)), torch.cat((self.indices, other.indices))
        return replace(self, images=concat(self.images, other.images), labels=labels, indices=indices)

    def to(self, device: torch.device | str) -> ImageDataset:
        """Return the data set on `device`; if its images are too many for it, only batches are moved there."""
        images = to_device(self.images, torch.device(device))
        return replace(self, images=images, labels=self.labels.to(device), indices=self.indices.to(device))
