"""Arrange the parts of the ink into layouts: lines with all candidate glyphs, including merged and split ones.

Touching digits are cut along seams from top to bottom. Crossing a stroke costs less where strokes meet, which shows as
more ink in the surrounding window.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.pictures.ink import Part, Parts
from mnist_trainer.pictures.lines import Group, find_sign, group_box, group_into_lines, main_groups
from mnist_trainer.pictures.page import (
    Box,
    Expect,
    Glyph,
    Layout,
    Line,
    Strip,
    bounding_box,
    crop,
    touches_border,
    union,
)
from mnist_trainer.pictures.render import render, render_strip, tight_box

SEAM_HEIGHT = 48
"""Rows to which ink is shrunk before seams are searched."""

WINDOW, POWER, MAX_COST = 4, 8, 3.0
"""The cost of a pixel is level · min(MAX_COST, (mean ink in windows around ink / ink in its window) ** POWER). The
window is `WINDOW` pixels wider than a stroke."""

MOVES, MOVE_COSTS = np.array([0, -1, 1, -2, 2]), (0.0, 0.05, 0.05, 0.15, 0.15)
"""Columns by which a seam may move sideways from one row to the next, and their costs."""

MIN_DISTANCE = 5
"""Minimum distance in columns, in at least one row, between a seam and each earlier one."""

MAX_ALTERNATIVES, ALTERNATIVE_DISTANCE = 3, 10
"""Maximum number of seams whose mean columns are nearer than the second value, so that others are found elsewhere."""

MAX_CROSSED = 0.7
"""Seams through more ink than this share of the height are not tried."""

MIN_SIDE = 0.05
"""Minimum share of the ink on either side of a seam."""

MIN_WIDTH, MAX_WIDTH = 0.6, 12.0
"""Widths relative to the line's height: a group wider than the first may be several touching digits; one wider than the
second is not cut, as it is print or the edge of an object."""

GLYPH_WIDTH = 1.5
"""Maximum width of a merged or cut glyph relative to its height or the line's, whichever is larger."""

SEAMS_PER_WIDTH, CERTAIN_WIDTH = 6, 0.3
"""Number of seams per line height by which a group is wider than `CERTAIN_WIDTH` line heights."""

MAX_GAP = 0.45
"""Maximum gap between the groups of one digit, relative to the line's height."""

MAX_MERGED = 6
"""Maximum number of groups that are merged."""

CUT = 6.0
"""Factor from the cost of a seam to the cost of its cut."""

NARROW, NARROW_WIDTH = 3.0, 1.2
"""Cost of a cut per line height by which its group is narrower than `NARROW_WIDTH`: a single digit may be that wide."""

WIDE, NORMAL_WIDTH = 7.5, 0.8
"""Cost per line height by which a glyph is wider than `NORMAL_WIDTH`."""

LOW, NORMAL_HEIGHT = 7.5, 0.8
"""Cost per line height by which a glyph is lower than `NORMAL_HEIGHT`."""

MERGE, MERGE_GAP = 1.5, 6.0
"""Cost of merging two groups, and cost per line height of the gap between them."""

SMALL_HEIGHT, SMALL_FACTOR = 0.45, 0.2
"""A group lower than the first, relative to the line's height, may be a piece of a digit: its merge cost is scaled by
the second."""

MAX_CUT_COST = 3.75
"""Maximum cost of a glyph that was cut."""

TALL, MAX_SLOPE = 0.6, 0.3
"""Minimum height, relative to the line's, of groups that show its slope; and the maximum slope."""

MAX_GROUPS = 3
"""Maximum number of groups of each kind that may be the only digit of a picture."""

STACKED = 0.5
"""Cost of several lines of one digit each: they may be the pieces of one broken digit."""

LEFT_OUT = 5.0
"""Cost of leaving out all ink; a layout pays it in proportion to the ink that it leaves out."""

BORDER_WEIGHT, BORDER_COST = 0.1, 1.0
"""Weight of ink that touches the border, and the cost of reading it if there is other ink: it is usually a finger or
the edge of a table."""

Levels = NDArray[np.float32]
Run = list["Segment"]


@dataclass(frozen=True)
class Seam:
    """A path from top to bottom through ink [H, W]. `columns` [H]: for each row the first column to the right of it.

    `cost` is the ink that it crosses, relative to H, reduced where strokes meet.
    """

    columns: NDArray[np.intp]
    cost: float


