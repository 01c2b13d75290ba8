"""Augment training images (`data.augment`), differently in each epoch, in batches on their device.

All geometric operations on an image are combined into a single interpolation.
"""

from __future__ import annotations

from functools import lru_cache
from math import radians

import torch
from torch import Tensor
from torch.nn import functional as F

from mnist_trainer.config.schema import Augment
from mnist_trainer.seeds import seed_for

SIDE = 28
CENTRE = (SIDE - 1) / 2
"""The centre as a 0-based index. Positions are in pixels relative to it, x to the right and y down."""

TRUNCATE = 4
"""Radius of Gaussian kernels in standard deviations, as in scipy."""


def warp(images: Tensor, matrix: Tensor, displacement: Tensor | None = None) -> Tensor:
    """Return warped images, uint8 [B, 28, 28], with bilinear interpolation; pixels outside are black.

    `matrix` [B or 1, 2, 3] maps a position (x, y, 1) in the result to one in `images` (uint8 [B, 28, 28]);
    `displacement` [B, 28, 28, 2] is added to it, in pixels. The identity returns bit-identical images.
    """
    x = torch.arange(SIDE, device=images.device).sub(CENTRE)[:, None]  # [28, 1]
    y = x[:, None]  # [28, 1, 1]
    across, down, constant = (matrix[:, None, None, :, column] for column in range(3))
    positions = x * across + (y * down + constant)
    if displacement is not None:
        positions = positions + displacement
    # Without align_corners, grid_sample's coordinates range from −1 to 1 across the image: 1 is 14 pixels.
    grid = positions.mul_(2 / SIDE).expand(len(images), SIDE, SIDE, 2)
    moved = F.grid_sample(images.float().unsqueeze(1), grid, align_corners=False)
    return moved.squeeze(1).round_().to(torch.uint8)


def inverse_affine(rotation: Tensor, shear: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return the matrices [B, 2, 3] with which `warp` scales, slants, rotates about the centre, and shifts images.

    `rotation` [B] and `shear` [B] in radians (a positive angle rotates counterclockwise, and slants the upper part
    to the right), `scale` [B, 2] and `shift` [B, 2] (pixels) for x and y. Inverse of shift · rotation · shear · scale.
    """
    cosine, sine, slant = rotation.cos(), rotation.sin(), shear.tan()
    # y points down: the rotation's inverse is [[c, −s], [s, c]], the shear's [[1, tan], [0, 1]]
    rows = torch.stack((cosine + slant * sine, slant * cosine - sine, sine, cosine), dim=1)
    linear = rows.reshape(-1, 2, 2) / scale[:, :, None]
    return torch.cat((linear, -linear @ shift[:, :, None]), dim=2)


def smooth_displacement(noise: Tensor, alpha: float | Tensor, sigma: float) -> Tensor:
    """Return displacements in pixels: `noise` [B, 28, 28, 2] smoothed by a Gaussian of `sigma` pixels, × `alpha`.

    The elastic deformation of Simard et al. 2003 ("Best practices for convolutional neural networks applied to visual
    document analysis"). Outside of the picture the noise is 0.
    """
    kernel, of_pairs = _smoothing(sigma, noise.device)
    along_rows = noise.reshape(-1, 2 * SIDE) @ of_pairs
    both = torch.matmul(kernel, along_rows.reshape(-1, SIDE, 2 * SIDE))
    return both.reshape(noise.shape) * alpha


def blur(images: Tensor, sigma: float) -> Tensor:
    """Return float `images` [B, 28, 28] smoothed by a Gaussian of `sigma` pixels; outside of the picture they are 0."""
    kernel, _ = _smoothing(sigma, images.device)
    return kernel @ images @ kernel


@lru_cache(maxsize=8)
def _smoothing(sigma: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the symmetric matrix [28, 28] that smooths a row, with Gaussian weights, and one for interleaved values.

    The second [56, 56] smooths x and y, which alternate in a row: one large matrix product instead of B small ones.
    """
    reach = int(TRUNCATE * sigma + 0.5)
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float64)
    weights = torch.exp(-(offsets**2) / (2 * sigma**2))
    weights /= weights.sum()
    distance = (torch.arange(SIDE)[:, None] - torch.arange(SIDE)).abs()
    inside = torch.where(distance <= reach, weights[(distance.clamp(max=reach) + reach)], 0.0)
    kernel = inside.float()
    return kernel.to(device), torch.kron(kernel, torch.eye(2)).to(device)


def thicken(images: Tensor, amount: Tensor) -> Tensor:
    """Return `images` [B, 28, 28] with strokes thicker by `amount` [B] pixels on each side (−1 to 1; below 0 thinner).

    Between 0 and ±1 the result is interpolated between the image and its 3×3 grey dilation or erosion.
    """
    share = amount.abs()[:, None, None]
    grown, shrunk = _dilate(images), 255 - _dilate(255 - images, outside=255)
    target = torch.where((amount > 0)[:, None, None], grown, shrunk).float()
    return torch.lerp(images.float(), target, share).round_().to(torch.uint8)


def _dilate(images: Tensor, outside: int = 0) -> Tensor:
    """Return the maximum of each pixel and its eight neighbours; pixels beyond the border are `outside`."""
    padded = F.pad(images, (1, 1, 1, 1), value=outside)
    rows = torch.maximum(torch.maximum(padded[:, :, :-2], padded[:, :, 1:-1]), padded[:, :, 2:])
    return torch.maximum(torch.maximum(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])


DRAWS = 8
"""Random numbers per image: rotation, shear, scale × 2, shift × 2, thickness, and whether it is augmented at all."""


def augmented(images: Tensor, labels: Tensor, augment: Augment, seed: int, epoch: int, batch: int) -> Tensor:
    """Return augmented `images` (uint8 [B, 28, 28]). Seed, epoch and batch determine the random numbers.

    Angles are halved for images whose `labels` [B] are in `augment.halve_for` (see `config.classes.with_labels`).
    """
    device = images.device
    generator = torch.Generator(device).manual_seed(seed_for(seed, "augment", epoch, batch))
    draws = torch.rand(DRAWS, len(images), generator=generator, device=device) * 2 - 1  # from −1 to 1
    kept = (draws[7] < 2 * augment.probability - 1).float()
    if augment.thickness:
        images = thicken(images, draws[6] * augment.thickness * kept)
    if not augment.moves:
        return images
    angles = kept if not augment.halve_for else kept * _angle_factors(labels, tuple(map(int, augment.halve_for)))
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


def _angle_factors(labels: Tensor, classes: tuple[int, ...]) -> Tensor:
    """Return 0.5 for each label [B] among `classes`, else 1."""
    among = torch.stack([labels == halved for halved in classes])  # a tensor of classes would synchronize a GPU
    return torch.where(among.any(dim=0), 0.5, 1.0)


def _noise(count: int, generator: torch.Generator) -> Tensor:
    """Return uniform noise between −1 and 1, float32 [count, 28, 28, 2], in 256 steps.

    Each random 64-bit integer gives eight values, because drawing would otherwise dominate the time.
    """
    integers = torch.empty(count * SIDE * SIDE * 2 // 8, dtype=torch.int64, device=generator.device)
    steps = integers.random_(-(2**63), None, generator=generator).view(torch.int8)
    return steps.view(count, SIDE, SIDE, 2).float().add_(0.5).div_(128)
