"""Likelihood: the densities are torch's, the most likely line is that of least squares, and other noise fails."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import Laplace, Normal

from mnist_trainer.lab import likelihood
from mnist_trainer.lab.experiment import Experiment
from mnist_trainer.lab.run import run_experiment

STATEMENTS = [
    "Gaussian: NLL = SSE / 2σ² + N ln(σ√2π) for 41 lines",
    "Gaussian: the most likely line is that of least squares",
    "Gaussian: the most likely σ is √(SSE / N)",
    "categorical: NLL / N is the trainer's cross_entropy",
    "the product of 1,000 probabilities is 0 in float64",
    "the sum of their logarithms is not",
]


@pytest.fixture
def mnist(mnist_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNIST_TRAINER_DATA", str(mnist_root))


def failed(experiment: Experiment) -> list[str]:
    return [statement.statement for statement in experiment.statements if not statement.held]


@pytest.mark.slow
@pytest.mark.usefixtures("mnist")
@pytest.mark.parametrize("outlier", [0.0, 8.0])
def test_all_statements_hold(outlier: float) -> None:
    experiment = run_experiment("likelihood", quick=True, outlier=outlier)
    assert [statement.statement for statement in experiment.statements] == STATEMENTS
    assert experiment.held, str(experiment)


@pytest.mark.slow
@pytest.mark.usefixtures("mnist")
def test_other_noise_fails() -> None:
    assert failed(run_experiment("likelihood", noise="laplace")) == STATEMENTS[:3]


@pytest.mark.slow
@pytest.mark.usefixtures("mnist")
def test_another_loss_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    given = likelihood.mnist("train", 1000)
    monkeypatch.setattr(likelihood.Criterion, "mean_loss", lambda self, outputs, labels: float(outputs.square().mean()))
    monkeypatch.setattr(likelihood, "mnist", lambda *_: given)
    assert failed(run_experiment("likelihood")) == [STATEMENTS[3]]


@pytest.mark.parametrize(("noise", "distribution"), [("gauss", Normal), ("laplace", Laplace)])
def test_the_densities_are_those_of_torch(noise: str, distribution: type[Normal] | type[Laplace]) -> None:
    errors = torch.linspace(-3, 3, 7, dtype=torch.float64)
    ours = likelihood.density(errors, torch.tensor(0.7, dtype=torch.float64), noise)
    assert torch.allclose(ours, distribution(0.0, 0.7).log_prob(errors).exp(), atol=1e-8)


def test_the_most_likely_line_has_the_normal_equations() -> None:
    x, y = likelihood.points(3.0)
    w0, w1, sigma = likelihood.most_likely(x, y, "gauss").tolist()
    assert (w1, w0) == pytest.approx(np.polyfit(x, y, 1), abs=1e-7)
    assert sigma == pytest.approx(np.std(y.numpy() - w0 - w1 * x.numpy()), abs=1e-7)


def test_laplace_is_the_least_absolute_error() -> None:
    x, y = likelihood.points(8.0)
    w0, w1, _ = likelihood.most_likely(x, y, "laplace").tolist()
    best = (y - w0 - w1 * x).abs().sum()
    for d0, d1 in ((0.05, 0), (-0.05, 0), (0, 0.05), (0, -0.05)):
        assert (y - w0 - d0 - (w1 + d1) * x).abs().sum() > best
