"""What no single key shows: keys that contradict each other. (What runs but cannot be meant: `warnings.py`.)"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from mnist_trainer.config.architectures import Cnn, Layers, Neuron
from mnist_trainer.config.augmentation import Simulate
from mnist_trainer.config.classes import format_classes, is_numbered, known_classes, label_of, task_classes
from mnist_trainer.config.expand import expand
from mnist_trainer.config.objective import ClassLoss, GradientDescent, Plateau, Sgd
from mnist_trainer.config.outputs import output_count
from mnist_trainer.config.schema import Config, Data
from mnist_trainer.config.shapes import ShapeError, format_shape, infer_shapes

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
