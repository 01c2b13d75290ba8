"""`--to onnx`: one file with everything inside, which answers as the model does, or no file."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mnist_trainer.config.layers import expand
from mnist_trainer.config.model import AnyActivation, AnyModel, WrittenLayer
from mnist_trainer.data import simulated
from mnist_trainer.errors import CheckpointError, UsageError
from mnist_trainer.export.module import ExportModule
from mnist_trainer.export.source import compare, load_source
from mnist_trainer.export.write import export_model
from mnist_trainer.inference.robustness import SWEEPS
from mnist_trainer.pipeline.evaluate import explain_result, measure_robustness, run_evaluation
from mnist_trainer.pipeline.predict import predict
from mnist_trainer.reports.results import robustness_lines
from mnist_trainer.storage.checkpoint import load_checkpoint, save_checkpoint
from mnist_trainer.storage.onnx_file import open_session
from mnist_trainer.storage.onnx_model import load_onnx

from .conftest import MODELS, SMALL, random_images

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

Make = Callable[..., Path]
BINARY = {"data": {"binary": 7}, "loss": "bce"}


def outputs_of(path: Path, images: Tensor) -> list[Any]:
    outputs: list[Any] = open_session(path.read_bytes()).run(None, {"images": images.numpy()})
    return outputs


def assert_equal_answers(checkpoint: Path, exported: Path) -> None:
    """Images that were not used in the export, in another number, get the answers of the checkpoint."""
    images = random_images()
    probabilities, none = load_checkpoint(checkpoint).predictor(torch.device("cpu")).read(images)
    found = outputs_of(exported, images)
    np.testing.assert_allclose(found[0], probabilities, atol=1e-5)
    if len(found) > 1:
        np.testing.assert_allclose(found[1], none, atol=1e-5)
    for answers in outputs_of(exported, images[:1]):
        assert len(answers) == 1


def names_of(union: Any, key: str) -> set[str]:
    """All values of the key by which a union of sections is told apart."""
    return {name for section in union.__args__ for name in section.model_fields[key].annotation.__args__}


def test_the_models_below_have_every_architecture_activation_and_layer(make: Make) -> None:
    configs = [load_checkpoint(make("a.pt", model)).config.model for model in MODELS]
    assert {config.architecture for config in configs} | {"neuron"} == names_of(AnyModel, "architecture")
    activations = {config.activation.name for config in configs if hasattr(config, "activation")}
    assert activations == names_of(AnyActivation, "name")
    assert {layer.type for config in configs for layer in expand(config)} >= names_of(WrittenLayer, "type")


@pytest.mark.parametrize("model", MODELS, ids=lambda model: json.dumps(model)[:90])
def test_each_architecture_activation_and_layer_answers_alike(make: Make, model: dict[str, Any]) -> None:
    checkpoint = make("a.pt", model, refusal_threshold=0.7, temperature=0.7)
    assert_equal_answers(checkpoint, export_model(checkpoint).files[0])


@pytest.mark.parametrize("output", ["none", "softmax", "log_softmax", "sigmoid"])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_each_kind_of_outputs_becomes_probabilities(make: Make, output: str, temperature: float) -> None:
    loss = {"softmax": "mse", "log_softmax": "nll", "sigmoid": "bce"}.get(output, "cross_entropy")
    checkpoint = make("a.pt", {**SMALL, "output": output}, {"loss": loss}, temperature=temperature)
    exported = export_model(checkpoint).files[0]
    assert_equal_answers(checkpoint, exported)
    (probabilities,) = outputs_of(exported, random_images())
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("loss", ["bce", "mse"])
def test_a_neuron_gives_the_probabilities_of_no_and_yes(make: Make, loss: str) -> None:
    checkpoint = make("a.pt", {"architecture": "neuron"}, {**BINARY, "loss": loss})
    exported = export_model(checkpoint).files[0]
    assert_equal_answers(checkpoint, exported)
    assert outputs_of(exported, random_images())[0].shape == (9, 2)
    assert load_onnx(exported).classes == ("not 7", "7")


def test_an_ensemble_is_one_file_with_its_temperature_inside(make: Make, here: Path) -> None:
    paths = [make(f"{seed}.pt", SMALL, seed=seed, temperature=0.5 + seed, refusal_threshold=0.6) for seed in range(3)]
    source = load_source(paths)
    hot = here / "hot.pt"
    save_checkpoint(hot, load_checkpoint(paths[0]).__class__(source.checkpoint.members, source.checkpoint.classes, 1.7))
    exported = export_model(hot, "hot.onnx").files[0]
    assert_equal_answers(hot, exported)
    together = export_model(paths).files[0]
    assert together.name == "ensemble.onnx"
    assert len(json.loads(metadata(together)["checkpoint_sha256"])) == 3
    assert np.abs(outputs_of(together, random_images())[0] - outputs_of(exported, random_images())[0]).max() > 1e-4


def metadata(path: Path) -> dict[str, str]:
    found: dict[str, str] = open_session(path.read_bytes()).get_modelmeta().custom_metadata_map
    return found


def test_the_metadata_say_what_the_file_is(make: Make) -> None:
    checkpoint = make("a.pt", SMALL, {"data": {"root": "/somewhere"}}, refusal_threshold=0.7)
    result = export_model(checkpoint, "b.onnx")
    found = metadata(result.files[0])
    assert result.num_bytes == result.files[0].stat().st_size
    assert json.loads(found["classes"]) == [str(digit) for digit in range(10)]
    assert (found["format"], found["format_version"], found["output"]) == ("mnist_trainer", "1", "probabilities")
    assert json.loads(found["refusal_threshold"]) == 0.7
    assert json.loads(found["checkpoint_sha256"]) == [sha256(checkpoint.read_bytes()).hexdigest()]
    assert found["verified_on"] == result.verified_on == "30 validation images of digits"
    assert json.loads(found["largest_difference"]) == result.largest_difference < 1e-5
    assert "test" not in found  # it was never measured
    assert str(Path(__file__).parents[2]) not in str(result.files[0].read_bytes())
    assert "/somewhere" not in found["members"]


def test_the_test_accuracy_is_that_of_run_json(digits_run: Any) -> None:
    found = metadata(export_model(digits_run.folder, "run.onnx").files[0])
    test = json.loads(found["test"])
    assert (test["accuracy"], test["count"]) == (digits_run.test.accuracy, digits_run.test.count)
    assert tuple(test["interval"]) == digits_run.test.interval
    assert "test" not in metadata(export_model(digits_run.folder / "last.pt", "last.onnx").files[0])


def test_the_same_model_gives_the_same_bytes(make: Make) -> None:
    checkpoint = make("a.pt", SMALL)
    first, second = (export_model(checkpoint, name).files[0].read_bytes() for name in ("b.onnx", "c.onnx"))
    assert first == second


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ({"validation": 0}, "100 training images of digits"),
        ({"name": "mnist", "root": "nothing/here"}, "1,442 training images of digits"),
        ({"name": "folder", "path": "nothing/here"}, "1,442 training images of digits"),
    ],
)
def test_without_validation_images_others_are_taken(
    make: Make, here: Path, monkeypatch: pytest.MonkeyPatch, data: dict[str, Any], name: str
) -> None:
    monkeypatch.setenv("MNIST_TRAINER_DATA", str(here / "empty"))
    if data.get("name") == "folder":
        checkpoint = load_checkpoint(make("a.pt", SMALL))
        config = checkpoint.config.model_copy(update={"data": checkpoint.config.data.model_copy(update=data)})
        member = checkpoint.only.__class__(config, checkpoint.weights, checkpoint.spec)
        save_checkpoint(here / "a.pt", checkpoint.__class__((member,), checkpoint.classes))
    else:
        make("a.pt", SMALL, {"data": data})
    result = export_model(here / "a.pt")
    assert result.verified_on == metadata(result.files[0])["verified_on"] == name


# --- what is not written ---


def test_a_difference_or_another_answer_is_refused_with_its_image(make: Make) -> None:
    source = load_source(make("a.pt", SMALL))
    module = ExportModule(source.predictor)

    def run(change: Callable[[Any], None]) -> float:
        def changed(images: Any) -> tuple[Any, ...]:
            probabilities = module(torch.from_numpy(images))[0].numpy()
            change(probabilities)
            return (probabilities,)

        return compare(source, changed)

    def shift(by: float) -> Callable[[Any], None]:
        return lambda probabilities: probabilities.__setitem__((17, 3), probabilities[17, 3] + by)

    assert run(lambda probabilities: None) < 1e-6
    assert 8e-6 < run(shift(9e-6)) < 1e-5
    for change in (shift(1.2e-5), shift(float("nan"))):
        with pytest.raises(CheckpointError, match=r"Image 17 of the 30 validation images of digits: .* is 1.2e-05|nan"):
            run(change)


def test_nothing_is_written_if_the_answers_differ(make: Make, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = make("a.pt", SMALL)
    (here / "b.onnx").write_text("before")
    monkeypatch.setattr(ExportModule, "forward", lambda self, images: (images[:, 0, :10].float(),))
    with pytest.raises(CheckpointError, match=r"does not give the answers of a, so nothing is written\. Image 0 of"):
        export_model(checkpoint, "b.onnx")
    assert (here / "b.onnx").read_text() == "before"
    assert sorted(path.name for path in here.iterdir()) == ["a.pt", "b.onnx"]


class DependsOnPixels(nn.Module):
    """A module that torch.export can't trace."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(784, 10)

    def forward(self, images: Tensor) -> Tensor:
        outputs: Tensor = self.linear(images.flatten(1))
        return outputs if float(images.sum()) > 0 else -outputs


