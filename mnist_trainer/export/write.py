"""`export_model` writes a trained model in one of the `FORMATS`, after its answers were compared with the model's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from mnist_trainer.errors import CheckpointError, UsageError, one_line
from mnist_trainer.export.benchmark import Measurement, measure_export, measure_files, measure_format
from mnist_trainer.export.compress import check_compression, compress
from mnist_trainer.export.hub import export_hub
from mnist_trainer.export.keras import export_keras
from mnist_trainer.export.onnx import export_onnx
from mnist_trainer.export.pt2 import export_pt2
from mnist_trainer.export.source import ExportSource, load_source
from mnist_trainer.export.state_dict import export_state_dict
from mnist_trainer.files import make_folder, user_path, write_bytes
from mnist_trainer.pipeline.evaluate import CheckpointRef
from mnist_trainer.storage.run_folder import check_output_file

FORMATS = {
    "onnx": (export_onnx, ".onnx"),
    "pt2": (export_pt2, ".pt2"),
    "state_dict": (export_state_dict, "-weights.pt"),
    "keras": (export_keras, ".keras"),
    "hub": (export_hub, "-hub"),
}
"""The function of each format, and the ending of its file or folder."""

COMPRESSED = ("onnx", "pt2", "state_dict")
"""The formats that store quantized and pruned weights."""


@dataclass(frozen=True)
class ExportResult:
    """The files that were written, the largest difference from the model, and the images that it was measured on."""

    files: tuple[Path, ...]
    num_bytes: int
    largest_difference: float
    verified_on: str
    measured: tuple[Measurement, ...] = ()
    """Of compressed models: the file of the original weights, that with fewer bits alone if it is pruned as well, and
    the compressed one."""


def export_model(
    checkpoint: CheckpointRef | Iterable[CheckpointRef],
    out: str | Path | None = None,
    *,
    to: str = "onnx",
    model: nn.Module | None = None,
    quantize: int | None = None,
    prune: float | None = None,
) -> ExportResult:
    """Write a `.pt` file, a run folder's `best.pt`, `latest` or `bundled`, or the ensemble of several, to `out`.

    `to` is one of `FORMATS`; `out` is by default the name of the run with the ending of the format. `model` is the
    user's own module, if the checkpoint was trained with it. All validation images go through the exported file first;
    if a probability differs by more than 1e-5 from that of the float32 model, nothing is written.

    `quantize` stores the weights of linear and convolutional layers in 8 or 4 bits, `prune` sets a share of them to
    zero: those with the smallest magnitude in all layers together. Then the file has to give the answers of the model
    with these weights, and `measured` compares it with the file of the original. Raises `CheckpointError`, `UsageError`
    or `StorageError`.
    """
    if to not in FORMATS:
        raise UsageError(f"to must be one of {', '.join(FORMATS)}; got {one_line(repr(to))}.")
    export, ending = FORMATS[to]
    check_compression(quantize, prune)
    if quantize or prune:
        _check_compressed(to)
    source = load_source(checkpoint, model)
    path = Path(f"{source.name}{ending}") if out is None else user_path(out)
    check_output_file(path / "README.md" if to == "hub" else path, source.paths)
    small = compress(source, quantize, prune) if quantize or prune else source
    files, largest = export(small, path)
    measured = _measure_steps(source, to, path, quantize, prune, files) if small is not source else ()
    for file, content in files.items():
        make_folder(file.parent)
        write_bytes(file, content)
    return ExportResult(tuple(files), sum(map(len, files.values())), largest, source.images_name, measured)


def _measure_steps(
    source: ExportSource, to: str, path: Path, quantize: int | None, prune: float | None, files: dict[Path, bytes]
) -> tuple[Measurement, ...]:
    """Measure the original, the file with fewer bits alone if it is pruned as well, and the compressed `files`."""
    export, _ = FORMATS[to]
    steps = [("original", export(source, path)[0])]
    if quantize and prune:
        steps.append((compression_name(quantize, None), export(compress(source, quantize), path)[0]))
    steps.append((compression_name(quantize, prune), files))
    return tuple(measure_export(name, to, content, source) for name, content in steps)


def compression_name(quantize: int | None, prune: float | None) -> str:
    """Return `8 bits, 50 % pruned`."""
    parts = [f"{quantize} bits"] if quantize else []
    return ", ".join([*parts, f"{100 * prune:g} % pruned"] if prune else parts)


def benchmark_formats(
    checkpoint: CheckpointRef | Iterable[CheckpointRef], *, quantize: int | None = None, prune: float | None = None
) -> tuple[tuple[Measurement, ...], dict[str, str]]:
    """Measure the checkpoint and the file of each format; the temporary files are removed.

    Returns the measurements, and the reasons for formats that this model can't be exported to, or whose packages are
    not installed. Raises `CheckpointError` or `UsageError` if the model can't be loaded.
    """
    check_compression(quantize, prune)
    source = load_source(checkpoint)
    measured, reasons = [measure_files("checkpoint", "checkpoint", source.paths, source)], {}
    small = compress(source, quantize, prune) if quantize or prune else source
    for name, (export, ending) in FORMATS.items():
        try:
            if small.packed:
                _check_compressed(name)
            measured.append(measure_format(name, export, ending, small))
        except (CheckpointError, UsageError) as error:
            reasons[name] = str(error)
    return tuple(measured), reasons


def _check_compressed(to: str) -> None:
    """Raise `UsageError` for a format that does not store quantized and pruned weights."""
    if to not in COMPRESSED:
        raise UsageError(f"quantize and prune are for {', '.join(COMPRESSED)}; {to} stores float32 weights.")