@dataclass(frozen=True)
class Segment:
    """The ink of one group between the borders `first` and `end` of its line: `levels` float32 [h, w] in `box`.

    Borders are the line's start, the seams of its groups, and the groups' ends. `cost` is that of its cuts, if `cut`.
    """

    levels: Levels
    box: Box
    first: int = 0
    end: int = 1
    cost: float = 0.0
    cut: bool = False


def find_layouts(levels: Levels, parts: Parts, expect: Expect, cost: float = 0.0) -> list[Layout]:
    """Return the layouts of the ink `levels` [H, W], with boxes in its pixels; `cost` is added to each layout's.

    Layouts with a single digit are always included: a digit may consist of many parts and have other objects next to
    it. If some parts touch the border, there are also layouts without them.
    """
    found = parts.parts
    inner = tuple(part for part in found if not touches_border(part.box, levels.shape[::-1]))
    choices = [chosen for chosen in dict.fromkeys((found, inner)) if chosen]
    groups = {frozenset(sign): sign for sign in ([find_sign(parts)] if found else [])}
    for group in (group for chosen in choices for group in main_groups(chosen, MAX_GROUPS)):
        groups.setdefault(frozenset(group), group)
    single = [
        Layout((Line(1, (_glyph([_segment(group, levels, parts)], 0.0),)),), cost + _unread_cost(group, found, inner))
        for group in groups.values()
    ]
    if expect == "single" or (len(found) == 1 and found[0].box[2] < found[0].box[3]):
        return single
    full = []
    for chosen in choices:
        lines = group_into_lines(chosen)
        if expect == "row":
            lines = [sorted((group for line in lines for group in line), key=lambda group: group[0].box[0])]
        stacked = STACKED if expect == "auto" and sum(len(line) == 1 for line in lines) > 1 else 0.0
        candidates = tuple(_candidates(line, levels, parts) for line in lines)
        full.append(Layout(candidates, cost + stacked + _unread_cost(chosen, found, inner)))
    return [*full, *(single if expect == "auto" else [])]


def _unread_cost(chosen: Sequence[Part], found: Sequence[Part], inner: Sequence[Part]) -> float:
    """Return the cost of leaving out all parts but `chosen`. `inner` are the parts that do not touch the border."""

    def ink(parts: Sequence[Part]) -> float:
        return sum(part.stroke_score * part.area * (1.0 if part in inner else BORDER_WEIGHT) for part in parts)

    border = BORDER_COST if inner and any(part in found and part not in inner for part in chosen) else 0.0
    return border + LEFT_OUT * (1 - ink(chosen) / ink(found))


def find_strips(levels: Levels, parts: Parts) -> list[Strip]:
    """Return the strips of the lines in the ink `levels` [H, W], without looking for glyphs, which takes most time."""
    return [_strip(line, levels, parts, _line_height(line)) for line in group_into_lines(parts.parts)]


