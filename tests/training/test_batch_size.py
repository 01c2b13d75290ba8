"""`data.batch_size: auto`: `mnist_trainer/training/prepare.py`. The accelerator and its memory are simulated."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mnist_trainer.data.loaders import Splits
from mnist_trainer.errors import ConfigError
from mnist_trainer.training import prepare as preparation
from mnist_trainer.training.prepare import choose_batch_size
from mnist_trainer.training.state import TrainingState


class Narrow(nn.Module):
    """Has memory for `room` images at a time."""

    def __init__(self, room: int, error: Exception = MemoryError()) -> None:  # noqa: B008
        super().__init__()
        self.linear, self.room, self.error = nn.Linear(784, 10), room, error

    def forward(self, images: Tensor) -> Tensor:
        if len(images) > self.room:
            raise self.error
        return self.linear(images.flatten(1))  # type: ignore[no-any-return]


def on_accelerator(state: TrainingState) -> TrainingState:
    """Its device is called one, though its tensors lie on the CPU."""
    state.setup = replace(state.setup, device=torch.device("cuda"))
    state.seed_dropout = lambda: None  # type: ignore[method-assign]
    return state


def weights(state: TrainingState) -> dict[str, list[float]]:
    return {name: value.flatten().tolist() for name, value in state.model.state_dict().items()}


@pytest.mark.parametrize(("room", "size"), [(200, 128), (128, 128), (127, 64), (33, 32), (2, 2), (1, 1), (0, 1)])
@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("MPS: out of memory")])
def test_the_batch_is_halved_until_it_fits_a_simulated_memory(
    splits: Splits, config: Any, room: int, size: int, error: Exception
) -> None:
    state = on_accelerator(preparation.prepare_state(config(), splits, model=Narrow(room, error)))
    before = weights(state)
    assert choose_batch_size(state) == size
    assert weights(state) == before
    assert state.optimizer.state == {}
    assert state.parameters[0].grad is None


def test_other_errors_are_no_lack_of_memory(splits: Splits, config: Any) -> None:
    state = on_accelerator(preparation.prepare_state(config(), splits, model=Narrow(0, RuntimeError("shapes"))))
    with pytest.raises(RuntimeError, match="shapes"):
        choose_batch_size(state)


def test_a_cpu_takes_the_default_at_once(splits: Splits, config: Any) -> None:
    state = preparation.prepare_state(config(data={"batch_size": "auto"}), splits, model=Narrow(0))
    assert state.setup.config == config(data={"batch_size": 128})
    assert state.setup.steps_per_epoch == 2


def test_what_was_found_on_a_simulated_accelerator_is_the_trainings_config(
    monkeypatch: pytest.MonkeyPatch, splits: Splits, config: Any
) -> None:
    monkeypatch.setattr(preparation, "choose_batch_size", lambda state: choose_batch_size(on_accelerator(state)))
    state = preparation.prepare_state(config(data={"batch_size": "auto"}), splits, model=Narrow(50))
    assert state.setup.config == config(data={"batch_size": 32})
    assert [len(images) for images, _ in state.batches()] == [32] * 6 + [8]


def test_a_size_found_must_suit_batch_norm_too_simulated(
    monkeypatch: pytest.MonkeyPatch, splits: Splits, config: Any
) -> None:
    monkeypatch.setattr(preparation, "choose_batch_size", lambda state: 1)
    sections = {"model": {"architecture": "mlp", "batch_norm": True}, "data": {"batch_size": "auto"}}
    with pytest.raises(ConfigError, match="holds a single one, and batch_norm needs two: choose another size than 1"):
        preparation.prepare_state(config(**sections), splits)
