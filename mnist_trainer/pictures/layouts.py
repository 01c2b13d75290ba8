"""From the parts of the ink to the ways in which they may be lines of digits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.pictures.glyphs import candidate_glyphs, single_glyph
from mnist_trainer.pictures.lines import Group, group_into_lines, main_groups
from mnist_trainer.pictures.page import Expect, Layout, Line, touches_border
from mnist_trainer.pictures.parts import Part, Parts
from mnist_trainer.pictures.signs import find_sign

GROUPS = 3
"""Groups of parts that may be the one digit of a picture."""

STACKED = 0.5
"""The cost of lines that hold but one digit: they may well be the pieces of one broken digit."""

LEFT_OUT = 5.0
"""The cost of a layout that leaves out all the ink; of a share of it as much less."""

OUTER, TOUCHING = 0.1, 1.0
"""How much less the ink counts that touches the border, and the cost of taking it for writing where there is other:
it is most often a finger, or the edge of a table."""


def find_layouts(levels: NDArray[np.float32], parts: Parts, expect: Expect, cost: float = 0.0) -> list[Layout]:
    """The layouts of the ink `levels` [H, W], of which `cost` is that of the view in which it was seen.

    Boxes are in pixels of `levels`. A picture may always hold just one digit, be it in many parts, beside other things;
    and what touches its border may be no writing.
    """
    found = parts.parts
    size = levels.shape[1], levels.shape[0]
    inner = tuple(part for part in found if not touches_border(part.box, size))
    ways = [way for way in dict.fromkeys((found, inner)) if way]
    groups = {frozenset(sign): sign for sign in ([find_sign(parts)] if found else [])}
    for group in (group for way in ways for group in main_groups(way, GROUPS)):
        groups.setdefault(frozenset(group), group)
    single = [
        Layout((Line(1, (single_glyph([group], levels, parts),)),), cost + _left_out(group, found, inner))
        for group in groups.values()
    ]
    if expect == "single" or (len(found) == 1 and found[0].box[2] < found[0].box[3]):
        return single
    full = []
    for way in ways:
        lines = group_into_lines(way)
        if expect == "row":
            lines = [sorted((group for line in lines for group in line), key=lambda group: group[0].box[0])]
        stacked = STACKED if expect == "auto" and sum(len(line) == 1 for line in lines) > 1 else 0.0
        read = tuple(_line(line, levels, parts) for line in lines)
        full.append(Layout(read, cost + stacked + _left_out(way, found, inner)))
    return [*full, *(single if expect == "auto" else [])]


def _line(line: Sequence[Group], levels: NDArray[np.float32], parts: Parts) -> Line:
    return Line(*candidate_glyphs(line, levels, parts))


def _left_out(chosen: Sequence[Part], found: Sequence[Part], inner: Sequence[Part]) -> float:
    """The cost of seeing no more than some of the parts; those that touch the border are not among `inner`."""
    outer = TOUCHING if inner and any(part in found and part not in inner for part in chosen) else 0.0
    return outer + LEFT_OUT * (1 - _ink(chosen, inner) / _ink(found, inner))


def _ink(parts: Sequence[Part], inner: Sequence[Part]) -> float:
    return sum(part.stroke_score * part.area * (1.0 if part in inner else OUTER) for part in parts)
