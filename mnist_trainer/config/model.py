"""The `model` section of a config: activations, initial weights, layers, and architectures. `layers.py` expands an
architecture into a list of layers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, Discriminator, Field, Tag, field_validator, model_validator

from mnist_trainer.config.fields import (
    AnySpelling,
    Fraction,
    ListOf,
    NotNegative,
    NotNegativeNumber,
    Positive,
    PositiveNumber,
    Section,
    ShortForm,
    literal_values,
)


class PlainActivation(Section):
    """An activation without a parameter."""

    name: Literal["identity", "step", "tanh", "scaled_tanh", "relu", "selu", "gelu", "swish", "mish", "relu6"]
    """step is 0 at 0; scaled_tanh is 1.7159·tanh(0.6666·x); swish is x·sigmoid(x)"""


class Sigmoid(Section):
    """1 / (1 + e^(−slope·x))."""

    name: Literal["sigmoid"] = "sigmoid"
    slope: PositiveNumber = 1.0
    """a in 1/(1+e^(−a·x))"""


class LeakyRelu(Section):
    """x for x > 0, else slope·x."""

    name: Literal["leaky_relu"] = "leaky_relu"
    slope: float = Field(default=0.01, ge=0, lt=1)
    """slope of the negative side; below 1"""


class AbsoluteLeakyRelu(Section):
    """x for x > 0, else |alpha·x|: the leaky side folded upwards."""

    name: Literal["alrelu"] = "alrelu"
    alpha: NotNegativeNumber = 0.01
    """slope of the negative side, whose values become positive"""


class ParametricRelu(Section):
    """A leaky ReLU with one learned slope for the layer."""

    name: Literal["prelu"] = "prelu"
    slope: float = 0.25
    """initial value of the learned slope"""


class RandomRelu(Section):
    """A leaky ReLU whose slope is random in training, and the mean of both bounds in evaluation."""

    name: Literal["rrelu"] = "rrelu"
    lower: NotNegativeNumber = 0.125
    """smallest slope of the negative side; at most `upper`"""
    upper: NotNegativeNumber = 1 / 3
    """largest slope of the negative side"""

    @model_validator(mode="after")
    def _check_order(self) -> RandomRelu:
        if self.lower > self.upper:
            raise ValueError(f"lower ({self.lower:g}) must not be above upper ({self.upper:g})")
        return self


class Elu(Section):
    """x for x > 0, else alpha·(e^x − 1)."""

    name: Literal["elu"] = "elu"
    alpha: PositiveNumber = 1.0
    """its lower limit is −alpha"""


class Softplus(Section):
    """ln(1 + e^(beta·x)) / beta, a smooth ReLU."""

    name: Literal["softplus"] = "softplus"
    beta: PositiveNumber = 1.0
    """the larger, the closer to ReLU"""


class Maxout(Section):
    """The largest of `pieces` linear functions; the layer before it becomes `pieces` times as wide."""

    name: Literal["maxout"] = "maxout"
    pieces: int = Field(default=2, ge=2)
    """number of linear functions for each unit"""


AnyActivation: TypeAlias = (
    PlainActivation | Sigmoid | LeakyRelu | AbsoluteLeakyRelu | ParametricRelu | RandomRelu | Elu | Softplus | Maxout
)
Activation = Annotated[AnyActivation, Field(discriminator="name"), ShortForm()]


class PlainInit(Section):
    """Initial weights without a parameter; `xavier` and `kaiming` are uniform, with biases at zero."""

    name: Literal["default", "xavier", "kaiming", "zeros"] = "default"
    """default is torch's own: uniform in ± 1/√inputs, weights and biases"""


class NormalInit(Section):
    """Weights from a normal distribution with mean zero; biases are zero."""

    name: Literal["normal"] = "normal"
    std: PositiveNumber = 0.05
    """standard deviation"""


class UniformInit(Section):
    """Weights from a uniform distribution in ± bound; biases are zero."""

    name: Literal["uniform"] = "uniform"
    bound: PositiveNumber = 0.05
    """the largest absolute value"""


