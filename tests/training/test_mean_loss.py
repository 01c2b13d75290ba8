"""Figures of many batches, and what they leave out: `mnist_trainer/training/losses.py`."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from pydantic import TypeAdapter

from mnist_trainer.config.layers import OutputKind
from mnist_trainer.config.schema import AnyLoss, Loss, Reduction
from mnist_trainer.training.losses import Criterion, CustomCriterion

REDUCTIONS: tuple[str, ...] = get_args(Reduction)
WEIGHTS = [0.5, 2.0, 1.0, 4.0]
LABELS = torch.tensor([2, 0, 3, 3, 1, 0])
CONFUSIONS = [{"true": 3, "predicted": 1, "weight": 0.5}]
RAW = torch.randn(6, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def criterion(kind: OutputKind, pictures: Any = None, **spec: Any) -> Criterion:
    adapter: TypeAdapter[AnyLoss] = TypeAdapter(Loss)
    return Criterion(adapter.validate_python(spec), kind, 4, pictures)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("cross_entropy", "logits"), ("nll", "log_probabilities"), ("bce", "sigmoid"), ("mse", "values")],
)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_figures_are_without_smoothing_and_penalties(name: str, kind: OutputKind, reduction: str) -> None:
    outputs = {"log_probabilities": torch.log_softmax(RAW, dim=1), "sigmoid": torch.sigmoid(RAW)}.get(kind, RAW)
    smoothing = {} if name == "mse" else {"label_smoothing": 0.3}
    common: dict[str, Any] = {"name": name, "class_weights": WEIGHTS}
    extra: dict[str, Any] = {"penalties": CONFUSIONS, "smooth_weights": 1.0, "pictures": lambda: torch.rand(2, 3, 3)}
    ours = criterion(kind, reduction=reduction, **common, **smoothing, **extra)
    divided = "per_example" if reduction == "sum" else reduction  # sums are told for one image, so that they compare
    plain = criterion(kind, reduction=divided, **common).double()
    assert ours.mean_loss(outputs, LABELS) == pytest.approx(plain(outputs, LABELS).item(), rel=1e-12)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("name", ["cross_entropy", "mse"])
def test_totals_over_batches_give_the_same_figure_whatever_their_size(
    name: str, reduction: str, weights: list[float] | None
) -> None:
    ours = criterion("logits", name=name, reduction=reduction, class_weights=weights).double()
    for size in (1, 2, 4, 6):
        total = divisor = torch.zeros((), dtype=torch.float64)
        for outputs, labels in zip(RAW.split(size), LABELS.split(size), strict=True):
            factor, part = ours.batch_weight(labels)
            total = total + ours(outputs, labels) * factor
            divisor = divisor + part
        assert (total / divisor).item() == pytest.approx(ours.mean_loss(RAW, LABELS), rel=1e-12)


def test_a_figure_leaves_the_criterion_as_it_is() -> None:
    ours = criterion("logits", name="cross_entropy", class_weights=WEIGHTS, penalties=CONFUSIONS)
    before = [(name, value.dtype) for name, value in ours.named_buffers()]
    ours.mean_loss(RAW.float(), LABELS)
    assert [(name, value.dtype) for name, value in ours.named_buffers()] == before
    assert ours.terms == {}


def test_a_users_own_loss_counts_each_image_once() -> None:
    own = CustomCriterion(lambda outputs, labels: outputs.sum() / len(labels))
    outputs, labels = torch.ones(6, 4, requires_grad=True), torch.tensor([2, 0, 3, 3, 1, 0])
    assert own(outputs, labels).item() == own.mean_loss(outputs, labels) == 4.0
    assert own.batch_weight(labels) == (6.0, 6.0)
    assert own.terms == {} and not own.is_sum
