"""The number of threads that a config comes to."""

from __future__ import annotations

from typing import Any

import pytest

from mnist_trainer.config.load import load_config
from mnist_trainer.model.device import choose_threads

SMALL: dict[str, Any] = {"architecture": "mlp", "hidden": [64, 64, 64]}
CONVOLUTIONS: list[Any] = [{"residual": [{"conv": 1}]}, "flatten", {"linear": "classes"}]


def chosen(model: dict[str, Any], **sections: Any) -> int | None:
    return choose_threads(load_config({"model": model, **sections}))


@pytest.mark.parametrize("model", [SMALL, {"architecture": "mlp", "hidden": []}, {**SMALL, "hidden": [166]}])
def test_small_layers_take_one_thread(model: dict[str, Any]) -> None:
    assert chosen(model) == 1


@pytest.mark.parametrize(("batch", "threads"), [(16, 1), (333, 1), (334, None), (4096, None)])
def test_large_batches_make_a_small_layer_worth_more(batch: int, threads: int | None) -> None:
    assert chosen(SMALL, data={"batch_size": batch}) == threads


@pytest.mark.parametrize(
    "model", [{**SMALL, "hidden": [168]}, {"architecture": "cnn"}, {"architecture": "layers", "layers": CONVOLUTIONS}]
)
def test_large_layers_and_convolutions_take_what_torch_does(model: dict[str, Any]) -> None:
    assert chosen(model) is None


def test_the_largest_layers_do_so_in_batches_of_any_size() -> None:
    assert chosen({**SMALL, "hidden": [333]}, data={"batch_size": 1}) == 1
    assert chosen({**SMALL, "hidden": [335]}, data={"batch_size": 1}) is None


def test_making_images_takes_what_torch_does() -> None:
    assert chosen(SMALL, data={"augment": {"rotate": 10}}) is None
    assert chosen(SMALL, data={"simulate": {"photographs": 0.1}}) is None


def test_the_config_has_the_last_word() -> None:
    assert chosen(SMALL, threads=3) == 3
    assert chosen({"architecture": "cnn"}, threads=1) == 1


def test_of_an_own_model_nothing_is_known() -> None:
    config = load_config({"model": SMALL})
    assert choose_threads(config, object()) is None
