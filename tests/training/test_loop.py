"""The loop: `mnist_trainer/training/loop.py`."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mnist_trainer.data.loaders import Splits
from mnist_trainer.training.loop import fit, steps, validate
from mnist_trainer.training.optim import lr_multiplier
from mnist_trainer.training.state import TrainingState


def bits(weights: dict[str, Tensor]) -> dict[str, bytes]:
    return {name: value.contiguous().numpy().tobytes() for name, value in weights.items()}


def test_a_small_network_learns_what_can_be_learned(splits: Splits, prepare: Any) -> None:
    state = prepare(splits, training={"epochs": 5}, optimizer={"name": "adam", "lr": 0.01})
    records = list(fit(state))
    assert [record.epoch for record in records] == [1, 2, 3, 4, 5]
    assert records[-1].train_loss < records[0].train_loss / 4
    assert records[-1].train_accuracy > 0.95 and records[-1].val_accuracy > 0.9
    assert state.stop_reason == "epochs"


def test_a_step_is_the_lectures_five_lines(splits: Splits, prepare: Any) -> None:
    """Forward, loss, zero_grad, backward, step: here once more, in plain torch."""
    state, other = prepare(splits), prepare(splits)
    images, labels = next(state.batches())
    optimizer = torch.optim.Adam(other.model.parameters(), lr=0.001)
    loss = F.cross_entropy(other.model(other.setup.spec.normalization.apply(images)), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    next(steps(state))
    for ours, plain in zip(state.model.parameters(), other.model.parameters(), strict=True):
        assert torch.allclose(ours, plain, atol=1e-7)
    assert state.totals.loss.item() == pytest.approx(32 * loss.item())
    gradient = torch.cat([each.grad.flatten() for each in other.model.parameters() if each.grad is not None])
    assert state.totals.gradient_norm == pytest.approx(gradient.norm().item())


def test_a_record_has_the_mean_norm_of_the_gradient_over_the_steps(splits: Splits, prepare: Any) -> None:
    state, norms = prepare(splits, training={"epochs": 1}, optimizer="sgd"), []
    for _ in steps(state):  # the gradients stay until the next step
        gradient = torch.cat([each.grad.flatten() for each in state.parameters if each.grad is not None])
        norms.append(gradient.norm().item())
    (record,) = fit(prepare(splits, training={"epochs": 1}, optimizer="sgd"))
    assert len(norms) == 7
    assert record.gradient_norm == pytest.approx(sum(norms) / 7)


def test_gradient_descent_of_a_neuron_by_the_formula(yes_or_no: Splits, prepare: Any) -> None:
    """w ← w − α·mean((ŷ − t)·x) over all images, once an epoch, in float64 without autograd."""
    state = prepare(
        yes_or_no,
        model={"architecture": "neuron", "output": "sigmoid", "init": "zeros"},
        loss="bce",
        data={"binary": 7, "batch_size": 64},
        optimizer={"name": "gradient_descent", "lr": 0.05},
    )
    train = yes_or_no.train
    inputs = state.setup.spec.normalization.apply(train.images).flatten(1).double()
    weights, bias = torch.zeros(784, dtype=torch.float64), 0.0
    for _ in fit(state):
        error = torch.sigmoid(inputs @ weights + bias) - train.labels
        weights = weights - 0.05 * (error[:, None] * inputs).mean(dim=0)
        bias -= 0.05 * error.mean().item()
        ours = dict(state.model.named_parameters())
        assert torch.allclose(ours["1.weight"][0].double(), weights, atol=1e-6)
        assert ours["1.bias"].item() == pytest.approx(bias, abs=1e-6)


LOSSES: list[dict[str, Any]] = [
    {"name": "cross_entropy"},
    {"name": "cross_entropy", "class_weights": [1, 5, 1, 0.25, 1, 1, 1, 3, 1, 1], "label_smoothing": 0.1},
    {"name": "bce", "penalties": [{"true": 7, "predicted": 2, "weight": 2.0}], "class_weights": [1] * 9 + [4]},
    {"name": "mse", "smooth_weights": 0.05},
    {"name": "absolute", "class_weights": [2] * 5 + [1] * 5, "smooth_weights": 0.05},
    {"name": "cross_entropy", "class_weights": [0] * 9 + [1]},
]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("reduction", ["mean", "sum", "per_example"])
@pytest.mark.parametrize("way", ["accumulate", "gradient_descent"])
def test_pieces_make_the_step_of_the_whole_batch(
    splits: Splits, prepare: Any, loss: dict[str, Any], reduction: str, way: str
) -> None:
    rate = 0.002 if reduction == "sum" else 0.1
    settings: dict[str, Any] = {"loss": {**loss, "reduction": reduction}}
    size = 200 if way == "gradient_descent" else 96
    whole = prepare(splits, **settings, optimizer={"name": "sgd", "lr": rate}, data={"batch_size": size})
    if way == "accumulate":
        settings |= {"optimizer": {"name": "sgd", "lr": rate}, "training": {"epochs": 3, "accumulate": 3}}
    else:
        settings |= {"optimizer": {"name": "gradient_descent", "lr": rate}}
    micro_batches = prepare(splits, **settings, data={"batch_size": 32})
    start = [parameter.detach().clone() for parameter in whole.model.parameters()]
    for expected, record in zip(fit(whole), fit(micro_batches), strict=True):
        assert record.train_loss == pytest.approx(expected.train_loss, rel=1e-5)
        assert record.terms == {name: pytest.approx(value, rel=1e-5) for name, value in expected.terms.items()}
    for ours, theirs, before in zip(micro_batches.model.parameters(), whole.model.parameters(), start, strict=True):
        assert torch.allclose(ours, theirs, atol=2e-6)
        assert not torch.allclose(ours, before, atol=1e-4)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("reduction", ["mean", "sum", "per_example"])
def test_an_epochs_figures_do_not_depend_on_the_batch_size(
    splits: Splits, prepare: Any, loss: dict[str, Any], reduction: str
) -> None:
    """With a rate of almost nothing the model is the same in every batch."""
    records = []
    for size in (1, 30, 32, 200):
        settings = {"loss": {**loss, "reduction": reduction}, "training": {"epochs": 1}}
        state = prepare(splits, **settings, data={"batch_size": size}, optimizer={"name": "sgd", "lr": 1e-12})
        records += list(fit(state))
    for record in records[1:]:
        assert record.train_loss == pytest.approx(records[0].train_loss, rel=1e-5)
        assert record.train_accuracy == records[0].train_accuracy
        assert record.val_loss == pytest.approx(records[0].val_loss, rel=1e-6)
        assert record.terms == {name: pytest.approx(value, rel=1e-5) for name, value in records[0].terms.items()}


@pytest.mark.parametrize("training", [{}, {"accumulate": 4}, {"mixup": 0.4}, {"accumulate": 4, "mixup": 0.4}])
@pytest.mark.parametrize("loss", ["cross_entropy", "bce", "mse"])
def test_images_that_all_have_the_class_weight_0_change_nothing(
    splits: Splits, prepare: Any, training: dict[str, Any], loss: str
) -> None:
    weights = [1.0] * 9 + [0.0]
    only = torch.full_like(splits.train.labels, 9)
    empty = replace(splits, train=replace(splits.train, labels=only), validation=replace(splits.train, labels=only))
    settings = {"training": {"epochs": 1, **training}, "optimizer": {"name": "sgd", "lr": 0.1}}
    state = prepare(empty, loss={"name": loss, "class_weights": weights}, **settings)
    before = {name: value.clone() for name, value in state.model.state_dict().items()}
    (record,) = fit(state)
    assert (record.train_loss, record.val_loss) == (0, 0)
    assert all(torch.equal(value, before[name]) for name, value in state.model.state_dict().items())


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", {"name": "step", "every": 1, "warmup": 0.3}])
def test_each_step_has_the_rate_of_its_schedule(splits: Splits, prepare: Any, schedule: Any) -> None:
    state = prepare(splits, schedule=schedule, optimizer={"name": "sgd", "lr": 0.5})
    rates: list[float] = []
    records = list(fit(state, lambda state: rates.append(state.lr)))
    setup = state.setup
    expected = [0.5 * lr_multiplier(setup.config.schedule, step, setup.steps_per_epoch, 3) for step in range(21)]
    assert rates == expected
    assert [record.lr for record in records] == [expected[6], expected[13], expected[20]]


def test_plateau_lowers_the_rate_of_the_epochs_after_it(noise: Splits, prepare: Any) -> None:
    state = prepare(
        noise,
        schedule={"name": "plateau", "factor": 0.5, "patience": 0},
        optimizer={"name": "sgd", "lr": 0.1},
        training={"epochs": 8},
    )
    lowest, rate = inf, 0.1
    records = list(fit(state))
    for record in records:
        assert record.lr == pytest.approx(rate)
        assert record.val_loss is not None
        rate, lowest = (rate, record.val_loss) if record.val_loss < lowest else (rate / 2, lowest)
    assert records[-1].lr < 0.1


@pytest.mark.parametrize(
    "sections",
    [
        {"optimizer": {"name": "adam", "lr": 0.01}},
        {"optimizer": {"name": "sgd", "lr": 0.3, "momentum": 0.9}, "ema": 0.9},
        {
            "model": {"architecture": "mlp", "hidden": [32], "dropout": 0.3, "batch_norm": True},
            "monitor": "val_accuracy",
        },
    ],
)
def test_early_stopping_gives_the_weights_of_a_run_to_exactly_the_best_epoch(
    noise: Splits, prepare: Any, sections: dict[str, Any]
) -> None:
    sections = dict(sections)
    ema, rule = sections.pop("ema", None), {"monitor": sections.pop("monitor", "val_loss"), "patience": 3}
    stopped = prepare(noise, **sections, training={"epochs": 40, "early_stopping": rule, "ema": ema})
    records = list(fit(stopped))
    best = stopped.best.epoch
    assert stopped.stop_reason == "early_stopping"
    assert len(records) == best + 3 < 40
    assert [record.epoch for record in records if record.best][-1] == best

    exact = prepare(noise, **sections, training={"epochs": best, "ema": ema})
    list(fit(exact))
    last = exact.model if exact.ema is None else exact.ema.module
    assert bits(stopped.best_weights) == bits(last.state_dict())
    assert bits(stopped.best_model().state_dict()) == bits(last.state_dict())


@pytest.mark.parametrize("accumulate", [1, 3])
def test_clip_norm_bounds_the_length_of_each_step(splits: Splits, prepare: Any, accumulate: int) -> None:
    training = {"epochs": 1, "clip_norm": 0.01, "accumulate": accumulate}
    state = prepare(splits, optimizer={"name": "sgd", "lr": 2.0}, training=training)
    before = torch.cat([parameter.detach().flatten() for parameter in state.model.parameters()])
    for _ in steps(state):
        now = torch.cat([parameter.detach().flatten() for parameter in state.model.parameters()])
        assert torch.linalg.vector_norm(now - before).item() == pytest.approx(2.0 * 0.01, rel=0.01)
        before = now


def test_without_validation_images_the_last_epoch_is_the_result(splits: Splits, prepare: Any) -> None:
    state = prepare(Splits(splits.train, None, splits.classes), data={"validation": 0})
    records = list(fit(state))
    assert all(record.val_loss is None and record.val_accuracy is None for record in records)
    assert [(record.best, record.kept) for record in records] == [(False, True)] * 3
    assert state.best.epoch == 3
    assert bits(state.best_weights) == bits(state.model.state_dict())


def test_validation_is_without_smoothing_penalties_and_dropout(splits: Splits, prepare: Any) -> None:
    model = {"architecture": "mlp", "hidden": [16], "dropout": 0.5}
    loss = {"name": "cross_entropy", "label_smoothing": 0.3, "penalties": [{"true": 1, "predicted": 2, "weight": 9.0}]}
    state = prepare(splits, model=model, loss=loss)
    next(steps(state))
    val_loss, val_accuracy = validate(state)
    assert splits.validation is not None
    inputs = state.setup.spec.normalization.apply(splits.validation.images)
    outputs = state.model.eval()(inputs).detach()
    assert val_loss == pytest.approx(F.cross_entropy(outputs, splits.validation.labels).item(), abs=1e-6)
    assert val_accuracy == (outputs.argmax(dim=1) == splits.validation.labels).double().mean().item()


def test_the_caller_may_judge_the_model_between_steps(splits: Splits, prepare: Any) -> None:
    model = {"architecture": "mlp", "hidden": [16], "dropout": 0.5, "batch_norm": True}
    left_alone, looked_at = prepare(splits, model=model), prepare(splits, model=model)
    list(fit(left_alone))
    list(fit(looked_at, lambda state: [validate(state), torch.rand(7)]))
    assert bits(looked_at.model.state_dict()) == bits(left_alone.model.state_dict())


def test_bfloat16_trains_float32_weights(splits: Splits, prepare: Any) -> None:
    exact, rough = prepare(splits), prepare(splits, precision="bfloat16")
    for one, other in zip(fit(exact), fit(rough), strict=True):
        assert other.train_loss == pytest.approx(one.train_loss, rel=0.05)
        assert other.train_loss != one.train_loss
    assert {parameter.dtype for parameter in rough.model.parameters()} == {torch.float32}


def test_points_within_an_epoch_are_means_of_equal_intervals(splits: Splits, prepare: Any) -> None:
    """200 images in steps of 2: 50 intervals of 2 steps in the first epoch, 25 of 4 steps in the second."""
    state = prepare(splits, data={"batch_size": 2}, training={"epochs": 2})
    sums: list[tuple[float, float]] = []

    def after_step(state: TrainingState) -> None:
        sums.append((float(state.totals.loss), float(state.totals.correct)))

    first, second = fit(state, after_step)
    assert [point[0] for point in first.curve] == pytest.approx([(place + 0.5) / 50 for place in range(50)])
    assert [point[0] for point in second.curve] == pytest.approx([1 + (place + 0.5) / 25 for place in range(25)])
    _, loss, accuracy, lr = first.curve[1]
    assert loss == pytest.approx((sums[3][0] - sums[1][0]) / 4)
    assert accuracy == (sums[3][1] - sums[1][1]) / 4
    assert lr == state.lr
    assert sum(point[1] for point in second.curve) / 25 == pytest.approx(second.train_loss)


def test_points_do_not_depend_on_how_many_epochs_there_are_to_be(splits: Splits, prepare: Any) -> None:
    whole, short = (list(fit(prepare(splits, training={"epochs": epochs}))) for epochs in (3, 1))
    assert whole[0].curve == short[0].curve
    assert len(whole[0].curve) == 7  # no more than there are steps
    late = prepare(splits, training={"epochs": 27})
    *_, before, last = fit(late)
    assert (before.epoch, last.curve) == (26, ())
