"""Checks between the keys of a valid config. Problems are keys that contradict each other; warnings are values that are
possible, but probably not intended.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import e, log

from mnist_trainer.config.classes import format_classes, is_numbered, known_classes, label_of, task_classes
from mnist_trainer.config.layers import ShapeError, expand, format_shape, infer_shapes, output_count, output_kind, walk
from mnist_trainer.config.model import ActivationLayer, AnyLayer, Layers, Neuron, Residual
from mnist_trainer.config.schema import (
    SAME_DIGITS,
    ClassLoss,
    Config,
    Data,
    Decay,
    Exponential,
    Plateau,
    Simulate,
    StepDecay,
)
from mnist_trainer.config.yaml_reader import KeyPath
from mnist_trainer.errors import ConfigError, ConfigProblem

DIGIT_DATASETS = ("mnist", "qmnist", "emnist-digits", "usps", "digits")
"""Data sets whose ten classes are the digits."""

Finding = tuple[KeyPath, str]
"""The path of a key, and a sentence about it."""

Classes = tuple[str, ...] | None
"""Class names, or None if they are not known yet."""


def find_problems(config: Config, classes: Classes = None) -> list[Finding]:
    """Return every contradiction between keys.

    `classes` are the classes of the data set, without regard to `data.binary`. Without them, class names of a folder
    are not checked."""
    data = config.data
    known = known_classes(data) if classes is None else classes
    names = None if known is None and data.binary is None else task_classes(data, known or ())
    return [
        *_data(config, known, names),
        *_split(config.data),
        *_simulate(config),
        *_loss(config),
        *_class_weights(config, names),
        *_penalties(config, names),
        *_training(config),
        *_refit(config),
        *_model(config, known),
    ]


def _data(config: Config, classes: Classes, names: Classes) -> Iterator[Finding]:
    """Yield the problems of `data`, except for `data.simulate`."""
    data = config.data
    if data.name == "folder" and data.path is None:
        yield ("data", "path"), "missing: data.name 'folder' needs the path of the pictures"
    if data.name not in ("folder", "mnist-c") and data.path is not None:
        yield ("data", "path"), f"only data.name 'folder' has a path; '{data.name}' is found under data.root"
    if data.binary is not None and classes is not None and label_of(data.binary, classes, data) is None:
        yield ("data", "binary"), f"there is no class {data.binary}: the classes are {format_classes(classes, data)}"
    if data.augment is None:
        return
    for index, name in enumerate(data.augment.halve_for):
        yield from _unknown(("data", "augment", "halve_for", index), name, data, names)
    epochs = config.training.epochs
    if data.augment.clean_last >= epochs:
        yield ("data", "augment", "clean_last"), f"no epoch with augmentation is left: training.epochs is {epochs}"


def _split(data: Data) -> Iterator[Finding]:
    """Yield the problems of the keys that choose the validation images."""
    if data.fold_number is not None:
        part, parts = data.fold_number
        if parts < 2 or part > parts:
            yield ("data", "fold"), f"k/K needs 2 parts or more, and k from 1 to K; got {data.fold}"
        if data.validation is not None:
            yield ("data", "fold"), "decides how many images validate: leave out data.validation, or set it to null"
    if data.split == "writers" and data.name not in SAME_DIGITS:
        yield ("data", "split"), f"the writers are known of {' and '.join(SAME_DIGITS)} alone, not of {data.name}"


def _unknown(key: KeyPath, name: int | str, data: Data, names: Classes) -> Iterator[Finding]:
    """Yield a problem if there is no class `name` for a key other than `data.binary`."""
    if names is not None and label_of(name, names, data) is None:
        meaning = "" if data.binary is None else " (with data.binary 0 is no, 1 is yes)"
        yield key, f"there is no class {name}: they are {format_classes(names, data)}{meaning}"


def _simulate(config: Config) -> Iterator[Finding]:
    """Yield the problems of `data.simulate`."""
    data, loss, model = config.data, config.loss, config.model
    if data.simulate == Simulate():
        return
    if data.name not in DIGIT_DATASETS and not data.is_table:
        yield ("data", "simulate"), f"only pictures of digits can be simulated, and '{data.name}' contains others"
    if data.binary is not None:
        yield ("data", "simulate"), "needs all ten digits, but data.binary makes two classes of them"
    if not data.simulate.has_non_digits or isinstance(model, Neuron):
        return
    key = "non_digits" if data.simulate.non_digits else "rows"
    given = loss.name if loss.name != "cross_entropy" else model.output
    if given != "none":
        reason = f"needs cross_entropy and model.output: none, not {given}"
        yield ("data", "simulate", key), f"{reason}: the non-digits are one more logit"
    for name in ("class_weights", "penalties"):
        if getattr(loss, name):
            yield ("loss", name), f"do not cover non-digits: leave them out, or leave out data.simulate.{key}"


def _loss(config: Config) -> Iterator[Finding]:
    """Yield the problems of the loss with the model's architecture and outputs."""
    loss, model, is_binary = config.loss, config.model, config.data.binary is not None
    if isinstance(model, Neuron):
        if not is_binary:
            hint = "set data.binary to the class to recognize (one neuron for each class: mlp with hidden: [])"
            yield ("model", "architecture"), f"a single neuron is for yes/no tasks: {hint}"
        if loss.name in ("cross_entropy", "nll"):
            yield ("loss", "name"), f"a single neuron has one output and {loss.name} needs one per class; use bce"
    elif loss.name == "nll" and model.output != "log_softmax":
        yield ("loss", "name"), f"nll needs model.output: log_softmax, not {model.output}; or use cross_entropy"
    elif loss.name == "bce" and model.output == "log_softmax":
        yield ("loss", "name"), "bce needs outputs from 0 to 1, and log_softmax gives none above 0; use nll"
    elif output_count(config, 2) == 1 and is_binary and model.output in ("softmax", "log_softmax"):
        yield ("model", "output"), f"{model.output} of a single output is constant; use sigmoid or none"


