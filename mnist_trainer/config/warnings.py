"""Configs that are valid but cannot mean what they say: each with the reason, so that one learns from it."""

from __future__ import annotations

from collections.abc import Iterator
from math import e, log

from mnist_trainer.config.activations import ConstantInit, PlainActivation, PlainInit
from mnist_trainer.config.architectures import Layers, Neuron
from mnist_trainer.config.checks import Finding
from mnist_trainer.config.expand import expand, walk
from mnist_trainer.config.layers import (
    ActivationLayer,
    AnyLayer,
    BatchNorm,
    Conv,
    Dropout,
    Flatten,
    Linear,
    Pool,
    Residual,
)
from mnist_trainer.config.objective import (
    Decay,
    DistanceLoss,
    Exponential,
    GradientDescent,
    OneCycle,
    Plateau,
    Sgd,
    StepDecay,
)
from mnist_trainer.config.schema import Config

BOUNDED = ("step", "sigmoid", "tanh", "scaled_tanh", "relu6")
"""Activations with a smallest and a largest value."""

UNBOUNDED = ("identity", "leaky_relu", "prelu", "rrelu", "maxout")
"""Activations with neither; the rest have a smallest value alone."""


def warnings(config: Config) -> list[Finding]:
    """The path and the reason of everything in `config` that works against itself; most often an empty list."""
    return [*_output(config), *_layers(config), *_initial_weights(config), *_learning_rate(config), *_length(config)]


def _output(config: Config) -> Iterator[Finding]:
    model, loss = config.model, config.loss
    if isinstance(model, Neuron):
        fits = model.output.name in ("sigmoid", "identity", "step")
        if loss.name == "bce" and not fits:
            reason = f"bce wants outputs between 0 and 1; what {model.output.name} gives outside is cut off"
            yield ("model", "output"), f"{reason} and has no gradient. Use model.output=sigmoid"
    elif loss.name == "cross_entropy" and model.output in ("softmax", "sigmoid"):
        classes = 2 if config.data.binary is not None else 10
        floor = log(e + classes - 1) - 1
        reason = "cross_entropy applies a softmax itself; on outputs between 0 and 1 it can't fall below"
        bound = f"ln(e + {classes - 1}) − 1 = {floor:.3f}"
        yield ("model", "output"), f"{reason} {bound}, and its gradients are small. Use model.output=none"
    elif loss.name == "cross_entropy" and model.output == "log_softmax":
        yield ("model", "output"), "cross_entropy applies log_softmax itself; twice does no harm, but loss=nll is meant"
    elif loss.name in ("mse", "absolute") and model.output == "log_softmax":
        reason = "log_softmax is never above 0, so it can't reach the target 1"
        yield ("model", "output"), f"{reason}. Use model.output=softmax or model.output=sigmoid"
    elif isinstance(model, Layers) and model.output == "none":
        yield from _last_activation(model, loss.name)


def _last_activation(model: Layers, loss: str) -> Iterator[Finding]:
    """Of a written-out list whose outputs the loss reads as logits."""
    last = model.layers[-1]
    if not isinstance(last, ActivationLayer):
        return
    limited = last.function.name in BOUNDED if loss == "cross_entropy" else last.function.name not in UNBOUNDED
    if loss in ("cross_entropy", "bce") and limited:
        reason = f"{loss} wants outputs of any size, and {last.function.name} keeps them in a range"
        yield ("model", "layers", len(model.layers) - 1), f"{reason}: it can't reach the target. Leave it out"


def _layers(config: Config) -> Iterator[Finding]:
    layers = expand(config.model)
    if any(
        isinstance(part, ActivationLayer) and part.function == PlainActivation(name="step") for part in walk(layers)
    ):
        yield ("model",), "step has no gradient: the layers before it will not learn"
    longest = max(_linear_runs(layers))
    if longest > 1:
        yield ("model",), f"{longest} linear layers without an activation between them are one linear layer"


def _linear_runs(layers: tuple[AnyLayer, ...]) -> Iterator[int]:
    """How many linear layers follow each other with nothing between them that bends a straight line."""
    run = 0
    for layer in layers:
        if _is_linear(layer):
            run += sum(isinstance(part, Linear | Conv) for part in walk((layer,)))
            continue
        yield run
        run = 0
        if isinstance(layer, Residual):
            yield from _linear_runs(layer.layers)
    yield run


def _is_linear(layer: AnyLayer) -> bool:
    match layer:
        case Linear() | Conv() | Pool(kind="average") | Flatten() | BatchNorm() | Dropout():
            return True
        case ActivationLayer():
            return layer.function == PlainActivation(name="identity")
        case Residual():
            return all(map(_is_linear, layer.layers))
        case _:
            return False


