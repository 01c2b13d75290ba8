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
