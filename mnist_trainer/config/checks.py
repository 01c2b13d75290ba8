"""What no single key shows: keys that contradict each other. (What runs but cannot be meant: `warnings.py`.)

Configs that are valid but cannot mean what they say: each with the reason, so that one learns from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from math import e, log

from mnist_trainer.config.classes import format_classes, is_numbered, known_classes, label_of, task_classes
from mnist_trainer.config.layers import ShapeError, expand, format_shape, infer_shapes, output_count, walk
from mnist_trainer.config.model import (
    ActivationLayer,
    AnyLayer,
    BatchNorm,
    Cnn,
    ConstantInit,
    Conv,
    Dropout,
    Flatten,
    Layers,
    Linear,
    Neuron,
    PlainActivation,
    PlainInit,
    Pool,
    Residual,
)
from mnist_trainer.config.objective import (
    ClassLoss,
    Decay,
    DistanceLoss,
    Exponential,
    GradientDescent,
    OneCycle,
    Plateau,
    Sgd,
    StepDecay,
)
from mnist_trainer.config.schema import Config, Data, Simulate

DIGIT_DATASETS = ("mnist", "qmnist", "emnist-digits", "usps", "digits")
"""Data sets whose ten classes are the digits."""

KeyPath = tuple[str | int, ...]
Finding = tuple[KeyPath, str]
"""The path of a key, and a sentence about it."""


def find_problems(config: Config, classes: tuple[str, ...] | None = None) -> list[Finding]:
    """Every contradiction between keys. `classes`, before `data.binary`, are to be given of a folder."""
    known = known_classes(config.data) if classes is None else classes
    findings = (_data(config, known), _simulate(config), _loss(config, known), _training(config), _model(config, known))
    return list(chain(*findings))


def _data(config: Config, classes: tuple[str, ...] | None) -> Iterator[Finding]:
    data = config.data
    if data.name == "folder" and data.path is None:
        yield ("data", "path"), "missing: data.name 'folder' needs the path of the pictures"
    if data.name != "folder" and data.path is not None:
        yield ("data", "path"), f"only data.name 'folder' has a path; '{data.name}' is found under data.root"
    if data.binary is not None and classes is not None and label_of(data.binary, classes, data) is None:
        yield ("data", "binary"), f"there is no class {data.binary}: the classes are {format_classes(classes, data)}"
    augment, epochs = data.augment, config.training.epochs
    for index, halved in enumerate(augment.halve_for if augment else ()):
        if unknown := _unknown(halved, data, classes):
            yield ("data", "augment", "halve_for", index), unknown
    if augment is not None and augment.clean_last >= epochs:
        yield ("data", "augment", "clean_last"), f"no epoch is left to augment: training.epochs is {epochs}"


def _unknown(name: int | str, data: Data, classes: tuple[str, ...] | None) -> str:
    """What is wrong with the name of a class in another key than `data.binary`; empty if nothing is, or who knows."""
    if classes is None and data.binary is None:
        return ""
    names = task_classes(data, classes or ())
    if label_of(name, names, data) is not None:
        return ""
    meaning = "" if data.binary is None else " (with data.binary 0 is no, 1 is yes)"
    return f"there is no class {name}: they are {format_classes(names, data)}{meaning}"


def _is_same(one: int | str, other: int | str, data: Data, classes: tuple[str, ...] | None) -> bool:
    labels = [label_of(name, task_classes(data, classes or ()), data) for name in (one, other)]
    return str(one) == str(other) or (labels[0] == labels[1] is not None)


def _simulate(config: Config) -> Iterator[Finding]:
    data, loss, model = config.data, config.loss, config.model
    if data.simulate == Simulate():
        return
    if data.name not in DIGIT_DATASETS and not data.is_table:
        yield ("data", "simulate"), f"pictures of digits alone can be made, and '{data.name}' holds others"
    if data.binary is not None:
        yield ("data", "simulate"), "is for all ten digits, and data.binary asks for one of them"
    if not data.simulate.non_digits or isinstance(model, Neuron):
        return
    given = loss.name if loss.name != "cross_entropy" else model.output
    if given != "none":
        reason = f"needs cross_entropy and model.output: none, not {given}"
        yield ("data", "simulate", "non_digits"), f"{reason}: that it is no digit is one more logit"
    for name in ("class_weights", "penalties"):
        if getattr(loss, name):
            yield ("loss", name), "have none for what is no digit: leave them out, or data.simulate.non_digits"


def _loss(config: Config, classes: tuple[str, ...] | None) -> Iterator[Finding]:
    loss, model = config.loss, config.model
    binary = config.data.binary is not None
    if isinstance(model, Neuron):
        if not binary:
            hint = "set data.binary to the class it shall recognise (for one neuron a class: mlp with hidden: [])"
            yield ("model", "architecture"), f"a single neuron answers yes or no: {hint}"
        if isinstance(loss, ClassLoss):
            yield ("loss", "name"), f"a single neuron has one output and {loss.name} needs one a class; use bce"
    elif loss.name == "nll" and model.output != "log_softmax":
        yield ("loss", "name"), f"nll needs model.output: log_softmax, not {model.output}; or use cross_entropy"
    elif loss.name == "bce" and model.output == "log_softmax":
        yield ("loss", "name"), "bce needs outputs from 0 to 1, and log_softmax gives none above 0; use nll"
    elif output_count(config, 2) == 1 and binary and model.output in ("softmax", "log_softmax"):
        yield ("model", "output"), f"{model.output} of a single output is constant; use sigmoid or none"
    yield from _class_weights(config, classes)
    for index, penalty in enumerate(loss.penalties):
        for key, value in (("true", penalty.true), ("predicted", penalty.predicted)):
            if unknown := _unknown(value, config.data, classes):
                yield ("loss", "penalties", index, key), unknown
        if _is_same(penalty.true, penalty.predicted, config.data, classes):
            yield ("loss", "penalties", index, "predicted"), f"{penalty.predicted} for {penalty.true} is no confusion"


def _class_weights(config: Config, classes: tuple[str, ...] | None) -> Iterator[Finding]:
    weights, data, key = config.loss.class_weights, config.data, ("loss", "class_weights")
    if weights is None:
        return
    names = None if classes is None and data.binary is None else task_classes(data, classes or ())
    if isinstance(weights, dict):
        for name in weights:
            if unknown := _unknown(name, data, classes):
                yield (*key, name), unknown
        labels = [label_of(name, names, data) for name in weights] if names else []
        if twice := next((name for name, label in zip(weights, labels, strict=False) if labels.count(label) > 1), None):
            yield (*key, twice), "another name stands for the same class; keep one of them"
        is_whole = names is not None and len(weights) == len(names)
        if weights and is_whole and not any(weights.values()):
            yield key, "all zero: nothing would be learned"
        return
    if names is not None and len(weights) != len(names):
        yield key, f"needs {len(names)} numbers, one a class, got {len(weights)}"
    elif names is not None and data.name == "folder" and not is_numbered(names):
        pairs = ", ".join(f"{name}: {weight:g}" for name, weight in zip(names, weights, strict=True))
        yield key, f"a list is for classes that are called 0, 1, 2 …; write {{{pairs}}}"
    if not any(weights):
        yield key, "all zero: nothing would be learned"


def _training(config: Config) -> Iterator[Finding]:
    optimizer, training = config.optimizer, config.training
    if isinstance(optimizer, Sgd) and optimizer.nesterov and optimizer.momentum == 0:
        yield ("optimizer", "nesterov"), "looks ahead along the momentum, and momentum is 0"
    if isinstance(optimizer, GradientDescent) and training.accumulate > 1:
        yield ("training", "accumulate"), "gradient_descent already makes one step of all batches; leave it out"
    if config.data.validation == 0 and training.early_stopping is not None:
        yield ("training", "early_stopping"), "needs validation images, and data.validation is 0"
    if config.data.validation == 0 and isinstance(config.schedule, Plateau):
        yield ("schedule", "name"), "plateau needs validation images, and data.validation is 0"
    if training.refit:
        yield from _refit(config)
    if config.model.freeze and config.model.init_from is None:
        yield ("model", "freeze"), "without model.init_from it would freeze random weights"


def _refit(config: Config) -> Iterator[Finding]:
    key = ("training", "refit")
    if config.data.validation == 0:
        yield key, "there are no validation images to train on besides: data.validation is 0"
    if isinstance(config.schedule, Plateau):
        yield key, "plateau needs validation images, and the second fit has none; use another schedule"
    if config.training.max_minutes is not None:
        yield key, "the second fit must be as long as the first one's best epoch, so max_minutes can't hold; set epochs"


def _model(config: Config, classes: tuple[str, ...] | None) -> Iterator[Finding]:
    layers = expand(config.model)
    count = 2 if config.data.binary is not None else len(classes) if classes else None
    outputs = output_count(config, count or 10)
    try:
        last = infer_shapes(layers, outputs)[-1].outputs
    except ShapeError as error:
        yield _responsible_key(config, error.position), str(error)
        return
    if isinstance(config.model, Layers) and last != (outputs,) and (count is not None or len(last) != 1):
        final = ("model", "layers", len(config.model.layers) - 1)
        yield final, f"the last layer gives {format_shape(last)}, needed is {outputs}: end with linear: classes"


def _responsible_key(config: Config, position: tuple[int, ...]) -> KeyPath:
    """The key that made the layer at `position`: itself where layers are written out, else the likeliest one."""
    if not isinstance(config.model, Layers):
        return ("model", "pool") if isinstance(config.model, Cnn) else ("model",)
    inner = [part for index in position[1:] for part in ("layers", index)]
    return ("model", "layers", position[0], *inner)


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
