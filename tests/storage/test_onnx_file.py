"""Exported files are read as checkpoints are; damaged and foreign ones are one paragraph."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mnist_trainer import evaluate, predict
from mnist_trainer.data.digits import load_digits
from mnist_trainer.errors import CheckpointError, UsageError
from mnist_trainer.export.write import export_model
from mnist_trainer.pipeline.evaluate import calibrate, compare
from mnist_trainer.storage.onnx_file import recorded_test, with_checksum
from mnist_trainer.storage.onnx_model import load_onnx

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def exported(digits_run: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of `digits_run`, exported."""
    return export_model(digits_run.folder, tmp_path_factory.mktemp("exported") / "model.onnx").files[0]


def test_the_metrics_on_the_test_set_are_found(digits_run: Any, exported: Path, tmp_path: Path) -> None:
    """Beside the best weights of a run, in an exported file, and in one that was made of the checkpoint beside it."""
    test = json.loads((digits_run.folder / "run.json").read_text())["test"]
    best, copy = digits_run.folder / "best.pt", tmp_path / "copy.pt"
    copy.write_bytes(best.read_bytes())
    assert recorded_test(copy) is None
    copy.with_suffix(".onnx").write_bytes(b"hello")
    assert recorded_test(copy) is None
    copy.with_suffix(".onnx").write_bytes(exported.read_bytes())
    for path in (best, exported, copy):
        assert recorded_test(path) == {key: test[key] for key in ("accuracy", "interval", "errors", "count")}
    copy.write_bytes(b"another model")
    assert recorded_test(copy) is None


@pytest.mark.parametrize("split", ["test", "validation", "train"])
def test_it_is_evaluated_as_its_checkpoint(digits_run: Any, exported: Path, split: Any) -> None:
    found, expected = evaluate(exported, split=split), evaluate(digits_run.folder, split=split)
    assert (found.errors, found.count, found.confusion) == (expected.errors, expected.count, expected.confusion)
    assert found.loss == pytest.approx(expected.loss, abs=1e-5)  # cross entropy is −ln of the probability
    assert found.ece == pytest.approx(expected.ece, abs=1e-4)


def test_views_and_comparisons_work(digits_run: Any, exported: Path) -> None:
    assert evaluate(exported, views=3).errors == evaluate(digits_run.folder, views=3).errors
    assert compare(exported, digits_run.folder).comparison.p == 1


def test_it_reads_pictures_as_its_checkpoint(digits_run: Any, exported: Path) -> None:
    images = load_digits("test").images
    assert isinstance(images, torch.Tensor)
    pictures = [255 - image.numpy() for image in images[:20]]
    found, expected = predict(pictures, exported), predict(pictures, digits_run.folder)
    assert [each.text for each in found] == [each.text for each in expected]


def test_what_it_cant_do_is_said(digits_run: Any, exported: Path) -> None:
    with pytest.raises(CheckpointError, match="is an exported model, and an ensemble is made of checkpoints"):
        evaluate([exported, digits_run.folder])
    with pytest.raises(CheckpointError, match=r"is an exported model\. Calibrate its checkpoint"):
        calibrate(exported)
    with pytest.raises(UsageError, match="an exported file contains its model"):
        evaluate(exported, model=torch.nn.Linear(2, 2))


@pytest.mark.parametrize("part", range(1, 12))
def test_a_changed_byte_is_found(exported: Path, tmp_path: Path, part: int) -> None:
    content = bytearray(exported.read_bytes())
    content[len(content) * part // 12] ^= 1
    (tmp_path / "bad.onnx").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"bad\.onnx (is damaged|is no ONNX file, or a damaged one|is an ONNX)"):
        load_onnx(tmp_path / "bad.onnx")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "bad.onnx is empty. Copy it again."),
        (b"hello", "bad.onnx is no ONNX file, or a damaged one ("),
        (None, "bad.onnx is no ONNX file, or a damaged one ("),
    ],
)
def test_other_files_are_refused(exported: Path, tmp_path: Path, content: bytes | None, message: str) -> None:
    cut = exported.read_bytes()[:5000] if content is None else content
    (tmp_path / "bad.onnx").write_bytes(cut)
    with pytest.raises(CheckpointError) as caught:
        load_onnx(tmp_path / "bad.onnx")
    assert str(caught.value).startswith(str(tmp_path / message))
    assert "\n" not in str(caught.value)


def foreign(shape: list[Any], kind: int) -> Any:
    """A model of another program, which returns its input."""
    info = [onnx.helper.make_tensor_value_info(name, kind, shape) for name in ("in", "out")]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["in"], ["out"])], "g", info[:1], info[1:])
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)


@pytest.mark.parametrize(
    ("shape", "kind", "message"),
    [
        (["n", 28, 28], "UINT8", "is an ONNX file, but mnist-export did not write it: it doesn't say what its classes"),
        (["n", 32, 32], "UINT8", r"does not take uint8 images \[batch, 28, 28\], but \(uint8\) \['n', 32, 32\]"),
        (["n", 1, 28, 28], "FLOAT", r"does not take uint8 images \[batch, 28, 28\], but \(float\) \['n', 1, 28, 28\]"),
    ],
)
def test_files_of_other_programs_are_refused(tmp_path: Path, shape: list[Any], kind: str, message: str) -> None:
    model = foreign(shape, getattr(onnx.TensorProto, kind))
    (tmp_path / "other.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(CheckpointError, match=rf"other\.onnx {message}"):
        load_onnx(tmp_path / "other.onnx")


def rewrite(exported: Path, path: Path, **changed: str) -> None:
    """Write the exported file with other metadata and the right checksum."""
    model = onnx.load(exported)
    entries = {each.key: each for each in model.metadata_props}
    for key, value in changed.items():
        entries[key].value = value

    def serialize(checksum: str) -> bytes:
        entries["file_sha256"].value = checksum
        return bytes(model.SerializeToString(deterministic=True))

    path.write_bytes(with_checksum(serialize))


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("classes", "no JSON", "Expecting value"),
        ("classes", '["a", "b"]', "2 classes do not fit the outputs"),
        ("classes", "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]", "a name is missing, or is no text"),
        ("classes", "[" * 100_000, "maximum recursion depth"),
        ("members", "[]", "a name is missing, or is no text"),
        ("members", '{"a": 1}', "string indices must be integers"),
        ("members", '[{"config": {"name": 1, "data": {"name": "digits"}}}]', "a name is missing, or is no text"),
    ],
)
def test_metadata_that_do_not_fit_are_damage(exported: Path, tmp_path: Path, key: str, value: str, reason: str) -> None:
    rewrite(exported, tmp_path / "bad.onnx", **{key: value})
    with pytest.raises(CheckpointError, match=rf"bad\.onnx is damaged: its metadata can't be read \({reason}"):
        predict(np.full((40, 40), 255, np.uint8), tmp_path / "bad.onnx")


def test_another_format_version_is_named(exported: Path, tmp_path: Path) -> None:
    model = onnx.load(exported)
    (version,) = (each for each in model.metadata_props if each.key == "format_version")
    version.value = "9"
    (tmp_path / "new.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(CheckpointError, match=r"new\.onnx has format version 9, and this program reads version 1"):
        load_onnx(tmp_path / "new.onnx")


def test_without_onnx_runtime_the_install_line_is_named(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(UsageError, match=r"needs onnxruntime: pip install 'mnist-trainer\[export\]'"):
        evaluate(exported)
