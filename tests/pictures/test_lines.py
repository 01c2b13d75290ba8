"""The order of what is written, and signs of several strokes: `mnist_trainer/pictures/lines.py`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from mnist_trainer.pictures.ink import Part, Parts
from mnist_trainer.pictures.lines import group_box, group_into_lines, leave_out_strays, main_groups, typical_height
from mnist_trainer.pictures.page import Box, bounding_box, union
from mnist_trainer.pictures.read import read_image, read_single


def parts(*boxes: tuple[float, float, float, float], stroke_score: float = 1.0) -> list[Part]:
    """Parts in these boxes, numbered from 1, from the largest on, as they come from a picture."""
    whole = [(round(x), round(y), round(width), round(height)) for x, y, width, height in boxes]
    found = [Part(number, box, box[2] * box[3] // 3, stroke_score) for number, box in enumerate(whole, 1)]
    return sorted(found, key=lambda part: -part.side)


def numbers(lines: list[list[tuple[Part, ...]]]) -> list[list[tuple[int, ...]]]:
    """The parts' numbers, those of a piece in order."""
    return [[tuple(sorted(part.number for part in piece)) for piece in line] for line in lines]


def single(*each: int) -> list[tuple[int, ...]]:
    return [(number,) for number in each]


def row(count: int, x: float, y: float, *, slant: float = 0, step: float = 70) -> list[tuple[float, float, int, int]]:
    return [(x + place * step, y + place * step * slant, 40, 60) for place in range(count)]


def test_a_row_is_read_from_left_to_right() -> None:
    boxes = row(5, 20, 30)
    order = [3, 0, 4, 1, 2]
    found = numbers(group_into_lines(parts(*(boxes[place] for place in order))))
    assert found == [single(*(order.index(place) + 1 for place in range(5)))]


def test_rows_are_read_from_top_to_bottom() -> None:
    lines = group_into_lines(parts(*row(3, 20, 230), *row(4, 60, 30), *row(2, 40, 130)))
    assert numbers(lines) == [single(4, 5, 6, 7), single(8, 9), single(1, 2, 3)]


@pytest.mark.parametrize("slant", [-0.18, -0.08, 0.08, 0.18])
def test_slanted_rows_stay_rows(slant: float) -> None:
    lines = group_into_lines(parts(*row(6, 20, 100, slant=slant), *row(6, 20, 210, slant=slant)))
    assert numbers(lines) == [single(*range(1, 7)), single(*range(7, 13))]


def test_digits_of_uneven_size_are_one_row() -> None:
    lines = group_into_lines(parts((10, 30, 40, 60), (70, 50, 25, 35), (120, 20, 60, 90), (200, 40, 12, 50)))
    assert numbers(lines) == [single(1, 2, 3, 4)]


def test_the_parts_of_a_digit_that_lie_over_each_other_are_one_piece() -> None:
    bar_of_a_5, belly, neighbour = (105, 20, 35, 8), (100, 32, 40, 55), (160, 25, 40, 62)
    assert numbers(group_into_lines(parts(bar_of_a_5, belly, neighbour))) == [[(1, 2), (3,)]]


def test_the_pieces_of_a_broken_stroke_are_one() -> None:
    dots = [(100, 20 + 12 * place, 10, 10) for place in range(5)]
    assert numbers(group_into_lines(parts(*dots, (160, 20, 40, 60)))) == [[(1, 2, 3, 4, 5), (6,)]]


def test_digits_side_by_side_are_pieces_of_their_own() -> None:
    assert numbers(group_into_lines(parts((10, 20, 40, 60), (53, 20, 40, 60)))) == [single(1, 2)]


def test_the_piece_of_a_broken_digit_joins_it_and_is_no_line() -> None:
    bar_of_the_7 = (95, 0, 30, 6)
    assert numbers(group_into_lines(parts(*row(3, 20, 20), bar_of_the_7))) == [[(1,), (2, 4), (3,)]]


