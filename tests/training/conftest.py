"""Small trainings: images of noise around one picture a class, networks of a few units."""

from __future__ import annotations

from typing import Any, Protocol

import pytest
import torch

from mnist_trainer.config.checks import find_problems
from mnist_trainer.config.schema import Config
from mnist_trainer.data.image_dataset import ImageDataset
from mnist_trainer.data.loaders import Splits
from mnist_trainer.training.prepare import prepare_state
from mnist_trainer.training.state import TrainingState

CLASSES = tuple("0123456789")


def make_source(count: int, seed: int, noise: int = 200, classes: int = 10) -> ImageDataset:
    """`count` images; the more `noise` (0 to 255), the harder to tell apart."""
    pictures = torch.randint(0, 256, (classes, 28, 28), generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (count,), generator=generator)
    dirt = torch.randint(0, 256, (count, 28, 28), generator=generator)
    images = ((255 - noise) * pictures[labels] + noise * dirt) // 255
    return ImageDataset(images.to(torch.uint8), labels, torch.arange(count))


@pytest.fixture(scope="session")
def splits() -> Splits:
    """200 images to train and 60 to validate, which a small network learns in a few epochs."""
    return Splits(make_source(200, seed=1), make_source(60, seed=2), CLASSES)


@pytest.fixture(scope="session")
def noise() -> Splits:
    """Images that say nothing of their class: training goes down, validation soon up."""
    return Splits(make_source(120, seed=1, noise=255), make_source(60, seed=2, noise=255), CLASSES)


@pytest.fixture(scope="session")
def yes_or_no(splits: Splits) -> Splits:
    """Is it a 7?"""

    def binary(dataset: ImageDataset) -> ImageDataset:
        return ImageDataset(dataset.images, (dataset.labels == 7).long(), dataset.indices)

    assert splits.validation is not None
    return Splits(binary(splits.train), binary(splits.validation), ("not 7", "7"))


def make_config(**sections: Any) -> Config:
    """A quick training on the CPU in float32 unless `sections` say otherwise; it has no mistakes."""
    defaults: dict[str, Any] = {
        "device": "cpu",
        "precision": "float32",
        "model": {"architecture": "mlp", "hidden": [16]},
        "training": {"epochs": 3},
    }
    defaults["data"] = {"batch_size": 32, **sections.pop("data", {})}
    config = Config.model_validate({**defaults, **sections})
    assert find_problems(config) == []
    return config


class Prepare(Protocol):
    def __call__(self, splits: Splits, **sections: Any) -> TrainingState: ...


@pytest.fixture
def config() -> Any:
    return make_config


@pytest.fixture
def prepare() -> Prepare:
    """A training at its start, from images and sections of a config."""
    return lambda splits, **sections: prepare_state(make_config(**sections), splits)