def _initial_weights(config: Config) -> Iterator[Finding]:
    init = config.model.init
    same = isinstance(init, ConstantInit) or init == PlainInit(name="zeros")
    weighted = ("linear", "conv", "maxout", "squeeze_excite")
    hidden = sum(layer.type in weighted for layer in walk(expand(config.model))) > 1
    if same and hidden and config.model.init_from is None:
        yield ("model", "init"), "with equal weights all units of a hidden layer stay equal: it learns like one unit"


def _learning_rate(config: Config) -> Iterator[Finding]:
    optimizer = config.optimizer
    if config.loss.reduction == "sum" and isinstance(optimizer, Sgd | GradientDescent):
        batch = config.data.batch * config.training.accumulate
        images = batch if isinstance(optimizer, Sgd) else 1000
        if optimizer.lr * images > 1:
            reason = "the gradient of a sum grows with the batch, and this rate is made for means"
            mean = f"loss.name={config.loss.name} loss.reduction=mean"
            yield ("optimizer", "lr"), f"{reason}: try optimizer.lr={optimizer.lr / images:.1g} (or {mean})"
    normed = any(isinstance(layer, BatchNorm) for layer in walk(expand(config.model)))
    if isinstance(optimizer, GradientDescent) and normed:
        yield ("model",), "gradient_descent works in pieces, and batch norm takes its statistics from each piece"


def _length(config: Config) -> Iterator[Finding]:
    training, schedule = config.training, config.schedule
    stopping = training.early_stopping
    if stopping is not None and stopping.patience + 1 >= training.epochs:
        reason = f"patience {stopping.patience} is not over before the last epoch, {training.epochs}"
        yield ("training", "early_stopping"), f"{reason}: it will never stop early"
    augment, monitored = config.data.augment, "val_loss" if stopping is None else stopping.monitor
    smoothed = not isinstance(config.loss, DistanceLoss) and config.loss.label_smoothing
    if augment is not None and augment.clean_last and smoothed and monitored == "val_loss":
        reason = "with label smoothing the validation loss rises in clean epochs, so that none of them may be kept"
        yield ("data", "augment", "clean_last"), f"{reason}: set training.early_stopping.monitor=val_accuracy"
    if config.data.validation == 0 and not config.report.test:
        yield ("report", "test"), "data.validation is 0 as well, so nothing will say how good the model is"
    if training.max_minutes is not None and isinstance(schedule, OneCycle | Decay):
        reason = f"{schedule.name} is laid out for all {training.epochs} epochs"
        yield ("training", "max_minutes"), f"{reason}; a stop before them leaves the learning rate high"
    yield from _never_falls(config)


def _never_falls(config: Config) -> Iterator[Finding]:
    """Yield warnings of schedules that never change the learning rate."""
    schedule, epochs, stopping = config.schedule, config.training.epochs, config.training.early_stopping
    never = "the learning rate never falls"
    if isinstance(schedule, StepDecay | Exponential) and schedule.gamma == 1:
        yield ("schedule", "gamma"), f"with gamma 1 {never}. Use schedule=constant, or schedule.gamma=0.5"
    elif isinstance(schedule, Decay) and schedule.final == 1:
        yield ("schedule", "final"), f"with final 1 {never}. Use schedule=constant, or schedule.final=0"
    elif isinstance(schedule, StepDecay | Exponential | Plateau) and epochs == 1:
        yield (
            ("schedule", "name"),
            f"{schedule.name} acts between epochs, and there is only one: {never}. Use schedule=linear",
        )
    elif isinstance(schedule, StepDecay) and schedule.every >= epochs:
        reason = f"the first fall comes after {schedule.every} epochs, and training.epochs is {epochs}: {never}"
        yield ("schedule", "every"), f"{reason}. Try schedule.every={max(epochs // 3, 1)}"
    elif isinstance(schedule, Plateau) and schedule.patience + 2 >= epochs:
        reason = f"patience {schedule.patience} is not over before the last epoch, {epochs}: {never}"
        advice = f"Try schedule.patience={(epochs - 3) // 2}" if epochs > 2 else "Use schedule=linear"
        yield ("schedule", "patience"), f"{reason}. {advice}"
    elif isinstance(schedule, Plateau) and stopping is not None and stopping.monitor == "val_loss":
        least = schedule.patience + 2
        if stopping.patience < least:
            reason = f"early stopping with patience {stopping.patience} ends the training before the first fall"
            yield ("schedule", "patience"), f"{reason}: {never}. Try training.early_stopping.patience={least}"
