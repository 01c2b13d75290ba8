"""Activations against their formulas in plain Python: `mnist_trainer/model/activations.py`."""

from __future__ import annotations

from collections.abc import Callable
from math import erf, exp, log, log1p, pi, sqrt, tanh
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from mnist_trainer.config.model import Activation, AnyActivation
from mnist_trainer.model.activations import build_activation

Function = Callable[[float], float]

POINTS = [-30.0, -3.1, -1.5, -1.0, -0.3, -1e-3, 1e-3, 0.4, 1.0, 2.7, 5.9, 6.1, 30.0]

SELU_SCALE, SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717


def sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x))


def sech2(x: float) -> float:
    return 1 - tanh(x) ** 2


def softplus(x: float) -> float:
    return max(x, 0.0) + log1p(exp(-abs(x)))


def mish_slope(x: float) -> float:
    return tanh(softplus(x)) + x * sech2(softplus(x)) * sigmoid(x)


def normal_density(x: float) -> float:
    return exp(-x * x / 2) / sqrt(2 * pi)


def normal_share(x: float) -> float:
    return (1 + erf(x / sqrt(2))) / 2


FORMULAS: list[tuple[Any, Function, Function]] = [
    ("identity", lambda x: x, lambda x: 1),
    ("step", lambda x: float(x > 0), lambda x: 0),
    ("sigmoid", sigmoid, lambda x: sigmoid(x) * sigmoid(-x)),
    (
        {"name": "sigmoid", "slope": 2.5},
        lambda x: sigmoid(2.5 * x),
        lambda x: 2.5 * sigmoid(2.5 * x) * sigmoid(-2.5 * x),
    ),
    ("tanh", tanh, sech2),
    ("scaled_tanh", lambda x: 1.7159 * tanh(0.6666 * x), lambda x: 1.7159 * 0.6666 * sech2(0.6666 * x)),
    ("relu", lambda x: max(x, 0.0), lambda x: float(x > 0)),
    ("leaky_relu", lambda x: x if x > 0 else 0.01 * x, lambda x: 1 if x > 0 else 0.01),
    ({"name": "leaky_relu", "slope": 0.2}, lambda x: x if x > 0 else 0.2 * x, lambda x: 1 if x > 0 else 0.2),
    ("alrelu", lambda x: x if x > 0 else abs(0.01 * x), lambda x: 1 if x > 0 else -0.01),
    ({"name": "alrelu", "alpha": 2.0}, lambda x: x if x > 0 else abs(2 * x), lambda x: 1 if x > 0 else -2),
    ("prelu", lambda x: x if x > 0 else 0.25 * x, lambda x: 1 if x > 0 else 0.25),
    ("elu", lambda x: x if x > 0 else exp(x) - 1, lambda x: 1 if x > 0 else exp(x)),
    ({"name": "elu", "alpha": 2.0}, lambda x: x if x > 0 else 2 * (exp(x) - 1), lambda x: 1 if x > 0 else 2 * exp(x)),
    (
        "selu",
        lambda x: SELU_SCALE * (x if x > 0 else SELU_ALPHA * (exp(x) - 1)),
        lambda x: SELU_SCALE * (1 if x > 0 else SELU_ALPHA * exp(x)),
    ),
    ("gelu", lambda x: x * normal_share(x), lambda x: normal_share(x) + x * normal_density(x)),
    ("swish", lambda x: x * sigmoid(x), lambda x: sigmoid(x) + x * sigmoid(x) * sigmoid(-x)),
    ("mish", lambda x: x * tanh(log(1 + exp(x))), mish_slope),
    ("relu6", lambda x: min(max(x, 0.0), 6.0), lambda x: float(0 < x < 6)),
    ("softplus", softplus, sigmoid),
    ({"name": "softplus", "beta": 3.0}, lambda x: softplus(3 * x) / 3, lambda x: sigmoid(3 * x)),
]


def build(spec: Any) -> nn.Module:
    read: TypeAdapter[AnyActivation] = TypeAdapter(Activation)
    return build_activation(read.validate_python(spec)).double()


def value_and_slope(module: nn.Module, points: list[float]) -> tuple[list[float], list[float]]:
    inputs = torch.tensor(points, dtype=torch.float64, requires_grad=True)
    outputs = module(inputs)
    (slopes,) = torch.autograd.grad(outputs.sum(), inputs)
    return outputs.tolist(), slopes.tolist()


