"""The `loss`, `optimizer` and `schedule` sections of a config."""

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
    ZeroToOne,
)


class Penalty(Section):
    """Adds `weight` × the probability of class `predicted` to the loss of each image of class `true`."""

    true: ClassName
    """name of the true class"""
    predicted: ClassName
    """the wrong class whose probability costs extra"""
    weight: PositiveNumber = 1.0
    """cost at a probability of 1"""
    symmetric: bool = False
    """also penalise the reverse confusion"""


if TYPE_CHECKING:
    ClassWeights: TypeAlias = tuple[float, ...] | dict[str, float]
else:
    ClassWeights = Annotated[
        Annotated[ListOf[NotNegativeNumber], Tag("list")] | Annotated[dict[str, NotNegativeNumber], Tag("mapping")],
        Discriminator(lambda weights: "mapping" if isinstance(weights, dict) else "list"),
    ]

Reduction = Literal["mean", "sum", "per_example"]


class LossSection(Section):
    """The keys of every loss."""

    reduction: Annotated[Reduction, AnySpelling()] = "mean"
    """over the batch: mean as in torch, over examples (bce, mse, absolute: over outputs too); sum; per_example sums
    over outputs and averages over examples"""
    class_weights: ClassWeights | None = None
    """weights by class name, as {7: 2.5} (1 for the others), or a list for classes 0, 1, 2 …; as in torch, a mean
    is divided by the sum of the images' weights"""
    penalties: ListOf[Penalty] = ()
    """confusions that cost extra: loss + Σ weight · probability"""
    smooth_weights: NotNegativeNumber = 0.0
    """factor of the total variation of the first layer's weights as images, mean over its units"""


class ClassLoss(LossSection):
    """−ln of the probability of the true class; `cross_entropy` takes raw outputs, `nll` takes log-probabilities."""

    name: Literal["cross_entropy", "nll"]
    """nll needs `output: log_softmax`; cross_entropy needs `output: none`"""
    label_smoothing: Fraction = 0.0
    """fraction of the target that is spread evenly over all classes"""


class BinaryCrossEntropy(LossSection):
    """−t·ln p − (1−t)·ln(1−p) of each output against a 0/1 target (one-hot for ten classes).

    p is the output of `output: sigmoid`; without one, raw outputs are taken and the sigmoid is applied here.
    """

    name: Literal["bce"] = "bce"
    label_smoothing: Fraction = 0.0
    """fraction of the target that is spread evenly over all classes"""


class DistanceLoss(LossSection):
    """Distance of each output from its 0/1 target: (y − t)² for `mse` and `sse`, |y − t| for `absolute`."""

    name: Literal["mse", "sse", "absolute"]
    """sse is short for mse with `reduction: sum`"""

    @model_validator(mode="before")
    @classmethod
    def _sse_as_mse(cls, value: Any) -> Any:
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


class OptimizerSection(Section):
    """The keys of every optimizer."""

    weight_decay: NotNegativeNumber = 0.0
    """L2 penalty on all parameters, biases and norms included (adamw: decoupled)"""


class GradientDescent(OptimizerSection):
    """One step in each epoch, with the gradient of the whole training set."""

    name: Literal["gradient_descent"] = "gradient_descent"
    lr: PositiveNumber = 0.1
    """learning rate: θ ← θ − lr·gradient"""


class Sgd(OptimizerSection):
    """One step for each batch: v ← momentum·v + gradient, θ ← θ − lr·v (as in torch)."""

    name: Literal["sgd"] = "sgd"
    lr: PositiveNumber = 0.01
    """learning rate"""
    momentum: Fraction = 0.0
    """factor of the previous step's direction"""
    nesterov: bool = False
    """Nesterov momentum; needs momentum > 0"""


class Adam(OptimizerSection):
    """Steps scaled by running means of the gradient and of its square (Kingma & Ba 2015)."""

    name: Literal["adam", "adamw"]
    """adamw decouples the weight decay (Loshchilov & Hutter 2019)"""
    lr: PositiveNumber = 0.001
    """learning rate"""
    betas: ListOf[Fraction] = Field(default=(0.9, 0.999), min_length=2, max_length=2)
    """decay rates of the two running means"""
    eps: PositiveNumber = 1e-8
    """added to the denominator for numerical stability"""


class RmsProp(OptimizerSection):
    """Steps divided by the root of a running mean of the squared gradient (Hinton's lecture 6e)."""

    name: Literal["rmsprop"] = "rmsprop"
    lr: PositiveNumber = 0.001
    """learning rate"""
    alpha: Fraction = 0.99
    """decay rate of the running mean"""
    momentum: Fraction = 0.0
    """factor of the previous step's direction"""
    eps: PositiveNumber = 1e-8
    """added to the denominator for numerical stability"""


class Adagrad(OptimizerSection):
    """Steps divided by the root of the sum of all squared gradients so far (Duchi et al. 2011)."""

    name: Literal["adagrad"] = "adagrad"
    lr: PositiveNumber = 0.01
    """learning rate"""
    eps: PositiveNumber = 1e-10
    """added to the denominator for numerical stability"""


AnyOptimizer: TypeAlias = GradientDescent | Sgd | Adam | RmsProp | Adagrad
Optimizer = Annotated[AnyOptimizer, Field(discriminator="name"), ShortForm()]


class ScheduleSection(Section):
    """The keys of every schedule."""

    warmup: Fraction = 0.0
    """fraction of all steps in which the learning rate rises from near zero to its value"""


class Constant(ScheduleSection):
    """A constant learning rate."""

    name: Literal["constant"] = "constant"


class StepDecay(ScheduleSection):
    """Multiplies the learning rate by `gamma` after every `every` epochs."""

    name: Literal["step"] = "step"
    every: Positive = 10
    """epochs between two reductions"""
    gamma: PositiveNumber = Field(default=0.1, le=1)
    """factor of each reduction"""


class Exponential(ScheduleSection):
    """Multiplies the learning rate by `gamma` after each epoch."""

    name: Literal["exponential"] = "exponential"
    gamma: PositiveNumber = Field(default=0.95, le=1)
    """factor for each epoch"""


class Decay(ScheduleSection):
    """Decays from the full learning rate to `final` times it at the last step, along half a cosine or a line."""

    name: Literal["cosine", "linear"]
    """the curve of the decay"""
    final: ZeroToOne = 0.0
    """fraction of the learning rate at the last step"""


class OneCycle(Section):
    """Rises to the full learning rate along half a cosine, then falls to almost zero (Smith & Topin 2018)."""

    name: Literal["one_cycle"] = "one_cycle"
    warmup: Fraction = 0.3
    """fraction of all steps in which the learning rate rises"""
    start: Annotated[float, Field(gt=0, le=1)] = 0.04
    """fraction of the learning rate at the first step"""
    final: ZeroToOne = 4e-6
    """fraction of the learning rate at the last step"""


class Plateau(ScheduleSection):
    """Multiplies the learning rate by `factor` after more than `patience` epochs without a lower validation loss."""

    name: Literal["plateau"] = "plateau"
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """factor of each reduction"""
    patience: NotNegative = 2
    """epochs without an improvement before a reduction"""


AnySchedule: TypeAlias = Constant | StepDecay | Exponential | Decay | OneCycle | Plateau
Schedule = Annotated[AnySchedule, Field(discriminator="name"), ShortForm()]
