"""`.onnx` files of `mnist-export`, read as models that evaluate and predict as a checkpoint does, by ONNX Runtime.

Input `images`: uint8 [batch, 28, 28]. Outputs: `probabilities` float32 [batch, K], and, of a model that can refuse,
`none` float32 [batch]. Normalization, temperature and the mean over members are inside. docs/export.md lists the
metadata.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy import uint8
from numpy.typing import NDArray
from torch import Tensor, nn

from mnist_trainer.config.load import load_config
from mnist_trainer.data.normalize import Normalization
from mnist_trainer.errors import CheckpointError, ConfigError, UsageError
from mnist_trainer.inference.predictor import InferenceSpec, Predictor
from mnist_trainer.storage.checkpoint import Checkpoint, Member, load_checkpoint
from mnist_trainer.storage.tensor_file import open_regular, short_reason

FORMAT, VERSION = "mnist_trainer", 1

NO_CHECKSUM = "0" * 64

Run = Callable[[NDArray[uint8]], tuple[NDArray[np.float32], ...]]
"""Maps images uint8 [B, 28, 28] to probabilities [B, K] and, if the model can refuse, the score of "none" [B]."""


def import_extra(name: str, purpose: str) -> Any:
    """Import a module of the extra `[export]`. Raises `UsageError` with the install line if it is missing."""
    try:
        return import_module(name)
    except ImportError:
        package = name.partition(".")[0]
        raise UsageError(f"{purpose} needs {package}: pip install 'mnist-trainer[export]'") from None


def open_session(content: bytes, threads: int = 1) -> Any:
    """Return an ONNX Runtime session on the CPU. Raises ONNX Runtime's errors, which have no common base class."""
    runtime = import_extra("onnxruntime", "Running an .onnx file")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # errors are raised, too
    return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def run_session(session: Any) -> Run:
    """Return the function that runs the model."""
    return lambda images: tuple(session.run(None, {"images": images}))


def with_checksum(serialize: Callable[[str], bytes]) -> bytes:
    """Return the bytes of a file with its own SHA-256 inside; `serialize` takes the value of `file_sha256`."""
    content = serialize(NO_CHECKSUM)
    return content.replace(NO_CHECKSUM.encode(), hashlib.sha256(content).hexdigest().encode())


class OnnxPredictor(Predictor):
    """An exported model as a `Predictor`: normalization and temperature are inside of it."""

    def __init__(self, session: Any, spec: InferenceSpec) -> None:
        super().__init__([nn.Identity()], [spec], torch.device("cpu"))
        self.gives_raw_outputs = False
        self._run = run_session(session)

    def read(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the probabilities [B, K] and those of "none" [B], float64; 0 if the model cannot refuse."""
        probabilities, *none = (torch.from_numpy(output).double() for output in self._run(images.numpy()))
        return probabilities, none[0] if none else torch.zeros(len(images), dtype=torch.float64)

    def outputs(self, batches: Any, member: int = 0) -> Tensor:
        """Return the probabilities [N, K], float32, of batches of uint8 images [B, 28, 28]."""
        return torch.cat([torch.from_numpy(self._run(images.numpy())[0]) for images in batches])


@dataclass(frozen=True)
class OnnxModel(Checkpoint):
    """An exported model, used as a checkpoint is; its members have configs and no weights."""

    content: bytes = field(default=b"", repr=False)

    def predictor(self, device: torch.device, model: nn.Module | None = None) -> Predictor:
        """Return the model, which runs on the CPU whatever `device` is."""
        if model is not None:
            raise UsageError("model= is for checkpoints; an exported file contains its model.")
        return OnnxPredictor(open_session(self.content, torch.get_num_threads()), self.members[0].spec)


def load_model(path: Path) -> Checkpoint:
    """Return the checkpoint or, by its ending, the exported `.onnx` model in `path`. Raises `CheckpointError`."""
    return load_onnx(path) if path.suffix.lower() == ".onnx" else load_checkpoint(path)


def load_onnx(path: Path) -> OnnxModel:
    """Return the model that `mnist-export` wrote to `path`.

    Raises `CheckpointError` for a damaged file and for ONNX files of other programs, `UsageError` without ONNX Runtime.
    """
    with open_regular(path) as stream:
        content = stream.read()
    if not content:
        raise CheckpointError(f"{path} is empty. Copy it again.")
    try:
        session = open_session(content)
    except UsageError:
        raise
    except Exception as error:
        raise CheckpointError(f"{path} is no ONNX file, or a damaged one ({short_reason(error)}).") from error
    metadata: dict[str, str] = session.get_modelmeta().custom_metadata_map
    _check_origin(path, metadata, session)
    checksum = metadata.get("file_sha256", "")
    if not checksum or with_checksum(lambda zeros: content.replace(checksum.encode(), zeros.encode())) != content:
        raise CheckpointError(f"{path} is damaged, or was changed after mnist-export wrote it. Export it again.")
    try:
        return _from_metadata(metadata, content)
    except (LookupError, TypeError, ValueError, ConfigError) as error:
        raise CheckpointError(f"{path} is damaged: its metadata can't be read ({short_reason(error)}).") from error


def _check_origin(path: Path, metadata: Mapping[str, str], session: Any) -> None:
    """Raise `CheckpointError` if the file is not of `mnist-export`, or of another version, or takes other images."""
    inputs = [(each.type, each.shape[1:]) for each in session.get_inputs()]
    if inputs != [("tensor(uint8)", [28, 28])]:
        found = ", ".join(f"{each.type.removeprefix('tensor')} {each.shape}" for each in session.get_inputs())
        raise CheckpointError(f"{path} does not take uint8 images [batch, 28, 28], but {found or 'nothing'}.")
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is an ONNX file, but mnist-export did not write it: it doesn't say what its classes are."
        )
    if metadata.get("format_version") != str(VERSION):
        raise CheckpointError(
            f"{path} has format version {metadata.get('format_version')}, and this program reads version {VERSION}. "
            "Export it again with this program, or use it with the program that wrote it."
        )


def _from_metadata(metadata: Mapping[str, str], content: bytes) -> OnnxModel:
    """Return the model. Raises `LookupError`, `TypeError`, `ValueError` or `ConfigError` for damaged metadata."""
    threshold = metadata.get("refusal_threshold")
    spec = InferenceSpec(
        Normalization(0.0, 1.0),
        "values" if metadata["output"] == "values" else "probabilities",
        refusal_threshold=None if threshold is None else float(threshold),
    )
    members = [
        Member(load_config(each["config"]), {}, spec, split_counts=each["split_counts"] and tuple(each["split_counts"]))
        for each in json.loads(metadata["members"])
    ]
    return OnnxModel(tuple(members), tuple(json.loads(metadata["classes"])), content=content)
