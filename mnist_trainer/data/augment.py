"""`data.augment`: each training image deformed by its own draw, anew each epoch, a batch at a time, on its device."""

from __future__ import annotations

from math import radians

import torch
from torch import Tensor

from mnist_trainer.config.schema import Augment
from mnist_trainer.data.geometry import SIDE, inverse_affine, smooth_displacement, thicken, warp
from mnist_trainer.seeds import seed_for

DRAWS = 8
"""Numbers drawn for an image: rotation, shear, scale × 2, shift × 2, thickness, and whether it is deformed at all."""


def augmented(images: Tensor, labels: Tensor, augment: Augment, seed: int, epoch: int, batch: int) -> Tensor:
    """`images` (uint8 [B, 28, 28]) deformed as `augment` says; the same seed, epoch and batch give the same draws.

    `labels` [B] tell which images have their angles halved: `halve_for` is of labels (`config.classes.with_labels`).
    """
    device = images.device
    generator = torch.Generator(device).manual_seed(seed_for(seed, "augment", epoch, batch))
    draws = torch.rand(DRAWS, len(images), generator=generator, device=device) * 2 - 1  # from −1 to 1
    kept = (draws[7] < 2 * augment.probability - 1).float()
    if augment.thickness:
        images = thicken(images, draws[6] * augment.thickness * kept)
    if not augment.moves:
        return images
    angles = kept if not augment.halve_for else kept * _halved(labels, tuple(map(int, augment.halve_for)))
    matrix = inverse_affine(
        rotation=draws[0] * angles * radians(augment.rotate),
        shear=draws[1] * angles * radians(augment.shear),
        scale=1 + (draws[2:4] * kept * augment.scale).T,
        shift=(draws[4:6] * kept * augment.shift).T,
    )
    displacement = None
    if augment.elastic is not None:
        alpha = augment.elastic.alpha * kept[:, None, None, None]
        displacement = smooth_displacement(_noise(len(images), generator), alpha, augment.elastic.sigma)
    return warp(images, matrix, displacement)


def _halved(labels: Tensor, classes: tuple[int, ...]) -> Tensor:
    """A half for each label [B] among `classes`, else 1."""
    among = torch.stack([labels == halved for halved in classes])  # a tensor of classes would be waited for on a GPU
    return torch.where(among.any(dim=0), 0.5, 1.0)


def _noise(count: int, generator: torch.Generator) -> Tensor:
    """Evenly distributed noise between −1 and 1, float32 [count, 28, 28, 2], in 256 steps.

    A drawn integer of 64 bits gives eight of them: drawing would cost more than all the rest otherwise.
    """
    integers = torch.empty(count * SIDE * SIDE * 2 // 8, dtype=torch.int64, device=generator.device)
    steps = integers.random_(-(2**63), None, generator=generator).view(torch.int8)
    return steps.view(count, SIDE, SIDE, 2).float().add_(0.5).div_(128)
