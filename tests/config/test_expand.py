"""From architectures to layers: `mnist_trainer/config/layers.py`."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter

from mnist_trainer.config.layers import expand, walk
from mnist_trainer.config.model import AnyLayer, AnyModel, Conv, Linear, Model, Residual


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
            plain = {key for key, value in (("stride", 1), ("kind", "max")) if getattr(layer, key, None) == value}
            values = layer.model_dump(exclude={"type", "bias", "padding", *plain}).values()
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
            {"architecture": "lenet5"},
            "conv 6 5, activation scaled_tanh, pool 2 average, conv 16 5, activation scaled_tanh, pool 2 average, "
            "conv 120 5, activation scaled_tanh, flatten, linear 84, activation scaled_tanh, linear classes",
        ),
        (
            {"architecture": "lenet5", "activation": "maxout", "pooling": "max", "output": "softmax"},
            "conv 12 5, activation maxout, pool 2, conv 32 5, activation maxout, pool 2, conv 240 5, "
            "activation maxout, flatten, linear 168, activation maxout, linear classes, output softmax",
        ),
        (
            {"architecture": "vgg", "channels": [4, 6], "dropout": 0.5},
            "conv 4 3, batch_norm, activation relu, conv 4 3, batch_norm, activation relu, pool 2, "
            "conv 6 3, batch_norm, activation relu, conv 6 3, batch_norm, activation relu, "
            "pool global, flatten, dropout 0.5, linear classes",
        ),
        (
            {
                "architecture": "vgg",
                "channels": [4, 6],
                "convolutions": 1,
                "batch_norm": False,
                "squeeze_excite": 2,
                "pooling": "both",
            },
            "conv 4 3, activation relu, squeeze_excite 2, pool 2, conv 6 3, activation relu, squeeze_excite 2, "
            "pool global both, flatten, linear classes",
        ),
        (
            {"architecture": "residual", "channels": [4, 6], "kernel": 5},
            "conv 4 5, batch_norm, activation relu, "
            "residual[conv 4 5, batch_norm, activation relu, conv 4 5, batch_norm], activation relu, "
            "conv 6 5 2, batch_norm, activation relu, "
            "residual[conv 6 5, batch_norm, activation relu, conv 6 5, batch_norm], activation relu, "
            "pool global average, flatten, linear classes",
        ),
        (
            {"architecture": "residual", "channels": [4], "blocks": 2, "squeeze_excite": 8, "activation": "identity"},
            "conv 4 3, batch_norm, "
            "residual[conv 4 3, batch_norm, conv 4 3, batch_norm, squeeze_excite 8], "
            "residual[conv 4 3, batch_norm, conv 4 3, batch_norm, squeeze_excite 8], "
            "pool global average, flatten, linear classes",
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


def test_convolutions_before_a_batch_norm_have_no_bias() -> None:
    for architecture, expected in (("vgg", {False}), ("residual", {False})):
        convolutions = [layer for layer in walk(expand(model(architecture=architecture))) if isinstance(layer, Conv)]
        assert {layer.bias for layer in convolutions} == expected
    plain = walk(expand(model(architecture="vgg", batch_norm=False)))
    assert {layer.bias for layer in plain if isinstance(layer, Conv)} == {True}


def test_ciresans_mlp_is_an_mlp_with_other_defaults() -> None:
    hidden = [2500, 2000, 1500, 1000, 500]
    same = model(architecture="mlp", hidden=hidden, activation="scaled_tanh", init={"uniform": 0.05})
    ours = model(architecture="ciresan_mlp")
    assert (expand(ours), ours.init) == (expand(same), same.init)
    small = {"hidden": 8, "dropout": 0.5, "batch_norm": True, "activation": "relu"}
    assert expand(model(architecture="ciresan_mlp", **small)) == expand(model(architecture="mlp", **small))


@pytest.mark.parametrize("architecture", ["neuron", "mlp", "ciresan_mlp", "cnn"])
def test_bias_false_reaches_every_layer(architecture: str) -> None:
    layers = walk(expand(model(architecture=architecture, bias=False)))
    biases = [layer.bias for layer in layers if hasattr(layer, "bias")]
    assert biases and not any(biases)


def test_walk_goes_into_residual_blocks_in_the_order_of_the_data() -> None:
    inner = Residual(layers=(Linear(units=3),))
    outer = Residual(layers=(Linear(units=2), inner))
    layers = (Linear(units=1), outer, Linear(units=4))
    assert list(walk(layers)) == [layers[0], outer, Linear(units=2), inner, Linear(units=3), layers[2]]
