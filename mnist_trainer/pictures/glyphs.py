"""From a line of pieces to the glyphs that its digits may be: pieces alone, joined with their neighbours, or cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.pictures.cuts import seams
from mnist_trainer.pictures.lines import Piece, box_around
from mnist_trainer.pictures.page import Box, Glyph, box_of, union
from mnist_trainer.pictures.parts import Parts
from mnist_trainer.pictures.render import render, tight_box

WIDE = 0.6
"""Of the line's height: a wider piece may be several digits that touch."""

WIDEST = 1.5
"""Of its height or the line's: a glyph that is joined from pieces is narrower."""

MANY = 12.0
"""Of the line's height: a piece that is wider than that is no row of digits, but print, or the edge of something."""

BROADEST = 1.5
"""Of the line's height, or the piece's: cuts that are further from each other in the mean have more than a digit
between them."""

SEAMS, CERTAIN = 6, 0.3
"""Seams that are tried for each of the line's heights that a piece is wider than the second."""

GAP = 0.45
"""Of the line's height: pieces with a wider gap between them are no one digit."""

JOINED = 6
"""Pieces that are put together at most."""

CUT = 6.0
"""The cost of a cut, for each unit of its seam's."""

CLOSE, CLOSENESS = 3.0, 1.2
"""The cost of a cut for each height that its piece is narrower than the second: one digit is that wide, too."""

BROAD, BREADTH = 7.5, 0.8
"""The cost of each of the line's heights that a glyph is wider than the second."""

SHORT, SHORTNESS = 7.5, 0.8
"""The cost of each of the line's heights that a glyph is lower than the second."""

JOIN, JOIN_GAP = 1.5, 6.0
"""The cost of taking two pieces of a digit's height for one digit, and of the gap between them in heights."""

LOW = 0.45
"""Of the line's height: a piece as low as that may well be a part of a digit, so joining it costs a fifth."""

MOST = 3.75
"""The highest cost at which what is cut is worth a look."""


@dataclass(frozen=True)
class Scrap:
    """Ink of one piece between the borders `first` and `end` of its line: `levels` float32 [h, w] in `box`.

    Borders are the line's start, the seams of its pieces, and the pieces' ends. `cost`: of the cuts, if it is `cut`.
    """

    levels: NDArray[np.float32]
    box: Box
    first: int = 0
    end: int = 1
    cost: float = 0.0
    cut: bool = False


def whole(line: Sequence[Piece], levels: NDArray[np.float32], parts: Parts) -> Glyph:
    """All pieces as one glyph; its box, as those of all glyphs here, is in pixels of `levels` [H, W]."""
    return _glyph([_scrap(piece, levels, parts) for piece in line], 0.0)


def glyphs_of(line: Sequence[Piece], levels: NDArray[np.float32], parts: Parts) -> tuple[int, tuple[Glyph, ...]]:
    """The last border of a line of pieces, and the glyphs that its ink may be put together to."""
    height = _height([box_around(piece) for piece in line])
    scraps: list[list[Scrap]] = []
    end = 0
    for piece in line:
        scraps.append(list(_cut(_scrap(piece, levels, parts), height, end)))
        end = scraps[-1][0].end
    glyphs = [
        _glyph(run, cost)
        for place, own in enumerate(scraps)
        for scrap in own
        for run, cost in _runs([scrap], scraps[place:], height)
    ]
    return end, tuple(glyphs)


def _height(boxes: Sequence[Box]) -> float:
    heights = sorted(height for *_, height in boxes)
    return float(heights[len(heights) * 3 // 4])


def _runs(run: list[Scrap], scraps: Sequence[Sequence[Scrap]], height: float) -> Iterator[tuple[list[Scrap], float]]:
    """What begins with `run` and may be one digit, with its cost; `scraps` are those of its last piece and the next.

    A digit may reach from a cut to the end of a piece and go on, or end at a cut, but not both.
    """
    own, following = scraps[0][0], scraps[1:2]
    cost = _cost(run, height)
    if cost <= MOST or not (run[0].cut or run[-1].cut):
        yield run, cost
    if run[-1].end < own.end or len(run) == JOINED:
        return
    for scrap in (scrap for each in following for scrap in each if scrap.first == own.end):
        if (scrap is following[0][0] or not run[0].cut) and _may_join([*run, scrap], height):
            yield from _runs([*run, scrap], scraps[1:], height)


def _may_join(scraps: Sequence[Scrap], height: float) -> bool:
    together = union([scrap.box for scrap in scraps])
    narrow = together[2] <= WIDEST * max(height, together[3])
    return narrow and _gap(*scraps[-2:]) <= GAP * height


def _gap(one: Scrap, other: Scrap) -> int:
    return other.box[0] - (one.box[0] + one.box[2])


def _cost(scraps: Sequence[Scrap], height: float) -> float:
    *_, width, own = union([scrap.box for scrap in scraps])
    cost = sum(scrap.cost for scrap in scraps)
    cost += BROAD * max(0.0, width / height - BREADTH) + SHORT * max(0.0, SHORTNESS - own / height)
    for one, other in pairwise(scraps):
        share = 0.2 if min(one.box[3], other.box[3]) < LOW * height else 1.0
        cost += share * (JOIN + JOIN_GAP * max(0, _gap(one, other)) / height)
    return cost


def _scrap(piece: Piece, levels: NDArray[np.float32], parts: Parts) -> Scrap:
    x, y, width, height = box = box_around(piece)
    inside = np.s_[y : y + height, x : x + width]
    own = np.logical_or.reduce([parts.map[inside] == part.number for part in piece])
    return Scrap(levels[inside] * own, box)


def _cut(piece: Scrap, height: float, start: int) -> Iterator[Scrap]:
    """A piece that begins at the border `start`, and then what is between two of its borders, if it is wide."""
    *_, across, down = piece.box
    usual, columns = max(height, down), np.arange(across)
    is_wide = WIDE * height < across <= MANY * height
    found = seams(piece.levels, round(SEAMS * (across / usual - CERTAIN))) if is_wide else []
    yield replace(piece, first=start, end=start + len(found) + 1)
    close = CLOSE * max(0.0, CLOSENESS - across / usual)
    edges = [np.zeros(down, np.intp), *(seam.columns for seam in found), np.full(down, across)]
    costs = [0.0, *(close + CUT * seam.cost for seam in found), 0.0]
    for first, end in combinations(range(len(edges)), 2):
        left, right = edges[first], edges[end]
        if end - first > len(found) or right.mean() - left.mean() > BROADEST * usual:
            continue
        levels = np.where((columns >= left[:, None]) & (columns < right[:, None]), piece.levels, np.float32(0))
        if levels.max() > 0.5:
            cost = costs[first] + costs[end]
            yield _tight(Scrap(levels, piece.box, start + first, start + end, cost, cut=True))


def _tight(scrap: Scrap) -> Scrap:
    x, y, width, height = box_of(scrap.levels > 0)
    left, top, *_ = scrap.box
    return replace(scrap, levels=scrap.levels[y : y + height, x : x + width], box=(left + x, top + y, width, height))


def _glyph(scraps: Sequence[Scrap], cost: float) -> Glyph:
    left, top, width, height = union([scrap.box for scrap in scraps])
    levels = np.zeros((height, width), np.float32)
    for scrap in scraps:
        x, y, across, down = scrap.box
        place = levels[y - top : y - top + down, x - left : x - left + across]
        np.maximum(place, scrap.levels, out=place)
    x, y, across, down = tight = tight_box(levels)
    return Glyph(render(levels, tight), (left + x, top + y, across, down), scraps[0].first, scraps[-1].end, cost)
