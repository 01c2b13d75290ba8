"""How far each pixel stands out from its paper: the paper is estimated everywhere, and divided out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

EVEN = 8
"""Grey levels that evenly lit paper strays from its own at most."""

REACH = 0.25
"""Share of the longer side that a window on the paper spans: wider strokes than that would be taken for paper."""

_GRID = 32
"""The smooth part of the light is fitted to a picture of so many pixels a side."""

_SAMPLE = 200
"""Pixels a side that the colour of the ink is looked for in."""


def contrast_of(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], bool]:
    """How much darker than its paper, or lighter where light is written on dark, each pixel of [H, W] or [H, W, 3] is.

    In grey levels, float32 [H, W], negative on the other side; and whether the paper had to be estimated locally, as on
    a photograph, because it has no one level.
    """
    grey = in_one_channel(pixels)
    rim = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    level = np.float32(np.median(rim))
    if np.mean(np.abs(grey - level) <= EVEN) > 1 / 4:
        contrast = level - grey
        # the ink is the rarer side, so the longer tail of the distribution
        return (-contrast if np.sum(contrast**3, dtype=np.float64) < 0 else contrast), False
    return _local_contrast(grey), True


def in_one_channel(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey levels [H, W] of [H, W] or [H, W, 3]: the mix of channels in which fine structure, so ink, shows most.

    Yellow ink on white hardly shows in luminance, but well in blue. The weights are those of the first principal
    component of what differs from its surroundings, without the channels that it counts as negative.
    """
    if pixels.ndim == 2:
        return pixels
    import cv2

    scale = max(1.0, max(pixels.shape[:2]) / _SAMPLE)
    size = (max(1, round(pixels.shape[1] / scale)), max(1, round(pixels.shape[0] / scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    fine = (small - cv2.blur(small, (_SAMPLE // 8 + 1,) * 2)).reshape(-1, 3).astype(np.float64)
    _, vectors = np.linalg.eigh(fine.T @ fine)
    main = vectors[:, -1] * np.sign(vectors[:, -1].sum() or 1)
    weights = np.maximum(main, 0).astype(np.float32)
    mixed: NDArray[np.uint8] = cv2.transform(pixels, (weights / weights.sum())[None])
    return mixed.reshape(pixels.shape[:2])


def _local_contrast(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Against paper whose light changes: smoothly over the whole picture, and in steps, as at the edge of a shadow.

    What is left when the smooth part is divided out is compared to a window's brightest level that it holds everywhere
    (a morphological closing; an opening for light ink): that follows an edge, and fills in what is narrower than it.
    """
    import cv2

    smooth = cv2.GaussianBlur(grey, (0, 0), max(0.6, max(grey.shape) / 800))
    dark, light = (_to_paper(_evenly_lit(each)) for each in (smooth, 255 - smooth))
    return dark if _strength(dark) >= _strength(light) else light


def _evenly_lit(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`grey` [H, W] divided by its surface of degree 2, which becomes 200."""
    surface = np.maximum(_surface(grey), 16)
    return np.clip(grey * (200 / surface), 0, 255).astype(np.uint8)


def _to_paper(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """255 · (1 − grey / paper), with its most frequent level, that of the paper, as 0."""
    import cv2

    reach = max(3, round(REACH * max(grey.shape)))
    wide = cv2.copyMakeBorder(grey, reach, reach, reach, reach, cv2.BORDER_REPLICATE)
    paper = cv2.morphologyEx(wide, cv2.MORPH_CLOSE, np.ones((reach, reach), np.uint8))[reach:-reach, reach:-reach]
    contrast = 255 - 255 * grey.astype(np.float32) / np.maximum(paper, 16)
    return contrast - np.float32(np.median(contrast))


def _strength(contrast: NDArray[np.float32]) -> float:
    """How much stands out: the sum of squares of what is well above the noise."""
    tail = np.maximum(contrast - 20, 0)
    return float(np.sum(tail * tail, dtype=np.float64))


def _surface(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
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
        fit = np.linalg.lstsq(scaled.T @ terms, scaled.T @ small, rcond=None)[0]
        weights = 1 / np.maximum(np.abs(small - terms @ fit), 1)
    fitted = _terms(height, width) @ fit.astype(np.float32)
    return np.clip(fitted, small.min(), small.max()).astype(np.float32)


def _terms(height: int, width: int) -> NDArray[np.float32]:
    """1, x, y, x², xy, y² at the pixels' centres, x and y from -1 to 1: float32 [height, width, 6]."""
    y, x = ((2 * np.arange(size, dtype=np.float32) + 1) / size - 1 for size in (height, width))
    x, y = np.meshgrid(x, y)
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
