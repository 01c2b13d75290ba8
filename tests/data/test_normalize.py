from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mnist_trainer.config.schema import Data
from mnist_trainer.data.image_dataset import ImageDataset
from mnist_trainer.data.loaders import load
from mnist_trainer.data.normalize import CHUNK, Normalization, measure


def source_of(images: torch.Tensor) -> ImageDataset:
    return ImageDataset(images, torch.zeros(len(images), dtype=torch.int64), torch.arange(len(images)))


@given(st.integers(1, 3 * CHUNK), st.integers(0, 2**32))
def test_mean_and_deviation_are_those_of_all_pixels(count: int, seed: int) -> None:
    images = torch.randint(0, 256, (count, 28, 28), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)
    measured = measure(source_of(images), "mean_std")
    scaled = images.numpy().astype(np.float64) / 255
    assert measured.mean == pytest.approx(scaled.mean(), abs=1e-12)
    assert measured.std == pytest.approx(scaled.std(), abs=1e-12)


def test_order_and_chunks_change_no_bit() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (3 * CHUNK + 5, 28, 28), generator=generator).to(torch.uint8)
    turned = images[torch.randperm(len(images), generator=generator)]
    assert measure(source_of(images), "mean_std") == measure(source_of(turned), "mean_std")


def test_apply_brings_the_images_to_mean_zero_and_deviation_one() -> None:
    images = torch.randint(0, 200, (300, 28, 28), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    values = measure(source_of(images), "mean_std").apply(images)
    assert values.dtype == torch.float32 and values.shape == (300, 1, 28, 28)
    assert float(values.double().mean()) == pytest.approx(0, abs=1e-6)
    assert float(values.double().std(correction=0)) == pytest.approx(1, abs=1e-6)


def test_unit_and_none_are_exact() -> None:
    images = torch.arange(256).to(torch.uint8).repeat(49).reshape(16, 28, 28)
    dataset = source_of(images)
    unit, none = measure(dataset, "unit"), measure(dataset, "none")
    assert unit == Normalization(0.0, 1.0) and none == Normalization(0.0, 1 / 255)
    assert torch.equal(unit.apply(images)[:, 0], images.float() / 255)
    assert torch.equal(none.apply(images)[:, 0], images.float())


def test_apply_leaves_the_images_as_they_are() -> None:
    images = torch.full((2, 28, 28), 200, dtype=torch.uint8)
    Normalization(0.5, 0.25).apply(images)
    assert (images == 200).all()


def test_images_of_one_grey_stay_finite() -> None:
    images = torch.full((3, 28, 28), 51, dtype=torch.uint8)
    measured = measure(source_of(images), "mean_std")
    assert measured == Normalization(0.2, 1.0)
    assert measured.apply(images).abs().max() < 1e-6


def test_real_mnist(mnist_root: Path) -> None:
    images = load(Data(root=str(mnist_root)), "train").images
    measured = measure(source_of(images), "mean_std")
    assert (round(measured.mean, 4), round(measured.std, 4)) == (0.1307, 0.3081)