class ConstantInit(Section):
    """All weights have the same value, and all biases."""

    name: Literal["constant"] = "constant"
    value: float
    """value of every weight"""
    bias: float = 0.0
    """value of every bias"""


Initialization = Annotated[
    PlainInit | NormalInit | UniformInit | ConstantInit,
    Field(discriminator="name"),
    ShortForm(by_value=True),
]


MAX_PIXELS = 1000
"""The largest kernel, stride and padding."""


class Linear(Section):
    """A fully connected layer: [B, n] → [B, units]."""

    type: Literal["linear"] = "linear"
    units: Positive | Literal["classes"]
    """number of outputs; `classes` for one for each class of the data"""
    bias: bool = True
    """add a learned constant to each output"""


class Conv(Section):
    """A convolution: [B, c, h, w] → [B, channels, h′, w′]."""

    type: Literal["conv"] = "conv"
    channels: Positive
    """number of filters"""
    kernel: Positive = Field(default=3, le=MAX_PIXELS)
    """height and width of each filter, in pixels"""
    stride: Positive = Field(default=1, le=MAX_PIXELS)
    """step of the filter, in pixels"""
    padding: Annotated[int, Field(ge=0, le=MAX_PIXELS)] | Literal["same"] = "same"
    """zeros around the image, in pixels; `same` keeps its size (stride 1)"""
    bias: bool = True
    """add a learned constant to each channel"""


PoolKind: TypeAlias = Annotated[Literal["max", "average", "both"], AnySpelling()]


class Pool(Section):
    """The largest value or the mean of each window of an image, for each channel."""

    type: Literal["pool"] = "pool"
    size: Positive | Literal["global"] = 2
    """height and width of the window, in pixels, or `global`"""
    kind: PoolKind = "max"
    """the largest value or the mean; both gives twice the channels, the largest values first"""


class SqueezeExcite(Section):
    """Multiplies each channel of an image by a factor from 0 to 1, which two small linear layers compute from the means
    of all channels (Hu et al. 2017)."""

    type: Literal["squeeze_excite"] = "squeeze_excite"
    reduction: Positive = 16
    """channels for each unit between the two layers; use a small one for few channels"""


class Flatten(Section):
    """[B, c, h, w] → [B, c·h·w]."""

    type: Literal["flatten"] = "flatten"


class BatchNorm(Section):
    """Normalizes each feature or channel to mean 0 and variance 1 over the batch; learned scale and shift."""

    type: Literal["batch_norm"] = "batch_norm"


class LayerNorm(Section):
    """Normalizes all features of one image to mean 0 and variance 1; learned scale and shift."""

    type: Literal["layer_norm"] = "layer_norm"


class Dropout(Section):
    """In training, sets each value to zero with probability `rate` and divides the others by 1 − rate."""

    type: Literal["dropout"] = "dropout"
    rate: Fraction = 0.5
    """probability of a zero"""


class ActivationLayer(Section):
    """An activation function, applied to each value (except maxout)."""

    type: Literal["activation"] = "activation"
    function: Activation
    """the activation, by name or with its parameter"""


class MaxoutLayer(Section):
    """A linear layer, each of whose units is the largest of `pieces` linear functions: [B, n] → [B, units]."""

    type: Literal["maxout"] = "maxout"
    units: Positive
    """number of outputs"""
    pieces: int = Field(default=2, ge=2)
    """number of linear functions for each unit"""


class Output(Section):
    """The function after the last layer. It comes from `model.output` and can't be written in `model.layers`."""

    type: Literal["output"] = "output"
    function: Literal["softmax", "log_softmax", "sigmoid"]
    """softmax and log_softmax over classes"""


class Residual(Section):
    """x + layers(x); the layers inside must keep the shape."""

    type: Literal["residual"] = "residual"
    layers: ListOf[Layer] = Field(min_length=1)
    """the layers whose output is added to the input"""


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
    ShortForm("type", by_value=True, values={"activation": literal_values(AnyActivation, "name")}),
]
Residual.model_rebuild()


