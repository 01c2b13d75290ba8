"""Ink of any size → 28×28 as MNIST has it: http://yann.lecun.com/exdb/mnist/, measured on the real files.

The longer side is 20 pixels, anti-aliased, with the aspect kept; then the digit is moved by whole pixels until its
intensity-weighted centroid is nearest to index 14. It may touch the border.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mnist_trainer.pictures.page import SIDE, Box, bounding_box, padded

LONGER = 20
CENTRE = 14
THINNEST = 1.4
"""Pixels of the 28 that a stroke is wide at least: hairlines would fade to nothing when they are shrunk."""


def tight_box(levels: NDArray[np.float32]) -> Box:
    """x, y, width, height of the digit in `levels` [H, W], 0 to 1, without the soft rim that blur leaves around it.

    Each side begins where the ink reaches half of what it has within the first of the 20 pixels to come: so the
    faint outermost pixels of an anti-aliased digit stay, and an enlarged one is cut where the small one ended.
    """
    x, y, width, height = bounding_box(levels > 0)
    inside = _cut(levels, (x, y, width, height))
    step = max(1, round(max(width, height) / LONGER))
    (left, right), (top, bottom) = (_edges(inside.max(axis=axis), step) for axis in (0, 1))
    return x + left, y + top, right - left, bottom - top


def render(levels: NDArray[np.float32], box: Box) -> NDArray[np.uint8]:
    """The digit in `box` of `levels` [H, W], 0 to 1, as uint8 [28, 28], bright on black."""
    cut = _thickened(_cut(levels, box))
    height, width = cut.shape
    scale = LONGER / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    way = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
    small = np.asarray(Image.fromarray(cut).resize(size, way))
    return _centred((np.clip(small / small.max(), 0, 1) * 255).round().astype(np.uint8))


def looks_rendered(grey: NDArray[np.uint8]) -> bool:
    """Whether a picture [H, W] is one of MNIST's own kind, which rendering would only blur."""
    if grey.shape != (SIDE, SIDE) or not grey.any() or np.median(grey) > 0:
        return False
    _, _, width, height = bounding_box(grey > 0)
    return max(width, height) in (LONGER - 1, LONGER) and all(abs(at - CENTRE) <= 0.5 for at in centroid(grey))


def centroid(grey: NDArray[np.uint8]) -> tuple[float, float]:
    """Row and column, from 0, of the intensity-weighted centre of `grey` [H, W]."""
    values = grey.astype(np.float64)
    row, column = (line @ np.arange(len(line)) / line.sum() for line in (values.sum(axis=1), values.sum(axis=0)))
    return float(row), float(column)


def _cut(levels: NDArray[np.float32], box: Box) -> NDArray[np.float32]:
    x, y, width, height = box
    return levels[y : y + height, x : x + width]


def _edges(profile: NDArray[np.float32], step: int) -> tuple[int, int]:
    """First index and end of the ink in its largest values [n] by row or column; `step`: source pixels for one."""
    first = np.argmax(profile >= profile[:step].max() / 2)
    last = np.argmax(profile[::-1] >= profile[-step:].max() / 2)
    return int(first), len(profile) - int(last)


def _thickened(levels: NDArray[np.float32]) -> NDArray[np.float32]:
    """`levels` [h, w] with strokes that will be `THINNEST` pixels wide at least; larger by what they grew."""
    import cv2

    core = padded((levels > 0.5 * levels.max()).astype(np.uint8), 1)
    # Across a stroke of width w the distances to its edge are 1, 2 … w/2 … 2, 1: their mean is w/4 + ½.
    width = 4 * cv2.distanceTransform(core, cv2.DIST_L2, 5)[core > 0].mean() - 2
    missing = round(max(levels.shape) * THINNEST / LONGER - width)
    if missing < 1:
        return levels
    brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (missing + 1, missing + 1))
    grown = cv2.dilate(padded(levels, missing), brush).astype(np.float32, copy=False)
    return _cut(grown, tight_box(grown))


def _centred(small: NDArray[np.uint8]) -> NDArray[np.uint8]:
    image = np.zeros((SIDE, SIDE), np.uint8)
    top, left = (
        int(np.clip(np.floor(CENTRE - at + 0.5), 0, SIDE - size))
        for at, size in zip(centroid(small), small.shape, strict=True)
    )
    image[top : top + small.shape[0], left : left + small.shape[1]] = small
    return image
