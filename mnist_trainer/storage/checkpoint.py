"""Checkpoints: `.pt` files with all that evaluation and prediction need, on this machine or another.

Format 4: `format, version, members, classes, temperature` (of an ensemble: it acts on the logarithm of the mean
probability) and `training_state` (in `last.pt`, else None). A model has one member, an ensemble several. Each member
has its `config, weights, spec` (normalization, kind of outputs, precision, batch size, temperature, refusal threshold),
`custom` (which parts are the user's own code), `split_counts` and `lineage`. See `tensor_file` for the checksum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter
from torch import Tensor, nn

from mnist_trainer.config.fields import PositiveNumber
from mnist_trainer.config.layers import output_count
from mnist_trainer.config.schema import Config
from mnist_trainer.errors import CheckpointError, UsageError, one_line, short_reason
from mnist_trainer.files import write_file
from mnist_trainer.inference.predictor import InferenceSpec, Predictor
from mnist_trainer.model.build import build_model
from mnist_trainer.storage.tensor_file import read_tensors, write_tensors

FORMAT, VERSION = "mnist_trainer", 4


def _as_float32(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return `weights` with those that were rounded to float16, for a smaller file, in float32 again."""
    return {name: value.float() if value.dtype == torch.float16 else value for name, value in weights.items()}


@dataclass(frozen=True)
class Member:
    """One trained model and how to use it."""

    config: Config
    weights: Annotated[dict[str, Tensor], AfterValidator(_as_float32)]
    spec: InferenceSpec
    custom: dict[str, str] = field(default_factory=dict)
    split_counts: tuple[int, int] | None = None
    """How many images it was trained and validated with, if known."""
    lineage: tuple[Tensor, ...] = field(default=(), compare=False)
    """See `Setup.lineage`."""

    __pydantic_config__ = ConfigDict(arbitrary_types_allowed=True)

    def build(self, classes: int, model: nn.Module | None = None) -> nn.Module:
        """Return the model with its weights, in evaluation mode; `model` is the user's module it was trained with.

        Raises `CheckpointError` if that module is missing, or the weights do not fit.
        """
        if model is None:
            if "model" in self.custom:
                name = one_line(self.custom["model"], 80)
                raise CheckpointError(
                    f"This checkpoint's model is {name}, which is not part of mnist_trainer. "
                    "Read it in Python, with an instance of it: evaluate(…, model=…) or predict(…, model=…)."
                )
            with torch.device("meta"):  # without random initialization: all weights are loaded
                model = build_model(self.config.model, output_count(self.config, classes))
            self._check_dtypes(model)
        try:
            model.load_state_dict(self.weights, assign=True)
        except RuntimeError as error:
            raise CheckpointError(f"The checkpoint's weights do not fit the model: {short_reason(error)}") from error
        return model.eval()

    def _check_dtypes(self, model: nn.Module) -> None:
        """Raise `CheckpointError` for a weight of another dtype, which `assign=True` would accept."""
        for name, own in model.state_dict().items():
            if name in self.weights and self.weights[name].dtype != own.dtype:
                found, wanted = (str(tensor.dtype).removeprefix("torch.") for tensor in (self.weights[name], own))
                raise CheckpointError(
                    f"The checkpoint's weights do not fit the model: {name} is {found}, and {wanted} is needed."
                )


@dataclass(frozen=True)
class Checkpoint:
    """A trained model, or an ensemble of several, with everything needed to use it."""

    members: Annotated[tuple[Member, ...], Field(min_length=1)]
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    temperature: PositiveNumber = 1.0
    training_state: dict[str, Any] | None = None

    __pydantic_config__ = ConfigDict(arbitrary_types_allowed=True)

    @property
    def only(self) -> Member:
        """The member of a checkpoint that is one model. Raises `CheckpointError` for an ensemble."""
        if len(self.members) > 1:
            raise CheckpointError(f"This checkpoint is an ensemble of {len(self.members)} models; name one of them.")
        return self.members[0]

    @property
    def config(self) -> Config:
        """The config of the model, or of an ensemble's first one: it names the data and the machine."""
        return self.members[0].config

    @property
    def weights(self) -> dict[str, Tensor]:
        """The weights of the `only` member."""
        return self.only.weights

    @property
    def spec(self) -> InferenceSpec:
        """The inference spec of the `only` member."""
        return self.only.spec

    def predictor(self, device: torch.device, model: nn.Module | None = None) -> Predictor:
        """Return the model or the ensemble on `device`; `model` can only replace the model of a single checkpoint."""
        if model is not None and not isinstance(model, nn.Module):
            raise UsageError(f"model= takes a torch.nn.Module, not {one_line(repr(model))}.")
        if self.training_state is not None and not self.training_state.get("epoch"):
            raise CheckpointError("This training was stopped in its first epoch: it has no best weights yet.")
        members = self.members if model is None else (self.only,)
        built = [member.build(len(self.classes), model) for member in members]
        return Predictor(built, [member.spec for member in members], device, self.temperature)


