"""One neuron and 200 on noisy points: theory, networks against least squares, early stopping."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mnist_trainer.lab import noise
from mnist_trainer.lab.run import run_experiment

STATEMENTS = [
    "one neuron on a line, without activation: training error / σ",
    "one neuron on a line, without activation: validation error / σ",
    "one neuron on an S, with tanh: training error / σ",
    "one neuron on an S, with tanh: validation error / σ",
    "one neuron without activation underfits an S: training error / σ",
    "its residuals are no noise: correlation of neighbours",
    "200 neurons: training error / σ",
    "200 neurons: validation error / σ",
    "what they add to the curve is the noise: correlation",
    "early stopping: test error / σ",
    "polynomial, 15 weights: training error / σ is √(1 − 15/30)",
    "polynomial, 15 weights: validation error / σ is √(1 + 15/30)",
]


@pytest.mark.slow
def test_all_statements_hold() -> None:
    experiment = run_experiment("noise", quick=True)
    assert [statement.statement for statement in experiment.statements] == STATEMENTS
    assert experiment.held, str(experiment)


@pytest.mark.slow
def test_without_early_stopping_and_with_flat_units_statements_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "EPOCHS", 30)
    failed = {each.statement for each in run_experiment("noise", quick=True, slope=1.0).statements if not each.held}
    assert {"200 neurons: training error / σ", "what they add to the curve is the noise: correlation"} <= failed


def test_one_neuron_without_activation_ends_at_the_line_of_least_squares() -> None:
    torch.manual_seed(0)
    y = torch.randn(50, 30)
    outputs = noise.train(noise.Network(1, nn.Identity()), y, 0.05)[-1]
    lines = [np.polyval(np.polyfit(noise.X, each, 1), noise.X) for each in y]
    assert np.allclose(outputs, lines, atol=1e-3)


def test_a_polynomial_is_that_of_numpy() -> None:
    y = torch.randn(2, 30, generator=torch.Generator().manual_seed(0))
    assert np.allclose(noise.polynomial(y, 5)[1], np.polyval(np.polyfit(noise.X, y[1], 4), noise.X), atol=1e-6)


def test_each_draw_has_its_own_network() -> None:
    network = noise.Network(200, nn.Tanh(), 15)
    network(noise.X)[0].sum().backward()
    assert network.w.grad is not None
    assert network.w.grad[0].any()
    assert not network.w.grad[1:].any()


def test_rms_is_the_root_of_the_mean_square() -> None:
    assert float(noise.rms(torch.tensor([[3.0, 4.0]]))) == pytest.approx(12.5**0.5)
