"""`--to keras`: a file that Keras reads without this package, with the same answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import torch
from torch import nn

from mnist_trainer.errors import CheckpointError, UsageError
from mnist_trainer.export.keras import import_keras
from mnist_trainer.export.write import export_model
from mnist_trainer.storage.checkpoint import load_checkpoint

from .conftest import MODELS, SMALL, image_layers, random_images

pytestmark = [
    pytest.mark.skipif(find_spec("keras") is None, reason="needs keras"),
    pytest.mark.filterwarnings("ignore"),  # Keras's own, of NumPy and, in 3.10, of a single input
]

Make = Callable[..., Path]

REFUSED = {"step": "step", "alrelu": "alrelu", "maxout": "maxout"}
"""What stands in a model's config, and the layer that is named."""


def refused_layer(model: dict[str, Any]) -> str | None:
    return next((name for part, name in REFUSED.items() if f'"{part}"' in json.dumps(model)), None)


def run_keras(path: Path, images: torch.Tensor) -> list[torch.Tensor]:
    keras = import_keras()

    with keras.device("cpu"):
        outputs = keras.saving.load_model(path)(images.numpy(), training=False)
    return [each.detach() for each in (outputs if isinstance(outputs, list | tuple) else [outputs])]


@pytest.mark.slow
@pytest.mark.parametrize("model", [m for m in MODELS if not refused_layer(m)], ids=lambda m: json.dumps(m)[:90])
def test_each_architecture_activation_and_layer_of_keras_answers_alike(make: Make, model: dict[str, Any]) -> None:
    checkpoint = make("a.pt", model, refusal_threshold=0.7, temperature=0.7)
    images = random_images()
    expected = load_checkpoint(checkpoint).predictor(torch.device("cpu")).read(images)
    found = run_keras(export_model(checkpoint, to="keras").files[0], images)
    for each, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(each.double(), wanted, atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("model", [m for m in MODELS if refused_layer(m)], ids=lambda m: json.dumps(m)[:90])
def test_a_layer_that_keras_lacks_is_named_and_nothing_is_written(make: Make, here: Path, model: Any) -> None:
    with pytest.raises(CheckpointError, match=f"Keras has no layer for {refused_layer(model)}, .* nothing is written"):
        export_model(make("a.pt", model), to="keras")
    assert [path.name for path in here.iterdir()] == ["a.pt"]


@pytest.mark.slow
@pytest.mark.parametrize("output", ["none", "softmax", "log_softmax", "sigmoid"])
def test_each_kind_of_outputs_becomes_probabilities(make: Make, output: str) -> None:
    loss = {"softmax": "mse", "log_softmax": "nll", "sigmoid": "bce"}.get(output, "cross_entropy")
    checkpoint = make("a.pt", {**SMALL, "output": output}, {"loss": loss}, temperature=0.5)
    assert export_model(checkpoint, to="keras").largest_difference < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["bce", "mse"])
def test_yes_no_models_and_values_have_two_columns(make: Make, loss: str) -> None:
    checkpoint = make("a.pt", {"architecture": "neuron"}, {"data": {"binary": 7}, "loss": loss})
    (found,) = run_keras(export_model(checkpoint, to="keras").files[0], random_images())
    assert found.shape == (9, 2)


@pytest.mark.slow
def test_it_runs_without_this_package_and_has_the_metadata(make: Make, here: Path) -> None:
    checkpoint, images = make("a.pt", image_layers({"conv": 3})), random_images()
    result = export_model(checkpoint, to="keras")
    torch.save(images, here / "images.pt")
    code = (
        "import sys; sys.modules['mnist_trainer'] = None\n"
        "import torch, keras\n"
        "with keras.device('cpu'):\n"
        "    found = keras.saving.load_model('a.keras').predict(torch.load('images.pt').numpy(), verbose=0)\n"
        "torch.save(torch.from_numpy(found), 'out.pt')"
    )
    environment = {**os.environ, "KERAS_BACKEND": "torch"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=here, env=environment
    )
    assert done.returncode == 0, done.stderr
    expected = load_checkpoint(checkpoint).predictor(torch.device("cpu"))(images)
    torch.testing.assert_close(torch.load(here / "out.pt").double(), expected, atol=1e-5, rtol=0)
    with ZipFile(result.files[0]) as archive:
        metadata = json.loads(archive.read("mnist_trainer.json"))
    assert metadata["verified_on"] == "30 validation images of digits"
    assert metadata["largest_difference"] == result.largest_difference


@pytest.mark.slow
def test_nothing_is_written_if_the_order_of_channels_is_wrong(
    make: Make, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keras = import_keras()

    checkpoint = make("a.pt", image_layers({"conv": 3}))
    monkeypatch.setattr(keras.layers, "Permute", lambda order: keras.layers.Identity())
    with pytest.raises(CheckpointError, match="does not give the answers of a, so nothing is written"):
        export_model(checkpoint, to="keras")
    assert [path.name for path in here.iterdir()] == ["a.pt"]


def test_what_has_no_twin_is_refused(make: Make, here: Path) -> None:
    first, second = make("a.pt", SMALL), make("b.pt", SMALL, seed=1)
    own = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    with pytest.raises(CheckpointError, match="This checkpoint is an ensemble of 2 models"):
        export_model([first, second], to="keras")
    with pytest.raises(CheckpointError, match="this model is Sequential, which is not part of mnist_trainer"):
        export_model(make("c.pt", SMALL, own=own), to="keras", model=own)
    with pytest.raises(
        UsageError, match=r"Keras reads only files that end in \.keras\. Name m\.keras instead of m\.h5"
    ):
        export_model(first, "m.h5", to="keras")


def test_a_missing_keras_is_named_with_the_install_line(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(UsageError, match=r"Exporting to Keras needs keras: pip install 'mnist-trainer\[export\]'"):
        export_model(make("a.pt", SMALL), to="keras")


@pytest.mark.slow
def test_the_environment_stays_the_callers(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    export_model(make("a.pt", SMALL), to="keras")
    assert "KERAS_BACKEND" not in os.environ
