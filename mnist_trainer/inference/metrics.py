"""Metrics of a classifier, its calibration, the comparison of two classifiers, and the spread of a metric over runs.

Temperature scaling and reliability diagrams are those of Guo et al. 2017 (arXiv 1706.04599).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from math import cos, exp, floor, log, log1p, pi, sin, sqrt, tan
from statistics import fmean, stdev
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mnist_trainer.errors import DataError

BINS = 15
"""Number of equal bins of the expected calibration error (Guo et al. 2017, arXiv 1706.04599)."""

Z95 = 1.959963984540054
"""The 97.5 % quantile of the normal distribution: two-sided 95 %."""

TEMPERATURES = 0.001, 10_000.0
"""The range of temperatures."""

EQUAL_WITHIN = 1e-6
"""Metrics that differ by no more than this are equal."""

TEMPERATURE_PRECISION = 1e-6
"""The relative precision of the temperature."""

MAX_REFUSED = 0.01
"""The largest share of the validation split's digits that a fitted refusal threshold refuses."""

REFUSAL_THRESHOLDS = 0.3, 0.99
"""The range of fitted refusal thresholds: below it, non-digits are told from digits too well for 1 % to be refused."""


@dataclass(frozen=True)
class ClassMetrics:
    """The metrics of one class, and the class it is most often confused with."""

    label: str
    count: int
    errors: int
    accuracy: float | None
    confused_with: str | None
    confused_count: int


@dataclass(frozen=True)
class MemberMetrics:
    """The metrics of one member of an ensemble; the loss is −ln of the correct class's probability."""

    path: str
    name: str
    accuracy: float
    errors: int
    count: int
    loss: float | None
    interval: tuple[float, float]


@dataclass(frozen=True)
class SubsetMetrics:
    """The accuracy on a part of the images, with its 95 % Wilson interval."""

    accuracy: float
    errors: int
    count: int
    interval: tuple[float, float]

    def __str__(self) -> str:
        """Return `98.21 % (179 errors of 10,000; 95 % interval 97.93 to 98.45 %)`."""
        low, high = (f"{100 * bound:.2f}" for bound in self.interval)
        errors = f"{self.errors:,} error{'' if self.errors == 1 else 's'} of {self.count:,}"
        return f"{100 * self.accuracy:.2f} % ({errors}; 95 % interval {low} to {high} %)"


@dataclass(frozen=True)
class WriterMetrics:
    """The number of writers of the images, and the 95 % interval of the accuracy for other writers."""

    count: int
    interval: tuple[float, float]


@dataclass(frozen=True)
class Evaluation:
    """The metrics of a model on one split; accuracies and probabilities are fractions from 0 to 1.

    `interval` is the 95 % Wilson interval of the accuracy, `ece` the expected calibration error (None if outputs are no
    probabilities), `confusion[label][predicted]` counts images. `loss` is the one the model was trained with if
    `plain`; that of an ensemble, of several `views` or at a temperature is −ln of the correct class's probability. It
    is None if it is a user's own function that was not given. An ensemble has its `members`, and `disagreement`: the
    fraction of images for which not all members predict the same class. `undoubted` are the metrics without the labels
    of MNIST's test set that human validators doubted (`DOUBTED_TEST_LABELS`), `writers` those that QMNIST's label file
    names.
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
    undoubted: SubsetMetrics | None = None
    writers: WriterMetrics | None = field(default=None, compare=False)
    pictures: str = field(default="", compare=False)
    """Which pictures of a folder were evaluated."""
    notes: tuple[str, ...] = field(default=(), compare=False)
    """Warnings that the model was trained with some of the images, so that the metrics are too optimistic."""

    @property
    def majority_class(self) -> ClassMetrics:
        """The class with the most images."""
        return max(self.per_class, key=lambda metrics: metrics.count)

    @property
    def is_guessing(self) -> bool:
        """Whether it is no better than always predicting the majority class."""
        return self.errors > 0 and self.accuracy <= self.majority_class.count / self.count

    @property
    def gains(self) -> tuple[float, float]:
        """How much the accuracy of an ensemble exceeds the mean of its members', and the best of them."""
        each = [member.accuracy for member in self.members]
        return self.accuracy - sum(each) / len(each), self.accuracy - max(each)

    @property
    def sentence(self) -> str:
        """`test accuracy 98.21 % (179 errors of 10,000; 95 % interval 97.93 to 98.45 %)`."""
        return f"{self.split} accuracy {SubsetMetrics(self.accuracy, self.errors, self.count, self.interval)}"

    def __repr__(self) -> str:
        """Return the sentence, the data set and the other metrics; everything else is in the attributes."""
        loss = [] if self.loss is None else [f"loss {self.loss:.4f}"]
        ece = [] if self.ece is None else [f"expected calibration error {100 * self.ece:.2f} %"]
        return f"{self.sentence}\n{', '.join([f'data {self.dataset}', *loss, *ece])}"

    def to_json(self) -> dict[str, Any]:
        """Return what `mnist-eval --json` prints; the keys after `split` only if there is something to say."""
        shown = {"plain": False, "views": self.views > 1, "pictures": self.pictures, "notes": self.notes}
        shown |= {"members": self.members, "disagreement": self.members}
        shown |= {"undoubted": self.undoubted, "writers": self.writers}
        content = {key: value for key, value in asdict(self).items() if shown.get(key, True)}
        if self.members:
            content["gain_over_mean"], content["gain_over_best"] = self.gains
        return content

    def summary(self) -> dict[str, Any]:
        """Return the metrics that `run.json` holds."""
        return {key: getattr(self, key) for key in ("accuracy", "errors", "count", "loss", "interval")}


