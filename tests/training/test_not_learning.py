"""Trainings that are no better than guessing: `mnist_trainer/training/not_learning.py`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from mnist_trainer.config.load import load_config
from mnist_trainer.data.image_dataset import ImageDataset
from mnist_trainer.data.loaders import Splits
from mnist_trainer.training.loop import EpochRecord, fit
from mnist_trainer.training.not_learning import likely_cause, not_learning
from mnist_trainer.training.state import TrainingState


def dataset(counts: list[int]) -> ImageDataset:
    """So many images of each class, all empty but for a spot that is anywhere."""
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    images = torch.zeros(len(labels), 28, 28, dtype=torch.uint8)
    images.view(len(labels), -1)[torch.arange(len(labels)), torch.arange(len(labels)) % 784] = 255
    return ImageDataset(images, labels, torch.arange(len(labels)))


def state_of(prepare: Any, validation: list[int] | None, train: list[int], **sections: Any) -> TrainingState:
    judged = None if validation is None else dataset(validation)
    state: TrainingState = prepare(Splits(dataset([64] * 10), judged, tuple("0123456789")), **sections)
    state.setup = replace(state.setup, train=dataset(train))
    return state


def record(
    epoch: int = 1, train: float = 0.1, validation: float | None = 0.9, phase: str = "train", loss: float = 2.3
) -> EpochRecord:
    return EpochRecord(epoch, loss, train, 2.3, validation, 0.1, 1.0, 1.0, phase)


EVEN, LARGE = [100] * 10, [900, 100, 0, 0, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("validation", "accuracy", "is_dead"),
    [
        (EVEN, 0.1, True),
        (EVEN, 0.118, True),  # 0.1 + 2·√(0.1·0.9/1000) = 0.119
        (EVEN, 0.12, False),
        (EVEN, 0.02, True),
        (LARGE, 0.9, True),
        (LARGE, 0.918, True),
        (LARGE, 0.92, False),
        ([10] * 10, 0.15, True),
        ([10] * 10, 0.17, False),
    ],
)
def test_it_is_dead_if_luck_would_do_as_well(
    prepare: Any, validation: list[int], accuracy: float, is_dead: bool
) -> None:
    state = state_of(prepare, validation, [64] * 10)
    assert (not_learning(state, [record(validation=accuracy)]) is not None) == is_dead


def test_it_says_what_it_saw(prepare: Any) -> None:
    state = state_of(prepare, EVEN, [64] * 10, optimizer={"name": "sgd", "lr": 0.05})
    assert not_learning(state, [record(validation=0.098)]) == (
        "after one epoch (20 steps) the accuracy on the validation images is 9.8%, and always predicting the "
        "largest class would give 10.0%. The loss does not fall. Try optimizer.lr=0.005, optimizer.lr=0.5, "
        "model.init=kaiming or model.batch_norm=true"
    )


def test_without_validation_the_training_images_tell(prepare: Any) -> None:
    state = state_of(prepare, None, [500, 140, 0, 0, 0, 0, 0, 0, 0, 0])
    assert not_learning(state, [record(train=0.9, validation=None)]) is None
    text = not_learning(state, [record(train=0.781, validation=None)])
    assert text is not None
    assert "training images is 78.1%, and always predicting the largest class would give 78.1%" in text


def test_it_is_judged_once_after_twenty_steps(prepare: Any) -> None:
    def judged(**sections: Any) -> list[int]:
        state = state_of(prepare, EVEN, [64] * 10, training={"epochs": 40}, **sections)
        return [epoch for epoch in range(1, 41) if not_learning(state, [record(epoch, validation=0.1)])]

    assert judged() == [1]
    assert judged(data={"batch_size": 64}) == [2]
    assert judged(data={"batch_size": 100}) == [3]
    assert judged(optimizer="gradient_descent") == [20]
    assert not_learning(state_of(prepare, EVEN, [64] * 10), [record(validation=0.1, phase="refit")]) is None


def dying(state: TrainingState) -> None:
    """All units of the hidden layer are below 0 for every image."""
    hidden = next(module for module in state.model.modules() if isinstance(module, nn.Linear))
    nn.init.constant_(hidden.bias, -1e4)


def exploding(state: TrainingState) -> None:
    """Weights that a few far too large steps leave."""
    for parameter in state.model.parameters():
        nn.init.normal_(parameter, std=100, generator=torch.Generator().manual_seed(0))


def same_images(state: TrainingState) -> None:
    state.setup = replace(state.setup, train=replace(state.setup.train, images=torch.zeros(640, 28, 28)))


def nothing(state: TrainingState) -> None:
    """Leave it."""


MLP = {"architecture": "mlp", "hidden": [16]}
SPOILT: list[tuple[dict[str, Any], Callable[[TrainingState], None], dict[str, Any], str]] = [
    ({"model": {**MLP, "activation": "step"}}, nothing, {}, "The activation step has no gradient, .*=relu"),
    (
        {"model": {"architecture": "neuron", "output": "step"}, "data": {"binary": 7}, "loss": "mse"},
        nothing,
        {},
        "The activation step has no gradient, .*Try model.output=sigmoid",
    ),
    (
        {"model": {"architecture": "layers", "layers": ["flatten", {"activation": "step"}, {"linear": 10}]}},
        nothing,
        {},
        "The activation step has no gradient, .*Try another in model.layers",
    ),
    (
        {"training": {"epochs": 3, "ema": 0.9}},
        nothing,
        {"train": 0.8},
        "The training accuracy is 80.0%: the moving average .* lags behind. Try training.ema=null",
    ),
    ({}, nothing, {"train": 0.8}, "The training accuracy is 80.0%, but other images are not recognized"),
    ({}, same_images, {}, "All training images are the same: look at the data"),
    ({}, dying, {}, r"Layer 2 \(ReLU\) has the same outputs for every image, .*model.activation=leaky_relu or model.b"),
    ({"model": {**MLP, "activation": "tanh"}}, dying, {}, r"Layer 2 \(Tanh\) has .*, model.activation=leaky_relu"),
    (
        {"model": {**MLP, "init": {"name": "constant", "value": -0.1}}},
        dying,
        {},
        r"Layer 1 \(Linear\) has .* Try model.init=kaiming, .* or optimizer.lr=0.0001",
    ),
    (
        {},
        nothing,
        {"loss": 3.0},
        "The loss is falling .3 in the first epoch, .*needs more steps. Try training.epochs=12",
    ),
    (
        {},
        exploding,
        {"loss": 1e9},
        "The loss is .*, and equal outputs for all classes would give 2.303: .* Try .*=0.0001 or tr",
    ),
    (
        {},
        exploding,
        {"loss": 1},
        "The loss is .*, and equal outputs for all classes would give 2.303: .* Try .*=0.0001$",
    ),
    ({}, nothing, {}, "The loss does not fall. Try optimizer.lr=0.0001, optimizer.lr=0.01, model.init=kaiming"),
    (
        {"model": {"architecture": "lenet5", "init": "kaiming"}},
        nothing,
        {},
        "The loss does not fall. Try optimizer.lr=0.0001, optimizer.lr=0.01 or model.activation=relu",
    ),
]


@pytest.mark.parametrize(("sections", "spoil", "figures", "expected"), SPOILT)
def test_it_names_the_cause_and_its_advice_is_a_valid_config(
    prepare: Any, sections: dict[str, Any], spoil: Any, figures: dict[str, Any], expected: str
) -> None:
    state = state_of(prepare, EVEN, [64] * 10, **sections)
    spoil(state)
    text = likely_cause(state, [record(validation=0.1, **figures)])
    assert re.match(expected, text), text
    for advice in re.findall(r"[a-z_.]+=[^\s,]+", text):
        load_config(state.setup.config.model_dump(mode="json"), (advice,))


def test_of_ones_own_parts_no_key_is_advised(prepare: Any) -> None:
    state = state_of(prepare, EVEN, [64] * 10)
    assert likely_cause(state, [record(validation=0.1)], ("model", "optimizer")) == (
        "The loss does not fall. Try a smaller learning rate or a larger one"
    )


def test_of_a_model_that_was_trained_before_the_weights_are_left(prepare: Any) -> None:
    state = state_of(prepare, EVEN, [64] * 10)
    model = state.setup.config.model.model_copy(update={"init_from": "runs/one", "freeze": 1})
    state.setup = replace(state.setup, config=state.setup.config.model_copy(update={"model": model}))
    tries = "optimizer.lr=0.0001, optimizer.lr=0.01 or model.freeze=0"
    assert likely_cause(state, [record(validation=0.1)]) == f"The loss does not fall. Try {tries}"


def test_looking_for_the_cause_changes_no_bit_of_the_training(splits: Splits, prepare: Any) -> None:
    def weights(look: bool) -> list[torch.Tensor]:
        model = {"architecture": "mlp", "hidden": [16], "dropout": 0.5, "batch_norm": True}
        state, records = prepare(splits, model=model), []
        for epoch in fit(state):
            records.append(replace(epoch, train_accuracy=0.1))
            if look:
                assert likely_cause(state, records)
        return list(state.model.state_dict().values())

    assert all(map(torch.equal, weights(look=True), weights(look=False)))


@pytest.mark.parametrize(("lr", "is_dead"), [(1e-9, True), (0.1, False)])
def test_a_training_at_a_rate_of_nothing_is_seen(splits: Splits, prepare: Any, lr: float, is_dead: bool) -> None:
    state = prepare(splits, optimizer={"name": "sgd", "lr": lr}, training={"epochs": 4})
    records: list[EpochRecord] = []
    found = []
    for epoch in fit(state):
        records.append(epoch)
        found += [text for text in [not_learning(state, records)] if text]
    assert len(found) == is_dead
    assert all("The loss does not fall" in text for text in found)


def test_a_slow_training_needs_more_steps(splits: Splits, prepare: Any) -> None:
    """28 steps of a loss that falls: the rate is not to blame."""
    state = prepare(splits, optimizer={"name": "sgd", "lr": 0.003}, training={"epochs": 4})
    records = [replace(epoch, train_accuracy=0.1, val_accuracy=0.1) for epoch in fit(state)]
    assert "The loss is falling" in likely_cause(state, records)
