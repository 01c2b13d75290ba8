"""Deformed images: `mnist_trainer/data/augment.py`."""

from __future__ import annotations

from math import pi, radians
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from mnist_trainer.config.schema import Augment, Elastic
from mnist_trainer.data.augment import augmented, inverse_affine, smooth_displacement, thicken, warp
from mnist_trainer.data.digits import load_digits


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


STRONG: dict[str, Any] = {
    "rotate": 20.0,
    "shear": 15.0,
    "scale": 0.2,
    "shift": 2.0,
    "elastic": Elastic(),
    "thickness": 0.5,
}


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    """300 of the bundled digits, uint8 [300, 28, 28], and their labels."""
    whole = load_digits("train")
    return whole.images[:300], whole.labels[:300]


def square(count: int) -> tuple[Tensor, Tensor]:
    """`count` equal images of a square that is not in the middle, and labels 0, 1, 0, 1, …"""
    images = torch.zeros(count, 28, 28, dtype=torch.uint8)
    images[:, 6:12, 12:16] = 255
    return images, torch.arange(count) % 2


def middle(images: Tensor) -> Tensor:
    """The centre of the ink (x, y) of each image [B, 2]."""
    pixels = images.double()
    total = pixels.sum((1, 2))
    x = (pixels * torch.arange(28.0)).sum((1, 2)) / total
    y = (pixels * torch.arange(28.0)[:, None]).sum((1, 2)) / total
    return torch.stack((x, y), dim=1)


def test_zero_strength_and_zero_probability_change_no_bit(digits: tuple[Tensor, Tensor]) -> None:
    images, labels = digits
    assert torch.equal(augmented(images, labels, Augment(), 0, 0, 0), images)
    through_the_map = Augment(elastic=Elastic(alpha=0.0))
    assert through_the_map.moves
    assert torch.equal(augmented(images, labels, through_the_map, 0, 0, 0), images)
    never = Augment(**STRONG, probability=0.0)
    assert torch.equal(augmented(images, labels, never, 0, 0, 0), images)


def test_the_address_is_all_that_draws_depend_on(digits: tuple[Tensor, Tensor]) -> None:
    images, labels = digits
    augment = Augment(**STRONG)
    first = augmented(images, labels, augment, seed=4, epoch=2, batch=7)
    torch.rand(5)  # the global generator is neither used nor of influence
    assert torch.equal(augmented(images, labels, augment, seed=4, epoch=2, batch=7), first)
    for seed, epoch, batch in [(5, 2, 7), (4, 3, 7), (4, 2, 8)]:
        other = augmented(images, labels, augment, seed, epoch, batch)
        assert (other != first).flatten(1).any(1).all()


def test_images_and_labels_that_came_in_are_left_alone(digits: tuple[Tensor, Tensor]) -> None:
    images, labels = digits
    before = images.clone(), labels.clone()
    out = augmented(images, labels, Augment(**STRONG), 0, 0, 0)
    assert torch.equal(images, before[0])
    assert torch.equal(labels, before[1])
    assert out.dtype == torch.uint8
    assert out.shape == images.shape


def test_each_image_has_its_own_draw() -> None:
    for augment in (Augment(rotate=30), Augment(shift=3), Augment(elastic=Elastic()), Augment(scale=0.4)):
        images, labels = square(50)
        out = augmented(images, labels, augment, 0, 0, 0)
        assert len({tuple(image.flatten().tolist()) for image in out}) == 50


@pytest.mark.parametrize("strength", [1.0, 3.0])
def test_shifts_fill_the_range_evenly_across_and_down(strength: float) -> None:
    images, labels = square(4000)
    moves = middle(augmented(images, labels, Augment(shift=strength), 0, 0, 0)) - middle(images)
    assert moves.abs().max() <= strength + 0.05
    assert moves.mean(0).abs().max() < 0.05 * strength
    assert torch.allclose(moves.std(0), torch.full((2,), strength / 3**0.5).double(), rtol=0.05)
    assert abs(float(torch.corrcoef(moves.T)[0, 1])) < 0.05


def test_rotations_stay_within_their_angle_and_are_halved_for_the_named_classes() -> None:
    images, labels = square(2000)
    turned = middle(augmented(images, labels, Augment(rotate=40, halve_for=(1,)), 0, 0, 0)) - 13.5
    start = (middle(images)[:1] - 13.5)[0]
    angles = torch.rad2deg(torch.atan2(turned[:, 0], turned[:, 1]) - torch.atan2(start[0], start[1]))
    angles = (angles + 180) % 360 - 180
    whole, halved = angles[labels == 0].abs(), angles[labels == 1].abs()
    assert 38 < whole.max() < 41
    assert 19 < halved.max() < 21
    assert whole.mean() == pytest.approx(20, rel=0.05)


def test_width_and_height_are_scaled_each_by_itself() -> None:
    images, labels = square(500)
    out = augmented(images, labels, Augment(scale=0.5), 0, 0, 0).double()
    height = (out.amax(2) / 255).sum(1)
    width = (out.amax(1) / 255).sum(1)
    ratio = width / height / (4 / 6)
    assert ratio.max() > 1.8
    assert ratio.min() < 0.6


def test_thickness_adds_and_takes_away_ink() -> None:
    images, labels = square(500)
    ink = augmented(images, labels, Augment(thickness=1.0), 0, 0, 0).double().sum((1, 2)) / (255 * 24)
    assert ink.max() > 1.8
    assert ink.min() < 0.4
    assert (ink > 1).double().mean() == pytest.approx(0.5, abs=0.1)


def test_probability_is_the_share_of_images_that_are_deformed() -> None:
    images, labels = square(4000)
    out = augmented(images, labels, Augment(**STRONG, probability=0.3), 0, 0, 0)
    assert (out != images).flatten(1).any(1).double().mean() == pytest.approx(0.3, abs=0.03)


def test_elastic_moves_neighbours_alike_and_as_far_as_simards_formula() -> None:
    images, labels = square(4000)
    moves = middle(augmented(images, labels, Augment(elastic=Elastic(alpha=36, sigma=6)), 0, 0, 0)) - middle(images)
    # One pixel's step has the deviation α·√(1/3) / (2·√π·σ) = 0.98 px; the mean over a small square is a little less.
    assert torch.allclose(moves.std(0), torch.tensor([0.9, 0.9]).double(), atol=0.1)
    assert moves.mean(0).abs().max() < 0.05
