"""Why and when the loop stops: losses that are not finite, and time (`mnist_trainer/training/loop.py`)."""

from __future__ import annotations

from itertools import islice
from math import inf, nan
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_trainer.data.loaders import Splits
from mnist_trainer.errors import DivergedError
from mnist_trainer.training import loop
from mnist_trainer.training.loop import EpochRecord, fit, steps
from mnist_trainer.training.losses import CustomCriterion
from mnist_trainer.training.state import TrainingState

NO_MODEL = "No epoch is complete, so there is no model yet."
ADVICE = (
    "Lower optimizer.lr (optimizer.lr=0.025 for example), set training.clip_norm=1, or look at the loss and the data."
)


def bits(weights: dict[str, Tensor]) -> dict[str, bytes]:
    return {name: value.contiguous().numpy().tobytes() for name, value in weights.items()}


class Breaking:
    """Cross-entropy that becomes `bad` at its call number `at`."""

    def __init__(self, at: int, bad: float) -> None:
        self.calls, self.at, self.bad = 0, at, bad

    def __call__(self, outputs: Tensor, labels: Tensor) -> Tensor:
        self.calls += 1
        return F.cross_entropy(outputs, labels) * (self.bad if self.calls == self.at else 1.0)


def break_at(state: TrainingState, call: int, bad: float) -> TrainingState:
    state.criterion = CustomCriterion(Breaking(call, bad))
    return state


@pytest.mark.parametrize(
    ("sections", "call", "bad", "where"),
    [
        ({"optimizer": {"name": "sgd", "lr": 0.25, "momentum": 0.9}}, 2, nan, "nan in epoch 1, step 2 of 7"),
        (
            {"optimizer": {"name": "sgd", "lr": 0.25}, "training": {"epochs": 2, "ema": 0.9}},
            5,
            inf,
            "inf in epoch 1, step 5 of 7",
        ),
        (
            {"optimizer": {"name": "sgd", "lr": 0.25}, "training": {"epochs": 2, "accumulate": 3}},
            5,
            nan,
            "nan in epoch 1, step 2 of 3",
        ),
        ({"optimizer": {"name": "gradient_descent", "lr": 0.25}}, 7, nan, "nan in epoch 1, step 1 of 1"),
    ],
)
def test_a_loss_that_is_not_finite_never_reaches_the_weights(
    splits: Splits, prepare: Any, sections: dict[str, Any], call: int, bad: float, where: str
) -> None:
    state = break_at(prepare(splits, **sections), call, bad)
    before = bits(state.model.state_dict())
    with pytest.raises(DivergedError) as caught:
        for _ in steps(state):
            before = bits(state.model.state_dict())
    assert bits(state.model.state_dict()) == before
    assert str(caught.value) == f"The loss became {where}, at a learning rate of 0.25. {NO_MODEL} {ADVICE}"


def test_a_simulated_accelerator_finds_it_at_the_epochs_end(splits: Splits, prepare: Any) -> None:
    state = break_at(prepare(splits, optimizer={"name": "sgd", "lr": 0.25}), 3, nan)
    state.checks_every_step = False
    before: list[dict[str, bytes]] = []
    with pytest.raises(DivergedError) as caught:
        list(fit(state, lambda state: before.append(bits(state.model.state_dict()))))
    assert before[1] != before[0] and before[1:] == [before[1]] * 6
    what = "The loss or its gradient became infinite or not a number in epoch 1, step 3 of 7"
    assert str(caught.value) == f"{what}, at a learning rate of 0.25. {NO_MODEL} {ADVICE}"


def test_a_validation_loss_that_is_not_finite_is_told_as_such(splits: Splits, prepare: Any) -> None:
    state = break_at(prepare(splits, optimizer={"name": "sgd", "lr": 0.25}), 7 + 1 + 7 + 1, inf)
    seen: list[EpochRecord] = []
    with pytest.raises(DivergedError) as caught:
        for record in fit(state):
            seen.append(record)  # noqa: PERF402
    assert [record.epoch for record in seen] == [1]
    event = "The validation loss became inf in epoch 2, at a learning rate of 0.25"
    assert str(caught.value) == f"{event}. Epoch 1, the best until then, is kept. {ADVICE}"
    assert state.best.epoch == 1


