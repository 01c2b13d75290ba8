"""Checkpoints of small models that were never trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from mnist_trainer.config.layers import output_count, output_kind
from mnist_trainer.config.load import load_config
from mnist_trainer.data.loaders import class_names
from mnist_trainer.data.normalize import Normalization
from mnist_trainer.inference.predictor import InferenceSpec
from mnist_trainer.model.build import build_model
from mnist_trainer.storage.checkpoint import Checkpoint, Member, save_checkpoint

DATA = {"name": "digits", "limit": 10, "validation": 30}

MakeCheckpoint = Callable[..., Path]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def make(here: Path) -> MakeCheckpoint:
    """`make("a.pt", {"architecture": "mlp"}, temperature=2.0)`: the file of a model with random weights.

    `sections` are other sections of its config, `spec` other values of its `InferenceSpec`.
    """

    def write(
        name: str,
        model: dict[str, Any],
        sections: dict[str, Any] | None = None,
        seed: int = 0,
        own: nn.Module | None = None,
        **spec: Any,
    ) -> Path:
        sections = sections or {}
        data = {**DATA, **sections.get("data", {})}
        config = load_config({"name": "small", "precision": "float32", **sections, "data": data, "model": model})
        classes = class_names(config.data)
        network = own or build_model(config.model, output_count(config, len(classes)), seed)
        custom = {} if own is None else {"model": type(own).__name__}
        inference = InferenceSpec(Normalization(0.13, 0.31), output_kind(config), **spec)
        member = Member(config, network.state_dict(), inference, custom, (70, 30))
        save_checkpoint(here / name, Checkpoint((member,), classes))
        return here / name

    return write
