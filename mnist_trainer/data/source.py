"""Images and labels, taken a batch at a time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from mnist_trainer.data.mapped import Images, concat, select, to_device


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
