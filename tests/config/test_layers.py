"""Architectures as lists of layers, their shapes and the model's outputs."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter

from mnist_trainer.config.layers import ShapeError, expand, format_shape, infer_shapes, output_count, output_kind, walk
from mnist_trainer.config.model import AnyLayer, AnyModel, Conv, Layer, Linear, Model, Residual
from mnist_trainer.config.schema import Config


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


def layers(*items: Any) -> tuple[AnyLayer, ...]:
    read: TypeAdapter[AnyLayer] = TypeAdapter(Layer)
    return tuple(read.validate_python(item) for item in items)


def parameters(outputs: int = 10, **settings: Any) -> int:
    read: TypeAdapter[AnyModel] = TypeAdapter(Model)
    return sum(info.parameters for info in infer_shapes(expand(read.validate_python(settings)), outputs))


def test_the_lecture_network_has_59210_parameters() -> None:
    assert parameters(architecture="mlp", hidden=[64, 64, 64]) == 59_210


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({"architecture": "neuron"}, 784 + 1),
        ({"architecture": "neuron", "bias": False}, 784),
        ({"architecture": "neuron", "output": {"name": "maxout", "pieces": 3}}, 3 * (784 + 1)),
        ({"architecture": "mlp", "hidden": []}, 784 * 10 + 10),
        ({"architecture": "mlp", "hidden": [512, 256]}, 784 * 512 + 512 + 512 * 256 + 256 + 256 * 10 + 10),
        ({"architecture": "mlp", "hidden": [512, 256], "bias": False}, 784 * 512 + 512 * 256 + 256 * 10),
        ({"architecture": "mlp", "hidden": [64], "batch_norm": True}, 785 * 64 + 2 * 64 + 65 * 10),
        ({"architecture": "mlp", "hidden": [64], "activation": "prelu"}, 785 * 64 + 1 + 65 * 10),
        ({"architecture": "mlp", "hidden": [64, 32], "activation": "maxout"}, 785 * 128 + 65 * 64 + 33 * 10),
        ({"architecture": "mlp", "hidden": [64, 64], "residual": True}, 785 * 64 + 65 * 64 + 65 * 10),
        ({"architecture": "mlp", "hidden": [64], "dropout": 0.5, "output": "softmax"}, 785 * 64 + 65 * 10),
        (
            {"architecture": "cnn", "channels": [16, 32], "hidden": [128]},
            (9 * 1 + 1) * 16 + (9 * 16 + 1) * 32 + (32 * 7 * 7 + 1) * 128 + 129 * 10,
        ),
        (
            {"architecture": "cnn", "channels": [8], "kernel": 5, "pool": 3, "hidden": [], "batch_norm": True},
            (25 + 1) * 8 + 2 * 8 + (8 * 9 * 9 + 1) * 10,
        ),
        (
            {"architecture": "cnn", "channels": [8, 8], "pool": 1, "hidden": [], "activation": "maxout"},
            (9 + 1) * 16 + (9 * 8 + 1) * 16 + (8 * 28 * 28 + 1) * 10,
        ),
        (
            {"architecture": "lenet5"},
            (25 + 1) * 6 + (25 * 6 + 1) * 16 + (25 * 16 + 1) * 120 + 121 * 84 + 85 * 10,
        ),
        ({"architecture": "ciresan_mlp"}, 785 * 2500 + 2501 * 2000 + 2001 * 1500 + 1501 * 1000 + 1001 * 500 + 501 * 10),
        (
            {"architecture": "vgg"},
            9 * (1 * 32 + 32 * 32 + 32 * 64 + 64 * 64 + 64 * 128 + 128 * 128) + 4 * (32 + 64 + 128) + 129 * 10,
        ),
        (
            {"architecture": "vgg", "channels": [128] * 3, "convolutions": 3, "squeeze_excite": 16, "pooling": "both"},
            9 * (128 + 8 * 128 * 128) + 9 * 2 * 128 + 3 * 2 * 128 * 8 + 257 * 10,
        ),
        (
            {"architecture": "vgg", "channels": [8], "kernel": 5, "convolutions": 1, "batch_norm": False},
            (25 + 1) * 8 + 9 * 10,
        ),
        (
            {"architecture": "residual"},
            9 * (32 + 32 * 64 + 64 * 128) + (9 * 2) * (32**2 + 64**2 + 128**2) + 3 * 2 * (32 + 64 + 128) + 129 * 10,
        ),
        (
            {"architecture": "residual", "channels": [8], "blocks": 4, "squeeze_excite": 4, "pooling": "both"},
            9 * 8 + 16 + 4 * (2 * (9 * 8 * 8 + 16) + 2 * 8 * 2) + 17 * 10,
        ),
    ],
)
def test_parameter_counts_in_closed_form(settings: dict[str, Any], count: int) -> None:
    assert parameters(**settings) == count


@pytest.mark.parametrize(
    ("architecture", "kernel", "sides"),
    [("vgg", 3, [28, 14, 7, 3]), ("residual", 3, [28, 14, 7, 4]), ("residual", 5, [28, 14, 7, 4])],
)
def test_each_block_sees_half_the_sides_of_the_one_before(architecture: str, kernel: int, sides: list[int]) -> None:
    read: TypeAdapter[AnyModel] = TypeAdapter(Model)
    model = read.validate_python({"architecture": architecture, "channels": [1, 2, 3, 4], "kernel": kernel})
    convolved = [info.outputs for info in infer_shapes(expand(model), 10) if info.layer.type == "conv"]
    assert list(dict.fromkeys(convolved)) == [(block + 1, side, side) for block, side in enumerate(sides)]


def test_a_yes_or_no_model_has_one_row_of_weights_at_the_end() -> None:
    assert parameters(architecture="mlp", hidden=[64], outputs=1) == 785 * 64 + 65


@pytest.mark.parametrize(
    ("layer", "shape", "outputs", "count"),
    [
        ({"conv": {"channels": 4, "kernel": 5, "padding": 0}}, (1, 28, 28), (4, 24, 24), 26 * 4),
        ({"conv": {"channels": 4, "kernel": 3, "stride": 2, "padding": 1}}, (2, 28, 28), (4, 14, 14), 19 * 4),
        ({"conv": {"channels": 4, "kernel": 4, "bias": False}}, (2, 9, 5), (4, 9, 5), 32 * 4),
        ({"pool": 3}, (2, 28, 28), (2, 9, 9), 0),
        ({"pool": "global"}, (2, 28, 28), (2, 1, 1), 0),
        ({"pool": {"size": 3, "kind": "both"}}, (2, 28, 28), (4, 9, 9), 0),
        ({"pool": {"size": "global", "kind": "both"}}, (2, 28, 28), (4, 1, 1), 0),
        ("squeeze_excite", (64, 5, 3), (64, 5, 3), 2 * 64 * 4),
        ({"squeeze_excite": 3}, (8, 5, 3), (8, 5, 3), 2 * 8 * 2),
        ({"squeeze_excite": 16}, (8, 5, 3), (8, 5, 3), 2 * 8 * 1),
        ("layer_norm", (2, 3, 3), (2, 3, 3), 2 * 18),
        ("layer_norm", (7,), (7,), 2 * 7),
        ("batch_norm", (2, 3, 3), (2, 3, 3), 2 * 2),
        ({"maxout": {"units": 5, "pieces": 3}}, (7,), (5,), 8 * 15),
        ({"activation": {"name": "maxout", "pieces": 3}}, (6, 4, 4), (2, 4, 4), 0),
        ({"residual": ["batch_norm", {"linear": 7}]}, (7,), (7,), 14 + 56),
    ],
)
def test_one_layer(layer: Any, shape: tuple[int, ...], outputs: tuple[int, ...], count: int) -> None:
    (info,) = infer_shapes(layers(layer), 10, shape)
    assert (info.inputs, info.outputs, info.parameters) == (shape, outputs, count)


def test_activations_count_what_is_inside_residual_blocks_too() -> None:
    (info,) = infer_shapes(layers({"residual": [{"linear": 9}, {"linear": 7}]}), 10, (7,))
    assert info.activations() == 9 + 7 + 7


def test_activations_count_what_a_squeeze_excite_makes_besides() -> None:
    (info,) = infer_shapes(layers({"squeeze_excite": 4}), 10, (8, 5, 3))
    assert info.activations() == 8 * 5 * 3 + 8 + 8 + 2 + 2 + 8 + 8  # means twice: pooled, then flattened


@pytest.mark.parametrize(
    ("items", "position", "message"),
    [
        ([{"linear": 10}], (0,), "linear needs a row of numbers, got a picture 1×28×28; put a flatten before it"),
        (
            [{"pool": 2}, {"maxout": 10}],
            (1,),
            "maxout needs a row of numbers, got a picture 1×14×14; put a flatten before it",
        ),
        (["flatten", {"conv": 8}], (1,), "conv needs a picture, got a row of 784 numbers"),
        (["flatten", "squeeze_excite"], (1,), "squeeze_excite needs a picture, got a row of 784 numbers"),
        (
            [{"residual": [{"pool": {"size": "global"}}, "flatten", {"squeeze_excite": 2}]}],
            (0, 2),
            "squeeze_excite needs a picture, got a row of 1 numbers",
        ),
        (["flatten", {"pool": 2}], (1,), "pool needs a picture, got a row of 784 numbers"),
        (
            [{"conv": {"channels": 8, "stride": 2}}],
            (0,),
            "padding 'same' needs stride 1; with stride 2 write a number of pixels",
        ),
        (
            [{"pool": 14}, {"conv": {"channels": 8, "kernel": 5, "padding": 1}}],
            (1,),
            "a kernel of 5 does not fit into the picture 1×2×2",
        ),
        ([{"pool": 29}], (0,), "a window of 29 does not fit into the picture 1×28×28"),
        (
            ["flatten", {"linear": 9}, {"activation": "maxout"}],
            (2,),
            "maxout with 2 pieces needs a multiple of 2 units, got 9",
        ),
        (
            ["flatten", {"residual": [{"linear": 64}]}],
            (1,),
            "residual layers must keep the shape: 784 goes in, 64 comes out",
        ),
        (
            ["flatten", {"residual": ["batch_norm", {"residual": [{"conv": 8}]}]}],
            (1, 1, 0),
            "conv needs a picture, got a row of 784 numbers",
        ),
    ],
)
def test_a_misfit_names_the_layer_and_what_is_wrong(items: list[Any], position: tuple[int, ...], message: str) -> None:
    with pytest.raises(ShapeError) as caught:
        infer_shapes(layers(*items), 10)
    assert (caught.value.position, str(caught.value)) == (position, message)


def test_shapes_are_written_as_people_write_them() -> None:
    assert (format_shape((1, 28, 28)), format_shape((64,))) == ("1×28×28", "64")


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
