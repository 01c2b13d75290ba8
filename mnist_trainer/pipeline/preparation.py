"""Prepares a training: checks the config, loads the images, builds the model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mnist_trainer.config.checks import check_divides, find_problems, find_warnings
from mnist_trainer.config.classes import class_positions, task_classes
from mnist_trainer.config.layers import LayerInfo, expand, infer_shapes, output_count
from mnist_trainer.config.load import ConfigSource, Override, load_config
from mnist_trainer.config.schema import Config
from mnist_trainer.config.shipped import package_version
from mnist_trainer.data.folder import notes
from mnist_trainer.data.identity import Identity, identify, last_images, share_images
from mnist_trainer.data.image_dataset import ImageDataset
from mnist_trainer.data.loaders import Splits, all_classes, load_splits, load_together
from mnist_trainer.errors import (
    CheckpointError,
    ConfigError,
    ConfigProblem,
    DataError,
    UsageError,
    one_line,
    shell_quote,
)
from mnist_trainer.model.device import check_memory, choose_threads, footprint, resolve_device, settings
from mnist_trainer.reports.callbacks import Callback
from mnist_trainer.storage.checkpoint import Checkpoint, load_checkpoint, load_weights
from mnist_trainer.storage.run_folder import BUNDLED, find_checkpoint, find_path, latest_run
from mnist_trainer.training.distributed import check_same, current_ranks, gather
from mnist_trainer.training.losses import LossFunction
from mnist_trainer.training.prepare import OptimizerFactory, prepare_state
from mnist_trainer.training.state import InitialWeights, Phase, TrainedTeacher, TrainingState


@dataclass(frozen=True)
class CustomParts:
    """The user's own parts, which replace those of the config. Raises `UsageError` for a wrong type."""

    model: nn.Module | None = None
    loss: LossFunction | None = None
    optimizer: OptimizerFactory | None = None

    def __post_init__(self) -> None:
        is_loss = callable(self.loss) and not isinstance(self.loss, type)
        parts = (
            ("model", isinstance(self.model, nn.Module), "a torch.nn.Module", "mlp"),
            ("loss", is_loss, "a function of outputs and labels", "mse"),
            ("optimizer", callable(self.optimizer), "a function of the parameters, as torch.optim.SGD is", "sgd"),
        )
        for name, fits, wanted, example in parts:
            part = getattr(self, name)
            if part is not None and not fits:  # often the key of the config is meant
                got = one_line(repr(part))
                raise UsageError(f"{name}= takes {wanted}, not {got}; the config's is chosen by '{name}={example}'.")

    @property
    def names(self) -> dict[str, str]:
        """The parts by name: `{"model": "my_module.MyNet"}`."""
        parts = {**vars(self), "model": None if self.model is None else type(self.model)}
        return {
            key: f"{part.__module__}.{getattr(part, '__qualname__', type(part).__qualname__)}"
            for key, part in parts.items()
            if part is not None
        }


def prepare(
    config: ConfigSource,
    *overrides: Override,
    model: nn.Module | None = None,
    loss: LossFunction | None = None,
    optimizer: OptimizerFactory | None = None,
    **keys: Any,
) -> TrainingState:
    """Return the state of a new training: data loaded, model built and on its device. `fit(state)` trains it.

    `keys` are overrides, as of `train`. Raises `ConfigError`, `DataError`, `DeviceError` (also when the model does not
    fit into memory) or `CheckpointError`.
    """
    custom = CustomParts(model, loss, optimizer)
    return prepare_training(load_config(config, (*overrides, keys)), custom)


def prepare_training(
    config: Config,
    custom: CustomParts,
    callback: Callback | None = None,
    *,
    phase: Phase = "train",
    splits: Splits | None = None,
    initial: InitialWeights | None = None,
    teacher: TrainedTeacher | None = None,
) -> TrainingState:
    """Return the state of a new training, as `prepare`. The phase `refit` has no validation set (`refit_config`).

    `splits` are the images of `config.data`, if they are loaded already; `initial` and `teacher` replace the files that
    `model.init_from` and `training.teacher` name.
    """
    config, callback = with_absolute_paths(config), callback or Callback()
    classes = check_classes(config)
    if custom.model is None:
        check_fits_memory(config, infer_shapes(expand(config.model), output_count(config, len(classes))))
    start = load_initial(config, classes) if initial is None else initial
    teacher = load_teacher(config, classes) if teacher is None else teacher
    if splits is None:
        load = load_splits if phase == "train" else load_together
        splits = load(config.data, callback.on_loading)
    identity = identify(splits, config.data.name)
    check_unseen_validation(start if initial is None else None, teacher, splits, identity)
    check_fresh(splits.validation, "validation", last_images(splits.train, splits.extra))
    if start is not None and initial is None and start.normalization is None:
        reason = "holds weights alone: whether images that validate here trained them can't be checked"
        callback.on_warning("model.init_from", f"{config.model.init_from} {reason}")
    parts = vars(custom)
    with settings(config, choose_threads(config, custom.model), model=custom.model):
        state = prepare_state(config, splits, **parts, start=start, identity=identity, phase=phase)
    if teacher is not None:
        state.setup = replace(state.setup, teacher=teacher, lineage=(*teacher.lineage, *state.setup.lineage))
    return state


