"""From an architecture to the list of layers it stands for: `--check`, the warnings and the builder read that list.

Shapes and parameter counts of a list of layers, in plain numbers: no torch, no memory, however large the model.

What a model's raw outputs are: how many, and of which kind. Losses, evaluation and warnings all ask here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal, assert_never

from mnist_trainer.config.model import (
    ActivationLayer,
    AnyActivation,
    AnyLayer,
    AnyModel,
    BatchNorm,
    CiresanMlp,
    Cnn,
    Conv,
    Dropout,
    Flatten,
    FullyConnected,
    FullyConvolutional,
    LayerNorm,
    Layers,
    LeNet5,
    Linear,
    Maxout,
    MaxoutLayer,
    Mlp,
    Neuron,
    Output,
    ParametricRelu,
    PlainActivation,
    Pool,
    Residual,
    ResidualNet,
    Sigmoid,
    SqueezeExcite,
    Vgg,
    WrittenLayer,
)
from mnist_trainer.config.objective import ClassLoss, DistanceLoss
from mnist_trainer.config.schema import Config


def expand(model: AnyModel) -> tuple[AnyLayer, ...]:
    """The layers of `model`, from the image [1, 28, 28] to its outputs; `units: classes` stands for their number."""
    match model:
        case Neuron():
            return (Flatten(), *_activated(Linear(units=1, bias=model.bias), model.output))
        case Mlp() | CiresanMlp():
            return (Flatten(), *_mlp(model), *_output(model))
        case Cnn():
            return (*_cnn(model), *_output(model))
        case LeNet5():
            return (*_lenet5(model), *_output(model))
        case Vgg():
            return (*_vgg(model), *_pooled(model), *_output(model))
        case ResidualNet():
            return (*_residual(model), *_pooled(model), *_output(model))
        case Layers():
            return (*model.layers, *_output(model))
        case _:
            assert_never(model)


def _mlp(model: FullyConnected) -> Iterator[WrittenLayer]:
    before: int | None = None
    for units in model.hidden:
        block = tuple(_hidden(Linear(units=units, bias=model.bias), model))
        if model.residual and units == before:
            yield Residual(layers=block)
        else:
            yield from block
        before = units
    yield Linear(units="classes", bias=model.bias)


def _cnn(model: Cnn) -> Iterator[WrittenLayer]:
    for channels in model.channels:
        conv = Conv(channels=channels, kernel=model.kernel, bias=model.bias)
        yield from _activated(conv, model.activation, batch_norm=model.batch_norm)
        if model.pool > 1:
            yield Pool(size=model.pool)
    yield Flatten()
    for units in model.hidden:
        if model.dropout:
            yield Dropout(rate=model.dropout)
        yield from _activated(Linear(units=units, bias=model.bias), model.activation)
    if model.dropout:
        yield Dropout(rate=model.dropout)
    yield Linear(units="classes", bias=model.bias)


def _lenet5(model: LeNet5) -> Iterator[WrittenLayer]:
    for conv in (Conv(channels=6, kernel=5), Conv(channels=16, kernel=5, padding=0)):
        yield from _activated(conv, model.activation)
        yield Pool(kind=model.pooling)
    yield from _activated(Conv(channels=120, kernel=5, padding=0), model.activation)
    yield Flatten()
    yield from _activated(Linear(units=84), model.activation)
    yield Linear(units="classes")


def _vgg(model: Vgg) -> Iterator[WrittenLayer]:
    for block, channels in enumerate(model.channels):
        if block:
            yield Pool()
        # what a batch norm subtracts again needs no bias
        conv = Conv(channels=channels, kernel=model.kernel, bias=not model.batch_norm)
        for _ in range(model.convolutions):
            yield from _activated(conv, model.activation, batch_norm=model.batch_norm)
        yield from _squeeze_excite(model)


def _residual(model: ResidualNet) -> Iterator[WrittenLayer]:
    for stage, channels in enumerate(model.channels):
        conv = Conv(channels=channels, kernel=model.kernel, bias=False)
        halving = conv.model_copy(update={"stride": 2, "padding": model.kernel // 2})
        yield from _activated(halving if stage else conv, model.activation, batch_norm=True)
        first = _activated(conv, model.activation, batch_norm=True)
        block = Residual(layers=(*first, conv, BatchNorm(), *_squeeze_excite(model)))
        for _ in range(model.blocks):
            yield block
            yield from _activation(model.activation)


def _squeeze_excite(model: FullyConvolutional) -> Iterator[SqueezeExcite]:
    if model.squeeze_excite:
        yield SqueezeExcite(reduction=model.squeeze_excite)


def _pooled(model: FullyConvolutional) -> Iterator[WrittenLayer]:
    """From pictures of any size to the outputs."""
    yield Pool(size="global", kind=model.pooling)
    yield Flatten()
    if model.dropout:
        yield Dropout(rate=model.dropout)
    yield Linear(units="classes")


def _hidden(linear: Linear, model: FullyConnected) -> Iterator[WrittenLayer]:
    yield from _activated(linear, model.activation, batch_norm=model.batch_norm)
    if model.dropout:
        yield Dropout(rate=model.dropout)


def _activated(layer: Linear | Conv, activation: AnyActivation, batch_norm: bool = False) -> Iterator[WrittenLayer]:
    """`layer`, made wider where a maxout takes the largest of several units, and what follows it."""
    pieces = activation.pieces if isinstance(activation, Maxout) else 1
    match layer:
        case Linear(units=int(units)):
            yield layer.model_copy(update={"units": units * pieces})
        case Conv():
            yield layer.model_copy(update={"channels": layer.channels * pieces})
        case _:
            yield layer
    if batch_norm:
        yield BatchNorm()
    yield from _activation(activation)


def _activation(activation: AnyActivation) -> Iterator[ActivationLayer]:
    if activation != PlainActivation(name="identity"):
        yield ActivationLayer(function=activation)


def _output(model: FullyConnected | Cnn | LeNet5 | FullyConvolutional | Layers) -> Iterator[Output]:
    if model.output != "none":
        yield Output(function=model.output)


def walk(layers: tuple[AnyLayer, ...]) -> Iterator[AnyLayer]:
    """Every layer in the order data passes it; a residual block is followed by what is inside it."""
    for layer in layers:
        yield layer
        if isinstance(layer, Residual):
            yield from walk(layer.layers)


Shape = tuple[int, ...]
"""Of one image's data, without the batch: `(1, 28, 28)` or `(64,)`."""

