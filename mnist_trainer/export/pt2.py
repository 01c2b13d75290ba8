"""The format `pt2`: a program of `torch.export`, which torch loads without the classes of this package."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from numpy import uint8
from numpy.typing import NDArray

from mnist_trainer.export.program import convert_errors, trace
from mnist_trainer.export.source import ExportSource, compare

METADATA = "metadata.json"
"""The name of the extra file with the metadata."""

NOTES = ("nn_module_stack", "source_fn_stack", "torch_fn", "from_node")
"""Where an operation came from, for debugging: it would be stored with each of them, up to 80 KB in all."""


def export_pt2(source: ExportSource, out: Path) -> tuple[dict[Path, bytes], float]:
    """Return the content of the file `out`, and its largest difference from the model.

    Raises `CheckpointError` if the model can't be exported or the file gives other answers.
    """
    traced = trace(source)
    for node in traced.graph.nodes:
        for key in NOTES:
            node.meta.pop(key, None)
    with convert_errors():
        program = torch.export.load(BytesIO(_save(traced, {}))).module()

    def run(images: NDArray[uint8]) -> tuple[NDArray[np.float32], ...]:
        return tuple(output.numpy() for output in program(torch.from_numpy(images)))

    largest = compare(source, run)
    return {out: _save(traced, source.metadata(largest))}, largest


def _save(traced: torch.export.ExportedProgram, metadata: dict[str, object]) -> bytes:
    """Return the bytes of the file."""
    stream = BytesIO()
    torch.export.save(traced, stream, extra_files={METADATA: json.dumps(metadata)})
    return stream.getvalue()
