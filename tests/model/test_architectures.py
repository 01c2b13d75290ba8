"""The architectures that stand for a list of layers: written out, they are the same model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mnist_trainer.config.layers import expand
from mnist_trainer.config.load import dump_config, load_config
from mnist_trainer.config.model import AnyModel, Layers, Output
from mnist_trainer.model.build import build_model

ARCHITECTURES: list[dict[str, Any]] = [
    {"architecture": "mlp", "hidden": [16, 16], "residual": True, "batch_norm": True},
    {"architecture": "ciresan_mlp", "hidden": [32, 16]},
    {"architecture": "cnn", "channels": [4, 8], "hidden": 16, "output": "log_softmax"},
    {"architecture": "lenet5"},
    {"architecture": "vgg", "channels": [4, 8], "squeeze_excite": 2, "pooling": "both", "dropout": 0.5},
    {"architecture": "residual", "channels": [4, 8], "squeeze_excite": 2, "output": "softmax"},
]


def read(model: dict[str, Any]) -> AnyModel:
    return load_config({"model": model, "loss": "mse"}).model


def written_out(model: AnyModel, file: Path) -> AnyModel:
    """The same layers as a user would write them: in a YAML file, under `architecture: layers`."""
    short = load_config({"model": {"architecture": "layers", "layers": ["flatten", {"linear": "classes"}]}})
    layers = tuple(layer for layer in expand(model) if not isinstance(layer, Output))
    written = Layers(layers=layers, output=model.output, init=model.init)
    file.write_text(dump_config(short.model_copy(update={"model": written})), encoding="utf-8")
    return load_config(file, ["loss=mse"]).model


def run(network: nn.Module) -> torch.Tensor:
    torch.manual_seed(1)  # for dropout
    return network(torch.linspace(0, 1, 4 * 784).reshape(4, 1, 28, 28))  # type: ignore[no-any-return]


@pytest.mark.parametrize("settings", ARCHITECTURES, ids=lambda settings: settings["architecture"])
def test_an_architecture_written_out_as_layers_is_the_same_model(settings: dict[str, Any], tmp_path: Path) -> None:
    model = read(settings)
    written = written_out(model, tmp_path / "layers.yaml")
    assert isinstance(written, Layers)
    assert expand(written) == expand(model)
    first, second = build_model(model, 10, seed=5), build_model(written, 10, seed=5)
    assert list(first.state_dict()) == list(second.state_dict())
    assert all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))
    assert torch.equal(run(first), run(second))
    assert torch.equal(run(first.eval()), run(second.eval()))


@pytest.mark.parametrize("settings", ARCHITECTURES, ids=lambda settings: settings["architecture"])
def test_a_config_with_it_is_read_back_as_it_was_written(settings: dict[str, Any], tmp_path: Path) -> None:
    config = load_config({"name": "same", "model": settings, "loss": "mse"})
    (tmp_path / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    assert load_config(tmp_path / "config.yaml") == config


@pytest.mark.parametrize(
    ("architecture", "count"),
    [("lenet5", 61_706), ("ciresan_mlp", 11_972_510), ("vgg", 288_170), ("residual", 482_154)],
)
def test_what_is_built_has_as_many_parameters_as_the_documentation_says(architecture: str, count: int) -> None:
    with torch.device("meta"):
        network = build_model(read({"architecture": architecture}), 10)
    assert sum(parameter.numel() for parameter in network.parameters()) == count


def test_ciresans_weights_start_in_his_range() -> None:
    network = build_model(read({"architecture": "ciresan_mlp", "hidden": [200]}), 10)
    weights = torch.cat([module.weight.flatten() for module in network if isinstance(module, nn.Linear)])
    assert 0.0499 < weights.abs().max() <= 0.05