IMAGE: Shape = (1, 28, 28)


@dataclass(frozen=True)
class LayerInfo:
    """A layer at its place: what goes in, what comes out, and how many parameters it has."""

    layer: AnyLayer
    inputs: Shape
    outputs: Shape
    parameters: int
    inner: tuple[LayerInfo, ...] = ()

    def activations(self) -> int:
        """Values this layer produces for one image, those of inner layers with it."""
        return prod(self.outputs) + sum(infos.activations() for infos in self.inner)


class ShapeError(Exception):
    """A layer that cannot take what the one before gives; `position` is its index (and those inside residuals)."""

    def __init__(self, position: tuple[int, ...], message: str) -> None:
        super().__init__(message)
        self.position = position


def infer_shapes(layers: Sequence[AnyLayer], outputs: int, shape: Shape = IMAGE) -> tuple[LayerInfo, ...]:
    """Each layer with its shapes; `units: classes` becomes `outputs`. Raises `ShapeError` at the first misfit."""
    infos: list[LayerInfo] = []
    for position, layer in enumerate(layers):
        try:
            infos.append(_infer(layer, shape, outputs))
        except ShapeError as error:
            raise ShapeError((position, *error.position), str(error)) from None
        shape = infos[-1].outputs
    return tuple(infos)


def _infer(layer: AnyLayer, shape: Shape, outputs: int) -> LayerInfo:  # noqa: PLR0911 - one return a layer
    match layer:
        case Linear():
            units = outputs if layer.units == "classes" else layer.units
            return LayerInfo(layer, shape, (units,), (_require_features(layer, shape) + layer.bias) * units)
        case MaxoutLayer():
            width = layer.units * layer.pieces
            return LayerInfo(layer, shape, (layer.units,), (_require_features(layer, shape) + 1) * width)
        case Conv():
            channels = _require_image(layer, shape)[0]
            parameters = (channels * layer.kernel**2 + layer.bias) * layer.channels
            return LayerInfo(layer, shape, _conv_shape(layer, shape), parameters)
        case Pool():
            return LayerInfo(layer, shape, _pool_shape(layer, shape), 0)
        case Flatten():
            return LayerInfo(layer, shape, (prod(shape),), 0)
        case BatchNorm():
            return LayerInfo(layer, shape, shape, 2 * shape[0])
        case LayerNorm():
            return LayerInfo(layer, shape, shape, 2 * prod(shape))
        case ActivationLayer():
            return LayerInfo(
                layer, shape, _activation_shape(layer, shape), int(isinstance(layer.function, ParametricRelu))
            )
        case Dropout() | Output():
            return LayerInfo(layer, shape, shape, 0)
        case Residual():
            return _residual_info(layer, shape, outputs)
        case SqueezeExcite():
            return _block_info(
                layer,
                shape,
                infer_shapes(_squeeze_excite_layers(layer, _require_image(layer, shape)[0]), outputs, shape),
            )
        case _:
            assert_never(layer)


