"""The images a config asks for: to train, to validate, to test; and the DataLoaders over them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from mnist_trainer.config.schema import Data
from mnist_trainer.data.catalog import binary_label, has_validation, load, with_binary
from mnist_trainer.data.dataset import LabeledImages, Split
from mnist_trainer.data.download import Progress
from mnist_trainer.data.folder import load_unseen_pictures
from mnist_trainer.data.places import cache_dirs, data_root
from mnist_trainer.data.simulated import non_digits, with_photographs
from mnist_trainer.data.source import ImageDataset
from mnist_trainer.data.splits import first_of_each, stratified
from mnist_trainer.data.tables import load_unseen_table, table_of
from mnist_trainer.errors import DataError, UsageError
from mnist_trainer.seeds import seed_for

Batch = tuple[Tensor, Tensor]
"""uint8 images [B, 28, 28] and labels int64 [B]."""

MNIST_TEST_COUNT = 10_000
"""Where QMNIST's lost digits begin: so many images of its test file correspond to MNIST's test set, in their order."""


@dataclass(frozen=True, eq=False)
class Splits:
    """What a training sees. The test set is not among it."""

    train: ImageDataset
    validation: ImageDataset | None
    classes: tuple[str, ...]
    simulated: tuple[int, int] = (0, 0)
    """How many to train and to validate with are made from the others, and stand behind them."""

    @property
    def counts(self) -> tuple[int, int]:
        """How many images of the data set train, and how many validate."""
        train, validation = self.simulated
        return len(self.train) - train, len(self.validation or ()) - validation


def load_splits(data: Data, progress: Progress | None = None) -> Splits:
    """What `load_real` gives, and what `data.simulate` makes from it.

    Each image and its photographs are on one side. What is no digit is there to train with alone, and its label is the
    number of classes.
    """
    real = load_real(data, progress)
    train, validation = with_photographs(real.train, data, progress), real.validation
    if validation is not None:
        validation = with_photographs(validation, data, progress)
    if data.simulate.non_digits:
        train = train.followed_by(non_digits(real.train, data, len(real.classes), progress))
    made = len(train) - len(real.train), len(validation or ()) - len(real.validation or ())
    return Splits(train, validation, real.classes, made)


def load_real(data: Data, progress: Progress | None = None) -> Splits:
    """The training images, those split off to validate with by `data.split_seed`, and the names of the classes."""
    whole = load(data, "train", progress)
    with_binary(data, whole.classes)  # a class that is not there is told first
    source = _source(whole)
    if data.limit is not None:
        source = source.subset(first_of_each(source.labels, data.limit))
    validation = None
    if data.validation != 0 and has_validation(data):
        validation = _source(load(data, "validation", progress))
    elif data.validation != 0:
        # By the real classes, before `binary`: a yes/no task validates with the same images as its data set.
        train, rest = stratified(source.labels, data.validation, data.split_seed)
        source, validation = source.subset(train), source.subset(rest) if len(rest) else None
    binary = partial(_binary, data=data, classes=whole.classes)
    return Splits(binary(source), None if validation is None else binary(validation), with_binary(data, whole.classes))


def load_together(data: Data, progress: Progress | None = None) -> Splits:
    """All that a data set has besides its test set as training images, and nothing to validate with."""
    alone = load_splits(data.model_copy(update={"validation": 0}), progress)
    if not has_validation(data):
        return alone
    whole = load(data, "validation", progress)
    own = _binary(_source(whole), data, whole.classes)
    return Splits(alone.train.followed_by(own), None, alone.classes)  # nothing is simulated from a folder


def load_test(data: Data, progress: Progress | None = None) -> ImageDataset:
    """The test images, which no seed, limit or split ever changes."""
    whole = load(data, "test", progress)
    return _binary(_source(whole), data, whole.classes)


def load_unseen(data: Data, trained: Sequence[Data]) -> tuple[ImageDataset, str]:
    """Return the images of a folder or a table that can test models trained on `trained`, and a phrase about them."""
    if table := table_of(data):
        whole, which = load_unseen_table(table, trained)
    else:
        whole, which = load_unseen_pictures(data, trained, cache_dirs(data_root(data), "folder"))
    return _source(whole), which


def load_test50k(data: Data, progress: Progress | None = None) -> ImageDataset:
    """The 50,000 test digits of QMNIST that MNIST left out (Yadav & Bottou 2019, arXiv 1905.10498).

    Raises UsageError for another data set, DataError where the file holds no more than MNIST's.
    """
    if data.name != "qmnist":
        raise UsageError(f"test50k, the lost test digits, is a split of qmnist (data.name=qmnist), not of {data.name}.")
    whole = load_test(data, progress)
    if len(whole) <= MNIST_TEST_COUNT:
        raise DataError(
            f"qmnist's test file has {len(whole):,} images; test50k are those after the first {MNIST_TEST_COUNT:,}."
        )
    return whole.subset(torch.arange(MNIST_TEST_COUNT, len(whole)))


def load_split(data: Data, split: Split, progress: Progress | None = None) -> ImageDataset:
    """The images of one split, with the photographs that `data.simulate` adds to it, without what is no digit.

    Raises DataError for `validation` where there is none, UsageError as `load_test50k`.
    """
    if split == "test":
        return load_test(data, progress)
    if split == "test50k":
        return load_test50k(data, progress)
    real = load_real(data, progress)
    source = real.train if split == "train" else real.validation
    if source is None:
        raise DataError(
            "There are no validation images: data.validation is 0, or there are too few images, or the model was "
            "fitted a second time on all of them (training.refit)."
        )
    return with_photographs(source, data, progress)


def training_loader(
    source: ImageDataset, batch_size: int, seed: int, epoch: int, first_batch: int = 0
) -> DataLoader[Batch]:
    """The batches of one epoch, in the order that belongs to `seed` and `epoch`, from batch `first_batch` on.

    The last one may be smaller. Other random numbers are neither used nor changed.
    """
    generator = torch.Generator().manual_seed(seed_for(seed, "order", epoch))
    order = torch.randperm(len(source), generator=generator)
    return _loader(source, order, batch_size, first_batch)


def ordered_loader(source: ImageDataset, batch_size: int) -> DataLoader[Batch]:
    """All batches in the source's own order; the last one may be smaller."""
    return _loader(source, torch.arange(len(source)), batch_size)


