"""Data sets by name, splits and batches: `mnist_trainer/data/loaders.py`."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from mnist_trainer.config.schema import Data, DataName
from mnist_trainer.data.datasets import PUBLISHED
from mnist_trainer.data.image_dataset import ImageDataset
from mnist_trainer.data.loaders import (
    class_names,
    first_of_each,
    has_validation,
    load,
    load_split,
    load_splits,
    load_test,
    ordered_loader,
    shares,
    stratified,
    training_loader,
    validation_count,
)
from mnist_trainer.errors import DataError

BUILT_IN = [name for name in get_args(DataName) if name != "folder"]


def test_every_name_of_the_config_is_known() -> None:
    assert set(BUILT_IN) == {*PUBLISHED, "digits", "mnist-c"}


@pytest.mark.parametrize("name", BUILT_IN)
def test_class_names_need_no_files(name: str) -> None:
    data = Data(name=name, root="nowhere")
    names = class_names(data)
    assert len(names) == len(set(names)) == 10
    assert class_names(data.model_copy(update={"binary": 7})) == (f"not {names[7]}", names[7])
    assert not has_validation(data)
    assert not Path("nowhere").exists()


def test_fashion_has_words_and_the_rest_digits() -> None:
    assert class_names(Data(name="fashion-mnist"))[7:] == ("Sneaker", "Bag", "Ankle boot")
    assert class_names(Data(name="usps")) == tuple("0123456789")


def test_binary_names_the_classes_there_are() -> None:
    with pytest.raises(DataError) as caught:
        class_names(Data(name="kmnist", binary=11))
    assert str(caught.value) == (
        "data.binary is 11, but kmnist has the classes o, ki, su, tsu, na, ha, ma, ya, re, wo (0 to 9)."
    )


def test_only_a_folder_has_validation_images_of_its_own() -> None:
    with pytest.raises(DataError) as caught:
        load(Data(name="mnist", root="nowhere"), "validation")
    assert str(caught.value) == "mnist has no validation images of its own; they are split from its training images."


def test_load_ignores_limit_and_binary(make: Callable[..., Any], tmp_path: Path) -> None:
    made = make("mnist")
    made.put(tmp_path)
    whole = load(Data(root=str(tmp_path), limit=1, binary=3, validation=5), "train")
    assert whole.labels.tolist() == made.labels["train"].tolist()
    assert whole.classes == tuple("0123456789")


SIZES = st.lists(st.integers(1, 60), min_size=1, max_size=12)


@st.composite
def counted(draw: st.DrawFn) -> tuple[list[int], int]:
    sizes = draw(SIZES)
    return sizes, draw(st.integers(0, sum(sizes) - len(sizes)))


@given(counted())
def test_shares_are_exact_and_in_proportion(case: tuple[list[int], int]) -> None:
    sizes, count = case
    given_out = shares(sizes, count)
    assert sum(given_out) == count
    exact = [Fraction(count * size, sum(sizes)) for size in sizes]
    assert all(0 <= share < size for share, size in zip(given_out, sizes, strict=True))
    if all(share <= size - 1 for share, size in zip(exact, sizes, strict=True)):
        assert all(abs(share - exact_share) < 1 for share, exact_share in zip(given_out, exact, strict=True))


def test_the_largest_remainders_get_what_is_left() -> None:
    # Exact shares are 1.6, 0.8 and 1.6 of 4: one each by rounding down but the second, then the remainders.
    assert shares([20, 10, 20], 4) == [2, 1, 1]
    assert shares([20, 20, 10], 4) == [2, 1, 1]
    assert shares([100, 1, 1], 99) == [99, 0, 0]


@given(counted(), st.integers(0, 3), st.randoms(use_true_random=False))
def test_stratified_gives_each_image_to_one_side(case: tuple[list[int], int], seed: int, random: object) -> None:
    sizes, count = case
    labels = [label for label, size in enumerate(sizes) for _ in range(size)]
    random.shuffle(labels)  # type: ignore[attr-defined]
    train, validation = stratified(torch.tensor(labels), count, seed)
    assert len(validation) == count
    assert torch.cat([train, validation]).sort().values.tolist() == list(range(len(labels)))
    assert train.tolist() == sorted(train.tolist()) and validation.tolist() == sorted(validation.tolist())
    assert torch.tensor(labels)[train].unique().tolist() == list(range(len(sizes)))


def test_the_seed_alone_decides_who_validates() -> None:
    labels = torch.arange(1000) % 10
    torch.manual_seed(1)
    first = stratified(labels, 100, 0)
    torch.manual_seed(2)
    assert all(map(torch.equal, first, stratified(labels, 100, 0)))
    assert not torch.equal(first[1], stratified(labels, 100, 1)[1])
    assert torch.bincount(labels[first[1]]).tolist() == [10] * 10


@pytest.mark.parametrize(
    ("wanted", "sizes", "count"),
    [
        (None, [6000] * 10, 5000),
        (None, [5000] * 10, 5000),
        (None, [5000] * 9 + [4999], 4999),
        (None, [100, 42], 14),
        (None, [1] * 10, 0),
        (None, [2, 1], 0),
        (0, [10, 10], 0),
        (0.0, [10, 10], 0),
        (18, [10, 10], 18),
        (0.25, [10, 11], 5),
        (0.001, [10, 10], 1),
        (0.9, [10, 10], 18),
    ],
)
def test_how_many_validate(wanted: float | None, sizes: list[int], count: int) -> None:
    assert validation_count(wanted, sizes) == count


@pytest.mark.parametrize(("wanted", "count"), [(5000, "5,000"), (1442, "1,442"), (1433, "1,433"), (0.999, "1,441")])
def test_too_many_to_validate(wanted: float, count: str) -> None:
    with pytest.raises(DataError) as caught:
        validation_count(wanted, [144] * 9 + [146])
    assert str(caught.value) == (
        f"data.validation takes {count} of 1,442 training images. "
        "The maximum is 1,432: each of the 10 classes needs a training image."
    )


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.integers(1, 9))
def test_first_of_each_keeps_file_order(labels: list[int], limit: int) -> None:
    expected = [place for place, label in enumerate(labels) if labels[:place].count(label) < limit]
    assert first_of_each(torch.tensor(labels), limit).tolist() == expected


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
        assert str(caught.value) == "data.binary is 10, but digits has the classes 0 to 9."


def test_validation_zero_means_none() -> None:
    data = Data(name="digits", validation=0)
    splits = load_splits(data)
    assert splits.validation is None and len(splits.train) == 1442
    assert len(load_split(data, "train")) == 1442
    with pytest.raises(DataError) as caught:
        load_split(data, "validation")
    assert str(caught.value) == (
        "There are no validation images: data.validation is 0, or there are too few images, or the model was trained "
        "again on all of them (training.refit)."
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
