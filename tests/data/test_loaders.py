from __future__ import annotations

from itertools import chain
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from mnist_trainer.config.schema import Data
from mnist_trainer.data.image_dataset import ImageDataset
from mnist_trainer.data.loaders import load_split, load_splits, load_test, ordered_loader, training_loader
from mnist_trainer.errors import DataError

DIGITS = Data(name="digits")


def numbered(count: int) -> ImageDataset:
    """A source whose labels are its positions."""
    return ImageDataset(torch.zeros(count, 28, 28, dtype=torch.uint8), torch.arange(count), torch.arange(count))


def order(dataset: ImageDataset, batch_size: int, seed: int = 0, epoch: int = 0, first: int = 0) -> list[list[int]]:
    return [labels.tolist() for _, labels in training_loader(dataset, batch_size, seed, epoch, first)]


@given(st.integers(1, 60), st.integers(1, 70), st.integers(0, 5))
def test_an_epoch_has_each_image_once_and_keeps_the_last_batch(count: int, batch_size: int, epoch: int) -> None:
    loader = training_loader(numbered(count), batch_size, seed=0, epoch=epoch)
    batches = [labels.tolist() for _, labels in loader]
    assert sorted(chain(*batches)) == list(range(count))
    assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    assert len(batches) == len(loader) == -(-count // batch_size)


@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 70))
def test_mid_epoch_the_remaining_batches_are_the_same(count: int, batch_size: int, first: int) -> None:
    dataset = numbered(count)
    assert order(dataset, batch_size, 3, 4, first) == order(dataset, batch_size, 3, 4)[first:]
    assert len(training_loader(dataset, batch_size, 3, 4, first)) == max(-(-count // batch_size) - first, 0)


def test_the_order_belongs_to_seed_and_epoch() -> None:
    dataset = numbered(50)
    orders = [order(dataset, 50, seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert len({str(batches) for batches in orders}) == 4
    assert order(dataset, 50, 0, 1) == orders[1]
    assert sorted(orders[0][0]) != orders[0][0]


def test_a_batch_is_the_sources_own() -> None:
    dataset = numbered(5)
    loader = training_loader(dataset, 2, 0, 0)
    assert isinstance(loader, DataLoader)
    batch = next(iter(loader))
    assert isinstance(batch, tuple)
    images, labels = batch
    assert images.dtype == torch.uint8 and images.shape == (2, 28, 28) and labels.dtype == torch.int64


def test_iterating_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    assert len(order(numbered(20), 3)) == 7
    assert len(list(ordered_loader(numbered(20), 3))) == 7
    assert torch.equal(torch.get_rng_state(), before)


def test_ordered_loader_keeps_the_order() -> None:
    assert [labels.tolist() for _, labels in ordered_loader(numbered(5), 2)] == [[0, 1], [2, 3], [4]]


def test_digits_splits_do_not_overlap() -> None:
    splits = load_splits(DIGITS)
    assert splits.validation is not None
    assert len(splits.train) == 1298 and len(splits.validation) == 144 and len(load_test(DIGITS)) == 355
    assert splits.classes == tuple("0123456789")
    together = torch.cat([splits.train.indices, splits.validation.indices])
    assert together.sort().values.tolist() == list(range(1442))
    counts = torch.bincount(splits.validation.labels).tolist()
    assert sum(counts) == 144 and set(counts) <= {14, 15}


def test_split_seed_moves_validation_but_never_the_test_set() -> None:
    other = DIGITS.model_copy(update={"split_seed": 1})
    first, second = load_split(DIGITS, "validation"), load_split(other, "validation")
    assert not torch.equal(first.indices, second.indices)
    assert torch.equal(load_test(DIGITS).images, load_test(other).images)
    assert torch.equal(load_split(DIGITS, "test").images, load_test(DIGITS).images)


def test_limit_takes_the_first_of_each_class_before_validation() -> None:
    data = Data(name="digits", limit=7, validation=20)
    splits = load_splits(data)
    assert splits.validation is not None
    labels = torch.cat([splits.train.labels, splits.validation.labels])
    indices = torch.cat([splits.train.indices, splits.validation.indices])
    assert torch.bincount(labels).tolist() == [7] * 10 and len(splits.validation) == 20
    whole = load_split(Data(name="digits", validation=0), "train")
    for label in range(10):
        assert indices[labels == label].sort().values.tolist() == whole.indices[whole.labels == label][:7].tolist()
    assert len(load_test(data)) == 355


def test_binary_asks_whether_it_is_that_class() -> None:
    plain, data = load_splits(DIGITS), Data(name="digits", binary=7)
    splits = load_splits(data)
    assert plain.validation is not None and splits.validation is not None
    assert splits.classes == ("not 7", "7")
    for asked, known in ((splits.train, plain.train), (splits.validation, plain.validation)):
        assert torch.equal(asked.indices, known.indices)
        assert torch.equal(asked.labels, (known.labels == 7).long())
    assert int(load_test(data).labels.sum()) == 35


def test_binary_needs_a_class_that_exists() -> None:
    for ask in (load_splits, load_test):
        with pytest.raises(DataError) as caught:
            ask(Data(name="digits", binary=10))
        assert str(caught.value) == "data.binary is 10, and digits has the classes 0 to 9."


def test_validation_zero_means_none() -> None:
    data = Data(name="digits", validation=0)
    splits = load_splits(data)
    assert splits.validation is None and len(splits.train) == 1442
    assert len(load_split(data, "train")) == 1442
    with pytest.raises(DataError) as caught:
        load_split(data, "validation")
    assert str(caught.value) == (
        "There are no validation images: data.validation is 0, or there are too few images, or the model was fitted a "
        "second time on all of them (training.refit)."
    )


def test_too_few_images_to_validate_with_give_none() -> None:
    splits = load_splits(Data(name="digits", limit=1))
    assert splits.validation is None and len(splits.train) == 10


def test_more_validation_images_than_there_are() -> None:
    with pytest.raises(DataError, match=r"^data\.validation takes 5,000 of 1,442 training images\."):
        load_splits(Data(name="digits", validation=5000))


def test_mnist_validates_with_5000_by_default(mnist_root: Path) -> None:
    splits = load_splits(Data(root=str(mnist_root)))
    assert splits.validation is not None
    assert len(splits.train) == 55_000 and len(splits.validation) == 5_000
    exact = torch.tensor([5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]) / 12
    assert (torch.bincount(splits.validation.labels) - exact).abs().max() < 1
