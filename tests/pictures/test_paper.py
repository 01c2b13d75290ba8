"""The paper, what stands out from it, and its lines: `mnist_trainer/pictures/paper.py`."""

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
    compute_contrast,
    denoise,
    even_background,
    find_ruling,
    to_grey,
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
    dark = compute_contrast(drawn, Background(light=False, window=None))
    assert dark.dtype == np.float32
    assert np.array_equal(dark, np.where(drawn < 128, np.float32(160), np.float32(0)))
    assert np.array_equal(compute_contrast(drawn, Background(light=True, window=None)), -dark)


@pytest.mark.parametrize(
    "light",
    [0.75 + 0.25 * X, 1 - 0.3 * (X**2 + Y**2), np.where(X + Y > 0.1, 1, 0.5)],
    ids=["slope", "vignette", "a hard shadow"],
)
def test_light_is_divided_out(draw_seven: Draw, light: NDArray[np.float64]) -> None:
    drawn = draw_seven(thickness=0.6, ink=80, paper=240)
    contrast = compute_contrast((drawn * light).astype(np.uint8), DARK)
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
        assert compute_contrast(shadow, Background(light, window)).max() < 12


def test_chalk_stands_out_alike_in_light_and_shade(draw_seven: Draw) -> None:
    drawn = draw_seven(thickness=0.6, ink=220, paper=50)
    contrast = compute_contrast((drawn * (0.65 + 0.35 * X)).astype(np.uint8), LIGHT)
    ink = drawn > 128
    assert np.percentile(contrast[ink], 5) > 0.85 * np.percentile(contrast[ink], 95)
    assert np.percentile(contrast[~ink], 95) < 30


def test_the_ink_of_a_negative_stands_out_as_that_of_the_photograph(draw_seven: Draw) -> None:
    drawn = (draw_seven() * (0.6 + 0.4 * X)).astype(np.uint8)
    ink = draw_seven() < 128
    assert compute_contrast(255 - drawn, LIGHT)[ink].mean() >= compute_contrast(drawn, DARK)[ink].mean() - 1


@pytest.mark.parametrize("deviation", [0, 2, 4, 12, 25])
def test_noise_is_smoothed_to_what_is_quiet(deviation: float) -> None:
    noisy = (128 + np.random.default_rng(0).normal(0, deviation, (200, 300))).astype(np.uint8)
    smooth = denoise(noisy)
    assert float(smooth.std()) <= max(deviation, QUIET_NOISE) * 1.15
    if deviation < QUIET_NOISE:
        assert smooth is noisy


@pytest.mark.parametrize("thickness", [0.1, 1.0])
def test_strokes_are_no_noise(draw_seven: Draw, thickness: float) -> None:
    """Nor are the thinnest, nor a slope of light, nor print."""
    drawn = (draw_seven(thickness=thickness) * (0.7 + 0.3 * X)).astype(np.uint8)
    assert denoise(drawn) is drawn


def test_the_steps_of_a_tiny_bitmap_are_no_noise() -> None:
    """A 5 that fills 16×16 pixels: hardly anywhere is it flat."""
    strokes = np.zeros((16, 16), np.uint8)
    strokes[:2, 1:], strokes[:8, :3], strokes[6:8, :14], strokes[7:15, 12:], strokes[14:, :14] = [255] * 5
    strokes[3:6:2, 4::3] = strokes[9:13:2, 1:11:3] = 255
    assert denoise(strokes) is strokes


@given(height=st.integers(1, 40), width=st.integers(1, 40), seed=st.integers(0, 99))
def test_every_size_has_its_contrast(height: int, width: int, seed: int) -> None:
    grey = np.random.default_rng(seed).integers(0, 256, (height, width)).astype(np.uint8)
    for view in (Background(light, window) for light in (False, True) for window in (None, *WINDOWS)):
        contrast = compute_contrast(grey, view)
        assert contrast.shape == grey.shape and contrast.dtype == np.float32
        assert np.isfinite(contrast).all() and np.abs(contrast).max() <= 16 * 255


def test_grey_pixels_stay_as_they_are(draw_seven: Draw) -> None:
    drawn = draw_seven()
    assert to_grey(drawn) is drawn
    again = to_grey(np.dstack([drawn] * 3)).astype(int)
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
    grey = to_grey(coloured(mask, ink, paper)).astype(int)
    assert grey.shape == mask.shape
    most = max(abs(one - other) for one, other in zip(ink, paper, strict=True))
    assert abs(np.median(grey[mask]) - np.median(grey[~mask])) >= most / 2


def test_a_slope_of_colour_hides_no_ink(draw_seven: Draw) -> None:
    """Light that turns from red to blue is coarse, ink is fine."""
    mask = draw_seven(thickness=0.5) < 128
    pixels = np.dstack([150 + 80 * X, np.full(X.shape, 200), 150 - 80 * X]).astype(np.uint8)
    pixels[mask, 1] = 120
    grey = to_grey(pixels).astype(int)
    across = mask[:, 1:] != mask[:, :-1]
    assert np.median(np.abs(np.diff(grey, axis=1))[across]) > 50


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 300, 3), (300, 1, 3), (2, 2, 3)])
@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (10, 200, 30)])
def test_one_colour_is_one_grey_level(shape: tuple[int, int, int], colour: tuple[int, int, int]) -> None:
    grey = to_grey(np.broadcast_to(np.uint8(colour), shape))
    assert grey.shape == shape[:2] and grey.dtype == np.uint8 and np.ptp(grey) == 0


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


@pytest.mark.parametrize("shape", [(50, 70), (61, 46), (400, 300)])
@pytest.mark.parametrize("upright", [False, True])
@pytest.mark.parametrize("thick", [1, 2])
def test_a_line_alone_is_found_if_it_is_fainter_than_the_ink(
    write: Draw, shape: tuple[int, int], upright: bool, thick: int
) -> None:
    size = min(shape)
    drawn = write("5", shape[::-1], (size // 3, size // 5), size // 2) < 128
    contrast = np.where(drawn, np.float32(200), np.float32(0))
    row = size // 2 + 1
    lined = contrast[:, row : row + thick] if upright else contrast[row : row + thick]
    np.maximum(lined, 50, out=lined)
    found = find_ruling(contrast, FLOOR, photograph=False, few_lines=True)
    assert found is not None
    assert found[contrast == 50].mean() > 0.9 and found[drawn].mean() < 0.1
    assert find_ruling(contrast, FLOOR, photograph=False) is None or min(shape) >= 64


@pytest.mark.parametrize("level", [160, 200])
def test_a_bar_as_dark_as_the_ink_is_no_line_even_from_side_to_side(level: int) -> None:
    """The bar of a 7 that was cropped tightly."""
    contrast = np.zeros((80, 60), np.float32)
    contrast[4:7] = level
    contrast[:, 27:30] = 200
    assert find_ruling(contrast, FLOOR, photograph=False, few_lines=True) is None


def test_the_rim_of_a_frame_is_no_line() -> None:
    contrast = np.zeros((100, 100), np.float32)
    contrast[5:95, 5:95] = 200
    contrast[15:85, 15:85] = 0
    contrast[4, :] = 60
    contrast[40:60, 48:52] = 200
    assert find_ruling(contrast, FLOOR, photograph=False, few_lines=True) is None


def test_a_page_of_faint_print_below_a_stroke_is_no_ruling() -> None:
    contrast = np.zeros((SIDE, SIDE), np.float32)
    for top in range(4, SIDE - 20, 20):
        contrast[top : top + 14] = 60
    contrast[:, 190:200] = 200
    assert find_ruling(contrast, FLOOR, photograph=False, few_lines=True) is None
