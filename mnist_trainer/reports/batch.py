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

PAIR_COLUMNS, MAX_PAIRS = 12, 48
"""Pairs in a row, and in all."""

BATCH_SIDE, BATCH_GAP, BATCH_CAPTION = 28, 3, 8
"""In pixels of the images."""

PAIR_WIDTH, PAIR_HEIGHT = BATCH_SIDE + BATCH_GAP, 2 * BATCH_SIDE + BATCH_GAP + BATCH_CAPTION


def batch(originals: NDArray[np.uint8], seen: NDArray[np.uint8], captions: Sequence[str], title: str) -> bytes:
    """The first 48 of `originals` [n, 28, 28], each above the same image in `seen` and under its caption."""
    shown = min(len(originals), MAX_PAIRS)
    columns, rows = min(shown, PAIR_COLUMNS), ceil(shown / PAIR_COLUMNS)
    paper = np.full((rows * PAIR_HEIGHT, columns * PAIR_WIDTH), 255, np.uint8)
    corners = [(index // PAIR_COLUMNS * PAIR_HEIGHT, index % PAIR_COLUMNS * PAIR_WIDTH) for index in range(shown)]
    for (y, x), original, image in zip(corners, originals, seen, strict=False):
        top = y + BATCH_CAPTION
        paper[top : top + BATCH_SIDE, x : x + BATCH_SIDE] = original
        paper[top + BATCH_SIDE + 1 : top + 2 * BATCH_SIDE + 1, x : x + BATCH_SIDE] = image

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.imshow(paper, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_axis_off()
        for (y, x), caption in zip(corners, captions, strict=False):
            middle = x + BATCH_SIDE / 2 - 0.5
            axes.text(middle, y + BATCH_CAPTION - 1.5, caption, ha="center", va="bottom", fontsize=9, in_layout=False)

    return render((max(3 * columns * PAIR_WIDTH, 420), 3 * rows * PAIR_HEIGHT + 60), title, draw)
