"""What a finished training shows, in words with figures: one rule a function, and one thing to try next.

A rule yields nothing without evidence. All losses and accuracies are those of `metrics.csv`: the training accuracy is a
mean over an epoch, with dropout and augmentation; the validation accuracy is measured after it, without them. The
thresholds were tried on 75 trainings (docs/decisions.md).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import log, log10, sqrt
from typing import Any, Literal

from mnist_trainer.config.load import load_config
from mnist_trainer.config.schema import Config
from mnist_trainer.errors import ConfigError
from mnist_trainer.inference.metrics import Evaluation
from mnist_trainer.inference.predictions import DeadUnits
from mnist_trainer.reports.text import percent, plural
from mnist_trainer.training.loop import EpochRecord
from mnist_trainer.training.not_learning import has_own_init
from mnist_trainer.training.probe import LayerProbe

Rule = Literal[
    "healthy",
    "no_validation",
    "missing_class",
    "diverged",
    "large_init",
    "lr_too_high",
    "vanishing_gradient",
    "exploding_gradient",
    "lr_too_low",
    "not_learning",
    "overfitting",
    "too_short",
    "underfitting",
    "dead_units",
    "saturated_units",
    "unrecognized_class",
    "confusion",
]
"""The names of the findings in `run.json`; docs/runs.md explains each."""

HIGH_ACCURACY = 0.95
"""An accuracy, of training or validation images, from which a model does not underfit. A linear model reaches 92 % on
MNIST, and any network that learns more than 97 %."""
GUESSING_SHARE = 0.25
"""A high accuracy also means fewer errors than this share of those of a model that always predicts one class."""
FALLING, FLAT = 0.1, 0.01
"""Fractions by which a loss falls in an epoch of a training that is too short although its accuracy is high, and of one
that ends on a plateau. Between them, more epochs change the accuracy by tenths of a percent."""
LEARNING = 0.05
"""A training loss that falls by more in an epoch is not one of an underfitting model, whatever the validation loss."""
ANNEALED = 0.1
"""A schedule has ended near 0 if the last learning rate is below this fraction of the largest. The loss is flat then,
whether or not more epochs would help."""
LATE = 0.8
"""An epoch after this fraction of the training is not evidence that the later ones were useless: losses are noisy."""
MIN_EPOCHS = 5
"""The number of epochs that is suggested after one or two."""
RISE, LOWER = 1.1, 0.7
"""A validation loss has risen if it exceeds this multiple of its minimum in two epochs, and the training loss is below
that multiple of it."""
GAP, DEVIATIONS, ERROR_RATIO = 0.02, 2.0, 2.0
"""A difference of the accuracies that counts, if it also exceeds so many standard deviations; and a ratio of the
validation error to the training error. If both errors are large and similar, the model is too weak instead."""
SMALL_UPDATE, USUAL_UPDATE, LARGE_UPDATE = 1e-3, 1e-2, 0.03
"""Changes in a step at the full learning rate as fractions of the weights: about 1e-3 is the usual advice (Karpathy's
CS231n notes), and the healthy trainings that were tried had 0.005 to 0.2 after the first epoch."""
LARGE_LOSS = 3.0
"""With too large initial weights, the first loss is above this multiple of that of equal outputs, ln(classes)."""
VANISHING, EXPLODING = 1e-2, 1e3
"""Ratios of the gradient's norm in the first layer to that in the last one. The derivative of a sigmoid is at most 1/4,
so that four layers of it leave 1/256; networks with ReLU that were tried had 0.2 to 1."""
SOME_UNITS, MOST_UNITS = 0.25, 0.5
"""Fractions of the units of a layer that are worth a sentence, and that are a problem. In healthy networks with ReLU a
fifth of the units never fires."""
DEEP = 4
"""The largest number of hidden layers that train well without batch norm."""
STRONG_DROPOUT, MILD_DROPOUT = 0.3, 0.2
"""A dropout above the first is lowered to the second, another to 0."""
STRONG_DECAY = 0.01
"""A weight decay that may cause underfitting, as a penalty (sgd, adam); AdamW's, times the learning rate, is weaker."""


@dataclass(frozen=True)
class Finding:
    """One statement about a training. `tries` are overrides, of which the first possible one is suggested."""

    rule: Rule
    text: str
    tries: tuple[str, ...] = ()
    is_problem: bool = True


