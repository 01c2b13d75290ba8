"""Ruled and squared paper: lines that run through the whole picture are taken out, strokes that cross them stay."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SMALLEST = 64
"""Pixels a side below which no ruling is looked for: a digit's stroke could not be told from a line."""

THICKEST = 1 / 45
"""Of the longer side, that a line is thick at most."""

COVER = {False: 0.85, True: 0.5}
"""Share of the picture's width that a line shows on at least; less on a photograph, where lines are not even."""

STEEPEST = 0.14
"""Tangent of the largest angle at which lines are looked for: about 8°."""

SLOPES = np.linspace(-STEEPEST, STEEPEST, 33)

_SIDE, _STRIPS = 240, 30
"""Slopes are looked for in a picture of so many pixels a side, cut into so many upright strips."""


def find_ruling(contrast: NDArray[np.float32], floor: float, *, photograph: bool) -> NDArray[np.bool_] | None:
    """Where the lines of the paper are on a picture whose ink has `contrast` [H, W], bool [H, W]; None without any.

    `floor` is the contrast that ink must exceed.
    """
    if min(contrast.shape) < SMALLEST:
        return None
    across = _lines(contrast, floor, COVER[photograph])
    down = _lines(np.ascontiguousarray(contrast.T), floor, COVER[photograph])
    if down is None:
        return across
    return down.T if across is None else across | down.T


def _lines(contrast: NDArray[np.float32], floor: float, cover: float) -> NDArray[np.bool_] | None:
    """Where the nearly horizontal lines of [H, W] are, bool [H, W], but for what crosses them."""
    import cv2

    height, width = contrast.shape
    slope = _slope(contrast, floor, cover)
    if slope is None:
        return None
    shear = np.array([[1, 0, 0], [-slope, 1, slope * width / 2]], np.float32)
    level = cv2.warpAffine(contrast, shear, (width, height), flags=cv2.INTER_LINEAR)
    thick = max(2, round(THICKEST * max(height, width)))
    thin = _thin(level > floor, thick)
    rows = cv2.dilate(thin.astype(np.uint8), np.ones((3, 1), np.uint8)).mean(axis=1) > cover
    on_line = cv2.dilate(rows.astype(np.uint8)[:, None], np.ones((thick + 1, 1), np.uint8)) > 0
    line = (thin & on_line).astype(np.uint8)
    back = cv2.warpAffine(line, shear, (width, height), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)
    return np.asarray(cv2.dilate(back, np.ones((3, 1), np.uint8)), np.bool_)


def _thin(mask: NDArray[np.bool_], thick: int) -> NDArray[np.bool_]:
    """What of `mask` [H, W] is in vertical runs of at most `thick` pixels: lines, but not where a stroke crosses."""
    import cv2

    length = thick + 1 | 1  # odd: OpenCV's opening moves the picture by a pixel if it is even
    runs = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((length, 1), np.uint8))
    return mask & ~np.asarray(runs, np.bool_)


def _slope(contrast: NDArray[np.float32], floor: float, cover: float) -> float | None:
    """The slope at which rows of pixels are fullest, None where none is full enough to be a line."""
    import cv2

    scale = max(1.0, max(contrast.shape) / _SIDE)
    width, height = (round(side / scale) for side in contrast.shape[::-1])
    small = cv2.resize(contrast, (width, height), interpolation=cv2.INTER_AREA) > 0.4 * floor
    thin = _thin(small, max(2, round(THICKEST * max(width, height)) + 1))
    if float(thin.any(axis=0).mean()) < cover:
        return None
    edges = np.arange(_STRIPS) * width // _STRIPS
    strips = np.add.reduceat(thin, edges, axis=1, dtype=np.float32).T / width
    shifts = np.rint(SLOPES[:, None] * (edges + width / _STRIPS / 2 - width / 2)).astype(np.intp)
    rows = np.clip(np.arange(height) + shifts[:, :, None], 0, height - 1)
    fullness = strips[np.arange(_STRIPS)[:, None], rows].sum(axis=1)
    double = (fullness[:, :-1] + fullness[:, 1:]).max(axis=1)
    best = int(double.argmax())
    return float(SLOPES[best]) if double[best] > 0.8 * cover else None