def wilson_interval(correct: float, count: float) -> tuple[float, float]:
    """Return the 95 % interval of the fraction `correct` / `count` (Wilson 1927); (0, 1) for a count of 0."""
    if count == 0:
        return 0.0, 1.0
    fraction, z2 = correct / count, Z95**2
    centre = (fraction + z2 / (2 * count)) / (1 + z2 / count)
    reach = Z95 / (1 + z2 / count) * sqrt(fraction * (1 - fraction) / count + z2 / (4 * count**2))
    return max(0.0, min(centre - reach, fraction)), min(1.0, max(centre + reach, fraction))


def exact_interval(correct: int, count: int) -> tuple[float, float]:
    """Return the exact 95 % interval of the fraction `correct` / `count` (Clopper & Pearson 1934)."""
    hits = torch.arange(count + 1, dtype=torch.float64)
    choose = torch.lgamma(torch.tensor(count + 1.0).double()) - torch.lgamma(hits + 1) - torch.lgamma(count - hits + 1)

    def limit(inside: slice, is_low: bool) -> float:
        """Return the fraction for which the numbers of hits `inside` have a probability of 2.5 %, by bisection."""
        low, high = 0.0, 1.0
        for _ in range(50):
            middle = (low + high) / 2
            terms = choose + hits * log(middle) + (count - hits) * log1p(-middle)
            low, high = (middle, high) if (float(terms[inside].exp().sum()) < 0.025) == is_low else (low, middle)
        return (low + high) / 2

    lower = limit(slice(correct, None), True) if correct else 0.0
    return lower, limit(slice(0, correct + 1), False) if correct < count else 1.0


def cluster_interval(correct: Tensor, clusters: Tensor) -> tuple[float, float]:
    """Return the 95 % interval of the mean of `correct` [N] bool, if whole clusters are drawn instead of single images.

    `clusters` int64 [N] are numbered from 0. It is Wilson's interval of the effective sample size, which is N divided
    by the design effect (Kish 1965): the variance of the mean over clusters, relative to that over independent images.
    Of seven such intervals, Wilson's is one of the two that Franco et al. 2019 recommend (PMC6690503). A design effect
    below 1 counts as 1, so the interval is never narrower than that of independent images.
    """
    count, number, mean = len(correct), int(clusters.max()) + 1, float(correct.double().mean())
    residuals = torch.zeros(number, dtype=torch.float64).index_add(0, clusters, correct.double() - mean)
    independent = mean * (1 - mean) * count
    effect = float(count) if number == 1 else 1.0
    if number > 1 and independent:
        effect = max(1.0, number / (number - 1) * float(residuals.square().sum()) / independent)
    return wilson_interval(mean * count / effect, count / effect)


