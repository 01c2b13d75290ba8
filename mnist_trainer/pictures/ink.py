"""The ink on a picture, its connected parts, and which of them are writing.

Specks, frames, table edges, fingers and creases are not writing. Lengths are relative to a reference length that each
constant names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.pictures.page import Box, crop, pad, union

MIN_CONTRAST = 12.0
"""Minimum difference between ink and paper, in grey levels of 255."""

MIN_PIXELS, MIN_LENGTH = 3, 1 / 100
"""Minimum length of connected ink, in pixels and as a share of the picture's longer side."""

PATTERN_SHARE, PATTERN_RATIO = 0.2, 2.2
"""Detects a pattern on the paper, such as the checkerboard that drawing programs show for transparency: more than the
first share of the picture is darker than the paper, and some pixels have more than the second times the median contrast
of that share."""

FAINT, CERTAIN = {False: 0.06, True: 0.33}, {False: 0.35, True: 0.4}
"""Hysteresis thresholds as shares of full ink, on a drawing (False) and on a photograph (True): the minimum contrast of
ink, and of at least one pixel of each connected part. On photographs faint marks are not ink."""

SAMPLE = 20_000
"""Number of pixels from which percentiles are computed. More pixels take longer and do not change the result."""

MIN_SIZE = 0.12
"""Minimum size of a part, relative to the typical size of the largest parts. Smaller parts are specks."""

THIN, THICK = 0.25, 0.45
"""Thickness relative to a part's longer side: a stroke up to the first value, no stroke from the second on."""

BOLD_SCORE = 0.25
"""Minimum stroke score on evenly lit paper, where thick parts are bold digits and not edges of objects."""

EDGE = 0.5
"""A part that covers more than this share of a side of the picture is the edge of an object."""

STRAIGHT, LONG = 0.15, 1.3
"""Maximum width of a straight line relative to its length; and the ratio of its length to that of all other parts from
which on it is not a 1."""

DOT_FILL, DOT_ASPECT = 0.55, 0.7
"""Minimum share of its box that a dot fills, and minimum aspect ratio of that box."""

MAX_CHECKED, MAX_FRAMES = 300, 4
"""Maximum number of parts that are examined, largest first, and of those that may be frames."""

RIM, RIM_COVER, CONTENT = 0.12, 0.5, 0.2
"""For a broken frame, relative to its sides: the maximum distance of its pieces from a side, the minimum share of
a side that is present (on three sides), and the minimum size of its content."""

MAX_PARTS, MAX_WRITTEN = 1500, 130
"""Maximum number of connected parts, and of parts that are writing. More are noise or print."""


@dataclass(frozen=True)
class Ink:
    """The ink of a picture. `levels` float32 [H, W]: the ink of each pixel, from 0 (paper) to 1 (full ink).

    `map` int32 [H, W]: the number of each pixel's connected part, 0 for paper; `boxes` int32 [N, 5]: x, y, width,
    height and area of each number; `numbers`: the numbers that are ink.
    """

    levels: NDArray[np.float32]
    map: NDArray[np.int32]
    boxes: NDArray[np.int32]
    numbers: NDArray[np.intp]


@dataclass(frozen=True)
class Part:
    """A connected part of the ink: number in `Parts.map`, box, area in pixels, and how stroke-like it is, 0 to 1."""

    number: int
    box: Box
    area: int
    stroke_score: float

    @property
    def side(self) -> int:
        """The longer side of its box."""
        return max(self.box[2:])

    @property
    def is_dot(self) -> bool:
        """Whether it is filled, and round or square."""
        *_, width, height = self.box
        return self.area >= DOT_FILL * width * height and min(width, height) >= DOT_ASPECT * max(width, height)


@dataclass(frozen=True)
class Parts:
    """The connected parts that may be writing.

    `map` int32 [H, W]: numbers of `parts`, 0 for paper; `parts`: largest first; `share`: the share of the ink that is
    in `parts`, without frames; `crowded`: there were too many parts for handwriting, so `parts` is empty;
    `left_out`: lines, specks and, on a photograph, dots that may still belong to a sign.
    """

    map: NDArray[np.int32]
    parts: tuple[Part, ...]
    share: float
    crowded: bool = False
    left_out: tuple[Part, ...] = ()


def ink_threshold(contrast: NDArray[np.float32]) -> float:
    """Return the minimum contrast of ink in grey levels, from the noise of `contrast` [H, W], which is mostly paper."""
    noise = quantile(np.abs(sample(contrast)), 0.25) / 0.3186  # standard deviation of the quiet part
    return max(MIN_CONTRAST, 4 * noise)


