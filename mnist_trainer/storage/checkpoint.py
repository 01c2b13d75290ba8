"""Checkpoints: one `.pt` file that holds all that evaluation and prediction need, on this machine or another.

Layout, version 1: `format, version, members` (a list of config and weights; one for a plain model), `classes`,
`normalization` (mean, std), `output_kind`, `temperature`, `refusal` (none yet), `split_seed`, `evaluation`
(batch size and precision), `custom` (what of it is the user's own code). `last.pt` has `training_state` besides.
Files are read with `weights_only=True` alone, so a file from a stranger cannot run code.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ConfigDict, TypeAdapter
from torch import Tensor, nn

from mnist_trainer.config.outputs import output_count
from mnist_trainer.config.schema import Config
from mnist_trainer.errors import CheckpointError
from mnist_trainer.inference.predictor import Predictor, Reading
from mnist_trainer.model.build import build_model
from mnist_trainer.storage.files import write_file

FORMAT = "mnist_trainer"
VERSION = 1


@dataclass(frozen=True)
class Checkpoint:
    """A trained model with all that is needed to use it."""

    config: Config
    weights: dict[str, Tensor]
    classes: tuple[str, ...]
    reading: Reading
    custom: dict[str, str] = field(default_factory=dict)
    training_state: dict[str, Any] | None = None

    __pydantic_config__ = ConfigDict(arbitrary_types_allowed=True)

    def build(self, model: nn.Module | None = None) -> nn.Module:
        """The model with its weights, in evaluation mode; `model` where it was trained with a module of the user's.

        Raises `CheckpointError` if that module is missing, or there are no weights yet, or they do not fit.
        """
        if self.training_state is not None and not self.training_state.get("epoch"):
            raise CheckpointError("This training was stopped in its first epoch: it has no best weights yet.")
        if model is None:
            if "model" in self.custom:
                raise CheckpointError(
                    f"This checkpoint's model is {self.custom['model']}, which is not part of mnist_trainer. "
                    "Read it in Python, with an instance of it: evaluate(…, model=…) or predict(…, model=…)."
                )
            with torch.device("meta"):  # the weights are all loaded, so none need be drawn
                model = build_model(self.config.model, output_count(self.config, len(self.classes)))
        try:
            model.load_state_dict(self.weights, assign=True)
        except RuntimeError as error:
            raise CheckpointError(f"The checkpoint's weights do not fit the model: {_first_line(error)}") from error
        return model.eval()

    def predictor(self, device: torch.device, model: nn.Module | None = None) -> Predictor:
        """The model on `device`, ready to be asked."""
        return Predictor([self.build(model)], self.reading, device)


_CHECKPOINT = TypeAdapter(Checkpoint)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Writes `checkpoint` to `path`, all or nothing. Raises `StorageError`."""
    reading = checkpoint.reading
    content: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "members": [{"config": checkpoint.config.model_dump(mode="json"), "weights": checkpoint.weights}],
        "classes": list(checkpoint.classes),
        "normalization": {"mean": reading.normalization.mean, "std": reading.normalization.std},
        "output_kind": reading.kind,
        "temperature": reading.temperature,
        "refusal": None,
        "split_seed": checkpoint.config.data.split_seed,
        "evaluation": {"batch_size": reading.batch_size, "precision": reading.precision},
        "custom": checkpoint.custom,
    }
    if checkpoint.training_state is not None:
        content["training_state"] = checkpoint.training_state
    write_file(path, lambda stream: torch.save(content, stream))


def load_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint in `path`, on the CPU. Raises `CheckpointError` that says what is wrong with the file."""
    content = _read(path)
    if not isinstance(content, Mapping) or content.get("format") != FORMAT:
        raise CheckpointError(f"{path} is a PyTorch file, but no checkpoint of mnist-train.")
    if content.get("version") != VERSION:
        raise CheckpointError(
            f"{path} has format version {content.get('version')}; this program reads {VERSION}. "
            "Read it with the version of mnist-trainer that wrote it, or a later one."
        )
    try:
        return _checkpoint(content)
    except (KeyError, TypeError, ValueError) as error:  # pydantic's is a ValueError
        raise CheckpointError(
            f"{path} is damaged: its content is not a checkpoint's ({_first_line(error)})."
        ) from error


def _checkpoint(content: Mapping[str, Any]) -> Checkpoint:
    (member,) = content["members"]
    reading = {
        "normalization": content["normalization"],
        "kind": content["output_kind"],
        **content["evaluation"],
        "temperature": content["temperature"],
    }
    return _CHECKPOINT.validate_python(
        {
            "config": member["config"],
            "weights": member["weights"],
            "classes": content["classes"],
            "reading": reading,
            "custom": content["custom"],
            "training_state": content.get("training_state"),
        }
    )


def _read(path: Path) -> object:
    if not path.exists():
        raise CheckpointError(f"{path}: there is no such file.")
    # torch and zipfile fail on foreign and damaged files in many ways: no list of exceptions is complete.
    try:
        with zipfile.ZipFile(path) as archive:
            torn = archive.testzip()  # torch.load does not look at the checksums
        content: object = None if torn else torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError as error:
        raise CheckpointError(f"{path} can't be read: {error.strerror}.") from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds Python objects besides weights and is not loaded: such a file can run code. "
            "Only checkpoints of mnist-train are read."
        ) from error
    except Exception as error:
        raise CheckpointError(f"{path} is no checkpoint, or a damaged one ({_first_line(error)}).") from error
    if torn:
        raise CheckpointError(f"{path} is damaged: the checksum of its part {torn} is wrong. Take a whole copy of it.")
    return content


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2]) or type(error).__name__
