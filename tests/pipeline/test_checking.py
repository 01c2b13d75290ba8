from __future__ import annotations

from typing import Any

import pytest
import torch

from mnist_trainer import Config
from mnist_trainer.config.load import load_config
from mnist_trainer.errors import ConfigError, DataError, DeviceError
from mnist_trainer.model import memory
from mnist_trainer.pipeline import checking
from mnist_trainer.pipeline.checking import plan
from mnist_trainer.pipeline.description import describe_model


def config_of(model: dict[str, Any], **more: Any) -> Config:
    return load_config({"device": "cpu", "model": model, **more})


def test_the_lectures_network_is_counted() -> None:
    made = plan(config_of({"architecture": "mlp", "hidden": [64, 64, 64]}, data={"batch_size": 256}))
    assert made.footprint.parameters == 784 * 64 + 64 + 2 * (64 * 64 + 64) + 64 * 10 + 10 == 59_210
    assert made.device == torch.device("cpu")
    assert [entry.layer.type for entry in made.placed] == ["flatten", *["linear", "activation"] * 3, "linear"]


def test_a_model_that_cannot_fit_is_refused_before_it_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*arguments: object) -> None:
        raise AssertionError("built")

    monkeypatch.setattr(checking, "build_model", build)
    with pytest.raises(DeviceError) as caught:
        plan(config_of({"architecture": "mlp", "hidden": [1_000_000, 1_000_000]}))
    text = str(caught.value)
    assert text.startswith("The model has 1,000,796,000,010 parameters and needs at least 20 TB to train (20 TB for ")
    assert "cpu has " in text
    assert text.endswith(" free. Make it narrower, or data.batch_size smaller.")


@pytest.mark.parametrize(("device", "room"), [("cpu", 128), ("cuda", 1)])
def test_auto_needs_room_for_its_first_size_and_on_a_simulated_gpu_for_one_image(
    monkeypatch: pytest.MonkeyPatch, device: str, room: int
) -> None:
    monkeypatch.setattr(checking, "resolve_device", lambda name: torch.device(device))
    monkeypatch.setattr(memory, "available", lambda device: None)
    bytes_free, shown = (
        plan(config_of({"architecture": "mlp"}, data={"batch_size": size})).footprint.total for size in (room, 128)
    )
    config = config_of({"architecture": "mlp"}, data={"batch_size": "auto"})
    monkeypatch.setattr(memory, "available", lambda device: bytes_free)
    assert plan(config).footprint.total == shown
    monkeypatch.setattr(memory, "available", lambda device: bytes_free - 1)
    with pytest.raises(DeviceError, match="Make it narrower"):
        plan(config)


def test_a_model_is_checked_without_its_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("MNIST_TRAINER_DATA", str(tmp_path / "nothing here"))
    assert plan(config_of({"architecture": "mlp"}, data={"name": "mnist"})).footprint.parameters == 101_770
    with pytest.raises(DataError, match=r"data\.path: there is no folder"):
        plan(config_of({"architecture": "mlp"}, data={"name": "folder", "path": str(tmp_path / "lost")}))


def test_the_classes_of_a_folder_are_known_only_now(tmp_path: Any) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    folder = {"name": "folder", "path": str(tmp_path)}
    assert plan(config_of({"architecture": "mlp", "hidden": []}, data=folder)).footprint.parameters == 785 * 3
    with pytest.raises(ConfigError) as caught:
        plan(
            config_of(
                {"architecture": "mlp"}, data=folder, loss={"name": "mse", "penalties": [{"true": 7, "predicted": 1}]}
            )
        )
    assert str(caught.value) == (
        "loss.penalties.0.true: there is no class 7: they are a, b, c\n"
        "loss.penalties.0.predicted: there is no class 1: they are a, b, c"
    )


@pytest.mark.parametrize(
    ("model", "data", "text"),
    [
        ({"architecture": "mlp", "hidden": [512, 256]}, {}, "mlp 784-512-256-10, relu"),
        ({"architecture": "mlp", "hidden": [], "activation": "tanh"}, {}, "mlp 784-10, tanh"),
        ({"architecture": "mlp", "hidden": 8}, {"binary": 7}, "mlp 784-8-1, relu"),
        ({"architecture": "cnn", "channels": [16, 32], "hidden": [64, 9]}, {}, "cnn 16-32, then 64-9"),
        ({"architecture": "cnn", "hidden": []}, {}, "cnn 16-32, then the output"),
        (
            {"architecture": "ciresan_mlp"},
            {},
            "ciresan_mlp 784-2500-2000-1500-1000-500-10, scaled_tanh",
        ),
        ({"architecture": "lenet5", "activation": "relu"}, {}, "lenet5, relu, average pooling"),
        ({"architecture": "vgg", "channels": [8, 16]}, {}, "vgg 2×8-2×16, max pooling"),
        (
            {"architecture": "residual", "channels": [8], "squeeze_excite": 4, "pooling": "both"},
            {},
            "residual 1×8, squeeze_excite 4, max and average pooling",
        ),
        ({"architecture": "neuron", "output": "sigmoid"}, {"binary": 7}, "one neuron, sigmoid"),
        ({"architecture": "layers", "layers": ["flatten", {"linear": "classes"}]}, {}, "2 layers"),
    ],
)
def test_a_model_in_short(model: dict[str, Any], data: dict[str, Any], text: str) -> None:
    assert describe_model(config_of(model, data=data, loss="mse")) == text
