"""How many outputs and of which kind: `mnist_trainer/config/layers.py`."""

from __future__ import annotations

from typing import Any

import pytest

from mnist_trainer.config.layers import output_count, output_kind
from mnist_trainer.config.schema import Config


def config(model: dict[str, Any], loss: str, binary: int | None = None) -> Config:
    return Config.model_validate({"model": model, "loss": loss, "data": {"binary": binary}})


@pytest.mark.parametrize("loss", ["cross_entropy", "nll", "bce", "mse", "absolute"])
def test_one_output_a_class(loss: str) -> None:
    assert output_count(config({"architecture": "mlp"}, loss), 10) == 10


@pytest.mark.parametrize(("loss", "count"), [("bce", 1), ("mse", 1), ("absolute", 1), ("cross_entropy", 2), ("nll", 2)])
def test_a_yes_or_no_task_has_one_output_unless_its_loss_compares_classes(loss: str, count: int) -> None:
    assert output_count(config({"architecture": "mlp"}, loss, binary=7), 2) == count


@pytest.mark.parametrize("architecture", ["mlp", "ciresan_mlp", "cnn", "lenet5", "vgg", "residual", "layers"])
@pytest.mark.parametrize(
    ("output", "loss", "kind"),
    [
        ("none", "cross_entropy", "logits"),
        ("none", "bce", "logits"),
        ("none", "mse", "values"),
        ("none", "absolute", "values"),
        ("softmax", "cross_entropy", "probabilities"),
        ("softmax", "mse", "probabilities"),
        ("log_softmax", "nll", "log_probabilities"),
        ("sigmoid", "bce", "sigmoid"),
        ("sigmoid", "mse", "sigmoid"),
    ],
)
def test_the_kind_follows_from_the_last_function_and_the_loss(
    architecture: str, output: str, loss: str, kind: str
) -> None:
    layers = {"layers": ["flatten", {"linear": "classes"}]} if architecture == "layers" else {}
    assert output_kind(config({"architecture": architecture, "output": output, **layers}, loss)) == kind


@pytest.mark.parametrize(
    ("output", "loss", "kind"),
    [
        ("identity", "bce", "logits"),
        ("identity", "mse", "values"),
        ("sigmoid", "bce", "sigmoid"),
        ("sigmoid", "absolute", "sigmoid"),
        ("tanh", "mse", "values"),
        ("step", "mse", "values"),
        ("relu", "bce", "sigmoid"),
    ],
)
def test_the_kind_of_a_neuron_follows_from_its_activation(output: str, loss: str, kind: str) -> None:
    assert output_kind(config({"architecture": "neuron", "output": output}, loss, binary=7)) == kind
