"""Small networks and images."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mnist_trainer.data.image_dataset import ImageDataset


@pytest.fixture
def dataset() -> ImageDataset:
    """150 images of noise with labels 0 to 9."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (150, 28, 28), dtype=torch.uint8, generator=generator)
    return ImageDataset(images, torch.randint(0, 10, (150,), generator=generator), torch.arange(150))


@pytest.fixture
def network() -> nn.Module:
    """[B, 1, 28, 28] → [B, 10], with dropout, which must not be felt in evaluation."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 10))
