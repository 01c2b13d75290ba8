"""Each rule of the diagnosis speaks with evidence, and is silent without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from mnist_trainer.config.load import load_config
from mnist_trainer.inference.metrics import Evaluation, confusion_matrix, metrics_by_class, wilson_interval
from mnist_trainer.inference.predictions import DeadUnits
from mnist_trainer.reports.diagnosis import Diagnosis, Facts, diagnose
from mnist_trainer.training.loop import EpochRecord
from mnist_trainer.training.probe import LayerProbe

CLASSES = ("0", "1", "2", "3")
MLP = load_config({"model": {"architecture": "mlp", "hidden": [64, 32]}, "training": {"epochs": 6}})
FALLING = (1.0, 0.5, 0.3, 0.21, 0.209, 0.208)


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
) -> list[EpochRecord]:
    points = tuple((index / len(curve), loss, 0.5, 0.01) for index, loss in enumerate(curve))
    return [
        EpochRecord(epoch, loss, accuracy, validation, accuracy, 0.01, 1.0, 1.0, curve=points if epoch == 1 else ())
        for epoch, (loss, validation) in enumerate(zip(train, val, strict=True), start=1)
    ]


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
    train_counts=[1000] * 4,
)


def rules(diagnosis: Diagnosis) -> list[str]:
    return [finding.rule for finding in diagnosis.findings]


def test_a_healthy_training_is_called_healthy() -> None:
    diagnosis = diagnose(HEALTHY)
    assert rules(diagnosis) == ["healthy"]
    assert diagnosis.is_healthy and not diagnosis.suggestion
    assert diagnosis.lines == [
        "This training is healthy: training accuracy 99.00 %, validation 98.88 %; best epoch 6 of 6. A longer training "
        "would hardly have helped: the loss no longer falls."
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
        replace(HEALTHY, records=records((1.0, 0.8, 0.7, 0.6, 0.5, 0.4))),
        "too_short",
        "the validation loss was still falling by 17 % an epoch when it was ended after 6 epochs",
        "training.epochs=12",
    ),
    "one epoch, falling": (
        replace(HEALTHY, records=records([0.3], [0.5], curve=[2, 1.8, 1.6, 1.4, 1.0, 0.9, 0.6, 0.5]), best_epoch=1),
        "too_short",
        "by 42 % an epoch when it was ended after 1 epoch.",
        "training.epochs=12",
    ),
    "both accuracies are low": (
        replace(HEALTHY, records=records(accuracy=0.8), validation=evaluation([(0, 1, 500), (2, 1, 300)])),
        "underfitting",
        "training accuracy 80.00 % (validation 80.00 %), and the loss no longer falls",
        "model.hidden=[128, 64]",
    ),
    "a linear model": (
        replace(
            HEALTHY,
            config=load_config(MLP, ("model.hidden=[]",)),
            records=records(accuracy=0.8),
            validation=evaluation([(0, 1, 500), (2, 1, 300)]),
        ),
        "underfitting",
        "It underfits",
        "model.hidden=[128]",
    ),
    "a deep model": (
        replace(
            HEALTHY,
            config=load_config(MLP, ("model.hidden=[9,9,9,9,9,9]",)),
            records=records(accuracy=0.8),
            validation=evaluation([(0, 1, 500), (2, 1, 300)]),
        ),
        "underfitting",
        "It underfits",
        "model.batch_norm=true",
    ),
    "the training loss rises": (
        replace(
            HEALTHY,
            records=records((1, 1.5, 1.2, 2, 1, 3), (1, 1.5, 1.2, 2, 1, 3)),
            early=probes([1, 1, 1], update=0.1),
        ),
        "lr_too_high",
        "the training loss rose in 3 of 5 epochs, and a step changes the weights of a layer by 10.00 %",
        "optimizer.lr=0.0001",
    ),
    "the first steps blow up": (
        replace(HEALTHY, records=records(curve=[2.3, 2e9, 40, 2.3])),
        "lr_too_high",
        "in the first epoch the loss rose from 2.3 to 2e+09",
        "optimizer.lr=0.0001",
    ),
    "tiny steps": (
        replace(
            HEALTHY,
            records=records((2.3, 2.29, 2.28, 2.27, 2.26, 2.25), accuracy=0.2),
            early=probes([1, 1, 1], update=1e-5),
            validation=evaluation([(0, 1, 900), (2, 1, 900), (3, 1, 900)]),
        ),
        "lr_too_low",
        "still falls by 0.4 % an epoch at the end, and a step changes the weights of a layer by 0.001 % at most",
        "optimizer.lr=0.01",
    ),
    "it went back": (replace(HEALTHY, restores=2), "diverged", "It diverged 2 times", "optimizer.lr=0.0003"),
    "dead units": (
        replace(HEALTHY, dead=[DeadUnits(2, tuple(range(40)), 64)]),
        "dead_units",
        "40 of 64 units of layer 2 never fired on the validation images.",
        "model.activation=leaky_relu",
    ),
    "saturated units": (
        replace(HEALTHY, saturated=[DeadUnits(1, tuple(range(64)), 64)]),
        "saturated_units",
        "64 of 64 units of layer 1 are saturated on nearly all validation images.",
        "model.init=xavier",
    ),
    "the gradient vanishes": (
        replace(HEALTHY, config=load_config(MLP, ("model.activation=sigmoid",)), early=probes([1e-6, 1e-3, 0.5])),
        "vanishing_gradient",
        "After the first epoch the gradient vanishes: its norm is 1e-06 in layer 1, 0.5 in layer 3.",
        "model.activation=relu",
    ),
    "the gradient explodes": (
        replace(HEALTHY, late=probes([1e4, 10, 0.5])),
        "exploding_gradient",
        "After the last epoch the gradient explodes: its norm is 1e+04 in layer 1, 0.5 in layer 3.",
        "training.clip_norm=1",
    ),
    "a class is missing": (
        replace(HEALTHY, train_counts=[1000, 0, 1000, 1000], validation=evaluation([(1, 2, 1000)])),
        "missing_class",
        "There are no training images of class 1.",
        "",
    ),
    "classes are never recognized": (
        replace(HEALTHY, validation=evaluation([(1, 2, 1000), (3, 0, 1000)])),
        "missing_class",
        "None of the 2000 validation images of the classes 1 and 3 is recognized.",
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


SILENT = {
    "overfitting: the training loss is as high": replace(HEALTHY, records=records(UP, UP), best_epoch=3),
    "overfitting: a small rise": replace(
        HEALTHY, records=records((1.0, 0.4, 0.2, 0.2, 0.2, 0.21), (1.0, 0.4, 0.2, 0.1, 0.05, 0.02)), best_epoch=3
    ),
    "overfitting: few images": replace(HEALTHY, records=records(accuracy=0.98), validation=evaluation([(0, 1, 3)], 20)),
    "too_short: early stopping": replace(
        HEALTHY, records=records((1.0, 0.8, 0.7, 0.6, 0.5, 0.4)), stop_reason="early_stopping"
    ),
    "underfitting: still falling": replace(HEALTHY, records=records((1.0, 0.9, 0.88, 0.87, 0.85, 0.83), accuracy=0.8)),
    "lr_too_high: small steps": replace(HEALTHY, records=records((1, 1.5, 1.2, 2, 1, 3), (1, 1.5, 1.2, 2, 1, 3))),
    "lr_too_low: large steps": replace(HEALTHY, records=records((2.3, 2.29, 2.28, 2.27, 2.26, 2.25), accuracy=0.2)),
    "dead_units: few": replace(HEALTHY, dead=[DeadUnits(1, (1, 2, 3), 64)]),
    "vanishing_gradient: one layer": replace(HEALTHY, early=probes([1e-9]), late=probes([1e-9])),
    "confusion: all pairs alike": HEALTHY,
}


@pytest.mark.parametrize("name", SILENT)
def test_a_rule_without_evidence(name: str) -> None:
    assert name.partition(":")[0] not in rules(diagnose(SILENT[name]))


def test_some_dead_units_are_told_and_no_problem() -> None:
    diagnosis = diagnose(replace(HEALTHY, dead=[DeadUnits(1, tuple(range(10)), 64)]))
    assert rules(diagnosis) == ["healthy", "dead_units"]
    assert diagnosis.is_healthy and not diagnosis.suggestion


def test_the_pair_that_is_confused_most() -> None:
    diagnosis = diagnose(replace(HEALTHY, validation=evaluation([(1, 3, 20), (3, 1, 12), (0, 2, 2)])))
    assert rules(diagnosis) == ["healthy", "confusion"]
    assert diagnosis.findings[1].text == "It confuses 1 and 3 most: 32 of its 34 errors on the validation images."


def test_a_model_that_only_guesses_has_one_finding() -> None:
    advice = "The loss does not fall. Try optimizer.lr=0.1, model.init=kaiming or model.activation=relu"
    diagnosis = diagnose(replace(HEALTHY, advice=advice))
    assert rules(diagnosis) == ["not_learning"]
    assert diagnosis.lines == [advice]
    assert diagnosis.suggestion == "optimizer.lr=0.1"


def test_without_validation_images() -> None:
    alone = [replace(record, val_loss=None, val_accuracy=None) for record in records((1.0, 0.8, 0.7, 0.6, 0.5, 0.4))]
    facts = replace(HEALTHY, records=alone, validation=None)
    assert rules(diagnose(facts)) == ["healthy"]
    falling = [replace(record, train_loss=1 / record.epoch) for record in alone]
    assert "the training loss was still falling" in diagnose(replace(facts, records=falling)).lines[0]


def test_a_suggestion_that_changes_nothing_is_passed_over() -> None:
    config = load_config(MLP, ("data.augment={rotate: 10, shift: 2}",))
    facts = replace(CASES["the validation loss turned"][0], config=config)
    assert diagnose(facts).suggestion == "model.dropout=0.3"
