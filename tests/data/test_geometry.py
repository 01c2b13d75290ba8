"""The fast warp against scipy's and torchvision's slow ones, and against itself where nothing may change."""

from __future__ import annotations

from math import pi, radians

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from mnist_trainer.data.augment import inverse_affine, smooth_displacement, thicken, warp


@pytest.fixture
def images() -> Tensor:
    """Twenty smooth random blobs and strokes, uint8 [20, 28, 28]."""
    rng = np.random.default_rng(3)
    noise = ndimage.gaussian_filter(rng.random((20, 28, 28)), sigma=(0, 1.5, 1.5))
    scaled = (noise - noise.min()) / (noise.max() - noise.min())
    return torch.from_numpy((255 * np.clip(2 * scaled - 0.7, 0, 1)).astype(np.uint8))


def affine(
    angle: float = 0, shear: float = 0, scale: tuple[float, float] = (1, 1), shift: tuple[float, float] = (0, 0)
) -> Tensor:
    """`inverse_affine` of one image, angles in degrees."""
    angles = torch.tensor([[radians(angle)], [radians(shear)]], dtype=torch.float32)
    return inverse_affine(angles[0], angles[1], torch.tensor([scale]).float(), torch.tensor([shift]).float())


def by_scipy(image: np.ndarray, matrix: Tensor) -> np.ndarray:
    """The same map by scipy: its axes are (row, column), its origin the corner."""
    swapped = matrix.double().numpy()[::-1][:, [1, 0, 2]]
    linear, constant = swapped[:, :2], swapped[:, 2]
    offset = 13.5 + constant - linear @ np.array([13.5, 13.5])
    return ndimage.affine_transform(image.astype(float), linear, offset, order=1, mode="grid-constant", cval=0)


@pytest.mark.parametrize(
    "matrix",
    [
        affine(angle=15),
        affine(shear=-20),
        affine(scale=(1.2, 0.8)),
        affine(shift=(2.5, -1.25)),
        affine(angle=-30, shear=10, scale=(0.9, 1.1), shift=(-3, 0.5)),
    ],
    ids=["rotation", "shear", "scale", "shift", "all"],
)
def test_warp_is_scipys_affine_transform_to_the_rounding(images: Tensor, matrix: Tensor) -> None:
    warped = warp(images, matrix).numpy().astype(float)
    for ours, image in zip(warped, images.numpy(), strict=True):
        assert np.abs(ours - by_scipy(image, matrix[0])).max() <= 0.51  # ours is rounded


@pytest.mark.parametrize(("angle", "shear", "shift"), [(20, 0, (0, 0)), (0, 15, (0, 0)), (-10, 0, (3, -2))])
def test_warp_is_torchvisions_affine_to_the_rounding(
    images: Tensor, angle: float, shear: float, shift: tuple[int, int]
) -> None:
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import functional

    theirs = functional.affine(
        images.unsqueeze(1).float(),
        angle=-angle,  # torchvision turns clockwise
        translate=list(shift),
        scale=1.0,
        shear=[shear, 0.0],
        interpolation=InterpolationMode.BILINEAR,
    )
    ours = warp(images, affine(angle, shear, shift=shift))
    assert (ours.float() - theirs[:, 0]).abs().max() <= 0.51


def test_a_positive_rotation_turns_against_the_clock() -> None:
    image = torch.zeros(1, 28, 28, dtype=torch.uint8)
    image[0, 14, 24] = 255  # right of the centre, y = 0.5
    rows, columns = torch.nonzero(warp(image, affine(angle=90))[0]).T.tolist()
    assert max(rows) < 6
    assert 12 <= min(columns) <= max(columns) <= 15


def test_a_positive_shear_slants_the_upper_part_to_the_right() -> None:
    image = torch.zeros(1, 28, 28, dtype=torch.uint8)
    image[0, 4:24, 13:15] = 255
    sheared = warp(image, affine(shear=30))[0].float()
    middle = (sheared * torch.arange(28.0)).sum(1) / sheared.sum(1)
    assert middle[5] > 16
    assert middle[22] < 11


