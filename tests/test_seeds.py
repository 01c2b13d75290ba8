"""Seeds by address: `mnist_trainer/seeds.py`."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnist_trainer.errors import UsageError
from mnist_trainer.seeds import MAX_SEEDS, check_seeds, parse_seeds, seed_for

NUMBERS = st.integers(min_value=0, max_value=10**12)


def test_golden_seeds() -> None:
    """Other values here would mean that published figures and saved runs can't be repeated."""
    assert seed_for(0, "weights") == 5020956126668763821
    assert seed_for(0, "order", epoch=3) == 2664836214614632206
    assert seed_for(7, "dropout", epoch=2, batch=41) == 6272540160076666132


@given(NUMBERS, NUMBERS, NUMBERS)
def test_a_seed_fits_every_generator(seed: int, epoch: int, batch: int) -> None:
    assert 0 <= seed_for(seed, "order", epoch, batch) < 2**63


def test_every_address_has_its_own_seed() -> None:
    streams = ("weights", "order", "dropout", "split")
    addresses = list(product(range(12), streams, range(12), range(12)))
    assert len({seed_for(*address) for address in addresses}) == len(addresses)


# --- of a series ---


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("1", (0,)), ("3", (0, 1, 2)), ("0,1,2", (0, 1, 2)), ("7, 4", (7, 4)), ("5,", (5,)), ("03", (0, 1, 2))],
)
def test_how_many_seeds_or_which(text: str, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["a", "", ",", "-1", "0,,1", "1.5", "1e2", "²", "0,x", "0;1"])
def test_what_is_no_list_of_seeds_is_told(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_seeds(text)
    form = "--seeds takes a number, as in --seeds 5, or a list, as in --seeds 0,1,2"
    assert str(caught.value) == f"{form}; got {text!r}."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0", f"A series has 1 to {MAX_SEEDS} seeds. For one run with a given seed, use --seed N."),
        ("20260314000000", f"A series has 1 to {MAX_SEEDS} seeds. For one run with a given seed, use --seed N."),
        ("3,0,1,0", "The seeds of a series must differ, but 0 is given twice."),
    ],
)
def test_seeds_that_make_no_series_are_told(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_seeds(text)
    assert str(caught.value) == message


def test_a_negative_seed_is_told() -> None:
    with pytest.raises(UsageError, match="whole numbers, 0 or greater; got -2"):
        check_seeds([1, -2])