class RootAtZero(nn.Module):
    """A loss that is finite, with a gradient that is not."""

    def forward(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(outputs, labels) + (outputs * 0).sum().abs().sqrt()


def test_a_gradient_that_is_not_finite_never_reaches_the_weights(splits: Splits, prepare: Any) -> None:
    state = prepare(splits, optimizer={"name": "sgd", "lr": 0.25})
    state.criterion = CustomCriterion(RootAtZero())
    before = bits(state.model.state_dict())
    with pytest.raises(DivergedError) as caught:
        list(fit(state))
    assert bits(state.model.state_dict()) == before
    what = "The gradient became infinite or not a number in epoch 1, step 1 of 7"
    assert str(caught.value) == f"{what}, at a learning rate of 0.25. {NO_MODEL} {ADVICE}"


def test_weights_beyond_all_bounds_are_no_result_without_validation_either(splits: Splits, prepare: Any) -> None:
    state = prepare(Splits(splits.train, None, splits.classes), optimizer={"name": "sgd", "lr": 1.5e38})
    state.criterion = CustomCriterion(lambda outputs, labels: 1e9 * outputs.sum().tanh())
    batches = state.batches
    state.batches = lambda: islice(batches(), 1)  # type: ignore[method-assign]
    with torch.no_grad():
        for parameter in state.model.parameters():
            parameter.zero_()
    with pytest.raises(DivergedError, match="The weights became infinite or not a number in epoch 1, step 1 of 7"):
        list(fit(state))
    assert state.best_weights == {}


# Time, by a clock that the test turns.


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(loop, "perf_counter", lambda: self.now)


def tick_at_each_batch(state: TrainingState, clock: Clock, seconds: float) -> None:
    batches = state.batches

    def ticking() -> Any:
        for batch in batches():
            clock.now += seconds
            yield batch

    state.batches = ticking  # type: ignore[method-assign]


def test_seconds_are_those_of_batches_and_steps_not_the_callers(
    monkeypatch: pytest.MonkeyPatch, splits: Splits, prepare: Any
) -> None:
    clock, state = Clock(monkeypatch), prepare(splits)
    tick_at_each_batch(state, clock, 0.5)

    def dawdle(state: TrainingState) -> None:
        clock.now += 1000

    records = list(fit(state, dawdle))
    assert [record.seconds for record in records] == pytest.approx([3.5, 3.5, 3.5])
    assert [record.images_per_second for record in records] == pytest.approx([200 / 3.5] * 3)
    assert state.seconds == pytest.approx(10.5)


@pytest.mark.parametrize("metric", ["train_loss", "gradient_norm"])
def test_training_stops_after_the_first_epoch_whose_mean_is_at_the_value(
    splits: Splits, prepare: Any, metric: str
) -> None:
    sections: dict[str, Any] = {"optimizer": {"name": "gradient_descent", "lr": 0.05}}
    values = [vars(record)[metric] for record in fit(prepare(splits, training={"epochs": 9}, **sections))]
    limit = values[4]
    first = next(epoch for epoch, value in enumerate(values, start=1) if value <= limit)
    assert 1 < first < 9
    state = prepare(splits, training={"epochs": 9, "stop": {metric: limit}}, **sections)
    assert [vars(record)[metric] for record in fit(state)] == values[:first]
    assert state.stop_reason == metric
    below = prepare(splits, training={"epochs": 9, "stop": {metric: 0.99 * min(values)}}, **sections)
    assert len(list(fit(below))) == 9
    assert below.stop_reason == "epochs"


def test_an_unknown_norm_of_the_gradient_does_not_stop(splits: Splits, prepare: Any) -> None:
    state = prepare(splits, training={"epochs": 9, "stop": {"gradient_norm": 1.0}})
    state.epoch = 1
    assert state.reason_to_stop({"gradient_norm": None, "train_loss": 0.1}) is None
    assert state.reason_to_stop({"gradient_norm": 1.0, "train_loss": 0.1}) == "gradient_norm"


def test_max_minutes_stops_after_the_step_at_which_they_are_over(
    monkeypatch: pytest.MonkeyPatch, splits: Splits, prepare: Any
) -> None:
    clock, state = Clock(monkeypatch), prepare(splits, training={"epochs": 9, "max_minutes": 2.0})
    tick_at_each_batch(state, clock, 10)
    records = list(fit(state))
    assert state.stop_reason == "max_minutes"
    assert [record.images_per_second for record in records] == pytest.approx([20 / 7, 160 / 50])  # 7 steps, then 5
    assert state.seconds == pytest.approx(120)
    assert records[1].val_loss is not None
