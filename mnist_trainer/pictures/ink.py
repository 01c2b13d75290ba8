"""Where the ink is, and how strong: dark on light or light on dark, on paper that need not be evenly lit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.pictures.paper import contrast_of
from mnist_trainer.pictures.ruling import without_ruling

FAINTEST = 12.0
"""Grey levels (of 255) that ink must differ from its paper."""


@dataclass(frozen=True)
class Ink:
    """`levels` float32 [H, W]: how much ink each pixel holds, 0 is paper, 1 full ink; `contrast` float32 [H, W] in grey
    levels: what that was decided from."""

    levels: NDArray[np.float32]
    contrast: NDArray[np.float32]


def find_ink(pixels: NDArray[np.uint8]) -> Ink:
    """The ink on a picture [H, W] or [H, W, 3]; all levels are 0 where nothing stands out from paper and noise."""
    contrast, is_photograph = contrast_of(pixels)
    noise = float(np.percentile(np.abs(contrast), 25)) / 0.3186  # standard deviation of the quiet part, so of paper
    floor = max(FAINTEST, 4 * noise)
    contrast = without_ruling(contrast, floor)
    found = contrast[contrast > floor]
    if not found.size:
        return Ink(np.zeros_like(contrast), contrast)
    full = float(np.percentile(found, 80))
    weakest = 0.35 if is_photograph else 0.06  # of full ink; shades and print from behind may be this strong
    mask = _strokes(contrast > max(floor, weakest * full), contrast > full / 2)
    return Ink(np.where(mask, np.clip(contrast / full, 0, 1), 0).astype(np.float32), contrast)


def _strokes(weak: NDArray[np.bool_], strong: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The connected parts of `weak` [H, W] that hold a `strong` pixel and are no specks."""
    import cv2

    _, parts, figures, _ = cv2.connectedComponentsWithStats(weak.astype(np.uint8), connectivity=8)
    kept = np.bincount(parts[strong].astype(np.intp), minlength=len(figures)) > 0
    side = figures[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].max(axis=1)
    kept &= side >= max(3, max(weak.shape) / 100)
    kept[0] = False
    strokes: NDArray[np.bool_] = kept[parts]
    return strokes
