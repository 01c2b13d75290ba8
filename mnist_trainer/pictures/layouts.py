"""From the parts of the ink to the ways in which they may be lines of digits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.pictures.glyphs import glyphs_of, whole
from mnist_trainer.pictures.lines import Piece, in_lines, main_pieces
from mnist_trainer.pictures.page import Expect, Layout, Line
from mnist_trainer.pictures.parts import Part, Parts

GROUPS = 3
"""Groups of parts that may be the one digit of a picture."""

STACKED = 0.5
"""The cost of lines that hold but one digit: they may well be the pieces of one broken digit."""

LEFT_OUT = 5.0
"""The cost of a layout that leaves out all the ink; of a share of it as much less."""


def layouts_of(levels: NDArray[np.float32], parts: Parts, expect: Expect, cost: float = 0.0) -> list[Layout]:
    """The layouts of the ink `levels` [H, W], of which `cost` is that of the view in which it was seen.

    Boxes are in pixels of `levels`. A picture may always hold just one digit, be it in many parts, beside other things.
    """
    found = parts.parts
    if not found:
        return []
    groups = main_pieces(found, GROUPS)
    single = [
        Layout((Line(1, (whole([group], levels, parts),)),), cost + LEFT_OUT * (1 - _ink(group) / _ink(found)))
        for group in groups
    ]
    if expect == "single" or (len(found) == 1 and found[0].box[2] < found[0].box[3]):
        return single
    lines = in_lines(found)
    if expect == "row":
        lines = [sorted((piece for line in lines for piece in line), key=lambda piece: piece[0].box[0])]
    stacked = STACKED if expect == "auto" and sum(len(line) == 1 for line in lines) > 1 else 0.0
    full = Layout(tuple(_line(line, levels, parts) for line in lines), cost + stacked)
    return [full, *(single if expect == "auto" else [])]


def _line(line: Sequence[Piece], levels: NDArray[np.float32], parts: Parts) -> Line:
    return Line(*glyphs_of(line, levels, parts))


def _ink(parts: Sequence[Part]) -> float:
    return sum(part.likeness * part.area for part in parts)
