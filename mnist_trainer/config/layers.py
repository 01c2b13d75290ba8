"""The layers of a model: architectures are expanded into lists of layers, and output shapes and parameter counts are
inferred without torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Literal, assert_never

from mnist_trainer.config import model as cfg
from mnist_trainer.config.model import AnyActivation, AnyLayer, AnyModel, WrittenLayer
from mnist_trainer.config.schema import ClassLoss, Config, DistanceLoss


@lru_cache
def expand(model: AnyModel) -> tuple[AnyLayer, ...]:
    """Return the layers of `model`, from the image [1, 28, 28] to its outputs, whose number is `units: classes`."""
    match model:
        case cfg.Neuron():
            return (cfg.Flatten(), *_activated(cfg.Linear(units=1, bias=model.bias), model.output))
        case cfg.Mlp() | cfg.CiresanMlp():
            layers: Iterator[AnyLayer] = _mlp(model)
        case cfg.Cnn():
            layers = _cnn(model)
        case cfg.LeNet5():
            layers = _lenet5(model)
        case cfg.Vgg():
            layers = _vgg(model)
        case cfg.ResidualNet():
            layers = _residual(model)
        case cfg.Layers():
            layers = iter(model.layers)
        case _:
            assert_never(model)
    return (*layers, *(() if model.output == "none" else (cfg.Output(function=model.output),)))


def _mlp(model: cfg.FullyConnected) -> Iterator[WrittenLayer]:
    """Yield the layers of `architecture: mlp`."""
    yield cfg.Flatten()
    before: int | None = None
    for units in model.hidden:
        block = _activated(cfg.Linear(units=units, bias=model.bias), model.activation, batch_norm=model.batch_norm)
        block = (*block, *_dropout(model.dropout))
        yield from (cfg.Residual(layers=block),) if model.residual and units == before else block
        before = units
    yield cfg.Linear(units="classes", bias=model.bias)


def _cnn(model: cfg.Cnn) -> Iterator[WrittenLayer]:
    """Yield the layers of `architecture: cnn`."""
    for channels in model.channels:
        conv = cfg.Conv(channels=channels, kernel=model.kernel, bias=model.bias)
        yield from _activated(conv, model.activation, batch_norm=model.batch_norm)
        if model.pool > 1:
            yield cfg.Pool(size=model.pool)
    yield cfg.Flatten()
    for units in model.hidden:
        yield from _dropout(model.dropout)
        yield from _activated(cfg.Linear(units=units, bias=model.bias), model.activation)
    yield from _dropout(model.dropout)
    yield cfg.Linear(units="classes", bias=model.bias)


def _lenet5(model: cfg.LeNet5) -> Iterator[WrittenLayer]:
    """Yield the layers of `architecture: lenet5`."""
    for conv in (cfg.Conv(channels=6, kernel=5), cfg.Conv(channels=16, kernel=5, padding=0)):
        yield from _activated(conv, model.activation)
        yield cfg.Pool(kind=model.pooling)
    yield from _activated(cfg.Conv(channels=120, kernel=5, padding=0), model.activation)
    yield cfg.Flatten()
    yield from _activated(cfg.Linear(units=84), model.activation)
    yield cfg.Linear(units="classes")


def _vgg(model: cfg.Vgg) -> Iterator[WrittenLayer]:
    """Yield the layers of `architecture: vgg`."""
    for block, channels in enumerate(model.channels):
        if block:
            yield cfg.Pool()
        # batch norm subtracts the mean, so that a bias before it has no effect
        conv = cfg.Conv(channels=channels, kernel=model.kernel, bias=not model.batch_norm)
        yield from model.convolutions * _activated(conv, model.activation, batch_norm=model.batch_norm)
        yield from _squeeze_excite(model)
    yield from _classifier(model)


def _residual(model: cfg.ResidualNet) -> Iterator[WrittenLayer]:
    """Yield the layers of the residual network."""
    for stage, channels in enumerate(model.channels):
        conv = cfg.Conv(channels=channels, kernel=model.kernel, bias=False)
        halving = conv.model_copy(update={"stride": 2, "padding": model.kernel // 2})
        yield from _activated(halving if stage else conv, model.activation, batch_norm=True)
        first = _activated(conv, model.activation, batch_norm=True)
        block = cfg.Residual(layers=(*first, conv, cfg.BatchNorm(), *_squeeze_excite(model)))
        for _ in range(model.blocks):
            yield block
            yield from _activation(model.activation)
    yield from _classifier(model)


def _squeeze_excite(model: cfg.FullyConvolutional) -> tuple[cfg.SqueezeExcite, ...]:
    return (cfg.SqueezeExcite(reduction=model.squeeze_excite),) if model.squeeze_excite else ()


def _classifier(model: cfg.FullyConvolutional) -> Iterator[WrittenLayer]:
    """Yield the layers from images of any size to the outputs."""
    yield cfg.Pool(size="global", kind=model.pooling)
    yield cfg.Flatten()
    yield from _dropout(model.dropout)
    yield cfg.Linear(units="classes")


def _dropout(rate: float) -> tuple[cfg.Dropout, ...]:
    return (cfg.Dropout(rate=rate),) if rate else ()


def _activated(
    layer: cfg.Linear | cfg.Conv, activation: AnyActivation, batch_norm: bool = False
) -> tuple[WrittenLayer, ...]:
    """Return `layer` (widened for a maxout, which takes the largest of several units), batch norm and activation."""
    pieces = activation.pieces if isinstance(activation, cfg.Maxout) else 1
    match layer:
        case cfg.Linear(units=int(units)):
            layer = layer.model_copy(update={"units": units * pieces})
        case cfg.Conv():
            layer = layer.model_copy(update={"channels": layer.channels * pieces})
    return (layer, *((cfg.BatchNorm(),) if batch_norm else ()), *_activation(activation))


def _activation(activation: AnyActivation) -> tuple[cfg.ActivationLayer, ...]:
    if activation == cfg.PlainActivation(name="identity"):
        return ()
    return (cfg.ActivationLayer(function=activation),)


def walk(layers: tuple[AnyLayer, ...]) -> Iterator[AnyLayer]:
    """Yield every layer in order; a residual block is followed by the layers inside it."""
    for layer in layers:
        yield layer
        if isinstance(layer, cfg.Residual):
            yield from walk(layer.layers)


Shape = tuple[int, ...]
"""The shape of one image's data, without the batch: `(1, 28, 28)` or `(64,)`."""

