"""Knowledge distillation against the formula of Hinton et al. 2015, written out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mnist_trainer.config.schema import ClassLoss, Penalty, Teacher
from mnist_trainer.training.losses import Criterion, MixedLabels, TaughtLabels, gradient_shares, main_labels

LABELS = torch.arange(24) % 4
TEACHER = Teacher(checkpoint="bundled", temperature=3.0, weight=0.75)


def draw(seed: int) -> Tensor:
    return 2 * torch.randn(24, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def criterion(teacher: Teacher | None = TEACHER, has_rejection: bool = False, **loss: Any) -> Criterion:
    return Criterion(ClassLoss(name="cross_entropy", **loss), "logits", 4, None, has_rejection, teacher).double()


def written_out(outputs: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T² · Σ p ln(p / q) of each image, as sums of exponentials."""
    ours, theirs = (torch.exp(each / temperature) for each in (outputs, teacher))
    ours, theirs = (each / each.sum(dim=1, keepdim=True) for each in (ours, theirs))
    return temperature**2 * (theirs * (theirs / ours).log()).sum(dim=1)


def test_the_loss_is_the_weighted_sum_of_labels_and_teacher() -> None:
    outputs, teacher = draw(1), draw(2)
    distilled = criterion()
    loss = distilled(outputs, TaughtLabels(LABELS, teacher))
    term = written_out(outputs, teacher, 3.0).mean()
    torch.testing.assert_close(loss, 0.25 * F.cross_entropy(outputs, LABELS) + 0.75 * term)
    assert set(distilled.terms) == {"cross_entropy", "teacher"}
    torch.testing.assert_close(sum(distilled.terms.values()), loss)
    torch.testing.assert_close(distilled.terms["teacher"], 0.75 * term)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 20.0])
def test_the_gradient_of_the_teachers_term_is_that_of_the_paper(temperature: float) -> None:
    """∂/∂z of a cross-entropy with soft targets is (q − p) / T (equation 2), here multiplied by T²."""
    outputs, teacher = draw(1).requires_grad_(), draw(2)
    distilled = criterion(Teacher(checkpoint="bundled", temperature=temperature, weight=1.0))
    distilled(outputs, TaughtLabels(LABELS, teacher)).backward()
    ours, theirs = (torch.softmax(each.detach() / temperature, dim=1) for each in (outputs, teacher))
    torch.testing.assert_close(outputs.grad, temperature * (ours - theirs) / len(LABELS))


def test_images_that_all_have_the_weight_0_teach_nothing() -> None:
    outputs, only_first = draw(1).requires_grad_(), torch.zeros(24, dtype=torch.int64)
    distilled = criterion(class_weights=(0, 1, 1, 1), reduction="mean")
    loss = distilled(outputs, TaughtLabels(only_first, draw(2)))
    loss.backward()
    assert loss == 0 and not outputs.grad.any()  # type: ignore[union-attr]


def test_a_model_that_agrees_with_its_teacher_has_only_the_loss_of_the_labels() -> None:
    outputs = draw(1)
    loss = criterion()(outputs, TaughtLabels(LABELS, outputs + 5))  # logits are free up to a constant
    torch.testing.assert_close(loss, 0.25 * F.cross_entropy(outputs, LABELS))


def test_without_a_teacher_the_labels_count_alone() -> None:
    outputs = draw(1)
    assert criterion()(outputs, LABELS) == criterion(None)(outputs, LABELS) == F.cross_entropy(outputs, LABELS)


def test_none_of_the_classes_is_one_more_logit() -> None:
    outputs, teacher = draw(1), torch.cat([draw(2), torch.zeros(24, 1)], dim=1)
    labels = LABELS.clone()
    labels[:3] = 4
    padded = torch.cat([outputs, torch.zeros(24, 1)], dim=1)
    loss = criterion(has_rejection=True)(outputs, TaughtLabels(labels, teacher))
    term = written_out(padded, teacher, 3.0).mean()
    torch.testing.assert_close(loss, 0.25 * F.cross_entropy(padded, labels) + 0.75 * term)


def test_mixed_images_have_the_teachers_answer_to_the_mixture() -> None:
    outputs, teacher = draw(1), draw(2)
    mixed = MixedLabels(LABELS, LABELS.flip(0), 0.7)
    hard = 0.7 * F.cross_entropy(outputs, LABELS) + 0.3 * F.cross_entropy(outputs, LABELS.flip(0))
    taught = TaughtLabels(mixed, teacher)
    loss = criterion()(outputs, taught)
    torch.testing.assert_close(loss, 0.25 * hard + 0.75 * written_out(outputs, teacher, 3.0).mean())
    assert torch.equal(main_labels(taught), LABELS)


@pytest.mark.parametrize(
    "loss",
    [
        {},
        {"reduction": "sum"},
        {"reduction": "per_example"},
        {"class_weights": (1.0, 2.0, 0.0, 0.5)},
        {"penalties": (Penalty(true=1, predicted=2),), "label_smoothing": 0.1},
    ],
)
def test_gradients_of_micro_batches_add_up_to_that_of_the_batch(loss: dict[str, Any]) -> None:
    distilled, teacher = criterion(**loss), draw(2)
    whole = draw(1).requires_grad_()
    distilled(whole, TaughtLabels(LABELS, teacher)).backward()
    parts = draw(1).requires_grad_()
    cuts = [slice(0, 8), slice(8, 13), slice(13, 24)]
    batches = [(parts[cut], TaughtLabels(LABELS[cut], teacher[cut])) for cut in cuts]
    for (outputs, labels), share in zip(batches, gradient_shares(distilled, batches), strict=True):
        (distilled(outputs, labels) * share).backward()
    torch.testing.assert_close(parts.grad, whole.grad)