def _class_weights(config: Config, names: Classes) -> Iterator[Finding]:
    """Yield the problems of `loss.class_weights`."""
    weights, data, key = config.loss.class_weights, config.data, ("loss", "class_weights")
    if isinstance(weights, dict):
        for name in weights:
            yield from _unknown((*key, name), name, data, names)
        labels = [label_of(name, names, data) for name in weights] if names else []
        if duplicate := next(
            (name for name, label in zip(weights, labels, strict=False) if labels.count(label) > 1), None
        ):
            yield (*key, duplicate), "another name is the same class; keep one of them"
        if weights and names is not None and len(weights) == len(names) and not any(weights.values()):
            yield key, "all zero: nothing would be learned"
    elif weights is not None:
        if names is not None and len(weights) != len(names):
            yield key, f"needs {len(names)} numbers, one per class, got {len(weights)}"
        elif names is not None and data.name == "folder" and not is_numbered(names):
            pairs = ", ".join(f"{name}: {weight:g}" for name, weight in zip(names, weights, strict=True))
            yield key, f"a list is for classes named 0, 1, 2 …; write {{{pairs}}}"
        if not any(weights):
            yield key, "all zero: nothing would be learned"


def _penalties(config: Config, names: Classes) -> Iterator[Finding]:
    """Yield the problems of `loss.penalties`."""
    for index, penalty in enumerate(config.loss.penalties):
        key, true, predicted = ("loss", "penalties", index), penalty.true, penalty.predicted
        yield from _unknown((*key, "true"), true, config.data, names)
        yield from _unknown((*key, "predicted"), predicted, config.data, names)
        label = label_of(true, names or (), config.data)
        is_same = label is not None and label == label_of(predicted, names or (), config.data)
        if is_same or str(true) == str(predicted):
            yield (*key, "predicted"), f"{predicted} is the same class as {true}"


