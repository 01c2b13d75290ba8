"""Ruled and squared paper: lines that run through the whole picture are taken out, strokes that cross them stay."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SMALLEST = 64
"""Pixels a side below which no ruling is looked for: a digit's stroke could not be told from a line."""

THICKEST = 1 / 60
"""Of the longer side, that a line is thick at most."""

COVER = 0.6
"""Share of the picture's width that a line shows on at least."""

STEEPEST = 0.14
"""Tangent of the largest angle at which lines are looked for: about 8°."""


def without_ruling(contrast: NDArray[np.float32], floor: float) -> NDArray[np.float32]:
    """`contrast` [H, W] with 0 where a line of the paper was; `floor` is what ink must exceed."""
    if min(contrast.shape) < SMALLEST:
        return contrast
    across = _lines(contrast, floor)
    down = _lines(np.ascontiguousarray(contrast.T), floor).T
    if not (across.any() or down.any()):
        return contrast
    return np.where(across | down, np.float32(0), contrast)


def _lines(contrast: NDArray[np.float32], floor: float) -> NDArray[np.bool_]:
    """Where the nearly horizontal lines of [H, W] are, bool [H, W], but for what crosses them."""
    import cv2

    height, width = contrast.shape
    marked = np.zeros((height, width), np.bool_)
    slope = _slope(contrast, floor)
    if slope is None:
        return marked
    shear = np.array([[1, 0, 0], [-slope, 1, slope * width / 2]], np.float32)
    level = cv2.warpAffine(contrast, shear, (width, height), flags=cv2.INTER_LINEAR)
    thick = max(2, round(THICKEST * max(height, width)))
    thin = _thin(level > floor, thick)
    rows = thin.mean(axis=1) > COVER
    if not rows.any():
        return marked
    on_line = cv2.dilate(rows.astype(np.uint8)[:, None], np.ones((3, 1), np.uint8))[:, 0] > 0
    line = thin & on_line[:, None]
    back = cv2.warpAffine(line.astype(np.uint8), shear, (width, height), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)
    marked |= cv2.dilate(back, np.ones((3, 1), np.uint8)) > 0
    return marked


def _thin(mask: NDArray[np.bool_], thick: int) -> NDArray[np.bool_]:
    """What of `mask` [H, W] is in vertical runs of at most `thick` pixels: lines, but not where a stroke crosses."""
    import cv2

    runs = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((thick + 1, 1), np.uint8))
    return mask & (runs == 0)


def _slope(contrast: NDArray[np.float32], floor: float) -> float | None:
    """The slope at which rows of pixels are fullest, None where none is full enough to be a line."""
    import cv2

    scale = max(1.0, max(contrast.shape) / 400)
    size = (round(contrast.shape[1] / scale), round(contrast.shape[0] / scale))
    small = (cv2.resize(contrast, size, interpolation=cv2.INTER_AREA) > 0.4 * floor).astype(np.uint8)
    thin = _thin(small > 0, max(2, round(THICKEST * max(size)) + 1)).astype(np.float32)
    best, fullest = None, COVER * 0.8
    for slope in np.linspace(-STEEPEST, STEEPEST, 41):
        shear = np.array([[1, 0, 0], [-slope, 1, slope * size[0] / 2]], np.float32)
        sheared = cv2.warpAffine(thin, shear, size, flags=cv2.INTER_NEAREST)
        mean = sheared.mean(axis=1)
        full = float((mean[:-1] + mean[1:]).max(initial=0))
        if full > fullest:
            best, fullest = float(slope), full
    return best
