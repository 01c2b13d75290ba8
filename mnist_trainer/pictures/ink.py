"""Where the ink is, how strong, and what of it hangs together.

The connected parts of the ink, without those that are no writing: specks, frames, edges of the table, fingers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.pictures.page import Box, padded, union

FAINTEST = 12.0
"""Grey levels (of 255) that ink must differ from its paper."""

SMALLEST = 3, 1 / 100
"""Pixels that a piece of ink is long at least, and share of the picture's longer side."""

PATTERNED, DARKER = 0.2, 2.2
"""Of the picture: where more than that is darker than the paper, and some of it so many times darker than the most,
the most is a pattern on the paper, as the checkerboard that stands for nothing in drawing programs."""

FAINT, CERTAIN = {False: 0.06, True: 0.33}, {False: 0.5, True: 0.4}
"""Of full ink: the least contrast of ink, and of some of what hangs together. On photographs faint things are none."""

_SAMPLE = 20_000
"""Pixels from which percentiles are taken: more cost time and change nothing."""


@dataclass(frozen=True)
class Ink:
    """`levels` float32 [H, W]: how much ink each pixel holds, 0 is paper, 1 full ink.

    `map` int32 [H, W] numbers what hangs together; `boxes` int [N, 5] are x, y, width, height and pixels of each
    number; `numbers` are those that are ink. 0 is paper.
    """

    levels: NDArray[np.float32]
    map: NDArray[np.int32]
    boxes: NDArray[np.int32]
    numbers: NDArray[np.intp]


def ink_threshold(contrast: NDArray[np.float32]) -> float:
    """The contrast in grey levels that ink must exceed, above the noise of the paper; of [H, W], mostly paper."""
    noise = quantile(np.abs(sample(contrast)), 0.25) / 0.3186  # standard deviation of the quiet part
    return max(FAINTEST, 4 * noise)


def find_ink(contrast: NDArray[np.float32], *, photograph: bool) -> Ink:
    """The ink of a picture by its contrast in grey levels [H, W]; none where nothing stands out from paper and noise.

    It is all that hangs together with something dark. On a photograph faint things are no ink: shades, and what shines
    through from behind.
    """
    import cv2

    threshold = ink_threshold(contrast)
    found = sample(contrast[contrast > threshold])
    if np.mean(sample(contrast) > threshold) > PATTERNED and quantile(found, 0.997) > DARKER * quantile(found, 0.5):
        threshold = 1.5 * quantile(found, 0.5)
        found = found[found > threshold]
    full = quantile(found, 0.95 if photograph else 0.8) if found.size else np.inf
    weak = contrast > max(threshold, FAINT[photograph] * full)
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(weak.astype(np.uint8), connectivity=8, ltype=cv2.CV_32S)
    is_ink = np.zeros(count, np.bool_)
    is_ink[labels[contrast > CERTAIN[photograph] * full]] = True
    is_ink &= boxes[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].max(axis=1) >= max(
        SMALLEST[0], SMALLEST[1] * max(contrast.shape)
    )
    is_ink[0] = False
    levels = np.minimum(contrast / np.float32(full), np.float32(1)) * is_ink[labels]
    return Ink(levels, np.asarray(labels, np.int32), np.asarray(boxes, np.int32), np.flatnonzero(is_ink))


def quantile(values: NDArray[Any], share: float) -> float:
    """The one of `values` [N] that so large a share of them is below: ten times faster than `np.quantile`."""
    place = int(share * (values.size - 1))
    return float(np.partition(values, place)[place])


