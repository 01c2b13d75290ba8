"""Trainings that learn nothing: `mnist_trainer/training/dead_start.py`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from mnist_trainer.data.loaders import Splits
from mnist_trainer.data.source import Source
from mnist_trainer.training.dead_start import dead_start
from mnist_trainer.training.loop import EpochRecord, fit
from mnist_trainer.training.setup import Setup


def source(counts: list[int]) -> Source:
    """So many images of each class."""
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    return Source(torch.zeros(len(labels), 28, 28, dtype=torch.uint8), labels, torch.arange(len(labels)))


def setup_of(prepare: Any, validation: list[int] | None, train: list[int], **sections: Any) -> Setup:
    judged = None if validation is None else source(validation)
    setup: Setup = prepare(Splits(source([64] * 10), judged, tuple("0123456789")), **sections).setup
    return replace(setup, train=source(train))


def record(epoch: int = 1, train: float = 0.9, validation: float | None = 0.9, phase: str = "train") -> EpochRecord:
    return EpochRecord(epoch, 2.3, train, 2.3, validation, 0.1, 1.0, 1.0, phase)


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
    setup = setup_of(prepare, validation, [64] * 10)
    assert (dead_start(setup, record(validation=accuracy)) is not None) == is_dead


def test_it_says_what_to_try(prepare: Any) -> None:
    assert dead_start(setup_of(prepare, EVEN, [64] * 10), record(validation=0.098)) == (
        "after one epoch (20 steps) the model is right on 9.8% of the validation images, and one that always names the "
        "largest class on 10.0%: it has not begun to learn. If it does not soon, try another optimizer.lr (a tenth, or "
        "ten times), model.init: he, activation relu, or batch_norm"
    )


def test_without_validation_the_training_images_tell(prepare: Any) -> None:
    setup = setup_of(prepare, None, [500, 140, 0, 0, 0, 0, 0, 0, 0, 0])
    assert dead_start(setup, record(train=0.9, validation=None)) is None
    text = dead_start(setup, record(train=0.781, validation=None))
    assert text is not None
    assert "right on 78.1% of the training images, and one that always names the largest class on 78.1%" in text


def test_it_is_judged_once_after_twenty_steps(prepare: Any) -> None:
    def judged(**sections: Any) -> list[int]:
        setup = setup_of(prepare, EVEN, [64] * 10, training={"epochs": 40}, **sections)
        return [epoch for epoch in range(1, 41) if dead_start(setup, record(epoch, validation=0.1))]

    assert judged() == [1]
    assert judged(data={"batch_size": 64}) == [2]
    assert judged(data={"batch_size": 100}) == [3]
    assert judged(optimizer="gradient_descent") == [20]
    assert dead_start(setup_of(prepare, EVEN, [64] * 10), record(validation=0.1, phase="refit")) is None


@pytest.mark.parametrize(("lr", "is_dead"), [(1e-9, True), (0.1, False)])
def test_a_training_at_a_rate_of_nothing_is_seen(splits: Splits, prepare: Any, lr: float, is_dead: bool) -> None:
    state = prepare(splits, optimizer={"name": "sgd", "lr": lr}, training={"epochs": 4})
    found = [text for epoch in fit(state) if (text := dead_start(state.setup, epoch))]
    assert len(found) == is_dead
