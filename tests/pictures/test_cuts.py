"""Cuts between digits that touch: `mnist_trainer/pictures/cuts.py`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mnist_trainer.pictures.cuts import Seam, seams
from mnist_trainer.pictures.page import box_of

Draw = Callable[..., NDArray[np.uint8]]


def touching(write: Draw, text: str, overlap: float, height: int = 80) -> NDArray[np.float32]:
    """Levels of digits that reach into each other, of which a half high and one begins `overlap` before it ends."""
    drawn = write(text, (height * 6, height * 2), (height, height // 3), height, spacing=0.58 - overlap)
    levels = 1 - drawn.astype(np.float32) / 255
    x, y, width, down = box_of(levels > 0)
    return levels[y : y + down, x : x + width]


def nearest(found: list[Seam], middle: float) -> Seam:
    """The seam that is nearest to a column in the mean."""
    return min(found, key=lambda seam: abs(float(seam.columns.mean()) - middle))


def test_two_discs_that_touch_are_cut_between_them() -> None:
    import cv2

    levels = np.zeros((60, 118), np.float32)
    cv2.circle(levels, (30, 30), 29, 1, -1)
    cv2.circle(levels, (87, 30), 29, 1, -1)
    between = nearest(seams(levels, 3), 58.5)
    assert between.columns.shape == (60,)
    assert np.abs(between.columns - 58.5).max() < 12
    assert between.ink < 0.35


@pytest.mark.parametrize("height", [24, 48, 80, 300])
@pytest.mark.parametrize("text", ["47", "77", "57", "97"])
def test_digits_that_touch_are_cut_where_they_do(write: Draw, text: str, height: int) -> None:
    levels = touching(write, text, 0.02, height)
    between = nearest(seams(levels, 3), levels.shape[1] / 2)
    left = np.arange(levels.shape[1]) < between.columns[:, None]
    ink = levels[:, : levels.shape[1] // 2].sum() / levels.sum()
    assert levels[left].sum() / levels.sum() == pytest.approx(ink, abs=0.12)
    assert between.ink < 0.3


def test_a_seam_goes_round_ink() -> None:
    """No straight cut would do between strokes that lean."""
    import cv2

    levels = np.zeros((60, 80), np.float32)
    for x in (32, 48, 64):
        cv2.line(levels, (x, 2), (x - 14, 57), 1, 5)
    between = nearest(seams(levels, 4), 49)
    assert between.ink < 0.1
    assert between.columns[3] - between.columns[56] > 4


def test_the_ink_that_is_crossed_is_a_share_of_the_height() -> None:
    levels = np.zeros((100, 160), np.float32)
    levels[:, 5:20] = levels[:, -20:-5] = 1
    levels[40:52] = 1
    assert nearest(seams(levels, 3), 80).ink == pytest.approx(0.12, abs=0.03)


def test_there_are_at_most_as_many_seams_as_asked_for_from_left_to_right(write: Draw) -> None:
    levels = touching(write, "5328", 0.0)
    for most in range(1, 8):
        found = seams(levels, most)
        middles = [float(seam.columns.mean()) for seam in found]
        assert len(found) <= most
        assert middles == sorted(middles)
    assert len(seams(levels, 3)) == 3


@pytest.mark.parametrize("shape", [(60, 10), (60, 1), (1, 1), (300, 40)])
def test_narrow_pieces_are_not_cut(shape: tuple[int, int]) -> None:
    assert seams(np.ones(shape, np.float32), 5) == []


def test_a_block_is_not_worth_a_cut() -> None:
    assert seams(np.ones((60, 200), np.float32), 5) == []


@given(seed=st.integers(0, 2**32 - 1), height=st.integers(1, 90), width=st.integers(1, 300), most=st.integers(1, 6))
def test_seams_run_inside_anything_from_its_first_row_to_its_last(
    seed: int, height: int, width: int, most: int
) -> None:
    levels = (np.random.default_rng(seed).random((height, width)) ** 3).astype(np.float32)
    for seam in seams(levels, most):
        assert seam.columns.shape == (height,)
        assert seam.columns.min() >= 0 and seam.columns.max() <= width
        assert 0 <= seam.ink <= 1 and np.isfinite(seam.ink)
