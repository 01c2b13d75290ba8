"""What changes in a training, saved and taken up again: `mnist_trainer/training/state.py`."""

from __future__ import annotations

import io
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor

from mnist_trainer.data.loaders import Splits
from mnist_trainer.training.loop import EpochRecord, fit, steps
from mnist_trainer.training.state import TrainingState

EVERYTHING: dict[str, Any] = {
    "model": {"architecture": "mlp", "hidden": [16, 16], "dropout": 0.3, "batch_norm": True, "activation": "rrelu"},
    "optimizer": {"name": "sgd", "lr": 0.5, "momentum": 0.9, "nesterov": True},
    "schedule": {"name": "plateau", "factor": 0.5, "patience": 0, "warmup": 0.1},
    "loss": {
        "name": "cross_entropy",
        "label_smoothing": 0.1,
        "class_weights": [1, 2, 1, 1, 1, 1, 1, 3, 1, 1],
        "penalties": [{"true": 7, "predicted": 2}],
        "smooth_weights": 0.01,
    },
    "training": {"epochs": 5, "ema": 0.9, "clip_norm": 2.0, "accumulate": 2, "early_stopping": {"patience": 3}},
    "data": {
        "batch_size": 24,
        "augment": {"rotate": 10, "elastic": {"alpha": 30}, "thickness": 0.3, "halve_for": [1, 7], "clean_last": 1},
    },
}
MIXED = {**EVERYTHING, "training": {**EVERYTHING["training"], "mixup": 0.4}}
QUICK: list[dict[str, Any]] = [
    {"model": {"architecture": "cnn", "channels": [4], "dropout": 0.2}, "optimizer": "adamw", "schedule": "one_cycle"},
    {"optimizer": {"name": "rmsprop", "momentum": 0.5}, "schedule": {"name": "exponential", "warmup": 0.5}},
    {"optimizer": "adagrad", "schedule": "cosine"},
]
STOPS = [
    *[(EVERYTHING, step) for step in (1, 3, 4, 11)],  # of 15, three an epoch
    *[(MIXED, step) for step in (2, 7)],
    *[(sections, step) for sections in QUICK for step in (1, 4, 7)],  # of 12, four an epoch
    *[({"optimizer": "gradient_descent", "schedule": "step"}, step) for step in (1, 2)],  # of 3, one an epoch
]


def bits(weights: dict[str, Tensor]) -> dict[str, bytes]:
    return {name: value.contiguous().numpy().tobytes() for name, value in weights.items()}


def averages(record: EpochRecord) -> tuple[Any, ...]:
    """All of a record but its seconds."""
    times = ("seconds", "images_per_second")
    return tuple(value for name, value in vars(record).items() if name not in times)


def outcome(state: TrainingState, records: list[EpochRecord]) -> tuple[Any, ...]:
    models = bits(state.model.state_dict()), bits(state.best_weights)
    return [averages(record) for record in records], models, state.best, state.plateau, state.stop_reason


def through_a_file(state: TrainingState) -> dict[str, Any]:
    stream = io.BytesIO()
    torch.save(state.state_dict(), stream)
    stream.seek(0)
    loaded: dict[str, Any] = torch.load(stream, weights_only=True)
    return loaded


@pytest.mark.parametrize(("sections", "stop"), STOPS)
def test_a_saved_state_goes_on_with_the_same_bits(
    noise: Splits, prepare: Any, sections: dict[str, Any], stop: int
) -> None:
    """It is saved after step `stop`, in mid-epoch or at its end, and loaded into a fresh state."""
    records: list[EpochRecord] = []
    saved: list[tuple[dict[str, Any], int]] = []

    def save(state: TrainingState) -> None:
        if state.epoch * state.setup.steps_per_epoch + state.step == stop:
            saved.append((through_a_file(state), len(records)))

    whole = prepare(noise, **sections)
    for record in fit(whole, save):
        records.append(record)  # noqa: PERF402 - `save` asks how many there are
    ((content, epochs),) = saved
    resumed = prepare(noise, **sections)
    resumed.load_state_dict(content)
    torch.rand(3)
    assert outcome(resumed, [*records[:epochs], *fit(resumed)]) == outcome(whole, records)


def test_a_run_that_is_over_stays_over_when_loaded(splits: Splits, prepare: Any) -> None:
    state = prepare(splits)
    list(fit(state))
    again = prepare(splits)
    again.load_state_dict(through_a_file(state))
    assert list(fit(again)) == []
    assert (again.stop_reason, again.epoch) == ("epochs", 3)


def test_seconds_are_kept(splits: Splits, prepare: Any) -> None:
    state = prepare(splits)
    next(steps(state))
    again = prepare(splits)
    again.load_state_dict(through_a_file(state))
    assert again.epoch_seconds == state.epoch_seconds > 0


@pytest.mark.parametrize(
    ("sections", "steps_per_epoch"),
    [
        ({}, 7),  # 200 images, 32 a batch
        ({"data": {"batch_size": 200}}, 1),
        ({"data": {"batch_size": 500}}, 1),
        ({"training": {"epochs": 3, "accumulate": 3}}, 3),
        ({"optimizer": "gradient_descent"}, 1),
    ],
)
def test_an_epoch_has_so_many_steps(
    splits: Splits, prepare: Any, sections: dict[str, Any], steps_per_epoch: int
) -> None:
    state = prepare(splits, **sections)
    assert state.setup.steps_per_epoch == steps_per_epoch
    assert [state.step for state in steps(state)] == list(range(1, steps_per_epoch + 1))
    assert state.totals.images == 200


