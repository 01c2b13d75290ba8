"""Identify images by their pixels, to detect changed data sets, and images on which a model was trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b, shake_256

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mnist_trainer.config.schema import SAME_DIGITS
from mnist_trainer.data.image_dataset import CHUNK_SIZE, ImageDataset
from mnist_trainer.data.loaders import Splits

Hashes = NDArray[np.int64]

SAMPLE = 1024
"""Number of hashes of training images in a checkpoint. They are the smallest ones, so that any two samples overlap."""

_FACTORS = np.frombuffer(shake_256(b"pixels").digest(28 * 28), "<i8") | 1
"""An odd factor for each 8 pixels."""


@dataclass(frozen=True, eq=False)
class Identity:
    """The identity of the images of a training, independent of their files' location."""

    fingerprint: str
    """Depends on all pixels, labels, the order and the split."""
    train: Hashes
    validation: Hashes

    @cached_property
    def sample(self) -> Tensor:
        """Hashes of training images for a checkpoint: int64 [at most `SAMPLE`], ascending."""
        smallest = np.sort(self.train)[: 2 * SAMPLE]  # with duplicates; np.unique of all takes much longer
        return torch.from_numpy(np.unique(smallest)[:SAMPLE])

    def is_known_to(self, samples: Sequence[Tensor]) -> bool:
        """Return whether `samples` of earlier trainings contain validation images that are not training images, too."""
        fresh = np.setdiff1d(self.validation, self.train)
        return any(bool(np.isin(fresh, sample.numpy()).any()) for sample in samples)


def identify(splits: Splits, name: str) -> Identity:
    """Return the identity of the images of the data set `name`, without those that `data.simulate` adds.

    The fingerprint depends also on the pictures of `data.extra`.
    """
    digest = blake2b(repr(splits.classes).encode(), digest_size=16)
    found: list[Hashes] = []
    for dataset, count in zip((splits.train, splits.validation), splits.counts, strict=True):
        hashes = np.empty(0, np.int64) if dataset is None else _hashes(dataset)[:count]
        digest.update(b"%d " % count + hashes.tobytes())
        if dataset is not None:
            digest.update(dataset.labels[:count].cpu().numpy().astype("<i8").tobytes())
            if name in SAME_DIGITS:  # of qmnist nearly all differ in some pixels by 1 of 255
                positions = (dataset.indices[:count].cpu().numpy() + 1) * _FACTORS[0]
                hashes = np.concatenate((hashes, positions))
        found.append(hashes)
    if splits.extra:
        own = last_images(splits.train, splits.extra)
        digest.update(_hashes(own).tobytes() + own.labels.cpu().numpy().astype("<i8").tobytes())
    return Identity(digest.hexdigest(), *found)


def last_images(dataset: ImageDataset, count: int) -> ImageDataset:
    """Return the last `count` images, which in a training set are those of `data.extra`."""
    return dataset.subset(torch.arange(len(dataset) - count, len(dataset)))


def share_images(one: ImageDataset, other: ImageDataset) -> bool:
    """Return whether an image is in both data sets."""
    return len(one) > 0 and bool(np.isin(_hashes(one), _hashes(other)).any())


def find_known(dataset: ImageDataset, samples: Sequence[Tensor]) -> tuple[int, int]:
    """Return how many images of `dataset` a model was trained on, and how many could be checked.

    `samples` are those of its trainings; the one with the largest fraction of known images counts. The sample of a
    small training set is complete, so all images can be checked; else only those with a hash in the sample's range.
    """
    hashes, found = _hashes(dataset), [(0, 0)]
    for sample in samples:
        checked = hashes if len(sample) < SAMPLE else hashes[hashes <= int(sample[-1])]
        found.append((int(np.isin(checked, sample.numpy()).sum()), len(checked)))
    return max(found, key=lambda counts: (counts[0] / max(counts[1], 1), counts[1]))


def _hashes(dataset: ImageDataset) -> Hashes:
    """Return a hash of each image, [N]. Images that differ in a single pixel always have different hashes."""
    chunks = (images.cpu().contiguous().numpy() for images in dataset.images.split(CHUNK_SIZE))
    return np.concatenate([chunk.reshape(len(chunk), -1).view("<i8") @ _FACTORS for chunk in chunks])
