"""What is no digit: `mnist_trainer/pictures/simulator/non_digits.py` and its letters."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mnist_trainer.pictures.simulator import NON_DIGITS, non_digit
from mnist_trainer.pictures.simulator.letters import LETTERS, SYMBOLS, letter, printed, symbol
from mnist_trainer.pictures.simulator.scene import LARGEST

Images = NDArray[np.uint8]


@pytest.mark.parametrize("kind", [None, *NON_DIGITS])
def test_every_kind_is_a_picture_that_depends_on_its_arguments_alone(digits: Images, kind: str | None) -> None:
    for seed in range(5):
        before = digits.copy()
        picture = non_digit(np.random.default_rng(seed), digits, kind)
        assert (picture.dtype, picture.ndim, picture.shape[2]) == (np.uint8, 3, 3)
        assert 20 <= min(picture.shape[:2]) <= max(picture.shape[:2]) <= LARGEST
        assert np.array_equal(picture, non_digit(np.random.default_rng(seed), digits, kind))
        assert np.array_equal(before, digits)


def test_the_mixture_is_not_always_the_same(digits: Images) -> None:
    assert len({non_digit(np.random.default_rng(seed), digits).shape for seed in range(10)}) > 5


@pytest.mark.parametrize("kind", ["turned", "cut", "joined"])
def test_digits_that_can_not_be_spoilt_do_not_hang_it(kind: str) -> None:
    bars = np.zeros((2, 28, 28), np.uint8)
    bars[:, 4:24, 13:16] = 255
    assert non_digit(np.random.default_rng(0), bars, kind).size


def test_letters_look_like_no_digit() -> None:
    assert set(LETTERS).isdisjoint("OoDQlIiJSsZzBbqgGyY0123456789")
    assert set(SYMBOLS).isdisjoint("0123456789|/()!$&")


@pytest.mark.parametrize("draw", [letter, symbol])
def test_letters_and_symbols_are_there_and_whole(draw: type[letter]) -> None:
    for seed in range(60):
        image = draw(np.random.default_rng(seed))
        assert image.shape == (112, 112)
        assert image.max() > 200
        assert not image[[0, -1]].any()
        assert not image[:, [0, -1]].any()


def test_every_symbol_has_a_glyph_in_the_font() -> None:
    drawn = [symbol(np.random.default_rng(seed)).tobytes() for seed in range(500)]
    assert len(set(drawn)) > 1.5 * len(SYMBOLS)  # in two faces; what a face lacks is a box, the same for all


def test_print_fills_its_page() -> None:
    page = printed(LARGEST)
    assert page.shape == (LARGEST, LARGEST)
    blocks = page.reshape(10, 100, 10, 100).max(axis=(1, 3))
    assert blocks.min() > 0
