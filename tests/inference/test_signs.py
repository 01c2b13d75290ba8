"""Signs among digits: `mnist_trainer/inference/signs.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mnist_trainer import predict
from mnist_trainer.inference.signs import find_signs, place_signs, split_signs
from mnist_trainer.pictures.page import Box, Glyph, Layout, Line, Page

if TYPE_CHECKING:
    from mnist_trainer.inference.reading import DigitPrediction

PAGE = Page((), size=(600, 400))


@dataclass(frozen=True)
class Read:
    sign: str
    box: Box
    image: NDArray[np.uint8] | None = None
    digit_probability: float = 1.0


TWO, FIVE, NINE = Read("2", (100, 100, 60, 100)), Read("5", (240, 100, 60, 100)), Read("9", (100, 260, 60, 100))


def lines_of(*lines: list[Read]) -> list[list[DigitPrediction]]:
    return [[cast("DigitPrediction", digit) for digit in line] for line in lines]


def signs_in_ink(lines: list[list[DigitPrediction]], marks: list[Box], layout: Layout | None = None) -> list[str]:
    """The signs found in `marks` beside digits, each with its line and position, then the warnings."""
    ink = (*(digit.box for line in lines for digit in line), *marks)
    found, warnings = find_signs(lines, PAGE, Layout(layout.lines if layout else (), ink=ink), [])
    return [f"{each.sign} {each.line}.{each.after}" for each in place_signs(found, lines)] + list(warnings)


@pytest.mark.parametrize(
    ("marks", "signs"),
    [
        ([(190, 188, 12, 12)], [". 0.1"]),
        ([(185, 185, 14, 30)], [", 0.1"]),
        ([(190, 120, 12, 12), (190, 170, 12, 12)], [": 0.1"]),
        ([(178, 145, 45, 8)], ["- 0.1"]),
        ([(40, 145, 45, 8)], ["- 0.0"]),
        ([(178, 130, 45, 8), (180, 160, 45, 8)], ["= 0.1"]),
        ([(175, 80, 50, 140)], ["/ 0.1"]),
        ([(320, 188, 12, 12)], [". 0.2"]),
        ([(320, 120, 50, 50)], ["a sign may have been left out: a mark after 5"]),
        ([(190, 188, 4, 4)], []),  # a speck
        ([(190, 188, 12, 12), (20, 20, 12, 12), (400, 300, 12, 12)], []),  # one of many specks
        ([(190, 120, 12, 12)], []),  # a dot in the middle is none
        ([(178, 120, 45, 8)], []),  # a bar in the upper third is a piece of a 5 or 7
        ([(190, 188, 12, 12), (185, 160, 6, 16)], []),  # a piece of a broken digit, beside another
        ([(255, 206, 12, 12)], []),  # below the 5, of which it may be a piece
        ([(302, 188, 12, 12)], []),  # at the 5
        ([(185, 185, 8, 12)], [". 0.1"]),  # too small for a comma
        ([(245, 85, 50, 10)], []),  # above the 5, of which it may be the bar
        ([(250, 150, 12, 12)], []),  # within the 5
        ([(450, 188, 12, 12)], []),  # far away
        ([(0, 188, 12, 12)], []),  # at the border
        ([(190, 20, 12, 12)], []),  # above the line
    ],
)
def test_ink_beside_digits_is_told(marks: list[Box], signs: list[str]) -> None:
    assert signs_in_ink(lines_of([TWO, FIVE]), marks) == signs


def test_ink_that_was_joined_with_a_digit_is_told_too() -> None:
    lines, ink = lines_of([Read("7", (40, 100, 120, 100))]), ((100, 100, 60, 100), (40, 145, 45, 8))
    assert find_signs(lines, PAGE, Layout((), ink=ink), []) == ([("-", (40, 145, 45, 8))], ())


@pytest.mark.parametrize(
    ("bar", "signs"),
    [
        ((80, 225, 110, 8), ["fraction bar 0.1"]),
        ((20, 225, 560, 8), []),  # a ruled line
        ((80, 225, 110, 60), []),  # no bar
        ((80, 380, 110, 8), []),  # below both
    ],
)
def test_a_bar_between_two_stacked_digits_is_a_fraction_bar(bar: Box, signs: list[str]) -> None:
    assert signs_in_ink(lines_of([TWO], [NINE]), [bar]) == signs


def test_a_fraction_bar_above_the_middle_of_all_digits_is_in_the_first_line() -> None:
    (sign,) = place_signs([("fraction bar", (80, 110, 110, 8))], lines_of([TWO], [NINE]))
    assert (sign.line, sign.after) == (0, 1)


def drawn_lines(*lines: tuple[tuple[int, int], tuple[int, int]]) -> NDArray[np.uint8]:
    image = Image.new("L", (28, 28))
    for start, end in lines:
        ImageDraw.Draw(image).line([start, end], fill=255, width=2)
    return np.asarray(image)


PLUS = drawn_lines(((4, 14), (24, 14)), ((14, 4), (14, 24)))
FOUR = drawn_lines(((18, 4), (18, 24)), ((8, 4), (6, 15)), ((6, 15), (24, 15)))
SLASH = drawn_lines(((19, 4), (9, 24)))
UPRIGHT = drawn_lines(((14, 4), (14, 24)))
BAR = drawn_lines(((4, 14), (24, 14)))


@pytest.mark.parametrize(
    ("glyph", "sign"),
    [
        (Read("?", (175, 125, 50, 50), PLUS, 0.1), "+"),
        (Read("4", (175, 125, 50, 50), PLUS, 0.9), None),  # the model is sure that it is somebody's 4
        (Read("?", (175, 125, 50, 50), FOUR, 0.1), None),
        (Read("1", (175, 80, 50, 135), SLASH), "/"),
        (Read("1", (175, 100, 50, 100), SLASH), None),  # a slanted 1
        (Read("1", (195, 80, 10, 135), UPRIGHT), None),
        (Read("1", (175, 145, 50, 9), BAR), "-"),
        (Read("?", (190, 188, 12, 12)), "."),
    ],
)
def test_a_glyph_that_is_a_sign_is_no_digit(glyph: Read, sign: str | None) -> None:
    ink = [TWO.box, glyph.box, FIVE.box]
    (line,), found = split_signs(lines_of([TWO, glyph, FIVE]), ink)
    assert found == ([] if sign is None else [(sign, glyph.box)])
    assert "".join(each.sign for each in line) == ("25" if sign else f"2{glyph.sign}5")


def test_a_part_of_connected_ink_is_no_sign() -> None:
    bar = Read("1", (175, 145, 50, 9), BAR)
    lines = lines_of([TWO, bar, FIVE])
    assert split_signs(lines, [(100, 100, 200, 100)]) == (lines, [])


def test_a_mark_that_was_skipped_is_judged_by_its_image() -> None:
    layout = Layout((Line(1, (Glyph(PLUS, (175, 125, 50, 50), 0, 1),)),))
    assert signs_in_ink(lines_of([TWO, FIVE]), [(175, 125, 50, 50)], layout) == ["+ 0.1"]


def drawn(text: str) -> Image.Image:
    image = Image.new("L", (80 * len(text) + 80, 180), 255)
    ImageDraw.Draw(image).text((50, 30), text, fill=0, font=ImageFont.load_default(90))
    return image


def test_signs_on_pictures_are_told_and_are_not_in_the_text() -> None:
    texts = ["2.5", "-7", "3,14", "7:30", "3+4", "2-8", "2=2", "407", "112", "5"]
    found = predict([drawn(text) for text in texts])
    assert [each.text for each in found] == ["".join(filter(str.isdecimal, text)) for text in texts]
    assert ["".join(sign.sign for sign in each.signs) for each in found] == [
        "".join(character for character in text if not character.isdecimal()) for text in texts
    ]
    assert [[sign.after for sign in each.signs] for each in found[:7]] == [[1], [0], [1], [1], [1], [1], [1]]
    assert all(each.warnings == () for each in found)


def test_a_one_that_may_be_a_slash_is_warned_of() -> None:
    (found,) = predict([drawn("1/2")])
    assert (found.text, found.signs, found.warnings) == ("112", (), ("the 1 between 1 and 2 may be a slash",))


def test_signs_are_in_the_json_only_if_there_are_some() -> None:
    point, none = (each.to_json() for each in predict([drawn("2.5"), drawn("407")]))
    (sign,) = point["signs"]
    assert (sign["sign"], sign["line"], sign["after"], len(sign["box"])) == (".", 0, 1, 4)
    assert "signs" not in none
