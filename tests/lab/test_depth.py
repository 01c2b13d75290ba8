"""Layers without activation are one layer: multiplied out, and trained."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mnist_trainer.lab import depth
from mnist_trainer.lab.run import run_experiment

STATEMENTS = [
    "5 trained layers without activation equal W x + b within 1e-5",
    "5 layers with relu differ from W x + b",
    "without activation the output along a line is straight (second difference)",
    "with relu it bends",
    "5 layers without activation gain less than 1 point of accuracy over one layer",
    "5 layers with relu beat all of them by more than 2 points",
]


@pytest.mark.slow
def test_all_statements_hold() -> None:
    experiment = run_experiment("depth", quick=True)
    assert [statement.statement for statement in experiment.statements] == STATEMENTS
    assert experiment.held, str(experiment)


@pytest.mark.slow
def test_with_identity_as_activation_the_statements_about_relu_fail() -> None:
    experiment = run_experiment("depth", quick=True, activation="identity", epochs=1)
    assert [statement.held for statement in experiment.statements][:4] == [True, False, True, False]
    assert not experiment.statements[-1].held


@pytest.mark.parametrize(("activation", "is_linear"), [(nn.Identity(), True), (nn.Tanh(), False)])
def test_multiplied_out_are_the_derivatives_of_linear_layers_only(activation: nn.Module, is_linear: bool) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 5), activation, nn.Linear(5, 3)).double()
    weight, bias = depth.multiplied_out(network)
    blank = torch.zeros(1, 784).double()
    jacobian = torch.autograd.functional.jacobian(network, blank)[0, :, 0]  # type: ignore[no-untyped-call]
    assert torch.allclose(weight, jacobian) is is_linear
    assert torch.allclose(bias, network(blank)[0]) is is_linear


def test_bend_is_0_for_a_line_only() -> None:
    points = torch.linspace(-1, 1, 201, dtype=torch.float64)
    assert depth.bend(3 * points + 1) < 1e-12
    assert depth.bend(points.relu()) == pytest.approx(0.01)