@dataclass(frozen=True)
class Facts:
    """What is known of a finished training. `records` are those of the first fit, `validation` of the one kept."""

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
    train_counts: Mapping[str, int] = field(default_factory=dict)
    """The number of training images of each class."""
    restores: int = 0
    """How often the training diverged and went back."""
    advice: str = ""
    """What `likely_cause` says of a model that only guesses."""
    custom: Collection[str] = ()
    """The user's own parts, of `model`, `loss` and `optimizer`: their keys in the config mean nothing."""

    @property
    def peak(self) -> int:
        """Return the best epoch by validation, which with `training.keep: last` is not the one kept."""
        return max((record.epoch for record in self.records if record.best), default=self.best_epoch)

    @property
    def best(self) -> EpochRecord:
        """Return the record of the epoch that was kept."""
        return next(record for record in self.records if record.epoch == self.best_epoch)

    @property
    def last(self) -> EpochRecord:
        """Return the last record."""
        return self.records[-1]

    @property
    def is_accurate(self) -> bool:
        """Return whether an accuracy of the epoch kept is high. That of training images lags behind.

        If one class has most of the images, as in a yes/no task, always predicting it is already right quite often.
        """
        counts = self.train_counts.values()
        guessing = 1 - max(counts, default=0) / (sum(counts) or 1)
        validation = 0.0 if self.validation is None else self.validation.accuracy
        return 1 - max(self.best.train_accuracy, validation) <= min(1 - HIGH_ACCURACY, GUESSING_SHARE * guessing)

    @property
    def losses(self) -> list[float]:
        """Return the validation losses, or the training losses without validation images."""
        return [record.train_loss if record.val_loss is None else record.val_loss for record in self.records]

    @property
    def quarters(self) -> list[float]:
        """Return the mean training losses of the quarters of the first epoch; empty if it has few steps."""
        points = [loss for _, loss, _, _ in self.records[0].curve]
        parts = [points[len(points) * part // 4 : len(points) * (part + 1) // 4] for part in range(4)]
        return [sum(part) / len(part) for part in parts] if len(points) >= 8 else []

    @property
    def fall(self) -> float | None:
        """Return by which fraction the loss fell in an epoch: the mean of the last two or the last, if it is smaller.

        After a single epoch, it is the fall from its third to its fourth quarter; None if that is unknown.
        """
        return _fall_at_end(self.losses if len(self.losses) > 1 else self.quarters[-2:])

    @property
    def is_flat(self) -> bool:
        """Return whether the loss hardly fell, or rose, in the last two epochs."""
        return len(self.losses) > 2 and _fall(self.losses[-3], self.losses[-1]) <= 2 * FLAT

    @property
    def second_half_fall(self) -> float:
        """Return by which fraction the loss fell in the second half of the training."""
        losses = self.losses if len(self.losses) > 1 else self.quarters
        return _fall(losses[(len(losses) - 1) // 2], losses[-1]) if losses else 0.0

    @property
    def is_annealed(self) -> bool:
        """Return whether a schedule ended with a learning rate near 0."""
        rates = [record.lr for record in self.records] + [lr for _, _, _, lr in self.records[0].curve]
        return self.last.lr < ANNEALED * max(rates)

    @property
    def largest_update(self) -> float | None:
        """Return the largest update of a layer after the first epoch; None if it is unknown."""
        return max((layer.update for layer in self.early), default=None)


def _fall_at_end(losses: Sequence[float]) -> float | None:
    falls = [_fall(*pair) for pair in pairwise(losses[-3:])]
    return min(falls[-1], sum(falls) / len(falls)) if falls else None


def _fall(before: float, after: float) -> float:
    return 1 - after / before if before > 0 else 0.0


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
    """Return what `facts` show; the first finding with something to try makes the suggestion.

    A cause hides its consequences: with a wrong learning rate, accuracies and units say nothing about the model.
    Without one, the fit is judged, and then the units and the classes.
    """
    causes = (missing_class, diverged, large_init, lr_too_high, gradient_flow, lr_too_low)
    findings = next((found for rule in causes if (found := list(rule(facts)))), [])
    if not findings and facts.advice:
        tries = re.findall(r"(?:Try|,|or) ([a-z_.]+=\S+?)(?=[,.]? |[,.]?$)", facts.advice)
        findings = [Finding("not_learning", facts.advice, tuple(tries))]
    if not findings:
        fit = list(overfitting(facts)) or list(too_short(facts)) or list(underfitting(facts))
        units = list(inactive_units(facts))
        is_dying = any(unit.is_problem for unit in units) and (facts.largest_update or 0.0) > LARGE_UPDATE
        findings = [*units, *fit] if is_dying else [*fit, *units]  # large steps kill units: the cause goes first
        findings += [*unrecognized_class(facts), *confusion(facts)]
        if not any(finding.is_problem for finding in findings):
            findings.insert(0, healthy(facts))
    return Diagnosis(tuple(findings), _suggestion(facts, findings))


def _suggestion(facts: Facts, findings: Sequence[Finding]) -> str:
    """Return the first override that is possible, or an empty text."""
    return next((each for finding in findings for each in finding.tries if _is_possible(facts, each)), "")


def _is_possible(facts: Facts, override: str) -> bool:
    """Return whether the override changes something, fits the user's own parts, and passes the config check."""
    section, _, key = override.partition("=")[0].partition(".")
    has_other_weights = facts.config.model.init_from is not None and key != "dropout"
    if section in facts.custom or (section == "model" and has_other_weights):
        return False
    try:
        return load_config(facts.config, (override,)) != facts.config
    except ConfigError:
        return False


def healthy(facts: Facts) -> Finding:
    """Return the sentence about a training without problems."""
    train = f"training accuracy {percent(facts.best.train_accuracy)}"
    if facts.validation is None:
        text = f"No problem is visible ({train}), but overfitting can't be seen without validation images."
        return Finding("no_validation", text, ("data.validation=null",))
    shown = f"{train}, validation {percent(facts.validation.accuracy)}"
    kind = "last" if facts.config.training.keep == "last" else "best"
    epochs = f"{kind} epoch {facts.best_epoch} of {facts.last.epoch}"
    return Finding("healthy", f"This training is healthy: {shown}; {epochs}. {_end(facts)}", is_problem=False)


def _end(facts: Facts) -> str:
    """Return whether more epochs would have helped."""
    if facts.stop_reason == "early_stopping":
        return "Early stopping ended it, so more epochs would hardly have helped."
    if limit := getattr(facts.config.training.stop, facts.stop_reason, None):
        falls = facts.fall is not None and facts.fall > FLAT
        fall = f", while the loss was still falling by {_rounded(facts.fall or 0)} an epoch" if falls else ""
        return f"training.stop.{facts.stop_reason}={limit:g} ended it{fall}."
    if facts.peak < LATE * facts.last.epoch and not (facts.is_annealed and facts.config.training.keep == "last"):
        return f"More epochs would hardly have helped: none after epoch {facts.peak} was better."
    if facts.is_annealed:
        return "The curve does not show whether more epochs would help: the schedule ended near a rate of 0."
    if facts.fall is None:
        return "The curve is too short to show whether more epochs would help."
    if facts.is_flat:
        return "More epochs would hardly have helped: the loss no longer falls."
    if facts.fall <= FLAT:
        return "The curve does not show whether more epochs would help: the loss rises and falls."
    return f"The loss was still falling by {_rounded(facts.fall)} an epoch, so more epochs may help a little."


def _rounded(fraction: float) -> str:
    """Return a percentage with two significant digits, as `0.013 %`."""
    return f"{float(f'{100 * fraction:.2g}'):g} %"


def missing_class(facts: Facts) -> Iterator[Finding]:
    """Classes that can't be learned: without training images, or with a class weight of 0."""
    if absent := [name for name, count in facts.train_counts.items() if not count]:
        yield Finding("missing_class", f"There are no training images of {_classes(absent)}: add some.")
    if ignored := [name for name in _zero_weights(facts) if facts.train_counts.get(name)]:
        text = f"The training images of {_classes(ignored)} do not count: their class weight is 0."
        yield Finding("missing_class", text, ("loss.class_weights=null",))


def _zero_weights(facts: Facts) -> list[str]:
    """Return the names of the classes with a class weight of 0."""
    weights = None if "loss" in facts.custom else getattr(facts.config.loss, "class_weights", None)
    named = weights if isinstance(weights, Mapping) else dict(zip(facts.train_counts, weights or (), strict=False))
    return [str(name) for name, weight in named.items() if weight == 0]


def unrecognized_class(facts: Facts) -> Iterator[Finding]:
    """Classes with training images of which no validation image is recognized."""
    if facts.validation is None:
        return
    learned = {name: count for name, count in facts.train_counts.items() if count and name not in _zero_weights(facts)}
    missed = [each for each in facts.validation.per_class if each.count >= 5 and not each.accuracy]
    if missed := [each for each in missed if each.label in learned]:
        images, count = sum(each.count for each in missed), sum(learned[each.label] for each in missed)
        names = _classes([each.label for each in missed])
        share = f"{count:,} of the {sum(learned.values()):,} training images"
        text = f"None of the {images:,} validation images of {names} is recognized, although {share} show them."
        yield Finding("unrecognized_class", text)


def _classes(names: Sequence[str]) -> str:
    *first, last = names
    return f"the classes {', '.join(first)} and {last}" if first else f"class {last}"


def diverged(facts: Facts) -> Iterator[Finding]:
    """A loss that was not finite, after which training went back."""
    if facts.restores:
        factor = 0.5**facts.restores
        text = (
            f"The learning rate is too high: the training diverged {plural(facts.restores, 'time')} (the loss was no "
            f"longer finite) and went on with {factor:g} × the learning rate."
        )
        yield Finding("diverged", text, (_scaled_lr(facts, factor),))


def large_init(facts: Facts) -> Iterator[Finding]:
    """The first loss is much larger than that of equal outputs, with initial weights other than the default ones."""
    curve, classes = facts.records[0].curve, len(facts.train_counts)
    is_custom = not {"model", "loss"}.isdisjoint(facts.custom) or facts.config.loss.name != "cross_entropy"
    if is_custom or not has_own_init(facts.config.model) or not curve or classes < 3:
        return
    first, equal = curve[0][1], log(classes)
    if first > LARGE_LOSS * equal:
        text = (
            f"The initial weights are too large: the first loss was {first:.3g}; a model with the same output for all "
            f"{classes} classes has {equal:.2g}."
        )
        yield Finding("large_init", text, ("model.init=default", "model.init=kaiming"))


def lr_too_high(facts: Facts) -> Iterator[Finding]:
    """The loss doubles in the first epoch, or rises later while steps are large."""
    points = [loss for _, loss, _, _ in facts.records[0].curve]
    losses = [record.train_loss for record in facts.records]
    rises = _rises(losses) & _rises(facts.losses)  # dropout and mixup let the training loss alone rise and fall
    update = facts.largest_update or 0.0
    is_rising = len(rises) >= max(2, (len(losses) - 1) / 4) and losses[-1] > 1.1 * min(losses)
    if points and max(points) > 2 * points[0] and losses[0] > points[0]:
        evidence = f"in the first epoch the loss rose from {points[0]:.3g} to {max(points):.3g}"
        yield Finding("lr_too_high", f"The learning rate is too high: {evidence}.", (_scaled_lr(facts, 0.1),))
        return
    if facts.is_accurate or update <= LARGE_UPDATE:
        return
    if is_rising:
        evidence = f"the loss rose in {len(rises)} of {len(losses) - 1} epochs, and {_step(update)}"
        text = f"The learning rate is too high: {evidence}."
        yield Finding("lr_too_high", text, (_scaled_lr(facts, 0.3),))  # it has learned something: a smaller change


def _rises(losses: Sequence[float]) -> set[int]:
    """Return the indices after which a loss rises by more than 2 %."""
    return {index for index, (before, after) in enumerate(pairwise(losses)) if after > 1.02 * before}


def lr_too_low(facts: Facts) -> Iterator[Finding]:
    """Steps are tiny, and the loss falls steadily or the model only guesses."""
    update = facts.largest_update
    losses = facts.losses if len(facts.losses) > 1 else facts.quarters
    is_falling = len(losses) > 1 and all(after < before for before, after in pairwise(losses))
    if update and update < SMALL_UPDATE and not facts.is_accurate and (is_falling or facts.advice):
        loss = "the loss still falls, but" if is_falling else "the loss hardly changes:"
        usual = f"about {_rounded(USUAL_UPDATE)} is usual"
        text = f"The learning rate is too low: {loss} {_step(update)} at most, and {usual}."
        factor = 10 ** min(max(round(log10(USUAL_UPDATE / update)), 1), 3)
        yield Finding("lr_too_low", text, (_scaled_lr(facts, factor),))


def _step(update: float) -> str:
    return f"a step changes the weights of a layer by {_rounded(update)}"


def overfitting(facts: Facts) -> Iterator[Finding]:
    """The validation loss has risen since its minimum while the training loss fell, or the accuracies differ."""
    validated = [record for record in facts.records if record.val_loss is not None]
    if not validated or facts.validation is None:
        return
    turn = min(validated, key=lambda record: record.val_loss or 0.0)
    last, regularizers = facts.last, _regularizers(facts.config)
    has_risen = turn.epoch <= last.epoch - 2 and min(facts.losses[-2:]) > RISE * (turn.val_loss or 0.0)
    if has_risen and last.train_loss < min(turn.train_loss, LOWER * (last.val_loss or 0.0)):
        yield Finding(
            "overfitting",
            f"The model overfits: after epoch {turn.epoch} the validation loss rose from {turn.val_loss:.3g} to "
            f"{last.val_loss:.3g}, while the training loss fell from {turn.train_loss:.3g} to {last.train_loss:.3g}. "
            f"The model of epoch {facts.best_epoch} is kept.",
            ("training.keep=best", *regularizers),
        )
        return
    train, validation = facts.best.train_accuracy, facts.validation.accuracy
    deviation = sqrt(max(validation * (1 - validation), 1e-9) / facts.validation.count)
    is_learned = train >= HIGH_ACCURACY or 1 - validation > ERROR_RATIO * (1 - train)
    if train - validation > max(GAP, DEVIATIONS * deviation) and is_learned:
        shown = f"{percent(train)} on training images, {percent(validation)} on validation images"
        text = f"The model overfits: accuracy {shown}."
        yield Finding("overfitting", text, regularizers)


def _regularizers(config: Config) -> tuple[str, ...]:
    return (
        *(["data.limit=null"] if config.data.limit else []),
        *(["data.augment={rotate: 10, shift: 2}"] if config.data.augment is None else []),
        *(["model.dropout=0.3"] if getattr(config.model, "dropout", 1.0) == 0 else []),
        "optimizer.weight_decay=0.0001",
    )


def too_short(facts: Facts) -> Iterator[Finding]:
    """The loss was still falling when a limit ended the training, or a schedule ended its fall."""
    if facts.stop_reason not in ("epochs", "max_minutes") or facts.peak < LATE * facts.last.epoch:
        return
    split = "training" if facts.last.val_loss is None else "validation"
    fall, length = facts.fall or 0.0, plural(facts.last.epoch, "epoch")
    learning = _fall_at_end([record.train_loss for record in facts.records]) or 0.0
    if fall <= FLAT and learning > LEARNING and not facts.is_accurate:  # a noisy validation loss hides it
        split, fall = "training", learning
    if facts.fall is None:
        fall, evidence = 0.0 if facts.is_accurate else 1.0, "it had a single epoch with few steps"
    elif facts.is_annealed:
        fall = 0.0 if facts.is_accurate else facts.second_half_fall
        split = split if len(facts.losses) > 1 else "training"
        evidence = (
            f"the {split} loss fell by {_rounded(fall)} in the second half of the training, until the schedule had "
            f"lowered the learning rate to almost 0"
        )
    elif len(facts.losses) == 1:
        evidence = f"the training loss fell by {_rounded(fall)} from the third to the last quarter of its steps"
    elif facts.stop_reason == "max_minutes":
        evidence = f"the {split} loss was still falling by {_rounded(fall)} an epoch when the time was over"
    else:
        evidence = f"after {length} the {split} loss was still falling by {_rounded(fall)} an epoch"
    if facts.is_accurate and facts.validation is None:  # a training loss falls for ever
        return
    if fall > (FALLING if facts.is_accurate else FLAT):
        yield Finding("too_short", f"The training was too short: {evidence}.", (*_deeper(facts.config), _longer(facts)))


def _longer(facts: Facts) -> str:
    training = facts.config.training
    if facts.stop_reason == "max_minutes":
        return f"training.max_minutes={2 * (training.max_minutes or 0):g}"
    return f"training.epochs={max(2 * training.epochs, MIN_EPOCHS)}"


def _deeper(config: Config) -> tuple[str, ...]:
    """Return what lets a network with many hidden layers learn."""
    is_deep = len(getattr(config.model, "hidden", ())) > DEEP and not getattr(config.model, "batch_norm", True)
    return ("model.batch_norm=true",) if is_deep else ()


def underfitting(facts: Facts) -> Iterator[Finding]:
    """The accuracy is low, also of training images, and the loss no longer falls."""
    if facts.is_accurate:
        return
    train, hindrances = facts.best.train_accuracy, _hindrances(facts)
    shown = f"training accuracy {percent(train)}"
    if hindrances:
        shown += f" with {' and '.join(hindrances)}"
    if facts.validation is not None:
        shown += f", validation accuracy {percent(facts.validation.accuracy)}{' without' if hindrances else ''}"
    end = ", and the loss no longer falls" if facts.is_flat else ""
    decay, rate = getattr(facts.config.optimizer, "weight_decay", 0.0), facts.config.optimizer.lr
    is_strong = (decay * rate if facts.config.optimizer.name == "adamw" else decay) >= STRONG_DECAY
    text = f"The model underfits: {shown}{end}.{f' A weight decay of {decay:g} is strong.' if is_strong else ''}"
    weaker = (*hindrances.values(), *(["optimizer.weight_decay=0"] if is_strong else []))
    yield Finding("underfitting", text, (*weaker, *_deeper(facts.config), *_larger(facts.config)))


def _hindrances(facts: Facts) -> dict[str, str]:
    """Return what makes only training images hard to recognize, and what to try instead.

    It is empty unless the accuracy is higher without it, on validation images.
    """
    config, found = facts.config, dict[str, str]()
    if facts.validation is None or facts.validation.accuracy <= facts.best.train_accuracy:
        return found
    if dropout := getattr(config.model, "dropout", 0.0):
        found["dropout"] = f"model.dropout={MILD_DROPOUT if dropout > STRONG_DROPOUT else 0}"
    if config.data.augment is not None:
        found["augmentation"] = "data.augment=null"
    if config.training.mixup is not None:
        found["mixup"] = "training.mixup=null"
    if config.training.adversarial is not None:
        found["adversarial images"] = "training.adversarial=null"
    return found


def _larger(config: Config) -> tuple[str, ...]:
    if config.model.architecture == "mlp":
        return (f"model.hidden={[max(2 * units, 64) for units in config.model.hidden] or [128]}",)
    return ("model={architecture: mlp, hidden: [128, 64]}", "model={architecture: cnn}")


def inactive_units(facts: Facts) -> Iterator[Finding]:
    """Units that never fire, or that are saturated on nearly all images, in the layer with most of them."""
    init, update = ("model.init=default", "model.init=xavier"), facts.largest_update or 0.0
    dying = (*([_scaled_lr(facts, 0.3)] if update > LARGE_UPDATE else []), "model.activation=leaky_relu")
    kinds: tuple[tuple[Rule, Sequence[DeadUnits], str, tuple[str, ...]], ...] = (
        ("dead_units", facts.dead, "never fired on the validation images", dying),
        ("saturated_units", facts.saturated, "are saturated on nearly all validation images", init),
    )
    for rule, layers, verb, tries in kinds:
        worst = _worst(layers)
        if worst is not None and _share(worst) >= SOME_UNITS:
            is_problem = _share(worst) >= MOST_UNITS
            others = "" if len(layers) == 1 else ", more than in any other layer"
            if is_problem and rule == "dead_units" and update > LARGE_UPDATE:
                others = f", and {_step(update)}, which is much"
            yield Finding(rule, f"{_units(worst)} {verb}{others}.", tries if is_problem else (), is_problem)


def _worst(layers: Sequence[DeadUnits]) -> DeadUnits | None:
    return max(layers, key=_share, default=None)


def _share(layer: DeadUnits) -> float:
    return len(layer.units) / layer.count


def _units(layer: DeadUnits) -> str:
    return f"{len(layer.units)} of {layer.count} units of layer {layer.layer}"


def gradient_flow(facts: Facts) -> Iterator[Finding]:
    """The gradient of the first layer is much smaller, or larger, than that of the last one, and the accuracy low."""
    for when, layers in (("the first epoch", facts.early), ("the last epoch", facts.late)):
        if facts.is_accurate or len(layers) < 2 or not layers[-1].gradient:
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
    """The two classes that are confused most, if they are clearly ahead of all others."""
    evaluation = facts.validation
    if evaluation is None or len(evaluation.per_class) < 3:
        return
    if any(each.count and not each.accuracy for each in evaluation.per_class):  # it chooses among the other classes
        return
    table, names = evaluation.confusion, [metrics.label for metrics in evaluation.per_class]
    pairs = {(i, j): table[i][j] + table[j][i] for i in range(len(names)) for j in range(i)}
    (first, second), most = max(pairs.items(), key=lambda pair: pair[1])
    next_most = sorted(pairs.values())[-2]
    if most >= 5 and most - next_most > 2 * sqrt(most + next_most):  # two standard deviations of the difference
        pair = f"{names[second]} and {names[first]}"
        text = f"The model confuses {pair} most: {most} of its {evaluation.errors} errors on the validation images."
        yield Finding("confusion", text, is_problem=False)


def _scaled_lr(facts: Facts, factor: float) -> str:
    return f"optimizer.lr={float(f'{facts.config.optimizer.lr * factor:.2g}'):g}"
