"""Losses and output activations: slopes, the least of two softmaxes, and what is learned."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mnist_trainer.lab import losses
from mnist_trainer.lab.run import run_experiment

STATEMENTS = [
    "p = 0.01: cross-entropy is 4.6",
    "p = 0.01: squared error is 0.98",
    "p = 0.01: the slope of cross-entropy is p − 1 = −0.99",
    "p = 0.01: the slope of squared error is −2p(1 − p)² = −0.02",
    "cross-entropy on a perfect softmax layer: ln(e + 9) − 1 = 1.4612",
    "a training with two softmaxes: the loss of no epoch is below 1.4612",
    "squared error needs more than 1.5 times the steps of cross-entropy to 90 %",
    "two softmaxes don't get 90 % right in 320 steps",
]


@pytest.mark.slow
def test_all_statements_hold() -> None:
    experiment = run_experiment("losses", quick=True)
    statements = [statement.statement for statement in experiment.statements]
    assert statements[:8] == STATEMENTS
    assert statements[8] == "sigmoid fits targets of 0 … 1: error in parts of the range" and len(statements) == 17
    assert experiment.held, str(experiment)


@pytest.mark.slow
def test_with_one_softmax_the_statements_about_two_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(losses.VARIANTS, "two softmaxes", losses.VARIANTS["cross-entropy"])
    monkeypatch.setitem(losses.OUTPUTS, "tanh", (nn.Sigmoid, -1, 1))
    failed = [each.statement for each in run_experiment("losses", quick=True).statements if not each.held]
    assert failed == [STATEMENTS[5], STATEMENTS[7], "tanh fits targets of −1 … 1: error in parts of the range"]


@pytest.mark.parametrize("p", [0.01, 0.5, 0.9])
def test_slopes_are_difference_quotients(p: float) -> None:
    def both(z: float) -> torch.Tensor:
        q = torch.sigmoid(torch.tensor(z, dtype=torch.float64))
        return torch.stack([-q.log(), (1 - q) ** 2])

    z, h = float(torch.logit(torch.tensor(p, dtype=torch.float64))), 1e-6
    quotient = (both(z + h) - both(z - h)) / (2 * h)
    assert losses.slopes(p) == pytest.approx(quotient.tolist(), abs=1e-8)


def test_no_output_of_a_softmax_layer_has_a_smaller_cross_entropy() -> None:
    outputs = (20 * torch.randn(1000, 10).double()).softmax(1)
    least = nn.functional.cross_entropy(outputs, torch.zeros(1000).long(), reduction="none").min()
    assert least >= torch.tensor(9 + torch.e).double().log() - 1
