"""The learning rate range test: what it proposes, and that nothing else changes by it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from mnist_trainer import fit, load_config, prepare
from mnist_trainer.pipeline.plan import find_lr
from mnist_trainer.training import lr_finder
from mnist_trainer.training.lr_finder import HIGHEST, LOWEST, STEPS, range_test

SMALL = ("data.name=digits", "device=cpu", "seed=1")


def final_accuracy(*overrides: str) -> float:
    *_, last = fit(prepare("quickstart", *SMALL, "training.epochs=3", *overrides))
    return last.val_accuracy or 0.0


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "{sgd: 0.01, momentum: 0.9}", "rmsprop", "gradient_descent"])
def test_the_suggestion_trains_well_and_a_hundredth_of_it_does_not(optimizer: str) -> None:
    name = optimizer if "momentum" not in optimizer else "{name: sgd, momentum: 0.9}"
    overrides = [f"optimizer={name}"]
    if name == "gradient_descent":  # each of its steps is an epoch
        overrides += ["training.epochs=60", "model={architecture: mlp, hidden: [32]}"]
    found, _ = find_lr(load_config("quickstart", (*SMALL, *overrides)))
    assert found.low is not None and found.high is not None and found.low <= found.high
    assert found.suggestion is not None and found.low / 2 <= found.suggestion <= 2 * found.high
    good, slow = (final_accuracy(*overrides, f"optimizer.lr={lr}") for lr in (found.suggestion, found.low / 100))
    assert good > 0.85
    assert good > slow + 0.1


def test_the_point_of_divergence_diverges() -> None:
    found, _ = find_lr(load_config("quickstart", (*SMALL, "optimizer=sgd")))
    assert found.diverges is not None and found.high is not None and found.diverges > found.high
    assert final_accuracy("optimizer=sgd", f"optimizer.lr={3 * found.diverges}") < 0.5
    assert np.isfinite(found.median[0]) and found.losses.shape == (3, STEPS)
    assert (found.lrs[0], found.lrs[-1]) == (pytest.approx(LOWEST), pytest.approx(HIGHEST))


def test_nothing_is_proposed_where_the_loss_does_not_fall() -> None:
    found, png = find_lr(load_config("quickstart", (*SMALL, "model.activation=step", "model.init=zeros")))
    assert (found.low, found.high, found.suggestion) == (None, None, None)
    assert png.startswith(b"\x89PNG")


def test_the_next_training_has_the_same_bits() -> None:
    def weights() -> list[torch.Tensor]:
        state = prepare("quickstart", *SMALL, "model.dropout=0.2", "training.epochs=1")
        list(fit(state))
        return list(state.best_weights.values())

    before, generator = weights(), torch.get_rng_state()
    find_lr(load_config("quickstart", (*SMALL, "model.dropout=0.2", "training.epochs=1")))
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(map(torch.equal, before, weights()))


@pytest.mark.parametrize(
    ("median", "low", "high"),
    [
        ((2, 2, 2, 1, 0.5, 0.4, 9, 9, 9, 9), 1e-3, 0.25e-1),  # falls fastest to 1e-3, lowest at 1e-1
        ((2, 2, 2, 1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5), 0.25e-2, 1e-3),  # a plateau: its beginning counts
        ((2, 2, 2, 1, 0.9, 1.5, 0.1, 0.1, 0.1, 0.1), 0.25e-2, 1e-3),  # falls again after a rise: that does not count
        ((2, 2, 2, 2, 2, 2, 2, 2, 2, 2), None, None),
        ((2, 3, 4, 5, 6, 7, 8, 9, np.inf, np.inf), None, None),
    ],
)
def test_range_of_a_curve(median: Sequence[float], low: float | None, high: float | None) -> None:
    lrs = np.geomspace(1e-6, 1e3, 10)
    found = lr_finder._usable(lrs, np.array(median, float))
    expected = (None, None) if low is None or high is None else tuple(sorted((low, high)))
    assert found == (pytest.approx(expected) if low else expected)


def test_smoothing_is_exact_for_equal_losses() -> None:
    assert lr_finder._smooth(np.full(5, 3.0)) == pytest.approx(np.full(5, 3.0))


def test_states_are_made_one_at_a_time() -> None:
    made = []

    def states():  # type: ignore[no-untyped-def]
        for seed in range(2):
            made.append(prepare("quickstart", *SMALL, f"seed={seed}"))
            yield made[-1]

    assert range_test(states(), steps=4).losses.shape == (2, 4)
    assert all(state.step or state.epoch for state in made)
