"""Ink by its contrast, and what of it is writing: `mnist_trainer/pictures/ink.py`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mnist_trainer.pictures.ink import Parts, find_ink, find_parts, ink_threshold, sample
from mnist_trainer.pictures.page import Box

Draw = Callable[..., NDArray[np.uint8]]


def contrast_in(drawn: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What stands out from white paper."""
    return np.float32(255) - drawn


def test_full_ink_is_1_and_its_grey_levels_are_kept(draw_seven: Draw) -> None:
    drawn = draw_seven()
    drawn[50:56] = np.where(drawn[50:56] < 128, 127, 255)
    levels = find_ink(contrast_in(drawn), photograph=False).levels
    assert levels.dtype == np.float32
    assert levels[52, 80] == pytest.approx(128 / 255, abs=0.01)
    assert levels[60, 80] == 1 and levels[0, 0] == 0


def test_what_hangs_together_is_numbered(draw_seven: Draw) -> None:
    drawn = draw_seven(size=(300, 220))
    drawn[60:150, 200:210] = 0
    ink = find_ink(contrast_in(drawn), photograph=False)
    boxes = sorted(tuple(box) for box in ink.boxes[ink.numbers].tolist())
    assert [box[:4] for box in boxes] == [(60, 50, 84, 120), (200, 60, 10, 90)]
    assert boxes[1][4] == 900
    assert set(np.unique(ink.map[drawn == 0])) == set(ink.numbers.tolist())


def test_a_faint_line_that_hangs_on_a_dark_one_is_ink_and_one_alone_is_not() -> None:
    contrast = np.zeros((100, 100), np.float32)
    contrast[20:80, 20:24] = 200
    contrast[48:52, 24:60] = 60
    contrast[20:80, 80:84] = 60
    levels = find_ink(contrast, photograph=False).levels
    assert levels[50, 40] == pytest.approx(0.3, abs=0.02)
    assert not levels[:, 80:84].any()


def test_a_pale_digit_beside_dark_ones_is_ink() -> None:
    contrast = np.zeros((100, 100), np.float32)
    contrast[20:80, 20:24] = contrast[20:80, 50:54] = 200
    contrast[20:80, 80:84] = 84
    assert (find_ink(contrast, photograph=False).levels[20:80, 80:84] > 0.4).all()


def test_what_shines_through_on_a_photograph_is_none_even_where_it_touches() -> None:
    contrast = np.zeros((100, 100), np.float32)
    contrast[20:80, 20:24] = 200
    contrast[48:52, 24:60] = 40
    assert find_ink(contrast, photograph=False).levels[50, 40] > 0
    assert find_ink(contrast, photograph=True).levels[50, 40] == 0


@pytest.mark.parametrize("photograph", [False, True])
@pytest.mark.parametrize("deviation", [0, 1, 5, 15])
def test_noise_is_no_ink(deviation: float, photograph: bool) -> None:
    noise = np.random.default_rng(0).normal(0, deviation, (200, 200)).astype(np.float32)
    ink = find_ink(noise, photograph=photograph)
    assert not ink.levels.any() and not len(ink.numbers)


@pytest.mark.parametrize("photograph", [False, True])
def test_ink_fainter_than_the_noise_allows_is_none(photograph: bool) -> None:
    contrast = np.random.default_rng(0).normal(0, 8, (200, 200)).astype(np.float32)
    contrast[50:150, 90:110] += 12
    assert not find_ink(contrast, photograph=photograph).levels.any()
    contrast[50:150, 90:110] += 60
    assert find_ink(contrast, photograph=photograph).levels[50:150, 90:110].mean() > 0.7


def test_grains_are_dropped_and_detached_strokes_kept(draw_seven: Draw) -> None:
    drawn = draw_seven()
    drawn[10:12, 10:12] = drawn[200:202, 20:22] = 0
    drawn[120:130, 150:180] = 0
    levels = find_ink(contrast_in(drawn), photograph=False).levels
    assert not levels[:40].any() and not levels[190:].any()
    assert (levels[120:130, 150:180] == 1).all()


