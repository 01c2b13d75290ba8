"""Images drawn in a terminal: `mnist_trainer/reports/digit_images.py`."""

from __future__ import annotations

import re

import numpy as np
import pytest

from mnist_trainer.reports.digit_images import BLACK, GREYS, WHITE, glyph_lines

GRADIENT = np.linspace(0, 255, 784).round().astype(np.uint8).reshape(28, 28)


def decoded(line: str) -> list[tuple[int, int]]:
    """The upper and the lower shade of each character of a coloured line."""
    runs = re.findall(r"\x1b\[38;5;(\d+);48;5;(\d+)m(▀+)", line)
    return [(int(upper), int(lower)) for upper, lower, blocks in runs for _ in blocks]


def test_a_character_is_two_pixels() -> None:
    image = np.zeros((28, 28), np.uint8)
    image[0, 0] = image[1, 1] = image[0:2, 2] = 200
    image[26, 27] = 128
    image[27, 27] = 127
    lines = glyph_lines([image], ["7"], 80, colour=False)
    assert lines == ["▀▄█", *[""] * 12, " " * 27 + "▀", "7"]


def test_colours_are_the_pixels_grey_levels() -> None:
    *lines, caption = glyph_lines([GRADIENT], ["7"], 80, colour=True)
    assert (len(lines), caption) == (14, "7")
    assert all(line.endswith("\x1b[0m") for line in lines)
    shades = np.array([decoded(line) for line in lines])
    assert shades.shape == (14, 28, 2)
    levels = [BLACK, *GREYS, WHITE]
    drawn = np.vectorize(levels.index)(shades.transpose(0, 2, 1).reshape(28, 28)) / (len(levels) - 1)
    assert np.abs(drawn - GRADIENT / 255).max() < 1 / 24
    assert shades[0, 0].tolist()[0] == BLACK
    assert shades[-1, -1].tolist()[1] == WHITE


@pytest.mark.parametrize(("width", "columns"), [(27, 1), (57, 1), (58, 2), (80, 2), (88, 3), (500, 5)])
def test_as_many_are_side_by_side_as_fit(width: int, columns: int) -> None:
    ink = np.full((28, 28), 255, np.uint8)
    lines = glyph_lines([ink] * 5, list("abcde"), width, colour=False)
    rows = -(-5 // columns)
    assert len(lines) == 15 * rows
    assert lines[0] == "  ".join(["█" * 28] * columns)
    captions = lines[14::15]
    assert [caption.split() for caption in captions] == [
        list("abcde")[start : start + columns] for start in range(0, 5, columns)
    ]
    assert all(line.index("b") == 30 for line in captions if "b" in line and columns > 1)


def test_a_long_caption_stays_below_its_image() -> None:
    images = [np.zeros((28, 28), np.uint8)] * 2
    for colour in (False, True):
        assert glyph_lines(images, ["x" * 50, "y"], 80, colour)[-1] == f"{'x' * 28}  y"


def test_no_image_is_no_line() -> None:
    assert glyph_lines([], [], 80, colour=True) == []
