"""Mixup: weighted means of two images, with the same mean of their losses (Zhang et al. 2018, arXiv 1710.09412)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mnist_trainer.seeds import seed_for
from mnist_trainer.training.losses import AnyCriterion


@dataclass(frozen=True)
class MixedLabels:
    """Labels of images that are `lam` parts the one and 1 − `lam` parts the other image."""

    labels_a: Tensor
    labels_b: Tensor
    lam: float


Labels = Tensor | MixedLabels
"""int64 [B], or two of them where images are mixed."""


def main_labels(labels: Labels) -> Tensor:
    """One label an image, int64 [B]: of mixed ones that of the larger part. Training figures count with these."""
    if isinstance(labels, Tensor):
        return labels
    return labels.labels_a if labels.lam >= 0.5 else labels.labels_b


def mixup(
    images: Tensor, labels: Tensor, alpha: float, seed: int, epoch: int, batch: int
) -> tuple[Tensor, MixedLabels]:
    """Each image [B, 28, 28] mixed with one of its batch (by chance itself), float32, and both labels of each.

    One share is drawn for the batch, from Beta(alpha, alpha), as in the authors' own code.
    """
    address = seed_for(seed, "mixup", epoch, batch)
    lam = float(np.random.default_rng(address).beta(alpha, alpha))
    generator = torch.Generator(labels.device).manual_seed(address)
    order = torch.randperm(len(labels), generator=generator, device=labels.device)
    mixed = torch.lerp(images[order].float(), images.float(), lam)
    return mixed, MixedLabels(labels, labels[order], lam)


def mixed_loss(criterion: AnyCriterion, outputs: Tensor, labels: Labels) -> Tensor:
    """The scalar that a step minimises, from raw outputs [B, K]: of mixed images the same mean of two losses."""
    if isinstance(labels, Tensor):
        loss: Tensor = criterion(outputs, labels)
        return loss
    loss_b = criterion(outputs, labels.labels_b)
    terms = criterion.terms
    loss_a = criterion(outputs, labels.labels_a)
    criterion.terms = {name: torch.lerp(terms[name], term, labels.lam) for name, term in criterion.terms.items()}
    return torch.lerp(loss_b, loss_a, labels.lam)
