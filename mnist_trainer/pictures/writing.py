"""Paper, ink and parts of a picture in the view of it in which there is most writing, and least else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log, sqrt

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.pictures.ink import find_ink, ink_threshold, quantile
from mnist_trainer.pictures.lines import group_box, typical_height
from mnist_trainer.pictures.page import Box, padded
from mnist_trainer.pictures.paper import (
    EVEN,
    WINDOWS,
    Background,
    contrast_of,
    even_background,
    in_one_channel,
    without_noise,
)
from mnist_trainer.pictures.parts import Parts, find_components
from mnist_trainer.pictures.ruling import find_ruling

SMALL = 320
"""Pixels a side at which views are compared."""

EVENLY, GOOD = 0.5, 0.75
"""Shares of a picture that has its paper's level, and of its ink that is writing, at which no other view is tried."""

FLAT, BOLDLY = 0.9, 0.25
"""The same of a drawing, where paper and full ink are counted: hardly anything is in between. Dots reach the second."""

RIM = 0.4
"""Of the rim of a drawing: with so much ink it is rather a pattern on the paper, as that which stands for nothing."""

FULL = 0.97
"""The least level of full ink."""

FAINT = 0.35, 0.6
"""Levels below the first are faint ink; with a larger share of it than the second other views are tried, too."""

BONUS = (1.6, 1.15)
"""What views count more for that are likely: even paper; dark ink."""

BROAD = 0.3, 0.6
"""Of the height of writing: strokes no broader than the first are as they should be, ones as the second are none."""

VIEWS = 3
"""Ways to see a picture that are followed at most."""

LEAST, LEAST_SCORE = 0.15, 1e-9
"""Of the best view's score, for another to be followed; and what a score counts at least."""

UNLIKELY = 0.4
"""Of the better of dark and light ink's scores in the first windows: below it, windows of other reach are not tried."""

PLENTY = 40
"""Parts of writing in the best view, at which no other is followed: it can't be wrong about all of them."""

RULING_BACKGROUND = Background(light=False, window=min(WINDOWS))
"""The view in which the lines of paper are looked for."""


@dataclass(frozen=True)
class Writing:
    """`contrast` float32 [H, W] in grey levels, `levels` float32 [H, W] of ink from 0 to 1, and the parts of that.

    `ink` are the boxes of all connected ink, also of what is no part of the writing.
    `score` says how likely it is to be seen rightly, and `best` how likely that is in the best view of the picture.
    """

    contrast: NDArray[np.float32]
    levels: NDArray[np.float32]
    parts: Parts
    ink: tuple[Box, ...] = ()
    score: float = 1.0
    best: float = 1.0

    @property
    def cost(self) -> float:
        """−ln of its score as a share of the best one."""
        return -log(max(self.score, LEAST_SCORE) / max(self.best, LEAST_SCORE))


def find_writing(pixels: NDArray[np.uint8]) -> list[Writing]:
    """The writing on a picture [H, W] or [H, W, 3] in one view or more, the best first."""
    grey = without_noise(in_one_channel(pixels))
    even = even_background(grey)
    if even is not None:
        plain = _segment_ink(grey, even, _ruling(grey, even))
        if _is_clear(plain):
            return [replace(plain, best=plain.score)]
    small = _downscale(grey)
    tries = _compare_backgrounds(small, even)
    ranking = sorted(tries, key=lambda background: -tries[background].score)[:VIEWS]
    best = max(tries[ranking[0]].score, LEAST_SCORE)
    if len(tries[ranking[0]].parts.parts) > PLENTY:
        ranking = ranking[:1]
    followed = [
        background for background in ranking if background is ranking[0] or tries[background].score > LEAST * best
    ]
    if small is grey:
        return [replace(tries[background], best=best) for background in followed]
    ruling = _ruling(grey, RULING_BACKGROUND)
    return [
        replace(_segment_ink(grey, background, ruling), score=tries[background].score, best=best)
        for background in followed
    ]


