"""Paper, ink and parts together: `mnist_trainer/pictures/read.py`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mnist_trainer.data.digits import load_digits
from mnist_trainer.pictures.read import Writing, find_writing
from mnist_trainer.simulator.photographs import page

Draw = Callable[..., NDArray[np.uint8]]
Y, X = np.mgrid[-1:1:220j, -1:1:200j]


def best(pixels: NDArray[np.uint8]) -> Writing:
    return find_writing(pixels)[0]


def overlap(levels: NDArray[np.float32], drawn: NDArray[np.uint8]) -> float:
    """Shared pixels of found (at least half strong) and drawn ink, as a share of those in either."""
    found, truth = levels >= 0.5, drawn < 128
    return float((found & truth).sum() / (found | truth).sum())


@pytest.mark.parametrize("thickness", [0.2, 1.2, 2.5])
@pytest.mark.parametrize("light_on_dark", [False, True])
def test_ink_of_any_thickness_is_found_on_plain_paper(draw_seven: Draw, thickness: float, light_on_dark: bool) -> None:
    drawn = draw_seven(thickness=thickness)
    assert overlap(best(255 - drawn if light_on_dark else drawn).levels, drawn) == 1


def test_bold_ink_that_fills_a_tight_cut_is_still_the_ink(draw_seven: Draw) -> None:
    drawn = draw_seven(size=(88, 124), at=(2, 2), thickness=3)
    assert (drawn < 128).mean() > 0.5
    assert max(overlap(each.levels, drawn) for each in find_writing(drawn)) == 1


@pytest.mark.parametrize(
    "light",
    [
        1 - 0.35 * (X**2 + Y**2),
        0.75 + 0.25 * X,
        0.6 + 0.2 * X - 0.2 * Y,
        np.where(0.7 * X + Y > 0.1, 1, 0.55),
    ],
    ids=["vignette", "from the right", "from a corner", "a hard shadow"],
)
@pytest.mark.parametrize("thickness", [0.5, 0.9])
def test_uneven_light_and_noise_do_not_count_as_ink(
    draw_seven: Draw, light: NDArray[np.float64], thickness: float
) -> None:
    drawn = draw_seven(thickness=thickness, paper=240)
    noise = np.random.default_rng(0).normal(0, 3, drawn.shape)
    photo = np.clip(drawn * light + noise, 0, 255).astype(np.uint8)
    assert overlap(best(photo).levels, drawn) > 0.9


@pytest.mark.parametrize(("paper", "ink", "deviation"), [(200, 60, 45), (50, 210, 45), (150, 90, 25)])
def test_strong_noise_is_smoothed_away(draw_seven: Draw, paper: int, ink: int, deviation: float) -> None:
    drawn = draw_seven(thickness=0.8)
    noise = np.random.default_rng(0).normal(0, deviation, drawn.shape)
    photo = np.clip(np.where(drawn < 128, ink, paper) * (0.8 + 0.2 * X) + noise, 0, 255).astype(np.uint8)
    assert overlap(best(photo).levels, drawn) > 0.7


def test_what_is_between_digits_on_a_board_is_not_the_ink(write: Draw) -> None:
    """A row of chalk digits, as near to each other as their strokes are broad: dark ink would be the board."""
    drawn = write("888888", (480, 160), (40, 30), 100, spacing=0.66)
    board = ((40 + 0.45 * (255 - drawn)) * np.linspace(0.75, 1, 480)).astype(np.uint8)
    assert overlap(best(board).levels, drawn) > 0.7


def test_a_shadow_on_one_half_is_no_ink_even_where_the_other_half_is_of_one_level(draw_seven: Draw) -> None:
    drawn = draw_seven(paper=240, ink=30)
    shaded = np.where(X + 0.2 * Y > 0.35, 0.6, 1) * drawn + np.random.default_rng(0).normal(0, 1.5, drawn.shape)
    assert overlap(best(np.clip(shaded, 0, 255).astype(np.uint8)).levels, drawn) > 0.8


def test_paper_that_is_even_in_its_smaller_part_is_seen_in_other_ways_too(draw_seven: Draw) -> None:
    def ways(width: float) -> int:
        """In how many a 7 is seen on paper that falls off by 22 grey levels over some share of its width."""
        shade = 22 * np.clip((X - 1 + 2 * width) / (2 * width), 0, 1)
        return len(find_writing((draw_seven(paper=240, ink=30) - shade).clip(0, 255).astype(np.uint8)))

    assert (ways(0.2), ways(0.95)) == (1, 3)


@pytest.mark.parametrize("seed", [109, 252, 254])
def test_what_is_broad_is_not_the_ink(seed: int) -> None:
    """A table beyond the paper, a shadow, and what a window on the paper sees between light strokes."""
    random, digits = np.random.default_rng([9, seed]), load_digits("train").images.numpy()
    chosen = random.integers(0, len(digits), int(random.integers(2, 9)))
    assert np.mean(best(page([[digits[each] for each in chosen]], random)[0]).levels > 0.5) < 0.08


@pytest.mark.parametrize(("side", "size", "pen"), [(16, 60, 2), (16, 90, 1), (12, 60, 4)])
def test_squares_that_stand_for_nothing_are_no_ink(side: int, size: int, pen: int) -> None:
    import cv2

    y, x = np.mgrid[:160, :150]
    drawn = np.full((160, 150), 255, np.uint8)
    cv2.polylines(drawn, [np.array([(30, 20), (30 + size, 20), (30 + size // 2, 20 + 3 * size // 2)])], False, 0, pen)
    squares = np.where((y // side + x // side) % 2, 190, 255)
    assert overlap(best(np.where(drawn < 128, 20, squares).astype(np.uint8)).levels, drawn) > 0.7


def test_dark_paper_with_light_ink_may_be_lit_unevenly_too(draw_seven: Draw) -> None:
    drawn = draw_seven(thickness=0.7)
    photo = ((255 - drawn) * 0.6 + 40 + 25 * X).astype(np.uint8)
    assert overlap(best(photo).levels, drawn) > 0.9


@pytest.mark.parametrize(("paper", "ink"), [(255, 238), (30, 60), (130, 100)])
def test_faint_ink_is_found_and_made_strong(draw_seven: Draw, paper: int, ink: int) -> None:
    levels = best(draw_seven(paper=paper, ink=ink)).levels
    assert overlap(levels, draw_seven()) == 1
    assert levels.max() == 1


def test_grey_levels_within_the_ink_are_kept(draw_seven: Draw) -> None:
    drawn = draw_seven()
    drawn[50:56] = np.where(drawn[50:56] < 128, 127, 255)
    levels = best(drawn).levels
    assert levels[52, 80] == pytest.approx(128 / 255, abs=0.01)
    assert levels[60, 80] == 1


@pytest.mark.parametrize(("level", "deviation"), [(0, 0), (0, 2), (128, 0), (128, 6), (255, 0), (255, 2)])
@pytest.mark.parametrize("shape", [(1, 1), (28, 28), (3, 200), (300, 400)])
def test_an_empty_page_holds_no_writing(level: int, deviation: float, shape: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).normal(level, deviation, shape)
    for seen in find_writing(np.clip(noise, 0, 255).astype(np.uint8)):
        assert not seen.parts.parts and not seen.parts.crowded


@pytest.mark.parametrize(
    "light",
    [200 - 60 * (X**2 + Y**2), 150 + 80 * X, np.where(X + 0.4 * Y > 0.2, 200, 100) + 20 * Y],
    ids=["vignette", "slope", "a hard shadow"],
)
def test_an_unevenly_lit_empty_page_holds_no_writing(light: NDArray[np.float64]) -> None:
    assert not best(light.astype(np.uint8)).parts.parts


def test_a_grain_of_dust_is_no_writing() -> None:
    page = np.full((300, 400), 255, np.uint8)
    page[100:102, 200:202] = 0
    assert not best(page).parts.parts


@pytest.mark.parametrize(
    ("paper", "ink"),
    [((255, 255, 255), (250, 240, 90)), ((60, 150, 60), (180, 90, 60)), ((250, 240, 150), (90, 90, 200))],
    ids=["yellow on white", "red on green", "blue on yellow"],
)
def test_coloured_ink_is_found_on_coloured_paper(
    draw_seven: Draw, paper: tuple[int, int, int], ink: tuple[int, int, int]
) -> None:
    drawn = draw_seven()
    coloured = np.where((drawn < 128)[..., None], np.uint8(ink), np.uint8(paper))
    assert overlap(best(coloured).levels, drawn) > 0.98


def test_the_lines_of_the_paper_are_taken_out(write: Draw) -> None:
    drawn = write("7", (400, 400), (150, 110), 180)
    ruled = drawn.copy()
    ruled[20::40] = np.minimum(ruled[20::40], 120)
    seen = best(ruled)
    assert [part.box for part in seen.parts.parts] == [part.box for part in best(drawn).parts.parts]
    assert overlap(seen.levels, drawn) > 0.95


@pytest.mark.parametrize("pen", [4, 8, 12])
@pytest.mark.parametrize("height", [200, 280, 340])
@pytest.mark.parametrize("digit", ["1", "4", "7"])
def test_a_tall_straight_stroke_on_a_photograph_is_no_line_of_the_paper(digit: str, height: int, pen: int) -> None:
    """One digit that fills most of a picture."""
    import cv2

    half, top, bottom = height // 4, 200 - height // 2, 200 + height // 2
    strokes: dict[str, list[list[tuple[int, int]]]] = {
        "1": [[(210, top), (190, bottom)]],
        "4": [[(200 - half, top), (200 - half, 200), (200 + half, 200)], [(200 + half, top), (200 + half, bottom)]],
        "7": [[(200 - half, top), (200 + half, top), (190, bottom)]],
    }
    drawn = np.full((400, 400), 255, np.uint8)
    cv2.polylines(drawn, [np.array(stroke) for stroke in strokes[digit]], False, 0, pen, cv2.LINE_AA)
    photo = (40 + 0.75 * drawn * np.linspace(0.55, 0.95, 400)).astype(np.uint8)
    assert overlap(best(photo).levels, drawn) > 0.7


def test_other_ways_to_see_a_picture_cost_more() -> None:
    """Grey rings on paper that is dark in the middle: may be dark ink, may be light ink."""
    y, x = np.mgrid[-1:1:240j, -1:1:240j]
    rings = 128 + 90 * np.cos(14 * np.hypot(x, y))
    seen = find_writing(rings.astype(np.uint8))
    assert len(seen) > 1
    assert seen[0].cost == 0
    assert [each.cost for each in seen] == sorted(each.cost for each in seen)


@given(scale=st.integers(1, 8))
def test_the_picture_may_have_any_size(draw_seven: Draw, scale: int) -> None:
    small = draw_seven()
    seen = best(small.repeat(scale, 0).repeat(scale, 1))
    (part,) = seen.parts.parts
    assert part.box == tuple(scale * side for side in (60, 50, 84, 120))
    assert overlap(seen.levels[::scale, ::scale], small) > 0.97


@pytest.mark.parametrize("square", [8, 20])
def test_a_checkerboard_that_stands_for_nothing_is_paper(draw_seven: Draw, square: int) -> None:
    drawn = draw_seven(thickness=2)
    rows, columns = np.indices(drawn.shape) // square
    board = np.where((rows + columns) % 2, 204, 255).astype(np.uint8)
    assert overlap(best(np.minimum(drawn, board)).levels, drawn) > 0.9


def test_faint_squares_on_even_paper_do_not_join_the_digit(draw_seven: Draw) -> None:
    drawn = draw_seven(thickness=1)
    squared = drawn.copy()
    squared[5::12] = np.minimum(squared[5::12], 205)
    squared[:, 5:190:12] = np.minimum(squared[:, 5:190:12], 205)
    squared[:, -12:] = squared[:12] = squared[-12:] = squared[:, :12] = 255
    boxes = [part.box for seen in find_writing(squared) for part in seen.parts.parts]
    assert any(box == pytest.approx((60, 50, 84, 120), abs=4) for box in boxes)
