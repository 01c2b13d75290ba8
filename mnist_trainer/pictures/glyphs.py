"""From a line of pieces to the glyphs that its digits may be: pieces alone, joined with their neighbours, or cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.pictures.cuts import seams
from mnist_trainer.pictures.lines import Piece, box_around, union
from mnist_trainer.pictures.page import Box, Glyph, box_of
from mnist_trainer.pictures.parts import Parts
from mnist_trainer.pictures.render import render, tight_box

WIDE = 0.65
"""Of the line's height: a wider piece may be several digits that touch."""

WIDEST = 1.5
"""Of its height or the line's: a glyph that is joined from pieces is narrower."""

GAP = 0.45
"""Of the line's height: pieces with a wider gap between them are no one digit."""

JOINED = 6
"""Pieces that are put together at most."""

CUT, CUT_INK = 0.7, 4.0
"""The cost of a cut, and of each height's share of ink that it crosses."""

BROAD, BREADTH = 4.0, 1.0
"""The cost of each of the line's heights that a glyph is wider than the second."""

JOIN, JOIN_GAP = 1.5, 6.0
"""The cost of taking two pieces of a digit's height for one digit, and of the gap between them in heights."""

LOW = 0.45
"""Of the line's height: a piece as low as that may well be a part of a digit, so joining it costs a fifth."""


@dataclass(frozen=True)
class Scrap:
    """Ink that is not divided further: `levels` float32 [h, w] in `box`; the costs of the cuts on both sides."""

    levels: NDArray[np.float32]
    box: Box
    before: float = 0.0
    after: float = 0.0


def whole(line: Sequence[Piece], levels: NDArray[np.float32], parts: Parts) -> Glyph:
    """All pieces as one glyph; its box, as those of all glyphs here, is in pixels of `levels` [H, W]."""
    return _glyph([_scrap(piece, levels, parts) for piece in line], 0, 1, 0.0)


def glyphs_of(line: Sequence[Piece], levels: NDArray[np.float32], parts: Parts) -> tuple[int, tuple[Glyph, ...]]:
    """Into how many scraps a line of pieces falls, and the glyphs that may be put together of them."""
    boxes = [box_around(piece) for piece in line]
    height = _height(boxes)
    scraps: list[Scrap] = []
    for piece, box in zip(line, boxes, strict=True):
        scrap = _scrap(piece, levels, parts)
        scraps += _cut(scrap, height) if box[2] > WIDE * height else [scrap]
    spans = [(first, end) for end in range(1, len(scraps) + 1) for first in range(max(0, end - JOINED), end)]
    if len(scraps) > JOINED:
        spans.append((0, len(scraps)))
    glyphs = []
    for first, end in spans:
        chosen = scraps[first:end]
        if len(chosen) == 1 or _may_join(chosen, height):
            glyphs.append(_glyph(chosen, first, end, _cost(chosen, height)))
    return len(scraps), tuple(glyphs)


def _height(boxes: Sequence[Box]) -> float:
    heights = sorted(height for *_, height in boxes)
    return float(heights[len(heights) * 3 // 4])


def _may_join(scraps: Sequence[Scrap], height: float) -> bool:
    together = union([scrap.box for scrap in scraps])
    narrow = together[2] <= WIDEST * max(height, together[3])
    return narrow and all(_gap(*pair) <= GAP * height for pair in pairwise(scraps))


def _gap(one: Scrap, other: Scrap) -> int:
    return other.box[0] - (one.box[0] + one.box[2])


def _cost(scraps: Sequence[Scrap], height: float) -> float:
    width = union([scrap.box for scrap in scraps])[2]
    cost = scraps[0].before + scraps[-1].after + BROAD * max(0.0, width / height - BREADTH)
    for one, other in pairwise(scraps):
        if one.after == 0:  # they were apart
            share = 0.2 if min(one.box[3], other.box[3]) < LOW * height else 1.0
            cost += share * (JOIN + JOIN_GAP * max(0, _gap(one, other)) / height)
    return cost


def _scrap(piece: Piece, levels: NDArray[np.float32], parts: Parts) -> Scrap:
    x, y, width, height = box = box_around(piece)
    inside = np.s_[y : y + height, x : x + width]
    own = np.logical_or.reduce([parts.map[inside] == part.number for part in piece])
    return Scrap(levels[inside] * own, box)


def _cut(scrap: Scrap, height: float) -> list[Scrap]:
    """The scraps between the seams through a wide one, from left to right."""
    width, own = scrap.box[2:]
    found = seams(scrap.levels, min(12, max(1, round(3 * width / max(height, own) - 0.7))))
    side = np.zeros(scrap.levels.shape, np.intp)
    for seam in found:
        side += np.arange(width) >= seam.columns[:, None]
    costs = [0.0, *(CUT + CUT_INK * seam.ink for seam in found), 0.0]
    scraps = []
    for number, (before, after) in enumerate(pairwise(costs)):
        levels = np.where(side == number, scrap.levels, np.float32(0))
        if levels.max() > 0.5:
            scraps.append(_tight(replace(scrap, levels=levels, before=before, after=after)))
    return scraps


def _tight(scrap: Scrap) -> Scrap:
    x, y, width, height = box_of(scrap.levels > 0)
    left, top, *_ = scrap.box
    return replace(scrap, levels=scrap.levels[y : y + height, x : x + width], box=(left + x, top + y, width, height))


def _glyph(scraps: Sequence[Scrap], first: int, end: int, cost: float) -> Glyph:
    left, top, width, height = union([scrap.box for scrap in scraps])
    levels = np.zeros((height, width), np.float32)
    for scrap in scraps:
        x, y, across, down = scrap.box
        place = levels[y - top : y - top + down, x - left : x - left + across]
        np.maximum(place, scrap.levels, out=place)
    x, y, across, down = tight = tight_box(levels)
    return Glyph(render(levels, tight), (left + x, top + y, across, down), first, end, cost)