class HiddenShape(Section):
    """`layers` hidden layers of `units` each: short for a list of equal numbers."""

    layers: Annotated[int, Field(ge=0, le=10_000)]
    """number of hidden layers"""
    units: Positive
    """units of each hidden layer"""


def _widths_tag(hidden: Any) -> str:
    return "number" if isinstance(hidden, int) else "shape" if isinstance(hidden, dict | HiddenShape) else "list"


def _as_widths(hidden: int | HiddenShape | tuple[int, ...]) -> tuple[int, ...]:
    if isinstance(hidden, HiddenShape):
        return (hidden.units,) * hidden.layers
    return (hidden,) if isinstance(hidden, int) else hidden


if TYPE_CHECKING:
    Widths: TypeAlias = tuple[int, ...]  # the type after validation
else:
    Widths = Annotated[
        Annotated[Positive, Tag("number")]
        | Annotated[HiddenShape, Tag("shape")]
        | Annotated[ListOf[Positive], Tag("list")],
        Discriminator(_widths_tag),
        AfterValidator(_as_widths),
    ]
"""The units of each hidden layer. `64` is short for `[64]`, `{layers: 3, units: 64}` for `[64, 64, 64]`."""


class ModelSection(Section):
    """The keys of every architecture."""

    init: Initialization = PlainInit()
    """initial weights"""
    init_from: str | None = None
    """a checkpoint, or a file of torch.save(model.state_dict()), whose weights are loaded where name and shape
    agree; a checkpoint's outputs by the names of their classes"""
    freeze: NotNegative = 0
    """with `init_from`: the first N layers with weights stay as they are"""


OutputFunction: TypeAlias = Annotated[
    Literal["none", "softmax", "log_softmax", "sigmoid"],
    AnySpelling(),
    Field(description="function after the last layer; usually none: the loss takes the raw outputs"),
]
FinalPooling: TypeAlias = Annotated[
    PoolKind,
    Field(description="global pooling after the last block: the largest value of each channel, its mean, or both"),
]


class Neuron(ModelSection):
    """One neuron for a yes/no task: activation(Σ wᵢxᵢ + b). Needs `data.binary`."""

    architecture: Literal["neuron"] = "neuron"
    output: Activation = PlainActivation(name="identity")
    """the neuron's activation"""
    bias: bool = True
    """the b in activation(Σ wᵢxᵢ + b)"""


class FullyConnected(ModelSection):
    """Hidden layers, each of linear, batch norm, activation and dropout."""

    hidden: Widths = (128,)
    """units of each hidden layer: a list, a number or {layers, units}"""
    activation: Activation = PlainActivation(name="relu")
    """after each hidden layer"""
    dropout: Fraction = 0.0
    """probability of a zero after each hidden layer"""
    batch_norm: bool = False
    """normalize each hidden layer over the batch, before the activation"""
    residual: bool = False
    """add a hidden layer's input to its output wherever both are equally wide"""
    bias: bool = True
    """learned constants in the linear layers"""
    output: OutputFunction = "none"


class Mlp(FullyConnected):
    """Fully connected hidden layers: linear, then batch norm (optional), activation and dropout (optional)."""

    architecture: Literal["mlp"] = "mlp"


class CiresanMlp(FullyConnected):
    """The large MLP of Cireşan et al. 2010 (arXiv 1003.0358): an mlp with other defaults, 11,972,510 parameters.

    The paper's images are framed to 29×29, which makes it 12.1 million there.
    """

    architecture: Literal["ciresan_mlp"] = "ciresan_mlp"
    init: Initialization = UniformInit(bound=0.05)
    """initial weights"""
    hidden: Widths = (2500, 2000, 1500, 1000, 500)
    """units of each hidden layer: a list, a number or {layers, units}"""
    activation: Activation = PlainActivation(name="scaled_tanh")
    """after each hidden layer"""


