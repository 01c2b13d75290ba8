"""Several checkpoints as one.

Checkpoints: one `.pt` file that holds all that evaluation and prediction need, on this machine or another.

Layout, version 3: `format, version, members, classes, temperature` (acts on the logarithm of an ensemble's mean
probability). A model has one member, an ensemble several, and each brings its own `config, weights, normalization`
(mean, std), `output_kind, temperature, refusal` (the probability of "none" above which it refuses; None where it can't
tell; may be missing), `evaluation` (batch size and precision), `custom` (what of it is the user's own code),
`split_counts` (how many images it was trained and validated with; may be missing) and `lineage` (a sample of the images
that trained it, after one for each training before it, see `data/identity.py`; may be missing).
`last.pt` has `training_state` besides, and every file a checksum of all of it (see `tensors`). Version 2 had none;
version 1 had all but config and weights once, for its single member. Both are still read. Files are read with
`weights_only=True` alone, so a file from a stranger cannot run code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import ConfigDict, Field, TypeAdapter
from torch import Tensor, nn

from mnist_trainer.config.fields import PositiveNumber
from mnist_trainer.config.layers import output_count
from mnist_trainer.config.schema import Config
from mnist_trainer.errors import CheckpointError, UsageError, one_line
from mnist_trainer.files import write_file
from mnist_trainer.inference.predictor import InferenceSpec, Predictor
from mnist_trainer.model.build import build_model
from mnist_trainer.storage.tensor_file import read_tensors, short_reason, write_tensors


def combine(checkpoints: Mapping[str, Checkpoint]) -> Checkpoint:
    """An ensemble of all models in `checkpoints` (by name), in their order and with equal weights.

    The models of an ensemble among them count one by one, and its own temperature is left out: it belonged to their
    mean. Raises `CheckpointError` that names those that do not go together.
    """
    require_same_classes(checkpoints)
    honest = {name: _gives_probabilities(checkpoint) for name, checkpoint in checkpoints.items()}
    if len(set(honest.values())) > 1:
        values, others = (next(name for name, kind in honest.items() if kind == wanted) for wanted in (False, True))
        raise CheckpointError(
            f"The outputs of {values} are no probabilities (squared error without model.output), and those of {others} "
            "are: they have no common mean."
        )
    for name, checkpoint in checkpoints.items():
        for member in checkpoint.members:
            if "model" in member.custom:
                own = one_line(member.custom["model"], 80)
                raise CheckpointError(
                    f"The model of {name} is {own}, which is not part of mnist_trainer, and an "
                    "ensemble is made of models that are. Judge it alone, in Python: evaluate(…, model=…)."
                )
    members = (member for checkpoint in checkpoints.values() for member in checkpoint.members)
    return Checkpoint(tuple(members), next(iter(checkpoints.values())).classes)


def require_same_classes(checkpoints: Mapping[str, Checkpoint]) -> None:
    """Raises `CheckpointError` that names two of `checkpoints` with different classes."""
    (name, first), *others = checkpoints.items()
    for other, checkpoint in others:
        if checkpoint.classes != first.classes:
            raise CheckpointError(
                f"{name} ({first.config.data.name}) knows the classes {', '.join(first.classes)}, and {other} "
                f"({checkpoint.config.data.name}) knows {', '.join(checkpoint.classes)}. Only models with the same "
                "classes can be put together or compared."
            )


def _gives_probabilities(checkpoint: Checkpoint) -> bool:
    return checkpoint.members[0].spec.gives_probabilities


FORMAT = "mnist_trainer"
VERSION = 3
SEALED = 3
"""The first version with a checksum."""


@dataclass(frozen=True)
class Member:
    """One trained model, and how it is read."""

    config: Config
    weights: dict[str, Tensor]
    spec: InferenceSpec
    custom: dict[str, str] = field(default_factory=dict)
    split_counts: tuple[int, int] | None = None
    """How many images it was trained and validated with; None where the file does not say."""
    lineage: tuple[Tensor, ...] | None = field(default=None, compare=False)
    """As `Setup.lineage`; None where the file does not say."""

    __pydantic_config__ = ConfigDict(arbitrary_types_allowed=True)

    def build(self, classes: int, model: nn.Module | None = None) -> nn.Module:
        """The model with its weights, in evaluation mode; `model` where it was trained with a module of the user's.

        Raises `CheckpointError` if that module is missing, or the weights do not fit.
        """
        if model is None:
            if "model" in self.custom:
                name = one_line(self.custom["model"], 80)
                raise CheckpointError(
                    f"This checkpoint's model is {name}, which is not part of mnist_trainer. "
                    "Read it in Python, with an instance of it: evaluate(…, model=…) or predict(…, model=…)."
                )
            with torch.device("meta"):  # the weights are all loaded, so none need be drawn
                model = build_model(self.config.model, output_count(self.config, classes))
            self._require_kinds(model)
        try:
            model.load_state_dict(self.weights, assign=True)
        except RuntimeError as error:
            raise CheckpointError(f"The checkpoint's weights do not fit the model: {short_reason(error)}") from error
        return model.eval()

    def _require_kinds(self, model: nn.Module) -> None:
        """What is loaded takes the place of what is there, whatever kind of number it is."""
        for name, own in model.state_dict().items():
            if name in self.weights and self.weights[name].dtype != own.dtype:
                found, wanted = (str(tensor.dtype).removeprefix("torch.") for tensor in (self.weights[name], own))
                raise CheckpointError(
                    f"The checkpoint's weights do not fit the model: {name} is {found}, and {wanted} is needed."
                )


@dataclass(frozen=True)
class Checkpoint:
    """A trained model, or an ensemble of several, with all that is needed to use it."""

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
        """How the `only` member is read."""
        return self.only.spec

    def build(self, model: nn.Module | None = None) -> nn.Module:
        """The `only` member's model. Raises `CheckpointError` as `Member.build`, or if there are no weights yet."""
        (built,) = self._build(self.only, model=model)
        return built

    def predictor(self, device: torch.device, model: nn.Module | None = None) -> Predictor:
        """The model or the ensemble on `device`, ready to be asked; `model` can only take the place of a lone one."""
        if model is not None and not isinstance(model, nn.Module):
            raise UsageError(f"model= takes a torch.nn.Module, not {one_line(repr(model))}.")
        built = self._build(*self.members) if model is None else [self.build(model)]
        return Predictor(built, [member.spec for member in self.members], device, self.temperature)

    def _build(self, *members: Member, model: nn.Module | None = None) -> list[nn.Module]:
        if self.training_state is not None and not self.training_state.get("epoch"):
            raise CheckpointError("This training was stopped in its first epoch: it has no best weights yet.")
        return [member.build(len(self.classes), model) for member in members]


