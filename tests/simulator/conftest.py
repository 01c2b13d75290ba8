"""Digits for the tests of this folder."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import Tensor

from mnist_trainer.config.schema import Data
from mnist_trainer.data.loaders import load_splits


@pytest.fixture(scope="session")
def digits() -> NDArray[np.uint8]:
    """One of each of the ten, uint8 [10, 28, 28], from the bundled data set."""
    train = load_splits(Data(name="digits", limit=1, validation=0)).train
    assert isinstance(train.images, Tensor)
    images: NDArray[np.uint8] = train.images.numpy()[np.argsort(train.labels.numpy())]
    return images
