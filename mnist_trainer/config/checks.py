"""What no single key shows: keys that contradict each other. (What runs but cannot be meant: `warnings.py`.)"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from mnist_trainer.config.architectures import Cnn, Layers, Neuron
from mnist_trainer.config.augmentation import Simulate
from mnist_trainer.config.expand import expand
from mnist_trainer.config.objective import ClassLoss, GradientDescent, Plateau, Sgd
from mnist_trainer.config.outputs import output_count
from mnist_trainer.config.schema import Config
from mnist_trainer.config.shapes import MisfitError, describe, place

DIGITS = ("mnist", "qmnist", "emnist-digits", "usps", "digits")
"""Data sets whose ten classes are the digits."""

Path = tuple[str | int, ...]
Finding = tuple[Path, str]
"""The path of a key, and a sentence about it."""


def mistakes(config: Config, classes: int | None = None) -> list[Finding]:
    """Every contradiction between keys. `classes` (before `data.binary`) is 10 unless the data set says otherwise."""
    known = classes if classes is not None else None if config.data.name == "folder" else 10
    findings = (_data(config, known), _simulate(config), _loss(config, known), _training(config), _model(config, known))
    return list(chain(*findings))


def _data(config: Config, classes: int | None) -> Iterator[Finding]:
    data = config.data
    if data.name == "folder" and data.path is None:
        yield ("data", "path"), "missing: data.name 'folder' needs the path of the pictures"
    if data.name != "folder" and data.path is not None:
        yield ("data", "path"), f"only data.name 'folder' has a path; '{data.name}' is found under data.root"
    if data.binary is not None and classes is not None and data.binary >= classes:
        yield ("data", "binary"), f"there is no class {data.binary}: the classes are 0 to {classes - 1}"
    augment, epochs = data.augment, config.training.epochs
    count = 2 if data.binary is not None else classes
    for index, halved in enumerate(augment.halve_for if augment else ()):
        if count is not None and halved >= count:
            meaning = "" if data.binary is None else " (with data.binary 0 is no, 1 is yes)"
            yield (
                ("data", "augment", "halve_for", index),
                f"there is no class {halved}: they are 0 to {count - 1}{meaning}",
            )
    if augment is not None and augment.clean_last >= epochs:
        yield ("data", "augment", "clean_last"), f"no epoch is left to augment: training.epochs is {epochs}"


def _simulate(config: Config) -> Iterator[Finding]:
    data, loss, model = config.data, config.loss, config.model
    if data.simulate == Simulate():
        return
    if data.name not in DIGITS and not data.is_table:
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


def _loss(config: Config, classes: int | None) -> Iterator[Finding]:
    loss, model = config.loss, config.model
    binary = config.data.binary is not None
    count = 2 if binary else classes
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
    if loss.class_weights is not None:
        if count is not None and len(loss.class_weights) != count:
            yield ("loss", "class_weights"), f"needs {count} numbers, one a class, got {len(loss.class_weights)}"
        if not any(loss.class_weights):
            yield ("loss", "class_weights"), "all zero: nothing would be learned"
    for index, penalty in enumerate(loss.penalties):
        for key, value in (("true", penalty.true), ("predicted", penalty.predicted)):
            if count is not None and value >= count:
                yield ("loss", "penalties", index, key), f"there is no class {value}: they are 0 to {count - 1}"
        if penalty.true == penalty.predicted:
            yield ("loss", "penalties", index, "predicted"), f"{penalty.true} for {penalty.true} is no confusion"


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


def _model(config: Config, classes: int | None) -> Iterator[Finding]:
    layers = expand(config.model)
    count = 2 if config.data.binary is not None else classes
    outputs = output_count(config, count or 10)
    try:
        last = place(layers, outputs)[-1].outputs
    except MisfitError as misfit:
        yield _blame(config, misfit.position), str(misfit)
        return
    if isinstance(config.model, Layers) and last != (outputs,) and (count is not None or len(last) != 1):
        final = ("model", "layers", len(config.model.layers) - 1)
        yield final, f"the last layer gives {describe(last)}, needed is {outputs}: end with linear: classes"


def _blame(config: Config, position: tuple[int, ...]) -> Path:
    """The key that made the layer at `position`: itself where layers are written out, else the likeliest one."""
    if not isinstance(config.model, Layers):
        return ("model", "pool") if isinstance(config.model, Cnn) else ("model",)
    inner = [part for index in position[1:] for part in ("layers", index)]
    return ("model", "layers", position[0], *inner)