def confident_labels(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Return the label that confident learning gives each image, int64 [N] (Northcutt et al. 2021, arXiv 1911.00068).

    `probabilities` [N, K] are out-of-fold. A class is confident if its probability is at least the mean probability of
    the class over all images with this label; the most probable confident class counts. An image without any keeps its
    label. Labels that differ are off the diagonal of the confident joint.
    """
    own = probabilities.gather(1, labels[:, None]).flatten()
    sums = torch.zeros(probabilities.shape[1], dtype=own.dtype).index_add(0, labels, own)
    thresholds = sums / labels.bincount(minlength=len(sums))  # without images: nan, which nothing reaches
    confident = torch.where(probabilities >= thresholds, probabilities, -1.0)
    best = confident.max(dim=1)
    return torch.where(best.values >= 0, best.indices, labels)


@dataclass(frozen=True)
class DoubtedLabel:
    """A label of the training set, and the one that out-of-fold predictions suggest."""

    index: int
    """The position of the image in the training set, as in its files."""
    label: str
    self_confidence: float
    """The out-of-fold probability of the label."""
    suggested: str
    probability: float
    """The out-of-fold probability of the suggested label."""
    confident: bool
    """Whether confident learning calls it an error: see `confident_labels`."""
    path: str | None = None
    """The file of a folder of pictures."""


def calibration_error(confidence: Tensor, correct: Tensor) -> float:
    """Return the expected calibration error: Σ over bins of (fraction of images in it) · |accuracy − mean confidence|.

    `confidence` [N] float64 are the probabilities of the predicted classes, `correct` is bool [N].
    """
    zeros = torch.zeros(BINS, dtype=torch.float64)
    gap = zeros.index_add(0, bin_of(confidence), correct.double() - confidence)
    return float(gap.abs().sum() / len(confidence))


def bin_of(confidence: Tensor) -> Tensor:
    """Return the bin of each confidence [N], int64 [N]; a bin includes its upper edge."""
    return (confidence * BINS).ceil().long().clamp(1, BINS) - 1


@dataclass(frozen=True)
class CalibrationMetrics:
    """The mean −ln of the correct class's probability, and the expected calibration error."""

    loss: float
    ece: float

    def worse_than(self, other: CalibrationMetrics) -> list[str]:
        """Return the names of the metrics that are larger than those of `other`, by more than rounding."""
        return [key for key, value in vars(self).items() if value > getattr(other, key) + EQUAL_WITHIN]


@dataclass(frozen=True)
class RefusalMetrics:
    """A refusal threshold, and the shares of validation images that are refused at it.

    `digits` are the validation split, simulated photographs included; `non_digits` is None if the model was trained
    without simulated non-digits.
    """

    threshold: float
    digits: float
    non_digits: float | None


def measure_refusal(threshold: float, digits: Tensor, non_digits: Tensor) -> RefusalMetrics:
    """Return the shares refused of images with the probabilities of "none" `digits` [N] and `non_digits` [M]."""
    shares = [float((none >= threshold).double().mean()) if len(none) else None for none in (digits, non_digits)]
    return RefusalMetrics(threshold, shares[0] or 0.0, shares[1])


def fit_refusal_threshold(none: Tensor) -> float:
    """Return the lowest threshold, in steps of 0.0001, at which at most `MAX_REFUSED` of the digits are refused.

    `none` [N] are the probabilities of "none of the classes" of images of digits. The result is within
    `REFUSAL_THRESHOLDS`.
    """
    highest_kept = none.sort(descending=True).values[int(MAX_REFUSED * len(none))]
    low, high = REFUSAL_THRESHOLDS
    return min(max((floor(float(highest_kept) * 10_000) + 1) / 10_000, low), high)


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


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Return the temperature T that minimizes the mean cross-entropy of `logits` [N, K] / T.

    The loss is convex in 1/T, so it has a single minimum in log T too: golden-section search within `TEMPERATURES`.
    Raises `DataError` if every prediction is correct (then the best T is 0), or if the minimum is not within bounds.
    """
    if bool((logits.argmax(dim=1) == labels).all()):
        raise DataError(
            f"All {len(labels):,} validation images are classified correctly, so the best temperature would be 0. "
            "Calibrate a model that was trained with more validation images (data.validation)."
        )

    def loss(log_temperature: float) -> float:
        return float(F.cross_entropy(logits / exp(log_temperature), labels))

    low, high = bounds = (log(TEMPERATURES[0]), log(TEMPERATURES[1]))
    golden = (sqrt(5) - 1) / 2
    while high - low > TEMPERATURE_PRECISION:
        left, right = high - golden * (high - low), low + golden * (high - low)
        if loss(left) < loss(right):
            high = right
        else:
            low = left
    if low == bounds[0] or high == bounds[1]:
        raise DataError(
            f"The best temperature for these {len(labels):,} validation images is not between {TEMPERATURES[0]:g} and "
            f"{TEMPERATURES[1]:,g}: the confidence of the model does not depend on whether it is correct. Calibrate "
            "one that was trained longer, or with more validation images (data.validation)."
        )
    return exp((low + high) / 2)


def confusion_matrix(labels: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """Return counts [classes, classes] int64; rows are labels, columns predictions."""
    return torch.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def metrics_by_class(confusion: Tensor, classes: tuple[str, ...]) -> tuple[ClassMetrics, ...]:
    """Return the `ClassMetrics` of each class, from a confusion matrix; among equal confusions the first is named."""
    return tuple(_class_metrics(row, index, classes) for index, row in enumerate(confusion.tolist()))


def _class_metrics(row: list[int], index: int, classes: tuple[str, ...]) -> ClassMetrics:
    """Return the metrics of class `index`, whose row of the confusion matrix is `row`."""
    count, errors = sum(row), sum(row) - row[index]
    wrong = [0 if other == index else number for other, number in enumerate(row)]
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
    """The numbers of images on which only the first or only the second model is correct, and McNemar's p-value."""

    only_first: int
    only_second: int
    p: float


def compare_predictions(first: Tensor, second: Tensor) -> Comparison:
    """Return the comparison of two models; `first` and `second` are bool [N]: correct on the same images."""
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    return Comparison(only_first, only_second, mcnemar(only_first, only_second))


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the p-value of McNemar's exact test (1947) of two equally good models; 1 without any difference.

    Each of the images that only one model gets correct falls to either with probability 1/2: a two-sided binomial
    test, summed exactly in integers.
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
    """A metric over `count` runs: mean, sample standard deviation (n − 1), range, and 95 % t interval of the mean.

    A single run has no `sd` and no `interval`. The interval covers what the seed changes, not the choice of images.
    """

    mean: float
    sd: float | None
    min: float
    max: float
    interval: tuple[float, float] | None
    count: int


def spread(values: Sequence[float]) -> Spread:
    """Return the spread of at least one value."""
    mean, count = fmean(values), len(values)
    if count == 1:
        return Spread(mean, None, mean, mean, None, count)
    sd = stdev(values)
    reach = t95(count - 1) * sd / sqrt(count)
    return Spread(mean, sd, min(values), max(values), (mean - reach, mean + reach), count)


def t95(degrees: int) -> float:
    """Return Student's t with P(|T| ≤ t) = 0.95 for `degrees` ≥ 1 degrees of freedom."""
    low, high = 0.0, pi / 2
    for _ in range(60):  # bisection, down to the last bits of a float
        angle = (low + high) / 2
        low, high = (angle, high) if _probability_within(angle, degrees) < 0.95 else (low, angle)
    return sqrt(degrees) * tan(low)


def _probability_within(angle: float, degrees: int) -> float:
    """Return P(|T| ≤ t) for t = √degrees · tan(angle) (Abramowitz & Stegun 1964, 26.7.3 and 26.7.4)."""
    odd = degrees % 2
    term, total = 1.0, 0.0
    for k in range(degrees // 2):
        total += term
        term *= cos(angle) ** 2 * (2 * k + 1 + odd) / (2 * k + 2 + odd)
    if odd:
        return 2 / pi * (angle + sin(angle) * cos(angle) * total)
    return sin(angle) * total
