"""Glyphs of rows that were cut wrongly: `mnist_trainer/simulator/non_digits.py`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.pictures.render import centroid
from mnist_trainer.simulator.non_digits import glyph_non_digit

Images = NDArray[np.uint8]


def test_glyphs_are_like_those_of_a_reading(digits: Images) -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        image = glyph_non_digit(random, digits)
        assert (image.shape, image.dtype, image.max()) == ((28, 28), np.uint8, 255)
        assert all(abs(at - 14) < 4 for at in centroid(image))


def test_glyphs_depend_on_their_arguments_alone(digits: Images) -> None:
    before = digits.copy()
    first, second = (glyph_non_digit(np.random.default_rng(9), digits) for _ in range(2))
    assert np.array_equal(first, second)
    assert np.array_equal(before, digits)


def test_most_glyphs_hold_more_than_one_digit(digits: Images) -> None:
    random = np.random.default_rng(0)
    bars = np.zeros((1, 28, 28), np.uint8)
    bars[:, 4:24, 12:16] = 255
    widths = [int((glyph_non_digit(random, bars).max(axis=0) > 80).sum()) for _ in range(60)]
    assert np.mean(np.array(widths) > 5) > 0.8
