"""How far each pixel stands out from its paper: the paper is estimated everywhere, and divided out."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi, sqrt

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.pictures.ink import quantile, sample

EVEN = 4
"""Grey levels that evenly lit paper strays from its own at most."""

WINDOWS = (0.15, 0.3, 0.08)
"""Shares of the longer side that a window on the paper may span: wider strokes than that would be taken for paper."""

BLACK = 32
"""Grey levels are taken to be at least that bright: quotients of darker ones are noise."""

QUIET, SMOOTHEST = 4.0, 2.0
"""Grey levels that noise stands for (its standard deviation) at which pictures are smoothed; pixels by at most."""

_CURVE = np.array([1, -2, 1], np.float32)

_SAMPLE = 200
"""Pixels a side that the colour of the ink is looked for in."""


@dataclass(frozen=True)
class Background:
    """A way to see paper and ink: whether the ink is light, and how far the window on the paper reaches, as a share of
    the picture's longer side; None where all the paper has one grey level."""

    light: bool
    window: float | None


def even_background(grey: NDArray[np.uint8]) -> Background | None:
    """How a picture [H, W] is seen if its paper has one grey level, as that of drawings has; None if it has not."""
    level = _level(grey)
    if np.mean(np.abs(grey - level) <= EVEN) <= 1 / 4:
        return None
    # the ink is the rarer side, so the longer tail of the distribution
    tail = np.power(np.arange(256) - level, 3) @ np.bincount(grey.ravel(), minlength=256)
    return Background(light=bool(tail > 0), window=None)


def contrast_of(grey: NDArray[np.uint8], background: Background) -> NDArray[np.float32]:
    """How much darker than its paper, or lighter if `background` says so, each pixel of [H, W] is.

    In grey levels, float32 [H, W], negative on the other side.
    """
    if background.window is None:
        contrast = _level(grey) - grey
        return -contrast if background.light else contrast
    return _local_contrast(grey, background.window, light=background.light)


def _level(grey: NDArray[np.uint8]) -> np.float32:
    """The grey level of even paper: that in the middle of those along the rim."""
    return np.float32(quantile(np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]]), 0.5))


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
    return np.asarray(cv2.transform(pixels, (weights / weights.sum())[None]), np.uint8).reshape(pixels.shape[:2])


def without_noise(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture [H, W] smoothed by as much as its noise needs, or as it is where there is little.

    Noise is measured by what a mask leaves that takes out all that is constant or slopes evenly, in the quietest
    quarter of the picture: the rest may be writing. Source: J. Immerkaer, "Fast noise variance estimation", 1996.
    """
    import cv2

    rest = np.abs(sample(cv2.filter2D(grey, cv2.CV_32F, np.outer(_CURVE, _CURVE))))
    noise = quantile(rest, 0.25) / 0.3186 / 6  # of the standard deviation, which the mask makes six times as large
    if noise <= QUIET:
        return grey
    width = min(SMOOTHEST, noise / (2 * sqrt(pi) * QUIET))
    return np.asarray(cv2.GaussianBlur(grey, (0, 0), width), np.uint8)


def _local_contrast(grey: NDArray[np.uint8], share: float, *, light: bool) -> NDArray[np.float32]:
    """Of ink on paper whose light changes, smoothly or in steps, as where a shadow ends.

    The paper is a window's brightest level that it holds everywhere (a morphological closing; for light ink its darkest
    one, an opening): that follows slopes and steps, and fills in what is narrower than the window. Light falls on paper
    and ink alike, so their quotient is the contrast; light ink may be chalk, or dark ink on a negative. The most
    frequent contrast, that of the paper, is 0.
    """
    import cv2

    longest = max(grey.shape)
    smooth = np.asarray(cv2.GaussianBlur(grey, (0, 0), max(0.6, longest / 800)), np.uint8)
    window = max(3, round(share * longest)) | 1  # odd: OpenCV's closing moves the picture by a pixel if it is even
    wide = cv2.copyMakeBorder(smooth, window, window, window, window, cv2.BORDER_REPLICATE)
    way = cv2.MORPH_OPEN if light else cv2.MORPH_CLOSE
    morphed = cv2.morphologyEx(wide, way, np.ones((window, window), np.uint8))
    paper = np.asarray(morphed, np.uint8)[window:-window, window:-window]
    shares = _quotient(paper, smooth) if light else _quotient(smooth, paper)
    if light:
        np.minimum(shares, _quotient(255 - smooth, 255 - paper), out=shares)
    contrast: NDArray[np.float32] = np.float32(255) * (np.float32(quantile(sample(shares), 0.5)) - shares)
    return contrast


def _quotient(darker: NDArray[np.uint8], lighter: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.divide(np.maximum(darker, BLACK), np.maximum(lighter, BLACK), dtype=np.float32)
