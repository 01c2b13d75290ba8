"""Files of `mnist-export` as checkpoints of torch, for evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mnist_trainer.config.layers import OutputKind
from mnist_trainer.config.load import load_config
from mnist_trainer.data.normalize import Normalization
from mnist_trainer.errors import UsageError
from mnist_trainer.inference.predictor import InferenceSpec, Predictor
from mnist_trainer.storage.checkpoint import Checkpoint, Member, load_checkpoint
from mnist_trainer.storage.onnx_file import metadata_errors, open_session, read_onnx, run_session


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
    """Return the model that `mnist-export` wrote to `path`. Raises `CheckpointError`, `UsageError` as `read_onnx`."""
    file = read_onnx(path)
    with metadata_errors(path):
        kind: OutputKind = "probabilities" if file.gives_probabilities else "values"
        spec = InferenceSpec(Normalization(0.0, 1.0), kind, refusal_threshold=file.refusal_threshold)
        members = [
            Member(
                load_config(each["config"]), {}, spec, split_counts=(counts := each["split_counts"]) and tuple(counts)
            )
            for each in file.members
        ]
    return OnnxModel(tuple(members), file.classes, content=file.content)
