"""The layers a model is written out in: what `model.layers` takes, and what the architectures expand to."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from mnist_trainer.config.activations import Activation, AnyActivation
from mnist_trainer.config.fields import AnySpelling, Fraction, ListOf, Positive, Section, ShortForm, literal_values

MAX_PIXELS = 1000
"""Of a filter and of the steps it makes; the picture has 28, and torch counts more than 2⁶³ in no way."""


class Linear(Section):
    """A fully connected layer: [B, n] → [B, units]."""

    type: Literal["linear"] = "linear"
    units: Positive | Literal["classes"] = Field(description="how many outputs; `classes` for one a class of the data")
    bias: bool = Field(default=True, description="add a learned constant to each output")


class Conv(Section):
    """A convolution: [B, c, h, w] → [B, channels, h′, w′]."""

    type: Literal["conv"] = "conv"
    channels: Positive = Field(description="how many filters")
    kernel: Positive = Field(default=3, le=MAX_PIXELS, description="height and width of each filter, in pixels")
    stride: Positive = Field(default=1, le=MAX_PIXELS, description="pixels from one place to the next")
    padding: Annotated[int, Field(ge=0, le=MAX_PIXELS)] | Literal["same"] = Field(
        default="same", description="zeros around the picture, in pixels; `same` keeps its size (stride 1)"
    )
    bias: bool = Field(default=True, description="add a learned constant to each channel")


PoolKind: TypeAlias = Annotated[Literal["max", "average", "both"], AnySpelling()]


class Pool(Section):
    """The largest value or the mean of each window of a picture, each channel by itself."""

    type: Literal["pool"] = "pool"
    size: Positive | Literal["global"] = Field(default=2, description="of the window, in pixels, or `global`")
    kind: PoolKind = Field(
        default="max", description="the largest value or the mean; both: twice the channels, the largest values first"
    )


class SqueezeExcite(Section):
    """Each channel of a picture times a number from 0 to 1, which two small linear layers draw from all channels'
    means (Hu et al. 2017)."""

    type: Literal["squeeze_excite"] = "squeeze_excite"
    reduction: Positive = Field(
        default=16, description="channels for each unit between the two layers; few channels want a small one"
    )


class Flatten(Section):
    """[B, c, h, w] → [B, c·h·w]."""

    type: Literal["flatten"] = "flatten"


class BatchNorm(Section):
    """Each feature or channel to mean 0 and variance 1 over the batch, then scaled and shifted by learned values."""

    type: Literal["batch_norm"] = "batch_norm"


class LayerNorm(Section):
    """All features of one image to mean 0 and variance 1, then scaled and shifted by learned values."""

    type: Literal["layer_norm"] = "layer_norm"


class Dropout(Section):
    """In training each value is zero with probability `rate`, the others are divided by 1 − rate."""

    type: Literal["dropout"] = "dropout"
    rate: Fraction = Field(default=0.5, description="probability of a zero")


class ActivationLayer(Section):
    """An activation function, value by value (but for maxout)."""

    type: Literal["activation"] = "activation"
    function: Activation = Field(description="which one, by name or with its parameter")


class MaxoutLayer(Section):
    """A linear layer whose units are each the largest of `pieces` linear functions: [B, n] → [B, units]."""

    type: Literal["maxout"] = "maxout"
    units: Positive = Field(description="how many outputs")
    pieces: int = Field(default=2, ge=2, description="how many linear functions each unit takes the largest of")


class Output(Section):
    """The function that ends a model, after its last layer: `model.output` makes it, `model.layers` can't hold it."""

    type: Literal["output"] = "output"
    function: Literal["softmax", "log_softmax", "sigmoid"] = Field(description="softmax and log_softmax over classes")


class Residual(Section):
    """x + layers(x); the layers inside must keep the shape."""

    type: Literal["residual"] = "residual"
    layers: ListOf[Layer] = Field(min_length=1, description="what is added to the input")


WrittenLayer: TypeAlias = (
    Linear
    | Conv
    | Pool
    | Flatten
    | BatchNorm
    | LayerNorm
    | Dropout
    | ActivationLayer
    | MaxoutLayer
    | Residual
    | SqueezeExcite
)
AnyLayer: TypeAlias = WrittenLayer | Output
Layer: TypeAlias = Annotated[
    WrittenLayer,
    Field(discriminator="type"),
    ShortForm(
        key="type",
        value_keys={
            "linear": "units",
            "conv": "channels",
            "pool": "size",
            "dropout": "rate",
            "activation": "function",
            "maxout": "units",
            "residual": "layers",
            "squeeze_excite": "reduction",
        },
        values={"activation": literal_values(AnyActivation, "name")},
    ),
]
Residual.model_rebuild()
