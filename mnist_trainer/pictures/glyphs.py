"""From a line of pieces to the glyphs that its digits may be: pieces alone, joined with their neighbours, or cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.pictures.cuts import find_seams
from mnist_trainer.pictures.lines import Group, group_box
from mnist_trainer.pictures.page import Box, Glyph, bounding_box, union
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
class Segment:
    """Ink of one piece between the borders `first` and `end` of its line: `levels` float32 [h, w] in `box`.

    Borders are the line's start, the seams of its pieces, and the pieces' ends. `cost`: of the cuts, if it is `cut`.
    """

    levels: NDArray[np.float32]
    box: Box
    first: int = 0
    end: int = 1
    cost: float = 0.0
    cut: bool = False


def single_glyph(line: Sequence[Group], levels: NDArray[np.float32], parts: Parts) -> Glyph:
    """All pieces as one glyph; its box, as those of all glyphs here, is in pixels of `levels` [H, W]."""
    return _glyph([_segment_of(group, levels, parts) for group in line], 0.0)


def candidate_glyphs(line: Sequence[Group], levels: NDArray[np.float32], parts: Parts) -> tuple[int, tuple[Glyph, ...]]:
    """The last border of a line of pieces, and the glyphs that its ink may be put together to."""
    height = _height([group_box(group) for group in line])
    segments: list[list[Segment]] = []
    end = 0
    for group in line:
        segments.append(list(_cut(_segment_of(group, levels, parts), height, end)))
        end = segments[-1][0].end
    glyphs = [
        _glyph(run, cost)
        for place, own in enumerate(segments)
        for segment in own
        for run, cost in _runs([segment], segments[place:], height)
    ]
    return end, tuple(glyphs)


def _height(boxes: Sequence[Box]) -> float:
    heights = sorted(height for *_, height in boxes)
    return float(heights[len(heights) * 3 // 4])


def _runs(
    run: list[Segment], segments: Sequence[Sequence[Segment]], height: float
) -> Iterator[tuple[list[Segment], float]]:
    """What begins with `run` and may be one digit, with its cost; `segments` are those of its last piece and the next.

    A digit may reach from a cut to the end of a piece and go on, or end at a cut, but not both.
    """
    own, following = segments[0][0], segments[1:2]
    cost = _cost(run, height)
    if cost <= MOST or not (run[0].cut or run[-1].cut):
        yield run, cost
    if run[-1].end < own.end or len(run) == JOINED:
        return
    for segment in (segment for each in following for segment in each if segment.first == own.end):
        if (segment is following[0][0] or not run[0].cut) and _may_join([*run, segment], height):
            yield from _runs([*run, segment], segments[1:], height)


def _may_join(segments: Sequence[Segment], height: float) -> bool:
    together = union([segment.box for segment in segments])
    narrow = together[2] <= WIDEST * max(height, together[3])
    return narrow and _gap(*segments[-2:]) <= GAP * height


def _gap(one: Segment, other: Segment) -> int:
    return other.box[0] - (one.box[0] + one.box[2])


def _cost(segments: Sequence[Segment], height: float) -> float:
    *_, width, own = union([segment.box for segment in segments])
    cost = sum(segment.cost for segment in segments)
    cost += BROAD * max(0.0, width / height - BREADTH) + SHORT * max(0.0, SHORTNESS - own / height)
    for one, other in pairwise(segments):
        share = 0.2 if min(one.box[3], other.box[3]) < LOW * height else 1.0
        cost += share * (JOIN + JOIN_GAP * max(0, _gap(one, other)) / height)
    return cost


def _segment_of(group: Group, levels: NDArray[np.float32], parts: Parts) -> Segment:
    x, y, width, height = box = group_box(group)
    inside = np.s_[y : y + height, x : x + width]
    own = np.logical_or.reduce([parts.map[inside] == part.number for part in group])
    return Segment(levels[inside] * own, box)


def _cut(group: Segment, height: float, start: int) -> Iterator[Segment]:
    """A piece that begins at the border `start`, and then what is between two of its borders, if it is wide."""
    *_, across, down = group.box
    usual, columns = max(height, down), np.arange(across)
    is_wide = WIDE * height < across <= MANY * height
    found = find_seams(group.levels, round(SEAMS * (across / usual - CERTAIN))) if is_wide else []
    yield replace(group, first=start, end=start + len(found) + 1)
    close = CLOSE * max(0.0, CLOSENESS - across / usual)
    edges = [np.zeros(down, np.intp), *(seam.columns for seam in found), np.full(down, across)]
    costs = [0.0, *(close + CUT * seam.cost for seam in found), 0.0]
    for first, end in combinations(range(len(edges)), 2):
        left, right = edges[first], edges[end]
        if end - first > len(found) or right.mean() - left.mean() > BROADEST * usual:
            continue
        levels = np.where((columns >= left[:, None]) & (columns < right[:, None]), group.levels, np.float32(0))
        if levels.max() > 0.5:
            cost = costs[first] + costs[end]
            yield _tight(Segment(levels, group.box, start + first, start + end, cost, cut=True))


def _tight(segment: Segment) -> Segment:
    x, y, width, height = bounding_box(segment.levels > 0)
    left, top, *_ = segment.box
    return replace(
        segment, levels=segment.levels[y : y + height, x : x + width], box=(left + x, top + y, width, height)
    )


def _glyph(segments: Sequence[Segment], cost: float) -> Glyph:
    left, top, width, height = union([segment.box for segment in segments])
    levels = np.zeros((height, width), np.float32)
    for segment in segments:
        x, y, across, down = segment.box
        place = levels[y - top : y - top + down, x - left : x - left + across]
        np.maximum(place, segment.levels, out=place)
    x, y, across, down = tight = tight_box(levels)
    return Glyph(render(levels, tight), (left + x, top + y, across, down), segments[0].first, segments[-1].end, cost)
