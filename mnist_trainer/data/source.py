"""Images in memory, taken a batch at a time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset


@dataclass(frozen=True, eq=False)
class Source(Dataset[tuple[Tensor, Tensor]]):
    """Images and labels that lie on one device. Indexing it with a tensor of positions is `gather`."""

    images: Tensor
    """uint8 [N, 28, 28]."""
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
        chosen = positions.to(self.labels.device)
        return self.images.index_select(0, chosen), self.labels.index_select(0, chosen)

    def subset(self, positions: Tensor) -> Source:
        """A source of its own with the images at `positions` [B]."""
        images, labels = self.gather(positions)
        return Source(images, labels, self.indices.index_select(0, positions.to(self.indices.device)))

    def followed_by(self, other: Source) -> Source:
        """These images, then those of `other`."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Source(*map(torch.cat, pairs))

    def to(self, device: torch.device | str) -> Source:
        """The same images on `device`."""
        return Source(self.images.to(device), self.labels.to(device), self.indices.to(device))
