"""From an architecture to the list of layers it stands for: `--check`, the warnings and the builder read that list."""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from mnist_trainer.config.activations import AnyActivation, Maxout, PlainActivation
from mnist_trainer.config.architectures import (
    AnyModel,
    CiresanMlp,
    Cnn,
    FullyConnected,
    FullyConvolutional,
    Layers,
    LeNet5,
    Mlp,
    Neuron,
    ResidualNet,
    Vgg,
)
from mnist_trainer.config.layers import (
    ActivationLayer,
    AnyLayer,
    BatchNorm,
    Conv,
    Dropout,
    Flatten,
    Linear,
    Output,
    Pool,
    Residual,
    SqueezeExcite,
    WrittenLayer,
)


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
