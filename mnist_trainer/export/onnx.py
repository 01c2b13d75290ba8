"""The format `onnx`: one file for ONNX Runtime and other programs, which takes uint8 images."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mnist_trainer.errors import CheckpointError
from mnist_trainer.export.module import TwinModule
from mnist_trainer.export.program import convert_errors, trace, trace_module
from mnist_trainer.export.source import ExportSource, compare
from mnist_trainer.storage.onnx_file import import_extra, open_session, run_opencv, run_session, with_checksum

PURPOSE = "Exporting to ONNX"

SMALL_CONSTANT = 64
"""The largest number of elements that is computed at export where weights are packed: shapes, but no weights."""


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
    """Return the model as ONNX's `ModelProto`."""
    names = ["probabilities", "none"][: 1 + (source.predictor.refusal_threshold is not None)]
    return _to_onnx(trace(source), names, is_packed=bool(source.packed))


def export_twin(source: ExportSource) -> bytes:
    """Return the ONNX twin of a single model with logits, which OpenCV reads (storage/onnx_file.py).

    Raises `CheckpointError` if it is no such model, or if the twin gives other answers.
    """
    for name in ("onnx", "onnxscript"):
        import_extra(name, PURPOSE)
    specs, refuses = source.predictor.specs, source.predictor.refusal_threshold is not None
    if [spec.kind for spec in specs] != ["logits"]:
        raise CheckpointError(f"{source.name}: a twin is made of a single model whose outputs are logits.")
    proto = _to_onnx(trace_module(TwinModule(source.predictor), torch.zeros(2, 1, 28, 28)), ["logits"])
    temperature = specs[0].temperature
    largest = compare(source, run_opencv(proto.SerializeToString(), temperature, refuses))
    return _serialize(proto, source.metadata(largest) | {"temperature": temperature})


def _to_onnx(traced: torch.export.ExportedProgram, names: list[str], is_packed: bool = False) -> Any:
    """Return a traced model with outputs of these `names` as a `ModelProto`, without the exporter's notes on files."""
    with convert_errors():
        program: Any = torch.onnx.export(
            traced,
            input_names=["images"],
            output_names=names,
            external_data=False,
            dynamo=True,
            verbose=False,
            optimize=not is_packed,
        )
        proto = _keep_packed(program.model_proto) if is_packed else program.model_proto
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


def _keep_packed(proto: Any) -> Any:
    """Return the optimized model, in which packed weights are still packed: they are unpacked when it is loaded."""
    optimizer = import_extra("onnxscript.optimizer", PURPOSE)
    return optimizer.optimize(proto, output_size_limit=SMALL_CONSTANT)


def _serialize(proto: Any, metadata: Mapping[str, object]) -> bytes:
    """Return the bytes of the file with its metadata; what is no text becomes JSON."""
    for key, value in metadata.items():
        proto.metadata_props.add(key=key, value=value if isinstance(value, str) else json.dumps(value))
    checksum = proto.metadata_props.add(key="file_sha256")

    def serialize(value: str) -> bytes:
        """Return the bytes of the file with this checksum."""
        checksum.value = value
        content: bytes = proto.SerializeToString(deterministic=True)
        return content

    return with_checksum(serialize)
