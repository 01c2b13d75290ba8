"""A training batch as a picture: each image as it lies in the data set, and below it as the model sees it."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.reports.canvas import render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS, MOST = 12, 48
"""Pairs in a row, and in all."""

SIDE, GAP, CAPTION = 28, 3, 8
"""In pixels of the images."""

WIDE, HIGH = SIDE + GAP, 2 * SIDE + GAP + CAPTION


def batch(originals: NDArray[np.uint8], seen: NDArray[np.uint8], captions: Sequence[str], title: str) -> bytes:
    """The first 48 of `originals` [n, 28, 28], each above the same image in `seen` and under its caption."""
    shown = min(len(originals), MOST)
    columns, rows = min(shown, COLUMNS), ceil(shown / COLUMNS)
    paper = np.full((rows * HIGH, columns * WIDE), 255, np.uint8)
    corners = [(index // COLUMNS * HIGH, index % COLUMNS * WIDE) for index in range(shown)]
    for (y, x), original, image in zip(corners, originals, seen, strict=False):
        top = y + CAPTION
        paper[top : top + SIDE, x : x + SIDE] = original
        paper[top + SIDE + 1 : top + 2 * SIDE + 1, x : x + SIDE] = image

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.imshow(paper, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_axis_off()
        for (y, x), caption in zip(corners, captions, strict=False):
            middle = x + SIDE / 2 - 0.5
            axes.text(middle, y + CAPTION - 1.5, caption, ha="center", va="bottom", fontsize=9, in_layout=False)

    return render((max(3 * columns * WIDE, 420), 3 * rows * HIGH + 60), title, draw)
