"""`mnist-export`, and the exported file in `mnist-eval` and `mnist-predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mnist_trainer.data.digits import load_digits

from .conftest import Command

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")


def test_a_run_is_exported_evaluated_and_reads(command: Command, here: Path, digits_run: Any) -> None:
    done = command("export", digits_run.folder, "--out", "below/model.onnx")
    size = (here / "below" / "model.onnx").stat().st_size
    first, second = done.out.splitlines()
    assert (done.code, done.err) == (0, "")
    assert first == f"Written to below/model.onnx ({size:,} bytes)"
    assert second.startswith("Verified on 100 validation images of digits: probabilities differ by ")
    errors = f"({digits_run.test.errors} errors of 355"
    assert errors in command("eval", "below/model.onnx").out
    Image.fromarray(255 - load_digits("test").images[0].numpy()).save(here / "digit.png")
    (name,) = {
        command("predict", "digit.png", "--checkpoint", each).out.splitlines()[0]
        for each in (digits_run.folder, "below/model.onnx")
    }
    assert name.startswith("digit.png")


def test_the_default_name_is_that_of_the_run(command: Command, here: Path, digits_run: Any) -> None:
    assert command("export", digits_run.folder).code == 0
    assert [path.name for path in here.glob("*.onnx")] == ["shared.onnx"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "Name what to export: a run folder"),
        (["nowhere"], 4, "nowhere: there is no such file"),
        (["tiny.yaml"], 4, "tiny.yaml is no checkpoint: it is a text file"),
        (["bundled", "--to", "tflite"], 2, "tflite"),
        (["bundled", "--out", "folder"], 2, "folder is a folder. Name a file"),
        (["bundled", "--quantize", "5"], 2, "quantize must be 8 or 4 (bits); got 5."),
        (["bundled", "--prune", "50"], 2, "such as 0.5 for half of the weights; got 50."),
        (["bundled", "--benchmark", "--to", "onnx", "--out", "a.onnx"], 2, "Leave out --to and --out."),
    ],
)
def test_mistakes_are_one_paragraph(
    command: Command, here: Path, arguments: list[str], code: int, message: str
) -> None:
    (here / "folder").mkdir()
    done = command("export", *arguments)
    assert (done.code, done.out) == (code, "")
    assert message in done.err and "Traceback" not in done.err
    assert sorted(path.name for path in here.iterdir()) == ["folder", "tiny.yaml"]


@pytest.mark.parametrize("name", ["eval", "predict"])
def test_a_damaged_file_exits_with_4(command: Command, here: Path, name: str) -> None:
    (here / "bad.onnx").write_bytes(b"\x08\x0a" + b"x" * 100)
    arguments = ["bad.onnx"] if name == "eval" else ["tiny.png", "--checkpoint", "bad.onnx"]
    done = command(name, *arguments)
    assert (done.code, done.out) == (4, "")
    assert done.err.startswith("bad.onnx is no ONNX file, or a damaged one (")


def test_a_compressed_file_is_compared_with_the_original(command: Command, here: Path, digits_run: Any) -> None:
    done = command("export", digits_run.folder, "--quantize", "8", "--prune", "0.5", "--out", "small.onnx")
    assert (done.code, done.err) == (0, "")
    _, verified, head, original, quantized, small, *_ = done.out.splitlines()
    assert verified.endswith(" at most from the model with these weights")
    assert head.split()[:2] == ["bytes", "start"] and head.endswith("largest difference  errors  McNemar's p")
    assert (
        original.startswith("original ")
        and quantized.startswith("8 bits ")
        and small.startswith("8 bits, 50 % pruned ")
    )
    assert "100 images" in head and f" {(here / 'small.onnx').stat().st_size:,} " in small
