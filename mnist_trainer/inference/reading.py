"""Which of the glyphs on a page are its digits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.pictures.page import Glyph, Line, Page

LEAST, REFUSED = 0.005, 0.5
"""Probabilities are taken to be at least the first; what is rather no digit costs the second besides."""


def choose(page: Page, probabilities: NDArray[np.float64], none: NDArray[np.float64]) -> list[list[int]]:
    """The digits of `page` as places in `page.glyphs`, line by line.

    `probabilities` [G, K] and `none` [G], the probability that it is no digit, belong to those G glyphs. In each line
    the chain of glyphs is chosen that is least surprising: the least sum of −ln P(a digit, and the one it is taken for)
    and of the costs of its cuts and joins (Viterbi; LeCun et al. 1998, section V). Among the layouts it is the one
    whose digits, weighted by their size, surprise least.
    """
    glyphs = page.glyphs
    surprise = -np.log(np.maximum(probabilities.max(axis=1) * (1 - none), LEAST)) + REFUSED * (none > 0.5)
    costs = surprise + np.array([glyph.cost for glyph in glyphs])
    best: list[list[int]] = []
    least, start = np.inf, 0
    for layout in page.layouts:
        chains = []
        for line in layout.lines:
            end = start + len(line.glyphs)
            chains.append([start + place for place in _chain(line, costs[start:end])])
            start = end
        cost = layout.cost + _mean(glyphs, [place for chain in chains for place in chain], surprise)
        if cost < least:
            best, least = chains, cost
    return best


def _mean(glyphs: list[Glyph], chosen: list[int], surprise: NDArray[np.float64]) -> float:
    """The mean surprise of glyphs, each counted by the longer side of its box."""
    sizes = [max(glyphs[place].box[2:]) for place in chosen]
    return float(np.average(surprise[chosen], weights=sizes))


def _chain(line: Line, costs: NDArray[np.float64]) -> list[int]:
    """The places of the glyphs in the cheapest chain from the line's first piece to its last."""
    least = np.full(line.pieces + 1, np.inf)
    least[0] = 0
    last = np.zeros(line.pieces + 1, np.intp)
    for place in sorted(range(len(line.glyphs)), key=lambda each: line.glyphs[each].end):
        glyph = line.glyphs[place]
        total = least[glyph.first] + costs[place]
        if total < least[glyph.end]:
            least[glyph.end], last[glyph.end] = total, place
    chain, end = [], line.pieces
    while end:
        chain.append(int(last[end]))
        end = line.glyphs[chain[-1]].first
    return chain[::-1]
