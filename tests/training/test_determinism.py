"""The same seed gives the same bits, whatever else draws random numbers, for each kind of training that is shipped."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mnist_trainer.config.schema import Config
from mnist_trainer.data.loaders import Splits
from mnist_trainer.model.device import settings
from mnist_trainer.training.loop import fit

YES_OR_NO = {"model": {"architecture": "neuron", "output": "sigmoid"}, "loss": "bce", "data": {"binary": 7}}
SHIPPED: dict[str, dict[str, Any]] = {
    "neuron": YES_OR_NO,
    "lecture": {"model": {"architecture": "mlp", "hidden": [64, 64, 64]}, "optimizer": {"name": "adam", "lr": 0.003}},
    "lecture-softmax": {"model": {"architecture": "mlp", "hidden": [64], "output": "softmax"}},
    "lecture-log-softmax": {"model": {"architecture": "mlp", "hidden": [64], "output": "log_softmax"}, "loss": "nll"},
    "gradient-descent": {"optimizer": "gradient_descent"},
    "sgd-momentum": {"optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": True}},
    "mlp": {
        "model": {"architecture": "mlp", "hidden": [64, 32], "dropout": 0.2, "batch_norm": True},
        "optimizer": "adamw",
        "schedule": "one_cycle",
        "training": {"epochs": 3, "ema": 0.9},
    },
    "cnn": {"model": {"architecture": "cnn", "channels": [8, 8], "batch_norm": True, "dropout": 0.3}},
    "maxout": {"model": {"architecture": "mlp", "hidden": [32], "activation": "maxout"}, "optimizer": "rmsprop"},
    "regression": {"model": {"architecture": "mlp", "hidden": [32], "output": "sigmoid"}, "loss": "mse"},
    "custom-error": {
        "loss": {"name": "mse", "penalties": [{"true": 7, "predicted": 2}], "smooth_weights": 0.01},
        "optimizer": "adagrad",
    },
    "random-slopes": {"model": {"architecture": "mlp", "hidden": [32], "activation": "rrelu"}},
    "bfloat16": {"model": {"architecture": "cnn", "channels": [4]}, "precision": "bfloat16"},
}


def outcome(splits: Splits, prepare: Any, disturb: bool = False, **sections: Any) -> tuple[Any, ...]:
    """All bits of the result. `disturb` draws from torch's global generator wherever a caller could."""
    if disturb:
        torch.manual_seed(77)
    state = prepare(splits, **sections)
    records = []
    for record in fit(state, lambda _: torch.rand(3) if disturb else None):
        records.append((record.train_loss, record.train_accuracy, record.val_loss, record.val_accuracy))
        if disturb:
            torch.rand(5)
    bits = {name: value.contiguous().numpy().tobytes() for name, value in state.best_weights.items()}
    return records, bits


@pytest.mark.parametrize("name", SHIPPED)
def test_the_same_seed_gives_the_same_bits(splits: Splits, yes_or_no: Splits, prepare: Any, name: str) -> None:
    sections = SHIPPED[name]
    images = yes_or_no if sections is YES_OR_NO else splits
    first = outcome(images, prepare, **sections)
    assert outcome(images, prepare, disturb=True, **sections) == first
    assert outcome(images, prepare, **sections, seed=1) != first


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("model", [{"architecture": "mlp", "hidden": [600, 500]}, {"architecture": "cnn"}])
def test_the_same_seed_gives_the_same_bits_in_each_precision_on_each_number_of_threads(
    splits: Splits, prepare: Any, threads: int, model: dict[str, Any]
) -> None:
    """With products and batches large enough that threads share them."""
    data = {"batch_size": 100, "augment": {"rotate": 10, "elastic": {}}}
    found = []
    for precision in ("float32", "bfloat16", "auto"):
        config = Config.model_validate({"model": {"architecture": "neuron"}, "precision": precision})
        with settings(config, threads):
            first = outcome(splits, prepare, model=model, data=data, precision=precision)
            assert outcome(splits, prepare, disturb=True, model=model, data=data, precision=precision) == first
            found.append(first)
    assert found[0] != found[1]


@pytest.mark.parametrize(
    ("layers", "batch_size"),
    [
        (["flatten", {"linear": 10}], 32),  # what differs is the order
        (["flatten", "dropout", {"linear": 10}], 200),  # in a single batch what differs is dropout
    ],
)
def test_the_seed_decides_order_and_dropout_besides_the_weights(
    splits: Splits, prepare: Any, layers: list[Any], batch_size: int
) -> None:
    model = {"architecture": "layers", "layers": layers, "init": "zeros"}
    losses = []
    for seed in (0, 1):
        state = prepare(splits, model=model, data={"batch_size": batch_size}, seed=seed)
        losses.append([record.train_loss for record in fit(state)][-1])
    assert abs(losses[0] - losses[1]) > 1e-4
