"""Signs of several parts in one image: `mnist_trainer/pictures/lines.py`."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mnist_trainer.pictures.page import Box, bounding_box
from mnist_trainer.pictures.read import read_image, read_single

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
