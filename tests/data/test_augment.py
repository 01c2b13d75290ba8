"""Draws: each image's own, anew each epoch, the same for the same address, and nothing at zero strength."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mnist_trainer.config.schema import Augment, Elastic
from mnist_trainer.data.augment import augmented
from mnist_trainer.data.digits import load_digits

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