def _line_height(line: Sequence[Group]) -> float:
    """Return the height of the digits in a line."""
    heights = sorted(group_box(group)[3] for group in line)
    return float(heights[len(heights) * 3 // 4])


def _candidates(line: Sequence[Group], levels: Levels, parts: Parts) -> Line:
    """Return a line with all candidate glyphs of its groups: whole, merged with neighbours, or cut."""
    height = _line_height(line)
    segments: list[list[Segment]] = []
    end = 0
    for group in line:
        segments.append(list(_segments(_segment(group, levels, parts), height, end)))
        end = segments[-1][0].end
    glyphs = (
        _glyph(run, cost)
        for index, own in enumerate(segments)
        for segment in own
        for run, cost in _runs([segment], segments[index:], height)
    )
    return Line(end, tuple(glyphs), _strip(line, levels, parts, height))


def _strip(line: Sequence[Group], levels: Levels, parts: Parts, height: float) -> Strip:
    """Return all ink of a line. Its slope is that of a straight line through the middles of the tall groups."""
    ink = _segment(tuple(part for group in line for part in group), levels, parts)
    left, top, width, _ = ink.box
    boxes = np.array([group_box(group) for group in line], np.float64)
    x, y, w, h = boxes[boxes[:, 3] > TALL * height].T
    across, down = x + w / 2 - left, y + h / 2 - top
    distances, middle = across - np.average(across, weights=h), np.average(down, weights=h)
    slope = float((h * distances) @ (down - middle) / max(1.0, (h * distances) @ distances))
    slope = float(np.clip(slope, -MAX_SLOPE, MAX_SLOPE))
    middles = middle + slope * (np.arange(width) - np.average(across, weights=h))
    return Strip(render_strip(ink.levels, height, middles), ink.box, height)


def _segment(group: Group, levels: Levels, parts: Parts) -> Segment:
    box = group_box(group)
    labels = crop(parts.map, box)
    return Segment(crop(levels, box) * np.logical_or.reduce([labels == part.number for part in group]), box)


def _segments(group: Segment, height: float, start: int) -> Iterator[Segment]:
    """Yield the whole group, which begins at the border `start`; if it is wide, also its segments between two seams."""
    x, y, width, own_height = group.box
    typical, columns = max(height, own_height), np.arange(width)
    is_wide = MIN_WIDTH * height < width <= MAX_WIDTH * height
    seams = find_seams(group.levels, round(SEAMS_PER_WIDTH * (width / typical - CERTAIN_WIDTH))) if is_wide else []
    yield replace(group, first=start, end=start + len(seams) + 1)
    narrow = NARROW * max(0.0, NARROW_WIDTH - width / typical)
    edges = [np.zeros(own_height, np.intp), *(seam.columns for seam in seams), np.full(own_height, width)]
    costs = [0.0, *(narrow + CUT * seam.cost for seam in seams), 0.0]
    means = [edge.mean() for edge in edges]
    for first, end in combinations(range(len(edges)), 2):
        left, right = edges[first], edges[end]
        if end - first > len(seams) or means[end] - means[first] > GLYPH_WIDTH * typical:
            continue
        levels = np.where((columns >= left[:, None]) & (columns < right[:, None]), group.levels, np.float32(0))
        if levels.max() > 0.5:
            inner = bounding_box(levels > 0)
            box = (x + inner[0], y + inner[1], *inner[2:])
            cost = costs[first] + costs[end]
            yield Segment(crop(levels, inner), box, start + first, start + end, cost, cut=True)


def _runs(run: Run, segments: Sequence[Sequence[Segment]], height: float) -> Iterator[tuple[Run, float]]:
    """Yield each run that begins with `run` and may be one digit, with its cost.

    `segments` are those of the last group of `run` and of the groups after it. A merged digit may begin at a cut or end
    at a cut, but not both.
    """
    cost = _cost(run, height)
    if cost <= MAX_CUT_COST or not (run[0].cut or run[-1].cut):
        yield run, cost
    end = segments[0][0].end
    if run[-1].end < end or len(run) == MAX_MERGED:
        return
    for following in segments[1:2]:
        for segment in following:
            is_start = segment.first == end and (segment is following[0] or not run[0].cut)
            if is_start and _may_merge([*run, segment], height):
                yield from _runs([*run, segment], segments[1:], height)


def _may_merge(segments: Sequence[Segment], height: float) -> bool:
    *_, width, own_height = union([segment.box for segment in segments])
    return width <= GLYPH_WIDTH * max(height, own_height) and _gap(*segments[-2:]) <= MAX_GAP * height


def _gap(one: Segment, other: Segment) -> int:
    return other.box[0] - (one.box[0] + one.box[2])


def _cost(segments: Sequence[Segment], height: float) -> float:
    """Return the cost of reading `segments` as one glyph, in a line of this `height`."""
    *_, width, own_height = union([segment.box for segment in segments])
    cost = sum(segment.cost for segment in segments)
    cost += WIDE * max(0.0, width / height - NORMAL_WIDTH) + LOW * max(0.0, NORMAL_HEIGHT - own_height / height)
    for one, other in pairwise(segments):
        factor = SMALL_FACTOR if min(one.box[3], other.box[3]) < SMALL_HEIGHT * height else 1.0
        cost += factor * (MERGE + MERGE_GAP * max(0, _gap(one, other)) / height)
    return cost


def _glyph(segments: Sequence[Segment], cost: float) -> Glyph:
    """Return `segments` as one glyph: its 28×28 image, its box, and its ends in the line."""
    left, top, width, height = union([segment.box for segment in segments])
    levels = segments[0].levels
    if len(segments) > 1:
        levels = np.zeros((height, width), np.float32)
        for segment in segments:
            x, y, *size = segment.box
            target = crop(levels, (x - left, y - top, size[0], size[1]))
            np.maximum(target, segment.levels, out=target)
    tight = tight_box(levels)
    box = (left + tight[0], top + tight[1], *tight[2:])
    return Glyph(render(levels, tight), box, segments[0].first, segments[-1].end, cost)


def find_seams(levels: Levels, count: int) -> list[Seam]:
    """Return the `count` cheapest seams through ink [H, W], 0 to 1, sorted by the ink to their left."""
    import cv2

    height, width = levels.shape
    columns = max(1, round(width * SEAM_HEIGHT / height))
    interpolation = cv2.INTER_AREA if height > SEAM_HEIGHT else cv2.INTER_LINEAR
    small = np.asarray(cv2.resize(levels, (columns, SEAM_HEIGHT), interpolation=interpolation), np.float32)
    paths = sorted(_paths(small, count), key=lambda found: _ink_share_left_of(small, found[0]))
    rows = np.minimum((np.arange(height) + 0.5) * SEAM_HEIGHT / height, SEAM_HEIGHT - 1).astype(np.intp)
    return [
        Seam(np.rint((path[rows] + 0.5) * width / columns).astype(np.intp), cost / SEAM_HEIGHT) for path, cost in paths
    ]


def _pixel_costs(small: Levels) -> NDArray[np.float64]:
    """Return the cost of crossing each pixel of the ink `small` [SEAM_HEIGHT, W]: less where strokes meet."""
    import cv2

    rim = np.pad(small, 1)
    edges = float(np.abs(np.diff(rim, axis=0)).sum() + np.abs(np.diff(rim, axis=1)).sum())
    stroke = 8 / np.pi * float(small.sum()) / edges  # two edges, lengthened by 4/π by steps along rows and columns
    side = round(WINDOW + stroke) // 2 * 2 + 1
    around = cv2.boxFilter(small, -1, (side, side), borderType=cv2.BORDER_CONSTANT)
    mean = float((around * small).sum() / small.sum())
    costs = np.asarray(small * np.minimum(MAX_COST, (mean / np.maximum(around, 0.05)) ** POWER), np.float32)
    return costs.astype(np.float64)


def _ink_share_left_of(small: Levels, path: NDArray[np.intp]) -> float:
    left = np.arange(small.shape[1]) < path[:, None]
    return float(small[left].sum() / small.sum())


def _paths(small: Levels, count: int) -> list[tuple[NDArray[np.intp], float]]:
    """Return the `count` cheapest paths [SEAM_HEIGHT] through the ink `small` [SEAM_HEIGHT, W], and their costs."""
    costs = _pixel_costs(small)
    total, moves = _shortest_paths(np.stack([costs, costs[::-1]], axis=1))
    through = total[:, 0] + total[::-1, 1] - costs  # cost of the cheapest seam through this pixel
    through[small < 0.3] = np.inf
    rows, columns = np.arange(SEAM_HEIGHT), np.arange(small.shape[1])
    found: list[tuple[NDArray[np.intp], float]] = []
    means: list[float] = []
    while len(found) < count and np.isfinite(cost := float(through.min())):
        row, column = divmod(int(through.argmin()), small.shape[1])
        up, down = _backtrack(moves[:, 0], row, column), _backtrack(moves[:, 1], SEAM_HEIGHT - 1 - row, column)
        path = np.array([*up[::-1], *down[1:]], np.intp)
        through[np.abs(columns - path[:, None]) < MIN_DISTANCE] = np.inf
        mean = float(path.mean())
        near = sum(abs(mean - other) < ALTERNATIVE_DISTANCE for other in means)
        has_two_sides = MIN_SIDE < _ink_share_left_of(small, path) < 1 - MIN_SIDE
        if near < MAX_ALTERNATIVES and has_two_sides and small[rows, path].mean() < MAX_CROSSED:
            found.append((path, cost))
            means.append(mean)
    return found


def _shortest_paths(costs: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    """Return the minimum cost of a path from the first row to each pixel of `costs` [R, N, W], and its last move."""
    rows, sets, width = costs.shape
    total, moves = costs.copy(), np.zeros(costs.shape, np.int8)
    before = np.full((sets, width + 4), np.inf)
    neighbours = np.pad(costs, ((0, 0), (0, 0), (2, 2)))
    options = np.empty((len(MOVES), sets, width))
    for row in range(1, rows):
        before[:, 2:-2] = total[row - 1]
        for option, (move, cost) in enumerate(zip(MOVES.tolist(), MOVE_COSTS, strict=True)):
            np.add(before[:, 2 + move : 2 + move + width], cost, out=options[option])
        options[3] += neighbours[row, :, 1 : 1 + width]  # two columns are crossed in one row
        options[4] += neighbours[row, :, 3 : 3 + width]
        moves[row] = options.argmin(axis=0)
        total[row] += options.min(axis=0)
    return total, moves


def _backtrack(moves: NDArray[np.int8], row: int, column: int) -> list[int]:
    """Return the columns of the path that ends at a pixel of `moves` [R, W], from there back to the first row."""
    path = [column]
    for before in range(row, 0, -1):
        column += int(MOVES[moves[before, column]])
        path.append(column)
    return path