def check_processes(config: Config) -> None:
    """Raise `UsageError` in all processes if they can't train `config` together. One process can train any."""
    ranks = current_ranks()
    if ranks.size == 1:
        return
    versions = {"the version of mnist_trainer": package_version(), "the version of torch": str(torch.__version__)}
    check_same(versions | config.model_dump(mode="json"))
    check_divides(config, ranks.size)


def agree_on_images(state: TrainingState) -> None:
    """Give all processes the smallest batch size that `auto` became in one. Raises `UsageError` if images differ."""
    check_same({"the hash of the images": state.setup.fingerprint})
    config = state.setup.config
    state.setup = replace(state.setup, config=config.with_batch(min(gather(config.data.batch))))


def with_absolute_paths(config: Config) -> Config:
    """Return `config` with absolute paths, independent of the working folder. Paths that begin with ~ stay.

    Raises `CheckpointError` if `model.init_from` or the teacher is `latest` and no run is finished.
    """
    data: dict[str, object] = {key: _absolute(getattr(config.data, key)) for key in ("path", "root")}
    if (extra := config.data.extra) is not None:
        data["extra"] = extra.model_copy(update={"path": _absolute(extra.path)})
    changes: dict[str, object] = {"data": config.data.model_copy(update=data)}
    if (start := config.model.init_from) is not None:
        changes["model"] = config.model.model_copy(update={"init_from": _absolute_checkpoint(start)})
    if (teacher := config.training.teacher) is not None:
        named = teacher.model_copy(update={"checkpoint": _absolute_checkpoint(teacher.checkpoint)})
        changes["training"] = config.training.model_copy(update={"teacher": named})
    return config.model_copy(update=changes)


def _absolute_checkpoint(ref: str) -> str | None:
    """Return what `find_checkpoint` takes, as an absolute path; `bundled` and paths that begin with ~ stay."""
    if ref == "latest" and not Path(ref).exists():
        ref = str(latest_run().best)
    return ref if ref == BUNDLED else _absolute(ref if ref.startswith("~") else str(find_path(ref)))


def _absolute(path: str | None) -> str | None:
    return path if path is None or path.startswith("~") else str(Path(path).absolute())


def load_initial(config: Config, classes: Sequence[str]) -> InitialWeights | None:
    """Return the weights that `model.init_from` names, if any, with its outputs in the order of `classes`.

    A file that holds weights alone has no normalization and no lineage. Raises `CheckpointError`.
    """
    if config.model.init_from is None:
        return None
    loaded = load_weights(find_checkpoint(config.model.init_from))
    if not isinstance(loaded, Checkpoint):
        return InitialWeights(loaded)
    weights = loaded.weights if config.data.binary is not None else _reorder_outputs(loaded, classes)
    return InitialWeights(weights, loaded.spec.normalization, loaded.only.lineage, loaded.spec.refusal_threshold)


def load_teacher(config: Config, classes: Sequence[str]) -> TrainedTeacher | None:
    """Return the model that `training.teacher` names, if any. Raises `CheckpointError` if it can't teach this one."""
    if config.training.teacher is None:
        return None
    path = find_checkpoint(config.training.teacher.checkpoint)
    checkpoint = load_checkpoint(path)
    specs = [member.spec for member in checkpoint.members]
    can_refuse = config.data.simulate.has_non_digits
    reason = ""
    if checkpoint.classes != tuple(classes):
        reason = f"it knows the classes {', '.join(checkpoint.classes)}, and this model has {', '.join(classes)}"
    elif any(spec.kind not in ("logits", "log_probabilities") for spec in specs):
        reason = "it was not trained with cross_entropy or nll, on outputs without a limit"
    elif can_refuse and any(spec.refusal_threshold is None for spec in specs):
        reason = "it does not know images of none of the classes, which data.simulate makes"
    if reason:
        raise CheckpointError(f"training.teacher.checkpoint: {path} can't teach this model: {reason}.")
    device = current_ranks().device(resolve_device(config.device))
    predictor = checkpoint.predictor(device).requires_grad_(False)
    lineage = tuple(sample for member in checkpoint.members for sample in member.lineage)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return TrainedTeacher(predictor, path.name, sha256, can_refuse, lineage)