def test_each_epoch_sees_every_image_once_in_an_order_of_its_own(splits: Splits, prepare: Any) -> None:
    state = prepare(splits)
    first = torch.cat([images for images, _ in state.batches()])
    state.epoch = 1
    second = torch.cat([images for images, _ in state.batches()])
    whole = sorted(image.numpy().tobytes() for image in splits.train.images)
    for order in (first, second):
        assert sorted(image.numpy().tobytes() for image in order) == whole
    assert not torch.equal(first, second)


def test_each_step_of_each_epoch_has_draws_of_its_own(splits: Splits, prepare: Any) -> None:
    def draws(seed: int) -> list[tuple[float, ...]]:
        state, numbers = prepare(splits, seed=seed), []
        for state.epoch in range(3):
            for state.step in range(3):
                state.seed_dropout()
                numbers.append(tuple(torch.rand(2).tolist()))
        return numbers

    assert draws(seed=0) == draws(seed=0)
    assert len({*draws(seed=0), *draws(seed=1)}) == 18


def test_totals_start_anew_each_epoch_and_count_hits(splits: Splits, prepare: Any) -> None:
    state = prepare(splits)
    outputs, labels = torch.eye(10)[:4], torch.tensor([0, 1, 3, 3])
    state.update_totals(labels, state.measure(torch.tensor(2.0), outputs, labels))
    state.update_totals(labels[:2], state.measure(torch.tensor(5.0), outputs[:2], labels[:2]))
    loss, accuracy, terms = state.totals.averages()
    assert (loss, accuracy, terms) == (pytest.approx((2 * 4 + 5 * 2) / 6), 5 / 6, {})
    assert state.totals.loss.dtype == torch.float64


def test_terms_of_the_loss_are_averaged_too(splits: Splits, prepare: Any) -> None:
    state = prepare(splits, **EVERYTHING)
    (record,) = islice(fit(state), 1)
    assert list(record.terms) == ["cross_entropy", "penalties", "smooth_weights"]
    assert sum(record.terms.values()) == pytest.approx(record.train_loss, rel=1e-5)


def test_the_running_mean_of_the_weights_by_its_formula(splits: Splits, prepare: Any) -> None:
    """From the initial weights: mean ← d·mean + (1 − d)·weights, where d = min(0.2, (1 + n) / (10 + n))."""
    state = prepare(splits, training={"epochs": 1, "ema": 0.2})
    mean = {name: value.detach().double() for name, value in state.model.named_parameters()}
    for count, _ in enumerate(steps(state)):
        now = {name: value.detach().double() for name, value in state.model.named_parameters()}
        decay = min(0.2, (1 + count) / (10 + count))
        mean = {name: decay * mean[name] + (1 - decay) * value for name, value in now.items()}
    assert state.ema is not None
    for name, value in state.ema.module.named_parameters():
        assert torch.allclose(value.double(), mean[name], atol=1e-7)
        assert not torch.allclose(value.double(), now[name], atol=1e-4)


def test_a_short_training_is_not_judged_by_its_initial_weights(splits: Splits, prepare: Any) -> None:
    """28 steps, of which each leaves 0.9999 of the mean: without a warm-up that is the start."""
    *_, last = fit(prepare(splits, optimizer={"name": "sgd", "lr": 0.1}, training={"epochs": 4, "ema": 0.9999}))
    assert last.val_accuracy is not None and last.val_accuracy > 0.8


def test_batch_statistics_are_averaged_with_the_weights(splits: Splits, prepare: Any) -> None:
    model = {"architecture": "mlp", "hidden": [8], "batch_norm": True}
    state = prepare(splits, model=model, training={"epochs": 1, "ema": 0.1})
    mean = torch.ones(8)  # as batch norm begins
    for _ in steps(state):
        mean = 0.1 * mean + 0.9 * state.model.state_dict()["2.running_var"]
    assert state.ema is not None
    assert torch.allclose(state.ema.module.state_dict()["2.running_var"], mean, atol=1e-6)


@pytest.mark.parametrize("ema", [None, 0.9])
def test_the_averaged_weights_are_those_judged_and_kept(splits: Splits, prepare: Any, ema: float | None) -> None:
    state = prepare(splits, training={"epochs": 1, "ema": ema})
    (record,) = fit(state)
    judged = state.model if state.ema is None else state.ema.module
    assert splits.validation is not None
    with torch.no_grad():
        outputs = judged(state.setup.spec.normalization.apply(splits.validation.images))
    assert record.val_loss == pytest.approx(state.criterion.mean_loss(outputs, splits.validation.labels), abs=1e-6)
    assert bits(state.best_weights) == bits(judged.state_dict())
    assert (bits(state.best_weights) == bits(state.model.state_dict())) == (ema is None)


def test_the_best_model_is_a_copy_in_evaluation_mode(splits: Splits, prepare: Any) -> None:
    state = prepare(splits)
    for record in fit(state):
        if record.best:
            expected = bits(state.model.state_dict())
    best = state.best_model()
    assert bits(best.state_dict()) == expected
    assert not best.training and best is not state.model
    with torch.no_grad():
        next(state.model.parameters()).zero_()
    assert bits(best.state_dict()) == expected == bits(state.best_weights)
