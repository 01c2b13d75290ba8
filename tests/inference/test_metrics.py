"""Figures of a classifier: `mnist_trainer/inference/metrics.py`."""

from __future__ import annotations

from math import ceil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from mnist_trainer.inference.metrics import (
    ClassMetrics,
    Evaluation,
    calibration_error,
    cluster_interval,
    confident_labels,
    confusion_matrix,
    metrics_by_class,
    wilson_interval,
)


def test_the_interval_of_a_published_example() -> None:
    """81 of 263: 0.2553 to 0.3662 (Newcombe 1998, table I, method 3)."""
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


@given(st.integers(min_value=1, max_value=70_000), st.floats(min_value=0, max_value=1))
def test_the_interval_is_scipys(count: int, share: float) -> None:
    correct = round(share * count)
    expected = binomtest(correct, count).proportion_ci(method="wilson")
    low, high = wilson_interval(correct, count)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= low <= correct / count <= high <= 1


def test_the_interval_of_nothing_is_everything() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_the_interval_of_equal_clusters_is_that_of_as_many_images() -> None:
    """30 writers, who wrote 20 equal images each, say as much as 30 images: the design effect is 20 · 30 / 29."""
    once = torch.arange(30) < 27
    low, high = cluster_interval(once.repeat_interleave(20), torch.arange(30).repeat_interleave(20))
    assert (low, high) == pytest.approx(wilson_interval(0.9 * 29, 29), abs=1e-12)


def test_the_interval_of_clusters_is_not_narrower_than_that_of_images() -> None:
    correct = torch.rand(5000) < 0.97
    independent = wilson_interval(int(correct.sum()), 5000)
    alternating = torch.arange(5000).remainder(2500)  # each writer has two images
    for clusters in (torch.arange(5000), alternating):
        low, high = cluster_interval(correct, clusters)
        assert low <= independent[0] + 1e-4 and high >= independent[1] - 1e-4
    same = torch.arange(10) % 2 == 0  # all ten writers have one of two images right: less variance than by chance
    assert cluster_interval(same.repeat(1), torch.arange(10) // 2) == wilson_interval(5, 10)
    assert cluster_interval(torch.ones(10, dtype=torch.bool), torch.arange(10) // 2) == wilson_interval(10, 10)
    assert cluster_interval(same, torch.zeros(10, dtype=torch.int64)) == wilson_interval(0.5, 1)


def test_the_interval_of_clusters_covers_the_true_accuracy() -> None:
    """The accuracies of writers are drawn from a beta distribution with mean 0.95; Wilson's interval is too narrow."""
    rng, covered, plain = np.random.default_rng(0), 0, 0
    for _ in range(400):
        accuracies = rng.beta(9.5, 0.5, 100).repeat(40)
        correct = torch.from_numpy(rng.random(4000) < accuracies)
        low, high = cluster_interval(correct, torch.arange(4000) // 40)
        covered += low <= 0.95 <= high
        one, other = wilson_interval(int(correct.sum()), 4000)
        plain += one <= 0.95 <= other
    assert covered / 400 > 0.91
    assert plain / 400 < 0.7


def test_a_confident_class_is_as_probable_as_its_own_images_usually_are() -> None:
    probabilities = torch.tensor(
        [[0.9, 0.1, 0.0], [0.7, 0.3, 0.0], [0.2, 0.8, 0.0], [0.45, 0.55, 0.0], [0.1, 0.9, 0.0], [0.85, 0.1, 0.05]],
        dtype=torch.float64,
    )
    labels = torch.tensor([0, 0, 1, 1, 0, 1])  # mean probabilities of the labels: 0.567 of 0s, 0.483 of 1s, no 2
    assert confident_labels(probabilities, labels).tolist() == [0, 0, 1, 1, 1, 0]
    # Where no class reaches its mean, the label stays: 0.5 and 0.5 are below 0.9 and 0.8.
    sure = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8], [0.2, 0.8], [0.52, 0.48]], dtype=torch.float64)
    assert confident_labels(sure, torch.tensor([0, 0, 1, 1, 1])).tolist() == [0, 0, 1, 1, 1]


