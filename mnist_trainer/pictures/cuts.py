"""Where digits that touch each other may be cut: seams from top to bottom that cross little ink."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

HEIGHT = 48
"""Rows that a piece is shrunk to while seams are looked for."""

SWAY = 8
"""Columns of those that a seam may stray to each side."""

STEP = 3
"""Columns from one try to the next."""

THICKEST = 0.7
"""Of the height: seams through more ink than that are not worth a try."""

LEAST = 0.06
"""Of the ink: what is left on either side of a cut."""

NARROWEST = 0.18
"""Of the height: what is left between two cuts has at least this width."""


@dataclass(frozen=True)
class Seam:
    """A way through a piece of ink [H, W]: a column for each row [H]; `ink` is what it crosses, as a share of H."""

    columns: NDArray[np.intp]
    ink: float


def seams(levels: NDArray[np.float32], most: int) -> list[Seam]:
    """At most `most` seams through a piece [H, W] of ink from 0 to 1, from left to right."""
    import cv2

    height, width = levels.shape
    columns = max(1, round(width * HEIGHT / height))
    way = cv2.INTER_AREA if height > HEIGHT else cv2.INTER_LINEAR
    small = np.asarray(cv2.resize(levels, (columns, HEIGHT), interpolation=way), np.float32)
    margin = round(NARROWEST * HEIGHT)
    before = np.cumsum(small.sum(axis=0))
    centres = np.arange(margin, columns - margin + 1, STEP)
    centres = centres[np.abs(before[np.minimum(centres, columns - 1)] / before[-1] - 0.5) < 0.5 - LEAST]
    if not len(centres):
        return []
    paths, costs = _cheapest(small, centres)
    rows = np.minimum((np.arange(height) + 0.5) * HEIGHT / height, HEIGHT - 1).astype(np.intp)
    return [
        Seam(np.rint((paths[index][rows] + 0.5) * width / columns).astype(np.intp), float(costs[index]) / HEIGHT)
        for index in _apart(paths, costs, margin, most)
    ]


def _cheapest(small: NDArray[np.float32], centres: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """For each of `centres` [C] the path [C, HEIGHT] near it through the least ink, and its cost [C]."""
    sway = np.arange(-SWAY, SWAY + 1)
    places = centres[:, None] + sway
    inside = (places >= 0) & (places < small.shape[1])
    straying = 0.004 * sway**2
    ink = small.astype(np.float64)[:, np.clip(places, 0, small.shape[1] - 1)] + np.where(inside, straying, np.inf)
    total, steps = ink[0], np.zeros(ink.shape, np.int8)
    options = np.full((3, *total.shape), np.inf)
    for row in range(1, HEIGHT):
        options[0, :, 1:] = total[:, :-1] + 0.05
        options[1] = total
        options[2, :, :-1] = total[:, 1:] + 0.05
        steps[row] = options.argmin(axis=0) - 1
        total = options.min(axis=0) + ink[row]
    each, at = np.arange(len(centres)), total.argmin(axis=1)
    costs = total[each, at]
    paths = np.zeros((len(centres), HEIGHT), np.intp)
    for row in range(HEIGHT - 1, -1, -1):
        paths[:, row] = places[each, at]
        at = at + steps[row, each, at]
    return paths, costs


def _apart(paths: NDArray[np.intp], costs: NDArray[np.float64], margin: int, most: int) -> list[int]:
    """The cheapest of the paths from left to right, no two of them nearer than `margin` in the mean."""
    chosen: list[int] = []
    middles = paths.mean(axis=1)
    for index in np.argsort(costs, kind="stable").tolist():
        if len(chosen) == most or costs[index] > THICKEST * HEIGHT:
            break
        if all(abs(middles[index] - middles[other]) >= margin for other in chosen):
            chosen.append(index)
    return sorted(chosen, key=lambda index: float(middles[index]))
