"""Parts of the ink → lines of writing, each a row of pieces from left to right."""

from __future__ import annotations

from collections.abc import Sequence

from mnist_trainer.pictures.page import Box, overlap, union
from mnist_trainer.pictures.parts import Part

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
