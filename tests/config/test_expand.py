"""From architectures to layers: `mnist_trainer/config/expand.py`."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter

from mnist_trainer.config.architectures import AnyModel, Model
from mnist_trainer.config.expand import expand, walk
from mnist_trainer.config.layers import AnyLayer, Linear, Residual


def model(**settings: Any) -> AnyModel:
    read: TypeAdapter[AnyModel] = TypeAdapter(Model)
    return read.validate_python(settings)


def written(layers: tuple[AnyLayer, ...]) -> list[str]:
    """Each layer in a word: `linear 64`, `activation relu`."""
    return [_word(layer) for layer in layers]


def _word(layer: AnyLayer) -> str:
    match layer:
        case Residual():
            return f"residual[{', '.join(written(layer.layers))}]"
        case _:
            values = layer.model_dump(exclude={"type", "bias", "stride", "padding", "kind"}).values()
            return " ".join(
                [layer.type, *(str(value["name"] if isinstance(value, dict) else value) for value in values)]
            )


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"architecture": "neuron"}, "flatten, linear 1"),
        ({"architecture": "neuron", "output": "sigmoid"}, "flatten, linear 1, activation sigmoid"),
        ({"architecture": "neuron", "output": {"name": "maxout", "pieces": 3}}, "flatten, linear 3, activation maxout"),
        ({"architecture": "mlp", "hidden": []}, "flatten, linear classes"),
        ({"architecture": "mlp", "hidden": 64}, "flatten, linear 64, activation relu, linear classes"),
        (
            {"architecture": "mlp", "hidden": {"layers": 2, "units": 8}, "activation": "tanh", "output": "softmax"},
            "flatten, linear 8, activation tanh, linear 8, activation tanh, linear classes, output softmax",
        ),
        (
            {"architecture": "mlp", "hidden": [8], "batch_norm": True, "dropout": 0.5},
            "flatten, linear 8, batch_norm, activation relu, dropout 0.5, linear classes",
        ),
        (
            {"architecture": "mlp", "hidden": [8, 8, 4], "residual": True},
            "flatten, linear 8, activation relu, residual[linear 8, activation relu], linear 4, activation relu, "
            "linear classes",
        ),
        (
            {"architecture": "mlp", "hidden": [8], "activation": {"name": "maxout", "pieces": 3}, "batch_norm": True},
            "flatten, linear 24, batch_norm, activation maxout, linear classes",
        ),
        ({"architecture": "mlp", "hidden": [8], "activation": "identity"}, "flatten, linear 8, linear classes"),
        (
            {"architecture": "cnn", "channels": [4, 6], "hidden": [8], "batch_norm": True, "dropout": 0.1},
            "conv 4 3, batch_norm, activation relu, pool 2, conv 6 3, batch_norm, activation relu, pool 2, flatten, "
            "dropout 0.1, linear 8, activation relu, dropout 0.1, linear classes",
        ),
        (
            {"architecture": "cnn", "channels": [4], "kernel": 5, "pool": 0, "hidden": [], "activation": "maxout"},
            "conv 8 5, activation maxout, flatten, linear classes",
        ),
        (
            {"architecture": "cnn", "channels": [4], "pool": 1, "hidden": []},
            "conv 4 3, activation relu, flatten, linear classes",
        ),
        (
            {"architecture": "layers", "layers": [{"pool": 4}, "flatten", {"linear": "classes"}], "output": "sigmoid"},
            "pool 4, flatten, linear classes, output sigmoid",
        ),
    ],
)
def test_the_layers_an_architecture_stands_for(settings: dict[str, Any], expected: str) -> None:
    assert ", ".join(written(expand(model(**settings)))) == expected


@pytest.mark.parametrize("architecture", ["neuron", "mlp", "cnn"])
def test_bias_false_reaches_every_layer(architecture: str) -> None:
    layers = walk(expand(model(architecture=architecture, bias=False)))
    biases = [layer.bias for layer in layers if hasattr(layer, "bias")]
    assert biases and not any(biases)


def test_walk_goes_into_residual_blocks_in_the_order_of_the_data() -> None:
    inner = Residual(layers=(Linear(units=3),))
    outer = Residual(layers=(Linear(units=2), inner))
    layers = (Linear(units=1), outer, Linear(units=4))
    assert list(walk(layers)) == [layers[0], outer, Linear(units=2), inner, Linear(units=3), layers[2]]
