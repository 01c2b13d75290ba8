"""Estimate the paper, compute the contrast of the ink, and find the ruling.

The grey level of the paper is estimated at each pixel and divided out. Lines of ruled and squared paper are removed;
strokes that cross them stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.pictures.ink import quantile, sample, share_of

EVEN = 4
"""Maximum deviation of evenly lit paper from its grey level."""

WINDOWS = (0.15, 0.3, 0.08)
"""Sizes of the window that estimates the paper, relative to the longer side. Strokes that are wider would count as
paper."""

DARKEST = 32
"""Minimum grey level in quotients, because quotients of darker pixels are noise."""

QUIET_NOISE, MAX_SMOOTHING = 4.0, 2.0
"""Standard deviation of the noise, in grey levels, above which pictures are smoothed; and maximum sigma in pixels."""

COLOUR_SIDE = 200
"""Longer side, in pixels, of the picture from which the colour of the ink is estimated."""

MIN_RULED_SIDE = 64
"""Minimum side, in pixels, of pictures that are searched for ruling. On smaller ones strokes look like lines."""

MAX_THICKNESS = 1 / 30
"""Maximum thickness of a line relative to the longer side."""

COVERAGE = {False: 0.85, True: 0.5}
"""Minimum share of the picture's width that a line covers, on a drawing (False) and on a photograph (True), where lines
are not even."""

FAINT = 0.55
"""Minimum contrast of lines relative to that of ink. It is lower because lines are long."""

INK_RATIO = 2.0
"""Minimum contrast of ink that crosses lines, as a multiple of theirs."""

MAX_GAP, MIN_RUN, MAX_BREAK = 1 / 35, 1 / 5, 1 / 3
"""Relative to the width: maximum gap inside a run of a line, minimum length of a run, maximum gap between runs."""

SEVERAL, FULL_WIDTH = 3, 0.99
"""If there are fewer lines than the first, each must cover the second share of the width, unlike strokes of digits."""

MARGIN = 0.02
"""Relative to the width: if there are other lines, a run that begins within this distance of a side is a line, too."""

FEW_SIDE, FEW_THICKNESS, FEW_RATIO = 40, 1 / 18, 0.75
"""For one or two lines: minimum side of the picture in pixels, and maximum thickness of a line relative to the longer
side, and contrast relative to the other ink."""

BAND, COVERED, THIN, CROSSED = 1 / 50, 0.94, 0.4, 0.5
"""Relative to the width: height of the band around one of a few lines, minimum share with ink in it, minimum share with
thin ink, and maximum share with strokes that cross the line."""

RULED, LINED = 1 / 5, 1 / 10
"""Maximum height of a few lines together, relative to the picture's, and maximum share of the picture that lines in one
direction cover where they are removed thoroughly. A page of print has more."""

SLOPES = np.linspace(-0.14, 0.14, 33)
"""Slopes at which lines are searched: up to about 8°."""

SLOPE_SIDE, STRIPS = 240, 30
"""Longer side, in pixels, of the picture in which slopes are searched, and the number of its vertical strips."""

Grey = NDArray[np.uint8]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Background:
    """How the paper is estimated. `light`: the ink is lighter than the paper; `window`: size relative to the picture's
    longer side, or None for paper of one grey level.
    """

    light: bool
    window: float | None


def even_background(grey: Grey) -> Background | None:
    """Return the background of a picture [H, W] whose paper has one grey level, as in drawings; else None."""
    level = _border_level(grey)
    if share_of(np.abs(grey - level) <= EVEN) <= 1 / 4:
        return None
    # the ink is the rarer side, so the longer tail of the distribution
    distances = np.arange(256) - level
    tail = distances * distances * distances @ np.bincount(grey.ravel(), minlength=256)
    return Background(light=bool(tail > 0), window=None)


def compute_contrast(grey: Grey, background: Background) -> NDArray[np.float32]:
    """Return the contrast between paper and ink in grey levels, float32 [H, W], from `grey` [H, W].

    It is positive where a pixel is darker than its paper, or lighter if the ink is light.
    """
    if background.window is None:
        contrast = _border_level(grey) - grey
        return -contrast if background.light else contrast
    return _local_contrast(grey, background.window, light=background.light)


def _border_level(grey: Grey) -> np.float32:
    return np.float32(quantile(np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]]), 0.5))


def to_grey(pixels: Grey) -> Grey:
    """Return a grey picture [H, W] from [H, W] or [H, W, 3]: the mix of channels that shows fine structure best.

    Yellow ink on white paper is hardly visible in luminance, but clearly in blue. The weights are the first principal
    component of the differences from the local mean, with negative weights set to 0.
    """
    if pixels.ndim == 2:
        return pixels
    import cv2

    small = downscale(pixels, COLOUR_SIDE).astype(np.float32)
    fine = (small - cv2.blur(small, (COLOUR_SIDE // 8 + 1,) * 2)).reshape(-1, 3).astype(np.float64)
    main = np.linalg.eigh(fine.T @ fine).eigenvectors[:, -1]
    weights = np.maximum(main * np.sign(main.sum() or 1), 0).astype(np.float32)
    return np.asarray(cv2.transform(pixels, (weights / weights.sum())[None]), np.uint8).reshape(pixels.shape[:2])


def downscale(values: NDArray[Any], side: int) -> NDArray[Any]:
    """Return `values` [H, W, …] with a longer side of at most `side` pixels; the same array if it is small enough."""
    import cv2

    scale = max(values.shape[:2]) / side
    if scale <= 1:
        return values
    size = (max(1, round(values.shape[1] / scale)), max(1, round(values.shape[0] / scale)))
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_AREA))


def denoise(grey: Grey) -> Grey:
    """Return a picture [H, W] smoothed according to its noise; the same array if there is little noise.

    The noise is measured by a filter that removes constants and slopes, in the quietest quarter of the picture, because
    the rest may be writing. Source: J. Immerkaer, "Fast noise variance estimation", 1996.
    """
    import cv2

    curve = np.array([1, -2, 1], np.float32)
    rest = np.abs(sample(cv2.filter2D(grey, cv2.CV_32F, np.outer(curve, curve))))
    noise = quantile(rest, 0.25) / 0.3186 / 6  # standard deviation; the filter multiplies it by six
    if noise <= QUIET_NOISE:
        return grey
    width = min(MAX_SMOOTHING, noise / (2 * sqrt(pi) * QUIET_NOISE))
    return np.asarray(cv2.GaussianBlur(grey, (0, 0), width), np.uint8)


def _local_contrast(grey: Grey, share: float, *, light: bool) -> NDArray[np.float32]:
    """Return the contrast of ink on unevenly lit paper, including hard edges of shadows.

    The paper is estimated by a morphological closing (an opening for light ink), which follows slopes and steps and
    removes what is narrower than the window. The contrast is the quotient of ink and paper, because light multiplies
    both. Light ink may be chalk, or dark ink on a negative. The median contrast, that of the paper, becomes 0.
    """
    import cv2

    longest = max(grey.shape)
    smooth = np.asarray(cv2.GaussianBlur(grey, (0, 0), max(0.6, longest / 800)), np.uint8)
    window = max(3, round(share * longest)) | 1  # odd: with an even size OpenCV's closing shifts the picture by a pixel
    wide = cv2.copyMakeBorder(smooth, window, window, window, window, cv2.BORDER_REPLICATE)
    morphed = cv2.morphologyEx(wide, cv2.MORPH_OPEN if light else cv2.MORPH_CLOSE, np.ones((window, window), np.uint8))
    paper = np.asarray(morphed, np.uint8)[window:-window, window:-window]
    shares = _quotient(paper, smooth) if light else _quotient(smooth, paper)
    if light:
        np.minimum(shares, _quotient(255 - smooth, 255 - paper), out=shares)
    contrast: NDArray[np.float32] = np.float32(255) * (np.float32(quantile(sample(shares), 0.5)) - shares)
    return contrast


def _quotient(darker: Grey, lighter: Grey) -> NDArray[np.float32]:
    return np.divide(np.maximum(darker, DARKEST), np.maximum(lighter, DARKEST), dtype=np.float32)


def find_ruling(
    contrast: NDArray[np.float32], threshold: float, *, photograph: bool, few_lines: bool = False
) -> Mask | None:
    """Return the mask of the paper's lines, bool [H, W], from the `contrast` [H, W]; None if there are no lines.

    `threshold` is the minimum contrast of ink. `few_lines`: also search small pictures, and for one or two lines that
    are fainter than the ink.
    """
    if min(contrast.shape) < (FEW_SIDE if few_lines else MIN_RULED_SIDE):
        return None
    faint, coverage = FAINT * threshold, COVERAGE[photograph]
    across = _horizontal_lines(contrast, faint, coverage, few_lines)
    down = _horizontal_lines(np.ascontiguousarray(contrast.T), faint, coverage, few_lines)
    found = [lines for lines in (across, None if down is None else down.T) if lines is not None]
    if not found:
        return None
    lines = np.asarray(np.logical_or.reduce(found), np.bool_)
    visible = contrast[lines & (contrast > faint)]
    is_ruling = few_lines and (len(found) == 2 or visible.size < LINED * lines.size)
    typical = quantile(visible, 0.7 if is_ruling else 0.4) if visible.size else faint
    return lines & (contrast < INK_RATIO * typical)


def _horizontal_lines(contrast: NDArray[np.float32], threshold: float, coverage: float, few_lines: bool) -> Mask | None:
    """Return the mask of nearly horizontal lines, bool [H, W], without the strokes that cross them."""
    import cv2

    height, width = contrast.shape
    slope = _slope(contrast, threshold, coverage, MAX_THICKNESS)
    are_many = slope is not None and min(height, width) >= MIN_RULED_SIDE
    if slope is None and few_lines:
        slope = _slope(contrast, threshold, THIN, FEW_THICKNESS)
    if slope is None:
        return None
    shear = np.array([[1, 0, 0], [-slope, 1, slope * width / 2]], np.float32)
    level = np.asarray(cv2.warpAffine(contrast, shear, (width, height), flags=cv2.INTER_LINEAR), np.float32)
    ink, side = level > threshold, max(height, width)
    line = np.zeros_like(ink)
    if are_many:
        crossing = _thick(ink, max(2, round(MAX_THICKNESS * side)))
        line = _long(ink & ~crossing, coverage) & ~crossing
    if few_lines:
        line |= _few_lines(level, ink, _thick(ink, max(2, round(FEW_THICKNESS * side))))
    if not line.any():
        return None
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    back = cv2.warpAffine(line.astype(np.uint8), shear, (width, height), flags=flags)
    return np.asarray(cv2.dilate(back, np.ones((3, 1), np.uint8)), np.bool_)


def _few_lines(level: NDArray[np.float32], ink: Mask, crossing: Mask) -> Mask:
    """Return the mask of horizontal lines in the contrast `level` [H, W] that are fainter than the other ink.

    A line has ink over the whole width, but strokes of digits, `crossing`, cover a part of it.
    """
    import cv2

    band = np.ones((max(3, round(BAND * ink.shape[1])) | 1, 1), np.uint8)
    covered, thin, crossed = (
        np.asarray(cv2.dilate(mask.astype(np.uint8), band), np.bool_).mean(axis=1)
        for mask in (ink, ink & ~crossing, crossing)
    )
    is_line = (covered >= COVERED) & (thin >= THIN) & (crossed <= CROSSED)
    if is_line.mean() > RULED:
        return np.zeros_like(ink)
    line = np.asarray(is_line[:, None] & ~crossing, np.bool_)
    own, other = level[line & ink], level[ink & ~line]
    if not own.size or not other.size or quantile(own, 0.5) > FEW_RATIO * quantile(other, 0.9):
        return np.zeros_like(line)
    return line


def _long(thin: Mask, coverage: float) -> Mask:
    """Return the mask around runs in `thin` [H, W] that together cover at least `coverage` of the width.

    A line may be interrupted by strokes and other lines, and its slope may differ slightly.
    """
    import cv2

    width = thin.shape[1]
    runs = cv2.dilate(thin.astype(np.uint8), np.ones((3, 1), np.uint8))
    for operation, length in ((cv2.MORPH_CLOSE, MAX_GAP), (cv2.MORPH_OPEN, MIN_RUN)):
        runs = cv2.morphologyEx(runs, operation, np.ones((1, max(3, round(length * width))), np.uint8))
    runs = cv2.dilate(runs, np.ones((3, 1), np.uint8))
    margin = max(3, round(MAX_BREAK * width))  # without a margin, runs would be joined to the picture's sides
    wide = cv2.copyMakeBorder(runs, 0, 0, margin, margin, cv2.BORDER_CONSTANT, value=0)
    joined = cv2.morphologyEx(wide, cv2.MORPH_CLOSE, np.ones((1, margin), np.uint8))
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    lengths = boxes[:, cv2.CC_STAT_WIDTH]
    lengths[0] = 0
    is_line = lengths >= coverage * width
    if is_line.sum() < SEVERAL:
        is_line = lengths >= FULL_WIDTH * width
    if is_line.any():
        lefts = boxes[:, cv2.CC_STAT_LEFT] - margin
        at_side = (lefts <= MARGIN * width) | (lefts + lengths >= (1 - MARGIN) * width)
        is_line |= at_side & (lengths >= MIN_RUN * width)  # lines that a large digit hides in part
    return np.asarray(is_line[labels][:, margin : margin + width], np.bool_)


def _thick(mask: Mask, thickness: int) -> Mask:
    """Return the vertical runs of more than `thickness` pixels in [H, W]: strokes, including where they cross lines."""
    import cv2

    length = thickness + 1 | 1  # odd: with an even size OpenCV's opening shifts the picture by a pixel
    runs = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((length, 1), np.uint8))
    return np.asarray(runs, np.bool_)


def _slope(contrast: NDArray[np.float32], threshold: float, coverage: float, thickness: float) -> float | None:
    """Return the slope at which rows have the largest share of pixels set; None if no row can be a line."""
    small = downscale(contrast, SLOPE_SIDE) > 0.7 * threshold
    height, width = small.shape
    thin = small & ~_thick(small, max(2, round(thickness * max(width, height)) + 1))
    if float(thin.any(axis=0).mean()) < coverage:
        return None
    edges = np.arange(STRIPS) * width // STRIPS
    strips = np.add.reduceat(thin, edges, axis=1, dtype=np.float32).T / width
    shifts = np.rint(SLOPES[:, None] * (edges + width / STRIPS / 2 - width / 2)).astype(np.intp)
    rows = np.clip(np.arange(height) + shifts[:, :, None], 0, height - 1)
    fullness = strips[np.arange(STRIPS)[:, None], rows].sum(axis=1)
    double = (fullness[:, :-1] + fullness[:, 1:]).max(axis=1)
    best = int(double.argmax())
    return float(SLOPES[best]) if double[best] > 0.6 * coverage else None
