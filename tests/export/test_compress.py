"""`--quantize` and `--prune`: files that are smaller, and answer as the model with these weights does."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mnist_trainer.errors import CheckpointError, UsageError
from mnist_trainer.export.benchmark import LOADERS, Measurement, drawbacks, measurement_rows
from mnist_trainer.export.compress import compress, largest_weights, pack, unpack
from mnist_trainer.export.source import load_source
from mnist_trainer.export.write import COMPRESSED, FORMATS, benchmark_formats, export_model
from mnist_trainer.storage.checkpoint import load_checkpoint
from mnist_trainer.storage.onnx_file import open_session

from .conftest import SMALL, random_images

Make = Callable[..., Path]

WIDE = {"architecture": "mlp", "hidden": [200]}
CNN = {"architecture": "cnn", "channels": [4, 8], "hidden": [200], "batch_norm": True}


def run_file(to: str, files: tuple[Path, ...], images: Tensor) -> Tensor:
    """The probabilities of an exported file, by the libraries of its format alone."""
    if to == "onnx":
        (found, *_) = open_session(files[0].read_bytes()).run(None, {"images": images.numpy()})
        return torch.from_numpy(found)
    if to == "pt2":
        return torch.export.load(files[0]).module()(images)[0]
    script: dict[str, Any] = {"__name__": "elsewhere"}
    exec(files[1].read_text(), script)
    script["model"].load_state_dict(script["unpack_state"](torch.load(files[0], weights_only=True), script["model"]))
    return script["classify"](images)[0].detach()


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("shape", [(5, 7), (3, 2, 3, 3), (1, 1)])
def test_each_weight_is_the_nearest_of_the_levels_of_its_output(bits: int, shape: tuple[int, ...]) -> None:
    weight = torch.randn(shape) * torch.logspace(-3, 3, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    step = weight.abs().flatten(1).amax(dim=1) / (2 ** (bits - 1) - 1)
    found = unpack(weight.shape, **pack(weight, bits=bits))
    assert (found - weight).abs().flatten(1).amax(dim=1).le(step / 2 * (1 + 1e-5)).all()
    levels = (found.flatten(1) / step[:, None]).round()
    torch.testing.assert_close(levels * step[:, None], found.flatten(1))
    assert levels.abs().max() == 2 ** (bits - 1) - 1  # the largest weight stays


def test_an_output_without_weights_stays_zero() -> None:
    weight = torch.zeros(2, 6)
    weight[1, 0] = 1
    assert torch.equal(unpack(weight.shape, **pack(weight, bits=4)), weight)


@pytest.mark.parametrize("bits", [None, 8, 4])
@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.9, 1.0])
def test_pruned_weights_are_zero_and_the_others_stay(bits: int | None, share: float) -> None:
    weight = torch.randn(9, 13)
    keep = largest_weights({"a": weight}, share)["a"]
    packed = pack(weight, keep, bits)
    found = unpack(weight.shape, **packed)
    assert (found[~keep] == 0).all()
    if bits is None:
        assert torch.equal(found[keep], weight[keep])
    whole = pack(weight, None, bits)
    assert sum(part.nbytes for part in packed.values()) <= sum(part.nbytes for part in whole.values()) + 1


def test_the_smallest_weights_of_all_layers_together_are_pruned() -> None:
    small, large = torch.full((2, 5), 0.1), torch.full((2, 5), -3.0)
    small[0, 0] = 9.0
    keep = largest_weights({"small": small, "large": large}, 0.45)
    assert keep["large"].all()
    assert keep["small"].sum() == 1 and keep["small"][0, 0]


@pytest.mark.slow
@pytest.mark.parametrize("to", ["onnx", "pt2", "state_dict"])
@pytest.mark.parametrize(("bits", "share"), [(8, None), (4, None), (None, 0.6), (4, 0.6)])
@pytest.mark.parametrize("model", [WIDE, CNN], ids=["mlp", "cnn"])
def test_a_file_is_smaller_and_gives_the_answers_of_the_compressed_model(
    make: Make, monkeypatch: pytest.MonkeyPatch, model: Any, bits: int | None, share: float | None, to: str
) -> None:
    monkeypatch.setattr("mnist_trainer.export.write.measure_export", lambda *arguments: None)
    checkpoint = make("a.pt", model, refusal_threshold=0.7, temperature=0.7)
    plain, images = export_model(checkpoint, "plain", to=to), random_images()
    small = export_model(checkpoint, "small", to=to, quantize=bits, prune=share)
    weights = sum(parameter.numel() for parameter in load_source(checkpoint).predictor.parameters())
    saved = 4 * weights * (1 - (bits or 32) / 32 * (1 - (share or 0))) - weights * (share is not None) / 8
    assert plain.files[0].stat().st_size - small.files[0].stat().st_size > 0.9 * saved - (
        50_000 if to == "pt2" else 15_000
    )
    expected = compress(load_source(checkpoint), bits, share).predictor.read(images)[0]
    torch.testing.assert_close(run_file(to, small.files, images).double(), expected, atol=1e-5, rtol=0)
    assert (expected - load_checkpoint(checkpoint).predictor(torch.device("cpu")).read(images)[0]).abs().max() > 1e-5


@pytest.mark.slow
def test_the_members_of_an_ensemble_are_compressed(make: Make) -> None:
    paths = [make(f"{seed}.pt", WIDE, seed=seed) for seed in range(2)]
    done, images = export_model(paths, to="onnx", quantize=8), random_images()
    expected = compress(load_source(paths), 8).predictor.read(images)[0]
    torch.testing.assert_close(run_file("onnx", done.files, images).double(), expected, atol=1e-5, rtol=0)
    original, small = done.measured
    assert (original.name, small.name) == ("original", "8 bits")
    assert small.num_bytes == done.num_bytes < 0.4 * original.num_bytes
    assert original.num_images == 30 and original.errors is not None and small.difference(original) > 1e-5


def test_the_metadata_say_how_it_was_compressed(make: Make, digits_run: Any) -> None:
    done = export_model(digits_run.folder, "a.onnx", quantize=4, prune=0.25)
    found = open_session(done.files[0].read_bytes()).get_modelmeta().custom_metadata_map
    assert json.loads(found["compression"]) == {"bits": 4, "pruned": 0.25}
    assert "test" not in found  # it is that of the original


@pytest.mark.slow
def test_the_script_of_packed_weights_runs_where_this_package_cant_be_imported(make: Make, here: Path) -> None:
    _, script = export_model(make("a.pt", WIDE), to="state_dict", quantize=4, prune=0.5).files
    from PIL import Image

    Image.fromarray(random_images(1)[0].numpy()).save(here / "image.png")
    code = "import sys, runpy; sys.modules['mnist_trainer'] = None; sys.argv = sys.argv[1:]"
    code += "; runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-c", code, str(script), "image.png"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"quantize": 5}, UsageError, r"quantize must be 8 or 4 \(bits\); got 5"),
        ({"quantize": 0}, UsageError, "quantize must be 8 or 4"),
        ({"prune": 50.0}, UsageError, r"between 0 and 1, such as 0\.5 .*got 50"),
        ({"prune": 0.0}, UsageError, "between 0 and 1"),
        ({"prune": float("nan")}, UsageError, "between 0 and 1"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Make, here: Path, options: Any, error: Any, message: str) -> None:
    checkpoint = make("a.pt", SMALL)
    with pytest.raises(error, match=message):
        export_model(checkpoint, **options)
    assert [path.name for path in here.iterdir()] == ["a.pt"]


def test_a_format_of_float32_weights_and_a_model_without_layers_are_refused(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mnist_trainer.export.write.COMPRESSED", ("onnx",))
    with pytest.raises(UsageError, match="quantize and prune are for onnx; pt2 stores float32 weights"):
        export_model(make("a.pt", SMALL), to="pt2", quantize=8)
    own = nn.Sequential(nn.Flatten(), nn.AdaptiveAvgPool1d(10), nn.BatchNorm1d(10))
    with pytest.raises(CheckpointError, match="no linear or convolutional layer"):
        export_model(make("b.pt", SMALL, own=own), to="onnx", model=own, quantize=8)


def measurement(name: str, **values: Any) -> Measurement:
    base = Measurement(name, 1000, 1.0, 0.002, 0.5, 2, torch.tensor([[0.9, 0.1], [0.2, 0.8]]), torch.tensor([0, 1]))
    return replace(base, **values)


def test_a_table_compares_each_file_with_the_first() -> None:
    worse = measurement("4 bits", num_bytes=300, probabilities=torch.tensor([[0.4, 0.6], [0.2, 0.8]]))
    heads, rows = measurement_rows([measurement("original"), worse])
    assert heads[4] == "2 images"
    assert rows[0] == ["original", "1,000", "1.00 s", "2.00 ms", "500 ms", "-", "0", "-"]
    assert rows[1] == ["4 bits", "300", "1.00 s", "2.00 ms", "500 ms", "5.0e-01", "1", "1"]
    without = [replace(each, labels=torch.empty(0)) for each in (measurement("original"), worse)]
    assert [row[-2:] for row in measurement_rows(without)[1]] == [["-", "-"], ["-", "-"]]


def test_it_is_said_if_a_compressed_file_is_slower_or_not_smaller() -> None:
    first = measurement("original")
    assert drawbacks([first, measurement("8 bits", num_bytes=500)]) == []
    assert drawbacks([first, measurement("8 bits", one_image=0.004, all_images=1.0)]) == [
        "8 bits: not smaller than original, 1.00 × the bytes",
        "8 bits: slower, 2.00 × the time for one image, 2.00 × the time for 2 images",
    ]


def test_it_is_said_if_pruning_makes_a_quantized_file_larger() -> None:
    files = [measurement("original"), measurement("8 bits", num_bytes=400, start=9.0)]
    assert drawbacks([*files, measurement("8 bits, 1 % pruned", num_bytes=600)]) == [
        "8 bits, 1 % pruned: not smaller than 8 bits, 1.50 × the bytes"
    ]


def test_a_quantized_and_pruned_file_is_measured_beside_the_quantized_one(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "mnist_trainer.export.write.measure_export",
        lambda name, to, files, source: measurement(name, num_bytes=sum(map(len, files.values()))),
    )
    done = export_model(make("a.pt", SMALL), to="state_dict", quantize=8, prune=0.01)
    original, quantized, pruned = done.measured
    assert [each.name for each in done.measured] == ["original", "8 bits", "8 bits, 1 % pruned"]
    assert original.num_bytes > quantized.num_bytes and pruned.num_bytes == done.num_bytes


def test_a_format_that_is_not_compressed_is_named_by_the_benchmark(
    make: Make, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for function in ("write.measure_files", "benchmark.measure_export"):
        monkeypatch.setattr(f"mnist_trainer.export.{function}", lambda name, *arguments: measurement(name))
    (here / "model-weights.py").write_text("mine")  # the temporary files are not written here
    measured, reasons = benchmark_formats(make("a.pt", SMALL), quantize=8)
    assert [each.name for each in measured] == ["checkpoint", *COMPRESSED]
    assert {*reasons} == {*FORMATS} - {*COMPRESSED}
    assert reasons["keras"].endswith("keras stores float32 weights.")
    assert {*LOADERS} == {"checkpoint", *FORMATS}


@pytest.mark.slow
def test_the_benchmark_has_a_row_for_each_format_or_a_reason(make: Make, here: Path) -> None:
    measured, reasons = benchmark_formats(make("a.pt", SMALL))
    assert {each.name for each in measured} | {*reasons} == {"checkpoint", *FORMATS}
    assert all("is not installed" in reason for reason in reasons.values())
    assert all(each.difference(measured[0]) < 1e-5 for each in measured)
    _, reasons = benchmark_formats([make("b.pt", SMALL), make("c.pt", SMALL, seed=1)])
    assert reasons["state_dict"].startswith("This checkpoint is an ensemble of 2 models")
    assert sorted(path.name for path in here.iterdir()) == ["a.pt", "b.pt", "c.pt"]