def _is_clear(plain: Writing) -> bool:
    """Whether a picture with even paper need not be seen in another way: drawn, or nearly all ink is writing, and dark.

    Faint are ruling and patterns; rims of smooth strokes are, too. Nothing at all is clear as well, and far too much.
    """
    ink = plain.levels[plain.levels > 0]
    if not ink.size or plain.parts.crowded:
        return True
    paper = float(np.mean(np.abs(plain.contrast) <= EVEN))
    if paper + float(np.mean(plain.levels > FULL)) > FLAT:
        rim = np.concatenate([plain.levels[0], plain.levels[-1], plain.levels[:, 0], plain.levels[:, -1]])
        return plain.parts.share >= BOLDLY and float(np.mean(rim > 0)) < RIM
    return paper > EVENLY and plain.parts.share > GOOD and float(np.mean(ink < FAINT[0])) < FAINT[1]


def _compare_backgrounds(grey: NDArray[np.uint8], even: Background | None) -> dict[Background, Writing]:
    """The views that are compared: with even paper, if it may be, and locally in windows of every reach.

    Whether ink is dark or light, windows of one reach tell, unless both are about as likely.
    """
    ruling = _ruling(grey, RULING_BACKGROUND)
    first = [Background(light=light, window=WINDOWS[0]) for light in (False, True)]
    tries = {background: _segment_ink(grey, background, ruling) for background in first}
    likely = UNLIKELY * max(seen.score for seen in tries.values())
    more = [
        Background(background.light, window)
        for window in WINDOWS[1:]
        for background in first
        if tries[background].score >= likely
    ]
    return tries | {
        background: _segment_ink(grey, background, ruling) for background in ([] if even is None else [even]) + more
    }


def _ruling(grey: NDArray[np.uint8], background: Background) -> NDArray[np.bool_] | None:
    contrast = contrast_of(grey, background)
    return find_ruling(contrast, ink_threshold(contrast), photograph=background.window is not None)


def _segment_ink(grey: NDArray[np.uint8], background: Background, ruling: NDArray[np.bool_] | None) -> Writing:
    contrast = contrast_of(grey, background)
    if ruling is not None:
        contrast = np.where(ruling, np.float32(0), contrast)
    ink = find_ink(contrast, photograph=background.window is not None)
    parts = find_components(ink, photograph=background.window is not None)
    boxes = () if parts.crowded else tuple(map(tuple, ink.boxes[ink.numbers, :4].tolist()))
    return Writing(contrast, ink.levels, parts, boxes, _score(contrast, parts, background))


def _score(contrast: NDArray[np.float32], parts: Parts, background: Background) -> float:
    """How much in a view is writing, and how clearly it is seen."""
    if not parts.parts:
        return 0.0
    x, y, width, height = parts.parts[0].box
    inside = np.s_[y : y + height, x : x + width]
    strength = float(contrast[inside][parts.map[inside] == parts.parts[0].number].mean()) / 255
    likely = (BONUS[0] if background.window is None else _slimness(parts)) * (1.0 if background.light else BONUS[1])
    return likely * parts.share * sqrt(max(0.0, strength))


def _slimness(parts: Parts) -> float:
    """How slim strokes are, from `LEAST` to 1: what windows on the paper see between digits of light ink is broad."""
    import cv2

    x, y, width, height = group_box(parts.parts)
    written = np.isin(parts.map[y : y + height, x : x + width], [part.number for part in parts.parts])
    depths = cv2.distanceTransform(padded(written.astype(np.uint8), 1), cv2.DIST_L2, 3)
    broad = 2 * quantile(depths[depths > 0], 0.9) / typical_height(parts.parts)
    return float(np.clip((BROAD[1] - broad) / (BROAD[1] - BROAD[0]), LEAST, 1))


def _downscale(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    import cv2

    scale = max(grey.shape) / SMALL
    if scale <= 1:
        return grey
    size = (max(1, round(grey.shape[1] / scale)), max(1, round(grey.shape[0] / scale)))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)