def _training(config: Config) -> Iterator[Finding]:
    """Yield the problems of optimizer and schedule with `training`, and of `model.freeze`."""
    optimizer, training = config.optimizer, config.training
    if optimizer.name == "sgd" and optimizer.nesterov and optimizer.momentum == 0:
        yield ("optimizer", "nesterov"), "needs momentum > 0, and momentum is 0"
    if optimizer.name == "gradient_descent" and training.accumulate > 1:
        yield ("training", "accumulate"), "gradient_descent already makes one step of all batches; leave it out"
    if training.micro_batches > config.data.batch:
        yield (
            ("training", "micro_batches"),
            f"a batch has {config.data.batch} images, which can't be cut into more parts",
        )
    if config.data.validation == 0 and training.early_stopping is not None:
        yield ("training", "early_stopping"), "needs validation images, and data.validation is 0"
    if training.stop is not None and not any(limit for _, limit in training.stop):
        yield ("training", "stop"), "needs gradient_norm or train_loss, as in {train_loss: 0.01}"
    if config.data.validation == 0 and config.schedule.name == "plateau":
        yield ("schedule", "name"), "plateau needs validation images, and data.validation is 0"
    if training.teacher is not None and not isinstance(config.loss, ClassLoss):
        yield ("training", "teacher"), f"needs loss: cross_entropy or nll, not {config.loss.name}"
    elif training.teacher is not None and output_kind(config) not in ("logits", "log_probabilities"):
        yield ("training", "teacher"), f"needs model.output: none or log_softmax, not {config.model.output}"
    if config.model.freeze and config.model.init_from is None:
        yield ("model", "freeze"), "without model.init_from it would freeze random weights"


def check_divides(config: Config, processes: int) -> None:
    """Raise `ConfigError` if the micro-batches can't be divided evenly among `processes`."""
    count = config.training.micro_batches
    if count % processes:
        reason = f"{count} can't be divided evenly among {processes} processes; set {processes}, or a multiple of it"
        raise ConfigError([ConfigProblem("", "training.micro_batches", reason)])


def _refit(config: Config) -> Iterator[Finding]:
    """Yield the problems of `training.refit`."""
    key = ("training", "refit")
    if not config.training.refit:
        return
    if config.data.validation == 0:
        yield key, "there are no validation images to add: data.validation is 0"
    if config.schedule.name == "plateau":
        yield key, "plateau needs validation images, and the second fit has none; use another schedule"
    if config.training.max_minutes is not None:
        yield key, "the second fit has a fixed number of epochs, so max_minutes can't apply; set training.epochs"


def _model(config: Config, classes: Classes) -> Iterator[Finding]:
    """Yield the first layer whose input has the wrong shape, or a last layer with the wrong number of outputs."""
    model = config.model
    count = 2 if config.data.binary is not None else len(classes) if classes else None
    outputs = output_count(config, count or 10)
    try:
        last = infer_shapes(expand(model), outputs)[-1].outputs
    except ShapeError as error:
        yield _key_of_layer(config, error.position), str(error)
        return
    if isinstance(model, Layers) and last != (outputs,) and (count is not None or len(last) != 1):
        final = ("model", "layers", len(model.layers) - 1)
        yield final, f"the last layer outputs {format_shape(last)}, but {outputs} is needed: end with linear: classes"


def _key_of_layer(config: Config, position: tuple[int, ...]) -> KeyPath:
    """Return the key of the layer at `position` in a list of layers, else the key that is the most likely cause."""
    if not isinstance(config.model, Layers):
        return ("model", "pool") if config.model.architecture == "cnn" else ("model",)
    inner = [part for index in position[1:] for part in ("layers", index)]
    return ("model", "layers", position[0], *inner)


BOUNDED = ("step", "sigmoid", "tanh", "scaled_tanh", "relu6")
"""Activations with a lower and an upper limit."""

UNBOUNDED = ("identity", "leaky_relu", "prelu", "rrelu", "maxout")
"""Activations without limits; the others have only a lower limit."""


def find_warnings(config: Config) -> list[Finding]:
    """Return the path of each key whose value is probably not intended, with the reason; usually an empty list."""
    return [*_output(config), *_layers(config), *_learning_rate(config), *_length(config), *_constant_schedule(config)]