@pytest.mark.parametrize(("spec", "formula", "derivative"), FORMULAS, ids=[str(entry[0]) for entry in FORMULAS])
def test_values_and_derivatives_are_the_formulas(spec: Any, formula: Function, derivative: Function) -> None:
    values, slopes = value_and_slope(build(spec), POINTS)
    assert values == pytest.approx([formula(x) for x in POINTS], rel=1e-7, abs=1e-8)
    assert slopes == pytest.approx([derivative(x) for x in POINTS], rel=1e-7, abs=1e-8)


@pytest.mark.parametrize(
    ("spec", "value", "slope"),
    [
        ("step", 0, 0),
        ("relu", 0, 0),
        ("leaky_relu", 0, 0.01),
        ("prelu", 0, 0.25),
        ({"name": "elu", "alpha": 2.0}, 0, 2),
        ("relu6", 0, 0),
        ("alrelu", 0, 0),
        ("selu", 0, SELU_SCALE * SELU_ALPHA),
        ("sigmoid", 0.5, 0.25),
        ({"name": "sigmoid", "slope": 4.0}, 0.5, 1),
        ("gelu", 0, 0.5),
    ],
)
def test_at_zero_the_documented_side_is_taken(spec: Any, value: float, slope: float) -> None:
    values, slopes = value_and_slope(build(spec), [0.0])
    assert (values[0], slopes[0]) == (value, pytest.approx(slope))


def test_relu6_is_flat_from_6_on() -> None:
    assert value_and_slope(build("relu6"), [6.0]) == ([6.0], [0.0])


def test_scaled_tanh_is_close_to_one_at_one() -> None:
    values, _ = value_and_slope(build("scaled_tanh"), [-1.0, 1.0])
    assert values == pytest.approx([-1.0, 1.0], abs=2e-4)


def test_the_slope_of_prelu_is_learned() -> None:
    module = build({"name": "prelu", "slope": 0.5})
    module(torch.tensor([-2.0, 3.0], dtype=torch.float64)).sum().backward()
    ((_, slope),) = module.named_parameters()
    assert (slope.item(), slope.grad.item() if slope.grad is not None else None) == (0.5, -2.0)


def test_rrelu_draws_its_slope_in_training_and_takes_the_mean_in_evaluation() -> None:
    module = build({"name": "rrelu", "lower": 0.2, "upper": 0.4})
    inputs = -torch.ones(4000, dtype=torch.float64)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        slopes = -module(inputs)
    assert 0.2 <= slopes.min() < 0.201 and 0.399 < slopes.max() <= 0.4
    assert module.eval()(inputs).tolist() == pytest.approx([-0.3] * 4000)


def test_maxout_takes_the_largest_of_neighbouring_units() -> None:
    rows = torch.tensor([[1.0, 5.0, -2.0, -3.0], [0.0, -1.0, 7.0, 8.0]])
    assert build("maxout")(rows).tolist() == [[5.0, -2.0], [0.0, 8.0]]
    pictures = torch.arange(2 * 6 * 2 * 2.0).reshape(2, 6, 2, 2)
    by_three = build({"name": "maxout", "pieces": 3})(pictures)
    assert torch.equal(by_three, torch.stack([pictures[:, 0:3].amax(1), pictures[:, 3:6].amax(1)], dim=1))


def test_maxout_shares_its_gradient_among_equal_pieces() -> None:
    row = torch.tensor([[4.0, 4.0, 1.0, 2.0]], requires_grad=True)
    build("maxout")(row).sum().backward()
    assert row.grad is not None
    assert row.grad.tolist() == [[0.5, 0.5, 0.0, 1.0]]


@pytest.mark.parametrize(
    ("spec", "shown"),
    [
        ({"name": "sigmoid", "slope": 2.0}, "SlopedSigmoid(slope=2.0)"),
        ("alrelu", "AbsoluteLeakyReLU(alpha=0.01)"),
        ("maxout", "Maxout(pieces=2)"),
        ("sigmoid", "Sigmoid()"),
    ],
)
def test_a_printed_model_shows_the_parameter(spec: Any, shown: str) -> None:
    assert str(build(spec)) == shown
