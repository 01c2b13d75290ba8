"""`--to pt2`: a program that torch loads without this package."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mnist_trainer.errors import CheckpointError
from mnist_trainer.export.module import ExportModule
from mnist_trainer.export.write import export_model
from mnist_trainer.storage.checkpoint import load_checkpoint

from .conftest import MODELS, SMALL, random_images

Make = Callable[..., Path]


def load(path: Path) -> nn.Module:
    return torch.export.load(path).module()


@pytest.mark.parametrize("model", MODELS, ids=lambda model: json.dumps(model)[:90])
def test_each_architecture_activation_and_layer_answers_alike(make: Make, model: dict[str, Any]) -> None:
    checkpoint = make("a.pt", model, refusal_threshold=0.7, temperature=0.7)
    program, images = load(export_model(checkpoint, to="pt2").files[0]), random_images()
    expected = load_checkpoint(checkpoint).predictor(torch.device("cpu")).read(images)
    for found, wanted in zip(program(images), expected, strict=True):
        torch.testing.assert_close(found.double(), wanted, atol=1e-5, rtol=0)
    assert len(program(images[:1])[0]) == 1


def test_its_metadata_are_those_of_onnx(make: Make) -> None:
    path = export_model(make("a.pt", SMALL), to="pt2").files[0]
    extra = {"metadata.json": ""}
    torch.export.load(path, extra_files=extra)
    metadata = json.loads(extra["metadata.json"])
    assert path.name == "a.pt2"
    assert metadata["classes"] == [str(digit) for digit in range(10)]
    assert metadata["verified_on"] == "30 validation images of digits"
    assert str(Path(__file__).parents[2]).encode() not in path.read_bytes()


def test_no_operation_says_which_class_it_came_from(make: Make) -> None:
    content = export_model(make("a.pt", SMALL), to="pt2").files[0].read_bytes()
    assert b"mnist_trainer.export" not in content


def test_it_runs_without_this_package(make: Make, here: Path) -> None:
    checkpoint = make("a.pt", {"architecture": "layers", "layers": ["flatten", {"maxout": 5}, {"linear": "classes"}]})
    path, images = export_model(checkpoint, to="pt2").files[0], random_images()
    torch.save(images, here / "images.pt")
    code = (
        "import sys; sys.modules['mnist_trainer'] = None\n"
        "import torch\n"
        f"(probabilities,) = torch.export.load({str(path)!r}).module()(torch.load('images.pt'))\n"
        "torch.save(probabilities, 'out.pt')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = load_checkpoint(checkpoint).predictor(torch.device("cpu"))(images)
    torch.testing.assert_close(torch.load(here / "out.pt").double(), expected, atol=1e-5, rtol=0)


def test_nothing_is_written_if_the_answers_differ(make: Make, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = make("a.pt", SMALL)
    monkeypatch.setattr(ExportModule, "forward", lambda self, images: (images[:, 0, :10].float(),))
    with pytest.raises(CheckpointError, match=r"does not give the answers of a, so nothing is written\. Image 0 of"):
        export_model(checkpoint, to="pt2")
    assert [path.name for path in here.iterdir()] == ["a.pt"]
