"""The experiment on gradients: its own functions against torch, and statements that fail with wrong mathematics."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mnist_trainer.lab import gradients
from mnist_trainer.lab.run import run_experiment


@pytest.mark.slow
def test_all_statements_hold(mnist_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNIST_TRAINER_DATA", str(mnist_root))
    experiment = run_experiment("gradients")
    assert experiment.held, experiment
    statements = [each.statement for each in experiment.statements]
    assert "x³ + y³ at (2, -1): autograd and quotient give [12.0, 3.0]" in statements
    assert "a step by quotients takes 491 forward passes, not one" in statements
    assert len(statements) == len(gradients.EXERCISES) + 8


@pytest.mark.slow
@pytest.mark.parametrize(
    ("parameters", "failed"),
    [({"sign": -1.0}, {"δ₁ and δ₂ of one image"}), ({"h": 1e-12}, {"10 steps by both", "x₁x₂ at (3, 4)"})],
)
def test_wrong_mathematics_is_seen(
    mnist_root: Path, monkeypatch: pytest.MonkeyPatch, parameters: dict[str, float], failed: set[str]
) -> None:
    monkeypatch.setenv("MNIST_TRAINER_DATA", str(mnist_root))
    lines = [each.statement for each in run_experiment("gradients", **parameters).statements if not each.held]
    assert all(any(line.startswith(start) for line in lines) for start in failed)


@pytest.mark.parametrize("name", gradients.EXERCISES)
def test_the_quotient_is_exact_for_small_steps(name: str) -> None:
    f, by_hand, point = gradients.EXERCISES[name]
    v = torch.tensor(point, dtype=torch.float64)
    assert torch.allclose(gradients.quotient(f, v, 1e-7), by_hand(v).double(), atol=1e-6)
    assert not torch.allclose(gradients.quotient(f, v, 1e-7), -by_hand(v).double(), atol=1e-3)