IMAGE: Shape = (1, 28, 28)


@dataclass(frozen=True)
class LayerInfo:
    """A layer with the shapes of its input and output, its number of parameters and the layers inside it."""

    layer: AnyLayer
    inputs: Shape
    outputs: Shape
    parameters: int
    inner: tuple[LayerInfo, ...] = ()

    def activations(self) -> int:
        """Return how many values this layer and those inside it produce for one image."""
        return prod(self.outputs) + sum(info.activations() for info in self.inner)


class ShapeError(Exception):
    """A layer whose input has the wrong shape; `position` is its index (and the indices inside residual blocks)."""

    def __init__(self, position: tuple[int, ...], message: str) -> None:
        super().__init__(message)
        self.position = position


@lru_cache
def infer_shapes(layers: tuple[AnyLayer, ...], outputs: int, shape: Shape = IMAGE) -> tuple[LayerInfo, ...]:
    """Return each layer with its shapes; `units: classes` becomes `outputs`. Raises the first `ShapeError`."""
    infos: list[LayerInfo] = []
    for position, layer in enumerate(layers):
        try:
            infos.append(_infer(layer, shape, outputs))
        except ShapeError as error:
            raise ShapeError((position, *error.position), str(error)) from None
        shape = infos[-1].outputs
    return tuple(infos)


def _infer(layer: AnyLayer, shape: Shape, outputs: int) -> LayerInfo:
    """Return `layer` with its shapes for an input of `shape`. Raises `ShapeError` without a position."""
    result, parameters = shape, 0
    inner: tuple[LayerInfo, ...] = ()
    match layer:
        case cfg.Linear():
            result = (outputs if layer.units == "classes" else layer.units,)
            parameters = (_features(layer, shape) + layer.bias) * result[0]
        case cfg.MaxoutLayer():
            result = (layer.units,)
            parameters = (_features(layer, shape) + 1) * layer.units * layer.pieces
        case cfg.Conv():
            result = _conv_shape(layer, shape)
            parameters = (shape[0] * layer.kernel**2 + layer.bias) * layer.channels
        case cfg.Pool():
            result = _pool_shape(layer, shape)
        case cfg.Flatten():
            result = (prod(shape),)
        case cfg.BatchNorm():
            parameters = 2 * shape[0]
        case cfg.LayerNorm():
            parameters = 2 * prod(shape)
        case cfg.ActivationLayer():
            result = _activation_shape(layer, shape)
            parameters = int(isinstance(layer.function, cfg.ParametricRelu))
        case cfg.Residual():
            inner = infer_shapes(layer.layers, outputs, shape)
            if inner[-1].outputs != shape:
                before, after = format_shape(shape), format_shape(inner[-1].outputs)
                raise ShapeError((), f"residual layers must keep the shape: {before} goes in, {after} comes out")
        case cfg.SqueezeExcite():
            inner = infer_shapes(_excitation(layer, _image(layer, shape)[0]), outputs, shape)
        case cfg.Dropout() | cfg.Output():
            pass
        case _:
            assert_never(layer)
    return LayerInfo(layer, shape, result, parameters + sum(info.parameters for info in inner), inner)


