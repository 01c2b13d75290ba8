"""Losses against plain Python and torch's own functions: `mnist_trainer/training/losses.py`."""

from __future__ import annotations

from math import exp, log
from typing import Any, get_args

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_trainer.config.layers import OutputKind
from mnist_trainer.config.schema import AnyLoss, Loss, Reduction
from mnist_trainer.training.losses import Criterion, total_variation

Rows = list[list[float]]

REDUCTIONS: tuple[str, ...] = get_args(Reduction)
WEIGHTS = [0.5, 2.0, 1.0, 4.0]
LABELS = [2, 0, 3, 3, 1, 0]
CASES: list[tuple[str, OutputKind]] = [
    ("cross_entropy", "logits"),
    ("cross_entropy", "probabilities"),
    ("cross_entropy", "sigmoid"),
    ("nll", "log_probabilities"),
    ("bce", "logits"),
    ("bce", "sigmoid"),
    ("bce", "probabilities"),
    ("mse", "values"),
    ("mse", "sigmoid"),
    ("mse", "probabilities"),
    ("absolute", "values"),
]
PLAIN_CASES = [(name, kind, 0.0) for name, kind in CASES]
SMOOTHED_CASES = [(name, kind, 0.2) for name, kind in CASES if name not in ("mse", "absolute")]


def read(**spec: Any) -> AnyLoss:
    adapter: TypeAdapter[AnyLoss] = TypeAdapter(Loss)
    return adapter.validate_python(spec)


def criterion(kind: OutputKind, classes: int = 4, weight_images: Any = None, **spec: Any) -> Criterion:
    return Criterion(read(**spec), kind, classes, weight_images).double()


def outputs_of(kind: OutputKind, columns: int = 4) -> Tensor:
    raw = torch.randn(len(LABELS), columns, generator=torch.Generator().manual_seed(5), dtype=torch.float64) * 2
    match kind:
        case "sigmoid":
            return torch.sigmoid(raw)
        case "probabilities":
            return torch.softmax(raw, dim=1)
        case "log_probabilities":
            return torch.log_softmax(raw, dim=1)
        case _:
            return raw


# The formulas, in plain Python.


def class_losses(outputs: Rows, labels: list[int], is_nll: bool, smoothing: float, weights: list[float]) -> list[float]:
    """Σ over classes of −target·w·ln p, where the target is 1 − s + s/K for the right class and s/K for the others."""
    losses = []
    for row, label in zip(outputs, labels, strict=True):
        whole = log(sum(map(exp, row)))
        logs = row if is_nll else [value - whole for value in row]
        targets = [(1 - smoothing) * (index == label) + smoothing / len(row) for index in range(len(row))]
        losses.append(-sum(t * w * p for t, w, p in zip(targets, weights, logs, strict=True)))
    return losses


def output_losses(name: str, kind: str, outputs: Rows, labels: list[int], smoothing: float) -> list[float]:
    """Σ over outputs of the distance to 0/1 targets."""
    losses = []
    for row, label in zip(outputs, labels, strict=True):
        hot = [float(label)] if len(row) == 1 else [float(index == label) for index in range(len(row))]
        spread = 2 if len(row) == 1 else len(row)
        targets = [(1 - smoothing) * t + smoothing / spread for t in hot]
        losses.append(sum(_distance(name, kind, y, t) for y, t in zip(row, targets, strict=True)))
    return losses


def _distance(name: str, kind: str, output: float, target: float) -> float:
    if name == "bce":
        share = 1 / (1 + exp(-output)) if kind == "logits" else output
        return -target * log(share) - (1 - target) * log(1 - share)
    return (output - target) ** 2 if name == "mse" else abs(output - target)


def formula(
    name: str,
    kind: str,
    reduction: str,
    outputs: Rows,
    labels: list[int],
    smoothing: float,
    weights: list[float] | None,
) -> float:
    of_label = [1.0 if weights is None else weights[label] for label in labels]
    if name in ("cross_entropy", "nll"):
        losses = class_losses(outputs, labels, name == "nll", smoothing, weights or [1.0] * len(outputs[0]))
        width = 1
    else:
        plain = output_losses(name, kind, outputs, labels, smoothing)
        losses = [w * loss for w, loss in zip(of_label, plain, strict=True)]
        width = len(outputs[0])
    divisor = {"sum": 1.0, "per_example": len(labels), "mean": sum(of_label) * width}[reduction]
    return sum(losses) / divisor


@pytest.mark.parametrize(("name", "kind", "smoothing"), [*PLAIN_CASES, *SMOOTHED_CASES])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_every_loss_is_its_formula(
    name: str, kind: OutputKind, reduction: str, weights: list[float] | None, smoothing: float
) -> None:
    extra = {"label_smoothing": smoothing} if smoothing else {}
    outputs = outputs_of(kind)
    ours = criterion(kind, name=name, reduction=reduction, class_weights=weights, **extra)
    expected = formula(name, kind, reduction, outputs.tolist(), LABELS, smoothing, weights)
    loss = ours(outputs.requires_grad_(), torch.tensor(LABELS))
    assert loss.item() == pytest.approx(expected, rel=1e-9)
    loss.backward()
    assert outputs.grad is not None and outputs.grad.any()


