"""What reading a picture gives before any model is asked: lines of writing, each with all ways to see digits in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

SIDE = 28
"""Pixels on each side of a glyph."""

BORDER = 0.005
"""Of the picture's longer side: what is nearer to its border touches it."""

Box = tuple[int, int, int, int]
"""x, y, width, height in pixels; x and y of the upper left corner."""

Expect = Literal["auto", "single", "row", "page"]
"""What a picture is taken to hold: one digit, one row of them, several rows, or whatever the ink suggests."""


@dataclass(frozen=True)
class Glyph:
    """What may be one digit: the ink between the borders `first` and `end` of its line, drawn as MNIST has it.

    `image` uint8 [28, 28], bright ink on black; `box` in pixels of the upright picture; `cost` is −ln of how likely it
    is, before anybody looks at its shape, that ink is to be cut and joined like that.
    """

    image: NDArray[np.uint8]
    box: Box
    first: int
    end: int
    cost: float = 0.0


@dataclass(frozen=True)
class Line:
    """One row of writing; its digits are a chain of glyphs from the border 0, its start, to `end`, its end.

    Between them are, from left to right, the gaps and the cuts where digits may end and begin; cuts near each other are
    alternatives. Without cuts, `end` is how many there are. The glyphs hold at least one such chain.
    """

    end: int
    glyphs: tuple[Glyph, ...]


@dataclass(frozen=True)
class ReadingSteps:
    """How a picture was read, for people to look at: all of one size, `scale` × which is the upright picture's.

    `upright` uint8 [H, W], or [H, W, 3] where it has colours: as it came; `flattened` uint8 [H, W]: the paper even and
    white, the ink dark; `ink` uint8 [H, W]: what was taken for ink, 255 full.
    """

    upright: NDArray[np.uint8]
    flattened: NDArray[np.uint8]
    ink: NDArray[np.uint8]
    scale: float


@dataclass(frozen=True)
class Layout:
    """One way to see a picture: its lines of writing from top to bottom. `cost` is −ln of how likely it is, before
    anybody looks at the glyphs, as far as that differs between layouts. `ink` are the boxes of all connected ink."""

    lines: tuple[Line, ...]
    cost: float = 0.0
    ink: tuple[Box, ...] = ()


@dataclass(frozen=True)
class Page:
    """The ways to see a picture, the likelier first; `reason` says in words why there is none; `steps` if asked for.

    `size` is the width and height of the upright picture.
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

    def layout_of(self, place: int) -> Layout:
        """Return the layout that the glyph at `place` in `glyphs` belongs to."""
        owners = [layout for layout in self.layouts for line in layout.lines for _ in line.glyphs]
        return owners[place]


def bounding_box(mask: NDArray[np.bool_]) -> Box:
    """x, y, width, height of what is true in `mask` [H, W]; something must be."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x, y = int(columns[0]), int(rows[0])
    return x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1


def union(boxes: Sequence[Box]) -> Box:
    """The least box that holds all of `boxes`."""
    left, top = min(x for x, *_ in boxes), min(y for _, y, *_ in boxes)
    right = max(x + width for x, _, width, _ in boxes)
    bottom = max(y + height for _, y, _, height in boxes)
    return left, top, right - left, bottom - top


def overlap(one: Box, other: Box, axis: int) -> int:
    """Pixels that two boxes share in x (0) or y (1); what is between them counts negative."""
    start, end = max(one[axis], other[axis]), min(one[axis] + one[axis + 2], other[axis] + other[axis + 2])
    return end - start


def touches_border(box: Box, size: tuple[int, int]) -> bool:
    """Whether a box lies at the border of a picture of that width and height, or very near."""
    x, y, width, height = box
    return min(x, y, size[0] - x - width, size[1] - y - height) <= BORDER * max(size)


def padded(values: NDArray[Any], margin: int) -> NDArray[Any]:
    """`values` [H, W] with a margin of zeros: ten times faster than `np.pad` on small arrays."""
    height, width = values.shape
    wide = np.zeros((height + 2 * margin, width + 2 * margin), values.dtype)
    wide[margin : margin + height, margin : margin + width] = values
    return wide
