from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from mnist_trainer.pictures.ink import find_ink
from mnist_trainer.pictures.page import box_of

Draw = Callable[..., NDArray[np.uint8]]
Y, X = np.mgrid[-1:1:220j, -1:1:200j]


def overlap(levels: NDArray[np.float32], drawn: NDArray[np.uint8]) -> float:
    """Shared pixels of found (at least half strong) and drawn ink, as a share of those in either."""
    found, truth = levels >= 0.5, drawn < 128
    return float((found & truth).sum() / (found | truth).sum())


@pytest.mark.parametrize("thickness", [0.2, 1.2, 4.0])
@pytest.mark.parametrize("light_on_dark", [False, True])
def test_ink_of_any_thickness_is_found_on_plain_paper(draw_seven: Draw, thickness: float, light_on_dark: bool) -> None:
    drawn = draw_seven(thickness=thickness)
    assert overlap(find_ink(255 - drawn if light_on_dark else drawn).levels, drawn) == 1


def test_bold_ink_that_fills_a_tight_cut_is_still_the_ink(draw_seven: Draw) -> None:
    drawn = draw_seven(size=(88, 124), at=(2, 2), thickness=3)
    assert (drawn < 128).mean() > 0.5
    assert overlap(find_ink(drawn).levels, drawn) == 1


@pytest.mark.parametrize(
    "light",
    [1 - 0.35 * (X**2 + Y**2), 0.75 + 0.25 * X, 0.6 + 0.2 * X - 0.2 * Y],
    ids=["vignette", "from the right", "from a corner"],
)
@pytest.mark.parametrize("thickness", [0.8, 2.5])
def test_uneven_light_and_noise_do_not_count_as_ink(
    draw_seven: Draw, light: NDArray[np.float64], thickness: float
) -> None:
    drawn = draw_seven(thickness=thickness)
    noise = np.random.default_rng(0).normal(0, 3, drawn.shape)
    photo = np.clip(drawn * light + noise, 0, 255).astype(np.uint8)
    assert overlap(find_ink(photo).levels, drawn) > 0.97


@pytest.mark.parametrize(("paper", "ink"), [(255, 238), (30, 60), (130, 100)])
def test_faint_ink_is_found_and_made_strong(draw_seven: Draw, paper: int, ink: int) -> None:
    levels = find_ink(draw_seven(paper=paper, ink=ink)).levels
    assert overlap(levels, draw_seven()) == 1
    assert levels.max() == 1


def test_grey_levels_within_the_ink_are_kept(draw_seven: Draw) -> None:
    drawn = draw_seven()
    drawn[50:56] = np.where(drawn[50:56] < 128, 127, 255)
    levels = find_ink(drawn).levels
    assert levels[52, 80] == pytest.approx(128 / 255, abs=0.01)
    assert levels[60, 80] == 1


def test_grains_are_dropped_and_detached_strokes_kept(draw_seven: Draw) -> None:
    drawn = draw_seven()
    drawn[10:12, 10:12] = drawn[200:202, 20:22] = 0
    drawn[120:130, 150:180] = 0
    levels = find_ink(drawn).levels
    assert not levels[:40].any() and not levels[190:].any()
    assert (levels[120:130, 150:180] == 1).all()


@pytest.mark.parametrize(("level", "deviation"), [(0, 0), (0, 2), (128, 0), (128, 6), (255, 0), (255, 2)])
@pytest.mark.parametrize("shape", [(1, 1), (28, 28), (3, 200), (300, 400)])
def test_an_empty_page_holds_no_ink(level: int, deviation: float, shape: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).normal(level, deviation, shape)
    assert not find_ink(np.clip(noise, 0, 255).astype(np.uint8)).levels.any()


def test_an_unevenly_lit_empty_page_holds_no_ink() -> None:
    assert not find_ink((200 - 60 * (X**2 + Y**2)).astype(np.uint8)).levels.any()


def test_a_grain_of_dust_is_no_ink() -> None:
    page = np.full((300, 400), 255, np.uint8)
    page[100:102, 200:202] = 0
    assert not find_ink(page).levels.any()


def test_the_box_encloses_exactly_what_is_true() -> None:
    mask = np.zeros((10, 12), bool)
    mask[2, 3] = mask[6, 8] = True
    assert box_of(mask) == (3, 2, 6, 5)
