"""Where digits that touch each other may be cut: seams from top to bottom, the best one through each place of the ink.

A seam may cross strokes, best where they meet: there is more ink around than along a stroke, which is the same from
wherever one comes.

From a line of pieces to the glyphs that its digits may be: pieces alone, joined with their neighbours, or cut.

From the parts of the ink to the ways in which they may be lines of digits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.pictures.ink import Part, Parts
from mnist_trainer.pictures.lines import Group, find_sign, group_box, group_into_lines, main_groups
from mnist_trainer.pictures.page import Box, Expect, Glyph, Layout, Line, bounding_box, padded, touches_border, union
from mnist_trainer.pictures.render import render, tight_box

HEIGHT = 48
"""Rows that a piece is shrunk to while seams are looked for."""

AROUND, POWER, DEAREST = 4, 8, 3.0
"""Ink costs its level, times the mean amount of ink in windows round ink, over that round itself, to the second power;
at most the third. The windows are wider than a stroke by the first."""

MOVES = np.array([0, -1, 1, -2, 2])
"""Columns that a seam may move to the side from one row to the next."""

ASIDE = (0.0, 0.05, 0.05, 0.15, 0.15)
"""What those cost."""

APART = 5
"""Columns in which a seam differs from each of those before it, somewhere."""

ALTERNATIVES, NEAR = 3, 10
"""Seams at most within so many columns of each other in the mean: there may be other places to cut."""

THICKEST = 0.7
"""Of the height: seams through more ink than that are not worth a try."""

LEAST = 0.05
"""Of the ink: what is left on either side of a cut."""


@dataclass(frozen=True)
class Seam:
    """A way through a piece of ink [H, W]: a column for each row [H], the first one to the right of it.

    `cost` is the ink that it crosses, as a share of H; less where strokes meet.
    """

    columns: NDArray[np.intp]
    cost: float


def find_seams(levels: NDArray[np.float32], most: int) -> list[Seam]:
    """The `most` cheapest seams through a piece [H, W] of ink from 0 to 1, from the one with least ink on its left."""
    import cv2

    height, width = levels.shape
    columns = max(1, round(width * HEIGHT / height))
    way = cv2.INTER_AREA if height > HEIGHT else cv2.INTER_LINEAR
    small = np.asarray(cv2.resize(levels, (columns, HEIGHT), interpolation=way), np.float32)
    costs = _costs(small).astype(np.float64)
    rows = np.minimum((np.arange(height) + 0.5) * HEIGHT / height, HEIGHT - 1).astype(np.intp)
    paths = sorted(_paths(small, costs, most), key=lambda found: _share(small, found[0]))
    return [Seam(np.rint((path[rows] + 0.5) * width / columns).astype(np.intp), cost / HEIGHT) for path, cost in paths]


def _costs(small: NDArray[np.float32]) -> NDArray[np.float32]:
    """What it costs to cross each place of the ink `small` [HEIGHT, W]: less where strokes meet."""
    import cv2

    rim = padded(small, 1)
    edges = float(np.abs(np.diff(rim, axis=0)).sum() + np.abs(np.diff(rim, axis=1)).sum())
    stroke = 8 / np.pi * float(small.sum()) / edges  # both its sides, and 4/π of them: steps along rows and columns
    side = round(AROUND + stroke) // 2 * 2 + 1
    around = cv2.boxFilter(small, -1, (side, side), borderType=cv2.BORDER_CONSTANT)
    usual = float((around * small).sum() / small.sum())
    return np.asarray(small * np.minimum(DEAREST, (usual / np.maximum(around, 0.05)) ** POWER), np.float32)


def _share(small: NDArray[np.float32], path: NDArray[np.intp]) -> float:
    """The share of the ink on the left of a path."""
    left = np.arange(small.shape[1]) < path[:, None]
    return float(small[left].sum() / small.sum())


def _paths(small: NDArray[np.float32], costs: NDArray[np.float64], most: int) -> list[tuple[NDArray[np.intp], float]]:
    """The `most` cheapest paths [HEIGHT] through ink at `costs` [HEIGHT, W], and what they cost."""
    total, steps = _cheapest(np.stack([costs, costs[::-1]], axis=1))
    through = total[:, 0] + total[::-1, 1] - costs  # a seam from the top to this place, and on to the bottom
    through[small < 0.3] = np.inf
    every, columns = np.arange(HEIGHT), np.arange(small.shape[1])
    found: list[tuple[NDArray[np.intp], float]] = []
    while len(found) < most and np.isfinite(cost := float(through.min())):
        row, column = divmod(int(through.argmin()), small.shape[1])
        up, down = _followed(steps[:, 0], row, column), _followed(steps[:, 1], HEIGHT - 1 - row, column)
        path = np.array([*up[::-1], *down[1:]], np.intp)
        through[np.abs(columns - path[:, None]) < APART] = np.inf
        near = sum(abs(path.mean() - other.mean()) < NEAR for other, _ in found)
        if near < ALTERNATIVES and LEAST < _share(small, path) < 1 - LEAST and small[every, path].mean() < THICKEST:
            found.append((path, cost))
    return found


def _cheapest(costs: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    """The least cost of a path from the first row to each place of `costs` [R, N, W], and the last of its `MOVES`."""
    rows, sets, width = costs.shape
    total, steps = costs.copy(), np.zeros(costs.shape, np.int8)
    before = np.full((sets, width + 4), np.inf)
    beside = np.pad(costs, ((0, 0), (0, 0), (2, 2)))
    options = np.empty((len(MOVES), sets, width))
    for row in range(1, rows):
        before[:, 2:-2] = total[row - 1]
        for option, (move, aside) in enumerate(zip(MOVES.tolist(), ASIDE, strict=True)):
            np.add(before[:, 2 + move : 2 + move + width], aside, out=options[option])
        options[3] += beside[row, :, 1 : 1 + width]  # two columns are crossed in one row
        options[4] += beside[row, :, 3 : 3 + width]
        steps[row] = options.argmin(axis=0)
        total[row] += options.min(axis=0)
    return total, steps


def _followed(steps: NDArray[np.int8], row: int, column: int) -> list[int]:
    """The columns of the path that ends in a place of `steps` [R, W], from there back to the first row."""
    path = [column]
    for move in range(row, 0, -1):
        column += int(MOVES[steps[move, column]])
        path.append(column)
    return path


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
