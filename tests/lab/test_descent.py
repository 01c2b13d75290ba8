"""Descent: rates, valleys, momentum and noise, and what the paths share with torch's optimizer."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mnist_trainer.lab import descent
from mnist_trainer.lab.run import run_experiment

STATEMENTS = [
    "x² from 1 to an error < 0.01, or 1,000 steps: 114 at rate 0.01",
    "x² from 1 to an error < 0.01, or 1,000 steps: 11 at rate 0.1",
    "x² from 1 to an error < 0.01, or 1,000 steps: 1 at rate 0.5",
    "x² from 1 to an error < 0.01, or 1,000 steps: 11 at rate 0.9",
    "x² from 1 to an error < 0.01, or 1,000 steps: 1,000 at rate 1",
    "rate 1.1 diverges: error after 100 steps",
    "x² from 1 to a gradient < 0.001: 35 steps at rate 0.1",
    "on the hump of x⁴ − 2x² + 0.3x the gradient is 0, too: no step",
    "step doubling from rate 0.01: 7 evaluations instead of 114",
    "wiggling: evaluations for one weight, fewer than descent at rate 0.01",
    "wiggling: evaluations for 100 weights, where descent at rate 0.01 needs 114",
    "x⁴ − 2x² + 0.3x: descent from -1.5 ends at -1.036",
    "x⁴ − 2x² + 0.3x: descent from 1.5 ends at 0.96",
    "descent: share of 100 starts in the shallow valley that end in the deep one",
    "momentum: share of 100 starts in the shallow valley that end in the deep one",
    "noise: share of 100 starts in the shallow valley that end in the deep one",
    "momentum from the shallow minimum itself stays there",
    "noise: share that leaves the deep valley",
    "w₁² + 10w₂²: steps of momentum to a distance < 0.1, in parts of descent's",
    "SGD at a constant rate wanders: mean distance of its last 500 steps",
]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_all_statements_hold_with_any_seed(seed: int) -> None:
    experiment = run_experiment("descent", quick=True, seed=seed)
    assert [statement.statement for statement in experiment.statements] == STATEMENTS
    assert experiment.held, str(experiment)


def test_without_momentum_and_noise_nothing_leaves_the_shallow_valley() -> None:
    experiment = run_experiment("descent", quick=True, beta=0.0, noise=0.0)
    failed = [statement.statement for statement in experiment.statements if not statement.held]
    assert failed == [STATEMENTS[14], STATEMENTS[15], STATEMENTS[17], STATEMENTS[18]]


def test_wrong_derivatives_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descent, "TWICE", np.polynomial.Polynomial([0, 1]))  # (x²)′ = x
    monkeypatch.setattr(descent, "SLOPE", np.polynomial.Polynomial([0, -4, 0, 4]))  # 0.3 is lost
    held = {statement.statement: statement.held for statement in run_experiment("descent", quick=True).statements}
    assert not any(held[STATEMENTS[number]] for number in (0, 1, 2, 3, 4, 5, 6, 7, 11, 12))


@pytest.mark.parametrize("beta", [0.0, 0.9])
def test_the_path_is_that_of_torchs_optimizer(beta: float) -> None:
    x = torch.tensor([-1.5, 0.3], dtype=torch.float64, requires_grad=True)
    path = descent.descend(descent.SLOPE, x.detach().numpy().copy(), 0.02, beta, limit=30)
    optimizer = torch.optim.SGD([x], lr=0.02, momentum=beta)
    for point in path[:-1]:
        np.testing.assert_allclose(x.detach().numpy(), point, atol=1e-12)
        optimizer.zero_grad()
        (x**4 - 2 * x**2 + 0.3 * x).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def test_a_step_on_the_parabola_multiplies_by_1_minus_twice_the_rate() -> None:
    path = descent.descend(descent.TWICE, 1.0, 0.3, limit=5)
    np.testing.assert_allclose(path, (1 - 2 * 0.3) ** np.arange(6), atol=1e-15)


def test_wiggling_and_doubling_stop_where_the_error_is_small() -> None:
    assert descent.double_steps(0.05, 0.01) == 0
    assert descent.double_steps(1.0, 0.5) == 1
    assert descent.double_steps(1.0, 2.0) == 3  # −3 and −1 are not better, 0 is
    few, many = (descent.wiggle(weights, np.random.default_rng(0)) for weights in (1, 20))
    assert 10 < few < many
