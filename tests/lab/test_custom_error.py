"""A custom error: penalties make confusions rare and cost accuracy; smooth weights have a small total variation."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mnist_trainer.lab import custom_error
from mnist_trainer.lab.run import run_experiment

STATEMENTS = [
    "7 taken for 2: the probability with a = 100, in parts of that with a = 0",
    "1 taken for 7: the probability with a = 100, in parts of that with a = 0",
    "the cost: points of accuracy lost with a = 100",
    "a = 1: share of the penalties in the loss of the first epoch, in %",
    "a = 100: that share, in %",
    "smooth weights: their total variation in parts of that without",
]


@pytest.mark.slow
def test_all_statements_hold() -> None:
    experiment = run_experiment("custom-error", quick=True)
    assert [statement.statement for statement in experiment.statements] == STATEMENTS
    assert experiment.held, str(experiment)


@pytest.mark.slow
def test_without_penalties_and_smoothness_the_statements_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    train = custom_error.train

    def without(a: float, smooth: float, pairs: custom_error.Pairs, seed: int) -> Any:
        return train(0, 0, pairs, seed)

    monkeypatch.setattr(custom_error, "train", without)
    held = [statement.held for statement in run_experiment("custom-error", quick=True).statements]
    assert held == [False, False, False, True, False, False]


def test_risk_is_the_mean_probability_of_the_wrong_class() -> None:
    outputs = torch.tensor([[0.25, 0.75], [0.5, 0.5], [0.9, 0.1]]).log()
    assert custom_error.risk(outputs, torch.tensor([1, 1, 0]), true=1, predicted=0) == pytest.approx(37.5)


def test_share_of_penalties() -> None:
    assert custom_error.share({"cross_entropy": 3.0, "penalties": 1.0}) == 25
    assert custom_error.share({}) == 0
