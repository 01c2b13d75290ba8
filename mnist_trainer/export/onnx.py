"""The format `onnx`: one file for ONNX Runtime and other programs, which takes uint8 images."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mnist_trainer.export.program import convert_errors, trace
from mnist_trainer.export.source import ExportSource, compare
from mnist_trainer.storage.onnx_file import import_extra, open_session, run_session, with_checksum

PURPOSE = "Exporting to ONNX"


def export_onnx(source: ExportSource, out: Path) -> tuple[dict[Path, bytes], float]:
    """Return the content of the file `out`, and its largest difference from the model.

    Raises `CheckpointError` if the model can't be exported or the file gives other answers, `UsageError` if a package
    is missing.
    """
    for name in ("onnx", "onnxscript", "onnxruntime"):
        import_extra(name, PURPOSE)
    proto = _convert(source)
    session = open_session(proto.SerializeToString(), torch.get_num_threads())
    largest = compare(source, run_session(session))
    return {out: _serialize(proto, source.metadata(largest))}, largest


def _convert(source: ExportSource) -> Any:
    """Return the model as ONNX's `ModelProto`, without the notes of the exporter, which name files of this machine."""
    names = ["probabilities", "none"][: 1 + (source.predictor.refusal_threshold is not None)]
    traced = trace(source)
    with convert_errors():
        program: Any = torch.onnx.export(
            traced, input_names=["images"], output_names=names, external_data=False, dynamo=True, verbose=False
        )
    proto = program.model_proto
    for part in (
        proto,
        proto.graph,
        *proto.graph.node,
        *proto.graph.input,
        *proto.graph.output,
        *proto.graph.value_info,
    ):
        part.ClearField("metadata_props")
    return proto


def _serialize(proto: Any, metadata: Mapping[str, object]) -> bytes:
    """Return the bytes of the file with its metadata; what is no text becomes JSON."""
    for key, value in metadata.items():
        proto.metadata_props.add(key=key, value=value if isinstance(value, str) else json.dumps(value))
    checksum = proto.metadata_props.add(key="file_sha256")

    def serialize(value: str) -> bytes:
        checksum.value = value
        content: bytes = proto.SerializeToString(deterministic=True)
        return content

    return with_checksum(serialize)