@pytest.mark.parametrize("stray", [(300, 0, 40, 10), (20, 140, 8, 6)])
def test_what_is_small_and_far_from_a_row_is_no_line(stray: Box) -> None:
    """The edge of a table, and a speck."""
    digits = row(3, 20, 40)
    ink = Parts(np.zeros((1, 1), np.int32), tuple(parts(*digits, stray)), 1.0)
    found = leave_out_strays(ink)
    assert [part.number for part in found.left_out] == [4]
    assert sorted(part.number for part in found.parts) == [1, 2, 3]
    alone = replace(ink, parts=tuple(parts(digits[0], stray)))
    assert leave_out_strays(alone) == alone


def test_columns_far_apart_are_lines_of_their_own() -> None:
    left, right = row(2, 20, 30), row(2, 900, 34)
    below = row(2, 20, 150)
    lines = group_into_lines(parts(*left, *right, *below))
    assert sorted(numbers(lines)) == [single(1, 2), single(3, 4), single(5, 6)]
    assert numbers(lines)[-1] == single(5, 6)


def test_nothing_has_no_lines() -> None:
    assert group_into_lines([]) == []


boxes = st.lists(
    st.tuples(st.integers(0, 300), st.integers(0, 300), st.integers(1, 150), st.integers(1, 150)), min_size=1
)


@given(boxes)
def test_each_part_is_in_one_piece_of_one_line(found: list[Box]) -> None:
    lines = group_into_lines(parts(*found))
    inside = [part for line in lines for piece in line for part in piece]
    assert sorted(part.number for part in inside) == list(range(1, len(found) + 1))
    assert all(line and all(line) for line in lines)


@given(boxes, st.integers(2, 5), st.integers(0, 500), st.integers(0, 500))
def test_moving_and_enlarging_changes_no_line(found: list[Box], scale: int, right: int, down: int) -> None:
    even = [(2 * x, 2 * y, 2 * width, 2 * height) for x, y, width, height in found]  # middles are whole then
    other = [(scale * x + right, scale * y + down, scale * width, scale * height) for x, y, width, height in even]
    assert numbers(group_into_lines(parts(*even))) == numbers(group_into_lines(parts(*other)))


def test_the_usual_height_is_that_of_the_digits() -> None:
    assert typical_height(parts(*row(5, 0, 0), (400, 0, 8, 8), (500, 0, 9, 5))) == 60
    # one very wide part is several digits that touch
    assert typical_height(parts((0, 0, 600, 50))) == 100


def test_the_main_pieces_are_near_each_other_or_alone() -> None:
    digit, bar, far = (100, 100, 80, 120), (110, 80, 70, 10), (500, 100, 60, 90)
    pieces = main_groups(parts(digit, bar, far), 3)
    groups = [sorted(part.number for part in piece) for piece in pieces]
    assert groups[0] == [1, 2]
    assert [1] in groups and [3] in groups
    assert len(groups) == len({tuple(group) for group in groups})


def test_what_is_less_like_a_stroke_is_a_less_likely_digit() -> None:
    blot, digit = parts((0, 0, 90, 90), stroke_score=0.1)[0], parts((400, 0, 40, 60))[0]
    assert main_groups([blot, digit], 3)[0] == (digit,)


@given(boxes, st.integers(1, 4))
def test_there_is_always_a_main_piece(found: list[Box], most: int) -> None:
    pieces = main_groups(parts(*found), most)
    assert 1 <= len(pieces) <= 3 * most and all(pieces)


@given(boxes)
def test_the_union_holds_every_box_tightly(found: list[Box]) -> None:
    mask = np.zeros((450, 450), bool)
    for x, y, width, height in found:
        mask[y : y + height, x : x + width] = True
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    expected = (columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1)
    assert union(found) == expected == group_box(parts(*found))


Stroke = tuple[int, ...]
"""x and y of a dot's centre, or of both ends of a line, on a picture of 120 × 120 pixels."""

SIGNS: dict[str, list[Stroke]] = {
    "= narrow": [(25, 50, 95, 50), (25, 70, 95, 70)],
    "= wide": [(25, 38, 95, 38), (25, 82, 95, 82)],
    "= slanted": [(25, 48, 95, 40), (27, 84, 97, 76)],
    "÷": [(30, 60, 90, 60), (60, 36), (60, 84)],
    ": narrow": [(60, 45), (60, 75)],
    ": wide": [(60, 35), (60, 85)],
    "i": [(60, 50, 60, 95), (60, 30)],
    "!": [(60, 20, 60, 80), (60, 102)],
    '"': [(48, 30, 48, 60), (72, 30, 72, 60)],
    "≡": [(25, 36, 95, 36), (25, 60, 95, 60), (25, 84, 95, 84)],
    "±": [(60, 25, 60, 75), (35, 50, 85, 50), (35, 89, 85, 89)],
}


