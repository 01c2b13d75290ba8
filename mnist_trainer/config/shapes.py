"""Shapes and parameter counts of a list of layers, in plain numbers: no torch, no memory, however large the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import assert_never

from mnist_trainer.config.activations import Maxout, ParametricRelu, PlainActivation, Sigmoid
from mnist_trainer.config.layers import (
    ActivationLayer,
    AnyLayer,
    BatchNorm,
    Conv,
    Dropout,
    Flatten,
    LayerNorm,
    Linear,
    MaxoutLayer,
    Output,
    Pool,
    Residual,
    SqueezeExcite,
)

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
            f"residual layers must keep the shape: {format_shape(shape)} goes in, {format_shape(inner[-1].outputs)} comes out",
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
