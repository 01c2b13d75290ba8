"""The bundled model and exported files read pictures without torch, and answer as torch does."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mnist_trainer
from mnist_trainer import evaluate
from mnist_trainer.config.schema import Data
from mnist_trainer.data.digits import load_digits
from mnist_trainer.data.loaders import load_split
from mnist_trainer.errors import CheckpointError
from mnist_trainer.export.write import export_model
from mnist_trainer.inference.metrics import wilson_interval
from mnist_trainer.inference.predictor import Predictor
from mnist_trainer.pipeline import predict as pipeline
from mnist_trainer.pipeline.predict import InputImage, array_predictor, load_reader
from mnist_trainer.simulator.make import make_images
from mnist_trainer.storage.checkpoint import load_checkpoint
from mnist_trainer.storage.onnx_file import read_twin, recorded_test

PACKAGE = Path(mnist_trainer.__file__).parent
BUNDLED = sorted(PACKAGE.glob("*.pt"))
TOLERANCE = 1e-5
SAMPLES = Path(__file__).parents[1] / "pictures" / "samples"


def float32_model(path: Path) -> Predictor:
    """The model in `path`, without the rounding to bfloat16 that CPUs with it do."""
    loaded = load_checkpoint(path)
    members = (replace(member, spec=replace(member.spec, precision="float32")) for member in loaded.members)
    return replace(loaded, members=tuple(members)).predictor(torch.device("cpu"))


@pytest.mark.parametrize("path", BUNDLED, ids=lambda path: path.stem)
def test_a_twin_was_made_of_the_file_beside_it(path: Path) -> None:
    """After a new training `scripts/twin` makes it anew."""
    file, predictor = read_twin(path.with_suffix(".onnx"))
    checkpoint = load_checkpoint(path)
    assert hashlib.sha256(path.read_bytes()).hexdigest() in file.metadata["checkpoint_sha256"]
    assert file.classes == checkpoint.classes
    assert predictor.refusal_threshold == checkpoint.spec.refusal_threshold


@pytest.mark.parametrize("path", BUNDLED, ids=lambda path: path.stem)
def test_a_twin_gives_the_scores_of_its_model(path: Path) -> None:
    digits = load_digits("train").images.numpy()[:200]
    noise = np.random.default_rng(0).integers(0, 256, (20, 28, 28), np.uint8)
    images = np.concatenate([digits, noise, np.zeros((1, 28, 28), np.uint8)])
    for found, expected in zip(
        read_twin(path.with_suffix(".onnx"))[1].read(images),
        float32_model(path).read(torch.from_numpy(images)),
        strict=True,
    ):
        assert np.abs(found - expected.numpy()).max() < TOLERANCE


@pytest.mark.parametrize("path", BUNDLED, ids=lambda path: path.stem)
def test_a_twin_records_the_metrics_on_the_test_set(path: Path) -> None:
    test = recorded_test(path)
    assert test is not None and test["count"] == 10_000
    correct = test["count"] - test["errors"]
    assert (test["accuracy"], tuple(test["interval"])) == (correct / 10_000, wilson_interval(correct, 10_000))


@pytest.mark.parametrize("change", ["cut", "flipped", "empty"])
def test_a_damaged_twin_is_one_sentence(tmp_path: Path, change: str) -> None:
    content = bytearray((PACKAGE / "bundled.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    written = {"cut": content[:5000], "flipped": content, "empty": b""}[change]
    (tmp_path / "bad.onnx").write_bytes(bytes(written))
    with pytest.raises(CheckpointError, match=r"bad\.onnx is damaged"):
        read_twin(tmp_path / "bad.onnx")


def watched(here: Path, code: str) -> str:
    """The output of a process that runs `code`, and whether it imported torch."""
    program = f"import sys\n{code}\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=here, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def picture(here: Path) -> str:
    """The name of a picture of 28 × 28 pixels, in the working folder."""
    from PIL import Image

    Image.fromarray(load_digits("test").images[0].numpy()).save(here / "digit.png")
    return "digit.png"


COMMAND = "from mnist_trainer.cli.mnist_predict import app; app({}, standalone_mode=False)"


def test_the_bundled_model_reads_without_torch(here: Path, picture: str) -> None:
    row = str(SAMPLES / "735426_row.jpg")
    calls = (
        *([picture], [picture, "--json"], [picture, "--show", "--top", "3"], [picture, "--save-steps", "steps"]),
        *([picture, row, "."], [row, "--expect", "row", "--csv"], [row, "--expect", "page", "--min-confidence", "0.5"]),
    )
    assert watched(here, "\n".join(map(COMMAND.format, calls))).endswith("\nFalse\n")
    assert watched(here, f"from mnist_trainer import predict; predict('{picture}')") == "False\n"


def test_the_rows_of_a_table_are_read_without_torch(here: Path) -> None:
    digits = load_digits("test").images.numpy()[:5].reshape(5, 784)
    np.savetxt(here / "test.csv", digits, "%d", ",")
    assert watched(here, COMMAND.format(["test.csv", "--out", "submission.csv"])).endswith("\nFalse\n")
    assert (here / "submission.csv").read_text().count("\n") == 6


def test_an_exported_model_reads_without_torch(digits_run: Any, here: Path, picture: str) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    export_model(digits_run.folder, here / "model.onnx")
    assert watched(here, COMMAND.format([picture, "--checkpoint", "model.onnx"])).endswith("\nFalse\n")


def test_an_explanation_and_a_checkpoint_need_torch(digits_run: Any, here: Path, picture: str) -> None:
    for options in (["--explain"], ["--checkpoint", str(digits_run.folder)]):
        assert watched(here, COMMAND.format([picture, *options])).endswith("\nTrue\n")


def test_many_pictures_are_read_by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    images = list(load_digits("test").images.numpy()[:5])
    reader, loaded = load_reader(), []
    assert reader.load_torch is not None
    load = reader.load_torch
    watched = replace(reader, load_torch=lambda: loaded.append("torch") or load())
    inputs = [InputImage(None, image) for image in images]
    few = list(watched.read(inputs))
    assert loaded == []
    monkeypatch.setattr(pipeline, "TORCH_FROM", 5)
    many = list(watched.read(inputs))
    assert loaded == ["torch"]
    for one, other in zip(few, many, strict=True):
        assert (one.text, one.refused, [digit.box for digit in one.digits]) == (
            other.text,
            other.refused,
            [digit.box for digit in other.digits],
        )
    assert watched.read_rows(np.stack(images)) == reader.read_rows(np.stack(images[:4])) + reader.read_rows(
        np.stack(images[4:])
    )


@pytest.mark.slow
def test_the_metrics_of_the_bundled_model_are_measured(mnist_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNIST_TRAINER_DATA", str(mnist_root))
    test = recorded_test(PACKAGE / "bundled.pt")
    assert test is not None and evaluate("bundled").errors == test["errors"]


@pytest.mark.slow
def test_the_twin_answers_as_torch_on_mnist(mnist_root: Path) -> None:
    images = load_split(Data(name="mnist", root=str(mnist_root)), "train").images[:10_000].numpy()
    found, none = read_twin(PACKAGE / "bundled.onnx")[1].read(images)
    model = float32_model(PACKAGE / "bundled.pt")
    expected, expected_none = (output.numpy() for output in model.read(torch.from_numpy(images)))
    assert np.abs(found - expected).max() < TOLERANCE
    assert np.abs(none - expected_none).max() < TOLERANCE
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).all()
    assert ((none >= model.refusal_threshold) == (expected_none >= model.refusal_threshold)).all()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["photographs", "non_digits", "rows"])
def test_the_twin_gives_the_scores_of_its_model_on_simulated_pictures(kind: Any) -> None:
    digits = load_digits("train")
    sources = digits.images[:200].numpy().reshape(20, 10, 28, 28)
    images = make_images(kind, sources, digits.labels[:200].numpy().reshape(20, 10), np.arange(20))
    expected = float32_model(PACKAGE / "bundled.pt").read(torch.from_numpy(images))
    for found, other in zip(read_twin(PACKAGE / "bundled.onnx")[1].read(images), expected, strict=True):
        assert np.abs(found - other.numpy()).max() < TOLERANCE


@pytest.mark.slow
def test_pictures_are_read_as_by_torch() -> None:
    reader = load_reader()
    assert reader.load_torch is not None
    other = replace(reader, predictor=array_predictor(reader.load_torch()))
    inputs = [InputImage(path.name, path) for path in sorted(SAMPLES.iterdir())]
    for one, two in zip(reader.read(inputs), other.read(inputs), strict=True):
        assert (one.text, one.refused, one.warnings, one.error) == (two.text, two.refused, two.warnings, two.error)
        assert [(digit.box, digit.refused) for digit in one.digits] == [(each.box, each.refused) for each in two.digits]
