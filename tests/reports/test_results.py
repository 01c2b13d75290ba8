"""What `mnist-eval` prints: `mnist_trainer/reports/results.py`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mnist_trainer.inference.metrics import CalibrationMetrics, ClassMetrics, Comparison, Evaluation, MemberMetrics
from mnist_trainer.reports.results import (
    calibration_lines,
    comparison_lines,
    difference_sentence,
    evaluation_lines,
)


def test_an_evaluation_in_full(evaluation: Evaluation) -> None:
    assert evaluation_lines(evaluation, "runs/one/best.pt") == [
        "runs/one/best.pt on mnist",
        "test accuracy 99.85 % (3 errors of 2,000; 95 % interval 99.56 to 99.95 %)",
        "loss 0.0123",
        "calibration error 0.46 % (expected, 15 bins of equal width)",
        "",
        "class   accuracy        errors  most often confused with",
        "not 7    99.85 %     3 of 1990  7 (3)",
        "    7   100.00 %       0 of 10  -",
    ]


def test_an_evaluation_says_what_it_has_no_figures_of(evaluation: Evaluation) -> None:
    unseen = ClassMetrics("a class with a long name", 0, 0, None, None, 0)
    lines = evaluation_lines(replace(evaluation, loss=None, ece=None, per_class=(unseen,)), "best.pt")
    assert lines[2:4] == [
        "loss - (the user's own function)",
        "calibration error - (this model's outputs are not probabilities)",
    ]
    assert lines[5:] == [
        "                   class   accuracy        errors  most often confused with",
        "a class with a long name          -        0 of 0  -",
    ]


@pytest.fixture
def ensemble(evaluation: Evaluation) -> Evaluation:
    members = (
        MemberMetrics("runs/one/best.pt", "a", 0.997, 6, 2000, 0.0211, (0.993, 0.999)),
        MemberMetrics("runs/another/best.pt", "b", 0.998, 4, 2000, None, (0.994, 0.999)),
    )
    return replace(evaluation, members=members, disagreement=0.0125, plain=False)


def test_an_ensemble_tells_its_members_gains_and_disagreement(ensemble: Evaluation) -> None:
    lines = evaluation_lines(ensemble, "ensemble of 2")
    assert lines[0] == "ensemble of 2 on mnist"
    assert lines[2] == "loss 0.0123 (-ln of the mean probability of the correct class)"
    assert lines[4:11] == [
        "",
        "member                accuracy      errors    loss",
        "runs/one/best.pt       99.70 %  6 of 2,000  0.0211",
        "runs/another/best.pt   99.80 %  4 of 2,000       -",
        "together +0.10 points of accuracy against their mean, +0.05 against the best",
        "the members disagree on 1.25 % of the images",
        "",
    ]
    narrow = evaluation_lines(ensemble, "ensemble of 2", width=45)
    assert narrow[6] == "/one/best.pt   99.70 %  6 of 2,000  0.0211"


def test_members_of_one_file_are_told_apart_by_number(ensemble: Evaluation) -> None:
    alike = replace(ensemble, members=tuple(replace(member, path="both.pt") for member in ensemble.members))
    lines = evaluation_lines(alike, "both.pt")
    assert [line.split("  ")[0] for line in lines[6:8]] == ["1: a", "2: b"]


def test_views_and_a_temperature_are_told_with_the_loss(evaluation: Evaluation) -> None:
    views = evaluation_lines(replace(evaluation, views=5, plain=False), "best.pt")
    assert views[0] == "best.pt on mnist, the mean of 5 views"
    assert views[2] == "loss 0.0123 (-ln of the mean probability of the correct class)"
    calibrated = evaluation_lines(replace(evaluation, plain=False), "best.pt")
    assert calibrated[2] == "loss 0.0123 (-ln of the probability of the correct class)"
    values = evaluation_lines(replace(evaluation, loss=None, ece=None, plain=False), "best.pt")
    assert values[2] == "loss - (values that are not probabilities)"


@pytest.mark.parametrize(
    ("comparison", "sentence"),
    [
        (
            Comparison(12, 31, 0.00536),
            "B is correct on 31 images that A gets wrong, wrong on 12 that A gets right: significant (p = 0.005)",
        ),
        (
            Comparison(40, 2, 1e-9),
            "B is correct on 2 images that A gets wrong, wrong on 40 that A gets right: significant (p < 0.001)",
        ),
        (
            Comparison(8, 12, 0.5034),
            "B is correct on 12 images that A gets wrong, wrong on 8 that A gets right: not significant (p = 0.503)",
        ),
        (
            Comparison(0, 5, 0.0625),
            "B is correct on 5 images that A gets wrong, wrong on 0 that A gets right: not significant (p = 0.062)",
        ),
        (Comparison(0, 0, 1.0), "A and B are correct on the same images: no difference"),
    ],
)
def test_a_difference_in_words(comparison: Comparison, sentence: str) -> None:
    assert difference_sentence(("A", "B"), comparison) == sentence


def test_a_comparison_begins_with_both_accuracies(evaluation: Evaluation) -> None:
    lines = comparison_lines((evaluation, evaluation), ("A", "B"), Comparison(0, 0, 1.0))
    accuracy = "test accuracy 99.85 % (3 errors of 2,000; 95 % interval 99.56 to 99.95 %)"
    assert lines[:5] == ["A on mnist", accuracy, "B on mnist", accuracy, ""]


def test_a_calibration_has_a_row_for_each_split() -> None:
    figures = {
        "validation": (CalibrationMetrics(0.07, 0.044), CalibrationMetrics(0.031, 0.0021)),
        "test": (CalibrationMetrics(0.06, 0.05),) * 2,
    }
    assert calibration_lines(0.58436, figures) == [
        "temperature 0.5844, fitted on the validation images; no prediction changes, so the accuracy stays the same",
        "                     loss (-ln)      calibration error",
        "validation      0.0700 → 0.0310        4.40 % → 0.21 %",
        "test            0.0600 → 0.0600        5.00 % → 5.00 %",
    ]


@pytest.mark.parametrize(
    ("after", "names"),
    [
        (CalibrationMetrics(0.061, 0.04), "loss"),
        (CalibrationMetrics(0.05, 0.06), "calibration error"),
        (CalibrationMetrics(0.061, 0.06), "loss and the calibration error"),
    ],
)
def test_a_calibration_that_makes_something_worse_says_so(after: CalibrationMetrics, names: str) -> None:
    figures = {
        "validation": (CalibrationMetrics(0.07, 0.044), CalibrationMetrics(0.031, 0.0021)),
        "test": (CalibrationMetrics(0.06, 0.05), after),
    }
    assert calibration_lines(0.58436, figures)[4:] == [
        f"It makes the {names} on test worse. Keep the model as it was, or use more validation images."
    ]