def test_a_scale_above_one_makes_the_digit_larger_and_a_shift_moves_it_right_and_down() -> None:
    image = torch.zeros(1, 28, 28, dtype=torch.uint8)
    image[0, 10:18, 10:18] = 255
    grown = warp(image, affine(scale=(1.5, 0.5)))[0]
    assert (grown[14] > 127).sum() == 12
    assert (grown[:, 14] > 127).sum() == 4
    assert torch.equal(warp(image, affine(shift=(3, 5)))[0, 15:23, 13:21], image[0, 10:18, 10:18])


def test_the_identity_changes_no_bit() -> None:
    noise = torch.randint(0, 256, (300, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(warp(noise, affine()), noise)
    assert torch.equal(warp(noise, affine().expand(300, 2, 3), torch.zeros(300, 28, 28, 2)), noise)
    assert torch.equal(thicken(noise, torch.zeros(300)), noise)


def test_displacements_are_scipys_smoothed_noise() -> None:
    noise = torch.rand(5, 28, 28, 2, generator=torch.Generator().manual_seed(1)) * 2 - 1
    for sigma in (0.8, 4.0, 6.0):
        ours = smooth_displacement(noise, 36.0, sigma).numpy()
        theirs = 36 * ndimage.gaussian_filter(noise.numpy(), sigma=(0, sigma, sigma, 0), mode="constant")
        np.testing.assert_allclose(ours, theirs, atol=2e-4)  # pixels


def test_a_displaced_image_is_scipys_to_the_rounding(images: Tensor) -> None:
    noise = torch.rand(20, 28, 28, 2, generator=torch.Generator().manual_seed(2)) * 2 - 1
    moves = smooth_displacement(noise, 36.0, 6.0)
    warped = warp(images, affine(angle=10), moves).numpy().astype(float)
    linear = affine(angle=10)[0, :, :2].numpy()
    x, y = np.meshgrid(np.arange(28) - 13.5, np.arange(28) - 13.5)
    for index, image in enumerate(images.numpy()):
        places = np.einsum("ij,jhw->ihw", linear, np.stack([x, y])) + moves[index].permute(2, 0, 1).numpy()
        theirs = ndimage.map_coordinates(
            image.astype(float), [places[1] + 13.5, places[0] + 13.5], order=1, mode="grid-constant"
        )
        assert np.abs(warped[index] - theirs).max() <= 0.51


@pytest.mark.parametrize("amount", [1.0, 0.4, -0.4, -1.0])
def test_thickness_is_a_mean_of_the_image_and_scipys_dilation_or_erosion(images: Tensor, amount: float) -> None:
    operation = ndimage.grey_dilation if amount > 0 else ndimage.grey_erosion
    ours = thicken(images, torch.full((20,), amount)).numpy().astype(float)
    for index, image in enumerate(images.numpy()):
        target = operation(image, size=(3, 3), mode="constant", cval=0).astype(float)
        theirs = (1 - abs(amount)) * image + abs(amount) * target
        assert np.abs(ours[index] - theirs).max() <= 0.5 + 1e-4


def test_inverse_affine_undoes_shift_rotation_shear_and_scale() -> None:
    matrix = affine(angle=40, shear=25, scale=(1.3, 0.6), shift=(4, -7))[0].double()
    cosine, sine, slant = np.cos(40 * pi / 180), np.sin(40 * pi / 180), np.tan(25 * pi / 180)
    rotation = np.array([[cosine, sine], [-sine, cosine]])  # against the clock where y points down
    forward = rotation @ np.array([[1, -slant], [0, 1]]) @ np.diag([1.3, 0.6])
    point = np.array([3.0, -5.0])
    moved = forward @ point + np.array([4, -7])
    back = matrix.numpy() @ np.array([*moved, 1.0])
    np.testing.assert_allclose(back, point, atol=1e-5)
