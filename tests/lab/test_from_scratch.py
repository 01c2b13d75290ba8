"""The network in NumPy: its gradients are autograd's, and its steps torch's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mnist_trainer.lab import from_scratch
from mnist_trainer.lab.experiment import Experiment
from mnist_trainer.lab.run import run_experiment

pytestmark = pytest.mark.slow

SAME_WEIGHTS = "float64: the same weights as torch after 20 steps"
SAME_COST = "float64: the same cost as torch in each step"
ROUNDED = "float32: the same weights as torch but for rounding"
STATEMENTS = [
    SAME_WEIGHTS,
    SAME_COST,
    ROUNDED,
    "without f′ in backpropagation the weights differ",
    "20 steps lower the cost",
    "5 epochs on 5,000 images: more than 80 % of 1,000 test images are right",
]


@pytest.fixture(autouse=True)
def use_mnist(mnist_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNIST_TRAINER_DATA", str(mnist_root))


def failed(experiment: Experiment) -> list[str]:
    return [statement.statement for statement in experiment.statements if not statement.held]


def test_all_statements_hold() -> None:
    experiment = run_experiment("from-scratch", quick=True)
    assert [statement.statement for statement in experiment.statements] == STATEMENTS
    assert experiment.held, str(experiment)


def test_the_gradients_are_those_of_autograd() -> None:
    random = np.random.default_rng(1)
    network, images, targets = from_scratch.start(1, "float64"), random.random((784, 7)), random.random((10, 7))
    w1, b1, w2, b2, w3, b3 = parameters = [torch.tensor(parameter, requires_grad=True) for parameter in network]
    hidden = F.relu(w2 @ F.relu(w1 @ torch.tensor(images) + b1) + b2)
    cost = ((w3 @ hidden + b3 - torch.tensor(targets)) ** 2).sum() / 7
    expected = torch.autograd.grad(cost, parameters)
    ours = from_scratch.backward(network, *from_scratch.forward(network, images), targets, 0.0)
    for gradient, reference in zip(ours, expected, strict=True):
        assert np.allclose(gradient, reference.numpy(), rtol=0, atol=1e-13)
    assert from_scratch.step(network, images, targets, 0.1, 0.0) == pytest.approx(float(cost.detach()), abs=1e-12)


def test_forgetting_the_derivative_of_relu_fails() -> None:
    assert failed(run_experiment("from-scratch", below=1.0))[:3] == [SAME_WEIGHTS, SAME_COST, ROUNDED]


def test_the_wrong_sign_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    backward = from_scratch.backward
    monkeypatch.setattr(from_scratch, "backward", lambda *given: [-gradient for gradient in backward(*given)])
    assert {SAME_WEIGHTS, SAME_COST, "20 steps lower the cost"} <= set(
        failed(run_experiment("from-scratch", rate=0.01))
    )
