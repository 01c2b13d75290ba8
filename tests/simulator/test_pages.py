"""Rows of digits: `mnist_trainer/simulator/photographs.py`."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mnist_trainer.simulator.photographs import merge_patches, page, place_row
from mnist_trainer.simulator.scene import LARGEST

Images = NDArray[np.uint8]


@pytest.mark.parametrize("lengths", [(1,), (2,), (8,), (3, 8, 2), (8,) * 6])
@pytest.mark.parametrize("touching", [False, True])
def test_pages_of_any_layout_are_pictures(digits: Images, lengths: tuple[int, ...], touching: bool) -> None:
    lines = [list(digits[:length]) for length in lengths]
    first, second = (page(lines, np.random.default_rng(5), touching=touching)[0] for _ in range(2))
    assert np.array_equal(first, second)
    assert (first.dtype, first.shape[2]) == (np.uint8, 3)
    assert 40 <= min(first.shape[:2]) <= max(first.shape[:2]) <= LARGEST


def patches() -> list[Images]:
    """A slope to the right, and one to the left: their boxes meet long before their ink does."""
    slope = np.triu(np.full((40, 30), 255, np.uint8))
    return [slope, np.asarray(slope[::-1], np.uint8)] * 4


def test_digits_stand_side_by_side_on_a_line() -> None:
    placed = place_row(patches(), (10, 5), 0.0, 40, np.random.default_rng(0))
    ends = [x + patch.shape[1] for patch, _, x in placed]
    assert all(2 < x - end < 25 for end, (_, _, x) in zip(ends, placed[1:], strict=False))
    assert [y + len(patch) for patch, y, _ in placed] == pytest.approx([50] * 8, abs=7)


def test_a_slanted_row_falls() -> None:
    placed = place_row(patches(), (0, 0), 0.1, 40, np.random.default_rng(0))
    assert placed[-1][1] - placed[0][1] == pytest.approx(0.1 * placed[-1][2], abs=8)


def test_some_neighbours_touch_when_they_are_to() -> None:
    import cv2

    margins = np.full(4, 5.0)

    def parts(touching: bool) -> list[int]:
        inks = [
            merge_patches(place_row(patches(), (0, 0), 0, 40, np.random.default_rng(seed), touching=touching), margins)[
                0
            ]
            for seed in range(8)
        ]
        return [cv2.connectedComponents((ink > 0.5).astype(np.uint8))[0] - 1 for ink in inks]

    assert parts(touching=False) == [8] * 8
    assert 2.5 < np.mean(parts(touching=True)) < 7


def test_a_sheet_has_its_margins_around_the_ink() -> None:
    ink, boxes = merge_patches([(np.full((10, 6), 255, np.uint8), 3.0, 100.0)], np.array([4.0, 7.0, 9.0, 2.0]))
    assert boxes == [(7, 4, 6, 10)]
    assert ink.shape == (10 + 4 + 9, 6 + 7 + 2)
    assert ink[4:14, 7:13].min() == 1
    assert ink.sum() == 60