def find_ink(contrast: NDArray[np.float32], *, photograph: bool) -> Ink:
    """Return the ink of a picture from its contrast in grey levels [H, W]; without any if nothing exceeds the noise.

    Ink is every part that contains at least one dark pixel. On a photograph faint parts are not ink: they are shadows,
    or print that shows through from the back.
    """
    import cv2

    threshold = ink_threshold(contrast)
    above = sample(contrast[contrast > threshold])
    is_pattern = share_of(sample(contrast) > threshold) > PATTERN_SHARE
    if is_pattern and quantile(above, 0.997) > PATTERN_RATIO * quantile(above, 0.5):
        threshold = 1.5 * quantile(above, 0.5)
        above = above[above > threshold]
    full = quantile(above, 0.95 if photograph else 0.8) if above.size else np.inf
    weak = contrast > max(threshold, FAINT[photograph] * full)
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(weak.astype(np.uint8), connectivity=8, ltype=cv2.CV_32S)
    is_ink = np.zeros(count, np.bool_)
    is_ink[labels[contrast > CERTAIN[photograph] * full]] = True
    is_ink &= boxes[:, 2:4].max(axis=1) >= max(MIN_PIXELS, MIN_LENGTH * max(contrast.shape))
    is_ink[0] = False
    levels = np.minimum(contrast / np.float32(full), np.float32(1)) * is_ink[labels]
    return Ink(levels, np.asarray(labels, np.int32), np.asarray(boxes, np.int32), np.flatnonzero(is_ink))


def quantile(values: NDArray[Any], share: float) -> float:
    """Return the element of `values` [N] below which `share` of them lie: ten times faster than `np.quantile`."""
    index = int(share * (values.size - 1))
    return float(np.partition(values, index)[index])


def share_of(mask: NDArray[np.bool_]) -> float:
    """Return the share of true values in a mask that is not empty, faster than `np.mean`."""
    return np.count_nonzero(mask) / mask.size


