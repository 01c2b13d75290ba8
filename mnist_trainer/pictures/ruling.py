"""Ruled and squared paper: lines that run through the whole picture are taken out, strokes that cross them stay."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.pictures.ink import quantile

SMALLEST = 64
"""Pixels a side below which no ruling is looked for: a digit's stroke could not be told from a line."""

THICKEST = 1 / 30
"""Of the longer side, that a line is thick at most."""

COVER = {False: 0.85, True: 0.5}
"""Share of the picture's width that a line shows on at least; less on a photograph, where lines are not even."""

FAINT = 0.55
"""Of what ink must exceed: lines are seen for their length, so they may be fainter."""

DARKER = 2.0
"""Times the contrast of the lines, that ink on them has at least."""

STEEPEST = 0.14
"""Tangent of the largest angle at which lines are looked for: about 8°."""

GAP, RUN, BREAK = 1 / 35, 1 / 5, 1 / 3
"""Of the width: gaps that a run of a line may have, the length of a run, and the gaps between runs."""

SEVERAL, ALONE = 3, 0.99
"""Lines of fewer than so many are as long as that, as a share of the width: others may be the stroke of a digit."""

SIDE = 0.02
"""Of the width: how near to the picture's side a run begins there, so may be a line where there are others."""

SLOPES = np.linspace(-STEEPEST, STEEPEST, 33)

_SIDE, _STRIPS = 240, 30
"""Slopes are looked for in a picture of so many pixels a side, cut into so many upright strips."""


def find_ruling(contrast: NDArray[np.float32], threshold: float, *, photograph: bool) -> NDArray[np.bool_] | None:
    """Where the lines of the paper are on a picture whose ink has `contrast` [H, W], bool [H, W]; None without any.

    `threshold` is the contrast that ink must exceed.
    """
    if min(contrast.shape) < SMALLEST:
        return None
    threshold = FAINT * threshold
    across = _lines(contrast, threshold, COVER[photograph])
    down = _lines(np.ascontiguousarray(contrast.T), threshold, COVER[photograph])
    found = [lines for lines in (across, None if down is None else down.T) if lines is not None]
    if not found:
        return None
    lines = np.asarray(np.logical_or.reduce(found), np.bool_)
    shown = contrast[lines & (contrast > threshold)]
    usual = quantile(shown, 0.4) if shown.size else threshold
    return lines & (contrast < DARKER * usual)


def _lines(contrast: NDArray[np.float32], threshold: float, cover: float) -> NDArray[np.bool_] | None:
    """Where the nearly horizontal lines of [H, W] are, bool [H, W], but for what crosses them."""
    import cv2

    height, width = contrast.shape
    slope = _slope(contrast, threshold, cover)
    if slope is None:
        return None
    shear = np.array([[1, 0, 0], [-slope, 1, slope * width / 2]], np.float32)
    level = cv2.warpAffine(contrast, shear, (width, height), flags=cv2.INTER_LINEAR)
    thick = max(2, round(THICKEST * max(height, width)))
    crossing = _thick(level > threshold, thick)
    line = _long((level > threshold) & ~crossing, cover) & ~crossing
    if not line.any():
        return None
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    back = cv2.warpAffine(line.astype(np.uint8), shear, (width, height), flags=flags)
    return np.asarray(cv2.dilate(back, np.ones((3, 1), np.uint8)), np.bool_)


def _long(thin: NDArray[np.bool_], cover: float) -> NDArray[np.bool_]:
    """The surroundings of runs in `thin` [H, W] that together go through so much of the picture's width.

    A line may be broken where strokes or other lines cross it, and lean a little against the rest.
    """
    import cv2

    width = thin.shape[1]
    runs = cv2.dilate(thin.astype(np.uint8), np.ones((3, 1), np.uint8))
    for way, length in ((cv2.MORPH_CLOSE, GAP), (cv2.MORPH_OPEN, RUN)):
        runs = cv2.morphologyEx(runs, way, np.ones((1, max(3, round(length * width))), np.uint8))
    runs = cv2.dilate(runs, np.ones((3, 1), np.uint8))
    margin = max(3, round(BREAK * width))  # without it runs would be joined with the picture's sides
    wide = cv2.copyMakeBorder(runs, 0, 0, margin, margin, cv2.BORDER_CONSTANT, value=0)
    joined = cv2.morphologyEx(wide, cv2.MORPH_CLOSE, np.ones((1, margin), np.uint8))
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    lengths = boxes[:, cv2.CC_STAT_WIDTH]
    lengths[0] = 0
    is_line = lengths >= cover * width
    if is_line.sum() < SEVERAL:
        is_line = lengths >= ALONE * width
    if is_line.any():
        lefts = boxes[:, cv2.CC_STAT_LEFT] - margin
        reach = (lefts <= SIDE * width) | (lefts + lengths >= (1 - SIDE) * width)
        is_line |= reach & (lengths >= RUN * width)  # beside lines, others that a large digit hides the rest of
    return np.asarray(is_line[labels][:, margin : margin + width], np.bool_)


def _thick(mask: NDArray[np.bool_], thick: int) -> NDArray[np.bool_]:
    """What of `mask` [H, W] is in vertical runs of more than `thick` pixels: strokes, also where they cross lines."""
    import cv2

    length = thick + 1 | 1  # odd: OpenCV moves what it opens by a pixel if it is even
    runs = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((length, 1), np.uint8))
    return np.asarray(runs, np.bool_)


def _slope(contrast: NDArray[np.float32], threshold: float, cover: float) -> float | None:
    """The slope at which rows of pixels are fullest, None where none is full enough to be a line."""
    import cv2

    scale = max(1.0, max(contrast.shape) / _SIDE)
    width, height = (round(side / scale) for side in contrast.shape[::-1])
    small = np.asarray(cv2.resize(contrast, (width, height), interpolation=cv2.INTER_AREA)) > 0.7 * threshold
    thin = small & ~_thick(small, max(2, round(THICKEST * max(width, height)) + 1))
    if float(thin.any(axis=0).mean()) < cover:
        return None
    edges = np.arange(_STRIPS) * width // _STRIPS
    strips = np.add.reduceat(thin, edges, axis=1, dtype=np.float32).T / width
    shifts = np.rint(SLOPES[:, None] * (edges + width / _STRIPS / 2 - width / 2)).astype(np.intp)
    rows = np.clip(np.arange(height) + shifts[:, :, None], 0, height - 1)
    fullness = strips[np.arange(_STRIPS)[:, None], rows].sum(axis=1)
    double = (fullness[:, :-1] + fullness[:, 1:]).max(axis=1)
    best = int(double.argmax())
    return float(SLOPES[best]) if double[best] > 0.6 * cover else None
