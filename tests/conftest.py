"""Fixtures that several test modules share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=50)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def mnist_root() -> Path:
    """A torchvision root that holds the real MNIST, unpacked; the test is skipped where there is none."""
    named = os.environ.get("MNIST_TRAINER_DATA")
    candidates = [Path(named)] if named else []
    candidates += [Path(__file__).parents[2] / "shared" / "data", Path(__file__).parents[1] / "data"]
    for root in candidates:
        if (root / "MNIST" / "raw" / "train-images-idx3-ubyte").exists():
            return root
    pytest.skip("needs the real MNIST: set MNIST_TRAINER_DATA to a folder that holds MNIST/raw/")
