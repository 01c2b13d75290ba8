"""The first steps of each optimizer against its formula in plain Python: `mnist_trainer/training/optim.py`.

The slope of L(θ) = a/2·θ² − b·θ at θ is a·θ − b.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from mnist_trainer.config.schema import AnyOptimizer, Optimizer
from mnist_trainer.training.optim import build_optimizer

A, B, START, STEPS = 3.0, 2.0, 1.7, 4


def slope(theta: float) -> float:
    return A * theta - B


def read(spec: Any) -> AnyOptimizer:
    adapter: TypeAdapter[AnyOptimizer] = TypeAdapter(Optimizer)
    return adapter.validate_python(spec)


def torchs_path(spec: Any, rates: list[float] | None = None) -> list[float]:
    """θ after each step of the optimizer that `spec` names, with another rate at each step if `rates` are given."""
    theta = nn.Parameter(torch.tensor([START], dtype=torch.float64))
    optimizer = build_optimizer(read(spec), [theta])
    path = []
    for step in range(STEPS):
        if rates is not None:
            optimizer.param_groups[0]["lr"] = rates[step]
        optimizer.zero_grad()
        (A / 2 * theta**2 - B * theta).sum().backward()
        optimizer.step()
        path.append(theta.item())
    return path


def gradient_descent(lr: float = 0.1, decay: float = 0.0) -> list[float]:
    theta, path = START, []
    for _ in range(STEPS):
        theta = theta - lr * (slope(theta) + decay * theta)
        path.append(theta)
    return path


def momentum(nesterov: bool, lr: float = 0.05, beta: float = 0.9) -> list[float]:
    theta, velocity, path = START, 0.0, []
    for _ in range(STEPS):
        gradient = slope(theta)
        velocity = beta * velocity + gradient
        theta = theta - lr * (gradient + beta * velocity if nesterov else velocity)
        path.append(theta)
    return path


def lectures_momentum(rates: list[float], beta: float = 0.9) -> list[float]:
    """v ← β·v + α·g, θ ← θ − v."""
    theta, velocity, path = START, 0.0, []
    for rate in rates:
        velocity = beta * velocity + rate * slope(theta)
        theta = theta - velocity
        path.append(theta)
    return path


def adam(decoupled: bool, decay: float, lr: float = 0.01, eps: float = 1e-8) -> list[float]:
    beta1, beta2 = 0.8, 0.95
    theta, mean, square, path = START, 0.0, 0.0, []
    for step in range(1, STEPS + 1):
        gradient = slope(theta) + (0.0 if decoupled else decay * theta)
        if decoupled:
            theta = theta - lr * decay * theta
        mean = beta1 * mean + (1 - beta1) * gradient
        square = beta2 * square + (1 - beta2) * gradient**2
        theta = theta - lr * (mean / (1 - beta1**step)) / (sqrt(square / (1 - beta2**step)) + eps)
        path.append(theta)
    return path


def rmsprop(beta: float = 0.0, lr: float = 0.01, alpha: float = 0.9, eps: float = 1e-8) -> list[float]:
    theta, square, velocity, path = START, 0.0, 0.0, []
    for _ in range(STEPS):
        gradient = slope(theta)
        square = alpha * square + (1 - alpha) * gradient**2
        velocity = beta * velocity + gradient / (sqrt(square) + eps)
        theta = theta - lr * velocity
        path.append(theta)
    return path


def adagrad(lr: float = 0.1, eps: float = 1e-10) -> list[float]:
    theta, total, path = START, 0.0, []
    for _ in range(STEPS):
        gradient = slope(theta)
        total += gradient**2
        theta = theta - lr * gradient / (sqrt(total) + eps)
        path.append(theta)
    return path


ADAM = {"lr": 0.01, "betas": [0.8, 0.95], "weight_decay": 0.3}


FORMULAS: list[tuple[Any, Callable[[], list[float]]]] = [
    ("gradient_descent", gradient_descent),
    ({"name": "sgd", "lr": 0.1}, gradient_descent),
    ({"name": "sgd", "lr": 0.1, "weight_decay": 0.2}, lambda: gradient_descent(decay=0.2)),
    ({"name": "gradient_descent", "weight_decay": 0.2}, lambda: gradient_descent(decay=0.2)),
    ({"name": "sgd", "lr": 0.05, "momentum": 0.9}, lambda: momentum(nesterov=False)),
    ({"name": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": True}, lambda: momentum(nesterov=True)),
    ({"name": "adam", **ADAM}, lambda: adam(decoupled=False, decay=0.3)),
    ({"name": "adamw", **ADAM}, lambda: adam(decoupled=True, decay=0.3)),
    ({"name": "adam", "lr": 0.01, "betas": [0.8, 0.95], "eps": 0.1}, lambda: adam(False, decay=0, eps=0.1)),
    ({"name": "rmsprop", "lr": 0.01, "alpha": 0.9}, rmsprop),
    ({"name": "rmsprop", "lr": 0.01, "alpha": 0.9, "momentum": 0.5}, lambda: rmsprop(beta=0.5)),
    ({"name": "adagrad", "lr": 0.1}, adagrad),
]


@pytest.mark.parametrize(("spec", "formula"), FORMULAS, ids=[str(spec) for spec, _ in FORMULAS])
def test_the_first_steps_are_the_formula(spec: Any, formula: Callable[[], list[float]]) -> None:
    assert torchs_path(spec) == pytest.approx(formula(), rel=1e-12)


def test_torchs_momentum_is_the_lectures_at_a_constant_rate() -> None:
    rates = [0.05] * STEPS
    ours = torchs_path({"name": "sgd", "lr": 0.05, "momentum": 0.9}, rates)
    assert ours == pytest.approx(lectures_momentum(rates), rel=1e-12)


def test_torchs_momentum_shrinks_what_it_remembers_when_the_rate_falls() -> None:
    rates = [0.05, 0.05, 0.01, 0.01]
    ours = torchs_path({"name": "sgd", "lr": 0.05, "momentum": 0.9}, rates)
    lectures = lectures_momentum(rates)
    assert ours[:2] == pytest.approx(lectures[:2], rel=1e-12)
    assert abs(ours[2] - ours[1]) < abs(lectures[2] - lectures[1])


def test_frozen_parameters_are_left_out() -> None:
    trained, frozen = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2), requires_grad=False)
    for name in ("sgd", "adam", "rmsprop", "adagrad", "gradient_descent"):
        (group,) = build_optimizer(read(name), iter([frozen, trained])).param_groups
        assert [id(parameter) for parameter in group["params"]] == [id(trained)]
