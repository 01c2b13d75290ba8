"""A data set that is too large for the memory gives the very run that it gives in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mnist_trainer import resume, train
from mnist_trainer.data import image_dataset
from mnist_trainer.data.image_dataset import MappedImages
from mnist_trainer.errors import InterruptedRunError
from mnist_trainer.pipeline.evaluate import run_evaluation

from .conftest import TINY, Remembering

KINDS: dict[str, dict[str, Any]] = {
    "own validation": {"data": {}, "report": {"plots": True, "gallery": True}},
    "split": {"data": {"validation": 0.3, "limit": 10, "augment": {"rotate": 10, "elastic": {"alpha": 30}}}},
    "binary": {"data": {"validation": 0.2, "binary": "three"}, "loss": "bce"},
}


def small(kind: str, path: Path) -> dict[str, Any]:
    sections = {**TINY, **KINDS[kind], "training": {"epochs": 2, "refit": True, "checkpoint_seconds": 0}}
    return {**sections, "data": {"name": "folder", "path": str(path), "batch_size": 8, **KINDS[kind]["data"]}}


def stopped_and_resumed(sections: dict[str, Any], place: Path, steps: int) -> None:
    """A run that was stopped in its first fit and in its second one."""
    with pytest.raises(InterruptedRunError):
        train(sections, run_dir=place, callback=Remembering(stop_after=1))
    second = Remembering(stop_after=steps)
    with pytest.raises(InterruptedRunError):
        resume(place, callback=second)
    assert any(told.startswith("refitting") for told in second.told)
    resume(place)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_run_to_the_bit(
    kind: str,
    here: Path,
    pictures: Callable[[Path, dict[str, int]], None],
    monkeypatch: pytest.MonkeyPatch,
    differences_of_runs: Callable[[Path, Path], list[str]],
) -> None:
    parts = {"train": 3, "val": 2, "test": 4} if kind == "own validation" else {"train": 3, "test": 4}
    for part, first in parts.items():
        pictures(here / "f" / part, {"three": first, "six": first + 3})
    monkeypatch.setenv("MNIST_TRAINER_DATA", str(here / "kept"))
    monkeypatch.setattr("mnist_trainer.data.cache.MIN_CACHED", 1)
    sections, heard = small(kind, here / "f"), Remembering()
    train(sections, run_dir=here / "memory", callback=heard)
    expected = run_evaluation(here / "memory")
    assert isinstance(expected.dataset.images, torch.Tensor) and "memory" not in heard.headers[0].data
    monkeypatch.setattr(image_dataset, "MEMORY_FRACTION", 0)
    heard = Remembering()
    train(sections, run_dir=here / "mapped", callback=heard)
    assert "; more than 25 % of the free memory, so read a batch at a time; 2 classes" in heard.headers[0].data
    assert heard.told[-1] == "finished" and any(told.startswith("refitting") for told in heard.told)
    assert differences_of_runs(here / "memory", here / "mapped") == []
    result = run_evaluation(here / "mapped")
    assert isinstance(result.dataset.images, MappedImages) and result.evaluation == expected.evaluation
    assert torch.equal(result.predictions.outputs, expected.predictions.outputs)
    stopped_and_resumed(sections, here / "resumed", len(heard.steps) - 2)
    assert differences_of_runs(here / "memory", here / "resumed") == []
