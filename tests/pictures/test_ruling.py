"""Ruled and squared paper: `mnist_trainer/pictures/paper.py`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from mnist_trainer.pictures.paper import find_ruling

Draw = Callable[..., NDArray[np.uint8]]
SIDE, FLOOR = 400, 12.0


def sheet(slope: float, *, every: int = 60, thick: int = 2, shift: int = 30) -> NDArray[np.float32]:
    """The contrast of nearly horizontal lines, 1 in 60 of them `thick` pixels high."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    level = np.floor(rows - slope * (columns - SIDE / 2) - shift)
    return np.where((level % every < thick), np.float32(70), np.float32(0))


def share(found: NDArray[np.bool_] | None, wanted: NDArray[np.bool_]) -> float:
    """How much of what is wanted was found, but for the picture's outermost pixels."""
    assert found is not None
    inner = np.s_[30:-30, 30:-30]
    return float(found[inner][wanted[inner]].mean())


@pytest.mark.parametrize("photograph", [False, True])
@pytest.mark.parametrize("slope", [-0.12, -0.05, -0.01, 0.0, 0.02, 0.07, 0.12])
@pytest.mark.parametrize("upright", [False, True])
def test_lines_are_found_at_every_slope(slope: float, upright: bool, photograph: bool) -> None:
    contrast = sheet(slope)
    if upright:
        contrast = np.ascontiguousarray(contrast.T)
    found = find_ruling(contrast, FLOOR, photograph=photograph)
    assert found is not None and found.shape == contrast.shape and found.dtype == bool
    assert share(found, contrast > 0) > 0.9
    assert found.mean() < 5 * (contrast > 0).mean()


def test_squared_paper_has_lines_both_ways() -> None:
    contrast = np.maximum(sheet(0.03), sheet(-0.03).T)
    assert share(find_ruling(contrast, FLOOR, photograph=False), contrast > 0) > 0.85


@pytest.mark.parametrize("slope", [0.0, 0.05])
def test_strokes_that_cross_lines_stay(write: Draw, slope: float) -> None:
    drawn = write("7", (SIDE, SIDE), (150, 95), 200) < 128
    contrast = np.where(drawn, np.float32(200), sheet(slope))
    found = find_ruling(contrast, FLOOR, photograph=False)
    assert share(found, (sheet(slope) > 0) & ~drawn) > 0.85
    assert share(found, drawn) < 0.1


def test_dark_ink_along_a_line_stays() -> None:
    """The bar of a 7 that is written on it."""
    contrast = sheet(0.0)
    bar = np.zeros(contrast.shape, bool)
    bar[150:158, 120:260] = True
    assert contrast[150:152].all()
    found = find_ruling(np.where(bar, np.float32(220), contrast), FLOOR, photograph=False)
    assert share(found, (contrast > 0) & ~bar) > 0.85
    assert share(found, bar) < 0.1


def test_noise_hides_no_lines() -> None:
    contrast = sheet(0.04)
    noisy = contrast + np.random.default_rng(0).normal(0, 3, contrast.shape).astype(np.float32)
    assert share(find_ruling(noisy, FLOOR, photograph=True), contrast > 0) > 0.8


@pytest.mark.parametrize("text", ["7", "1", "4", "407"])
@pytest.mark.parametrize("photograph", [False, True])
def test_writing_has_no_lines(write: Draw, text: str, photograph: bool) -> None:
    contrast = np.float32(255) - write(text, (SIDE, SIDE), (60, 130), 100)
    assert find_ruling(contrast, FLOOR, photograph=photograph) is None


@pytest.mark.parametrize("photograph", [False, True])
@pytest.mark.parametrize("spacing", [0.65, 0.8, 1.0])
@pytest.mark.parametrize("text", ["7777777", "2537524", "0862953"])
def test_bars_of_digits_that_lie_on_one_level_are_no_lines(
    write: Draw, text: str, spacing: float, photograph: bool
) -> None:
    drawn = write(text, (900, 300), (20, 80), 120, spacing=spacing)
    found = find_ruling(np.float32(255) - drawn, FLOOR, photograph=photograph)
    assert found is None or found[drawn < 128].mean() < 0.02


@pytest.mark.parametrize("deviation", [0, 3, 20])
def test_paper_without_lines_has_none(deviation: float) -> None:
    noise = np.random.default_rng(0).normal(0, deviation, (SIDE, SIDE)).astype(np.float32)
    assert find_ruling(noise, max(FLOOR, 4 * deviation), photograph=True) is None


def test_a_thick_bar_is_no_line() -> None:
    contrast = sheet(0.0, every=1000, thick=40, shift=150)
    assert find_ruling(contrast, FLOOR, photograph=False) is None


@pytest.mark.parametrize("shape", [(1, 1), (28, 28), (1, 400), (400, 5), (40, 300)])
def test_small_pictures_are_left_alone(shape: tuple[int, int]) -> None:
    contrast = np.zeros(shape, np.float32)
    contrast[shape[0] // 2] = 200
    assert find_ruling(contrast, FLOOR, photograph=True) is None


def test_beside_lines_those_are_found_that_a_large_digit_hides_the_middle_of() -> None:
    contrast = sheet(0.0, every=100)
    lines = contrast > 0
    contrast[150:380, 105:295] = 200
    found = find_ruling(contrast, FLOOR, photograph=True)
    assert share(found, lines & (contrast < 200)) > 0.9