def slow_calibration_error(confidence: list[float], correct: list[bool], bins: int = 15) -> float:
    total = 0.0
    for index in range(bins):
        inside = [place for place, value in enumerate(confidence) if max(1, ceil(value * bins)) == index + 1]
        if inside:
            accuracy = sum(correct[place] for place in inside) / len(inside)
            mean = sum(confidence[place] for place in inside) / len(inside)
            total += len(inside) / len(confidence) * abs(accuracy - mean)
    return total


@given(st.lists(st.tuples(st.floats(min_value=0, max_value=1), st.booleans()), min_size=1, max_size=60))
def test_the_calibration_error_is_a_slow_plain_one(answers: list[tuple[float, bool]]) -> None:
    confidence, correct = [value for value, _ in answers], [value for _, value in answers]
    ours = calibration_error(torch.tensor(confidence, dtype=torch.float64), torch.tensor(correct))
    assert ours == pytest.approx(slow_calibration_error(confidence, correct), abs=1e-12)


@pytest.mark.parametrize(
    ("confidence", "correct", "error"),
    [
        ([1.0, 1.0, 1.0, 1.0], [True, True, True, False], 0.25),
        ([0.5, 0.5], [True, False], 0.0),
        ([0.99, 0.61], [False, True], (0.99 + 0.39) / 2),  # two bins do not cancel each other
        ([0.0], [False], 0.0),
    ],
)
def test_calibration_errors_by_hand(confidence: list[float], correct: list[bool], error: float) -> None:
    ours = calibration_error(torch.tensor(confidence, dtype=torch.float64), torch.tensor(correct))
    assert ours == pytest.approx(error)


def test_the_confusion_matrix_has_labels_in_rows() -> None:
    matrix = confusion_matrix(torch.tensor([0, 0, 1, 2, 2]), torch.tensor([0, 2, 1, 1, 1]), 3)
    assert matrix.tolist() == [[1, 0, 1], [0, 1, 0], [0, 2, 0]]


def test_figures_of_each_class() -> None:
    matrix = torch.tensor([[7, 3, 0, 0], [2, 1, 2, 0], [0, 0, 4, 0], [0, 0, 0, 0]])
    assert metrics_by_class(matrix, ("a", "b", "c", "d")) == (
        ClassMetrics("a", count=10, errors=3, accuracy=0.7, confused_with="b", confused_count=3),
        ClassMetrics("b", count=5, errors=4, accuracy=0.2, confused_with="a", confused_count=2),
        ClassMetrics("c", count=4, errors=0, accuracy=1.0, confused_with=None, confused_count=0),
        ClassMetrics("d", count=0, errors=0, accuracy=None, confused_with=None, confused_count=0),
    )


def test_accuracies_are_printed_without_rounding_dirt() -> None:
    (first, _) = metrics_by_class(torch.tensor([[3, 7], [0, 1]]), ("0", "1"))
    assert repr(first.accuracy) == "0.3"


def evaluation() -> Evaluation:
    per_class = metrics_by_class(torch.tensor([[1, 0], [1, 2]]), ("not 7", "7"))
    return Evaluation(0.75, 1, 4, 0.5, (0.3, 0.95), None, per_class, ((1, 0), (1, 2)), "mnist", "test")


def test_json_has_the_keys_that_were_promised() -> None:
    content = evaluation().to_json()
    assert list(content) == [
        *("accuracy", "errors", "count", "loss", "interval", "ece", "per_class", "confusion", "dataset", "split")
    ]
    assert content["per_class"][1] == {
        "label": "7",
        "count": 3,
        "errors": 1,
        "accuracy": 2 / 3,
        "confused_with": "not 7",
        "confused_count": 1,
    }


def test_the_summary_has_what_run_json_keeps() -> None:
    summary = evaluation().summary()
    assert summary == {"accuracy": 0.75, "errors": 1, "count": 4, "loss": 0.5, "interval": (0.3, 0.95)}