def draw(strokes: list[Stroke], size: int, width: int = 7) -> Image.Image:
    image = Image.new("L", (size, size), 255)
    pen = ImageDraw.Draw(image)
    scale = size / 120
    for stroke in strokes:
        points = [(x * scale, y * scale) for x, y in zip(stroke[::2], stroke[1::2], strict=True)]
        pen.line(points, fill=0, width=round(width * scale))
        radius = (0.75 if len(points) == 1 else 0.5) * width * scale
        for x, y in points:
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=0)
    return image


def ink(image: Image.Image) -> Box:
    return bounding_box(np.asarray(image) < 128)


@pytest.mark.parametrize("size", [64, 120, 400])
@pytest.mark.parametrize("name", SIGNS)
def test_all_parts_of_a_sign_are_in_its_image(name: str, size: int) -> None:
    image = draw(SIGNS[name], size)
    assert read_image(image, "single").glyphs[0].box == pytest.approx(ink(image), abs=max(2, size / 100))
    import cv2

    drawn = read_single(image)
    assert drawn is not None
    count, *_ = cv2.connectedComponents((drawn > 60).astype(np.uint8))
    wanted, *_ = cv2.connectedComponents((np.asarray(image) < 128).astype(np.uint8))
    assert count == wanted


def test_thin_and_thick_pens() -> None:
    for name in ("= wide", "÷", "i", ": narrow"):
        for width in (3, 11):
            image = draw(SIGNS[name], 400, width)
            assert read_image(image, "single").glyphs[0].box == pytest.approx(ink(image), abs=4), (name, width)


def test_a_photograph_of_a_sign() -> None:
    shade = np.linspace(210, 120, 400)[:, None] * np.linspace(1, 0.8, 400)
    for name in ("= wide", "÷", "i"):
        drawn = draw(SIGNS[name], 400)
        photograph = (shade * (0.3 + 0.7 * np.asarray(drawn) / 255)).astype(np.uint8)
        assert read_image(photograph, "single").glyphs[0].box == pytest.approx(ink(drawn), abs=8), name


SEVEN: list[Stroke] = [(40, 30, 80, 30), (80, 30, 55, 95)]


@pytest.mark.parametrize(
    "beside",
    [
        [(20, 100), (100, 15)],  # specks
        [(5, 112, 115, 112)],  # a line below
        [(5, 12, 115, 10), (5, 112, 115, 110)],
        [(108, 5, 110, 115)],  # a crease
    ],
)
def test_specks_and_lines_beside_a_digit_are_left_out(beside: list[Stroke]) -> None:
    digit, other = draw(SEVEN, 400), draw(beside, 400, 2)
    both = Image.fromarray(np.minimum(np.asarray(digit), np.asarray(other)))
    assert read_image(both, "single").glyphs[0].box == read_image(digit, "single").glyphs[0].box
    np.testing.assert_array_equal(read_single(both), read_single(digit))


def test_a_speck_does_not_hide_a_straight_1() -> None:
    image = draw([(60, 20, 62, 100)], 400)
    speck = draw([(20, 100)], 400, 5)
    both = Image.fromarray(np.minimum(np.asarray(image), np.asarray(speck)))
    assert read_image(both, "single").glyphs[0].box == pytest.approx(ink(image), abs=2)


def test_the_digit_is_taken_and_not_two_marks_elsewhere() -> None:
    digit = draw([(30, 20, 60, 20), (60, 20, 40, 75)], 400)
    marks = draw([(90, 100, 98, 104), (104, 92, 108, 102)], 400, 4)
    both = Image.fromarray(np.minimum(np.asarray(digit), np.asarray(marks)))
    assert read_image(both, "single").glyphs[0].box == pytest.approx(ink(digit), abs=2)
