"""Going back when a loss is no longer finite: `mnist_trainer/training/loop.py`."""

from __future__ import annotations

import re
from collections.abc import Callable
from copy import deepcopy
from math import inf, nan
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mnist_trainer.config.load import load_config
from mnist_trainer.data.loaders import Splits
from mnist_trainer.errors import DivergedError
from mnist_trainer.training.loop import EpochRecord, Restore, divergence_error, fit
from mnist_trainer.training.losses import CustomCriterion
from mnist_trainer.training.state import TrainingState

SETTINGS: dict[str, Any] = {
    "optimizer": {"name": "sgd", "lr": 0.25, "momentum": 0.9},
    "schedule": {"name": "plateau", "patience": 0},
    "training": {"epochs": 4, "on_divergence": "restore", "ema": 0.9},
}


def breaking(state: TrainingState, where: Callable[[TrainingState], bool], bad: float = nan) -> TrainingState:
    """Its loss is `bad` in training wherever `where` says so: it depends on the moment alone, as a real one does."""

    def loss(outputs: Tensor, labels: Tensor) -> Tensor:
        value = F.cross_entropy(outputs, labels)
        return value * bad if torch.is_grad_enabled() and where(state) else value

    state.criterion = CustomCriterion(loss)
    return state


def rate_above(limit: float, epoch: int, step: int) -> Callable[[TrainingState], bool]:
    """In one step, as long as the rate is higher than `limit`."""
    return lambda state: (state.epoch, state.step) == (epoch, step) and state.lr > limit


def trained(state: TrainingState) -> tuple[list[EpochRecord], list[Restore]]:
    found: list[Restore] = []
    return list(fit(state, on_rollback=found.append)), found


def bits(state: TrainingState) -> dict[str, bytes]:
    weights = {**state.model.state_dict(), **{f"best.{name}": value for name, value in state.best_weights.items()}}
    return {name: value.contiguous().numpy().tobytes() for name, value in weights.items()}


@pytest.mark.parametrize("accelerator", [False, True])
@pytest.mark.parametrize("bad", [nan, inf])
def test_a_training_goes_back_to_the_epochs_start_with_half_the_rate_a_simulated_accelerator_too(
    splits: Splits, prepare: Any, bad: float, accelerator: bool
) -> None:
    state = breaking(prepare(splits, **SETTINGS), rate_above(0.1, 1, 4), bad)
    state.checks_every_step = not accelerator
    records, found = trained(state)
    assert [record.epoch for record in records] == [1, 2, 3, 4]
    assert [(back.epoch, back.step, back.factor) for back in found] == [(2, 5, 0.5), (2, 5, 0.25)]
    assert found == [Restore(**back) for back in state.restores]
    what = "loss or its gradient became infinite or not a number" if accelerator else f"loss became {bad}"
    assert str(found[0]) == (
        f"The {what} in epoch 2, step 5 of 7, at a learning rate of 0.25. "
        "Back to the start of epoch 2, with the learning rate × 0.5"
    )
    assert [record.lr for record in records[:2]] == [0.25, 0.25 / 4]


def test_it_is_the_training_that_had_this_rate_from_that_epoch_on(splits: Splits, prepare: Any) -> None:
    on_rollback = breaking(prepare(splits, **SETTINGS), rate_above(0.1, 2, 3))  # twice
    trained(on_rollback)
    plain = prepare(splits, **SETTINGS)
    for record in fit(plain):
        if record.epoch == 2:
            plain.restores = [{}, {}]
    assert bits(on_rollback) == bits(plain)


def test_the_first_epoch_starts_again_from_the_initial_weights(splits: Splits, prepare: Any) -> None:
    on_rollback = breaking(prepare(splits, **SETTINGS), rate_above(0.2, 0, 6))
    trained(on_rollback)
    half = {**SETTINGS, "optimizer": {"name": "sgd", "lr": 0.125, "momentum": 0.9}}
    plain = prepare(splits, **half)
    trained(plain)
    assert bits(on_rollback) == bits(plain)


