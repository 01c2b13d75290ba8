"""Trains the lecture's network on so many images, the training set again and again: `python repeated.py IMAGES`.

With `mapped` behind it they stay in a file, as those do that are too many for the memory. Prints one line of JSON:
seconds of each epoch, and the memory (MB) that the process then holds without what it can read again from files.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray

from mnist_trainer import fit, load_config
from mnist_trainer.config.shipped import shipped_path
from mnist_trainer.data import image_dataset
from mnist_trainer.data.cache import load_or_make
from mnist_trainer.data.image_dataset import ImageDataset, as_images
from mnist_trainer.data.loaders import load_splits
from mnist_trainer.training.prepare import prepare_state

EPOCHS = 3
PIECE = 10_000


def in_a_file(source: ImageDataset, positions: torch.Tensor, folder: str) -> ImageDataset:
    """The images at `positions`, in a file that is mapped whatever its size."""

    def pieces() -> Iterator[NDArray[np.uint8]]:
        for some in positions.split(PIECE):
            yield source.gather(some)[0].numpy()

    image_dataset.MEMORY_FRACTION = 0
    labels = source.labels.index_select(0, positions)
    images, _ = load_or_make([Path(folder)], "images", "", pieces, labels.numpy())
    return ImageDataset(as_images(images), labels, positions)


def anonymous_mb() -> float | None:
    """What only Linux tells."""
    status = Path("/proc/self/status")
    facts = dict(line.split(":", 1) for line in status.read_text().splitlines()) if status.exists() else {}
    return int(facts["RssAnon"].split()[0]) * 1024 / 1e6 if "RssAnon" in facts else None


images, mapped = int(sys.argv[1]), "mapped" in sys.argv[2:]
keys = [key for key in sys.argv[2:] if key != "mapped"]
config = load_config(shipped_path("lecture"), [f"training.epochs={EPOCHS}", *keys])
splits = load_splits(config.data)
positions = torch.arange(images) % len(splits.train)
with TemporaryDirectory() as scratch:
    train = in_a_file(splits.train, positions, scratch) if mapped else splits.train.subset(positions)
    seconds = [record.seconds for record in fit(prepare_state(config, replace(splits, train=train)))]
print(json.dumps({"epoch_seconds": seconds, "anonymous_mb": anonymous_mb()}))
