"""Which of the glyphs on a page are its digits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.pictures.page import Layout, Line, Page

MIN_PROBABILITY, REFUSAL_COST = 0.005, 0.5
"""Probabilities are taken to be at least the first; what is rather no digit costs the second besides."""

MIN_SIDE, SMALL_COST = 0.5, 10.0
"""Of the usual glyph's longer side: a smaller glyph is hardly a digit among others, and costs the second times what it
lacks."""

SKIP_COST = 10.0
"""The cost of taking such a small one for no writing, times its side as a share of the usual one."""

SKIPPED_SURPRISE = 5.0
"""How much what is skipped surprises, where layouts are compared."""


def choose_glyphs(page: Page, probabilities: NDArray[np.float64], none: NDArray[np.float64]) -> list[list[int]]:
    """The digits of `page` as places in `page.glyphs`, line by line; none in none where nothing is worth reading.

    `probabilities` [G, K] and `none` [G], the probability that it is no digit, belong to those G glyphs. In each line
    the chain of glyphs is chosen that is least surprising: the least sum of −ln P(a digit, and the one it is taken for)
    and of the costs of its cuts and joins (Viterbi; LeCun et al. 1998, section V). Glyphs that are far smaller than the
    others may be skipped: specks, and what is left of lines. Among the layouts it is the one whose digits, weighted by
    their size, surprise least.
    """
    glyphs = page.glyphs
    surprise = -np.log(np.maximum(probabilities.max(axis=1) * (1 - none), MIN_PROBABILITY)) + REFUSAL_COST * (
        none > 0.5
    )
    costs = surprise + np.array([glyph.cost for glyph in glyphs])
    sides = np.array([max(glyph.box[2:]) for glyph in glyphs], np.float64)
    best: list[list[int]] = []
    least, start = np.inf, 0
    for layout in page.layouts:
        usual = _median_side(layout, surprise[start:])
        chains, skipped = list[list[int]](), list[int]()
        for line in layout.lines:
            end = start + len(line.glyphs)
            shares = sides[start:end] / usual
            skips = np.where(shares < MIN_SIDE, SKIP_COST * shares, np.inf)
            chain, others = _viterbi(line, costs[start:end] + SMALL_COST * np.maximum(0, MIN_SIDE - shares), skips)
            chains.append([start + index for index in chain])
            skipped += [start + index for index in others]
            start = end
        chosen = [index for chain in chains for index in chain]
        surprises = np.append(surprise[chosen], [SKIPPED_SURPRISE] * len(skipped))
        cost = layout.cost + float(np.average(surprises, weights=sides[chosen + skipped]))
        if chosen and cost < least:
            best, least = [chain for chain in chains if chain], cost
    return best


def _median_side(layout: Layout, surprise: NDArray[np.float64]) -> float:
    """The longer side of the glyph in the middle, each counted for its length and how likely it is a digit."""
    glyphs = [glyph for line in layout.lines for glyph in line.glyphs]
    sides = np.array([max(glyph.box[2:]) for glyph in glyphs], np.float64)
    order = np.argsort(sides)
    weights = np.cumsum((sides * np.exp(-surprise[: len(glyphs)]))[order])
    return float(sides[order][np.searchsorted(weights, weights[-1] / 2)])


def _viterbi(line: Line, costs: NDArray[np.float64], skips: NDArray[np.float64]) -> tuple[list[int], list[int]]:
    """The places of the glyphs in the cheapest chain from the line's first piece to its last, and of those skipped.

    Each glyph may be skipped for what `skips` says.
    """
    least = np.full(line.end + 1, np.inf)
    least[0] = 0
    last = np.zeros(line.end + 1, np.intp)
    steps = np.minimum(costs, skips)
    for index in sorted(range(len(line.glyphs)), key=lambda each: line.glyphs[each].end):
        glyph = line.glyphs[index]
        total = least[glyph.first] + steps[index]
        if total < least[glyph.end]:
            least[glyph.end], last[glyph.end] = total, index
    chain, end = list[int](), line.end
    while end:
        chain.append(int(last[end]))
        end = line.glyphs[chain[-1]].first
    read = [index for index in reversed(chain) if steps[index] == costs[index]]
    return read, [index for index in chain if steps[index] < costs[index]]
