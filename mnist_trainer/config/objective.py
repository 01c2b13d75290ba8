"""Losses, optimizers and schedules, as a config names them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag, model_validator

from mnist_trainer.config.fields import (
    AnySpelling,
    ClassName,
    Fraction,
    ListOf,
    NotNegative,
    NotNegativeNumber,
    Positive,
    PositiveNumber,
    Section,
    ShortForm,
)


class Penalty(Section):
    """Adds `weight` × the probability of answering `predicted` to each image of class `true`."""

    true: ClassName
    """name of the image's class"""
    predicted: ClassName
    """the wrong answer that shall cost more"""
    weight: PositiveNumber = 1.0
    """cost of giving that answer a probability of 1"""
    symmetric: bool = False
    """also the other way round"""


if TYPE_CHECKING:
    ClassWeights: TypeAlias = tuple[float, ...] | dict[str, float]
else:
    ClassWeights = Annotated[
        Annotated[ListOf[NotNegativeNumber], Tag("list")] | Annotated[dict[str, NotNegativeNumber], Tag("mapping")],
        Discriminator(lambda weights: "mapping" if isinstance(weights, dict) else "list"),
    ]

Reduction = Literal["mean", "sum", "per_example"]


class LossSection(Section):
    """What every loss can be told."""

    reduction: Annotated[Reduction, AnySpelling()] = "mean"
    """of the batch: mean is torch's, over examples (bce, mse, absolute: over outputs too); sum; per_example sums
    over outputs and averages over examples"""
    class_weights: ClassWeights | None = None
    """weights by class name, as {7: 2.5} (1 for the others), or a list for classes 0, 1, 2 …; a mean is divided
    by the sum of its images' weights, as torch does"""
    penalties: ListOf[Penalty] = ()
    """confusions that cost extra: error + Σ weight · probability"""
    smooth_weights: NotNegativeNumber = 0.0
    """× the total variation of the first layer's weight pictures, mean over its units"""


class ClassLoss(LossSection):
    """−ln of the probability given to the right class; `cross_entropy` takes raw outputs, `nll` log-probabilities."""

    name: Literal["cross_entropy", "nll"]
    """nll needs `output: log_softmax`; cross_entropy none"""
    label_smoothing: Fraction = 0.0
    """share of the target spread evenly over all classes"""


class BinaryCrossEntropy(LossSection):
    """−t·ln p − (1−t)·ln(1−p) of each output against a 0/1 target (one-hot for ten classes).

    p is the output of `output: sigmoid`; without one, raw outputs are taken and the sigmoid is applied here.
    """

    name: Literal["bce"] = "bce"
    label_smoothing: Fraction = 0.0
    """share of the target spread evenly over all classes"""


