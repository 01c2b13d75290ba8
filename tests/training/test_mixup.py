"""Mixup against the formula written out, and its draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mnist_trainer.config.schema import ClassLoss, Penalty
from mnist_trainer.training.losses import Criterion, MixedLabels, main_labels, mixup

IMAGES = torch.randint(0, 256, (40, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(40) % 10


def test_each_image_is_the_mean_of_itself_and_of_the_one_whose_label_it_gets() -> None:
    images, labels = mixup(IMAGES, torch.arange(40), alpha=0.7, seed=0, epoch=1, batch=2)
    assert torch.equal(labels.labels_a, torch.arange(40))
    assert sorted(labels.labels_b.tolist()) == list(range(40))
    wanted = labels.lam * IMAGES.double() + (1 - labels.lam) * IMAGES[labels.labels_b].double()
    torch.testing.assert_close(images.double(), wanted, atol=1e-4, rtol=0)


def test_shares_come_from_the_beta_distribution_and_from_the_address_alone() -> None:
    lams = [mixup(IMAGES[:2], LABELS[:2], 0.3, 0, 0, batch)[1].lam for batch in range(3000)]
    assert np.mean(lams) == pytest.approx(0.5, abs=0.03)
    assert np.var(lams) == pytest.approx(0.25 / (2 * 0.3 + 1), rel=0.05)
    again, labels = mixup(IMAGES, LABELS, 0.3, 0, 0, 17)
    torch.rand(3)
    np.random.random()
    once_more, same = mixup(IMAGES, LABELS, 0.3, 0, 0, 17)
    assert torch.equal(again, once_more)
    assert same.lam == labels.lam == lams[17]
    assert mixup(IMAGES, LABELS, 0.3, 1, 0, 17)[1].lam != labels.lam


def test_the_loss_is_that_against_the_mixed_targets() -> None:
    """Cross-entropy is linear in its targets, so the mean of two losses is the loss of the mean target."""
    criterion = Criterion(ClassLoss(name="cross_entropy"), "logits", 10)
    outputs = torch.randn(40, 10, generator=torch.Generator().manual_seed(2))
    labels = MixedLabels(LABELS, LABELS.flip(0), 0.8)
    targets = 0.8 * F.one_hot(LABELS, 10) + 0.2 * F.one_hot(LABELS.flip(0), 10)
    torch.testing.assert_close(criterion(outputs, labels), F.cross_entropy(outputs, targets))
    assert torch.equal(criterion(outputs, LABELS), F.cross_entropy(outputs, LABELS))


def test_the_terms_of_a_loss_are_mixed_too() -> None:
    loss = ClassLoss(name="cross_entropy", penalties=(Penalty(true=1, predicted=7),))
    criterion = Criterion(loss, "logits", 10)
    outputs = torch.randn(40, 10, generator=torch.Generator().manual_seed(2))
    total = criterion(outputs, MixedLabels(LABELS, LABELS.flip(0), 0.8))
    assert set(criterion.terms) == {"cross_entropy", "penalties"}
    torch.testing.assert_close(sum(criterion.terms.values()), total)


def test_the_main_label_is_that_of_the_larger_part() -> None:
    labels_a, labels_b = torch.tensor([1, 2]), torch.tensor([3, 4])
    assert torch.equal(main_labels(MixedLabels(labels_a, labels_b, 0.9)), labels_a)
    assert torch.equal(main_labels(MixedLabels(labels_a, labels_b, 0.1)), labels_b)
    assert torch.equal(main_labels(labels_a), labels_a)