def test_a_validation_loss_counts_too(splits: Splits, prepare: Any) -> None:
    state = prepare(splits, **SETTINGS)
    mean_loss, judged = state.criterion.mean_loss, []

    def breaking_mean_loss(outputs: Tensor, labels: Tensor) -> float:
        judged.append(state.epoch)
        return inf if judged.count(1) == 1 and state.epoch == 1 else float(mean_loss(outputs, labels))

    state.criterion.mean_loss = breaking_mean_loss
    records, found = trained(state)
    assert [record.epoch for record in records] == [1, 2, 3, 4]
    assert [(back.epoch, back.step) for back in found] == [(2, 7)]
    assert found[0].event == "The validation loss became inf in epoch 2, at a learning rate of 0.25"


def test_the_fourth_time_it_stops(splits: Splits, prepare: Any) -> None:
    state = breaking(prepare(splits, **SETTINGS), rate_above(0, 1, 0))
    found: list[Restore] = []
    with pytest.raises(DivergedError) as caught:
        list(fit(state, on_rollback=found.append))
    assert [back.factor for back in found] == [0.5, 0.25, 0.125]
    assert str(caught.value) == (
        "The loss became nan in epoch 2, step 1 of 7, at a learning rate of 0.03125. Epoch 1, the best until then, is "
        "kept. Lower optimizer.lr (optimizer.lr=0.025 for example), set training.clip_norm=1, or look at the loss "
        "and the data. It was restored 3 times already (training.on_divergence: restore)."
    )
    assert caught.value.exit_code == 6
    for advice in re.findall(r"[a-z_.]+=[^\s,;)]+", str(caught.value)):
        load_config(state.setup.config.model_dump(mode="json"), (advice,))


@pytest.mark.parametrize(("clip_norm", "is_advised"), [(0.5, False), (1, False), (5, True)])
def test_clipping_is_advised_where_it_would_be_new(
    splits: Splits, prepare: Any, clip_norm: float, is_advised: bool
) -> None:
    state = prepare(splits, training={"epochs": 1, "clip_norm": clip_norm})
    assert ("training.clip_norm=1" in str(divergence_error(state, "The loss became nan"))) == is_advised


@pytest.mark.parametrize("stop_after", [1, 5, 7, 9, 11, 13, 16, 20, 27])
def test_a_state_saved_anywhere_goes_on_with_the_same_bits(splits: Splits, prepare: Any, stop_after: int) -> None:
    """Between two epochs, in one before it breaks, and in one after a restore: the steps are counted as taken."""

    def fresh() -> TrainingState:
        return breaking(prepare(splits, **SETTINGS), rate_above(0.1, 1, 4))

    whole = fresh()
    trained(whole)
    first, taken, saved = fresh(), 0, {}

    def save(state: TrainingState) -> None:
        nonlocal taken
        taken += 1
        if taken == stop_after:
            saved.update(deepcopy(state.state_dict()))

    list(fit(first, save))
    second = fresh()
    second.load_state_dict(saved)
    trained(second)
    assert bits(second) == bits(whole)
    assert second.restores == whole.restores
    assert len(second.restores) == 2


def test_the_seconds_of_what_was_thrown_away_count(splits: Splits, prepare: Any) -> None:
    state = breaking(prepare(splits, **SETTINGS), rate_above(0.2, 0, 6))
    lost = 0.0

    def note(state: TrainingState) -> None:
        nonlocal lost
        if not state.restores:
            lost = state.epoch_seconds

    records = list(fit(state, note))
    assert state.seconds == pytest.approx(lost + sum(record.seconds for record in records))
    assert lost > 0


def test_nothing_is_kept_to_go_back_to_unless_it_is_asked_for(splits: Splits, prepare: Any) -> None:
    state = prepare(splits, training={"epochs": 1})
    trained(state)
    assert state.state_dict()["epoch_start"] is None
