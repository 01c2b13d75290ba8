"""The paper, and what stands out from it: `mnist_trainer/pictures/paper.py`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mnist_trainer.pictures.paper import (
    QUIET_NOISE,
    WINDOWS,
    Background,
    contrast_of,
    even_background,
    in_one_channel,
    without_noise,
)

Draw = Callable[..., NDArray[np.uint8]]
Y, X = np.mgrid[-1:1:220j, -1:1:200j]
DARK, LIGHT = (Background(light, WINDOWS[0]) for light in (False, True))


def coloured(
    mask: NDArray[np.bool_], ink: tuple[int, int, int], paper: tuple[int, int, int] = (255, 255, 255)
) -> NDArray[np.uint8]:
    return np.where(mask[..., None], np.uint8(ink), np.uint8(paper))


@pytest.mark.parametrize(
    ("ink", "paper", "light"), [(0, 255, False), (90, 120, False), (255, 0, True), (200, 60, True)]
)
def test_the_ink_on_even_paper_is_the_rarer_side(draw_seven: Draw, ink: int, paper: int, light: bool) -> None:
    assert even_background(draw_seven(ink=ink, paper=paper)) == Background(light, None)


def test_even_paper_may_be_noisy_and_unevenly_lit_paper_is_not_even(draw_seven: Draw) -> None:
    noise = np.random.default_rng(0).normal(0, 2, (220, 200))
    assert even_background((draw_seven(ink=30, paper=200) + noise).astype(np.uint8)) == Background(
        light=False, window=None
    )
    assert even_background((draw_seven() * (0.6 + 0.4 * X)).astype(np.uint8)) is None


def test_contrast_on_even_paper_is_the_difference_in_grey_levels(draw_seven: Draw) -> None:
    drawn = draw_seven(ink=40, paper=200)
    dark = contrast_of(drawn, Background(light=False, window=None))
    assert dark.dtype == np.float32
    assert np.array_equal(dark, np.where(drawn < 128, np.float32(160), np.float32(0)))
    assert np.array_equal(contrast_of(drawn, Background(light=True, window=None)), -dark)


@pytest.mark.parametrize(
    "light",
    [0.75 + 0.25 * X, 1 - 0.3 * (X**2 + Y**2), np.where(X + Y > 0.1, 1, 0.5)],
    ids=["slope", "vignette", "a hard shadow"],
)
def test_light_is_divided_out(draw_seven: Draw, light: NDArray[np.float64]) -> None:
    drawn = draw_seven(thickness=0.6, ink=80, paper=240)
    contrast = contrast_of((drawn * light).astype(np.uint8), DARK)
    rim = np.hypot(*np.gradient(light)) > 0.1  # the steps of light themselves may be off
    ink, paper = (drawn < 128) & ~rim, (drawn >= 128) & ~rim
    assert np.percentile(contrast[paper], 95) < 40
    assert np.median(contrast[ink]) == pytest.approx(255 * 2 / 3, abs=30)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("side", range(150, 156))
@pytest.mark.parametrize("turn", range(4))
def test_the_edge_of_a_shadow_is_no_ink(window: float, side: int, turn: int) -> None:
    """Whether the window on the paper has an odd number of pixels or an even one."""
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    shadow = np.rot90(np.where(x + 0.3 * y > 0.1, 220, 110), turn).astype(np.uint8)
    for light in (False, True):
        assert contrast_of(shadow, Background(light, window)).max() < 12


def test_chalk_stands_out_alike_in_light_and_shade(draw_seven: Draw) -> None:
    drawn = draw_seven(thickness=0.6, ink=220, paper=50)
    contrast = contrast_of((drawn * (0.65 + 0.35 * X)).astype(np.uint8), LIGHT)
    ink = drawn > 128
    assert np.percentile(contrast[ink], 5) > 0.85 * np.percentile(contrast[ink], 95)
    assert np.percentile(contrast[~ink], 95) < 30


def test_the_ink_of_a_negative_stands_out_as_that_of_the_photograph(draw_seven: Draw) -> None:
    drawn = (draw_seven() * (0.6 + 0.4 * X)).astype(np.uint8)
    ink = draw_seven() < 128
    assert contrast_of(255 - drawn, LIGHT)[ink].mean() >= contrast_of(drawn, DARK)[ink].mean() - 1


@pytest.mark.parametrize("deviation", [0, 2, 4, 12, 25])
def test_noise_is_smoothed_to_what_is_quiet(deviation: float) -> None:
    noisy = (128 + np.random.default_rng(0).normal(0, deviation, (200, 300))).astype(np.uint8)
    smooth = without_noise(noisy)
    assert float(smooth.std()) <= max(deviation, QUIET_NOISE) * 1.15
    if deviation < QUIET_NOISE:
        assert smooth is noisy


@pytest.mark.parametrize("thickness", [0.1, 1.0])
def test_strokes_are_no_noise(draw_seven: Draw, thickness: float) -> None:
    """Nor are the thinnest, nor a slope of light, nor print."""
    drawn = (draw_seven(thickness=thickness) * (0.7 + 0.3 * X)).astype(np.uint8)
    assert without_noise(drawn) is drawn


def test_the_steps_of_a_tiny_bitmap_are_no_noise() -> None:
    """A 5 that fills 16×16 pixels: hardly anywhere is it flat."""
    strokes = np.zeros((16, 16), np.uint8)
    strokes[:2, 1:], strokes[:8, :3], strokes[6:8, :14], strokes[7:15, 12:], strokes[14:, :14] = [255] * 5
    strokes[3:6:2, 4::3] = strokes[9:13:2, 1:11:3] = 255
    assert without_noise(strokes) is strokes


@given(height=st.integers(1, 40), width=st.integers(1, 40), seed=st.integers(0, 99))
def test_every_size_has_its_contrast(height: int, width: int, seed: int) -> None:
    grey = np.random.default_rng(seed).integers(0, 256, (height, width)).astype(np.uint8)
    for view in (Background(light, window) for light in (False, True) for window in (None, *WINDOWS)):
        contrast = contrast_of(grey, view)
        assert contrast.shape == grey.shape and contrast.dtype == np.float32
        assert np.isfinite(contrast).all() and np.abs(contrast).max() <= 16 * 255


def test_grey_pixels_stay_as_they_are(draw_seven: Draw) -> None:
    drawn = draw_seven()
    assert in_one_channel(drawn) is drawn
    again = in_one_channel(np.dstack([drawn] * 3)).astype(int)
    assert np.abs(again - drawn).max() <= 1


@pytest.mark.parametrize(
    ("ink", "paper"),
    [
        ((255, 255, 60), (255, 255, 255)),
        ((200, 60, 60), (60, 131, 60)),
        ((60, 60, 255), (150, 150, 60)),
    ],
    ids=["yellow on white", "red on green of the same brightness", "blue on olive"],
)
def test_coloured_ink_shows_at_least_half_as_much_as_in_its_best_channel(
    draw_seven: Draw, ink: tuple[int, int, int], paper: tuple[int, int, int]
) -> None:
    mask = draw_seven() < 128
    grey = in_one_channel(coloured(mask, ink, paper)).astype(int)
    assert grey.shape == mask.shape
    most = max(abs(one - other) for one, other in zip(ink, paper, strict=True))
    assert abs(np.median(grey[mask]) - np.median(grey[~mask])) >= most / 2


def test_a_slope_of_colour_hides_no_ink(draw_seven: Draw) -> None:
    """Light that turns from red to blue is coarse, ink is fine."""
    mask = draw_seven(thickness=0.5) < 128
    pixels = np.dstack([150 + 80 * X, np.full(X.shape, 200), 150 - 80 * X]).astype(np.uint8)
    pixels[mask, 1] = 120
    grey = in_one_channel(pixels).astype(int)
    across = mask[:, 1:] != mask[:, :-1]
    assert np.median(np.abs(np.diff(grey, axis=1))[across]) > 50


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 300, 3), (300, 1, 3), (2, 2, 3)])
@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (10, 200, 30)])
def test_one_colour_is_one_grey_level(shape: tuple[int, int, int], colour: tuple[int, int, int]) -> None:
    grey = in_one_channel(np.broadcast_to(np.uint8(colour), shape))
    assert grey.shape == shape[:2] and grey.dtype == np.uint8 and np.ptp(grey) == 0