def test_what_ink_must_exceed_grows_with_the_noise_of_the_paper() -> None:
    floors = [
        ink_threshold(np.random.default_rng(0).normal(0, deviation, (100, 100)).astype(np.float32))
        for deviation in (0, 10, 20)
    ]
    assert 0 < floors[0] < floors[1] < floors[2]
    assert floors[2] == pytest.approx(2 * floors[1], rel=0.01)


def test_a_sample_comes_from_everywhere() -> None:
    values = np.arange(1_000_000).reshape(1000, 1000)
    taken = sample(values)
    assert taken.ndim == 1 and len(taken) < 50_000
    assert taken.min() < 1000 and taken.max() > 999_000
    assert np.array_equal(sample(values[:5, :5]), values[:5, :5].ravel())


FIVE = pytest.approx((60, 50, 46, 81), abs=2)
"""Where `write` puts its first digit; its faintest rim may count or not."""


def parts_of(drawn: NDArray[np.uint8], *, photograph: bool = False) -> Parts:
    return find_parts(find_ink(np.float32(255) - drawn, photograph=photograph), photograph=photograph)


def boxes_of(parts: Parts) -> list[Box]:
    return [part.box for part in parts.parts]


def test_each_part_is_numbered_in_the_map_with_its_box_and_area(write: Draw) -> None:
    import cv2

    drawn = write("52", (300, 220))
    cv2.line(drawn, (230, 70), (230, 100), 0, 5)
    parts = parts_of(drawn)
    assert boxes_of(parts) == [FIVE, pytest.approx((140, 50, 46, 81), abs=2), pytest.approx((228, 68, 5, 35), abs=2)]
    for part in parts.parts:
        x, y, width, height = part.box
        own = parts.map == part.number
        assert own.sum() == part.area == own[y : y + height, x : x + width].sum()
        assert part.side == max(width, height)
    assert parts.share == 1 and not parts.crowded


@pytest.mark.parametrize("photograph", [False, True])
@pytest.mark.parametrize("frame", [(20, 20, 180, 200), (50, 40, 116, 141), (2, 2, 197, 217)])
def test_a_frame_round_the_digit_is_left_out(write: Draw, frame: Box, photograph: bool) -> None:
    import cv2

    drawn = write("5")
    cv2.rectangle(drawn, frame[:2], frame[2:], 0, 2)
    parts = parts_of(drawn, photograph=photograph)
    assert boxes_of(parts) == [FIVE]
    assert parts.share == 1, "frames are known, so they do not count against the rest"


def test_a_frame_in_pieces_is_left_out_and_digits_in_a_square_stay(write: Draw) -> None:
    import cv2

    drawn = write("5")
    cv2.rectangle(drawn, (20, 20), (180, 200), 0, 3)
    drawn[:, 90:100:3] = drawn[60:70] = drawn[150:165] = 255
    drawn[:, 110:118] = 255
    write("5", sheet=drawn)
    assert boxes_of(parts_of(drawn)) == [FIVE]
    sheet = np.full((520, 520), 255, np.uint8)
    for row in range(8):
        write("23456789", height=40, at=(40, 30 + 58 * row), spacing=0.7, sheet=sheet)
    assert len(parts_of(sheet).parts) == 64


def test_a_ring_is_a_digit_and_so_is_one_with_a_dot_in_it() -> None:
    import cv2

    drawn = np.full((200, 200), 255, np.uint8)
    cv2.ellipse(drawn, (100, 100), (40, 60), 0, 0, 360, 0, 6)
    assert len(parts_of(drawn).parts) == 1
    cv2.circle(drawn, (100, 100), 4, 0, -1)
    assert parts_of(drawn).parts[0].side > 100


@pytest.mark.parametrize("photograph", [False, True])
def test_specks_are_left_out_and_small_strokes_kept(write: Draw, photograph: bool) -> None:
    import cv2

    drawn = write("5")
    for x, y in ((20, 30), (150, 190), (130, 25)):
        cv2.circle(drawn, (x, y), 2, 0, -1)
    cv2.line(drawn, (120, 60), (145, 56), 0, 6)
    boxes = boxes_of(parts_of(drawn, photograph=photograph))
    assert len(boxes) == 2 and boxes[0] == FIVE and boxes[1][0] > 110


