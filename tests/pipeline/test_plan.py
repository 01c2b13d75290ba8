from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mnist_trainer import Config, train
from mnist_trainer.config.load import load_config
from mnist_trainer.data.folder import _in_test
from mnist_trainer.errors import CheckpointError, ConfigError, DataError, DeviceError, UsageError
from mnist_trainer.model import device as device_module
from mnist_trainer.pipeline import plan as plan_module
from mnist_trainer.pipeline import preparation
from mnist_trainer.pipeline.describe import describe_model
from mnist_trainer.pipeline.plan import plan
from mnist_trainer.studies.seed_series import train_seeds

from .conftest import Remembering

Pictures = Callable[[Path, dict[str, int]], None]


def config_of(model: dict[str, Any], **more: Any) -> Config:
    return load_config({"device": "cpu", "model": model, **more})


def test_the_lectures_network_is_counted() -> None:
    made = plan(config_of({"architecture": "mlp", "hidden": [64, 64, 64]}, data={"batch_size": 256}))
    assert made.footprint.parameters == 784 * 64 + 64 + 2 * (64 * 64 + 64) + 64 * 10 + 10 == 59_210
    assert made.device == torch.device("cpu")
    assert [entry.layer.type for entry in made.layers] == ["flatten", *["linear", "activation"] * 3, "linear"]


def test_a_model_that_cannot_fit_is_refused_before_it_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*arguments: object) -> None:
        raise AssertionError("built")

    monkeypatch.setattr(plan_module, "build_model", build)
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
    monkeypatch.setattr(preparation, "resolve_device", lambda name: torch.device(device))
    monkeypatch.setattr(device_module, "available_memory", lambda device: None)
    bytes_free, shown = (
        plan(config_of({"architecture": "mlp"}, data={"batch_size": size})).footprint.total for size in (room, 128)
    )
    config = config_of({"architecture": "mlp"}, data={"batch_size": "auto"})
    monkeypatch.setattr(device_module, "available_memory", lambda device: bytes_free)
    assert plan(config).footprint.total == shown
    monkeypatch.setattr(device_module, "available_memory", lambda device: bytes_free - 1)
    with pytest.raises(DeviceError, match="Make it narrower"):
        plan(config)


def test_a_model_is_checked_without_its_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("MNIST_TRAINER_DATA", str(tmp_path / "nothing here"))
    assert plan(config_of({"architecture": "mlp"}, data={"name": "mnist"})).footprint.parameters == 101_770
    with pytest.raises(DataError, match=r"data\.path: there is no folder"):
        plan(config_of({"architecture": "mlp"}, data={"name": "folder", "path": str(tmp_path / "lost")}))


def test_the_classes_of_a_folder_are_known_only_now(tmp_path: Path, pictures: Pictures) -> None:
    pictures(tmp_path, {"a": 1, "b": 2, "c": 3})
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


def half_a_picture(own: Path) -> str:
    whole = next((own / "one").iterdir())
    for part in ("train", "test"):
        for name in ("one", "two"):
            (own / part / name).mkdir(parents=True)
    for name in ("one", "two"):
        for path in (own / name).iterdir():
            path.rename(own / "train" / name / path.name)
        (own / name).rmdir()
    content = (own / "train" / "one" / whole.name).read_bytes()
    (own / "test" / "one" / "half.png").write_bytes(content[:70])
    return r"1 of 1 pictures can't be used"


def flat_test(own: Path) -> str:
    half_a_picture(own)
    for name in ("one", "two"):
        shutil.rmtree(own / "test" / name)
    shutil.copy(next((own / "train" / "one").iterdir()), own / "test" / "1.png")
    return r"test.*\nA training without a test needs no test images: report\.test=false"


def no_test_picture(own: Path) -> str:
    for name in ("one", "two"):
        for path in [path for path in (own / name).iterdir() if _in_test(path)]:
            path.unlink()
    return "has no picture for the test set"


@pytest.mark.parametrize("damage", [half_a_picture, flat_test, no_test_picture])
def test_test_pictures_that_cannot_be_used_are_told_before_training(
    damage: Callable[[Path], str], tiny: dict[str, Any], here: Path, pictures: Pictures
) -> None:
    pictures(here / "own", {"one": 1, "two": 2})
    message = re.compile(damage(here / "own"), re.DOTALL)
    config = load_config({**tiny, "data": {"name": "folder", "path": "own"}})
    callback = Remembering()
    with pytest.raises(DataError, match=message):
        plan(config)
    with pytest.raises(DataError, match=message):
        train(config, callback=callback)
    with pytest.raises(DataError, match=message):
        train_seeds(config, [0, 1])
    assert callback.told == []
    assert [path.name for path in here.iterdir()] == ["own"]
    untested = load_config(config.model_dump(mode="json"), ["report.test=false"])
    assert plan(untested).notes == ()
    assert train(untested).test is None


def test_files_that_are_missing_are_told_and_not_downloaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MNIST_TRAINER_DATA", str(tmp_path))
    config = config_of({"architecture": "mlp"}, data={"name": "usps"})
    assert plan(config).notes == (
        "The train images were not checked: usps.bz2 will be downloaded first.",
        "The test images were not checked: usps.t.bz2 will be downloaded first.",
    )
    (tmp_path / "usps.t").write_text("no numbers")
    with pytest.raises(DataError, match=r"usps\.t"):
        plan(config)


def test_a_start_that_does_not_fit_is_told(tiny: dict[str, Any], here: Path) -> None:
    train(tiny, run_dir=here / "a")

    def check(*overrides: str) -> None:
        plan(load_config(tiny, overrides))

    check("model.init_from=a", "model.freeze=1")
    with pytest.raises(CheckpointError, match=r"no weight has the name and shape"):
        check("model={architecture: cnn, init_from: a}")
    with pytest.raises(CheckpointError, match="no weights that fit"):
        check("model={architecture: mlp, hidden: [9], init_from: a, freeze: 1}")
    with pytest.raises(CheckpointError, match=r"nowhere\.pt: there is no such file"):
        check("model.init_from=nowhere.pt")
    with pytest.raises(ConfigError, match="trained with images of this validation set"):
        check("model.init_from=a", "data.split_seed=1")
    with pytest.raises(ConfigError, match=r"the last of the batches of 160 images holds a single one"):
        check("model={architecture: mlp, batch_norm: true}", "data.batch_size=53")


def test_a_package_that_is_missing_is_told(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    monkeypatch.setattr("mnist_trainer.reports.canvas.find_spec", lambda name: None)
    for make in (plan, train, lambda config: train_seeds(config, [0])):
        with pytest.raises(UsageError, match=r"report\.plots and report\.gallery need matplotlib: pip install"):
            make(load_config(tiny, ["report.plots=true"]))
    assert list(here.iterdir()) == []


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
