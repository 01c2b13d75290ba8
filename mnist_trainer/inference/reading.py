"""Which of the glyphs on a page are its digits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.pictures.page import Page


def choose(page: Page, probabilities: NDArray[np.float64], none: NDArray[np.float64]) -> list[list[int]]:
    """For each line the places of its digits among all glyphs of `page` (its lines' one after the other), in order.

    `probabilities` [G, K] and `none` [G], the probability that it is no digit, belong to those G glyphs.
    """
    chosen, start = [], 0
    for line in page.lines:
        chosen.append([start])
        start += len(line.glyphs)
    return chosen