@pytest.mark.parametrize(
    ("name", "kind"), [("bce", "logits"), ("bce", "sigmoid"), ("mse", "values"), ("absolute", "sigmoid")]
)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weights", [None, [1.0, 4.0]])
def test_a_single_output_is_compared_with_the_label_itself(
    name: str, kind: OutputKind, reduction: str, weights: list[float] | None
) -> None:
    labels = [1, 0, 1, 1, 0, 0]
    outputs = outputs_of(kind, columns=1)
    ours = criterion(kind, classes=2, name=name, reduction=reduction, class_weights=weights)
    expected = formula(name, kind, reduction, outputs.tolist(), labels, 0.0, weights)
    assert ours(outputs, torch.tensor(labels)).item() == pytest.approx(expected, rel=1e-9)


def test_smoothed_labels_of_a_single_output_are_spread_over_yes_and_no() -> None:
    outputs = outputs_of("sigmoid", columns=1)
    labels = [1, 0, 1, 1, 0, 0]
    ours = criterion("sigmoid", classes=2, name="bce", label_smoothing=0.2)
    assert ours.targets(torch.tensor([1, 0]), outputs[:2], smoothing=0.2).tolist() == [[0.9], [pytest.approx(0.1)]]
    expected = formula("bce", "sigmoid", "mean", outputs.tolist(), labels, 0.2, None)
    assert ours(outputs, torch.tensor(labels)).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_mean_and_sum_are_torchs(reduction: str) -> None:
    labels = torch.tensor(LABELS)
    targets = F.one_hot(labels, 4).double()
    weights = torch.tensor(WEIGHTS, dtype=torch.float64)
    pairs: list[tuple[Criterion, OutputKind, nn.Module, Tensor]] = [
        (
            criterion("logits", name="cross_entropy", reduction=reduction, class_weights=WEIGHTS, label_smoothing=0.1),
            "logits",
            nn.CrossEntropyLoss(weight=weights, reduction=reduction, label_smoothing=0.1),
            labels,
        ),
        (
            criterion("log_probabilities", name="nll", reduction=reduction, class_weights=WEIGHTS),
            "log_probabilities",
            nn.NLLLoss(weight=weights, reduction=reduction),
            labels,
        ),
        (
            criterion("logits", name="bce", reduction=reduction),
            "logits",
            nn.BCEWithLogitsLoss(reduction=reduction),
            targets,
        ),
        (criterion("sigmoid", name="bce", reduction=reduction), "sigmoid", nn.BCELoss(reduction=reduction), targets),
        (criterion("values", name="mse", reduction=reduction), "values", nn.MSELoss(reduction=reduction), targets),
        (criterion("values", name="absolute", reduction=reduction), "values", nn.L1Loss(reduction=reduction), targets),
    ]
    for ours, kind, torchs, against in pairs:
        outputs = outputs_of(kind)
        assert ours(outputs, labels).item() == pytest.approx(torchs(outputs, against).item(), rel=1e-12)


@pytest.mark.parametrize(("name", "kind", "smoothing"), [*PLAIN_CASES, *SMOOTHED_CASES])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_a_class_weight_of_0_is_the_formula_and_a_mean_of_such_images_alone_is_0(
    name: str, kind: OutputKind, reduction: str, smoothing: float
) -> None:
    weights = [0.0, 2.0, 0.0, 4.0]
    extra: dict[str, Any] = {"label_smoothing": smoothing} if smoothing else {}
    ours = criterion(kind, name=name, reduction=reduction, class_weights=weights, penalties=CONFUSIONS, **extra)
    plain = criterion(kind, name=name, reduction=reduction, class_weights=weights, **extra)
    outputs, labels = outputs_of(kind), torch.tensor(LABELS)
    expected = formula(name, kind, reduction, outputs.tolist(), LABELS, smoothing, weights)
    assert plain(outputs, labels).item() == pytest.approx(expected, rel=1e-9)
    empty = outputs[labels % 2 == 0].requires_grad_()
    loss = ours(empty, labels[labels % 2 == 0])
    loss.backward()
    assert empty.grad is not None
    if reduction == "mean" or not smoothing or name == "bce":
        assert loss.item() == 0 and not empty.grad.any()
    assert loss.isfinite() and empty.grad.isfinite().all()
    assert ours.mean_loss(empty.detach(), labels[labels % 2 == 0]) == 0


def test_sse_is_the_sum_of_squared_errors() -> None:
    outputs = outputs_of("values")
    errors = outputs - F.one_hot(torch.tensor(LABELS), 4)
    assert criterion("values", name="sse")(outputs, torch.tensor(LABELS)).item() == pytest.approx(
        (errors**2).sum().item()
    )


# The lecture's own terms.