class OfTwo(DependsOnPixels):
    """A module for batches of two images only."""

    def forward(self, images: Tensor) -> Tensor:
        outputs: Tensor = self.linear(images.reshape(2, 784))
        return outputs


class Own(DependsOnPixels):
    """A module that can be exported."""

    def forward(self, images: Tensor) -> Tensor:
        outputs: Tensor = self.linear(images.flatten(1)).sin()
        return outputs


def test_an_own_module_is_exported(make: Make) -> None:
    own = Own().eval()
    checkpoint = make("a.pt", SMALL, own=own)
    with pytest.raises(CheckpointError, match="model is Own, which is not part of mnist_trainer"):
        export_model(checkpoint)
    exported = export_model(checkpoint, model=Own()).files[0]
    images = random_images()
    expected = load_checkpoint(checkpoint).predictor(torch.device("cpu"), own)(images)
    np.testing.assert_allclose(outputs_of(exported, images)[0], expected, atol=1e-5)


@pytest.mark.parametrize("kind", [DependsOnPixels, OfTwo])
def test_an_own_module_that_torch_cant_export_is_one_paragraph(
    make: Make, here: Path, kind: type[nn.Module], capfd: pytest.CaptureFixture[str]
) -> None:
    checkpoint = make("a.pt", SMALL, own=kind())
    with pytest.raises(CheckpointError, match=r"torch can't export this model \(.*\)\. Its forward") as caught:
        export_model(checkpoint, model=kind())
    assert len(str(caught.value)) < 600 and "\n" not in str(caught.value) and "\x1b" not in str(caught.value)
    assert [path.name for path in here.iterdir()] == ["a.pt"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_named(make: Make, here: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    checkpoint = make("a.pt", SMALL)
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(UsageError, match=rf"needs {package}: pip install 'mnist-trainer\[export\]'"):
        export_model(checkpoint)
    assert [path.name for path in here.iterdir()] == ["a.pt"]


def test_other_requests_are_refused(make: Make, here: Path) -> None:
    checkpoint = make("a.pt", SMALL)
    with pytest.raises(UsageError, match="to must be one of onnx"):
        export_model(checkpoint, to="tflite")
    with pytest.raises(UsageError, match="is not overwritten"):
        export_model(checkpoint, checkpoint)
    with pytest.raises(CheckpointError, match=r"a\.onnx is exported already"):
        export_model(export_model(checkpoint).files[0])


def test_an_exported_file_cannot_be_explained_or_attacked(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    exported = export_model(make("a.pt", SMALL)).files[0]
    with pytest.raises(CheckpointError, match="has no gradients to explain it by"):
        predict(np.full((40, 40), 255, np.uint8), exported, explain=True)
    with pytest.raises(CheckpointError, match="the units of an exported file can't be switched off"):
        explain_result(run_evaluation(exported))
    monkeypatch.setattr(simulated, "_make_tests", lambda kind, digits, labels, seeds: digits[:, 0].copy())
    rows = measure_robustness(run_evaluation(exported), 1)
    assert {row.change for row in rows} == {"none", *SWEEPS, "photograph"}
    assert "No attacks: an exported file has no gradients." in robustness_lines(rows)


def test_what_the_exporter_prints_is_not_shown(
    make: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    export = torch.onnx.export

    def noisy(*arguments: Any, **options: Any) -> Any:
        print("Applied 7 of general pattern rewrite rules.")  # as onnxscript 0.6.0 does
        return export(*arguments, **options)

    monkeypatch.setattr("torch.onnx.export", noisy)
    export_model(make("a.pt", SMALL))
    assert capsys.readouterr() == ("", "")
