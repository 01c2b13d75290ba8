"""The exercises of notes 001: by hand, and as one matrix product."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mnist_trainer.lab import exercises
from mnist_trainer.lab.run import run_experiment

STATEMENTS = [
    "a to d, by hand: max(0, Σ wᵢxᵢ) = 1, 9, 0.5, 0",
    "e, by hand: tanh 0.7616, 1, 0.4621, 0",
    "e: tanh 9 = 1 - 3e-8",
    "f, by hand: sigmoid 0.7311, 0.99988, 0.6225, 0.5",
    "g: the diagonal of X·Wᵀ is a to d",
    "g: X·Wᵀ as a whole is every neuron's answer to every input",
    "e in one operation: the diagonal of tanh(X·Wᵀ)",
    "f in one operation: the diagonal of σ(X·Wᵀ)",
    "σ(z) = (1 + tanh(z / 2)) / 2",
    "h: NumPy, [1, 2, 3] @ [4, 5, 6] = 32",
    "h: NumPy, [[4, 5, 6], [7, 8, 9]] @ [1, 2, 3] = (32, 50)",
]


def test_all_statements_hold() -> None:
    experiment = run_experiment("exercises", quick=True)
    assert [statement.statement for statement in experiment.statements] == STATEMENTS
    assert experiment.held, str(experiment)


@pytest.mark.parametrize("z", [-3.0, 0.0, 0.5, 1.0, 9.0])
def test_activations_by_hand_are_those_of_other_libraries(z: float) -> None:
    assert exercises.tanh(z) == pytest.approx(math.tanh(z), abs=1e-15)
    assert exercises.sigmoid(z, 1.0) == pytest.approx(0.5 + math.tanh(z / 2) / 2)


def test_a_weighted_sum_is_a_dot_product() -> None:
    assert exercises.weighted_sum(exercises.W[1], exercises.X[1]) == np.dot(exercises.W[1], exercises.X[1])


def failed(**parameters: float) -> list[str]:
    return [s.statement for s in run_experiment("exercises", **parameters).statements if not s.held]


def test_another_slope_fails() -> None:
    assert failed(slope=2.0) == [STATEMENTS[3], STATEMENTS[7], STATEMENTS[8]]


def test_a_wrong_tanh_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exercises, "tanh", lambda z: z / (1 + abs(z)))
    assert failed() == STATEMENTS[1:3]


def test_weights_of_another_neuron_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exercises, "W", exercises.W[::-1].copy())
    assert {STATEMENTS[0], STATEMENTS[4], STATEMENTS[6], STATEMENTS[7]} <= set(failed())
