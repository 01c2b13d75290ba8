"""Where digits that touch each other may be cut: seams from top to bottom, the best one through each place of the ink.

A seam may cross strokes, best where they meet: there is more ink around than along a stroke, which is the same from
wherever one comes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.pictures.page import padded

HEIGHT = 48
"""Rows that a piece is shrunk to while seams are looked for."""

AROUND, POWER, DEAREST = 4, 8, 3.0
"""Ink costs its level, times the mean amount of ink in windows round ink, over that round itself, to the second power;
at most the third. The windows are wider than a stroke by the first."""

MOVES = np.array([0, -1, 1, -2, 2])
"""Columns that a seam may move to the side from one row to the next."""

ASIDE = (0.0, 0.05, 0.05, 0.15, 0.15)
"""What those cost."""

APART = 5
"""Columns in which a seam differs from each of those before it, somewhere."""

ALTERNATIVES, NEAR = 3, 10
"""Seams at most within so many columns of each other in the mean: there may be other places to cut."""

THICKEST = 0.7
"""Of the height: seams through more ink than that are not worth a try."""

LEAST = 0.05
"""Of the ink: what is left on either side of a cut."""


@dataclass(frozen=True)
class Seam:
    """A way through a piece of ink [H, W]: a column for each row [H], the first one to the right of it.

    `cost` is the ink that it crosses, as a share of H; less where strokes meet.
    """

    columns: NDArray[np.intp]
    cost: float


def find_seams(levels: NDArray[np.float32], most: int) -> list[Seam]:
    """The `most` cheapest seams through a piece [H, W] of ink from 0 to 1, from the one with least ink on its left."""
    import cv2

    height, width = levels.shape
    columns = max(1, round(width * HEIGHT / height))
    way = cv2.INTER_AREA if height > HEIGHT else cv2.INTER_LINEAR
    small = np.asarray(cv2.resize(levels, (columns, HEIGHT), interpolation=way), np.float32)
    costs = _costs(small).astype(np.float64)
    rows = np.minimum((np.arange(height) + 0.5) * HEIGHT / height, HEIGHT - 1).astype(np.intp)
    paths = sorted(_paths(small, costs, most), key=lambda found: _share(small, found[0]))
    return [Seam(np.rint((path[rows] + 0.5) * width / columns).astype(np.intp), cost / HEIGHT) for path, cost in paths]


def _costs(small: NDArray[np.float32]) -> NDArray[np.float32]:
    """What it costs to cross each place of the ink `small` [HEIGHT, W]: less where strokes meet."""
    import cv2

    rim = padded(small, 1)
    edges = float(np.abs(np.diff(rim, axis=0)).sum() + np.abs(np.diff(rim, axis=1)).sum())
    stroke = 8 / np.pi * float(small.sum()) / edges  # both its sides, and 4/π of them: steps along rows and columns
    side = round(AROUND + stroke) // 2 * 2 + 1
    around = cv2.boxFilter(small, -1, (side, side), borderType=cv2.BORDER_CONSTANT)
    usual = float((around * small).sum() / small.sum())
    return np.asarray(small * np.minimum(DEAREST, (usual / np.maximum(around, 0.05)) ** POWER), np.float32)


def _share(small: NDArray[np.float32], path: NDArray[np.intp]) -> float:
    """The share of the ink on the left of a path."""
    left = np.arange(small.shape[1]) < path[:, None]
    return float(small[left].sum() / small.sum())


def _paths(small: NDArray[np.float32], costs: NDArray[np.float64], most: int) -> list[tuple[NDArray[np.intp], float]]:
    """The `most` cheapest paths [HEIGHT] through ink at `costs` [HEIGHT, W], and what they cost."""
    total, steps = _cheapest(np.stack([costs, costs[::-1]], axis=1))
    through = total[:, 0] + total[::-1, 1] - costs  # a seam from the top to this place, and on to the bottom
    through[small < 0.3] = np.inf
    every, columns = np.arange(HEIGHT), np.arange(small.shape[1])
    found: list[tuple[NDArray[np.intp], float]] = []
    while len(found) < most and np.isfinite(cost := float(through.min())):
        row, column = divmod(int(through.argmin()), small.shape[1])
        up, down = _followed(steps[:, 0], row, column), _followed(steps[:, 1], HEIGHT - 1 - row, column)
        path = np.array([*up[::-1], *down[1:]], np.intp)
        through[np.abs(columns - path[:, None]) < APART] = np.inf
        near = sum(abs(path.mean() - other.mean()) < NEAR for other, _ in found)
        if near < ALTERNATIVES and LEAST < _share(small, path) < 1 - LEAST and small[every, path].mean() < THICKEST:
            found.append((path, cost))
    return found


def _cheapest(costs: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    """The least cost of a path from the first row to each place of `costs` [R, N, W], and the last of its `MOVES`."""
    rows, sets, width = costs.shape
    total, steps = costs.copy(), np.zeros(costs.shape, np.int8)
    before = np.full((sets, width + 4), np.inf)
    beside = np.pad(costs, ((0, 0), (0, 0), (2, 2)))
    options = np.empty((len(MOVES), sets, width))
    for row in range(1, rows):
        before[:, 2:-2] = total[row - 1]
        for option, (move, aside) in enumerate(zip(MOVES.tolist(), ASIDE, strict=True)):
            np.add(before[:, 2 + move : 2 + move + width], aside, out=options[option])
        options[3] += beside[row, :, 1 : 1 + width]  # two columns are crossed in one row
        options[4] += beside[row, :, 3 : 3 + width]
        steps[row] = options.argmin(axis=0)
        total[row] += options.min(axis=0)
    return total, steps


def _followed(steps: NDArray[np.int8], row: int, column: int) -> list[int]:
    """The columns of the path that ends in a place of `steps` [R, W], from there back to the first row."""
    path = [column]
    for move in range(row, 0, -1):
        column += int(MOVES[steps[move, column]])
        path.append(column)
    return path
