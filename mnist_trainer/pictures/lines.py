"""Group parts of the ink into digits or pieces of digits, and groups into lines; find signs of several strokes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mnist_trainer.pictures.ink import Part, Parts, rotated_sides
from mnist_trainer.pictures.page import Box, distance, overlap, touches_border, union

Group = tuple[Part, ...]
"""Parts that belong together: a digit, a piece of a digit, or several touching digits."""

NEAR = 0.12
"""Maximum gap, relative to the typical height, between parts above each other that belong together."""

MAX_GAPS = (0.3, 0.08)
"""Maximum gaps, relative to a group's longer side, of parts that may belong to the only digit of a picture."""

LINE_GAP = 3.0
"""Maximum gap within a line, relative to the typical height."""

MAX_STRAYS, STRAY, STRAY_GAP = 2, 0.4, 0.35
"""Maximum number of strays, which are no line of their own; and relative to the typical height: their maximum height,
and their maximum distance from a group that they belong to."""

SLIM = 0.3
"""Maximum width of a bar relative to its length."""

DIAGONAL = 0.4
"""Minimum aspect ratio of the box around a slash, as in %."""

ALIGNED = 0.5
"""Minimum overlap of two aligned parts (above or next to each other), relative to the shorter one."""

BAR_GAP, DOTS_GAP, DOT_GAP = 1.2, 12.0, 0.6
"""Maximum gap, relative to the longer side, between bars, between dots, and between another shape and a dot above or
below it."""

DOT_SIZE = 0.5
"""Minimum size of a dot relative to the mean stroke width of the sign. Smaller dots are specks."""


def group_into_lines(parts: Sequence[Part]) -> list[list[Group]]:
    """Return the lines of writing from top to bottom, each with its groups from left to right."""
    height = typical_height(parts) if parts else 0.0
    lines: list[list[Group]] = []
    for group in sorted(_merge_stacked(parts, height), key=lambda group: _middle(group, 0)):
        best = max(lines, key=lambda line: _alignment(line, group, height), default=None)
        if best is None or _alignment(best, group, height) <= 0:
            lines.append([group])
        else:
            best.append(group)
    lines = _assign_strays(lines, height)
    return sorted(lines, key=lambda line: sum(_middle(group, 1) for group in line) / len(line))


def leave_out_strays(parts: Parts) -> Parts:
    """Return `parts` without lines of a few strays, such as specks or the edge of a table, if there is a row of digits.

    The strays are in its `left_out`.
    """
    if len(parts.parts) < 3:  # a row and a stray
        return parts
    lines, height = group_into_lines(parts.parts), typical_height(parts.parts)
    low = [line for line in lines if _is_stray(line, height)]
    if not any(len(line) > 1 for line in lines if line not in low):
        return parts
    strays = tuple(part for line in low for group in line for part in group)
    kept = tuple(part for part in parts.parts if part not in strays)
    return replace(parts, parts=kept, left_out=(*parts.left_out, *strays))


def _assign_strays(lines: list[list[Group]], height: float) -> list[list[Group]]:
    """Return lines in which the pieces of broken digits, which are lines of their own in `lines`, join their digits."""
    low = [line for line in lines if _is_stray(line, height)]
    kept = [list(line) for line in lines if line not in low]
    if not any(len(line) > 1 for line in kept):
        return lines
    for stray in low:
        box = group_box([part for group in stray for part in group])
        distances = [
            (distance(group_box(group), box), line, index)
            for line, groups in enumerate(kept)
            for index, group in enumerate(groups)
        ]
        nearest, line, index = min(distances)
        if box[2] < height and nearest <= STRAY_GAP * height:
            kept[line][index] = sum(stray, kept[line][index])
        else:
            kept.append(stray)
    return kept


def _is_stray(line: list[Group], height: float) -> bool:
    return len(line) <= MAX_STRAYS and all(group_box(group)[3] < STRAY * height for group in line)


def main_groups(parts: Sequence[Part], count: int) -> list[Group]:
    """Return the groups of parts that may be the only digit of a picture, the most likely first.

    A group holds all parts within one of `MAX_GAPS` of each other, or a single part. There are at most `count` groups
    of each kind.
    """
    ranking = sorted(parts, key=lambda part: -part.stroke_score * part.area)
    groups = [group for gap in MAX_GAPS for group in _cluster(ranking, gap)[:count]]
    groups += [(part,) for part in ranking[:count]]
    return list({frozenset(part.number for part in group): group for group in reversed(groups)}.values())[::-1]


def _cluster(parts: Sequence[Part], max_gap: float) -> list[Group]:
    """Return the parts in groups; parts of a group are connected by gaps of at most `max_gap` pixels."""
    groups: list[Group] = []
    rest = list(parts)
    while rest:
        group = [rest.pop(0)]
        while near := [part for part in rest if is_near(part.box, group_box(group), max_gap)]:
            group += near
            rest = [part for part in rest if part not in near]
        groups.append(tuple(group))
    return groups


