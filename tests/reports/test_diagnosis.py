"""Each rule of the diagnosis speaks with evidence, and is silent without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from mnist_trainer.config.load import load_config
from mnist_trainer.config.schema import Config
from mnist_trainer.inference.metrics import Evaluation, confusion_matrix, metrics_by_class, wilson_interval
from mnist_trainer.inference.predictions import DeadUnits
from mnist_trainer.reports.diagnosis import Diagnosis, Facts, Rule, diagnose
from mnist_trainer.training.loop import EpochRecord
from mnist_trainer.training.probe import LayerProbe

CLASSES = ("0", "1", "2", "3")
MLP = load_config({"model": {"architecture": "mlp", "hidden": [64, 32]}, "training": {"epochs": 6}})
FALLING = (1.0, 0.5, 0.3, 0.21, 0.209, 0.208)
STEEP = (1.0, 0.8, 0.7, 0.6, 0.5, 0.4)
RISING = (1, 1.5, 1.2, 2, 1, 3)
SLOW = (2.3, 2.29, 2.28, 2.27, 2.26, 2.25)


def evaluation(wrong: Sequence[tuple[int, int, int]] = (), count: int = 1000) -> Evaluation:
    """`count` validation images of each class; `wrong` are (label, predicted, images)."""
    labels = torch.arange(4).repeat_interleave(count)
    predicted = labels.clone()
    for label, other, images in wrong:
        predicted[torch.nonzero((labels == label) & (predicted == label))[:images, 0]] = other
    errors, table = int((labels != predicted).sum()), confusion_matrix(labels, predicted, 4)
    return Evaluation(
        accuracy=1 - errors / (4 * count),
        errors=errors,
        count=4 * count,
        loss=0.1,
        interval=wilson_interval(4 * count - errors, 4 * count),
        ece=0.01,
        per_class=metrics_by_class(table, CLASSES),
        confusion=tuple(map(tuple, table.tolist())),
        dataset="mnist",
        split="validation",
    )


def records(
    val: Sequence[float] = FALLING,
    train: Sequence[float] = FALLING,
    accuracy: float = 0.99,
    curve: Sequence[float] = (),
    final_lr: float = 0.01,
) -> list[EpochRecord]:
    """One record an epoch; `curve` are the losses within the first one, and `final_lr` is the last learning rate."""
    points = tuple((index / len(curve), loss, 0.5, 0.01) for index, loss in enumerate(curve))
    rates = [0.01] * (len(val) - 1) + [final_lr]
    return [
        EpochRecord(epoch, loss, accuracy, validation, accuracy, lr, 1.0, 1.0, curve=points if epoch == 1 else ())
        for epoch, (loss, validation, lr) in enumerate(zip(train, val, rates, strict=True), start=1)
    ]


def limited(config: Config, reason: str, **facts: Any) -> Facts:
    """A training whose loss still falls by 17 % an epoch, ended by `reason`."""
    return replace(
        HEALTHY, config=config, records=records(STEEP, accuracy=0.8), stop_reason=reason, validation=LOW, **facts
    )


def probes(gradients: Sequence[float], update: float = 0.003) -> list[LayerProbe]:
    return [LayerProbe(layer, gradient, update) for layer, gradient in enumerate(gradients, start=1)]


HEALTHY = Facts(
    MLP,
    records(),
    best_epoch=6,
    stop_reason="epochs",
    validation=evaluation([(0, 1, 15), (1, 2, 15), (2, 3, 15)]),
    dead=[DeadUnits(1, (3,), 64)],
    early=probes([0.2, 0.3, 0.5]),
    late=probes([0.1, 0.2, 0.3]),
    train_counts=dict.fromkeys(CLASSES, 1000),
)
LOW = evaluation([(0, 1, 500), (2, 1, 300)])
"""An accuracy of 80 %."""


def weak(*overrides: str, accuracy: float = 0.8) -> Facts:
    """A training that ends on a plateau with a low accuracy."""
    return replace(HEALTHY, config=load_config(MLP, overrides), records=records(accuracy=accuracy), validation=LOW)


def rules(diagnosis: Diagnosis) -> list[str]:
    return [finding.rule for finding in diagnosis.findings]


def test_a_healthy_training_is_called_healthy() -> None:
    diagnosis = diagnose(HEALTHY)
    assert rules(diagnosis) == ["healthy"]
    assert diagnosis.is_healthy and not diagnosis.suggestion
    assert diagnosis.lines == [
        "This training is healthy: training accuracy 99.00 %, validation 98.88 %; best epoch 6 of 6. More epochs would "
        "hardly have helped: the loss no longer falls."
    ]
    assert diagnosis.to_json() == {
        "healthy": True,
        "findings": [{"rule": "healthy", "text": diagnosis.lines[0]}],
        "suggestion": None,
    }


UP = (1.0, 0.4, 0.2, 0.2, 0.25, 0.3)
CASES: dict[str, tuple[Facts, str, str, str]] = {
    "the validation loss turned": (
        replace(HEALTHY, records=records(UP, (1.0, 0.4, 0.2, 0.1, 0.05, 0.02)), best_epoch=3),
        "overfitting",
        "after epoch 3 the validation loss rose from 0.2 to 0.3, while the training loss fell from 0.2 to 0.02. "
        "The model of epoch 3 is kept.",
        "data.augment={rotate: 10, shift: 2}",
    ),
    "the accuracies differ": (
        replace(HEALTHY, records=records(accuracy=0.999), validation=evaluation([(0, 1, 150), (2, 3, 100)])),
        "overfitting",
        "accuracy 99.90 % on training images, 93.75 % on validation images",
        "data.augment={rotate: 10, shift: 2}",
    ),
    "with few images": (
        replace(
            HEALTHY,
            config=load_config(MLP, ("data.limit=100",)),
            records=records(UP, (1.0, 0.4, 0.2, 0.1, 0.05, 0.02)),
            best_epoch=3,
        ),
        "overfitting",
        "validation loss rose",
        "data.limit=null",
    ),
    "the loss was still falling": (
        replace(HEALTHY, records=records(STEEP)),
        "too_short",
        "after 6 epochs the validation loss was still falling by 18 % an epoch.",
        "training.epochs=12",
    ),
    "a noisy validation loss": (
        replace(weak(), records=records((0.8, 0.6, 0.44, 0.46, 0.36, 0.45), STEEP, accuracy=0.8), best_epoch=5),
        "too_short",
        "after 6 epochs the training loss was still falling by 18 % an epoch.",
        "training.epochs=12",
    ),
    "the time was over": (
        limited(load_config(MLP, ("training.max_minutes=3",)), "max_minutes"),
        "too_short",
        "the validation loss was still falling by 18 % an epoch when the time was over.",
        "training.max_minutes=6",
    ),
    "one epoch, falling": (
        replace(
            HEALTHY,
            config=load_config(MLP, ("training.epochs=1",)),
            records=records([0.3], [0.5], curve=[2, 1.8, 1.6, 1.4, 1.2, 1.1, 1.0, 0.9, 0.6, 0.5]),
            best_epoch=1,
        ),
        "too_short",
        "the training loss fell by 37 % from the third to the last quarter of its steps.",
        "training.epochs=5",
    ),
    "cut in the first epoch": (
        replace(weak(accuracy=0.5), records=records([1], [1.5], accuracy=0.5, curve=[2, 1]), best_epoch=1),
        "too_short",
        "The training was too short: it had a single epoch with few steps.",
        "training.epochs=12",
    ),
    "a schedule ended the fall": (
        replace(weak(), records=records((1.0, 0.9, 0.8, 0.7, 0.68, 0.68), accuracy=0.8, final_lr=0)),
        "too_short",
        "the validation loss fell by 15 % in the second half of the training, until the schedule had lowered the",
        "training.epochs=12",
    ),
    "a schedule of two epochs": (
        replace(
            weak(), records=records((1, 0.9), accuracy=0.8, train=(1, 1), final_lr=0, curve=[3, 2] * 8), best_epoch=2
        ),
        "too_short",
        "the validation loss fell by 10 % in the second half of the training, until",
        "training.epochs=12",
    ),
    "a schedule of one epoch": (
        replace(
            weak(),
            records=records([1], [1], accuracy=0.8, final_lr=0, curve=[2, 2, 2, 1.8, 1.6, 1.4, 1.2, 1]),
            best_epoch=1,
        ),
        "too_short",
        "the training loss fell by 42 % in the second half of the training, until",
        "training.epochs=12",
    ),
    "a deep model that still learns": (
        limited(load_config(MLP, ("model.hidden=[9,9,9,9,9,9]",)), "epochs"),
        "too_short",
        "after 6 epochs",
        "model.batch_norm=true",
    ),
    "both accuracies are low": (
        weak(),
        "underfitting",
        "training accuracy 80.00 %, validation accuracy 80.00 %, and the loss no longer falls.",
        "model.hidden=[128, 64]",
    ),
    "it stopped early": (
        replace(weak(), records=records(STEEP, accuracy=0.8), stop_reason="early_stopping"),
        "underfitting",
        "The model underfits: training accuracy 80.00 %, validation accuracy 80.00 %.",
        "model.hidden=[128, 64]",
    ),
    "strong dropout": (
        weak("model.dropout=0.5", accuracy=0.5),
        "underfitting",
        "training accuracy 50.00 % with dropout, validation accuracy 80.00 % without, and the loss no longer falls.",
        "model.dropout=0.2",
    ),
    "mild dropout and augmentation": (
        weak("model.dropout=0.2", "data.augment={rotate: 40}", "training.mixup=1", accuracy=0.5),
        "underfitting",
        "training accuracy 50.00 % with dropout and augmentation and mixup, validation accuracy 80.00 % without",
        "model.dropout=0",
    ),
    "augmentation alone": (
        weak("data.augment={rotate: 40}", accuracy=0.5),
        "underfitting",
        "with augmentation",
        "data.augment=null",
    ),
    "adversarial images alone": (
        weak("training.adversarial=2", accuracy=0.5),
        "underfitting",
        "with adversarial images",
        "training.adversarial=null",
    ),
    "weight decay": (
        weak("optimizer.weight_decay=0.5"),
        "underfitting",
        "A weight decay of 0.5 is strong.",
        "optimizer.weight_decay=0",
    ),
    "a linear model": (weak("model.hidden=[]"), "underfitting", "The model underfits", "model.hidden=[128]"),
    "a deep model": (
        weak("model.hidden=[9,9,9,9,9,9]"),
        "underfitting",
        "The model underfits",
        "model.batch_norm=true",
    ),
    "the initial weights are too large": (
        replace(weak("model.init={name: normal, std: 1}"), records=records(accuracy=0.8, curve=[300.0, 200, 100])),
        "large_init",
        "the first loss was 300; a model with the same output for all 4 classes has 1.4.",
        "model.init=default",
    ),
    "the training loss rises": (
        replace(weak(), records=records(RISING, RISING, accuracy=0.8), early=probes([1, 1, 1], update=0.1)),
        "lr_too_high",
        "the loss rose in 3 of 5 epochs, and a step changes the weights of a layer by 10 %",
        "optimizer.lr=0.0003",
    ),
    "the first steps blow up": (
        replace(HEALTHY, records=records(train=(4, *FALLING[1:]), curve=[2.3, 2e9, 40, 2.3])),
        "lr_too_high",
        "in the first epoch the loss rose from 2.3 to 2e+09",
        "optimizer.lr=0.0001",
    ),
    "tiny steps": (
        replace(
            weak(),
            records=records(SLOW, accuracy=0.2),
            early=probes([1, 1, 1], update=1e-4),
            advice="The loss does not fall. Try optimizer.lr=0.0001",
        ),
        "lr_too_low",
        "the loss still falls, but a step changes the weights of a layer by 0.01 % at most, and about 1 % is usual.",
        "optimizer.lr=0.1",
    ),
    "tiny steps of a model that guesses": (
        replace(
            weak(),
            records=records((2.3, 2.31, 2.3, 2.32, 2.3, 2.3), accuracy=0.1),
            early=probes([1, 1, 1], update=1e-5),
            advice="The loss does not fall. Try optimizer.lr=0.0001",
        ),
        "lr_too_low",
        "the loss hardly changes: a step changes the weights of a layer by 0.001 % at most, and about 1 % is usual.",
        "optimizer.lr=1",
    ),
    "a yes/no task": (
        replace(
            HEALTHY,
            records=records(accuracy=0.96),
            train_counts={"no": 900, "yes": 100},
            validation=evaluation([(0, 1, 200)]),
        ),
        "underfitting",
        "training accuracy 96.00 %, validation accuracy 95.00 %",
        "model.hidden=[128, 64]",
    ),
    "it went back": (
        replace(HEALTHY, restores=2),
        "diverged",
        "the training diverged 2 times (the loss was no longer finite) and went on with 0.25 × the learning rate.",
        "optimizer.lr=0.00025",
    ),
    "dead units": (
        replace(HEALTHY, dead=[DeadUnits(1, (1,), 64), DeadUnits(2, tuple(range(40)), 64)]),
        "dead_units",
        "40 of 64 units of layer 2 never fired on the validation images, more than in any other layer.",
        "model.activation=leaky_relu",
    ),
    "large steps kill units": (
        replace(limited(MLP, "epochs"), dead=[DeadUnits(2, tuple(range(40)), 64)], early=probes([1, 1], update=0.1)),
        "dead_units",
        "40 of 64 units of layer 2 never fired on the validation images, and a step changes the weights of a layer by "
        "10 %, which is much.",
        "optimizer.lr=0.0003",
    ),
    "saturated units": (
        replace(
            HEALTHY,
            config=load_config(MLP, ("model.init={name: normal, std: 1}",)),
            saturated=[DeadUnits(1, tuple(range(64)), 64)],
        ),
        "saturated_units",
        "64 of 64 units of layer 1 are saturated on nearly all validation images.",
        "model.init=default",
    ),
    "the gradient vanishes": (
        replace(weak("model.activation=sigmoid"), early=probes([1e-6, 1e-3, 0.5])),
        "vanishing_gradient",
        "After the first epoch the gradient vanishes: its norm is 1e-06 in layer 1, 0.5 in layer 3.",
        "model.activation=relu",
    ),
    "the gradient explodes": (
        replace(weak(), late=probes([1e4, 10, 0.5])),
        "exploding_gradient",
        "After the last epoch the gradient explodes: its norm is 1e+04 in layer 1, 0.5 in layer 3.",
        "training.clip_norm=1",
    ),
    "a class is missing": (
        replace(HEALTHY, train_counts=HEALTHY.train_counts | {"1": 0}, validation=evaluation([(1, 2, 1000)])),
        "missing_class",
        "There are no training images of class 1: add some.",
        "",
    ),
    "a class weighs nothing": (
        replace(
            HEALTHY,
            config=load_config(MLP, ("loss={name: cross_entropy, class_weights: {1: 0}}",)),
            validation=evaluation([(1, 2, 1000)]),
        ),
        "missing_class",
        "The training images of class 1 do not count: their class weight is 0.",
        "loss.class_weights=null",
    ),
    "classes are never recognized": (
        replace(HEALTHY, validation=evaluation([(1, 2, 1000), (3, 0, 1000)])),
        "unrecognized_class",
        "None of the 2,000 validation images of the classes 1 and 3 is recognized, although 2,000 of the 4,000 "
        "training images show them.",
        "",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_rule_with_evidence(name: str) -> None:
    facts, rule, text, suggestion = CASES[name]
    diagnosis = diagnose(facts)
    assert rule in rules(diagnosis)
    assert text in next(finding.text for finding in diagnosis.findings if finding.rule == rule)
    assert not diagnosis.is_healthy and "healthy" not in rules(diagnosis)
    if suggestion:
        assert diagnosis.suggestion == suggestion
        assert diagnosis.lines[-1] == f"Try {suggestion}"
        assert load_config(facts.config, (suggestion,)) != facts.config


LONG_MEMORY = (1.0, 0.4, 0.2, 0.1, 0.05, 0.02)
SILENT = {
    "overfitting: the training loss is as high": replace(HEALTHY, records=records(UP, UP), best_epoch=3),
    "overfitting: a small rise": replace(
        HEALTHY, records=records((1.0, 0.4, 0.2, 0.2, 0.2, 0.21), LONG_MEMORY), best_epoch=3
    ),
    "overfitting: only the last epoch is worse": replace(
        HEALTHY, records=records((1.0, 0.4, 0.3, 0.25, 0.2, 0.3), LONG_MEMORY), best_epoch=5
    ),
    "overfitting: few images": replace(HEALTHY, records=records(accuracy=0.98), validation=evaluation([(0, 1, 3)], 20)),
    "overfitting: both errors are large": weak(accuracy=0.88),
    "too_short: stop": replace(
        HEALTHY,
        config=load_config(MLP, ("training.stop.train_loss=0.05",)),
        records=records(STEEP),
        stop_reason="train_loss",
    ),
    "too_short: early stopping": replace(HEALTHY, records=records(STEEP), stop_reason="early_stopping"),
    "too_short: a slow fall of a good model": replace(HEALTHY, records=records((1.0, 0.5, 0.3, 0.2, 0.19, 0.18))),
    "too_short: the last epoch was worse": replace(
        weak(), records=records((1, 0.8, 0.6, 0.5, 0.3, 0.31), accuracy=0.8)
    ),
    "too_short: the best epoch was long ago": replace(limited(MLP, "epochs"), best_epoch=3),
    "too_short: a good model and its schedule": replace(
        HEALTHY, records=records((1.0, 0.9, 0.8, 0.7, 0.68, 0.68), final_lr=0)
    ),
    "too_short: too few steps to know": replace(
        HEALTHY, records=records([1.0], [1.0], curve=[2, 1.5, 1, 0.5]), best_epoch=1
    ),
    "underfitting: still falling": replace(weak(), records=records((1.0, 0.9, 0.88, 0.87, 0.85, 0.83), accuracy=0.8)),
    "underfitting: the validation accuracy is high": replace(HEALTHY, records=records(accuracy=0.6)),
    "large_init: the usual first loss": replace(
        weak("model.init={name: normal, std: 1}"), records=records(curve=[1.4, 1.3])
    ),
    "large_init: default weights": replace(weak(), records=records(curve=[300.0, 200, 100])),
    "lr_too_high: small steps": replace(weak(), records=records(RISING, RISING, accuracy=0.8)),
    "lr_too_high: only the training loss, with mixup": replace(
        weak(), records=records(SLOW, RISING, accuracy=0.8), early=probes([1, 1], update=0.1)
    ),
    "lr_too_high: a good model": replace(HEALTHY, records=records(RISING, RISING), early=probes([1], update=0.1)),
    "lr_too_high: one bad batch": replace(HEALTHY, records=records(curve=[2.3, 5, 1, 0.5])),
    "lr_too_low: large steps": replace(weak(), records=records(SLOW, accuracy=0.2)),
    "lr_too_low: a good model": replace(HEALTHY, early=probes([1], update=1e-5)),
    "lr_too_low: the loss does not fall": replace(weak(), records=records(RISING, RISING), early=probes([1], 1e-5)),
    "dead_units: few": replace(HEALTHY, dead=[DeadUnits(1, tuple(range(15)), 64)]),
    "saturated_units: few": replace(HEALTHY, saturated=[DeadUnits(1, (1, 2, 3), 64)]),
    "vanishing_gradient: one layer": replace(weak(), early=probes([1e-9]), late=probes([1e-9])),
    "vanishing_gradient: it learned": replace(HEALTHY, early=probes([1e-6, 1e-3, 0.5])),
    "exploding_gradient: it learned": replace(HEALTHY, early=probes([1e4, 10, 0.5])),
    "diverged: never": HEALTHY,
    "missing_class: weights above 0": replace(
        HEALTHY, config=load_config(MLP, ("loss={name: cross_entropy, class_weights: {1: 0.1}}",))
    ),
    "unrecognized_class: one is recognized": replace(HEALTHY, validation=evaluation([(1, 2, 999)])),
    "confusion: all pairs alike": HEALTHY,
    "confusion: two pairs nearly alike": replace(HEALTHY, validation=evaluation([(1, 3, 30), (0, 2, 25)])),
    "confusion: a class is never recognized": replace(HEALTHY, validation=evaluation([(1, 3, 1000)])),
    "healthy: a low accuracy": weak(),
    "healthy: no validation images": replace(HEALTHY, validation=None),
}


@pytest.mark.parametrize("name", SILENT)
def test_a_rule_without_evidence(name: str) -> None:
    assert name.partition(":")[0] not in rules(diagnose(SILENT[name]))


def test_some_dead_units_are_told_and_no_problem() -> None:
    diagnosis = diagnose(replace(HEALTHY, dead=[DeadUnits(1, tuple(range(20)), 64)]))
    assert rules(diagnosis) == ["healthy", "dead_units"]
    assert diagnosis.is_healthy and not diagnosis.suggestion


def test_the_pair_that_is_confused_most() -> None:
    diagnosis = diagnose(replace(HEALTHY, validation=evaluation([(1, 3, 20), (3, 1, 12), (0, 2, 2)])))
    assert rules(diagnosis) == ["healthy", "confusion"]
    assert (
        diagnosis.findings[1].text == "The model confuses 1 and 3 most: 32 of its 34 errors on the validation images."
    )


def test_a_model_that_only_guesses_has_one_finding() -> None:
    advice = "The loss does not fall. Try optimizer.lr=0.1, model.init=kaiming or model.activation=relu"
    diagnosis = diagnose(replace(HEALTHY, advice=advice))
    assert rules(diagnosis) == ["not_learning"]
    assert diagnosis.lines == [advice]
    assert diagnosis.suggestion == "optimizer.lr=0.1"


def test_without_validation_images() -> None:
    alone = [replace(record, val_loss=None, val_accuracy=None) for record in records((1.0, 0.8, 0.7, 0.6, 0.5, 0.4))]
    facts = replace(HEALTHY, config=load_config(MLP, ("data.validation=0",)), records=alone, validation=None)
    diagnosis = diagnose(facts)
    assert rules(diagnosis) == ["no_validation"] and not diagnosis.is_healthy
    assert diagnosis.suggestion == "data.validation=null"
    falling = [replace(record, train_loss=1 / record.epoch) for record in alone]
    assert rules(diagnose(replace(facts, records=falling))) == ["no_validation"]  # a training loss always falls
    low = [replace(record, train_accuracy=0.8) for record in falling]
    assert "the training loss was still falling" in diagnose(replace(facts, records=low)).lines[0]


ENDS: dict[str, tuple[Facts, str]] = {
    "stop": (
        replace(HEALTHY, config=load_config(MLP, ("training.stop.train_loss=0.05",)), stop_reason="train_loss"),
        "training.stop.train_loss=0.05 ended it",
    ),
    "early stopping": (replace(HEALTHY, stop_reason="early_stopping"), "Early stopping ended it, so more epochs would"),
    "the best epoch was long ago": (
        replace(HEALTHY, best_epoch=3),
        "would hardly have helped: none after epoch 3 was",
    ),
    "a schedule": (
        replace(HEALTHY, records=records(final_lr=0)),
        "does not show whether more epochs would help: the schedule",
    ),
    "few steps": (replace(HEALTHY, records=records([0.1], [0.1]), best_epoch=1), "The curve is too short to show"),
    "up and down": (replace(HEALTHY, records=records((1.0, 0.5, 0.3, 0.2, 0.15, 0.16))), "the loss rises and falls."),
    "still falling": (
        replace(HEALTHY, records=records((1.0, 0.5, 0.3, 0.2, 0.19, 0.18))),
        "The loss was still falling by 5.1 % an epoch, so more epochs may help a little.",
    ),
}


@pytest.mark.parametrize("name", ENDS)
def test_whether_more_epochs_would_have_helped(name: str) -> None:
    facts, text = ENDS[name]
    assert text in diagnose(facts).lines[0] and diagnose(facts).is_healthy


def test_the_last_epoch_is_judged_where_it_is_kept() -> None:
    kept = replace(HEALTHY, config=load_config(MLP, ("training.keep=last",)), best_epoch=6)
    assert "validation 98.88 %; last epoch 6 of 6. " in diagnose(kept).lines[0]
    marked = [replace(record, best=record.epoch <= 3) for record in records()]
    assert "none after epoch 3 was better." in diagnose(replace(kept, records=marked)).lines[0]
    annealed = [replace(record, best=record.epoch <= 3) for record in records(final_lr=0)]
    assert "does not show whether more epochs would help" in diagnose(replace(kept, records=annealed)).lines[0]
    turned = replace(kept, records=records(UP, (1.0, 0.4, 0.2, 0.1, 0.05, 0.02)))
    assert "The model of epoch 6 is kept." in diagnose(turned).lines[0]
    assert diagnose(turned).suggestion == "training.keep=best"


def test_a_cause_hides_its_consequences() -> None:
    bad = evaluation([(1, 2, 1000)])
    facts = replace(CASES["the first steps blow up"][0], validation=bad, dead=[DeadUnits(1, tuple(range(60)), 64)])
    assert rules(diagnose(facts)) == ["lr_too_high"]
    assert rules(diagnose(CASES["a class is missing"][0])) == ["missing_class"]


def test_keys_of_own_parts_are_not_suggested() -> None:
    assert not diagnose(replace(weak(), custom=("model",))).suggestion
    assert not diagnose(replace(CASES["tiny steps"][0], custom=("model", "optimizer"))).suggestion
    started = MLP.model_copy(update={"model": MLP.model.model_copy(update={"init_from": "runs/one"})})
    assert not diagnose(replace(weak(), config=started)).suggestion  # other layers do not fit the weights


EXAMPLES = [
    HEALTHY,
    *(facts for facts, *_ in CASES.values()),
    replace(HEALTHY, validation=None, config=load_config(MLP, ("data.validation=0",))),
    replace(HEALTHY, validation=evaluation([(1, 3, 20), (3, 1, 12), (0, 2, 2)])),
    replace(
        HEALTHY, advice="The loss does not fall. Try optimizer.lr=0.01, model.init=kaiming or model.batch_norm=true"
    ),
]


def test_the_docs_have_a_row_for_each_rule() -> None:
    """Each row has a rule, a sentence of it that a case above makes, and what that case suggests."""
    page = (Path(__file__).parents[2] / "docs" / "runs.md").read_text()
    table = page.partition("## What does the diagnosis mean?")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.split(" | ")] for line in table.splitlines() if line.startswith("| `")]
    assert {row[0].strip("|` ") for row in rows} == set(get_args(Rule))
    for rule, _, sentence, suggestion in rows:
        wanted = suggestion.strip("|` ")
        made = [(each.lines[0], each.suggestion) for each in map(diagnose, EXAMPLES)]
        made += [(finding.text, each.suggestion) for each in map(diagnose, EXAMPLES) for finding in each.findings]
        assert any(text == sentence and wanted in ("", tried) for text, tried in made), rule


def test_a_suggestion_that_changes_nothing_is_passed_over() -> None:
    config = load_config(MLP, ("data.augment={rotate: 10, shift: 2}",))
    facts = replace(CASES["the validation loss turned"][0], config=config)
    assert diagnose(facts).suggestion == "model.dropout=0.3"
