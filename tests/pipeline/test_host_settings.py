"""Whoever drives the loop gets what `train` gets, and what torch is set to in the host's process stays as it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mnist_trainer import EpochRecord, evaluate, fit, predict, prepare, resume, steps, train
from mnist_trainer.errors import DivergedError, InterruptedRunError
from mnist_trainer.model.device import matmul_backend
from mnist_trainer.training.state import TrainingState

CHANGES: list[dict[str, Any]] = [
    {"threads": 1},
    {"threads": 2, "model": {"architecture": "mlp", "hidden": [600]}},
    {"threads": None},  # a small model: one thread
    {"threads": None, "model": {"architecture": "cnn", "channels": [4], "hidden": [16]}},  # a large one: the host's
    {"deterministic": True},
    {"precision": "auto", "model": {"architecture": "mlp", "hidden": [600], "dropout": 0.5}},
    {"data": {"name": "digits", "limit": 20, "batch_size": "auto", "validation": 40}},
]


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before[0])
    torch.set_rng_state(before[1])


def of_torch() -> tuple[Any, ...]:
    """All that a training may set."""
    return (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.deterministic,
        matmul_backend(),
        torch.get_rng_state().tolist(),
    )


def without_times(record: EpochRecord) -> EpochRecord:
    return replace(record, seconds=0, images_per_second=0)


@pytest.mark.parametrize("changes", CHANGES)
def test_the_loop_from_python_gives_the_bits_of_train(tiny: dict[str, Any], changes: dict[str, Any]) -> None:
    config = {**tiny, **changes}
    run = train(config)
    before = of_torch()
    state = prepare(config)
    assert of_torch() == before
    records = []
    for record in fit(state):
        assert of_torch() == before
        records.append(without_times(record))
    assert records == list(map(without_times, run.records))
    assert all(torch.equal(state.best_weights[name], value) for name, value in run.model.state_dict().items())
    single = prepare({**config, "training": {"epochs": 1}})
    for _ in steps(single):
        assert of_torch() == before
        torch.rand(1)  # the caller may draw: the training has draws of its own
        before = of_torch()
    assert float(single.totals.loss / single.totals.divisor) == run.records[0].train_loss


@pytest.mark.parametrize("loop", [fit, steps])
def test_a_step_has_the_settings_of_the_config(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch, loop: Any
) -> None:
    state = prepare({**tiny, "device": "cpu", "deterministic": True})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    found = []

    def watched(images: torch.Tensor) -> torch.Tensor:
        found.append((torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()))
        raise KeyboardInterrupt  # the optimizer would ask for a CUDA that is not there

    monkeypatch.setattr(state, "normalize", watched)
    with pytest.raises(KeyboardInterrupt):
        next(loop(state))
    assert found == [(1, True)]
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == (2, False)


def test_a_training_that_is_given_up_leaves_the_hosts_settings(tiny: dict[str, Any]) -> None:
    before = of_torch()
    abandoned = fit(prepare(tiny))
    next(abandoned)
    assert of_torch() == before
    del abandoned
    assert of_torch() == before

    def stop(state: TrainingState) -> None:
        raise KeyboardInterrupt

    with suppress(KeyboardInterrupt):
        next(fit(prepare(tiny), stop))
    assert of_torch() == before
    with pytest.raises(DivergedError):
        list(fit(prepare({**tiny, "optimizer": {"name": "sgd", "lr": 1e30}})))
    assert of_torch() == before


def test_commands_of_python_leave_the_hosts_settings(tiny: dict[str, Any], callback: Any, here: Path) -> None:
    before = of_torch()
    callback.stop_after = 3
    with pytest.raises(InterruptedRunError):
        train(tiny, run_dir=here / "run", callback=callback)
    assert of_torch() == before
    assert resume(here / "run") is not None
    assert of_torch() == before
    evaluate(here / "run", views=2)
    assert of_torch() == before
    predict(np.full((28, 28), 255, np.uint8), here / "run")
    assert of_torch() == before


def test_a_resumed_run_goes_on_with_its_number_of_threads(tiny: dict[str, Any], callback: Any, here: Path) -> None:
    """Begun with two threads, and nobody says how many from now on: as many as before, also in a second fit."""
    config = {**tiny, "threads": 2, "training": {"epochs": 2, "refit": True}}
    callback.stop_after = 3
    with pytest.raises(InterruptedRunError):
        train(config, run_dir=here / "run", callback=callback)
    seen = set()
    torch.set_num_threads(1)

    class Watching(type(callback)):  # type: ignore[misc]
        def on_step_end(self, epoch: int, step: int, steps: int) -> None:
            seen.add(torch.get_num_threads())

    resume(here / "run", "threads=null", callback=Watching())
    assert seen == {2}
