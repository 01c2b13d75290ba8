"""Parts of the ink → lines of writing, each a row of pieces from left to right."""

from __future__ import annotations

from collections.abc import Sequence

from mnist_trainer.pictures.page import Box, overlap, union
from mnist_trainer.pictures.parts import Part

Piece = tuple[Part, ...]
"""Parts that belong together: a digit, part of one, or several that touch."""

NEAR = 0.12
"""Of the usual height: parts that are nearer than that to each other belong together, if they lie over each other."""

BESIDE = (0.3, 0.08)
"""Of its longer side: what is nearer than that to the one digit of a picture may belong to it."""

ALONE = 3.0
"""Of the usual height: a gap wider than that ends a line."""


def in_lines(parts: Sequence[Part]) -> list[list[Piece]]:
    """The lines of writing from top to bottom; the pieces of each from left to right."""
    if not parts:
        return []
    height = usual_height(parts)
    lines = _linked(_together(parts, height), height)
    lines.sort(key=_middle)
    return lines


def main_pieces(parts: Sequence[Part], most: int) -> list[Piece]:
    """Groups of parts that may be the one digit of a picture, the likelier first.

    A group is all that is near each other, in a wide sense, in a narrow one, or one part alone; `most` of each sort.
    """
    ranking = sorted(parts, key=lambda part: -part.likeness * part.area)
    groups = [group for beside in BESIDE for group in _groups(ranking, beside)[:most]]
    groups += [(part,) for part in ranking[:most]]
    return list({frozenset(part.number for part in group): group for group in reversed(groups)}.values())[::-1]


def _groups(parts: Sequence[Part], beside: float) -> list[Piece]:
    groups: list[Piece] = []
    rest = list(parts)
    while rest:
        group = [rest.pop(0)]
        while near := [part for part in rest if is_near(part.box, box_around(group), beside)]:
            group += near
            rest = [part for part in rest if part not in near]
        groups.append(tuple(group))
    return groups


def is_near(box: Box, whole: Box, beside: float) -> bool:
    """Whether the gap between two boxes is less than `beside` of the longer side of `whole`."""
    gap = max(-overlap(box, whole, 0), -overlap(box, whole, 1))
    return gap < beside * max(whole[2:])


def box_around(parts: Sequence[Part]) -> Box:
    """The least box around `parts`."""
    return union([part.box for part in parts])


def usual_height(parts: Sequence[Part]) -> float:
    """The height of a digit, guessed from those of the larger parts."""
    heights = sorted((part.box[3] for part in parts), reverse=True)
    large = [height for height in heights if height >= heights[0] / 3]
    middle = large[len(large) // 2]
    widest = max(part.box[2] for part in parts)
    return max(middle, widest / 6)


def _together(parts: Sequence[Part], height: float) -> list[Piece]:
    """The parts put together that lie over each other, like the bar of a 5, or the dots of a broken stroke."""
    pieces: list[tuple[Piece, Box]] = [((part,), part.box) for part in parts]
    before = len(pieces) + 1
    while len(pieces) < before:
        before = len(pieces)
        merged: list[tuple[Piece, Box]] = []
        for piece, box in pieces:
            place = next((at for at, (_, other) in enumerate(merged) if _belong(other, box, height)), None)
            if place is None:
                merged.append((piece, box))
            else:
                merged[place] = ((*merged[place][0], *piece), union([merged[place][1], box]))
        pieces = merged
    return [piece for piece, _ in pieces]


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


def _linked(pieces: list[Piece], height: float) -> list[list[Piece]]:
    """Lines: pieces from left to right, each put to the line whose last pieces are near and on its level."""
    lines: list[list[Piece]] = []
    for piece in sorted(pieces, key=_centre):
        best = max(lines, key=lambda line: _fits(line, piece, height), default=None)
        if best is None or _fits(best, piece, height) <= 0:
            lines.append([piece])
        else:
            best.append(piece)
    return lines


def _fits(line: list[Piece], piece: Piece, height: float) -> float:
    """How well a piece goes on with a line: the share of its height that is on the level of the line's end, or 0."""
    ends = [box_around(each) for each in line[-2:]]
    end, box = union(ends), box_around(piece)
    gap = box[0] - (end[0] + end[2])
    if gap > ALONE * max(height, box[3], end[3]):
        return 0.0
    shared = overlap(end, box, 1) / max(1, min(end[3], box[3]))
    return shared if shared > 0.25 else 0.0


def _centre(piece: Piece) -> float:
    x, _, width, _ = box_around(piece)
    return x + width / 2


def _middle(line: list[Piece]) -> float:
    boxes = [box_around(piece) for piece in line]
    return sum(y + height / 2 for _, y, _, height in boxes) / len(boxes)
