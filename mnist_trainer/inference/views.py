"""`--views`: several slightly deformed copies of each image, whose answers are averaged.

How far they go was chosen on MNIST's 5,000 validation images among 2, 4, 6 and 8 degrees with the other strengths in
proportion: the least did best. They are for models trained with such deformations, and gain little even
there. Errors, and the loss −ln at the temperature best for each, for 1, 5 and 9 views at these strengths:

| model                                                                      | 1          | 5          | 9          |
|----------------------------------------------------------------------------|------------|------------|------------|
| `cnn`, 6 epochs, augment {rotate: 10, shear: 10, scale: 0.1, shift: 1.5}   | 36, 0.0265 | 36, 0.0264 | 36, 0.0265 |
| `cnn` as shipped                                                           | 40, 0.0311 | 42, 0.0323 | 44, 0.0332 |
"""

from __future__ import annotations

from collections.abc import Callable
from math import radians

import torch
from torch import Tensor

from mnist_trainer.data.augment import inverse_affine, warp
from mnist_trainer.errors import UsageError
from mnist_trainer.seeds import seed_for

View = Callable[[Tensor], Tensor]
"""uint8 images [B, 28, 28] to deformed ones."""

ROTATE, SHEAR, SCALE, SHIFT = 2.0, 2.0, 0.02, 0.25
"""How far views go at most: degrees, degrees, a fraction, pixels."""


def make_views(count: int) -> list[View]:
    """The first `count` views of one fixed series: the image itself, then pairs of opposite deformations.

    So an odd number is balanced, turned and moved as far one way as the other. Raises `UsageError` for a count below 1.
    """
    if not isinstance(count, int) or count < 1:
        raise UsageError(f"views must be 1 or more, got {count!r}. 1 is the plain answer, without deformed copies.")
    return [_identity, *map(_deformed, _draws(count - 1))]


def _draws(count: int) -> Tensor:
    """How far each view goes [count, 6], from -1 to 1: rotation, shear, scale and shift, both across and down."""
    generator = torch.Generator().manual_seed(seed_for(0, "views"))
    draws = torch.rand(-(-count // 2), 6, generator=generator) * 2 - 1
    return torch.stack((draws, -draws), dim=1).reshape(-1, 6)[:count]


def _deformed(draw: Tensor) -> View:
    rotation, shear = draw[:1] * radians(ROTATE), draw[1:2] * radians(SHEAR)
    matrix = inverse_affine(rotation, shear, 1 + draw[None, 2:4] * SCALE, draw[None, 4:] * SHIFT)
    return lambda images: warp(images, matrix.to(images.device))


def _identity(images: Tensor) -> Tensor:
    return images
