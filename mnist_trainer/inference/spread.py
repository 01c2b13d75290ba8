"""How far a figure differs from run to run, and what that says about its mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import cos, pi, sin, sqrt, tan
from statistics import fmean, stdev
from typing import Any


@dataclass(frozen=True)
class Spread:
    """One figure of `count` runs.

    `sd` is the standard deviation of the sample (n − 1), `interval` the 95 % interval of the mean by Student's t; a
    single run has neither. The interval covers what the seed changes: on which images all runs were tested it can't
    know.
    """

    mean: float
    sd: float | None
    min: float
    max: float
    interval: tuple[float, float] | None
    count: int

    def to_json(self) -> dict[str, Any]:
        """What a series' `run.json` keeps."""
        return asdict(self)


def spread(values: Sequence[float]) -> Spread:
    """The spread of at least one value."""
    mean, count = fmean(values), len(values)
    if count == 1:
        return Spread(mean, None, mean, mean, None, count)
    sd = stdev(values)
    reach = t95(count - 1) * sd / sqrt(count)
    return Spread(mean, sd, min(values), max(values), (mean - reach, mean + reach), count)


def t95(degrees: int) -> float:
    """Student's t for two-sided 95 % with `degrees` ≥ 1 degrees of freedom: P(|T| ≤ t) = 0.95."""
    low, high = 0.0, pi / 2
    for _ in range(60):  # each halves what is left of the angle: down to the last bits of a float
        angle = (low + high) / 2
        low, high = (angle, high) if _probability_within(angle, degrees) < 0.95 else (low, angle)
    return sqrt(degrees) * tan(low)


def _probability_within(angle: float, degrees: int) -> float:
    """P(|T| ≤ t) for t = √freedom · tan(angle).

    The finite sums for whole degrees of freedom: Abramowitz & Stegun 1964, 26.7.3 (odd) and 26.7.4 (even).
    """
    odd = degrees % 2
    term, total = 1.0, 0.0
    for k in range(degrees // 2):
        total += term
        term *= cos(angle) ** 2 * (2 * k + 1 + odd) / (2 * k + 2 + odd)
    if odd:
        return 2 / pi * (angle + sin(angle) * cos(angle) * total)
    return sin(angle) * total
