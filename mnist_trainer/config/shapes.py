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
class Placed:
    """A layer at its place: what goes in, what comes out, and how many parameters it has."""

    layer: AnyLayer
    inputs: Shape
    outputs: Shape
    parameters: int
    inner: tuple[Placed, ...] = ()

    def activations(self) -> int:
        """Values this layer produces for one image, those of inner layers with it."""
        return prod(self.outputs) + sum(placed.activations() for placed in self.inner)


class MisfitError(Exception):
    """A layer that cannot take what the one before gives; `position` is its index (and those inside residuals)."""

    def __init__(self, position: tuple[int, ...], message: str) -> None:
        super().__init__(message)
        self.position = position


def place(layers: Sequence[AnyLayer], outputs: int, shape: Shape = IMAGE) -> tuple[Placed, ...]:
    """Each layer with its shapes; `units: classes` becomes `outputs`. Raises `MisfitError` at the first misfit."""
    placed: list[Placed] = []
    for position, layer in enumerate(layers):
        try:
            placed.append(_place(layer, shape, outputs))
        except MisfitError as misfit:
            raise MisfitError((position, *misfit.position), str(misfit)) from None
        shape = placed[-1].outputs
    return tuple(placed)


def _place(layer: AnyLayer, shape: Shape, outputs: int) -> Placed:  # noqa: PLR0911 - one return a layer
    match layer:
        case Linear():
            units = outputs if layer.units == "classes" else layer.units
            return Placed(layer, shape, (units,), (_flat(layer, shape) + layer.bias) * units)
        case MaxoutLayer():
            width = layer.units * layer.pieces
            return Placed(layer, shape, (layer.units,), (_flat(layer, shape) + 1) * width)
        case Conv():
            channels = _picture(layer, shape)[0]
            parameters = (channels * layer.kernel**2 + layer.bias) * layer.channels
            return Placed(layer, shape, _convolved(layer, shape), parameters)
        case Pool():
            return Placed(layer, shape, _pooled(layer, shape), 0)
        case Flatten():
            return Placed(layer, shape, (prod(shape),), 0)
        case BatchNorm():
            return Placed(layer, shape, shape, 2 * shape[0])
        case LayerNorm():
            return Placed(layer, shape, shape, 2 * prod(shape))
        case ActivationLayer():
            return Placed(layer, shape, _activated(layer, shape), int(isinstance(layer.function, ParametricRelu)))
        case Dropout() | Output():
            return Placed(layer, shape, shape, 0)
        case Residual():
            return _residual(layer, shape, outputs)
        case SqueezeExcite():
            return _around(layer, shape, place(_excitation(layer, _picture(layer, shape)[0]), outputs, shape))
        case _:
            assert_never(layer)


def _flat(layer: AnyLayer, shape: Shape) -> int:
    if len(shape) != 1:
        raise MisfitError(
            (), f"{layer.type} needs a row of numbers, got a picture {describe(shape)}; put a flatten before it"
        )
    return shape[0]


def _picture(layer: AnyLayer, shape: Shape) -> Shape:
    if len(shape) != 3:
        raise MisfitError((), f"{layer.type} needs a picture, got a row of {describe(shape)} numbers")
    return shape


def _convolved(layer: Conv, shape: Shape) -> Shape:
    _, height, width = shape
    if layer.padding == "same":
        if layer.stride != 1:
            raise MisfitError((), f"padding 'same' needs stride 1; with stride {layer.stride} write a number of pixels")
        return (layer.channels, height, width)
    sides = [(side + 2 * layer.padding - layer.kernel) // layer.stride + 1 for side in (height, width)]
    if min(sides) < 1:
        raise MisfitError((), f"a kernel of {layer.kernel} does not fit into the picture {describe(shape)}")
    return (layer.channels, *sides)


def _pooled(layer: Pool, shape: Shape) -> Shape:
    channels, height, width = _picture(layer, shape)
    channels *= 2 if layer.kind == "both" else 1
    if layer.size == "global":
        return (channels, 1, 1)
    if layer.size > min(height, width):
        raise MisfitError((), f"a window of {layer.size} does not fit into the picture {describe(shape)}")
    return (channels, height // layer.size, width // layer.size)


def _activated(layer: ActivationLayer, shape: Shape) -> Shape:
    if not isinstance(layer.function, Maxout):
        return shape
    pieces = layer.function.pieces
    if shape[0] % pieces:
        raise MisfitError((), f"maxout with {pieces} pieces needs a multiple of {pieces} units, got {shape[0]}")
    return (shape[0] // pieces, *shape[1:])


def _residual(layer: Residual, shape: Shape, outputs: int) -> Placed:
    inner = place(layer.layers, outputs, shape)
    if inner[-1].outputs != shape:
        raise MisfitError(
            (),
            f"residual layers must keep the shape: {describe(shape)} goes in, {describe(inner[-1].outputs)} comes out",
        )
    return _around(layer, shape, inner)


def _around(layer: Residual | SqueezeExcite, shape: Shape, inner: tuple[Placed, ...]) -> Placed:
    return Placed(layer, shape, shape, sum(part.parameters for part in inner), inner)


def _excitation(layer: SqueezeExcite, channels: int) -> tuple[AnyLayer, ...]:
    """From a picture to a number for each of its `channels`; without biases, as section 6.1 of the paper advises."""
    return (
        Pool(size="global", kind="average"),
        Flatten(),
        Linear(units=max(1, channels // layer.reduction), bias=False),
        ActivationLayer(function=PlainActivation(name="relu")),
        Linear(units=channels, bias=False),
        ActivationLayer(function=Sigmoid()),
    )


def describe(shape: Shape) -> str:
    """`1×28×28`, as people write it."""
    return "×".join(map(str, shape))
