"""`--to state_dict`: weights, and a script that reads an image where this package can't be imported."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from mnist_trainer.errors import CheckpointError, UsageError
from mnist_trainer.export.write import export_model
from mnist_trainer.model.activations import ScaledTanh
from mnist_trainer.storage.checkpoint import load_checkpoint

from .conftest import MODELS, SMALL, random_images

Make = Callable[..., Path]

ALONE = "import runpy, sys; sys.modules['mnist_trainer'] = None; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], "
ALONE += "run_name='__main__')"


def run_script(script: Path, here: Path) -> list[str]:
    """What the script prints of an image, in a process that can't import this package."""
    Image.fromarray(random_images(1)[0].numpy()).save(here / "image.png")
    command = [sys.executable, "-c", ALONE, str(script), "image.png"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=here)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("model", MODELS, ids=lambda model: json.dumps(model)[:90])
def test_the_script_of_each_architecture_activation_and_layer_answers_alike(make: Make, model: dict[str, Any]) -> None:
    checkpoint = make("a.pt", model, refusal_threshold=0.7, temperature=0.7)
    weights, script = export_model(checkpoint, to="state_dict").files
    namespace: dict[str, Any] = {"__name__": "elsewhere"}
    exec(script.read_text(), namespace)
    namespace["model"].load_state_dict(torch.load(weights, weights_only=True))
    images = random_images()
    expected = load_checkpoint(checkpoint).predictor(torch.device("cpu")).read(images)
    for found, wanted in zip(namespace["classify"](images), expected, strict=True):
        torch.testing.assert_close(found.double(), wanted, atol=1e-5, rtol=0)


CASES = [
    (SMALL, {}, {"temperature": 0.5}),
    (SMALL, {}, {"refusal_threshold": 0.7}),
    ({"architecture": "residual", "channels": [4, 4], "squeeze_excite": 2, "activation": "rrelu"}, {}, {}),
    ({"architecture": "neuron"}, {"data": {"binary": 7}, "loss": "bce"}, {}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("model", "sections", "spec"), CASES)
def test_the_script_runs_where_this_package_cant_be_imported(
    make: Make, here: Path, model: Any, sections: Any, spec: Any
) -> None:
    checkpoint = make("a.pt", model, sections, **spec)
    torch.manual_seed(0)
    (image,) = random_images(1)
    expected, none = load_checkpoint(checkpoint).predictor(torch.device("cpu")).read(image[None])
    _, script = export_model(checkpoint, to="state_dict").files
    assert "mnist_trainer" not in script.read_text()
    torch.manual_seed(0)
    best, probability, *refused = run_script(script, here)
    assert best == load_checkpoint(checkpoint).classes[int(expected.argmax())].split()[0]
    if len(refused) > 1:
        assert float(probability) == pytest.approx(float(expected.max()), abs=1e-5)
        assert refused[:3] == ["none", "of", "them:"] and float(refused[3]) == pytest.approx(float(none), abs=1e-5)


@pytest.mark.parametrize("loss", ["bce", "mse"])
def test_yes_no_models_and_values_have_two_columns(make: Make, loss: str) -> None:
    checkpoint = make("a.pt", {"architecture": "neuron"}, {"data": {"binary": 7}, "loss": loss})
    assert export_model(checkpoint, to="state_dict").largest_difference < 1e-5


@pytest.mark.parametrize("output", ["softmax", "log_softmax", "sigmoid"])
def test_each_kind_of_outputs_becomes_probabilities(make: Make, output: str) -> None:
    loss = {"softmax": "mse", "log_softmax": "nll", "sigmoid": "bce"}[output]
    checkpoint = make("a.pt", {**SMALL, "output": output}, {"loss": loss}, temperature=0.5)
    assert export_model(checkpoint, to="state_dict").largest_difference < 1e-5


def test_a_small_model_is_a_few_lines(make: Make) -> None:
    result = export_model(make("a.pt", SMALL), to="state_dict")
    assert [file.name for file in result.files] == ["a-weights.pt", "a-weights.py"]
    lines = [line for line in result.files[1].read_text().splitlines() if line.strip()]
    assert len(lines) <= 25
    assert "    nn.Linear(in_features=784, out_features=8, bias=True)," in lines


def test_what_has_no_script_is_refused(make: Make, here: Path) -> None:
    first, second = make("a.pt", SMALL), make("b.pt", SMALL, seed=1)
    own = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    with pytest.raises(CheckpointError, match="This checkpoint is an ensemble of 2 models"):
        export_model([first, second], to="state_dict")
    with pytest.raises(CheckpointError, match="this model is Sequential, which is not part of mnist_trainer"):
        export_model(make("c.pt", SMALL, own=own), to="state_dict", model=own)
    with pytest.raises(UsageError, match=r"w\.py is the name of the script"):
        export_model(first, "w.py", to="state_dict")
    (here / "w.py").write_text("mine")
    with pytest.raises(UsageError, match=r"w\.py is not a script of mnist-export, and is not overwritten"):
        export_model(first, "w.pt", to="state_dict")
    assert sorted(path.name for path in here.iterdir()) == ["a.pt", "b.pt", "c.pt", "w.py"]
    assert [file.name for file in export_model(first, "v.pt", to="state_dict").files] == ["v.pt", "v.py"]
    export_model(first, "v.pt", to="state_dict")  # its own script is replaced


def test_nothing_is_written_if_the_script_gives_other_answers(
    make: Make, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = make("a.pt", {**SMALL, "activation": "scaled_tanh"})
    before = ScaledTanh.forward
    monkeypatch.setattr("mnist_trainer.export.state_dict._answers", lambda spec, columns: "outputs.softmax(1) * 0.99")
    with pytest.raises(CheckpointError, match="does not give the answers of a, so nothing is written"):
        export_model(checkpoint, to="state_dict")
    assert ScaledTanh.forward is before
    assert [path.name for path in here.iterdir()] == ["a.pt"]
