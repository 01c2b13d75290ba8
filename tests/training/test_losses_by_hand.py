"""Losses worked out by hand: `mnist_trainer/training/losses.py`."""

from __future__ import annotations

from math import exp, log
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from mnist_trainer.config.layers import OutputKind
from mnist_trainer.config.schema import AnyLoss, Loss
from mnist_trainer.training.losses import Criterion


def criterion(kind: OutputKind, classes: int, **spec: Any) -> Criterion:
    adapter: TypeAdapter[AnyLoss] = TypeAdapter(Loss)
    return Criterion(adapter.validate_python(spec), kind, classes).double()


def test_the_lectures_softmax_before_cross_entropy_cannot_fall_below_its_bound() -> None:
    """ln(e + 9) − 1 = 1.461 for outputs that are certain and right."""
    certain = torch.eye(10, dtype=torch.float64)
    loss = criterion("probabilities", classes=10, name="cross_entropy")(certain, torch.arange(10))
    assert loss.item() == pytest.approx(log(exp(1) + 9) - 1)


@pytest.mark.parametrize("kind", ["sigmoid", "probabilities"])
def test_bce_of_certain_answers_is_finite(kind: OutputKind) -> None:
    outputs = torch.tensor([[0.0, 1.0]], requires_grad=True)
    for label in (0, 1):
        loss = criterion(kind, 2, name="bce")(outputs, torch.tensor([label]))
        (gradient,) = torch.autograd.grad(loss, outputs)
        assert bool(torch.isfinite(loss)) and bool(torch.isfinite(gradient).all())


def test_bce_cuts_off_what_is_no_probability_and_gives_it_no_gradient() -> None:
    outputs = torch.tensor([[-1.7], [0.5], [1.7]], dtype=torch.float64, requires_grad=True)
    loss = criterion("sigmoid", 2, name="bce", reduction="sum")(outputs, torch.tensor([0, 1, 1]))
    loss.backward()
    assert loss.item() == pytest.approx(log(2))
    assert outputs.grad is not None
    assert outputs.grad.tolist() == [[0.0], [pytest.approx(-2.0)], [0.0]]


def test_one_neurons_gradient_by_hand() -> None:
    """ŷ = σ(w·x + b) with bce: ∂L/∂w = (ŷ − t)·x and ∂L/∂b = ŷ − t; with mse: × 2·ŷ·(1 − ŷ)."""
    inputs, label = [0.5, -1.0, 2.0], 1
    weights, bias = [0.1, 0.4, -0.3], 0.2
    answer = 1 / (1 + exp(-(sum(w * x for w, x in zip(weights, inputs, strict=True)) + bias)))
    error = answer - label
    for name, factor in (("bce", 1.0), ("mse", 2 * answer * (1 - answer))):
        neuron = nn.Sequential(nn.Linear(3, 1), nn.Sigmoid()).double()
        linear = neuron[0]
        assert isinstance(linear, nn.Linear)
        with torch.no_grad():
            linear.weight.copy_(torch.tensor([weights]))
            linear.bias.copy_(torch.tensor([bias]))
        outputs = neuron(torch.tensor([inputs], dtype=torch.float64))
        criterion("sigmoid", classes=2, name=name)(outputs, torch.tensor([label])).backward()
        assert linear.weight.grad is not None and linear.bias.grad is not None
        assert linear.weight.grad[0].tolist() == pytest.approx([factor * error * x for x in inputs], rel=1e-6)
        assert linear.bias.grad.tolist() == pytest.approx([factor * error], rel=1e-6)
