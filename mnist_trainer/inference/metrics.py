"""Figures of a classifier: exact counts, and intervals that say how much they mean.

Which of two models is better, on the same images.

How far a figure differs from run to run, and what that says about its mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from math import cos, pi, sin, sqrt, tan
from statistics import fmean, stdev
from typing import Any

import torch
from torch import Tensor

BINS = 15
"""Bins of equal width for the expected calibration error (Guo et al. 2017, arXiv 1706.04599)."""

Z95 = 1.959963984540054
"""The normal distribution's 97.5 % quantile: two-sided 95 %."""


@dataclass(frozen=True)
class ClassMetrics:
    """One class: its images, how many were read right, and the wrong answer given most often."""

    label: str
    count: int
    errors: int
    accuracy: float | None
    confused_with: str | None
    confused_count: int


@dataclass(frozen=True)
class MemberMetrics:
    """One member of an ensemble, alone on the same images; the loss is −ln of the right class's probability."""

    path: str
    name: str
    accuracy: float
    errors: int
    count: int
    loss: float | None
    interval: tuple[float, float]


@dataclass(frozen=True)
class Evaluation:
    """A model's figures on one split; accuracies and probabilities are fractions from 0 to 1.

    `interval` is the 95 % Wilson interval of the accuracy, `ece` the expected calibration error (None where outputs
    are no probabilities), `confusion[label][predicted]` counts images. `loss` is None where it is a user's own function
    that was not given.

    The loss of a `plain` answer is the one the model was trained with. That of an ensemble, of several `views` or at a
    temperature is −ln of the probability given to the right class. An ensemble also has its `members`, and the share of
    images that they answer differently, `disagreement`.
    """

    accuracy: float
    errors: int
    count: int
    loss: float | None
    interval: tuple[float, float]
    ece: float | None
    per_class: tuple[ClassMetrics, ...]
    confusion: tuple[tuple[int, ...], ...]
    dataset: str
    split: str
    views: int = 1
    members: tuple[MemberMetrics, ...] = ()
    disagreement: float | None = None
    plain: bool = True
    pictures: str = field(default="", compare=False)
    """Of a folder: which of its pictures were measured."""
    notes: tuple[str, ...] = field(default=(), compare=False)
    """Why the figures may be too good: the model knows some of the images."""

    @property
    def majority_class(self) -> ClassMetrics:
        """The class with the most images."""
        return max(self.per_class, key=lambda metrics: metrics.count)

    @property
    def is_guessing(self) -> bool:
        """Whether it is no better than naming the commonest class each time, and makes errors."""
        return self.errors > 0 and self.accuracy <= self.majority_class.count / self.count

    @property
    def gains(self) -> tuple[float, float]:
        """How much larger an ensemble's accuracy is than its members' mean, and than that of the best of them."""
        each = [member.accuracy for member in self.members]
        return self.accuracy - sum(each) / len(each), self.accuracy - max(each)

    @property
    def sentence(self) -> str:
        """`test accuracy 98.21 % (179 errors of 10,000; 95 % interval 97.93 to 98.45 %)`."""
        low, high = (f"{100 * bound:.2f}" for bound in self.interval)
        errors = f"{self.errors:,} error{'' if self.errors == 1 else 's'} of {self.count:,}"
        return f"{self.split} accuracy {100 * self.accuracy:.2f} % ({errors}; 95 % interval {low} to {high} %)"

    def __repr__(self) -> str:
        """Return the sentence, the data, and the figures that are known; all else is in the attributes."""
        loss = [] if self.loss is None else [f"loss {self.loss:.4f}"]
        ece = [] if self.ece is None else [f"expected calibration error {100 * self.ece:.2f} %"]
        return f"{self.sentence}\n{', '.join([f'data {self.dataset}', *loss, *ece])}"

    def to_json(self) -> dict[str, Any]:
        """What `mnist-eval --json` prints: the same keys for all, `views` and `notes` where there are some, and of an
        ensemble `members`, `disagreement`, `gain_over_mean` and `gain_over_best`."""
        content = asdict(self)
        del content["plain"]
        if not self.notes:
            del content["notes"]
        if self.views == 1:
            del content["views"]
        if not self.pictures:
            del content["pictures"]
        if not self.members:
            del content["members"], content["disagreement"]
            return content
        return {**content, **dict(zip(("gain_over_mean", "gain_over_best"), self.gains, strict=True))}

    def summary(self) -> dict[str, Any]:
        """The figures that `run.json` keeps."""
        return {key: getattr(self, key) for key in ("accuracy", "errors", "count", "loss", "interval")}


def wilson_interval(correct: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a fraction, `correct` of `count` (Wilson 1927); (0, 1) for a count of 0."""
    if count == 0:
        return 0.0, 1.0
    fraction, z2 = correct / count, Z95**2
    centre = (fraction + z2 / (2 * count)) / (1 + z2 / count)
    reach = Z95 / (1 + z2 / count) * sqrt(fraction * (1 - fraction) / count + z2 / (4 * count**2))
    return max(0.0, min(centre - reach, fraction)), min(1.0, max(centre + reach, fraction))


def calibration_error(confidence: Tensor, correct: Tensor) -> float:
    """The expected calibration error: Σ over bins of (share of images in it) · |accuracy − mean confidence|.

    `confidence` [N] float64 are the probabilities of the given answers, `correct` [N] bool whether they were right.
    """
    zeros = torch.zeros(BINS, dtype=torch.float64)
    gap = zeros.index_add(0, bin_of(confidence), correct.double() - confidence)
    return float(gap.abs().sum() / len(confidence))


def bin_of(confidence: Tensor) -> Tensor:
    """Which of the `BINS` each confidence [N] falls into, int64 [N]; a bin has its upper border, and not its lower."""
    return (confidence * BINS).ceil().long().clamp(1, BINS) - 1


def confusion_matrix(labels: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """Counts [classes, classes] int64; rows are labels, columns predictions."""
    return torch.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def metrics_by_class(confusion: Tensor, classes: tuple[str, ...]) -> tuple[ClassMetrics, ...]:
    """One `ClassMetrics` a class, from a confusion matrix; among equal confusions the first class is named."""
    return tuple(_class_metrics(row, index, classes) for index, row in enumerate(confusion.tolist()))


def _class_metrics(row: list[int], index: int, classes: tuple[str, ...]) -> ClassMetrics:
    count, errors = sum(row), sum(row) - row[index]
    wrong = [0 if other == index else answers for other, answers in enumerate(row)]
    most = max(wrong)
    return ClassMetrics(
        label=classes[index],
        count=count,
        errors=errors,
        accuracy=None if count == 0 else row[index] / count,
        confused_with=classes[wrong.index(most)] if most else None,
        confused_count=most,
    )


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
