"""Parts of the ink → lines of writing, each a row of pieces from left to right.

The one sign on a picture with all its parts: = ÷ : i are drawn in several strokes that do not touch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mnist_trainer.pictures.ink import Part, Parts
from mnist_trainer.pictures.page import Box, overlap, touches_border, union

Group = tuple[Part, ...]
"""Parts that belong together: a digit, part of one, or several that touch."""

NEAR = 0.12
"""Of the usual height: parts that are nearer than that to each other belong together, if they lie over each other."""

BESIDE = (0.3, 0.08)
"""Of its longer side: what is nearer than that to the one digit of a picture may belong to it."""

ALONE = 3.0
"""Of the usual height: a gap wider than that ends a line."""


def group_into_lines(parts: Sequence[Part]) -> list[list[Group]]:
    """The lines of writing from top to bottom; the pieces of each from left to right."""
    if not parts:
        return []
    height = typical_height(parts)
    lines = _linked(_together(parts, height), height)
    lines.sort(key=_middle)
    return lines


def main_groups(parts: Sequence[Part], most: int) -> list[Group]:
    """Groups of parts that may be the one digit of a picture, the likelier first.

    A group is all that is near each other, in a wide sense, in a narrow one, or one part alone; `most` of each sort.
    """
    ranking = sorted(parts, key=lambda part: -part.stroke_score * part.area)
    groups = [group for beside in BESIDE for group in _groups(ranking, beside)[:most]]
    groups += [(part,) for part in ranking[:most]]
    return list({frozenset(part.number for part in group): group for group in reversed(groups)}.values())[::-1]


def _groups(parts: Sequence[Part], beside: float) -> list[Group]:
    groups: list[Group] = []
    rest = list(parts)
    while rest:
        group = [rest.pop(0)]
        while near := [part for part in rest if is_near(part.box, group_box(group), beside)]:
            group += near
            rest = [part for part in rest if part not in near]
        groups.append(tuple(group))
    return groups


def is_near(box: Box, whole: Box, beside: float) -> bool:
    """Whether the gap between two boxes is less than `beside` of the longer side of `whole`."""
    gap = max(-overlap(box, whole, 0), -overlap(box, whole, 1))
    return gap < beside * max(whole[2:])


def group_box(parts: Sequence[Part]) -> Box:
    """The least box around `parts`."""
    return union([part.box for part in parts])


def typical_height(parts: Sequence[Part]) -> float:
    """The height of a digit, guessed from those of the larger parts."""
    heights = sorted((part.box[3] for part in parts), reverse=True)
    large = [height for height in heights if height >= heights[0] / 3]
    middle = large[len(large) // 2]
    widest = max(part.box[2] for part in parts)
    return max(middle, widest / 6)


def _together(parts: Sequence[Part], height: float) -> list[Group]:
    """The parts put together that lie over each other, like the bar of a 5, or the dots of a broken stroke."""
    groups: list[tuple[Group, Box]] = [((part,), part.box) for part in parts]
    before = len(groups) + 1
    while len(groups) < before:
        before = len(groups)
        merged: list[tuple[Group, Box]] = []
        for group, box in groups:
            place = next((at for at, (_, other) in enumerate(merged) if _belong(other, box, height)), None)
            if place is None:
                merged.append((group, box))
            else:
                merged[place] = ((*merged[place][0], *group), union([merged[place][1], box]))
        groups = merged
    return [group for group, _ in groups]


def _belong(first: Box, second: Box, height: float) -> bool:
    over_x, over_y = overlap(first, second, 0), overlap(first, second, 1)
    if max(-over_x, -over_y) > NEAR * height:
        return False
    narrower, lower = min(first[2], second[2]), min(first[3], second[3])
    if over_x > 0.6 * narrower and over_y > 0.6 * lower:
        return True  # one within the other's box
    whole = union([first, second])
    if over_x > 0.5 * narrower:
        return whole[3] < 1.35 * height or lower < 0.3 * height
    return -over_x < 0.5 * NEAR * height and -over_y < 0.5 * NEAR * height and whole[2] < 0.6 * height


def _linked(groups: list[Group], height: float) -> list[list[Group]]:
    """Lines: pieces from left to right, each put to the line whose last pieces are near and on its level."""
    lines: list[list[Group]] = []
    for group in sorted(groups, key=_centre):
        best = max(lines, key=lambda line: _fits(line, group, height), default=None)
        if best is None or _fits(best, group, height) <= 0:
            lines.append([group])
        else:
            best.append(group)
    return lines


def _fits(line: list[Group], group: Group, height: float) -> float:
    """How well a piece goes on with a line: the share of its height that is on the level of the line's end, or 0."""
    ends = [group_box(each) for each in line[-2:]]
    end, box = union(ends), group_box(group)
    gap = box[0] - (end[0] + end[2])
    if gap > ALONE * max(height, box[3], end[3]):
        return 0.0
    shared = overlap(end, box, 1) / max(1, min(end[3], box[3]))
    return shared if shared > 0.25 else 0.0


