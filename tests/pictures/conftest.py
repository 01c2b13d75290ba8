"""Digits drawn for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Draw = Callable[..., NDArray[np.uint8]]


@pytest.fixture(scope="session")
def draw_seven() -> Draw:
    """A function that draws a 7, dark on light, of `unit` × 10 pixels' height with its left upper corner at `at`."""

    def draw(
        size: tuple[int, int] = (200, 220),
        at: tuple[int, int] = (60, 50),
        unit: int = 12,
        thickness: float = 1.2,
        ink: int = 0,
        paper: int = 255,
    ) -> NDArray[np.uint8]:
        image = Image.new("L", size, paper)
        pen, (x, y) = ImageDraw.Draw(image), at
        bar = max(1, round(unit * thickness))
        pen.rectangle((x, y, x + 7 * unit - 1, y + bar - 1), fill=ink)
        foot, head = (x + 2 * unit, y + 10 * unit - 1), (x + 7 * unit - 1, y)
        pen.polygon([head, (head[0] - bar, y), foot, (foot[0] + bar, foot[1])], fill=ink)
        return np.array(image)

    return draw


STROKES = {
    "0": [[(0, 0), (3, 0), (3, 6), (0, 6), (0, 0)]],
    "1": [[(2, 0), (2, 6)]],
    "2": [[(0, 0), (3, 0), (3, 3), (0, 3), (0, 6), (3, 6)]],
    "3": [[(0, 0), (3, 0), (3, 6), (0, 6)], [(1, 3), (3, 3)]],
    "4": [[(0, 0), (0, 3), (3, 3)], [(3, 0), (3, 6)]],
    "5": [[(3, 0), (0, 0), (0, 3), (3, 3), (3, 6), (0, 6)]],
    "6": [[(3, 0), (0, 0), (0, 6), (3, 6), (3, 3), (0, 3)]],
    "7": [[(0, 0), (3, 0), (1, 6)]],
    "8": [[(0, 0), (3, 0), (3, 6), (0, 6), (0, 0)], [(0, 3), (3, 3)]],
    "9": [[(3, 3), (0, 3), (0, 0), (3, 0), (3, 6)]],
    "-": [[(0, 3), (3, 3)]],
}
"""x and y of what a pen passes through, in sixths of a digit's height."""


@pytest.fixture(scope="session")
def write() -> Draw:
    """A function that writes digits in plain strokes, dark on light, the first one with its left upper corner at `at`.

    They are `height` pixels high, half as wide, their strokes an eighth as thick, and one begins `spacing` heights
    after the other, `slant` heights below it. The sheet has `size` (width and height), or is one that is given.
    """
    import cv2

    def written(
        text: str = "3",
        size: tuple[int, int] = (200, 220),
        at: tuple[float, float] = (60, 50),
        height: int = 80,
        *,
        ink: int = 0,
        spacing: float = 1.0,
        slant: float = 0.0,
        sheet: NDArray[np.uint8] | None = None,
    ) -> NDArray[np.uint8]:
        pixels = np.full(size[::-1], 255, np.uint8) if sheet is None else sheet
        pen = max(1, round(height / 8))
        for place, digit in enumerate(text):
            start = np.array(at) + pen / 2 + place * height * np.array([spacing, slant])
            lines = [np.array(line) * (height - pen) / 6 + start for line in STROKES[digit]]
            points = [np.round(16 * line).astype(np.int32) for line in lines]
            cv2.polylines(pixels, points, False, ink, pen, cv2.LINE_AA, shift=4)
        return pixels

    return written