def _features(layer: AnyLayer, shape: Shape) -> int:
    """Return the number of inputs of a layer that needs a row of numbers. Raises `ShapeError` for a picture."""
    if len(shape) != 1:
        problem = f"{layer.type} needs a row of numbers, got a picture {format_shape(shape)}; put a flatten before it"
        raise ShapeError((), problem)
    return shape[0]


def _image(layer: AnyLayer, shape: Shape) -> Shape:
    """Return `shape` if it is that of a picture, else raise `ShapeError`."""
    if len(shape) != 3:
        raise ShapeError((), f"{layer.type} needs a picture, got a row of {format_shape(shape)} numbers")
    return shape


def _conv_shape(layer: cfg.Conv, shape: Shape) -> Shape:
    """Return the output shape of a convolution. Raises `ShapeError` if its kernel doesn't fit."""
    _, height, width = _image(layer, shape)
    if layer.padding == "same":
        if layer.stride != 1:
            raise ShapeError((), f"padding 'same' needs stride 1; with stride {layer.stride} write a number of pixels")
        return (layer.channels, height, width)
    sides = [(side + 2 * layer.padding - layer.kernel) // layer.stride + 1 for side in (height, width)]
    if min(sides) < 1:
        raise ShapeError((), f"a kernel of {layer.kernel} does not fit into the picture {format_shape(shape)}")
    return (layer.channels, *sides)


def _pool_shape(layer: cfg.Pool, shape: Shape) -> Shape:
    """Return the output shape of a pooling layer. Raises `ShapeError` if its window doesn't fit."""
    channels, height, width = _image(layer, shape)
    channels *= 2 if layer.kind == "both" else 1
    if layer.size == "global":
        return (channels, 1, 1)
    if layer.size > min(height, width):
        raise ShapeError((), f"a window of {layer.size} does not fit into the picture {format_shape(shape)}")
    return (channels, height // layer.size, width // layer.size)


def _activation_shape(layer: cfg.ActivationLayer, shape: Shape) -> Shape:
    """Return the output shape of an activation; only maxout changes it."""
    if not isinstance(layer.function, cfg.Maxout):
        return shape
    pieces = layer.function.pieces
    if shape[0] % pieces:
        raise ShapeError((), f"maxout with {pieces} pieces needs a multiple of {pieces} units, got {shape[0]}")
    return (shape[0] // pieces, *shape[1:])


def _excitation(layer: cfg.SqueezeExcite, channels: int) -> tuple[AnyLayer, ...]:
    """Return the layers that compute a factor for each channel; without biases, as in section 6.1 of the paper."""
    return (
        cfg.Pool(size="global", kind="average"),
        cfg.Flatten(),
        cfg.Linear(units=max(1, channels // layer.reduction), bias=False),
        cfg.ActivationLayer(function=cfg.PlainActivation(name="relu")),
        cfg.Linear(units=channels, bias=False),
        cfg.ActivationLayer(function=cfg.Sigmoid()),
    )


def format_shape(shape: Shape) -> str:
    """Return `1×28×28`."""
    return "×".join(map(str, shape))


OutputKind = Literal["logits", "probabilities", "log_probabilities", "sigmoid", "values"]
"""Kind of the raw outputs, which decides how they are converted to probabilities (`inference/predictor.py`)."""


def output_count(config: Config, classes: int) -> int:
    """Return the number of outputs: one for each class, or a single one for a yes/no task with bce, mse or absolute."""
    yes_or_no = config.data.binary is not None
    return 1 if yes_or_no and not isinstance(config.loss, ClassLoss) else classes


def output_kind(config: Config) -> OutputKind:
    """Return the kind of the raw outputs, from `model.output` or, if that is `none`, from the loss."""
    is_distance = isinstance(config.loss, DistanceLoss)
    match config.model.output.name if isinstance(config.model, cfg.Neuron) else config.model.output:
        case "none" | "identity":
            return "values" if is_distance else "logits"
        case "softmax":
            return "probabilities"
        case "log_softmax":
            return "log_probabilities"
        case "sigmoid":
            return "sigmoid"
        case _:
            return "values" if is_distance else "sigmoid"
