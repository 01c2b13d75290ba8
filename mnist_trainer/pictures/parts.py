"""The connected parts of the ink, without those that are no writing: specks, frames, edges of the table, fingers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.pictures.page import Box

SPECK = 0.12
"""Of the height of the largest part: smaller ones are specks."""

MOST = 1500
"""Parts on a picture at most: more are noise, a texture, or a page of print."""


@dataclass(frozen=True)
class Part:
    """A connected part of the ink: its number in `Parts.map`, its box, and how many pixels it has."""

    number: int
    box: Box
    area: int

    @property
    def side(self) -> int:
        """The longer side of its box."""
        return max(self.box[2:])


@dataclass(frozen=True)
class Parts:
    """`map` int32 [H, W]: 0 is paper, other numbers are those of `parts`, from the largest on."""

    map: NDArray[np.int32]
    parts: tuple[Part, ...]
    crowded: bool = False
    """There were more than `MOST`, too many to be writing; then `parts` has none."""


def find_parts(levels: NDArray[np.float32]) -> Parts:
    """The parts of the ink `levels` [H, W] that may be writing."""
    import cv2

    mask = (levels > 0).astype(np.uint8)
    count, places, figures, _ = cv2.connectedComponentsWithStats(mask, connectivity=8, ltype=cv2.CV_32S)
    places = places.astype(np.int32, copy=False)
    if count > MOST:
        return Parts(places, (), crowded=True)
    found = [_part(number, figures[number].tolist()) for number in range(1, count)]
    found.sort(key=lambda part: (-part.side, part.number))
    kept = [part for part in found if not _is_edge(part, places)]
    kept = _without_frames(kept or found, places)
    return Parts(places, tuple(_without_specks(kept)))


def _part(number: int, figures: list[int]) -> Part:
    x, y, width, height, area = figures
    return Part(number, (x, y, width, height), area)


def _is_edge(part: Part, places: NDArray[np.int32]) -> bool:
    """Whether it is what lies at the border of a photograph: it touches it, and is too solid to be a stroke."""
    import cv2

    (x, y, width, height), (rows, columns) = part.box, places.shape
    touches = (x == 0) + (y == 0) + (x + width == columns) + (y + height == rows)
    if not touches:
        return False
    if max(width / columns, height / rows) > 0.9 and min(width, height) < 0.06 * max(rows, columns):
        return touches >= 2  # a line along a side, or from side to side
    inside = np.pad((places[y : y + height, x : x + width] == part.number).astype(np.uint8), 1)
    thickness = 2 * float(cv2.distanceTransform(inside, cv2.DIST_L2, 3).max())
    return thickness > 0.45 * part.side and touches >= 1


def _without_frames(parts: list[Part], places: NDArray[np.int32]) -> list[Part]:
    """Without those that run round others: their box holds another of some size, their ink lies along its sides."""
    return [part for part in parts if not (_has_another_inside(part, parts) and _is_hollow(part, places))]


def _has_another_inside(part: Part, parts: list[Part]) -> bool:
    x, y, width, height = part.box
    return any(
        left > x and top > y and left + across < x + width and top + down < y + height
        for other in parts
        if other is not part and other.side > 0.2 * part.side
        for left, top, across, down in [other.box]
    )


def _is_hollow(part: Part, places: NDArray[np.int32]) -> bool:
    x, y, width, height = part.box
    inside = places[y : y + height, x : x + width] == part.number
    across, down = max(1, width // 6), max(1, height // 6)
    return float(inside[down:-down, across:-across].sum()) < 0.05 * part.area


def _without_specks(parts: list[Part]) -> list[Part]:
    if not parts:
        return []
    heights = sorted((part.side for part in parts), reverse=True)
    usual = heights[0] if len(heights) < 3 else heights[min(len(heights) // 4, 2)]
    return [part for part in parts if part.side >= SPECK * usual]
