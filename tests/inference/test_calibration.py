"""Temperature scaling and reliability: `mnist_trainer/inference/metrics.py`."""

from __future__ import annotations

import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn import functional as F

from mnist_trainer.errors import DataError
from mnist_trainer.inference.metrics import (
    BINS,
    TEMPERATURES,
    calibration_error,
    fit_refusal_threshold,
    fit_temperature,
    reliability,
)


def answers(scale: float, count: int = 500) -> tuple[Tensor, Tensor]:
    """Log-probabilities that are too sure by the factor `scale`, and labels drawn from the true ones."""
    generator = torch.Generator().manual_seed(4)
    logits = 2 * torch.randn(count, 10, generator=generator, dtype=torch.float64)
    labels = torch.multinomial(torch.softmax(logits, dim=1), 1, generator=generator)[:, 0]
    return torch.log_softmax(logits * scale, dim=1), labels


@pytest.mark.parametrize("scale", [0.2, 1.0, 7.0])
def test_the_temperature_is_the_one_that_scipy_finds(scale: float) -> None:
    logarithms, labels = answers(scale)

    def loss(temperature: float) -> float:
        return float(F.cross_entropy(logarithms / temperature, labels))

    found = fit_temperature(logarithms, labels)
    reference = minimize_scalar(loss, bounds=TEMPERATURES, method="bounded", options={"xatol": 1e-9})
    assert found == pytest.approx(reference.x, rel=1e-3)
    assert loss(found) <= reference.fun + 1e-12
    assert found == pytest.approx(scale, rel=0.1)


def test_where_all_are_right_no_temperature_can_be_found() -> None:
    logarithms, _ = answers(1.0, 30)
    with pytest.raises(DataError, match="All 30 validation images are classified correctly, so the best"):
        fit_temperature(logarithms, logarithms.argmax(dim=1))


def test_a_best_temperature_beyond_the_bounds_is_told() -> None:
    logarithms, labels = answers(1.0, 30)
    for logits, wanted in ((logarithms, logarithms.argmin(dim=1)), (logarithms * TEMPERATURES[0] / 10, labels)):
        with pytest.raises(DataError, match=r"for these 30 validation images is not between 0\.001 and 10,000: "):
            fit_temperature(logits, wanted)


def test_the_bins_hold_every_answer_once_and_add_up_to_the_calibration_error() -> None:
    generator = torch.Generator().manual_seed(0)
    confidence = torch.rand(400, generator=generator, dtype=torch.float64) ** 0.3
    correct = torch.rand(400, generator=generator) < 0.7
    bins = reliability(confidence, correct)
    held = [entry for entry in bins if entry is not None]
    assert len(bins) == BINS > len(held)
    assert sum(entry.count for entry in held) == 400
    gap = sum(entry.count * abs(entry.accuracy - entry.confidence) for entry in held) / 400
    assert gap == pytest.approx(calibration_error(confidence, correct), abs=1e-12)
    for place, entry in enumerate(bins):
        if entry is not None:
            assert place / BINS < entry.confidence <= (place + 1) / BINS


@pytest.mark.parametrize(
    ("none", "threshold"),
    [
        ([0.1] * 297 + [0.5, 0.7, 0.8, 0.9], 0.5001),  # 3 of 301 may be refused, and 0.5 would be a fourth
        ([0.01] * 1000, 0.3),
        ([0.999] * 1000, 0.99),
    ],
)
def test_the_refusal_threshold_refuses_one_percent(none: list[float], threshold: float) -> None:
    assert fit_refusal_threshold(torch.tensor(none)) == threshold
