"""Seeds by address: `mnist_trainer/config/seeds.py`."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from mnist_trainer.config.seeds import seed_for

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
