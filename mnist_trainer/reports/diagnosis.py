"""What a finished training shows, in words with figures: one rule a function, and one thing to try next.

A rule yields nothing without evidence. All losses and accuracies are those of `metrics.csv`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from typing import Any

from mnist_trainer.config.load import load_config
from mnist_trainer.config.schema import Config
from mnist_trainer.errors import ConfigError
from mnist_trainer.inference.metrics import Evaluation
from mnist_trainer.inference.predictions import DeadUnits
from mnist_trainer.reports.text import percent, plural
from mnist_trainer.training.loop import EpochRecord
from mnist_trainer.training.probe import LayerProbe

RISE, LOWER = 1.1, 0.7
"""A validation loss has risen if it exceeds this multiple of its minimum, and the training loss is below that multiple
of it."""
FALLING, FLAT = 0.02, 0.01
"""Fractions by which a loss falls in an epoch that is still falling, and in one that is not."""
GAP, HIGH_ACCURACY = 0.02, 0.95
"""A difference of training and validation accuracy that counts, and a training accuracy that is not underfitting."""
SOME_UNITS, MOST_UNITS = 0.1, 0.5
"""Fractions of the units of a layer that are worth a sentence, and that are a problem."""
VANISHING, EXPLODING = 1e-3, 1e3
"""Ratios of the gradient's norm in the first layer to that in the last one."""
DEEP = 4
"""The largest number of hidden layers that train well without batch norm."""
SMALL_UPDATE, LARGE_UPDATE = 3e-4, 0.03
"""Changes of all layers, or of one, in a step, as fractions of the weights, that are too small or too large."""


@dataclass(frozen=True)
class Finding:
    """One statement about a training. `tries` are overrides, of which the first possible one is suggested."""

    rule: str
    text: str
    tries: tuple[str, ...] = ()
    is_problem: bool = True


