"""The one sign on a picture with all its parts: = ÷ : i are drawn in several strokes that do not touch."""

from __future__ import annotations

import numpy as np

from mnist_trainer.pictures.lines import BESIDE, Group, group_box, is_near
from mnist_trainer.pictures.page import overlap, touches_border
from mnist_trainer.pictures.parts import Part, Parts

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