_CHECKPOINT = TypeAdapter(Checkpoint)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write `checkpoint` to `path` atomically. Raises `StorageError`."""
    members = [
        {**vars(member), "config": member.config.model_dump(mode="json"), "spec": asdict(member.spec)}
        for member in checkpoint.members
    ]
    content = {"format": FORMAT, "version": VERSION, **vars(checkpoint), "members": members}
    write_file(path, lambda stream: write_tensors(stream, content))


def load_checkpoint(path: Path) -> Checkpoint:
    """Return the checkpoint in `path`, on the CPU. Raises `CheckpointError` that says what is wrong with the file."""
    loaded = _load(path)
    if not isinstance(loaded, Checkpoint):
        raise CheckpointError(f"{path} is a PyTorch file, but no checkpoint of mnist-train.")
    return loaded


def load_weights(path: Path) -> Checkpoint | Mapping[str, Tensor]:
    """Return the checkpoint in `path`, or the tensors that `torch.save(model.state_dict(), path)` wrote there.

    Raises `CheckpointError` as `load_checkpoint`.
    """
    loaded = _load(path)
    if isinstance(loaded, Checkpoint):
        return loaded
    if isinstance(loaded, Mapping) and loaded and all(isinstance(value, Tensor) for value in loaded.values()):
        return {str(name): value for name, value in loaded.items()}
    advice = f"torch.save(model.state_dict(), '{one_line(path.name)}') writes such a file"
    raise CheckpointError(f"{path} is neither a checkpoint of mnist-train nor a state_dict: {advice}.")


def _load(path: Path) -> object:
    """Return the checkpoint in `path`, or whatever else `torch.save` wrote there."""
    content, has_checksum = read_tensors(path)
    if not (isinstance(content, Mapping) and content.get("format") == FORMAT):
        return content
    version = content.get("version")
    if type(version) is int and 1 <= version < 1000 and version != VERSION:
        newer = "A newer mnist-trainer wrote it: update yours, or use that one."
        older = (
            "A development version of mnist-trainer wrote it, before the first release. Use it with that version, or "
            "train the model again from the config.yaml in its folder."
        )
        raise CheckpointError(
            f"{path} has checkpoint format {version}, and this program reads format {VERSION}. "
            f"{newer if version > VERSION else older}"
        )
    try:
        if type(version) is not int or version != VERSION:
            raise ValueError("it has no format version")
        if not has_checksum:
            raise ValueError("it has no checksum")
        return _CHECKPOINT.validate_python(content)
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:  # pydantic's is a ValueError
        reason = short_reason(error)
        raise CheckpointError(f"{path} is damaged: its content is not a checkpoint's ({reason}).") from error


def combine(checkpoints: Mapping[str, Checkpoint]) -> Checkpoint:
    """Return an ensemble of all models in `checkpoints` (by name), in their order and with equal weights.

    An ensemble among them contributes each of its members, without its temperature, which was fitted to their mean.
    Raises `CheckpointError` that names incompatible checkpoints.
    """
    check_same_classes(checkpoints)
    values = [name for name, each in checkpoints.items() if not each.members[0].spec.gives_probabilities]
    if others := values and [name for name in checkpoints if name not in values]:
        raise CheckpointError(
            f"The outputs of {values[0]} are not probabilities (squared error without model.output), and those of "
            f"{others[0]} are: they can't be averaged."
        )
    for name, checkpoint in checkpoints.items():
        for member in checkpoint.members:
            if "model" in member.custom:
                own = one_line(member.custom["model"], 80)
                raise CheckpointError(
                    f"The model of {name} is {own}, which is not part of mnist_trainer, and an "
                    "ensemble is made of models that are. Evaluate it alone, in Python: evaluate(…, model=…)."
                )
    members = (member for checkpoint in checkpoints.values() for member in checkpoint.members)
    return Checkpoint(tuple(members), next(iter(checkpoints.values())).classes)


def check_same_classes(checkpoints: Mapping[str, Checkpoint]) -> None:
    """Raise `CheckpointError` that names two of `checkpoints` with different classes."""
    (name, first), *others = checkpoints.items()
    for other, checkpoint in others:
        if checkpoint.classes != first.classes:
            raise CheckpointError(
                f"{name} ({first.config.data.name}) knows the classes {', '.join(first.classes)}, and {other} "
                f"({checkpoint.config.data.name}) knows {', '.join(checkpoint.classes)}. Only models with the same "
                "classes can be combined or compared."
            )
