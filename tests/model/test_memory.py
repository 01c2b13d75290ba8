"""Memory needed: `mnist_trainer/model/device.py`."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from mnist_trainer.config.layers import expand, infer_shapes
from mnist_trainer.config.schema import Config
from mnist_trainer.errors import DeviceError
from mnist_trainer.model import device as device_module
from mnist_trainer.model.device import Footprint, check_memory, footprint, human_bytes
from mnist_trainer.training.optim import build_optimizer

CPU = torch.device("cpu")
PARAMETERS = 785 * 64 + 65 * 10


def needed(**sections: Any) -> Footprint:
    config = Config.model_validate(
        {"model": {"architecture": "mlp", "hidden": [64]}, "data": {"batch_size": 100}, **sections}
    )
    return footprint(config, infer_shapes(expand(config.model), 10))


@pytest.mark.parametrize(
    ("optimizer", "state"),
    [
        ("gradient_descent", 0),
        ("sgd", 0),
        ({"name": "sgd", "momentum": 0.9}, 1),
        ("adam", 2),
        ("adamw", 2),
        ("rmsprop", 1),
        ({"name": "rmsprop", "momentum": 0.9}, 2),
        ("adagrad", 1),
    ],
)
def test_weights_count_with_gradient_best_epoch_and_optimizer_state(optimizer: Any, state: int) -> None:
    assert needed(optimizer=optimizer).weights == 4 * PARAMETERS * (3 + state)


def test_the_state_that_is_counted_is_what_torch_keeps() -> None:
    for settings in ("sgd", {"name": "sgd", "momentum": 0.9}, "adam", "adagrad", {"name": "rmsprop", "momentum": 0.5}):
        config = Config.model_validate({"model": {"architecture": "mlp"}, "optimizer": settings})
        parameter = nn.Parameter(torch.ones(7))
        optimizer = build_optimizer(config.optimizer, [parameter])
        parameter.sum().backward()
        optimizer.step()
        kept = [value for value in optimizer.state[parameter].values() if value is not None and value.numel() == 7]
        assert needed(optimizer=settings).weights == 4 * PARAMETERS * (3 + len(kept))


def test_a_running_mean_of_the_weights_counts_once_more() -> None:
    assert needed(training={"ema": 0.99}).weights - needed().weights == 4 * PARAMETERS


def test_the_state_to_go_back_to_counts_all_that_moves_once_more() -> None:
    restoring = needed(training={"ema": 0.99, "on_divergence": "restore"})
    assert restoring.weights - needed(training={"ema": 0.99}).weights == 4 * PARAMETERS * (1 + 2 + 1)  # adam, ema


def test_activations_grow_with_the_batch() -> None:
    values = 784 + 64 + 64 + 10  # flatten, linear, relu, linear
    figures = needed(optimizer="sgd")
    assert figures == Footprint(PARAMETERS, 4 * 3 * PARAMETERS, 4 * values * 100)
    assert figures.total == figures.weights + figures.activations
    assert needed(data={"batch_size": 1}).activations == 4 * values


def test_a_training_that_cannot_fit_is_refused_with_the_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_module, "available_memory", lambda _: 1_500_000_000)
    with pytest.raises(DeviceError) as caught:
        check_memory(Footprint(2_500_000_000, 40_000_000_000, 81_200_000), CPU)
    assert str(caught.value) == (
        "The model has 2,500,000,000 parameters and needs at least 40.1 GB to train (40 GB for weights, "
        "81.2 MB for a batch); cpu has 1.5 GB free. Make it narrower, or data.batch_size smaller."
    )


@pytest.mark.parametrize("there", [3, 4, None])
def test_what_fits_or_is_unknown_is_let_pass(monkeypatch: pytest.MonkeyPatch, there: int | None) -> None:
    monkeypatch.setattr(device_module, "available_memory", lambda _: there)
    check_memory(Footprint(1, 2, 1), CPU)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (1234, "1.23 kB"),
        (999_499, "999 kB"),
        (999_500, "1 MB"),
        (47_040_016, "47 MB"),
        (1_500_000_000, "1.5 GB"),
        (2 * 10**12, "2 TB"),
        (31 * 10**18, "31,000 PB"),
    ],
)
def test_bytes_for_people(count: int, text: str) -> None:
    assert human_bytes(count) == text