def _centre(group: Group) -> float:
    x, _, width, _ = group_box(group)
    return x + width / 2


def _middle(line: list[Group]) -> float:
    boxes = [group_box(group) for group in line]
    return sum(y + height / 2 for _, y, _, height in boxes) / len(boxes)


SLIM = 0.3
"""Of its length: the width of a bar."""

DIAGONAL = 0.4
"""Of its longer side: the least shorter side of the box around a slash, as in %."""

ALIGNED = 0.5
"""Of the shorter one: so much do two parts share that are above or beside each other."""

BARS, DOTS, DOT = 1.2, 12.0, 0.6
"""Of the longer side: the largest gap between bars, between dots, and from another form to its dot above or below."""

INKED = 0.5
"""Of the mean width of the sign's ink: smaller dots are specks."""


def find_sign(parts: Parts) -> Group:
    """The parts of the most likely sign; `parts` must hold some.

    They are the one with most ink and all that is near, and the bars and dots further away in a row with it: also those
    that would be lines or specks beside a digit.
    """
    group: Group = (max(parts.parts, key=lambda part: part.stroke_score * part.area),)
    rest = [part for part in (*parts.parts, *parts.left_out) if part not in group]
    while near := [part for part in rest if _belongs(part, group, parts)]:
        group += tuple(near)
        rest = [part for part in rest if part not in near]
    return group


def _belongs(part: Part, group: Group, parts: Parts) -> bool:
    size = parts.map.shape[1], parts.map.shape[0]
    box, both = group_box(group), (part, *group)
    if part in parts.parts and is_near(part.box, box, BESIDE[0]):
        return True
    if touches_border(part.box, size) and not any(touches_border(each.box, size) for each in group):
        return False
    shared = [overlap(part.box, box, axis) for axis in (0, 1)]
    stacked, abreast = (shared[axis] >= ALIGNED * min(part.box[axis + 2], box[axis + 2]) for axis in (0, 1))
    gap, side = -shared[1] if stacked else -shared[0], max(part.side, *box[2:])
    dots = [each.is_dot for each in both]
    if all(dots):
        return (stacked or abreast) and gap <= DOTS * max(each.side for each in both)
    if part.side < INKED * sum(each.area for each in group) / max(box[2:]):
        return False
    if (stacked or (abreast and not any(dots))) and all(each.is_dot or _is_bar(each, parts) for each in both):
        return gap <= BARS * side
    if stacked and abreast and min(part.box[2:]) > DIAGONAL * part.side:
        return _is_bar(part, parts)
    return stacked and part.is_dot and gap <= DOT * side


def _is_bar(part: Part, parts: Parts) -> bool:
    import cv2

    x, y, width, height = part.box
    points = np.argwhere(parts.map[y : y + height, x : x + width] == part.number).astype(np.float32)
    _, sides, _ = cv2.minAreaRect(points)
    return min(sides) + 1 < SLIM * (max(sides) + 1)
