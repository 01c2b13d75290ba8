"""Activations and initial weights, as a config names them. The formulas stand in `model/activations.py`."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, model_validator

from mnist_trainer.config.fields import NotNegativeNumber, PositiveNumber, Section, ShortForm


class PlainActivation(Section):
    """An activation without a parameter."""

    name: Literal["identity", "step", "tanh", "scaled_tanh", "relu", "selu", "gelu", "swish", "mish", "relu6"] = Field(
        description="step is 0 at 0; scaled_tanh is 1.7159·tanh(0.6666·x); swish is x·sigmoid(x)"
    )


class Sigmoid(Section):
    """1 / (1 + e^(−slope·x))."""

    name: Literal["sigmoid"] = "sigmoid"
    slope: PositiveNumber = Field(default=1.0, description="a in 1/(1+e^(−a·x))")


class LeakyRelu(Section):
    """x for x > 0, else slope·x."""

    name: Literal["leaky_relu"] = "leaky_relu"
    slope: float = Field(default=0.01, ge=0, lt=1, description="of the negative side; below 1")


class AbsoluteLeakyRelu(Section):
    """x for x > 0, else |alpha·x|: the leaky side folded upwards."""

    name: Literal["alrelu"] = "alrelu"
    alpha: NotNegativeNumber = Field(default=0.01, description="of the negative side, whose values become positive")


class ParametricRelu(Section):
    """A leaky ReLU whose slope is learned, one for the layer."""

    name: Literal["prelu"] = "prelu"
    slope: float = Field(default=0.25, description="where the learned slope starts")


class RandomRelu(Section):
    """A leaky ReLU whose slope is drawn anew in training and is the mean of the two in evaluation."""

    name: Literal["rrelu"] = "rrelu"
    lower: NotNegativeNumber = Field(default=0.125, description="smallest slope of the negative side; at most `upper`")
    upper: NotNegativeNumber = Field(default=1 / 3, description="largest slope of the negative side")

    @model_validator(mode="after")
    def _check_order(self) -> RandomRelu:
        if self.lower > self.upper:
            raise ValueError(f"lower ({self.lower:g}) must not be above upper ({self.upper:g})")
        return self


class Elu(Section):
    """x for x > 0, else alpha·(e^x − 1)."""

    name: Literal["elu"] = "elu"
    alpha: PositiveNumber = Field(default=1.0, description="the value it falls to is −alpha")


class Softplus(Section):
    """ln(1 + e^(beta·x)) / beta, a smooth ReLU."""

    name: Literal["softplus"] = "softplus"
    beta: PositiveNumber = Field(default=1.0, description="the larger, the closer to ReLU")


class Maxout(Section):
    """The largest of `pieces` linear functions; the layer before it is made that many times wider."""

    name: Literal["maxout"] = "maxout"
    pieces: int = Field(default=2, ge=2, description="how many linear functions each unit takes the largest of")


AnyActivation: TypeAlias = (
    PlainActivation | Sigmoid | LeakyRelu | AbsoluteLeakyRelu | ParametricRelu | RandomRelu | Elu | Softplus | Maxout
)
Activation = Annotated[AnyActivation, Field(discriminator="name"), ShortForm()]


class PlainInit(Section):
    """An initial state without a parameter; `xavier` and `kaiming` are the uniform ones, with biases at zero."""

    name: Literal["default", "xavier", "kaiming", "zeros"] = Field(
        default="default", description="default is torch's own: uniform in ± 1/√inputs, weights and biases"
    )


class NormalInit(Section):
    """Weights from a normal distribution around zero, biases zero."""

    name: Literal["normal"] = "normal"
    std: PositiveNumber = Field(default=0.05, description="standard deviation")


class UniformInit(Section):
    """Weights uniform in ± bound, biases zero."""

    name: Literal["uniform"] = "uniform"
    bound: PositiveNumber = Field(default=0.05, description="the largest absolute value")


class ConstantInit(Section):
    """Every weight the same value, biases zero."""

    name: Literal["constant"] = "constant"
    value: float = Field(description="of every weight")


Initialization = Annotated[
    PlainInit | NormalInit | UniformInit | ConstantInit,
    Field(discriminator="name"),
    ShortForm(value_keys={"normal": "std", "uniform": "bound", "constant": "value"}),
]