class BatchOrder(Sampler[Tensor]):
    """Positions [B] of one batch after the other."""

    def __init__(self, order: Tensor, batch_size: int, first_batch: int = 0) -> None:
        self.rest = order[first_batch * batch_size :]
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[Tensor]:
        for start in range(0, len(self.rest), self.batch_size):
            yield self.rest[start : start + self.batch_size]

    def __len__(self) -> int:
        return ceil(len(self.rest) / self.batch_size)


def _loader(source: ImageDataset, order: Tensor, batch_size: int, first_batch: int = 0) -> DataLoader[Batch]:
    # Where the images are, the order is copied once an epoch instead of once a batch.
    sampler = BatchOrder(order.to(source.images.device), batch_size, first_batch)
    # With batch_size=None a batch is what the source gives for one of the sampler's tensors, and DataLoader's own
    # conversion is left out. Without a generator of its own, each iter() would draw from the global one.
    return DataLoader(
        source, batch_size=None, sampler=sampler, collate_fn=_identity, generator=torch.Generator(), num_workers=0
    )


def _identity(batch: Any) -> Any:
    return batch


def _source(whole: LabeledImages) -> ImageDataset:
    return ImageDataset(whole.images, whole.labels, torch.arange(len(whole.labels)))


def _binary(source: ImageDataset, data: Data, classes: tuple[str, ...]) -> ImageDataset:
    if data.binary is None:
        return source
    return replace(source, labels=(source.labels == binary_label(data, classes)).long())
