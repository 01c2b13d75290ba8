"""Convert digits to pen strokes: trace the skeleton of a 28×28 image, deform it, and draw it in any size and width.

Strokes can get gaps; `habits.py` adds bars and slashes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.simulator.scene import Image, Levels, Rng

GRID = 84
"""Pixels on each side of the image whose skeleton is traced, three times those of MNIST."""


@dataclass(frozen=True, eq=False)
class Strokes:
    """Points of the skeleton and the links between them. The longer side is 1 and the centre is 0.

    `points` float32 [n, 2]: x and y; `links` int [m, 2]: pairs of points, for a dot twice the same point; `radii`
    float32 [n]: half the stroke's width.
    """

    points: Levels
    links: NDArray[np.intp]
    radii: Levels

    def with_line(self, points: Levels) -> Strokes:
        """Return these strokes with another one through `points` [k, 2] of the median width."""
        first, radius = len(self.points), np.median(self.radii) if len(self.radii) else 0.05
        at = np.arange(first, first + len(points))
        return Strokes(
            np.concatenate([self.points, points], dtype=np.float32),
            np.concatenate([self.links, np.stack([at[:-1], at[1:]], axis=1)]),
            np.concatenate([self.radii, np.full(len(points), radius)], dtype=np.float32),
        )

    def without(self, removed: NDArray[np.bool_]) -> Strokes:
        """Return these strokes without the links of the `removed` points (bool [n])."""
        return replace(self, links=self.links[~removed[self.links].any(axis=1)])


NO_STROKES = Strokes(np.zeros((0, 2), np.float32), np.zeros((0, 2), np.intp), np.zeros(0, np.float32))


@dataclass(frozen=True)
class Nib:
    """The tip of a pen: `width` in pixels; `press`, 0 to 1: how much the width follows that of the original stroke."""

    width: float
    press: float = 0.5
    smooth: bool = True


def trace(image: Image) -> Strokes:
    """Return the strokes of an image, bright on black."""
    import cv2

    large = cv2.resize(image, (GRID, GRID), interpolation=cv2.INTER_CUBIC)
    # Closed loops are a little darker inside. Deepening these dips opens them.
    brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (13, 13))
    large = cv2.addWeighted(large, 1, cv2.morphologyEx(large, cv2.MORPH_BLACKHAT, brush), -2, 20)
    filled = (np.pad(large[1:-1, 1:-1], 1) > 0.53 * max(1, image.max())).astype(np.uint8)
    distances = cv2.distanceTransform(filled, cv2.DIST_L2, 5)
    thin = _skeletonize(filled)
    if not thin.any():
        thin[np.unravel_index(int(distances.argmax()), thin.shape)] = 1
    rows, columns = np.nonzero(thin)
    links = _links(thin)
    points = _smooth(np.stack([columns, rows], axis=1).astype(np.float32), links)
    return normalize_strokes(Strokes(points, links, distances[rows, columns]))


def polyline(points: Levels) -> Strokes:
    """Return the strokes of one line through `points` [k, 2]."""
    return from_lines([points])


def from_lines(lines: Sequence[Levels]) -> Strokes:
    """Return the strokes of several lines, each through points [k, 2]."""
    strokes = NO_STROKES
    for points in lines:
        strokes = strokes.with_line(points)
    return normalize_strokes(strokes)


def sketch(text: str, jitter: float, rng: Rng) -> list[Levels]:
    """Return the lines of a drawing whose strokes and control points are moved by `jitter`, a standard deviation.

    Strokes of `text` are divided by `/`. Each has control points x,y in percent, y downwards, of which `!` marks a
    corner, or is an ellipse: o and x,y,rx,ry.
    """
    moved = (
        (points + rng.normal(0, jitter, points.shape) + rng.normal(0, jitter, 2), corners)
        for points, corners in _control_points(text)
    )
    return [smooth_line(points.astype(np.float32), corners) for points, corners in moved]


@cache
def _control_points(text: str) -> list[tuple[Levels, list[int]]]:
    """Return the points [k, 2] and the numbers of the corners of each stroke."""
    return [_ellipse(stroke[1:]) if stroke[0] == "o" else _path(stroke.split()) for stroke in text.split("/")]


def _path(points: list[str]) -> tuple[Levels, list[int]]:
    corners = [number for number, point in enumerate(points) if point.endswith("!")]
    numbers = [_numbers(point.rstrip("!")) for point in points]
    return (np.array(numbers) / 100).astype(np.float32), corners


def _ellipse(text: str) -> tuple[Levels, list[int]]:
    x, y, *radii = _numbers(text)
    angles = np.linspace(-1.4, 5, 9)
    points = np.array([x, y]) + np.array(radii) * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return (points / 100).astype(np.float32), []


def _numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


def smooth_line(points: Levels, corners: Sequence[int] = ()) -> Levels:
    """Return a line [n, 2] through control `points` [k, 2], smooth except at the `corners`: Catmull-Rom splines."""
    ends = [0, *corners, len(points) - 1]
    parts = [_spline(points[start : end + 1]) for start, end in pairwise(ends)]
    return np.concatenate(parts).astype(np.float32)


def _spline(points: Levels) -> Levels:
    steps = np.linspace(0, 1, 8)[:, None]
    around = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    before, start, end, behind = (around[k : len(points) + k - 1, None] for k in range(4))
    bend = 2 * before - 5 * start + 4 * end - behind
    curve = start + 0.5 * steps * (end - before + steps * (bend + steps * (3 * (start - end) + behind - before)))
    line: Levels = curve.reshape(-1, 2)
    return line


def normalize_strokes(strokes: Strokes) -> Strokes:
    """Return the strokes without unlinked points, scaled to a longer side of 1 and centred at 0."""
    used, links = np.unique(strokes.links, return_inverse=True)
    points = strokes.points[used]
    low, high = points.min(axis=0), points.max(axis=0)
    scale = np.float32(1 / max(1e-3, *(high - low)))
    return Strokes((points - (low + high) / 2) * scale, links.reshape(-1, 2), strokes.radii[used] * scale)


def _skeletonize(filled: Image) -> Image:
    """Return the skeleton of `filled` [h, w], 0 or 1 (Zhang & Suen 1984, doi 10.1145/357994.358023)."""
    import cv2

    bits = np.array([[128, 1, 2], [64, 0, 4], [32, 16, 8]], np.float32)
    while True:
        before = filled
        for kept in _kept_neighbourhoods():
            filled = filled & np.asarray(cv2.LUT(cv2.filter2D(filled, -1, bits), kept), np.uint8)
        if np.array_equal(before, filled):
            return filled


@cache
def _kept_neighbourhoods() -> tuple[Image, Image]:
    """Return for each of 256 neighbourhoods whether a pixel stays, in the first and in the second pass of an iteration.

    Bit 0 is the neighbour above; the others follow clockwise.
    """
    near = (np.arange(256)[:, None] >> np.arange(8)) & 1
    rises = ((near == 0) & (np.roll(near, -1, axis=1) == 1)).sum(axis=1)
    outline = (rises == 1) & (near.sum(axis=1) >= 2) & (near.sum(axis=1) <= 6)
    up, right, down, left = near[:, 0], near[:, 2], near[:, 4], near[:, 6]
    first = outline & (up * right * down == 0) & (right * down * left == 0)
    second = outline & (up * right * left == 0) & (up * down * left == 0)
    return (~first).astype(np.uint8), (~second).astype(np.uint8)


def _links(thin: Image) -> NDArray[np.intp]:
    """Return the pairs [m, 2] of neighbouring pixels of `thin`; diagonal ones only if they have no common neighbour."""
    ink = thin > 0
    order = np.cumsum(ink, dtype=np.intp).reshape(ink.shape) - 1
    corner = ~(ink[:-1, 1:] | ink[1:, :-1]), ~(ink[:-1, :-1] | ink[1:, 1:])
    pairs = [
        (ink[:, :-1] & ink[:, 1:], order[:, :-1], order[:, 1:]),
        (ink[:-1] & ink[1:], order[:-1], order[1:]),
        (ink[:-1, :-1] & ink[1:, 1:] & corner[0], order[:-1, :-1], order[1:, 1:]),
        (ink[:-1, 1:] & ink[1:, :-1] & corner[1], order[:-1, 1:], order[1:, :-1]),
    ]
    found = np.concatenate([np.stack([a[both], b[both]], axis=1) for both, a, b in pairs])
    dots = np.setdiff1d(order[ink], found)
    return np.concatenate([found, np.stack([dots, dots], axis=1)])


def _smooth(points: Levels, links: NDArray[np.intp]) -> Levels:
    """Return `points` [n, 2] moved towards the mean of their neighbours. Ends of lines stay."""
    fixed = np.eye(len(points), dtype=np.float32)
    near = fixed.copy()
    near[links[:, 0], links[:, 1]] = near[links[:, 1], links[:, 0]] = 1
    degrees = near.sum(axis=1, keepdims=True)
    step = np.where(degrees > 2, near / degrees, fixed)
    for _ in range(12):
        points = step @ points
    return points


def deform(strokes: Strokes, rng: Rng, angle: float | None = None) -> Strokes:
    """Return randomly deformed strokes: rotated (by `angle` degrees if given), slanted, stretched and bent."""
    angle = rng.normal(0, 3.5) if angle is None else angle
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    slant, aspect = rng.normal(0, 0.12), np.exp(rng.normal(0, 0.12))
    matrix = np.array([[cos, -sin], [sin, cos]]) @ np.array([[aspect, -slant], [0, 1]])
    points = elastic_waves(strokes.points, rng) @ matrix.T.astype(np.float32)
    return normalize_strokes(replace(strokes, points=points))


def elastic_waves(points: Levels, rng: Rng) -> Levels:
    """Return points [n, 2] displaced by waves about as long as a digit, and by a slight tremor."""
    lengths = np.array([0.7, 1.0, 1.6, 0.12])
    directions = rng.normal(size=(4, 2))
    waves = 2 * np.pi * directions / np.linalg.norm(directions, axis=1, keepdims=True) / lengths[:, None]
    heights = rng.normal(0, 0.025, (4, 2)) * np.array([0.7, 1, 1.3, rng.uniform(0, 0.2)])[:, None]
    moved: Levels = (points + np.sin(points @ waves.T + rng.uniform(0, 2 * np.pi, 4)) @ heights).astype(np.float32)
    return moved


def draw(strokes: Strokes, height: float, nib: Nib) -> Image:
    """Return the coverage uint8 [h, w] of strokes whose longer side is `height` pixels, with a margin of one."""
    import cv2

    radii = _drawn_radii(strokes, height, nib)
    zoom = (4 if height < 110 else 2) if nib.smooth else 1
    margin = float(radii.max()) + 1.5
    corner = strokes.points.min(axis=0) * height - margin
    size = np.ceil(strokes.points.max(axis=0) * height + margin - corner).astype(int)
    pixels = np.rint(((strokes.points * height - corner) * zoom - 0.5) * 8).astype(np.int32)
    thickness = np.maximum(1, np.rint(2 * zoom * radii[strokes.links].mean(axis=1))).astype(int)
    canvas = np.zeros((size[1] * zoom, size[0] * zoom), np.uint8)
    for thick in np.unique(thickness):
        segments = list(pixels[strokes.links[thickness == thick]])
        cv2.polylines(canvas, segments, False, 255, int(thick), cv2.LINE_8, 3)
    return np.asarray(cv2.resize(canvas, size.tolist(), interpolation=cv2.INTER_AREA), np.uint8)


def _drawn_radii(strokes: Strokes, height: float, nib: Nib) -> Levels:
    """Return half the drawn width in pixels at each point. Blots, such as filled loops, stay."""
    typical = float(np.median(strokes.radii))
    relative = np.clip(strokes.radii / max(typical, 1e-6), 0.4, 1.6)
    blot = np.maximum(0, strokes.radii - 1.6 * typical) * height
    radii: Levels = (nib.width / 2 * (1 + nib.press * (relative - 1)) + blot).astype(np.float32)
    return radii


def break_strokes(strokes: Strokes, gaps: int, length: float, rng: Rng) -> Strokes:
    """Return the strokes with `gaps` gaps of a `length`, preferably where strokes meet and away from their ends."""
    meetings = np.bincount(strokes.links.ravel(), minlength=len(strokes.points))
    ends = strokes.points[meetings == 1]
    away = np.linalg.norm(strokes.points[:, None] - ends[None], axis=2).min(axis=1, initial=1.0)
    order = np.argsort(rng.random(len(meetings)) - 0.7 * (meetings > 2) - 2.0 * (away > length + 0.15))
    for at in order[:gaps]:
        strokes = strokes.without(np.linalg.norm(strokes.points - strokes.points[at], axis=1) < length / 2)
    return strokes
