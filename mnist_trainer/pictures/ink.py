"""Where the ink is, and how strong: dark on light or light on dark, on paper that need not be evenly lit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Box = tuple[int, int, int, int]
"""x, y, width, height in pixels; x and y of the upper left corner."""

FAINTEST = 12.0
"""Grey levels (of 255) that ink must differ from its paper."""

_EVEN = 8
"""Grey levels that evenly lit paper strays from its own at most."""

_GRID = 32
"""The paper is fitted to a picture of so many pixels a side."""


def find_ink(grey: NDArray[np.uint8]) -> NDArray[np.float32] | None:
    """How much ink each pixel of a grey picture [H, W] holds, float32 [H, W]: 0 is paper, 1 full ink.

    None where nothing stands out from paper and noise.
    """
    contrast = grey - _paper(grey)
    if np.sum(contrast**3, dtype=np.float64) < 0:  # the ink is the rarer side, so the tail of the distribution
        contrast = -contrast
    noise = float(np.percentile(np.abs(contrast), 25)) / 0.3186  # standard deviation of the quiet part, so of paper
    floor = max(FAINTEST, 4 * noise)
    found = contrast[contrast > floor]
    if not found.size:
        return None
    full = float(np.percentile(found, 80))
    mask = _strokes(contrast > max(floor, 0.06 * full), contrast > full / 2)
    if not mask.any():
        return None
    return np.where(mask, np.clip(contrast / full, 0, 1), 0).astype(np.float32)


def box_of(mask: NDArray[np.bool_]) -> Box:
    """x, y, width, height of what is true in `mask` [H, W]; something must be."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x, y = int(columns[0]), int(rows[0])
    return x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1


def _paper(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The paper's grey levels float32 [H, W]: one level, that of the border, if much of the picture has it."""
    rim = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    level = np.float32(np.median(rim))
    flat = np.mean(np.abs(grey - level) <= _EVEN) > 1 / 4
    return np.full(grey.shape, level) if flat else _shaded_paper(grey)


def _shaded_paper(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The paper's grey levels float32 [H, W]: a surface of degree 2, for shade and vignetting are smooth.

    Least absolute deviations by reweighted least squares, so that ink, the smaller part, does not bend the surface.
    """
    import cv2

    height, width = grey.shape
    small = cv2.resize(grey, (_GRID, _GRID), interpolation=cv2.INTER_AREA).astype(np.float64).ravel()
    terms = _terms(_GRID, _GRID).reshape(-1, 6).astype(np.float64)
    weights = np.ones(len(small))
    for _ in range(20):
        scaled = terms * weights[:, None]
        surface = np.linalg.lstsq(scaled.T @ terms, scaled.T @ small, rcond=None)[0]
        weights = 1 / np.maximum(np.abs(small - terms @ surface), 1)
    fitted = _terms(height, width) @ surface.astype(np.float32)
    return np.clip(fitted, small.min(), small.max()).astype(np.float32)


def _terms(height: int, width: int) -> NDArray[np.float32]:
    """1, x, y, x², xy, y² at the pixels' centres, x and y from -1 to 1: float32 [height, width, 6]."""
    y, x = ((2 * np.arange(size, dtype=np.float32) + 1) / size - 1 for size in (height, width))
    x, y = np.meshgrid(x, y)
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)


def _strokes(weak: NDArray[np.bool_], strong: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The connected parts of `weak` [H, W] that hold a `strong` pixel and are no specks."""
    import cv2

    _, parts, figures, _ = cv2.connectedComponentsWithStats(weak.astype(np.uint8), connectivity=8)
    area = figures[:, cv2.CC_STAT_AREA]
    side = figures[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].max(axis=1)
    kept = np.bincount(parts[strong].astype(np.intp), minlength=len(area)) > 0
    kept &= side >= max(3, max(weak.shape) / 100)
    kept[0] = False
    kept &= area >= 0.02 * np.max(area, where=kept, initial=0)
    strokes: NDArray[np.bool_] = kept[parts]
    return strokes