@pytest.mark.parametrize("side", ["left", "right", "top", "bottom"])
def test_the_edge_of_a_table_is_left_out(write: Draw, side: str) -> None:
    drawn = write("5")
    edges = {
        "left": np.s_[:, :14],
        "right": np.s_[:, -60:],
        "top": np.s_[:38],
        "bottom": np.s_[-9:],
    }
    drawn[edges[side]] = 30
    assert boxes_of(parts_of(drawn, photograph=True)) == [FIVE]


def test_a_crease_beside_the_digit_is_left_out(write: Draw) -> None:
    import cv2

    drawn = write("5", (400, 300))
    cv2.line(drawn, (180, 5), (380, 290), 60, 2, cv2.LINE_AA)
    assert boxes_of(parts_of(drawn, photograph=True)) == [FIVE]


def test_a_1_alone_is_no_crease(write: Draw) -> None:
    assert len(parts_of(write("1"), photograph=True).parts) == 1
    assert len(parts_of(write("11", (300, 220)), photograph=True).parts) == 2


def test_a_digit_that_touches_the_border_is_kept(write: Draw) -> None:
    for photograph in (False, True):
        parts = parts_of(write("5", at=(60, -3)), photograph=photograph)
        assert len(parts.parts) == 1 and parts.parts[0].stroke_score > 0.5


def test_a_blot_is_less_like_a_stroke_than_a_digit_is(write: Draw) -> None:
    import cv2

    drawn = write("5", (320, 220))
    cv2.circle(drawn, (240, 90), 25, 0, -1)
    cv2.rectangle(drawn, (160, 60), (190, 90), 0, -1)
    parts = parts_of(drawn)
    assert [part.box for part in parts.parts if part.stroke_score > 0.5] == [FIVE]
    assert parts.share < 0.6


@pytest.mark.parametrize(("every", "crowded"), [(13, True), (40, False)])
def test_too_many_parts_are_a_pattern(every: int, crowded: bool) -> None:
    drawn = np.full((400, 400), 255, np.uint8)
    for at in range(5, 396, every):
        for other in range(5, 396, every):
            drawn[at : at + 10, other : other + 2] = 0
    parts = parts_of(drawn)
    assert parts.crowded == crowded and bool(parts.parts) != crowded


@pytest.mark.parametrize("photograph", [False, True])
def test_no_ink_has_no_parts(photograph: bool) -> None:
    parts = parts_of(np.full((50, 60), 255, np.uint8), photograph=photograph)
    assert (parts.parts, parts.share, parts.crowded) == ((), 0, False)


@given(seed=st.integers(0, 2**32 - 1), photograph=st.booleans())
def test_parts_of_anything_are_its_largest_and_come_in_order(seed: int, photograph: bool) -> None:
    import cv2

    random = np.random.default_rng(seed)
    drawn = np.full((random.integers(3, 90), random.integers(3, 90)), 255, np.uint8)
    for _ in range(random.integers(1, 15)):
        start, end = random.integers(-5, 95, (2, 2)).tolist()
        cv2.line(drawn, start, end, int(random.integers(0, 255)), int(random.integers(1, 9)))
    parts = parts_of(drawn, photograph=photograph)
    assert [part.side for part in parts.parts] == sorted((part.side for part in parts.parts), reverse=True)
    assert all(0 < part.stroke_score <= 1 for part in parts.parts)
    assert 0 <= parts.share <= 1


def test_a_block_is_a_bold_1_on_even_paper_and_no_writing_on_a_photograph() -> None:
    drawn = np.full((200, 200), 255, np.uint8)
    drawn[60:140, 80:125] = 0
    assert boxes_of(parts_of(drawn)) == [(80, 60, 45, 80)]
    assert not parts_of(drawn, photograph=True).parts
