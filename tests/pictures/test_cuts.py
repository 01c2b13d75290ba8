"""Cuts between digits that touch: `mnist_trainer/pictures/layouts.py`."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mnist_trainer.pictures.layouts import Seam, find_seams
from mnist_trainer.pictures.page import bounding_box

Draw = Callable[..., NDArray[np.uint8]]


def touching(write: Draw, text: str, overlap: float, height: int = 80) -> NDArray[np.float32]:
    """Levels of digits that reach into each other, of which a half high and one begins `overlap` before it ends."""
    drawn = write(text, (height * 6, height * 2), (height, height // 3), height, spacing=0.58 - overlap)
    levels = 1 - drawn.astype(np.float32) / 255
    x, y, width, down = bounding_box(levels > 0)
    return levels[y : y + down, x : x + width]


def left_of(seam: Seam, levels: NDArray[np.float32]) -> float:
    """The share of the ink that is on the left of a seam."""
    return float(levels[np.arange(levels.shape[1]) < seam.columns[:, None]].sum() / levels.sum())


def crossed(seam: Seam, levels: NDArray[np.float32]) -> float:
    """The ink that a seam crosses, as a share of the height."""
    height, width = levels.shape
    return float(levels[np.arange(height), np.minimum(seam.columns, width - 1)].mean())


def nearest(found: list[Seam], middle: float) -> Seam:
    """The seam that is nearest to a column in the mean."""
    return min(found, key=lambda seam: abs(float(seam.columns.mean()) - middle))


def test_two_discs_that_touch_are_cut_between_them() -> None:
    import cv2

    levels = np.zeros((60, 118), np.float32)
    cv2.circle(levels, (30, 30), 29, 1, -1)
    cv2.circle(levels, (87, 30), 29, 1, -1)
    between = nearest(find_seams(levels, 3), 58.5)
    assert between.columns.shape == (60,)
    assert np.abs(between.columns - 58.5).max() < 12
    assert crossed(between, levels) < 0.35


@pytest.mark.parametrize("height", [32, 48, 80, 300])
@pytest.mark.parametrize("text", ["47", "77", "57", "97"])
def test_digits_that_touch_are_cut_where_they_do(write: Draw, text: str, height: int) -> None:
    levels = touching(write, text, 0.02, height)
    ink = levels[:, : levels.shape[1] // 2].sum() / levels.sum()
    found = find_seams(levels, 5)
    shares = [left_of(seam, levels) for seam in found]
    best = int(np.argmin(np.abs(np.array(shares) - ink)))
    assert shares[best] == pytest.approx(ink, abs=0.12)
    assert crossed(found[best], levels) < 0.3


def test_a_seam_through_a_junction_costs_less_than_one_through_a_stroke() -> None:
    """Two strokes that meet in a corner at the top are rather two digits than one bar that ends there."""
    import cv2

    levels = np.zeros((60, 90), np.float32)
    cv2.line(levels, (10, 5), (80, 5), 1, 5)
    for x in (10, 45, 80):
        cv2.line(levels, (x, 5), (x, 55), 1, 5)
    junction = nearest(find_seams(levels, 9), 45)
    stroke = nearest(find_seams(levels, 9), 28)
    assert abs(float(junction.columns.mean()) - 45) < 6
    assert junction.cost < stroke.cost / 2
    assert crossed(junction, levels) >= crossed(stroke, levels)


def test_strokes_that_lean_are_cut_along_them() -> None:
    """A seam may move two columns in a row: no steeper one parts a bar that slants from what is under it."""
    import cv2

    levels = np.zeros((60, 110), np.float32)
    cv2.line(levels, (2, 55), (90, 4), 1, 4)
    cv2.line(levels, (22, 57), (107, 8), 1, 4)
    assert min(crossed(seam, levels) for seam in find_seams(levels, 6)) < 0.07


def test_a_seam_goes_round_ink() -> None:
    """No straight cut would do between strokes that lean."""
    import cv2

    levels = np.zeros((60, 80), np.float32)
    for x in (32, 48, 64):
        cv2.line(levels, (x, 2), (x - 14, 57), 1, 5)
    between = nearest(find_seams(levels, 4), 49)
    assert crossed(between, levels) < 0.1
    assert between.columns[3] - between.columns[56] > 4


def test_there_are_at_most_as_many_seams_as_asked_for_the_one_with_least_ink_on_its_left_first(write: Draw) -> None:
    levels = touching(write, "5328", 0.0)
    for most in range(1, 8):
        shares = [left_of(seam, levels) for seam in find_seams(levels, most)]
        assert len(shares) <= most
        assert shares == pytest.approx(sorted(shares), abs=0.01)
    assert len(find_seams(levels, 3)) == 3


def test_seams_are_not_all_where_there_is_the_best_of_them(write: Draw) -> None:
    """Where bold digits meet in two places, one of which is much the thicker."""
    drawn = write("575", (400, 220), spacing=0.56)
    x, y, width, height = bounding_box(drawn < 255)
    levels = 1 - drawn[y : y + height, x : x + width].astype(np.float32) / 255
    found = find_seams(levels, 9)
    for middle in (46, 90):
        near = [seam for seam in found if abs(float(seam.columns.mean()) - middle) < 12]
        assert 0 < len(near) < len(found)


def test_seams_differ(write: Draw) -> None:
    levels = touching(write, "23456", 0.03, 96)
    found = find_seams(levels, 24)
    differences = [np.abs(one.columns - other.columns).max() for one, other in combinations(found, 2)]
    assert len(found) > 4
    assert min(differences) > 6, "three columns of the 48 rows in which they are looked for"


@pytest.mark.parametrize("shape", [(60, 10), (60, 1), (1, 1), (300, 40)])
def test_narrow_pieces_are_not_cut(shape: tuple[int, int]) -> None:
    assert find_seams(np.ones(shape, np.float32), 5) == []


def test_a_block_is_not_worth_a_cut() -> None:
    assert find_seams(np.ones((60, 200), np.float32), 5) == []


@pytest.mark.slow
@given(seed=st.integers(0, 2**32 - 1), height=st.integers(1, 90), width=st.integers(1, 300), most=st.integers(1, 6))
def test_seams_run_inside_anything_from_its_first_row_to_its_last(
    seed: int, height: int, width: int, most: int
) -> None:
    levels = (np.random.default_rng(seed).random((height, width)) ** 3).astype(np.float32)
    for seam in find_seams(levels, most):
        assert seam.columns.shape == (height,)
        assert seam.columns.min() >= 0 and seam.columns.max() <= width
        assert seam.cost >= 0 and np.isfinite(seam.cost)
