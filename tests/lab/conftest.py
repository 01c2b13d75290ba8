"""Experiments that read MNIST are skipped without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnist_trainer.lab import run


@pytest.fixture(autouse=True)
def mnist_where_it_is_read(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow test runs a whole experiment: those that read MNIST find it, or are skipped."""
    experiment = Path(run.__file__).with_name(f"{request.path.stem.removeprefix('test_')}.py")
    source = experiment.read_text(encoding="utf-8") if experiment.exists() else ""
    if request.node.get_closest_marker("slow") and ("mnist(" in source or "prepare(" in source):
        monkeypatch.setenv("MNIST_TRAINER_DATA", str(request.getfixturevalue("mnist_root")))