class Cnn(ModelSection):
    """Blocks of convolution, batch norm, activation and pooling; then hidden linear layers and the output."""

    architecture: Literal["cnn"] = "cnn"
    channels: ListOf[Positive] = Field(default=(16, 32), min_length=1)
    """filters of each block"""
    kernel: Positive = Field(default=3, le=MAX_PIXELS)
    """height and width of the filters, in pixels"""
    pool: NotNegative = 2
    """window of the max pooling after each block, in pixels; 0 or 1 for none"""
    hidden: Widths = (128,)
    """units of the linear layers after the blocks"""
    activation: Activation = PlainActivation(name="relu")
    """after each convolution and hidden layer"""
    dropout: Fraction = 0.0
    """probability of a zero before each linear layer"""
    batch_norm: bool = False
    """normalize each convolution over the batch, before the activation"""
    bias: bool = True
    """learned constants in convolutions and linear layers"""
    output: OutputFunction = "none"


class LeNet5(ModelSection):
    """LeNet-5 (LeCun et al. 1998) in its usual modern form: 61,706 parameters. In the paper, pooling has a learned
    factor and bias for each channel and an activation, most filters of the second convolution see only some of the six
    channels, and the outputs are distances to fixed patterns (RBF) instead of a linear layer."""

    architecture: Literal["lenet5"] = "lenet5"
    activation: Activation = PlainActivation(name="scaled_tanh")
    """after each convolution and hidden layer; the default is the paper's"""
    pooling: Annotated[Literal["average", "max"], AnySpelling()] = "average"
    """kind of the 2×2 pooling"""
    output: OutputFunction = "none"


class FullyConvolutional(ModelSection):
    """Convolutions, a global pooling, and the output: no hidden linear layers."""

    channels: ListOf[Positive] = Field(default=(32, 64, 128), min_length=1, max_length=4)
    """filters of each block, 4 blocks at most; between blocks height and width are halved"""
    kernel: Positive = Field(default=3, le=MAX_PIXELS)
    """height and width of the filters, in pixels"""
    activation: Activation = PlainActivation(name="relu")
    """after each convolution"""
    squeeze_excite: NotNegative = 0
    """reduction of the squeeze_excite at the end of each block; 0 for none"""
    pooling: FinalPooling = "max"
    dropout: Fraction = 0.0
    """probability of a zero before the output layer"""
    output: OutputFunction = "none"


class Vgg(FullyConvolutional):
    """Blocks of convolutions with a 2×2 max pooling between them (Simonyan and Zisserman 2014, arXiv 1409.1556), with
    batch norm, and global pooling instead of hidden linear layers (Lin et al. 2013, arXiv 1312.4400)."""

    architecture: Literal["vgg"] = "vgg"
    convolutions: Annotated[int, Field(gt=0, le=1000)] = 2
    """number of convolutions in each block"""
    batch_norm: bool = True
    """normalize each convolution over the batch, before the activation"""


class ResidualNet(FullyConvolutional):
    """Residual blocks: activation(x + f(x)), f: convolution, batch norm, activation, convolution, batch norm (He et al.
    2015, arXiv 1512.03385). A convolution before them widens the channels, from the second width on with stride 2."""

    architecture: Literal["residual"] = "residual"
    blocks: Annotated[int, Field(gt=0, le=1000)] = 1
    """number of residual blocks of each width"""
    pooling: FinalPooling = "average"

    @field_validator("activation")
    @classmethod
    def _check_activation(cls, activation: AnyActivation) -> AnyActivation:
        if isinstance(activation, Maxout):
            raise ValueError("maxout reduces the channels, but a residual block needs as many as its input has")
        return activation


class Layers(ModelSection):
    """A list of layers, which is built as it is written; only `output` is added."""

    architecture: Literal["layers"] = "layers"
    layers: ListOf[Layer] = Field(min_length=1)
    """the layers from the image [1, 28, 28] to one output for each class"""
    output: OutputFunction = "none"


AnyModel: TypeAlias = Neuron | Mlp | CiresanMlp | Cnn | LeNet5 | Vgg | ResidualNet | Layers
Model = Annotated[AnyModel, Field(discriminator="architecture"), ShortForm(key="architecture")]
