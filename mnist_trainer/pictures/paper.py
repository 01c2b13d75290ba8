"""How far each pixel stands out from its paper: the paper is estimated everywhere, and divided out.

Ruled and squared paper: lines that run through the whole picture are taken out, strokes that cross them stay.
"""

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
