"""The result of segmenting a picture: layouts, lines and candidate glyphs. Also operations on bounding boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

SIDE = 28
"""Pixels on each side of a glyph."""

STRIP_HEIGHT = 18
"""Height of digits, in pixels, in the strip of a line: less than `SIDE`, as some are higher or lower than others."""

BORDER_DISTANCE = 0.005
"""A box touches the border if it is nearer than this share of the picture's longer side."""

Box = tuple[int, int, int, int]
"""x, y, width, height in pixels; x and y of the upper left corner."""

Expect = Literal["auto", "single", "row", "page"]
"""What a picture is expected to hold: one digit, one row, several rows, or (auto) whatever the ink suggests."""


@dataclass(frozen=True)
class Glyph:
    """A candidate for one digit: the ink between the borders `first` and `end` of its line, rendered as in MNIST.

    `image` uint8 [28, 28], bright ink on black; `box` in pixels of the upright picture; `cost` is −ln of the prior
    probability of this cut or merge, independent of the classifier.
    """

    image: NDArray[np.uint8]
    box: Box
    first: int
    end: int
    cost: float = 0.0


@dataclass(frozen=True)
class Strip:
    """The ink of one line of writing, straightened, in which digits are `STRIP_HEIGHT` pixels high.

    `image` uint8 [28, W], bright on black, with empty margins of half a window; `box` of the ink, and `height` of a
    digit, in pixels of the upright picture.
    """

    image: NDArray[np.uint8]
    box: Box
    height: float

    def column(self, box: Box) -> float:
        """Return the column of the ink, in pixels of the strip, with the middle of `box`."""
        return (box[0] + box[2] / 2 - self.box[0]) * STRIP_HEIGHT / self.height

    def window(self, at: Box | int) -> NDArray[np.uint8]:
        """Return the window [28, 28] with the middle of a box, or a column of the ink, in its middle (a view)."""
        column = at if isinstance(at, int) else round(self.column(at))
        first = min(max(0, column), self.image.shape[1] - SIDE)
        return self.image[:, first : first + SIDE]


@dataclass(frozen=True)
class Line:
    """One row of writing. A reading of it is a chain of glyphs from border 0 to border `end`; at least one exists.

    Borders are numbered from left to right. They are gaps between groups, and cuts at which touching digits may end;
    cuts near each other are alternatives. Without cuts, `end` is the number of groups. `strip` is None if the line is
    the only digit of a picture.
    """

    end: int
    glyphs: tuple[Glyph, ...]
    strip: Strip | None = None


@dataclass(frozen=True)
class ReadingSteps:
    """The intermediate images of a reading, for display. Their size is that of the upright picture divided by `scale`.

    `upright` uint8 [H, W] or [H, W, 3]: the input; `flattened` uint8 [H, W]: dark ink on even white paper; `ink` uint8
    [H, W]: the detected ink, 255 full.
    """

    upright: NDArray[np.uint8]
    flattened: NDArray[np.uint8]
    ink: NDArray[np.uint8]
    scale: float


@dataclass(frozen=True)
class Layout:
    """One interpretation of a picture: its lines of writing from top to bottom.

    `cost` is −ln of its prior probability, up to a constant; `ink` are the boxes of all connected ink.
    """

    lines: tuple[Line, ...]
    cost: float = 0.0
    ink: tuple[Box, ...] = ()


@dataclass(frozen=True)
class Page:
    """All layouts of a picture, the most likely first. If there are none, `reason` is the explanation.

    `steps` are the intermediate images, if requested; `size` is the width and height of the upright picture.
    """

    layouts: tuple[Layout, ...]
    reason: str | None = None
    steps: ReadingSteps | None = None
    size: tuple[int, int] = (SIDE, SIDE)
    warnings: tuple[str, ...] = ()

    @property
    def glyphs(self) -> list[Glyph]:
        """All glyphs, layout by layout and line by line."""
        return [glyph for layout in self.layouts for line in layout.lines for glyph in line.glyphs]

    @property
    def windows(self) -> list[NDArray[np.uint8] | None]:
        """For each of `glyphs` the window [28, 28] of its line with the glyph in the middle; None without a strip."""
        return [
            None if line.strip is None else line.strip.window(glyph.box)
            for layout in self.layouts
            for line in layout.lines
            for glyph in line.glyphs
        ]

    def layout_of(self, index: int) -> Layout:
        """Return the layout that `glyphs[index]` belongs to."""
        return [layout for layout in self.layouts for line in layout.lines for _ in line.glyphs][index]


def bounding_box(mask: NDArray[np.bool_]) -> Box:
    """Return the bounding box of the true values in `mask` [H, W]. At least one must be true."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x, y = int(columns[0]), int(rows[0])
    return x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1


def crop(values: NDArray[Any], box: Box) -> NDArray[Any]:
    """Return the view of `values` [H, W, …] inside `box`."""
    x, y, width, height = box
    return values[y : y + height, x : x + width]


def union(boxes: Sequence[Box]) -> Box:
    """Return the smallest box that contains all of `boxes`."""
    left, top = min(x for x, *_ in boxes), min(y for _, y, *_ in boxes)
    right = max(x + width for x, _, width, _ in boxes)
    bottom = max(y + height for _, y, _, height in boxes)
    return left, top, right - left, bottom - top


def overlap(one: Box, other: Box, axis: int) -> int:
    """Return the overlap of two boxes in pixels along x (0) or y (1). It is negative if there is a gap."""
    start, end = max(one[axis], other[axis]), min(one[axis] + one[axis + 2], other[axis] + other[axis + 2])
    return end - start


def distance(one: Box, other: Box) -> int:
    """Return the larger of the gaps between two boxes along x and y, in pixels. It is negative if they overlap."""
    return max(-overlap(one, other, 0), -overlap(one, other, 1))


def touches_border(box: Box, size: tuple[int, int]) -> bool:
    """Return whether a box is within `BORDER_DISTANCE` of the border of a picture of `size` (width and height)."""
    x, y, width, height = box
    return min(x, y, size[0] - x - width, size[1] - y - height) <= BORDER_DISTANCE * max(size)


def pad(values: NDArray[Any], margin: int) -> NDArray[Any]:
    """Return `values` [H, W] with a margin of zeros. On small arrays it is ten times faster than `np.pad`."""
    height, width = values.shape
    wide = np.zeros((height + 2 * margin, width + 2 * margin), values.dtype)
    wide[margin : margin + height, margin : margin + width] = values
    return wide
