"""MNIST as torchvision's documentation loads it, from MNIST_TRAINER_DATA."""

from __future__ import annotations

import os
from typing import Any

from torch.utils.data import DataLoader
from torchvision import datasets, transforms


def loaders(batch_size: int, test_batch_size: int) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Return DataLoaders of the 60,000 training images, shuffled, and of the 10,000 test images."""
    root = os.environ["MNIST_TRAINER_DATA"]
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
    train = datasets.MNIST(root, train=True, transform=transform)
    test = datasets.MNIST(root, train=False, transform=transform)
    return DataLoader(train, batch_size, shuffle=True), DataLoader(test, test_batch_size)