def _reorder_outputs(start: Checkpoint, classes: Sequence[str]) -> dict[str, Tensor]:
    """Return the weights of `start` with an output for each of `classes`, in this order.

    They are unchanged if `start` lacks one of the class names, or if its last layer does not have one output for each
    of its classes.
    """
    weights, positions = start.weights, class_positions(classes, start.classes)
    layer = next((name.rpartition(".")[0] for name in reversed(weights)), "")
    outputs = {name: tensor for name, tensor in weights.items() if name.rpartition(".")[0] == layer}
    has_matrix = any(tensor.dim() > 1 for tensor in outputs.values())
    is_one_a_class = {tensor.shape[:1] for tensor in outputs.values()} == {(len(start.classes),)}
    if None in positions or not has_matrix or not is_one_a_class:
        return weights
    return weights | {name: tensor[positions] for name, tensor in outputs.items()}


def check_fits_memory(config: Config, layers: Sequence[LayerInfo]) -> torch.device:
    """Return the device of a training. Raises `DeviceError` if its smallest batch needs more memory than is free."""
    device = resolve_device(config.device)
    smallest = config.with_batch(1) if config.data.batch_size == "auto" and device.type != "cpu" else config
    check_memory(footprint(smallest, layers), device)
    return device


def check_unseen_validation(
    start: InitialWeights | None, teacher: TrainedTeacher | None, splits: Splits, identity: Identity
) -> None:
    """Raise `ConfigError` if `start`, `teacher`, or a model they started from was trained with validation images."""
    lineages = {"model.init_from": start and start.lineage, "training.teacher.checkpoint": teacher and teacher.lineage}
    for key, lineage in lineages.items():
        if splits.validation is not None and lineage and identity.is_known_to(lineage):
            reason = "it, or a model that it started from, was trained with images of this validation set, and the "
            advice = (
                "Take the data.validation, fold, split, split_seed and limit of that training, or data.validation=0 to "
                "do without"
            )
            reason += f"validation metrics would be too optimistic. {advice}"
            raise ConfigError([ConfigProblem("", key, reason)])


def check_fresh(images: ImageDataset | None, part: str, extra: ImageDataset | None) -> None:
    """Raise `ConfigError` if the `images` of a `part` contain pictures of `data.extra`."""
    if images is not None and extra is not None and share_images(extra, images):
        reason = f"some of its pictures are also {part} images, and the {part} metrics would be too optimistic"
        raise ConfigError([ConfigProblem("", "data.extra.path", f"{reason}. Remove them from one of the two")])


def check_same_images(folder: Path, before: object, now: Mapping[str, Any]) -> None:
    """Raise `DataError` if the images have changed since the run or series in `folder` was started.

    `before` and `now` are the data entries of `run_facts`.
    """
    if not isinstance(before, Mapping) or before.get("fingerprint") in (None, now["fingerprint"]):
        return
    then, here = ([facts.get(f"{part}_count") for part in ("train", "validation")] for facts in (before, now))
    change = f"then {then[0]} trained and {then[1]} validated it, now these are {here[0]} and {here[1]}"
    if then == here:
        change = "they are as many as then, but images, labels or their order are not the same"
    raise DataError(
        f"The images of {now['name']} have changed since {folder} was started: {change}. Images that validate now may "
        "have trained it. Restore them, or name the folder that holds the same images (data.path=DIR, data.root=DIR or "
        f"data.extra.path=DIR), or train again: mnist-train --config {shell_quote(folder / 'config.yaml')}"
    )


def config_warnings(config: Config) -> Iterator[tuple[str, str]]:
    """Yield warnings about `config` and its folder of pictures: a key and a reason each."""
    for path, reason in find_warnings(config):
        yield ".".join(map(str, path)), reason
    for note in notes(config.data):
        yield "data.path", note


def check_classes(config: Config) -> tuple[str, ...]:
    """Return the classes of the data. Raises `ConfigError` if the config names others (a folder's are known now)."""
    classes = all_classes(config.data)
    if config.data.name == "folder":
        found = find_problems(config, classes)
        if found:
            raise ConfigError([ConfigProblem("", ".".join(map(str, path)), message) for path, message in found])
    return task_classes(config.data, classes)


def refit_config(config: Config, epochs: int) -> Config:
    """Return the config of the second fit (`training.refit`): `epochs` epochs without a validation set.

    A separate run of this config gives the same model, except for folders with a `val/` folder.
    """
    data, training = config.data, config.training
    if data.augment is not None:
        clean_last = min(data.augment.clean_last, epochs - 1)
        data = data.model_copy(update={"augment": data.augment.model_copy(update={"clean_last": clean_last})})
    changes = {"epochs": epochs, "early_stopping": None, "stop": None, "refit": False}
    whole = data.model_copy(update={"validation": 0, "fold": None})
    return config.model_copy(update={"data": whole, "training": training.model_copy(update=changes)})