class DistanceLoss(LossSection):
    """Distance of each output from its 0/1 target: (y − t)² for `mse` and `sse`, |y − t| for `absolute`."""

    name: Literal["mse", "sse", "absolute"]
    """sse is short for mse with reduction: sum"""

    @model_validator(mode="before")
    @classmethod
    def _spread_sse(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("name") == "sse" and value.get("reduction", "sum") == "sum":
            return {**value, "name": "mse", "reduction": "sum"}
        return value

    @model_validator(mode="after")
    def _check_sse(self) -> DistanceLoss:
        if self.name == "sse":
            raise ValueError(f"sse is mse with reduction: sum; for {self.reduction} write mse")
        return self


AnyLoss: TypeAlias = ClassLoss | BinaryCrossEntropy | DistanceLoss
Loss = Annotated[AnyLoss, Field(discriminator="name"), ShortForm()]

Beta = Annotated[float, Field(ge=0, lt=1)]


class OptimizerSection(Section):
    """What every optimizer can be told."""

    weight_decay: NotNegativeNumber = 0.0
    """pulls all parameters towards zero, including biases and norms (adamw: decoupled)"""


class GradientDescent(OptimizerSection):
    """One step an epoch, along the gradient of the whole training set."""

    name: Literal["gradient_descent"] = "gradient_descent"
    lr: PositiveNumber = 0.1
    """learning rate: θ ← θ − lr·gradient"""


class Sgd(OptimizerSection):
    """A step a batch: v ← momentum·v + gradient, θ ← θ − lr·v (torch's form)."""

    name: Literal["sgd"] = "sgd"
    lr: PositiveNumber = 0.01
    """learning rate"""
    momentum: Fraction = 0.0
    """share of the last step's direction that is kept"""
    nesterov: bool = False
    """look ahead along the momentum; needs momentum > 0"""


class Adam(OptimizerSection):
    """Steps scaled by running means of the gradient and of its square (Kingma & Ba 2015)."""

    name: Literal["adam", "adamw"]
    """adamw decouples the weight decay (Loshchilov & Hutter 2019)"""
    lr: PositiveNumber = 0.001
    """learning rate"""
    betas: ListOf[Beta] = Field(default=(0.9, 0.999), min_length=2, max_length=2)
    """decay of the two running means"""
    eps: PositiveNumber = 1e-8
    """keeps the division finite"""


class RmsProp(OptimizerSection):
    """Steps divided by the root of a running mean of the squared gradient (Hinton's lecture 6e)."""

    name: Literal["rmsprop"] = "rmsprop"
    lr: PositiveNumber = 0.001
    """learning rate"""
    alpha: Beta = 0.99
    """decay of the running mean"""
    momentum: Fraction = 0.0
    """share of the last step's direction that is kept"""
    eps: PositiveNumber = 1e-8
    """keeps the division finite"""


class Adagrad(OptimizerSection):
    """Steps divided by the root of the sum of all squared gradients so far (Duchi et al. 2011)."""

    name: Literal["adagrad"] = "adagrad"
    lr: PositiveNumber = 0.01
    """learning rate"""
    eps: PositiveNumber = 1e-10
    """keeps the division finite"""


AnyOptimizer: TypeAlias = GradientDescent | Sgd | Adam | RmsProp | Adagrad
Optimizer = Annotated[AnyOptimizer, Field(discriminator="name"), ShortForm()]


class ScheduleSection(Section):
    """What every schedule can be told."""

    warmup: Fraction = 0.0
    """share of all steps in which the rate climbs from near zero to its value"""


class Constant(ScheduleSection):
    """The learning rate stays."""

    name: Literal["constant"] = "constant"


class StepDecay(ScheduleSection):
    """× gamma after every so many epochs."""

    name: Literal["step"] = "step"
    every: Positive = 10
    """epochs from one fall to the next"""
    gamma: PositiveNumber = Field(default=0.1, le=1)
    """factor of each fall"""


class Exponential(ScheduleSection):
    """× gamma after each epoch."""

    name: Literal["exponential"] = "exponential"
    gamma: PositiveNumber = Field(default=0.95, le=1)
    """factor of each epoch"""


class Decay(ScheduleSection):
    """From the full rate to `final` times it at the last step, along half a cosine or a straight line."""

    name: Literal["cosine", "linear"]
    """the curve it follows"""
    final: Annotated[float, Field(ge=0, le=1)] = 0.0
    """share of the rate at the very end"""


class OneCycle(Section):
    """Up to the full rate along half a cosine, then down to almost nothing (Smith & Topin 2018)."""

    name: Literal["one_cycle"] = "one_cycle"
    warmup: Fraction = 0.3
    """share of all steps in which the rate climbs"""
    start: Annotated[float, Field(gt=0, le=1)] = 0.04
    """share of the rate at the first step"""
    final: Annotated[float, Field(ge=0, le=1)] = 4e-6
    """share of the rate at the last step"""


class Plateau(ScheduleSection):
    """× factor whenever the validation loss has not improved for more than `patience` epochs."""

    name: Literal["plateau"] = "plateau"
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """of each fall"""
    patience: NotNegative = 2
    """epochs without an improvement that are let pass"""


AnySchedule: TypeAlias = Constant | StepDecay | Exponential | Decay | OneCycle | Plateau
Schedule = Annotated[AnySchedule, Field(discriminator="name"), ShortForm()]
