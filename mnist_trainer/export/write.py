"""`export_model` writes a trained model in one of the `FORMATS`, after its answers were compared with the model's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from mnist_trainer.errors import UsageError, one_line
from mnist_trainer.export.hub import export_hub
from mnist_trainer.export.keras import export_keras
from mnist_trainer.export.onnx import export_onnx
from mnist_trainer.export.pt2 import export_pt2
from mnist_trainer.export.source import load_source
from mnist_trainer.export.state_dict import export_state_dict
from mnist_trainer.files import make_folder, user_path, write_bytes
from mnist_trainer.pipeline.evaluate import CheckpointRef, check_output_file

FORMATS = {
    "onnx": (export_onnx, ".onnx"),
    "pt2": (export_pt2, ".pt2"),
    "state_dict": (export_state_dict, "-weights.pt"),
    "keras": (export_keras, ".keras"),
    "hub": (export_hub, "-hub"),
}
"""The function of each format, and the ending of its file or folder."""


@dataclass(frozen=True)
class ExportResult:
    """The files that were written, the largest difference from the model, and the images that it was measured on."""

    files: tuple[Path, ...]
    num_bytes: int
    largest_difference: float
    verified_on: str


def export_model(
    checkpoint: CheckpointRef | Iterable[CheckpointRef],
    out: str | Path | None = None,
    *,
    to: str = "onnx",
    model: nn.Module | None = None,
) -> ExportResult:
    """Write a `.pt` file, a run folder's `best.pt`, `latest` or `bundled`, or the ensemble of several, to `out`.

    `to` is one of `FORMATS`; `out` is by default the name of the run with the ending of the format. `model` is the
    user's own module, if the checkpoint was trained with it. All validation images go through the exported file first;
    if a probability differs by more than 1e-5 from that of the float32 model, nothing is written. Raises
    `CheckpointError`, `UsageError` or `StorageError`.
    """
    if to not in FORMATS:
        raise UsageError(f"to must be one of {', '.join(FORMATS)}; got {one_line(repr(to))}.")
    export, ending = FORMATS[to]
    source = load_source(checkpoint, model)
    path = Path(f"{source.name}{ending}") if out is None else user_path(out)
    check_output_file(path / "README.md" if to == "hub" else path, source.paths)
    files, largest = export(source, path)
    for file, content in files.items():
        make_folder(file.parent)
        write_bytes(file, content)
    return ExportResult(tuple(files), sum(map(len, files.values())), largest, source.images_name)