def is_near(box: Box, whole: Box, max_gap: float) -> bool:
    """Return whether the gap between two boxes is less than `max_gap` of the longer side of `whole`."""
    return distance(box, whole) < max_gap * max(whole[2:])


def group_box(parts: Sequence[Part]) -> Box:
    """Return the bounding box of `parts`."""
    return union([part.box for part in parts])


def typical_height(parts: Sequence[Part]) -> float:
    """Return the height of a digit, estimated from the larger parts. A very wide part is several touching digits."""
    heights = sorted((part.box[3] for part in parts), reverse=True)
    large = [height for height in heights if height >= heights[0] / 3]
    return max(large[len(large) // 2], max(part.box[2] for part in parts) / 6)


def _merge_stacked(parts: Sequence[Part], height: float) -> list[Group]:
    """Merge parts above each other, such as the bar of a 5 or the pieces of a broken stroke."""
    groups: list[tuple[Group, Box]] = [((part,), part.box) for part in parts]
    before = len(groups) + 1
    while len(groups) < before:
        before, merged = len(groups), list[tuple[Group, Box]]()
        for group, box in groups:
            index = next((n for n, (_, other) in enumerate(merged) if _is_stacked(other, box, height)), None)
            if index is None:
                merged.append((group, box))
            else:
                merged[index] = ((*merged[index][0], *group), union([merged[index][1], box]))
        groups = merged
    return [group for group, _ in groups]


def _is_stacked(first: Box, second: Box, height: float) -> bool:
    """Return whether two boxes are close enough, and above or inside each other, to belong to one digit."""
    over_x, over_y = overlap(first, second, 0), overlap(first, second, 1)
    if max(-over_x, -over_y) > NEAR * height:
        return False
    narrower, lower = min(first[2], second[2]), min(first[3], second[3])
    if over_x > 0.6 * narrower and over_y > 0.6 * lower:
        return True  # one inside the other's box
    *_, width, both = union([first, second])
    if over_x > 0.5 * narrower:
        return both < 1.35 * height or lower < 0.3 * height
    return -over_x < 0.5 * NEAR * height and -over_y < 0.5 * NEAR * height and width < 0.6 * height


def _alignment(line: list[Group], group: Group, height: float) -> float:
    """Return how well a group continues a line: its vertical overlap with the end of the line, 0 to 1."""
    end, box = union([group_box(each) for each in line[-2:]]), group_box(group)
    if box[0] - (end[0] + end[2]) > LINE_GAP * max(height, box[3], end[3]):
        return 0.0
    shared = overlap(end, box, 1) / max(1, min(end[3], box[3]))
    return shared if shared > 0.25 else 0.0


def _middle(group: Group, axis: int) -> float:
    box = group_box(group)
    return box[axis] + box[axis + 2] / 2


def find_sign(parts: Parts) -> Group:
    """Return the parts of the most likely sign with separate strokes, such as = ÷ : i. `parts` must not be empty.

    The sign contains the part with most ink, all parts near it, and aligned bars and dots further away, including those
    that were left out as lines or specks.
    """
    group: Group = (max(parts.parts, key=lambda part: part.stroke_score * part.area),)
    rest = [part for part in (*parts.parts, *parts.left_out) if part not in group]
    while near := [part for part in rest if _belongs_to_sign(part, group, parts)]:
        group += tuple(near)
        rest = [part for part in rest if part not in near]
    return group


def _belongs_to_sign(part: Part, group: Group, parts: Parts) -> bool:
    """Return whether `part` and `group` look like parts of one sign: =, ÷, :, i, or a dotted character."""
    size = parts.map.shape[1], parts.map.shape[0]
    box, both = group_box(group), (part, *group)
    if part in parts.parts and is_near(part.box, box, MAX_GAPS[0]):
        return True
    if touches_border(part.box, size) and not any(touches_border(each.box, size) for each in group):
        return False
    shared = [overlap(part.box, box, axis) for axis in (0, 1)]
    stacked, abreast = (shared[axis] >= ALIGNED * min(part.box[axis + 2], box[axis + 2]) for axis in (0, 1))
    gap, side = -shared[1] if stacked else -shared[0], max(part.side, *box[2:])
    dots = [each.is_dot for each in both]
    if all(dots):
        return (stacked or abreast) and gap <= DOTS_GAP * max(each.side for each in both)
    if part.side < DOT_SIZE * sum(each.area for each in group) / max(box[2:]):
        return False
    if (stacked or (abreast and not any(dots))) and all(each.is_dot or _is_bar(each, parts) for each in both):
        return gap <= BAR_GAP * side
    if stacked and abreast and min(part.box[2:]) > DIAGONAL * part.side:
        return _is_bar(part, parts)
    return stacked and part.is_dot and gap <= DOT_GAP * side


def _is_bar(part: Part, parts: Parts) -> bool:
    shorter, longer = rotated_sides(part, parts.map)
    return shorter + 1 < SLIM * (longer + 1)