@dataclass(frozen=True)
class Facts:
    """What is known of a finished training. `records` are those of the first fit, `validation` of its best epoch."""

    config: Config
    records: Sequence[EpochRecord]
    best_epoch: int
    stop_reason: str
    validation: Evaluation | None = None
    dead: Sequence[DeadUnits] = ()
    saturated: Sequence[DeadUnits] = ()
    early: Sequence[LayerProbe] = ()
    """Gradients and updates after the first epoch."""
    late: Sequence[LayerProbe] = ()
    """The same after the last epoch."""
    train_counts: Sequence[int] = ()
    """The number of training images of each class."""
    restores: int = 0
    """How often the training diverged and went back."""
    advice: str = ""
    """What `likely_cause` says of a model that only guesses."""

    @property
    def best(self) -> EpochRecord:
        """Return the record of the best epoch."""
        return next(record for record in self.records if record.epoch == self.best_epoch)

    @property
    def last(self) -> EpochRecord:
        """Return the last record."""
        return self.records[-1]

    @property
    def fall(self) -> float:
        """Return the relative fall of the loss in an epoch, a mean over the last two; see `losses`."""
        losses = self.losses[-3:]
        if len(losses) > 1 and losses[0] > 0:
            return (losses[0] - losses[-1]) / (len(losses) - 1) / losses[0]
        points = [loss for _, loss, _, _ in self.last.curve]  # of a single epoch: its last quarter against the third
        third, fourth = (sum(points[len(points) * part // 4 : len(points) * (part + 1) // 4]) for part in (2, 3))
        return 1 - fourth / third if len(points) >= 8 and third > 0 else 0.0

    @property
    def losses(self) -> list[float]:
        """Return the validation losses, or the training losses without validation images."""
        return [record.train_loss if record.val_loss is None else record.val_loss for record in self.records]


@dataclass(frozen=True)
class Diagnosis:
    """The findings about a training, and one override to try next, if there is one."""

    findings: tuple[Finding, ...]
    suggestion: str = ""

    @property
    def is_healthy(self) -> bool:
        """Whether no finding is a problem."""
        return not any(finding.is_problem for finding in self.findings)

    @property
    def lines(self) -> list[str]:
        """Return the sentences, and the suggestion."""
        texts = [finding.text for finding in self.findings]
        is_new = self.suggestion and not any(self.suggestion in text for text in texts)
        return texts + ([f"Try {self.suggestion}"] if is_new else [])

    def to_json(self) -> dict[str, Any]:
        """Return what `run.json` contains."""
        findings = [{"rule": finding.rule, "text": finding.text} for finding in self.findings]
        return {"healthy": self.is_healthy, "findings": findings, "suggestion": self.suggestion or None}


def diagnose(facts: Facts) -> Diagnosis:
    """Return what `facts` show; the first finding with something to try makes the suggestion."""
    if facts.advice:
        tries = re.findall(r"(?:Try|,|or) ([a-z_.]+=\S+?)(?=[,.]? |[,.]?$)", facts.advice)
        return _with_suggestion(facts.config, [Finding("not_learning", facts.advice, tuple(tries))])
    findings = [finding for rule in (diverged, lr_too_high, lr_too_low) for finding in rule(facts)]
    if not findings:  # else the fit shows the learning rate, not the model
        findings = list(overfitting(facts)) or [*too_short(facts), *underfitting(facts)]
    rules = (missing_class, gradient_flow, inactive_units, confusion)
    findings += [finding for rule in rules for finding in rule(facts)]
    if not any(finding.is_problem for finding in findings):
        findings.insert(0, healthy(facts))
    return _with_suggestion(facts.config, findings)


def _with_suggestion(config: Config, findings: Sequence[Finding]) -> Diagnosis:
    tries = (override for finding in findings for override in finding.tries)
    return Diagnosis(tuple(findings), next((each for each in tries if _is_possible(config, each)), ""))


def _is_possible(config: Config, override: str) -> bool:
    """Return whether the override changes something and passes the config check."""
    try:
        return load_config(config, (override,)) != config
    except ConfigError:
        return False


def healthy(facts: Facts) -> Finding:
    """Return the sentence about a training without problems."""
    train = f"training accuracy {percent(facts.best.train_accuracy)}"
    shown = train if facts.validation is None else f"{train}, validation {percent(facts.validation.accuracy)}"
    epochs = f"best epoch {facts.best_epoch} of {facts.last.epoch}"
    return Finding("healthy", f"This training is healthy: {shown}; {epochs}. {_end(facts)}", is_problem=False)


def _end(facts: Facts) -> str:
    """Return whether longer training would have helped."""
    if facts.stop_reason == "early_stopping":
        return "Early stopping ended it; a longer training would not have helped."
    if facts.fall <= FLAT:
        return "A longer training would hardly have helped: the loss no longer falls."
    return f"At the end the loss still fell by {100 * facts.fall:.1f} % an epoch."


def missing_class(facts: Facts) -> Iterator[Finding]:
    """Classes without training images, and classes that are never recognized."""
    if facts.validation is None:
        return
    per_class = list(zip(facts.train_counts, facts.validation.per_class, strict=True))
    if absent := [metrics.label for count, metrics in per_class if not count]:
        yield Finding("missing_class", f"There are no training images of {_classes(absent)}.")
    missed = [metrics for count, metrics in per_class if count and metrics.count >= 5 and not metrics.accuracy]
    if missed:
        images = sum(metrics.count for metrics in missed)
        names = _classes([metrics.label for metrics in missed])
        yield Finding("missing_class", f"None of the {images} validation images of {names} is recognized.")


def _classes(names: Sequence[str]) -> str:
    *first, last = names
    return f"the classes {', '.join(first)} and {last}" if first else f"class {last}"


def diverged(facts: Facts) -> Iterator[Finding]:
    """A loss that was not finite, after which training went back."""
    if facts.restores:
        text = f"It diverged {plural(facts.restores, 'time')} and went on with half the learning rate."
        yield Finding("diverged", text, (_scaled_lr(facts, 0.5**facts.restores),))


def lr_too_high(facts: Facts) -> Iterator[Finding]:
    """The training loss rises in the first epoch, or again and again while steps are large."""
    points = [loss for _, loss, _, _ in facts.records[0].curve]
    if points and max(points) > 2 * points[0]:
        rise = f"in the first epoch the loss rose from {points[0]:.3g} to {max(points):.3g}"
        text = f"The learning rate is too high: {rise}."
        yield Finding("lr_too_high", text, (_scaled_lr(facts, 0.1),))
        return
    losses = [record.train_loss for record in facts.records]
    rises = sum(after > 1.02 * before for before, after in pairwise(losses))
    update = max((layer.update for layer in facts.early), default=0.0)
    if len(losses) >= 3 and rises >= max(1, (len(losses) - 1) / 3) and update > LARGE_UPDATE:
        text = (
            f"The learning rate is too high: the training loss rose in {rises} of {len(losses) - 1} epochs, and a step "
            f"changes the weights of a layer by {percent(update)}."
        )
        yield Finding("lr_too_high", text, (_scaled_lr(facts, 0.1),))


def lr_too_low(facts: Facts) -> Iterator[Finding]:
    """The loss still falls at the end, and steps are tiny."""
    update = max((layer.update for layer in facts.early), default=1.0)
    falls = len(facts.losses) > 1 and all(after < before for before, after in pairwise(facts.losses))
    if (falls or facts.fall > FALLING) and facts.best.train_accuracy < HIGH_ACCURACY and update < SMALL_UPDATE:
        text = (
            f"The learning rate is too low: the loss still falls by {100 * facts.fall:.1f} % an epoch at the end, and "
            f"a step changes the weights of a layer by {100 * update:.2g} % at most."
        )
        yield Finding("lr_too_low", text, (_scaled_lr(facts, 10),))


def overfitting(facts: Facts) -> Iterator[Finding]:
    """The validation loss has risen since its minimum while the training loss fell, or the accuracies differ."""
    validated = [record for record in facts.records if record.val_loss is not None]
    if not validated or facts.validation is None:
        return
    turn = min(validated, key=lambda record: record.val_loss or 0.0)
    last, regularizers = facts.last, _regularizers(facts.config)
    has_risen = (last.val_loss or 0.0) > RISE * (turn.val_loss or 0.0)
    if has_risen and last.train_loss < min(turn.train_loss, LOWER * (last.val_loss or 0.0)):
        yield Finding(
            "overfitting",
            f"It overfits: after epoch {turn.epoch} the validation loss rose from {turn.val_loss:.3g} to "
            f"{last.val_loss:.3g}, while the training loss fell from {turn.train_loss:.3g} to {last.train_loss:.3g}. "
            f"The model of epoch {facts.best_epoch} is kept.",
            regularizers,
        )
        return
    train, validation = facts.best.train_accuracy, facts.validation.accuracy
    deviation = sqrt(max(validation * (1 - validation), 1e-9) / facts.validation.count)
    if train - validation > max(GAP, 3 * deviation):
        text = f"It overfits: accuracy {percent(train)} on training images, {percent(validation)} on validation images."
        yield Finding("overfitting", text, regularizers)


def _regularizers(config: Config) -> tuple[str, ...]:
    """Return overrides that make overfitting smaller, the most useful first."""
    return (
        *(["data.limit=null"] if config.data.limit else []),
        *(["data.augment={rotate: 10, shift: 2}"] if config.data.augment is None else []),
        *(["model.dropout=0.3"] if getattr(config.model, "dropout", 1.0) == 0 else []),
        "optimizer.weight_decay=0.0001",
    )


def too_short(facts: Facts) -> Iterator[Finding]:
    """The loss was still falling when a limit ended the training."""
    if facts.stop_reason in ("epochs", "max_minutes") and facts.fall > FALLING and facts.best_epoch == facts.last.epoch:
        split = "training" if facts.last.val_loss is None else "validation"
        limit = f"after {plural(facts.last.epoch, 'epoch')}" if facts.stop_reason == "epochs" else "by max_minutes"
        text = (
            f"It was too short: the {split} loss was still falling by {100 * facts.fall:.0f} % an epoch when it was "
            f"ended {limit}."
        )
        yield Finding("too_short", text, (f"training.epochs={2 * facts.config.training.epochs}",))


def underfitting(facts: Facts) -> Iterator[Finding]:
    """The training accuracy is low, and the loss no longer falls."""
    train = facts.best.train_accuracy
    validation = None if facts.validation is None else facts.validation.accuracy
    is_high = train >= HIGH_ACCURACY or (validation or 0.0) >= HIGH_ACCURACY
    if is_high or facts.fall > FLAT or facts.best.phase != "train":
        return
    shown = "" if validation is None else f" (validation {percent(validation)})"
    text = f"It underfits: training accuracy {percent(train)}{shown}, and the loss no longer falls."
    yield Finding("underfitting", text, _larger(facts.config))


def _larger(config: Config) -> tuple[str, ...]:
    """Return overrides that let the model fit the training images better."""
    model = config.model
    if len(getattr(model, "hidden", ())) > DEEP and not getattr(model, "batch_norm", True):
        return ("model.batch_norm=true",)
    if model.architecture == "mlp":
        return (f"model.hidden={[2 * units for units in model.hidden] or [128]}",)
    weaker = ("model.dropout=0",) if getattr(model, "dropout", 0) else ()
    return (*weaker, "model={architecture: mlp, hidden: [128, 64]}", "model={architecture: cnn}")


def inactive_units(facts: Facts) -> Iterator[Finding]:
    """Units that never fire, or that are saturated on nearly all images."""
    kinds = (
        ("dead_units", facts.dead, "never fired on the validation images", ("model.activation=leaky_relu",)),
        ("saturated_units", facts.saturated, "are saturated on nearly all validation images", ("model.init=xavier",)),
    )
    for rule, layers, verb, tries in kinds:
        for layer in layers:
            share = len(layer.units) / layer.count
            if share >= SOME_UNITS:
                text = f"{len(layer.units)} of {layer.count} units of layer {layer.layer} {verb}."
                yield Finding(rule, text, tries if share >= MOST_UNITS else (), is_problem=share >= MOST_UNITS)


def gradient_flow(facts: Facts) -> Iterator[Finding]:
    """The gradient of the first layer is much smaller, or larger, than that of the last one."""
    for when, layers in (("the first epoch", facts.early), ("the last epoch", facts.late)):
        if len(layers) < 2 or not layers[-1].gradient:
            continue
        ratio = layers[0].gradient / layers[-1].gradient
        norms = f"{layers[0].gradient:.2g} in layer 1, {layers[-1].gradient:.2g} in layer {layers[-1].layer}"
        if ratio < VANISHING:
            tries = ("model.activation=relu", "model.batch_norm=true", "model.residual=true")
            yield Finding("vanishing_gradient", f"After {when} the gradient vanishes: its norm is {norms}.", tries)
            return
        if ratio > EXPLODING:
            text = f"After {when} the gradient explodes: its norm is {norms}."
            yield Finding("exploding_gradient", text, ("training.clip_norm=1", "model.batch_norm=true"))
            return


def confusion(facts: Facts) -> Iterator[Finding]:
    """The two classes that are confused most, if they are clearly ahead of a usual pair."""
    evaluation = facts.validation
    if evaluation is None or len(evaluation.per_class) < 3:
        return
    table, names = evaluation.confusion, [metrics.label for metrics in evaluation.per_class]
    pairs = {(i, j): table[i][j] + table[j][i] for i in range(len(names)) for j in range(i)}
    (first, second), most = max(pairs.items(), key=lambda pair: pair[1])
    usual = evaluation.errors / len(pairs)
    if most >= 5 and most > usual + 3 * sqrt(usual):
        pair = f"{names[second]} and {names[first]}"
        text = f"It confuses {pair} most: {most} of its {evaluation.errors} errors on the validation images."
        yield Finding("confusion", text, is_problem=False)


def _scaled_lr(facts: Facts, factor: float) -> str:
    return f"optimizer.lr={float(f'{facts.config.optimizer.lr * factor:.1g}'):g}"
