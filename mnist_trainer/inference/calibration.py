"""Temperature scaling and reliability diagrams (Guo et al. 2017, arXiv 1706.04599)."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log, sqrt

import torch
from torch import Tensor
from torch.nn import functional as F

from mnist_trainer.errors import DataError
from mnist_trainer.inference.metrics import BINS, bin_of

BOUNDS = 0.001, 10_000.0
"""The range of temperatures."""

EQUAL_WITHIN = 1e-6
"""Metrics that differ by no more than this are equal."""

TOLERANCE = 1e-6
"""The relative precision of the temperature."""


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Return the temperature T that minimises the mean cross-entropy of `logits` [N, K] / T.

    Golden-section search over log T within `BOUNDS`: the loss is convex in 1/T, so it has one minimum in log T too.
    Raises `DataError` if every prediction is correct (then the best T is 0), or if the minimum is not within bounds.
    """
    if bool((logits.argmax(dim=1) == labels).all()):
        raise DataError(
            f"All {len(labels):,} validation images are classified correctly, so the best temperature would be 0. "
            "Calibrate a model that was trained with more validation images (data.validation)."
        )

    def loss(log_temperature: float) -> float:
        return float(F.cross_entropy(logits / exp(log_temperature), labels))

    low, high = bounds = (log(BOUNDS[0]), log(BOUNDS[1]))
    golden = (sqrt(5) - 1) / 2
    left, right = high - golden * (high - low), low + golden * (high - low)
    at_left, at_right = loss(left), loss(right)
    while high - low > TOLERANCE:
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - golden * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + golden * (high - low)
            at_right = loss(right)
    if low == bounds[0] or high == bounds[1]:
        raise DataError(
            f"The best temperature for these {len(labels):,} validation images is not between {BOUNDS[0]:g} and "
            f"{BOUNDS[1]:,g}: the confidence of the model does not depend on whether it is correct. Calibrate "
            "one that was trained longer, or with more validation images (data.validation)."
        )
    return exp((low + high) / 2)


@dataclass(frozen=True)
class CalibrationMetrics:
    """The mean −ln of the correct class's probability, and the expected calibration error."""

    loss: float
    ece: float

    def worse_than(self, other: CalibrationMetrics) -> list[str]:
        """Return the names of the metrics that are larger than those of `other`, by more than rounding."""
        return [key for key, value in vars(self).items() if value > getattr(other, key) + EQUAL_WITHIN]


@dataclass(frozen=True)
class ReliabilityBin:
    """A bin of a reliability diagram: number of predictions, mean confidence and accuracy."""

    count: int
    confidence: float
    accuracy: float


def reliability(confidence: Tensor, correct: Tensor) -> tuple[ReliabilityBin | None, ...]:
    """Return the bins of `confidence` [N] float64 and `correct` [N] bool; None for an empty one."""
    bins = bin_of(confidence)
    counts = torch.bincount(bins, minlength=BINS)
    sums = [torch.bincount(bins, weights=values, minlength=BINS) for values in (confidence, correct.double())]
    rows = zip(counts.tolist(), *(each.tolist() for each in sums), strict=True)
    return tuple(ReliabilityBin(count, conf / count, hits / count) if count else None for count, conf, hits in rows)