CONFUSIONS = [{"true": 3, "predicted": 1, "weight": 0.5}, {"true": 0, "predicted": 2, "symmetric": True}]
COSTS = {(3, 1): 0.5, (0, 2): 1.0, (2, 0): 1.0}


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_penalties_add_weight_times_probability(reduction: str, weights: list[float] | None) -> None:
    outputs = outputs_of("logits")
    ours = criterion("logits", name="cross_entropy", reduction=reduction, class_weights=weights, penalties=CONFUSIONS)
    loss = ours(outputs, torch.tensor(LABELS)).item()
    of_label = [1.0 if weights is None else weights[label] for label in LABELS]
    extra = []
    for row, label, weight in zip(outputs.tolist(), LABELS, of_label, strict=True):
        shares = [exp(value) / sum(map(exp, row)) for value in row]
        extra.append(weight * sum(COSTS.get((label, answer), 0.0) * share for answer, share in enumerate(shares)))
    divisor = {"sum": 1, "per_example": len(LABELS), "mean": sum(of_label)}[reduction]
    plain = formula("cross_entropy", "logits", reduction, outputs.tolist(), LABELS, 0.0, weights)
    assert loss == pytest.approx(plain + sum(extra) / divisor, rel=1e-9)
    assert {name: term.item() for name, term in ours.terms.items()} == {
        "cross_entropy": pytest.approx(plain, rel=1e-9),
        "penalties": pytest.approx(sum(extra) / divisor, rel=1e-9),
    }


@pytest.mark.parametrize(("reduction", "times"), [("mean", 1), ("per_example", 1), ("sum", len(LABELS))])
def test_smoothness_adds_the_total_variation_once_an_image_reduced_like_the_loss(reduction: str, times: int) -> None:
    weight_images = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ours = criterion("values", name="mse", reduction=reduction, smooth_weights=0.3, weight_images=lambda: weight_images)
    outputs = outputs_of("values")
    plain = formula("mse", "values", reduction, outputs.tolist(), LABELS, 0.0, None)
    roughness = 0.3 * total_variation(weight_images).item()
    assert ours(outputs, torch.tensor(LABELS)).item() == pytest.approx(plain + times * roughness, rel=1e-9)
    assert list(ours.terms) == ["mse", "smooth_weights"]


def test_a_loss_of_one_term_has_no_parts() -> None:
    ours = criterion("logits", name="cross_entropy")
    ours(outputs_of("logits"), torch.tensor(LABELS))
    assert ours.terms == {}


def test_parts_have_no_gradient() -> None:
    ours = criterion("logits", name="cross_entropy", penalties=CONFUSIONS)
    ours(outputs_of("logits").requires_grad_(), torch.tensor(LABELS))
    assert not any(term.requires_grad for term in ours.terms.values())


NONE_LABELS = torch.tensor([2, 4, 3, 4, 1, 0])


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_none_of_the_classes_is_one_class_more_whose_logit_is_0(reduction: str, smoothing: float) -> None:
    loss = read(name="cross_entropy", reduction=reduction, label_smoothing=smoothing)
    outputs = outputs_of("logits").requires_grad_()
    explicit = torch.cat([outputs, torch.zeros(6, 1, dtype=torch.float64)], dim=1)
    one_hot = F.one_hot(NONE_LABELS, 5).double() * (1 - smoothing) + smoothing / 5
    losses = -(one_hot * torch.softmax(explicit, dim=1).log()).sum(dim=1)
    found = Criterion(loss, "logits", 4, has_rejection=True)(outputs, NONE_LABELS)
    assert found.item() == pytest.approx((losses.sum() if reduction == "sum" else losses.mean()).item())
    (ours,) = torch.autograd.grad(found, outputs, retain_graph=True)
    (theirs,) = torch.autograd.grad(losses.sum() if reduction == "sum" else losses.mean(), outputs)
    assert torch.allclose(ours, theirs)


def test_the_figure_knows_none_of_the_classes_too() -> None:
    criterion = Criterion(read(name="cross_entropy", label_smoothing=0.2), "logits", 4, has_rejection=True)
    outputs, labels = outputs_of("logits"), torch.tensor(LABELS)
    explicit = torch.cat([outputs, torch.zeros(6, 1, dtype=torch.float64)], dim=1)
    assert criterion.mean_loss(outputs, labels) == pytest.approx(F.cross_entropy(explicit, labels).item())
    assert criterion.mean_loss(outputs, labels) > F.cross_entropy(outputs, labels).item()


def test_smooth_weights_go_with_none_of_the_classes() -> None:
    weight_images = torch.rand(3, 5, 5, dtype=torch.float64)
    loss = read(name="cross_entropy", smooth_weights=0.5)
    found = Criterion(loss, "logits", 4, lambda: weight_images, has_rejection=True)(outputs_of("logits"), NONE_LABELS)
    plain = Criterion(read(name="cross_entropy"), "logits", 4, has_rejection=True)(outputs_of("logits"), NONE_LABELS)
    assert float(found - plain) == pytest.approx(0.5 * float(total_variation(weight_images)))
