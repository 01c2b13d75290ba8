"""The architectures a config can ask for. Each is a short form for a list of layers: see `expand.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, Discriminator, Field, Tag, field_validator

from mnist_trainer.config.activations import (
    Activation,
    AnyActivation,
    Initialization,
    Maxout,
    PlainActivation,
    PlainInit,
    UniformInit,
)
from mnist_trainer.config.fields import AnySpelling, Fraction, ListOf, NotNegative, Positive, Section, ShortForm
from mnist_trainer.config.layers import MAX_PIXELS, Layer, PoolKind


class HiddenShape(Section):
    """`layers` hidden layers of `units` each: the short form of a list of equal numbers."""

    layers: Annotated[int, Field(ge=0, le=10_000)] = Field(description="how many hidden layers")
    units: Positive = Field(description="how many units each")

    def widths(self) -> tuple[int, ...]:
        """The list it stands for."""
        return (self.units,) * self.layers


def _shape_of(hidden: Any) -> str:
    return "number" if isinstance(hidden, int) else "shape" if isinstance(hidden, dict | HiddenShape) else "list"


def _as_widths(hidden: int | HiddenShape | tuple[int, ...]) -> tuple[int, ...]:
    match hidden:
        case int():
            return (hidden,)
        case HiddenShape():
            return hidden.widths()
        case _:
            return hidden


if TYPE_CHECKING:
    Widths: TypeAlias = tuple[int, ...]  # what is there after validation
else:
    Widths = Annotated[
        Annotated[Positive, Tag("number")]
        | Annotated[HiddenShape, Tag("shape")]
        | Annotated[ListOf[Positive], Tag("list")],
        Discriminator(_shape_of),
        AfterValidator(_as_widths),
    ]
"""One number a hidden layer. `64` stands for `[64]`, `{layers: 3, units: 64}` for `[64, 64, 64]`."""


class ModelSection(Section):
    """What every architecture can be told."""

    init: Initialization = Field(default=PlainInit(), description="how the weights start")
    init_from: str | None = Field(
        default=None,
        description="a checkpoint, or a file of torch.save(model.state_dict()), whose weights are loaded where "
        "name and shape agree; a checkpoint's outputs by the names of their classes",
    )
    freeze: NotNegative = Field(
        default=0, description="with `init_from`: the first N layers with weights stay as they are"
    )


OutputFunction: TypeAlias = Annotated[Literal["none", "softmax", "log_softmax", "sigmoid"], AnySpelling()]
OUTPUT_DOC = "function after the last layer; none leaves the raw outputs to the loss, which is the usual way"
POOLING_DOC = "what is left of each channel after the last block: its largest value, its mean, or both"


class Neuron(ModelSection):
    """One neuron that answers yes or no: activation(Σ wᵢxᵢ + b). Needs `data.binary`."""

    architecture: Literal["neuron"] = "neuron"
    output: Activation = Field(default=PlainActivation(name="identity"), description="the neuron's activation")
    bias: bool = Field(default=True, description="the b in activation(Σ wᵢxᵢ + b)")


class FullyConnected(ModelSection):
    """Hidden layers, each of linear, batch norm, activation and dropout."""

    hidden: Widths = Field(
        default=(128,), description="units of each hidden layer: a list, a number or {layers, units}"
    )
    activation: Activation = Field(default=PlainActivation(name="relu"), description="after each hidden layer")
    dropout: Fraction = Field(default=0.0, description="probability of a zero after each hidden layer")
    batch_norm: bool = Field(
        default=False, description="normalise each hidden layer over the batch, before the activation"
    )
    residual: bool = Field(
        default=False, description="add a hidden layer's input to its output wherever both are equally wide"
    )
    bias: bool = Field(default=True, description="learned constants in the linear layers")
    output: OutputFunction = Field(default="none", description=OUTPUT_DOC)


class Mlp(FullyConnected):
    """Fully connected hidden layers: linear, batch norm, activation, dropout, each where it is asked for."""

    architecture: Literal["mlp"] = "mlp"


class CiresanMlp(FullyConnected):
    """The large MLP of Cireşan et al. 2010 (arXiv 1003.0358): an mlp with other defaults, 11,972,510 parameters.

    The paper's images are framed to 29×29, which makes it 12.1 million there.
    """

    architecture: Literal["ciresan_mlp"] = "ciresan_mlp"
    init: Initialization = Field(default=UniformInit(bound=0.05), description="how the weights start")
    hidden: Widths = Field(
        default=(2500, 2000, 1500, 1000, 500),
        description="units of each hidden layer: a list, a number or {layers, units}",
    )
    activation: Activation = Field(default=PlainActivation(name="scaled_tanh"), description="after each hidden layer")


class Cnn(ModelSection):
    """Blocks of convolution, batch norm, activation and pooling; then hidden linear layers and the output."""

    architecture: Literal["cnn"] = "cnn"
    channels: ListOf[Positive] = Field(default=(16, 32), min_length=1, description="filters of each block")
    kernel: Positive = Field(default=3, le=MAX_PIXELS, description="height and width of the filters, in pixels")
    pool: NotNegative = Field(default=2, description="window of the max pooling after each block; 0 or 1 for none")
    hidden: Widths = Field(default=(128,), description="units of the linear layers after the blocks")
    activation: Activation = Field(
        default=PlainActivation(name="relu"), description="after each convolution and hidden layer"
    )
    dropout: Fraction = Field(default=0.0, description="probability of a zero before each linear layer")
    batch_norm: bool = Field(
        default=False, description="normalise each convolution over the batch, before the activation"
    )
    bias: bool = Field(default=True, description="learned constants in convolutions and linear layers")
    output: OutputFunction = Field(default="none", description=OUTPUT_DOC)


class LeNet5(ModelSection):
    """LeNet-5 (LeCun et al. 1998) as it is built today: 61,706 parameters. In the paper the pooling has a learned
    factor and bias for each channel and an activation, most filters of the second convolution see only some of the six
    channels, and the outputs are distances to drawn figures of the digits (RBF) instead of a linear layer."""

    architecture: Literal["lenet5"] = "lenet5"
    activation: Activation = Field(
        default=PlainActivation(name="scaled_tanh"),
        description="after each convolution and hidden layer; the default is the paper's",
    )
    pooling: Annotated[Literal["average", "max"], AnySpelling()] = Field(
        default="average", description="how each 2×2 window becomes one value"
    )
    output: OutputFunction = Field(default="none", description=OUTPUT_DOC)


class FullyConvolutional(ModelSection):
    """Convolutions, a global pooling, and the output: no hidden linear layers."""

    channels: ListOf[Positive] = Field(
        default=(32, 64, 128),
        min_length=1,
        max_length=4,
        description="filters of each block, 4 blocks at most: between them the sides halve",
    )
    kernel: Positive = Field(default=3, le=MAX_PIXELS, description="height and width of the filters, in pixels")
    activation: Activation = Field(default=PlainActivation(name="relu"), description="after each convolution")
    squeeze_excite: NotNegative = Field(
        default=0, description="end each block with a squeeze_excite of this reduction; 0 for none"
    )
    pooling: PoolKind = Field(default="max", description=POOLING_DOC)
    dropout: Fraction = Field(default=0.0, description="probability of a zero before the output layer")
    output: OutputFunction = Field(default="none", description=OUTPUT_DOC)


class Vgg(FullyConvolutional):
    """Blocks of convolutions with a 2×2 max pooling between them (Simonyan and Zisserman 2014, arXiv 1409.1556), with
    batch norm, and global pooling instead of hidden linear layers (Lin et al. 2013, arXiv 1312.4400)."""

    architecture: Literal["vgg"] = "vgg"
    convolutions: Annotated[int, Field(gt=0, le=1000)] = Field(default=2, description="how many in each block")
    batch_norm: bool = Field(
        default=True, description="normalise each convolution over the batch, before the activation"
    )


class ResidualNet(FullyConvolutional):
    """Residual blocks: activation(x + f(x)), f: convolution, batch norm, activation, convolution, batch norm (He et al.
    2015, arXiv 1512.03385). A convolution before them widens the channels, from the second width on with stride 2."""

    architecture: Literal["residual"] = "residual"
    blocks: Annotated[int, Field(gt=0, le=1000)] = Field(default=1, description="residual blocks of each width")
    pooling: PoolKind = Field(default="average", description=POOLING_DOC)

    @field_validator("activation")
    @classmethod
    def _check_activation(cls, activation: AnyActivation) -> AnyActivation:
        if isinstance(activation, Maxout):
            raise ValueError("maxout leaves fewer channels, and a residual block adds what is as wide as its input")
        return activation


class Layers(ModelSection):
    """A written-out list: what stands there is built, nothing is added but `output`."""

    architecture: Literal["layers"] = "layers"
    layers: ListOf[Layer] = Field(min_length=1, description="from the image [1, 28, 28] to one output a class")
    output: OutputFunction = Field(default="none", description=OUTPUT_DOC)


AnyModel: TypeAlias = Neuron | Mlp | CiresanMlp | Cnn | LeNet5 | Vgg | ResidualNet | Layers
Model = Annotated[AnyModel, Field(discriminator="architecture"), ShortForm(key="architecture")]
