"""`--to hub`: safetensors, the config, and a model card whose code loads the model."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mnist_trainer.config.load import load_config
from mnist_trainer.errors import CheckpointError, UsageError
from mnist_trainer.export.write import export_model
from mnist_trainer.storage.checkpoint import load_checkpoint

from .conftest import ARCHITECTURES, SMALL, random_images

pytest.importorskip("safetensors")

Make = Callable[..., Path]
RECORD = {
    "best_epoch": 3,
    "epochs": 5,
    "test": {"accuracy": 0.95, "interval": [0.93, 0.97], "errors": 20, "count": 400},
    "validation": {"accuracy": 0.97, "interval": [0.95, 0.99], "errors": 3, "count": 100},
}


def make_run(make: Make, here: Path, **spec: Any) -> Path:
    (here / "run").mkdir()
    make("run/best.pt", SMALL, **spec)
    (here / "run" / "run.json").write_text(json.dumps(RECORD))
    return here / "run" / "best.pt"


def code_of(card: Path) -> str:
    (code,) = re.findall(r"```python\n(.*?)```", card.read_text(), re.DOTALL)
    return str(code)


@pytest.mark.parametrize("model", ARCHITECTURES, ids=lambda model: json.dumps(model)[:90])
def test_the_code_of_the_card_loads_the_model(
    make: Make, here: Path, monkeypatch: pytest.MonkeyPatch, model: dict[str, Any]
) -> None:
    checkpoint = make("a.pt", model, refusal_threshold=0.7, temperature=0.7)
    files = export_model(checkpoint, "out", to="hub").files
    assert [str(file) for file in files] == ["out/model.safetensors", "out/config.yaml", "out/README.md"]
    images, namespace = random_images(), dict[str, Any]()
    expected = load_checkpoint(checkpoint).predictor(torch.device("cpu")).read(images)
    monkeypatch.chdir(here / "out")
    exec(code_of(Path("README.md")), namespace)
    for found, wanted in zip(namespace["classify"](images), expected, strict=True):
        torch.testing.assert_close(found.detach().double(), wanted, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_the_code_of_the_card_runs_without_this_package(make: Make, here: Path) -> None:
    export_model(make("a.pt", ARCHITECTURES[-1]), to="hub")
    code = (
        f"import sys; sys.modules['mnist_trainer'] = None\n{code_of(Path('a-hub/README.md'))}\nprint(answers[0].shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=here / "a-hub")
    assert done.stdout == "torch.Size([1, 10])\n", done.stderr


def test_the_card_states_data_split_figures_with_intervals_and_limits(make: Make, here: Path) -> None:
    export_model(make_run(make, here), "out", to="hub")
    card = Path("out/README.md").read_text()
    for line in (
        "# run\n",
        "These are the weights after epoch 3 of 5.",
        "- Data set: digits.\n- Split: 70 images for training and 30 for validation.\n",
        "- 95.00 % of 400 test images, on which nothing was chosen (95 % interval 93.00 to 97.00 %; 20 errors).\n",
        "- 97.00 % of 100 validation images (95 % interval 95.00 to 99.00 %; 3 errors; they chose the epoch",
        "- It can't refuse:",
        "- Its probabilities were not calibrated.\n",
    ):
        assert line in card
    assert "not measured" not in card and "Simulated" not in card
    assert not re.search(r"TODO|\[More|None|nan\b|\.\.\.|<[a-z]+>", card.partition("```")[0])
    assert str(here) not in card


def test_what_was_not_measured_is_said(make: Make) -> None:
    export_model(make("a.pt", SMALL, {"data": {"simulate": {"non_digits": 0.5}}}, refusal_threshold=0.7), to="hub")
    card = Path("a-hub/README.md").read_text()
    assert "On test images it was not measured, or this file has no record of it." in card
    assert 'It can refuse: if the score of "none" is at least 0.7,' in card
    assert "Simulated pictures made from the training images were added" in card


def test_the_card_of_the_bundled_model_has_its_accuracy() -> None:
    export_model("bundled", "out", to="hub")
    card = Path("out/README.md").read_text()
    assert re.search(r"- 99\.\d\d % of 10,000 test images, on which nothing was chosen \(95 % interval 99", card)
    assert "not measured" not in card


def test_the_config_has_no_folder_of_this_machine_and_can_be_trained(make: Make, here: Path) -> None:
    checkpoint = make("a.pt", SMALL, {"data": {"root": str(here)}})
    export_model(checkpoint, "out", to="hub")
    config = load_checkpoint(checkpoint).config
    assert str(here) not in Path("out/config.yaml").read_text()
    assert load_config("out/config.yaml").model == config.model


def test_the_weights_have_the_metadata_of_the_other_formats(make: Make) -> None:
    from safetensors import safe_open

    export_model(make("a.pt", SMALL), "out", to="hub")
    with safe_open("out/model.safetensors", "pt") as weights:
        metadata = weights.metadata()
    assert json.loads(metadata["classes"]) == [str(digit) for digit in range(10)]
    assert metadata["verified_on"] == "30 validation images of digits"


def test_a_folder_with_other_files_is_refused(make: Make, here: Path) -> None:
    checkpoint = make("a.pt", SMALL)
    (here / "mine").mkdir()
    (here / "mine" / "README.md").write_text("mine")
    with pytest.raises(UsageError, match="mine has files that mnist-export did not write"):
        export_model(checkpoint, "mine", to="hub")
    with pytest.raises(UsageError, match=r"a\.pt is a file, and this format writes a folder"):
        export_model(checkpoint, "a.pt", to="hub")
    assert (here / "mine" / "README.md").read_text() == "mine"
    export_model(checkpoint, "out", to="hub")
    export_model(checkpoint, "out", to="hub")  # its own folder is replaced


def test_the_folder_of_a_run_is_refused(make: Make, here: Path) -> None:
    checkpoint = make_run(make, here)
    before = sorted(path.name for path in (here / "run").iterdir())
    with pytest.raises(UsageError):
        export_model(checkpoint, "run", to="hub")
    assert sorted(path.name for path in (here / "run").iterdir()) == before


def test_what_has_no_card_is_refused(make: Make) -> None:
    first, second = make("a.pt", SMALL), make("b.pt", SMALL, seed=1)
    own = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    with pytest.raises(CheckpointError, match="This checkpoint is an ensemble of 2 models"):
        export_model([first, second], to="hub")
    with pytest.raises(CheckpointError, match="this model is Sequential, which is not part of mnist_trainer"):
        export_model(make("c.pt", SMALL, own=own), to="hub", model=own)


def test_nothing_is_written_if_the_code_gives_other_answers(
    make: Make, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = make("a.pt", SMALL)
    monkeypatch.setattr("mnist_trainer.export.state_dict._answers", lambda spec, columns: "outputs.softmax(1) * 0.99")
    with pytest.raises(CheckpointError, match="does not give the answers of a, so nothing is written"):
        export_model(checkpoint, to="hub")
    assert [path.name for path in here.iterdir()] == ["a.pt"]


def test_a_missing_safetensors_is_named_with_the_install_line(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(UsageError, match=r"needs safetensors: pip install 'mnist-trainer\[export\]'"):
        export_model(make("a.pt", SMALL), to="hub")