_CHECKPOINT = TypeAdapter(Checkpoint)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Writes `checkpoint` to `path`, all or nothing. Raises `StorageError`."""
    content: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "members": [_written(member) for member in checkpoint.members],
        "classes": list(checkpoint.classes),
        "temperature": checkpoint.temperature,
    }
    if checkpoint.training_state is not None:
        content["training_state"] = checkpoint.training_state
    write_file(path, lambda stream: write_tensors(stream, content))


def load_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint in `path`, on the CPU. Raises `CheckpointError` that says what is wrong with the file."""
    return _read(path, *read_tensors(path))


def load_weights(path: Path) -> Checkpoint | Mapping[str, Tensor]:
    """The checkpoint in `path`, or the tensors that `torch.save(model.state_dict(), path)` wrote there.

    Raises as `load_checkpoint`.
    """
    content, sealed = read_tensors(path)
    if isinstance(content, Mapping) and content and all(isinstance(value, Tensor) for value in content.values()):
        return {str(name): value for name, value in content.items()}
    if not isinstance(content, Mapping) or content.get("format") != FORMAT:
        advice = f"torch.save(model.state_dict(), '{one_line(path.name)}') writes such a file"
        raise CheckpointError(f"{path} is neither a checkpoint of mnist-train nor a state_dict: {advice}.")
    return _read(path, content, sealed)


def _read(path: Path, content: object, sealed: bool) -> Checkpoint:
    if not isinstance(content, Mapping) or content.get("format") != FORMAT:
        raise CheckpointError(f"{path} is a PyTorch file, but no checkpoint of mnist-train.")
    version = content.get("version")
    if type(version) is int and VERSION < version < 1000:
        raise CheckpointError(
            f"{path} has format version {version}, and this program reads 1 to {VERSION}: it is from a newer "
            "mnist-trainer. Update yours, or use that one."
        )
    try:
        if type(version) is not int or not 1 <= version <= VERSION:
            raise ValueError("it has no format version")
        if version >= SEALED and not sealed:
            raise ValueError("it has no checksum")
        return _checkpoint(_migrated(content) if version == 1 else content)
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:  # pydantic's is a ValueError
        raise CheckpointError(
            f"{path} is damaged: its content is not a checkpoint's ({short_reason(error)})."
        ) from error


def _written(member: Member) -> dict[str, Any]:
    spec = member.spec
    return {
        "config": member.config.model_dump(mode="json"),
        "weights": member.weights,
        "normalization": asdict(spec.normalization),
        "output_kind": spec.kind,
        "temperature": spec.temperature,
        "refusal": spec.refusal_threshold,
        "evaluation": {"batch_size": spec.batch_size, "precision": spec.precision},
        "custom": member.custom,
        "split_counts": member.split_counts,
        "lineage": None if member.lineage is None else list(member.lineage),
    }


def _migrated(content: Mapping[str, Any]) -> dict[str, Any]:
    """A file of version 1 as version 2 has it, and version 3 but for the checksum."""
    (member,) = content["members"]
    own = {key: content[key] for key in ("normalization", "output_kind", "temperature", "evaluation", "custom")}
    return {**content, "members": [{**member, **own}], "temperature": 1.0}


def _checkpoint(content: Mapping[str, Any]) -> Checkpoint:
    return _CHECKPOINT.validate_python(
        {
            "members": [_member(member) for member in content["members"]],
            "classes": content["classes"],
            "temperature": content["temperature"],
            "training_state": content.get("training_state"),
        }
    )


def _member(member: Mapping[str, Any]) -> dict[str, Any]:
    spec = {
        "normalization": member["normalization"],
        "kind": member["output_kind"],
        "temperature": member["temperature"],
        "refusal_threshold": member.get("refusal"),
        **member["evaluation"],
    }
    own = {key: member[key] for key in ("config", "weights", "custom")}
    return {**own, "spec": spec, **{key: member.get(key) for key in ("split_counts", "lineage")}}
