"""Checkpoints of small models that were never trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mnist_trainer.config.layers import output_count, output_kind
from mnist_trainer.config.load import load_config
from mnist_trainer.data.loaders import class_names
from mnist_trainer.data.normalize import Normalization
from mnist_trainer.inference.predictor import InferenceSpec
from mnist_trainer.model.build import build_model
from mnist_trainer.storage.checkpoint import Checkpoint, Member, save_checkpoint

DATA = {"name": "digits", "limit": 10, "validation": 30}

SMALL = {"architecture": "mlp", "hidden": [8]}
ARCHITECTURES: list[dict[str, Any]] = [
    SMALL,
    {"architecture": "mlp", "hidden": [8, 8], "residual": True, "batch_norm": True, "dropout": 0.5, "bias": False},
    {"architecture": "ciresan_mlp", "hidden": [8, 8]},
    {"architecture": "cnn", "channels": [2, 3], "hidden": [8], "batch_norm": True},
    {"architecture": "lenet5"},
    {"architecture": "vgg", "channels": [4, 4], "convolutions": 1, "squeeze_excite": 2, "pooling": "both"},
    {"architecture": "residual", "channels": [4, 4], "squeeze_excite": 2},
]
ACTIVATIONS: list[Any] = [
    *("identity", "step", "tanh", "scaled_tanh", "relu", "selu", "gelu", "swish", "mish", "relu6"),
    *("sigmoid", {"name": "sigmoid", "slope": 2.5}, {"name": "leaky_relu", "slope": 0.2}),
    *({"name": "alrelu", "alpha": 0.5}, "prelu", {"name": "rrelu", "lower": 0.1, "upper": 0.9}),
    *({"name": "elu", "alpha": 2.0}, {"name": "softplus", "beta": 3.0}, {"name": "maxout", "pieces": 3}),
]
IMAGE_LAYERS: list[Any] = [
    {"conv": 3},
    {"type": "conv", "channels": 3, "kernel": 4},
    {"type": "conv", "channels": 3, "kernel": 5, "stride": 2, "padding": 1, "bias": False},
    {"type": "pool", "size": 3},
    {"type": "pool", "size": 3, "kind": "average"},
    {"type": "pool", "size": 2, "kind": "both"},
    {"type": "pool", "size": "global"},
    {"type": "pool", "size": "global", "kind": "average"},
    {"type": "squeeze_excite", "reduction": 1},
    {"type": "residual", "layers": [{"conv": 2}, {"activation": "rrelu"}]},
    {"type": "activation", "function": "maxout"},
    *("batch_norm", "layer_norm"),
]
ROW_LAYERS: list[Any] = [
    {"linear": 6},
    {"type": "linear", "units": 6, "bias": False},
    {"maxout": 5},
    {"dropout": 0.3},
    *("batch_norm", "layer_norm", {"type": "residual", "layers": [{"linear": 784}]}),
]


def image_layers(layer: Any) -> dict[str, Any]:
    # two channels before it, as maxout and squeeze_excite need several
    return {"architecture": "layers", "layers": [{"conv": 2}, layer, "flatten", {"linear": "classes"}]}


def row_layers(layer: Any) -> dict[str, Any]:
    return {"architecture": "layers", "layers": ["flatten", layer, {"linear": "classes"}]}


MODELS = [
    *ARCHITECTURES,
    *({"architecture": "mlp", "hidden": [8], "activation": activation} for activation in ACTIVATIONS),
    *map(image_layers, IMAGE_LAYERS),
    *map(row_layers, ROW_LAYERS),
]
"""One model for each architecture, activation and layer."""


def random_images(count: int = 9) -> Tensor:
    return torch.randint(256, (count, 28, 28), dtype=torch.uint8)


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