def sample(values: NDArray[Any]) -> NDArray[Any]:
    """Some of many values, evenly from everywhere, in one dimension."""
    flat = values.ravel()
    return flat[:: max(1, flat.size // _SAMPLE)]


SPECK = 0.12
"""Of the height of the largest part: smaller ones are specks."""

THIN, SOLID = 0.25, 0.45
"""Of its longer side: a part that is nowhere thicker than the first is a stroke, one thicker than the second none."""

BOLD = 0.25
"""The least likeness of a part on even paper: there are no edges of other things, but very bold digits."""

ALONG = 0.5
"""Of a side of the picture: what lies along more of it is the edge of something."""

STRAIGHT, LONG = 0.15, 1.3
"""Of its length: the width of a box round a straight line; and how much longer than all else it is, to be no 1."""

DOT_FILL, DOT_ASPECT = 0.55, 0.7
"""The least share of its box that a dot fills, and the least share of its longer side that the shorter one is."""

LOOKED = 300
"""The largest pieces of ink, which are looked at."""

FRAMES = 4
"""Parts that are looked at whether they are frames."""

RIM, ROUND, CONTENT = 0.12, 0.5, 0.2
"""Of a side of a broken frame: how far its pieces stray from it, how much of it there is, on three sides or more, and
the least length of what it holds."""

MOST, WRITTEN = 1500, 130
"""Pieces of ink on a picture at most, and those of them that are parts of writing: more are noise, or print."""


@dataclass(frozen=True)
class Part:
    """A connected part of the ink: its number in `Parts.map`, its box, how many pixels it has, and how much it is like
    a stroke, from 0 to 1."""

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
        """Whether it is round or square, and filled."""
        *_, width, height = self.box
        return self.area >= DOT_FILL * width * height and min(width, height) >= DOT_ASPECT * max(width, height)


@dataclass(frozen=True)
class Parts:
    """`map` int32 [H, W]: 0 is paper, other numbers are those of `parts`, from the largest on; `share` of the ink is in
    `parts`, the rest in what was left out, not counting frames."""

    map: NDArray[np.int32]
    parts: tuple[Part, ...]
    share: float
    crowded: bool = False
    """There were too many to be handwriting; then `parts` has none."""
    left_out: tuple[Part, ...] = ()
    """Lines, specks and, on a photograph, dots that are none of `parts`, but may belong to a sign."""


def find_components(ink: Ink, *, photograph: bool) -> Parts:
    """The parts of the ink that may be writing; on a photograph there are edges of other things."""
    if len(ink.numbers) > MOST:
        return Parts(ink.map, (), 0.0, crowded=True)
    boxes = ink.boxes[ink.numbers]
    sides = boxes[:, 2:4].max(axis=1)
    large = ink.numbers[np.argsort(-sides, kind="stable")[:LOOKED]]
    along = _along(ink)
    least = 0.0 if photograph else BOLD
    found = [_part(number, ink, float(along[number]), least) for number in large.tolist()]
    found.sort(key=lambda part: (-part.side, part.number))
    kept = [part for part in found if part.stroke_score]
    inner = [part for part in kept if along[part.number] <= ALONG]
    if photograph or any(part.side > kept[0].side / 4 for part in inner):
        kept = inner
    framed = _without_frames(_without_broken_frame(kept, ink.map), ink.map)
    rest = int(boxes[:, 4].sum()) - sum(part.area for part in kept) + sum(part.area for part in framed)
    kept = _without_specks(_without_lines(framed, ink.map))
    dots = (
        [part for part in found if part.is_dot and not part.stroke_score and part.side < kept[0].side] if kept else []
    )
    left_out = tuple(part for part in framed + dots if part not in kept)
    if len(kept) > WRITTEN:
        return Parts(ink.map, (), 0.0, crowded=True)
    share = sum(part.stroke_score * part.area for part in kept) / max(1, rest)
    return Parts(ink.map, tuple(kept), share, left_out=left_out)


def _part(number: int, ink: Ink, along: float, least: float) -> Part:
    """With a likeness that falls as it is thicker, to `least`, and as more of it lies along the picture's sides."""
    import cv2

    x, y, width, height, area = ink.boxes[number].tolist()
    inside = (ink.map[y : y + height, x : x + width] == number).astype(np.uint8)
    thickness = 2 * float(cv2.distanceTransform(padded(inside, 1), cv2.DIST_L2, 3).max()) / max(width, height)
    slim = min(1.0, max(least, (SOLID - thickness) / (SOLID - THIN)))
    return Part(number, (x, y, width, height), area, slim * (1 - 0.5 * along))


def _along(ink: Ink) -> NDArray[np.float64]:
    """For each number in `ink.map` the largest share of one of the picture's sides that it lies along [N]."""
    sides = (ink.map[0], ink.map[-1], ink.map[:, 0], ink.map[:, -1])
    shares = [np.bincount(side, minlength=len(ink.boxes)) / len(side) for side in sides]
    largest: NDArray[np.float64] = np.max(shares, axis=0)
    return largest


def _without_frames(parts: list[Part], labels: NDArray[np.int32]) -> list[Part]:
    """Without those that run round others: their box holds another of some size, their ink lies along its sides.

    `parts` come from the largest on, and only the first of them can be frames.
    """
    boxes = np.array([part.box for part in parts]).reshape(-1, 4)
    starts, ends = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    sides = boxes[:, 2:].max(axis=1)
    frames = []
    for at, part in enumerate(parts[:FRAMES]):
        inside = (starts > starts[at]).all(axis=1) & (ends < ends[at]).all(axis=1)
        content = sides[inside].max(initial=0) / part.side
        if content > SPECK / 2 and _is_hollow(part, labels) and (content > 0.2 or _has_corners(part, labels)):
            frames.append(part)
    return [part for part in parts if part not in frames]


def _without_broken_frame(parts: list[Part], labels: NDArray[np.int32]) -> list[Part]:
    """Without the pieces of a frame round all the rest: what is only along the sides of the box round everything, if
    there is some along most of three sides, and something large inside."""
    if len(parts) < 3:
        return parts
    left, top, width, height = union([part.box for part in parts])
    across, down = max(1, round(RIM * width)), max(1, round(RIM * height))
    around = labels[top : top + height, left : left + width]
    count = int(labels.max()) + 1
    inside = np.bincount(around[down:-down, across:-across].ravel(), minlength=count) > 0
    content = [part for part in parts if inside[part.number]]
    if max((part.side for part in content), default=0) < CONTENT * max(width, height):
        return parts
    on_rim = np.zeros(count, np.bool_)
    on_rim[[part.number for part in parts if not inside[part.number]]] = True
    ends = (around[:down], around[-down:], around[:, :across].T, around[:, -across:].T)
    shares = sorted(float(on_rim[end].any(axis=0).mean()) for end in ends)
    return content if shares[1] > ROUND else parts


def _has_corners(part: Part, labels: NDArray[np.int32]) -> bool:
    """Whether there is ink in three corners of its box or more: a 0 with a dot in it has none there."""
    x, y, width, height = part.box
    inside = labels[y : y + height, x : x + width] == part.number
    across, down = max(1, width // 10), max(1, height // 10)
    ends = [inside[rows] for rows in (slice(None, down), slice(-down, None))]
    corners = [end[:, columns].any() for end in ends for columns in (slice(None, across), slice(-across, None))]
    return sum(map(bool, corners)) >= 3


def _is_hollow(part: Part, labels: NDArray[np.int32]) -> bool:
    x, y, width, height = part.box
    inside = labels[y : y + height, x : x + width] == part.number
    across, down = max(1, width // 6), max(1, height // 6)
    return float(inside[down:-down, across:-across].sum()) < 0.05 * part.area


def _without_lines(parts: list[Part], labels: NDArray[np.int32]) -> list[Part]:
    """Without long straight lines beside things of another form than dots: creases, and what is left of frames and
    ruling."""
    straight = [part for part in parts if part.area < STRAIGHT * part.side**2 and _is_straight(part, labels)]
    largest = max((part.side for part in parts if part not in straight and not part.is_dot), default=0)
    lines = [part for part in straight if part.side > LONG * largest > 0]
    return [part for part in parts if part not in lines]


def _is_straight(part: Part, labels: NDArray[np.int32]) -> bool:
    import cv2

    x, y, width, height = part.box
    points = np.argwhere(labels[y : y + height, x : x + width] == part.number).astype(np.float32)
    _, sides, _ = cv2.minAreaRect(points)
    return min(sides) + 1 < STRAIGHT * max(sides)


def _without_specks(parts: list[Part]) -> list[Part]:
    if not parts:
        return []
    heights = sorted((part.side for part in parts), reverse=True)
    usual = heights[min(len(heights) // 8, 2)]
    return [part for part in parts if part.side >= SPECK * usual]