def _output(config: Config) -> Iterator[Finding]:
    """Yield warnings of outputs that do not suit the loss."""
    model, loss, key = config.model, config.loss.name, ("model", "output")
    if isinstance(model, Neuron):
        if loss == "bce" and model.output.name not in ("sigmoid", "identity", "step"):
            reason = f"bce needs outputs between 0 and 1; values of {model.output.name} outside are clipped"
            yield key, f"{reason} and have no gradient. Use model.output=sigmoid"
    elif loss == "cross_entropy" and model.output in ("softmax", "sigmoid"):
        others = 1 if config.data.binary is not None else 9
        reason = "cross_entropy applies a softmax itself; on outputs between 0 and 1 it can't fall below"
        bound = f"ln(e + {others}) − 1 = {log(e + others) - 1:.3f}"
        yield key, f"{reason} {bound}, and its gradients are small. Use model.output=none"
    elif loss == "cross_entropy" and model.output == "log_softmax":
        yield key, "cross_entropy applies log_softmax itself; twice does no harm, but you probably mean loss=nll"
    elif loss in ("mse", "absolute") and model.output == "log_softmax":
        reason = "log_softmax is never above 0, so it can't reach the target 1"
        yield key, f"{reason}. Use model.output=softmax or model.output=sigmoid"
    elif isinstance(model, Layers) and model.output == "none" and isinstance(last := model.layers[-1], ActivationLayer):
        name = last.function.name
        is_limited = name in BOUNDED if loss == "cross_entropy" else name not in UNBOUNDED
        if loss in ("cross_entropy", "bce") and is_limited:
            reason = f"{loss} needs outputs without limits, and {name} keeps them in a range"
            yield ("model", "layers", len(model.layers) - 1), f"{reason}: it can't reach the target. Leave it out"


def _layers(config: Config) -> Iterator[Finding]:
    """Yield warnings of layers that can't learn, or have no effect."""
    model, optimizer = config.model, config.optimizer
    layers = expand(model)
    types = [layer.type for layer in walk(layers)]
    if any(layer.type == "activation" and layer.function.name == "step" for layer in walk(layers)):
        yield ("model",), "step has no gradient: the layers before it will not learn"
    longest = max(_linear_runs(layers))
    if longest > 1:
        yield ("model",), f"{longest} linear layers without an activation between them are one linear layer"
    hidden = sum(name in ("linear", "conv", "maxout", "squeeze_excite") for name in types) > 1
    if model.init.name in ("constant", "zeros") and hidden and model.init_from is None:
        yield ("model", "init"), "with equal weights all units of a hidden layer stay equal: it learns like one unit"
    if optimizer.name == "gradient_descent" and "batch_norm" in types:
        reason = "batch norm takes its statistics from each chunk"
        yield ("model",), f"gradient_descent accumulates over chunks, and {reason}"


def _linear_runs(layers: tuple[AnyLayer, ...]) -> Iterator[int]:
    """Yield the lengths of runs of linear layers and convolutions without a nonlinear layer between them."""
    run = 0
    for layer in layers:
        if _is_linear(layer):
            run += sum(part.type in ("linear", "conv") for part in walk((layer,)))
            continue
        yield run
        run = 0
        if isinstance(layer, Residual):
            yield from _linear_runs(layer.layers)
    yield run


def _is_linear(layer: AnyLayer) -> bool:
    """Return whether the layer is a linear function of its input, apart from dropout."""
    match layer.type:
        case "linear" | "conv" | "flatten" | "batch_norm" | "dropout":
            return True
        case "pool":
            return layer.kind == "average"
        case "activation":
            return layer.function.name == "identity"
        case "residual":
            return all(map(_is_linear, layer.layers))
        case _:
            return False


