"""Render ink of any size as a 28×28 image like MNIST's (http://yann.lecun.com/exdb/mnist/, measured on its files).

The longer side is 20 pixels, anti-aliased, with the aspect ratio kept. Then the digit is moved by whole pixels so that
its intensity-weighted centroid is as near as possible to index 14. It may touch the border.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mnist_trainer.pictures.page import SIDE, STRIP_HEIGHT, Box, bounding_box, crop, pad

LONGER_SIDE, CENTRE = 20, 14
MIN_STROKE = 1.4
"""Minimum stroke width in output pixels. Thinner strokes would fade."""

MIN_LEVEL = 0.001
"""Minimum level of the brightest ink of a strip, which becomes white."""


def tight_box(levels: NDArray[np.float32]) -> Box:
    """Return the box of the digit in `levels` [H, W], 0 to 1, without a blurred rim.

    Each side is where the ink reaches half of its maximum within the outermost of the 20 output pixels. So the faint
    outer pixels of an anti-aliased digit stay, and an enlarged digit is cropped like the original.
    """
    box = x, y, *sides = bounding_box(levels > 0)
    step = max(1, round(max(sides) / LONGER_SIDE))
    (left, right), (top, bottom) = (_edges(crop(levels, box).max(axis=axis), step) for axis in (0, 1))
    return x + left, y + top, right - left, bottom - top


def render(levels: NDArray[np.float32], box: Box) -> NDArray[np.uint8]:
    """Return the digit in `box` of `levels` [H, W], 0 to 1, as uint8 [28, 28], bright on black."""
    digit = _thicken(crop(levels, box))
    scale = LONGER_SIDE / max(digit.shape)
    height, width = (max(1, round(side * scale)) for side in digit.shape)
    resample = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
    small = np.asarray(Image.fromarray(digit).resize((width, height), resample))
    return _centre((np.clip(small / small.max(), 0, 1) * 255).round().astype(np.uint8))


def render_strip(levels: NDArray[np.float32], height: float, middles: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return the image of a `Strip`, uint8 [28, W], of the ink `levels` float32 [h, w], 0 to 1.

    Digits are `height` pixels high. Row `middles[c]` of each column c, of [w], becomes the middle row.
    """
    import cv2

    scale = STRIP_HEIGHT / height
    if (missing := round(MIN_STROKE / scale - _stroke_width(levels))) > 0:
        brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (missing + 1, missing + 1))
        levels = np.asarray(cv2.dilate(levels, brush), np.float32)
    size = [max(1, round(side * scale)) for side in levels.shape[::-1]]
    small = cv2.resize(levels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    small = pad(np.asarray(small, np.float32), SIDE)
    columns = np.minimum((np.arange(size[0]) + 0.5) / scale, len(middles) - 1).astype(np.intp)
    tops = np.rint(middles[columns] * scale).astype(np.intp) + SIDE - SIDE // 2
    tops = np.pad(np.clip(tops, 0, len(small) - SIDE), SIDE // 2, mode="edge")
    strip = small[tops + np.arange(SIDE)[:, None], np.arange(SIDE // 2, SIDE // 2 + len(tops))]
    levels = np.clip(strip / max(MIN_LEVEL, float(strip.max())), 0, 1)
    return np.asarray((levels * 255).round(), np.uint8)


def looks_rendered(grey: NDArray[np.uint8]) -> bool:
    """Return whether a picture [H, W] already is an image like MNIST's, which rendering would only blur."""
    if grey.shape != (SIDE, SIDE) or not 0 < np.count_nonzero(grey) < grey.size // 2:
        return False
    longer = max(bounding_box(grey > 0)[2:])
    return longer in (LONGER_SIDE - 1, LONGER_SIDE) and all(abs(at - CENTRE) <= 0.5 for at in centroid(grey))


def centroid(grey: NDArray[np.uint8]) -> tuple[float, float]:
    """Return row and column, from 0, of the intensity-weighted centre of `grey` [H, W]."""
    values = grey.astype(np.float64)
    row, column = (line @ np.arange(len(line)) / line.sum() for line in (values.sum(axis=1), values.sum(axis=0)))
    return float(row), float(column)


def _edges(profile: NDArray[np.float32], step: int) -> tuple[int, int]:
    """Return start and end of the ink in `profile` [n], its maxima along an axis. `step`: pixels per output pixel."""
    first = np.argmax(profile >= profile[:step].max() / 2)
    last = np.argmax(profile[::-1] >= profile[-step:].max() / 2)
    return int(first), len(profile) - int(last)


def _stroke_width(levels: NDArray[np.float32]) -> float:
    """Return the mean width in pixels of the strokes in `levels` [h, w], 0 to 1."""
    import cv2

    core = pad((levels > 0.5 * levels.max()).astype(np.uint8), 1)
    # Across a stroke of width w the distances to its edge are 1, 2 … w/2 … 2, 1. Their mean is w/4 + ½.
    return float(4 * cv2.distanceTransform(core, cv2.DIST_L2, 5)[core > 0].mean() - 2)


def _thicken(levels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return `levels` [h, w] with strokes of at least `MIN_STROKE` output pixels. The array grows with the strokes."""
    import cv2

    missing = round(max(levels.shape) * MIN_STROKE / LONGER_SIDE - _stroke_width(levels))
    if missing < 1:
        return levels
    brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (missing + 1, missing + 1))
    grown = cv2.dilate(pad(levels, missing), brush).astype(np.float32, copy=False)
    return crop(grown, tight_box(grown))


def _centre(small: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the image [28, 28] with the centre of mass of `small` in its middle, as in MNIST."""
    image = np.zeros((SIDE, SIDE), np.uint8)
    top, left = (
        int(np.clip(np.floor(CENTRE - at + 0.5), 0, SIDE - size))
        for at, size in zip(centroid(small), small.shape, strict=True)
    )
    image[top : top + small.shape[0], left : left + small.shape[1]] = small
    return image