def sample(values: NDArray[Any]) -> NDArray[Any]:
    """Return an evenly spaced sample [n] of many values."""
    flat = values.ravel()
    return flat[:: max(1, flat.size // SAMPLE)]


def find_parts(ink: Ink, *, photograph: bool) -> Parts:
    """Return the parts of the ink that may be writing. On a photograph the edges of objects are removed, too."""
    if len(ink.numbers) > MAX_PARTS:
        return Parts(ink.map, (), 0.0, crowded=True)
    boxes = ink.boxes[ink.numbers]
    large = ink.numbers[np.argsort(-boxes[:, 2:4].max(axis=1), kind="stable")[:MAX_CHECKED]]
    along = _share_along_border(ink)
    found = [_part(number, ink, float(along[number]), 0.0 if photograph else BOLD_SCORE) for number in large.tolist()]
    found.sort(key=lambda part: (-part.side, part.number))
    kept = [part for part in found if part.stroke_score]
    inner = [part for part in kept if along[part.number] <= EDGE]
    if photograph or any(part.side > kept[0].side / 4 for part in inner):
        kept = inner
    unframed = _remove_frames(_remove_broken_frame(kept, ink.map), ink.map)
    ink_area = int(boxes[:, 4].sum()) - sum(part.area for part in kept) + sum(part.area for part in unframed)
    kept = _remove_specks(_remove_lines(unframed, ink.map))
    if len(kept) > MAX_WRITTEN:
        return Parts(ink.map, (), 0.0, crowded=True)
    dots = (
        [part for part in found if part.is_dot and not part.stroke_score and part.side < kept[0].side] if kept else []
    )
    left_out = tuple(part for part in unframed + dots if part not in kept)
    share = sum(part.stroke_score * part.area for part in kept) / max(1, ink_area)
    return Parts(ink.map, tuple(kept), share, left_out=left_out)


def _part(number: int, ink: Ink, along: float, min_score: float) -> Part:
    """Return a part. Its stroke score decreases with thickness, down to `min_score`, and with contact to the border."""
    import cv2

    *box, area = ink.boxes[number].tolist()
    inside = pad((crop(ink.map, tuple(box)) == number).astype(np.uint8), 1)
    thickness = 2 * float(cv2.distanceTransform(inside, cv2.DIST_L2, 3).max()) / max(box[2:])
    slimness = min(1.0, max(min_score, (THICK - thickness) / (THICK - THIN)))
    return Part(number, tuple(box), area, slimness * (1 - 0.5 * along))


def _share_along_border(ink: Ink) -> NDArray[np.float64]:
    """Return for each number in `ink.map` the maximum share of one of the picture's sides that it covers [N]."""
    sides = (ink.map[0], ink.map[-1], ink.map[:, 0], ink.map[:, -1])
    shares: NDArray[np.float64] = np.max([np.bincount(s, minlength=len(ink.boxes)) / len(s) for s in sides], axis=0)
    return shares


def _remove_frames(parts: list[Part], labels: NDArray[np.int32]) -> list[Part]:
    """Remove frames: parts whose ink lies along the sides of their box, and whose box contains another part.

    `parts` are sorted largest first; only the first ones can be frames.
    """
    boxes = np.array([part.box for part in parts]).reshape(-1, 4)
    starts, ends = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    frames = []
    for index, part in enumerate(parts[:MAX_FRAMES]):
        inside = (starts > starts[index]).all(axis=1) & (ends < ends[index]).all(axis=1)
        content = boxes[inside, 2:].max(initial=0) / part.side
        if content > MIN_SIZE / 2 and _is_hollow(part, labels) and (content > 0.2 or _has_corners(part, labels)):
            frames.append(part)
    return [part for part in parts if part not in frames]


def _remove_broken_frame(parts: list[Part], labels: NDArray[np.int32]) -> list[Part]:
    """Remove the pieces of a frame around everything else.

    The pieces lie only along the sides of the bounding box of all parts, cover most of three sides, and enclose
    something large.
    """
    if len(parts) < 3:
        return parts
    whole = *_, width, height = union([part.box for part in parts])
    across, down = max(1, round(RIM * width)), max(1, round(RIM * height))
    around = crop(labels, whole)
    count = int(labels.max()) + 1
    inside = np.bincount(around[down:-down, across:-across].ravel(), minlength=count) > 0
    content = [part for part in parts if inside[part.number]]
    if max((part.side for part in content), default=0) < CONTENT * max(width, height):
        return parts
    on_rim = np.zeros(count, np.bool_)
    on_rim[[part.number for part in parts if not inside[part.number]]] = True
    rims = (around[:down], around[-down:], around[:, :across].T, around[:, -across:].T)
    covered = sorted(float(on_rim[rim].any(axis=0).mean()) for rim in rims)
    return content if covered[1] > RIM_COVER else parts


def _has_corners(part: Part, labels: NDArray[np.int32]) -> bool:
    """Return whether at least three corners of a part's box contain ink, unlike those of a 0 with a dot inside."""
    inside = crop(labels, part.box) == part.number
    across, down = max(1, part.box[2] // 10), max(1, part.box[3] // 10)
    ends = (inside[:down], inside[-down:])
    return sum(bool(corner.any()) for end in ends for corner in (end[:, :across], end[:, -across:])) >= 3


def _is_hollow(part: Part, labels: NDArray[np.int32]) -> bool:
    across, down = max(1, part.box[2] // 6), max(1, part.box[3] // 6)
    inside = crop(labels, part.box)[down:-down, across:-across] == part.number
    return float(inside.sum()) < 0.05 * part.area


def _remove_lines(parts: list[Part], labels: NDArray[np.int32]) -> list[Part]:
    """Remove straight lines much longer than all other parts: creases, and remains of frames and ruling."""
    straight = [part for part in parts if part.area < STRAIGHT * part.side**2 and _is_straight(part, labels)]
    longest = max((part.side for part in parts if part not in straight and not part.is_dot), default=0)
    lines = [part for part in straight if part.side > LONG * longest > 0]
    return [part for part in parts if part not in lines]


def _is_straight(part: Part, labels: NDArray[np.int32]) -> bool:
    shorter, longer = rotated_sides(part, labels)
    return shorter + 1 < STRAIGHT * longer


def rotated_sides(part: Part, labels: NDArray[np.int32]) -> tuple[float, float]:
    """Return the sides of a part's minimum-area rectangle, shorter first, measured between pixel centres."""
    import cv2

    points = np.argwhere(crop(labels, part.box) == part.number).astype(np.float32)
    shorter, longer = sorted(cv2.minAreaRect(points)[1])
    return shorter, longer


def _remove_specks(parts: list[Part]) -> list[Part]:
    if not parts:
        return []
    sides = sorted((part.side for part in parts), reverse=True)
    return [part for part in parts if part.side >= MIN_SIZE * sides[min(len(sides) // 8, 2)]]
