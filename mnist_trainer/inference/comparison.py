"""Which of two models is better, on the same images."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Comparison:
    """On how many images the first alone, or the second alone, is right, and how likely that is by chance."""

    only_first: int
    only_second: int
    p: float


def compare_predictions(first: Tensor, second: Tensor) -> Comparison:
    """The comparison of two models that are right [N] bool on the same images."""
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    return Comparison(only_first, only_second, mcnemar(only_first, only_second))


def mcnemar(only_first: int, only_second: int) -> float:
    """The p-value of McNemar's exact test (1947): were both equally good, how often would they differ at least so much?

    Of n images that one alone gets right, each would fall to either with probability 1/2: two-sided binomial, summed
    exactly in whole numbers. 1 where there are none.
    """
    images, fewer = only_first + only_second, min(only_first, only_second)
    term = tail = 1
    for drawn in range(fewer):  # the binomial coefficients of `images`, each from the one before
        term = term * (images - drawn) // (drawn + 1)
        tail += term
    p: float = 2 * tail / 2**images
    return min(1.0, p)
