"""The probe measures gradients and updates of the layers, and leaves the training as it is."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mnist_trainer import fit, prepare
from mnist_trainer.training import probe as probe_module
from mnist_trainer.training.distributed import ALONE, Ranks
from mnist_trainer.training.probe import SAMPLE, TIMED_STEPS, probe, slower_together, step_seconds
from mnist_trainer.training.state import TrainingState

SMALL = ("data.name=digits", "device=cpu", "model={architecture: mlp, hidden: [8]}", "training.epochs=1")


def test_gradient_and_update_of_a_step_of_plain_sgd() -> None:
    state = prepare("quickstart", *SMALL, "optimizer={name: sgd, lr: 0.1}", "model.dropout=0", "training.ema=null")
    images, labels = state.setup.train.gather(torch.arange(SAMPLE))
    weights = [module.weight for module in state.model.modules() if isinstance(module, torch.nn.Linear)]
    outputs = state.model(state.normalize(images))
    gradients = torch.autograd.grad(torch.nn.functional.cross_entropy(outputs, labels), weights)
    found = probe(state)
    assert [layer.layer for layer in found] == [1, 2]
    for layer, weight, gradient in zip(found, weights, gradients, strict=True):
        assert layer.gradient == pytest.approx(float(gradient.norm()), rel=1e-4)
        assert layer.update == pytest.approx(0.1 * float(gradient.norm() / weight.detach().norm()), rel=1e-4)


@pytest.mark.parametrize("extra", ["model.dropout=0.5", "optimizer=adam", "training.ema=0.9", "training.clip_norm=1"])
def test_the_training_goes_on_with_the_same_bits(extra: str) -> None:
    def weights(probed: bool) -> list[torch.Tensor]:
        state = prepare("quickstart", *SMALL, "training.epochs=2", "training.micro_batches=2", extra)
        for _ in fit(state):
            if probed:
                assert len(probe(state)) == 2
                assert step_seconds(state, ALONE) > 0
        return list(state.best_weights.values())

    torch.manual_seed(3)
    expected = torch.get_rng_state()
    assert all(map(torch.equal, weights(probed=False), weights(probed=True)))
    assert torch.equal(torch.get_rng_state(), expected)


def test_a_step_that_is_not_finite_gives_nothing() -> None:
    state = prepare("quickstart", *SMALL)
    with torch.no_grad():
        next(state.model.parameters()).fill_(float("nan"))
    assert probe(state) == ()


def test_the_step_has_the_full_learning_rate_whatever_the_schedule_has_made_of_it() -> None:
    state = prepare("quickstart", *SMALL, "optimizer={name: sgd, lr: 0.1}", "model.dropout=0", "training.ema=null")
    full = probe(state)
    state.set_lr(0.0)
    assert probe(state) == full and full[0].update > 0
    assert state.lr == 0


def test_dropout_in_the_step_does_not_depend_on_earlier_random_numbers() -> None:
    state = prepare("quickstart", *SMALL, "model.dropout=0.5")
    first = probe(state)
    torch.rand(3)
    assert probe(state) == first


def test_a_frozen_layer_keeps_its_number() -> None:
    state = prepare("quickstart", *SMALL)
    next(state.model.parameters()).requires_grad_(False)
    assert [layer.layer for layer in probe(state)] == [2]


@pytest.mark.parametrize(("alone", "is_told"), [(0.004, True), (0.0095, False), (0.02, False)])
def test_more_processes_may_be_slower(alone: float, is_told: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The times are given; tests/pipeline/test_processes.py measures them in two processes."""

    def seconds(state: TrainingState, ranks: Ranks) -> float:
        return alone if ranks.size == 1 else 0.01

    state = prepare("quickstart", *SMALL)
    monkeypatch.setattr(probe_module, "step_seconds", seconds)
    assert slower_together(state) is None
    state.setup = replace(state.setup, ranks=Ranks(0, 2))
    said = slower_together(state)
    assert (said is not None) == is_told
    if said is not None:
        assert said == (
            "More processes are slower here: a step takes 10 ms in 2 processes, 4 ms in one process alone "
            f"(medians of {TIMED_STEPS} steps)."
        )
