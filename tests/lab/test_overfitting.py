"""The experiment on overfitting: its statements hold, and fail where nothing overfits."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnist_trainer.lab import overfitting
from mnist_trainer.lab.run import run_experiment


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_all_statements_hold(mnist_root: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setenv("MNIST_TRAINER_DATA", str(mnist_root))
    experiment = run_experiment("overfitting", quick=True, seed=seed)
    assert experiment.held, experiment
    assert len(experiment.statements) == 11
    assert experiment.statements[4].statement == "early stopping keeps the epoch of the turn"


@pytest.mark.slow
def test_remedies_that_do_nothing_are_seen(mnist_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNIST_TRAINER_DATA", str(mnist_root))
    monkeypatch.setattr(overfitting, "REMEDIES", dict.fromkeys(overfitting.REMEDIES, "training.early_stopping=null"))
    failed = [
        each.statement for each in run_experiment("overfitting", quick=True, epochs=80).statements if not each.held
    ]
    assert failed == [
        "it rises to a multiple of its minimum",
        "and stops 10 epochs after it",
        "lowest validation loss with dropout, in parts of that without",
        "with batch norm",
        "with deformed images",
        "deformed images: errors, in parts of those without",
    ]
