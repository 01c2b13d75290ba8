"""The signal through the layers: derivatives, gradients by layer, explosion and dead units."""

from __future__ import annotations

import pytest
import torch

from mnist_trainer.lab import signal
from mnist_trainer.lab.run import run_experiment
from mnist_trainer.model.activations import build_activation

STATEMENTS = [
    "sigmoid′: closed form against autograd",
    "tanh′: closed form against autograd",
    "relu′: closed form against autograd",
    "alrelu′: closed form against autograd",
    "ReLU′(0): notes 001 say 1; notes 003 say 0, and so does torch",
    "step: the gradients of all hidden layers are exactly 0",
    "sigmoid, 10 layers: first gradient / last",
    "ReLU + residual, 10 layers: first gradient / last",
    "ReLU + batch norm, 10 layers: first gradient / last",
    "weights of σ = 0.5: the first gradient explodes",
    "trained, it diverges",
    "with clip_norm = 1 it does not",
    "bias -10: dead ReLUs in %",
    "bias -10: dead leaky ReLUs in %",
]


@pytest.mark.slow
def test_all_statements_hold() -> None:
    experiment = run_experiment("signal", quick=True)
    assert [statement.statement for statement in experiment.statements] == STATEMENTS
    assert experiment.held, str(experiment)


@pytest.mark.slow
def test_with_two_layers_no_bias_and_wrong_derivatives_statements_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(signal.CLOSED, "sigmoid", torch.sigmoid)
    held = [statement.held for statement in run_experiment("signal", quick=True, layers=2, bias=0).statements]
    assert not held[0] and not held[6] and not held[12]


@pytest.mark.parametrize("name", signal.NAMES.split(","))
def test_derivatives_are_difference_quotients(name: str) -> None:
    f = build_activation(signal.ADAPTER.validate_python(name)).double()
    z, h = torch.tensor([-2.5, -0.7, 0.4, 3.1]).double(), 1e-6
    assert torch.allclose(signal.derivative(name, z), (f(z + h) - f(z - h)) / (2 * h), atol=1e-7)
