"""Images at 28×28 that hold no digit, since a row was cut in the wrong place."""

from __future__ import annotations

import numpy as np

from mnist_trainer.pictures.page import bounding_box
from mnist_trainer.pictures.render import render
from mnist_trainer.pictures.simulator.non_digits import choose_digit
from mnist_trainer.pictures.simulator.scene import Image, Random, to_unit_range


def glyph_non_digit(random: Random, digits: Image) -> Image:
    """What a wrong cut through a row leaves, uint8 [28, 28] as MNIST's: digits side by side, and parts of them."""
    first, second = (_trimmed(choose_digit(digits, random)) for _ in range(2))
    way = int(random.integers(8))
    together = _side_by_side(first, second, random)
    if way == 0 and first.shape[1] > 12:
        together = _left_of(first, random)
    elif 0 < way < 4:
        part = _left_of(second, random)
        if np.sum(part > 127) > 0.25 * np.sum(first > 127):
            together = _side_by_side(first, part, random) if way < 3 else _side_by_side(part, first, random)
    levels = to_unit_range(together)
    return render(levels, bounding_box(levels > 0))


def _trimmed(digit: Image) -> Image:
    """A digit without the empty columns at its sides."""
    columns = np.flatnonzero(digit.any(axis=0))
    return digit[:, columns[0] : columns[-1] + 1] if len(columns) else digit


def _left_of(digit: Image, random: Random) -> Image:
    return digit[:, : max(4, round(digit.shape[1] * random.uniform(0.3, 0.5)))]


def _side_by_side(left: Image, right: Image, random: Random) -> Image:
    overlap = min(3, left.shape[1] // 3, right.shape[1] // 3)
    gap, fall = int(random.integers(-overlap, 2)), int(random.integers(-3, 4))
    together = np.zeros((40, max(left.shape[1], left.shape[1] + gap + right.shape[1])), np.uint8)
    together[6:34, : left.shape[1]] = left
    start = max(0, left.shape[1] + gap)
    place = together[6 + fall : 34 + fall, start : start + right.shape[1]]
    np.maximum(place, right[:, : place.shape[1]], out=place)
    return together