def _require_features(layer: AnyLayer, shape: Shape) -> int:
    if len(shape) != 1:
        raise ShapeError(
            (), f"{layer.type} needs a row of numbers, got a picture {format_shape(shape)}; put a flatten before it"
        )
    return shape[0]


def _require_image(layer: AnyLayer, shape: Shape) -> Shape:
    if len(shape) != 3:
        raise ShapeError((), f"{layer.type} needs a picture, got a row of {format_shape(shape)} numbers")
    return shape


def _conv_shape(layer: Conv, shape: Shape) -> Shape:
    _, height, width = shape
    if layer.padding == "same":
        if layer.stride != 1:
            raise ShapeError((), f"padding 'same' needs stride 1; with stride {layer.stride} write a number of pixels")
        return (layer.channels, height, width)
    sides = [(side + 2 * layer.padding - layer.kernel) // layer.stride + 1 for side in (height, width)]
    if min(sides) < 1:
        raise ShapeError((), f"a kernel of {layer.kernel} does not fit into the picture {format_shape(shape)}")
    return (layer.channels, *sides)


def _pool_shape(layer: Pool, shape: Shape) -> Shape:
    channels, height, width = _require_image(layer, shape)
    channels *= 2 if layer.kind == "both" else 1
    if layer.size == "global":
        return (channels, 1, 1)
    if layer.size > min(height, width):
        raise ShapeError((), f"a window of {layer.size} does not fit into the picture {format_shape(shape)}")
    return (channels, height // layer.size, width // layer.size)


def _activation_shape(layer: ActivationLayer, shape: Shape) -> Shape:
    if not isinstance(layer.function, Maxout):
        return shape
    pieces = layer.function.pieces
    if shape[0] % pieces:
        raise ShapeError((), f"maxout with {pieces} pieces needs a multiple of {pieces} units, got {shape[0]}")
    return (shape[0] // pieces, *shape[1:])


def _residual_info(layer: Residual, shape: Shape, outputs: int) -> LayerInfo:
    inner = infer_shapes(layer.layers, outputs, shape)
    if inner[-1].outputs != shape:
        raise ShapeError(
            (),
            f"residual layers must keep the shape: {format_shape(shape)} goes in, "
            f"{format_shape(inner[-1].outputs)} comes out",
        )
    return _block_info(layer, shape, inner)


def _block_info(layer: Residual | SqueezeExcite, shape: Shape, inner: tuple[LayerInfo, ...]) -> LayerInfo:
    return LayerInfo(layer, shape, shape, sum(part.parameters for part in inner), inner)


def _squeeze_excite_layers(layer: SqueezeExcite, channels: int) -> tuple[AnyLayer, ...]:
    """From a picture to a number for each of its `channels`; without biases, as section 6.1 of the paper advises."""
    return (
        Pool(size="global", kind="average"),
        Flatten(),
        Linear(units=max(1, channels // layer.reduction), bias=False),
        ActivationLayer(function=PlainActivation(name="relu")),
        Linear(units=channels, bias=False),
        ActivationLayer(function=Sigmoid()),
    )


def format_shape(shape: Shape) -> str:
    """`1×28×28`, as people write it."""
    return "×".join(map(str, shape))


OutputKind = Literal["logits", "probabilities", "log_probabilities", "sigmoid", "values"]
"""How raw outputs turn into probabilities (`inference/predictor.py`)."""


def output_count(config: Config, classes: int) -> int:
    """One output a class; but a single one for a yes/no task, unless its loss compares classes."""
    yes_or_no = config.data.binary is not None
    return 1 if yes_or_no and not isinstance(config.loss, ClassLoss) else classes


def output_kind(config: Config) -> OutputKind:
    """The kind of the raw outputs, which follows from the last function and, without one, from the loss."""
    distance = isinstance(config.loss, DistanceLoss)
    if isinstance(config.model, Neuron):
        match config.model.output:
            case Sigmoid():
                return "sigmoid"
            case PlainActivation(name="identity"):
                return "values" if distance else "logits"
            case _:
                return "values" if distance else "sigmoid"
    match config.model.output:
        case "softmax":
            return "probabilities"
        case "log_softmax":
            return "log_probabilities"
        case "sigmoid":
            return "sigmoid"
        case "none":
            return "values" if distance else "logits"
