"""Fixtures that several test modules share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from mnist_trainer import Run

# One thread: the models here are small, and threads that wait for each other on a busy machine cost more than they
# give.
# It must be set before torch is imported, here and in the commands that tests start.
os.environ["OMP_NUM_THREADS"] = "1"

settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=50)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def mnist_root() -> Path:
    """A torchvision root that holds the real MNIST, unpacked; the test is skipped where there is none."""
    named = os.environ.get("MNIST_TRAINER_DATA")
    here = Path(__file__)
    candidates = [Path(named)] if named else [here.parents[2] / "shared" / "data", here.parents[1] / "data"]
    for root in candidates:
        if (root / "MNIST" / "raw" / "train-images-idx3-ubyte").exists():
            return root
    pytest.skip("needs the real MNIST: set MNIST_TRAINER_DATA to a folder that holds MNIST/raw/")


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run on the bundled digits, in `<its own folder>/runs/shared`; good enough to read a clear digit."""
    from mnist_trainer import train

    config = {
        "name": "shared",
        "threads": 1,  # bits depend on the number of threads, and subprocesses have their own default
        "data": {"name": "digits", "batch_size": 64, "validation": 100},
        "model": {"architecture": "mlp", "hidden": [32]},
        "optimizer": {"name": "adam", "lr": 0.005},
        "training": {"epochs": 4},
        "report": {"plots": False, "gallery": False},
    }
    return train(config, run_dir=tmp_path_factory.mktemp("shared") / "runs" / "shared")