def _learning_rate(config: Config) -> Iterator[Finding]:
    """Yield a warning of a learning rate that is too large for a sum over the batch."""
    optimizer, loss = config.optimizer, config.loss
    if loss.reduction == "sum" and optimizer.name in ("sgd", "gradient_descent"):
        images = config.data.batch * config.training.accumulate if optimizer.name == "sgd" else 1000
        if optimizer.lr * images > 1:
            reason = "the gradient of a sum grows with the batch, and this learning rate suits a mean"
            advice = f"try optimizer.lr={optimizer.lr / images:.1g} (or loss.name={loss.name} loss.reduction=mean)"
            yield ("optimizer", "lr"), f"{reason}: {advice}"


def _length(config: Config) -> Iterator[Finding]:
    """Yield warnings of when training ends, and of what is evaluated."""
    training, augment, stopping = config.training, config.data.augment, config.training.early_stopping
    if stopping is not None and stopping.patience + 1 >= training.epochs:
        reason = f"patience {stopping.patience} is not over before the last epoch, {training.epochs}"
        yield ("training", "early_stopping"), f"{reason}: it will never stop early"
    if stopping is not None and training.keep == "last":
        reason = f"after early stopping the last epoch is {stopping.patience} epochs past the best"
        yield ("training", "keep"), f"{reason}. Use training.keep=best"
    if training.stop is not None and training.epochs == 1:
        yield ("training", "stop"), "it acts after an epoch, and there is only one: it will never stop early"
    by_loss = training.keep == "best" and (stopping is None or stopping.monitor == "val_loss")
    if by_loss and augment is not None and augment.clean_last and getattr(config.loss, "label_smoothing", 0):
        reason = "with label smoothing the validation loss rises in clean epochs, so that none of them may be kept"
        yield ("data", "augment", "clean_last"), f"{reason}: set training.early_stopping.monitor=val_accuracy"
    if config.data.validation == 0 and not config.report.test:
        yield ("report", "test"), "data.validation is 0 as well, so the model is never evaluated"
    schedule = config.schedule.name
    for key in ("max_minutes", "stop") if schedule in ("one_cycle", "cosine", "linear") else ():
        if getattr(training, key) is None:
            continue
        reason = f"{schedule} is planned for all {training.epochs} epochs"
        yield ("training", key), f"{reason}; an earlier stop leaves the learning rate high"


def _constant_schedule(config: Config) -> Iterator[Finding]:
    """Yield warnings of schedules that never change the learning rate."""
    schedule, epochs, stopping = config.schedule, config.training.epochs, config.training.early_stopping
    by_loss = stopping is not None and stopping.monitor == "val_loss"
    never = "the learning rate never falls"
    match schedule:
        case StepDecay(gamma=1) | Exponential(gamma=1):
            yield ("schedule", "gamma"), f"with gamma 1 {never}. Use schedule=constant, or schedule.gamma=0.5"
        case Decay(final=1):
            yield ("schedule", "final"), f"with final 1 {never}. Use schedule=constant, or schedule.final=0"
        case StepDecay() | Exponential() | Plateau() if epochs == 1:
            reason = f"{schedule.name} acts between epochs, and there is only one: {never}"
            yield ("schedule", "name"), f"{reason}. Use schedule=linear"
        case StepDecay(every=step_size) if step_size >= epochs:
            reason = f"the first reduction comes after {step_size} epochs, and training.epochs is {epochs}: {never}"
            yield ("schedule", "every"), f"{reason}. Try schedule.every={max(epochs // 3, 1)}"
        case Plateau(patience=patience) if patience + 2 >= epochs:
            reason = f"patience {patience} is not over before the last epoch, {epochs}: {never}"
            advice = f"Try schedule.patience={(epochs - 3) // 2}" if epochs > 2 else "Use schedule=linear"
            yield ("schedule", "patience"), f"{reason}. {advice}"
        case Plateau(patience=patience) if stopping and by_loss and stopping.patience < patience + 2:
            reason = f"early stopping with patience {stopping.patience} ends the training before the first reduction"
            yield ("schedule", "patience"), f"{reason}: {never}. Try training.early_stopping.patience={patience + 2}"
