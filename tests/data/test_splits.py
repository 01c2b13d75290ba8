from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mnist_trainer.data.loaders import first_of_each, shares, stratified, validation_count
from mnist_trainer.errors import DataError

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
        "At most 1,432 can go: each of the 10 classes keeps one to train with."
    )


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.integers(1, 9))
def test_first_of_each_keeps_file_order(labels: list[int], limit: int) -> None:
    expected = [place for place, label in enumerate(labels) if labels[:place].count(label) < limit]
    assert first_of_each(torch.tensor(labels), limit).tolist() == expected
