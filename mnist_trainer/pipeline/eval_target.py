"""The model or ensemble to evaluate and the data to evaluate it on: found, loaded, put together and checked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import get_args

from mnist_trainer.config.load import Override, load_config, override_texts
from mnist_trainer.config.schema import Config, Data
from mnist_trainer.data.image_dataset import Split
from mnist_trainer.data.loaders import load_real
from mnist_trainer.errors import CheckpointError, ConfigError, ConfigProblem, UsageError, one_line
from mnist_trainer.files import is_folder, user_path
from mnist_trainer.model.device import has_device
from mnist_trainer.storage.checkpoint import Checkpoint, Member, combine, load_checkpoint
from mnist_trainer.storage.find import find_checkpoint
from mnist_trainer.storage.run_folder import belongs_to_run

CHANGEABLE = ("data.name", "data.path", "data.root", "data.binary", "data.limit", "device", "threads")
"""Keys that may differ from training: the data to evaluate on, and the machine."""

FIXED = {f"data.{key}" for key in Data.model_fields} - {*CHANGEABLE}
"""Keys that belong to the model: how it sees images, and which of them it was trained on."""

SPLITS = tuple(name for part in get_args(Split) for name in get_args(part))

CheckpointRef = str | Path
"""A `.pt` file, a run folder (its `best.pt`), `latest` or `bundled`."""


@dataclass(frozen=True)
class EvalTarget:
    """A model or an ensemble to evaluate: its files, and the config of each member with the data to evaluate on."""

    paths: tuple[Path, ...]
    checkpoint: Checkpoint
    configs: tuple[Config, ...]
    member_names: tuple[tuple[str, str], ...]
    """Of each member: the file it is in, and its run's name."""

    @property
    def name(self) -> str:
        """The path, or how many models it is."""
        return str(self.paths[0]) if len(self.paths) == 1 else f"ensemble of {len(self.checkpoint.members)}"

    @property
    def config(self) -> Config:
        """The first member's config: its data, device and threads are those of the evaluation."""
        return self.configs[0]

    @property
    def trained_on(self) -> tuple[Data, ...]:
        """The data that each member was trained on."""
        return tuple(member.config.data for member in self.checkpoint.members)


def load_target(
    checkpoint: CheckpointRef | Iterable[CheckpointRef], overrides: Sequence[Override], *splits: Split
) -> EvalTarget:
    """Load one model, or the ensemble of several, to be evaluated on `splits`.

    Raises `CheckpointError` if one is missing or they do not go together, `ConfigError` for what can't be changed,
    `UsageError` for one named twice, or for another `data.limit` with the validation split.
    """
    if unknown := [split for split in splits if split not in SPLITS]:
        raise UsageError(f"split must be one of {', '.join(SPLITS)}; got {one_line(repr(unknown[0]))}.")
    paths, texts = find_checkpoints(checkpoint), override_texts(overrides)
    loaded = {str(path): load_checkpoint(path) for path in paths}
    whole = combine(loaded) if len(loaded) > 1 else loaded[str(paths[0])]
    configs = tuple(override_data(member.config, texts) for member in whole.members)
    names = tuple((path, member.config.name) for path, each in loaded.items() for member in each.members)
    target = EvalTarget(paths, whole, configs, names)
    files = [path for path, _ in names]
    for split in splits:
        check_same_split(files, [config.data for config in configs], split)
    if "validation" in splits:
        if [data.limit for data in target.trained_on] != [config.data.limit for config in configs]:
            reason = "some would be images the model was trained with"
            raise UsageError(f"data.limit changes which images validate: {reason}.")
        _check_split_counts(files, whole.members, target.config.data)
    return target


def find_checkpoints(checkpoint: object) -> tuple[Path, ...]:
    """Return the file of one checkpoint or each of several.

    Raises `CheckpointError` for a missing one, `UsageError` for what is no checkpoint, or named twice.
    """
    paths = tuple(find_checkpoint(str(ref)) for ref in _flatten(checkpoint))
    if not paths:
        raise UsageError("There is no checkpoint to judge: name a .pt file, a run folder or latest.")
    for number, path in enumerate(paths):
        if any(path.samefile(other) for other in paths[:number]):
            raise UsageError(f"{path} is named twice: each checkpoint counts once.")
    return paths


def _flatten(checkpoint: object) -> list[CheckpointRef]:
    match checkpoint:
        case str() | Path():
            return [checkpoint]
        case Iterable() if not isinstance(checkpoint, bytes):
            return [ref for each in checkpoint for ref in _flatten(each)]
        case _:
            shown = one_line(repr(checkpoint))
            raise UsageError(f"A checkpoint is a .pt file, a run folder or latest, or a list of them, not {shown}.")


def check_output_file(out: Path, sources: Sequence[Path]) -> None:
    """Raise `UsageError` if `out` is a folder, one of the files `sources`, or a file of a run."""
    if out.exists() and any(out.samefile(source) for source in sources):
        raise UsageError(f"{out} is what is judged, and stays as it is. Name another file to write to.")
    if is_folder(out):
        raise UsageError(f"{out} is a folder. Name a file to write to.")
    if belongs_to_run(out):
        raise UsageError(f"{out} belongs to the run in that folder, and stays as it is. Name another file to write to.")


def check_same_split(names: Sequence[str], datasets: Sequence[Data], split: Split) -> None:
    """Raise `CheckpointError` that names two models whose `split` has other images, and says what differs."""
    first = datasets[0]
    keys = ["name", "path"]
    if split in ("train", "validation"):
        keys += ["split_seed", "limit", "validation", "simulate.photographs"]
    for name, data in zip(names, datasets, strict=True):
        differs = next((key for key in keys if attrgetter(key)(data) != attrgetter(key)(first)), None)
        if differs is None or (differs == "validation" and load_real(data).counts == load_real(first).counts):
            continue  # if all else is equal, as many validation images are the same ones
        theirs, own = (attrgetter(differs)(each) for each in (first, data))
        advice = "What validates one may have trained the other; judge them on --split test."
        if differs in ("name", "path"):
            advice = f"Name the data to judge both on, as data.name={first.name}."
        raise CheckpointError(
            f"They have not the same {split} images: data.{differs} is {theirs} for {names[0]} and {own} for {name}. "
            f"{advice}"
        )


def _check_split_counts(names: Sequence[str], members: Sequence[Member], data: Data) -> None:
    """Raise `CheckpointError` that names a model whose data set had another number of images when it was trained.

    Then other images validate, and it may have been trained with some of them.
    """
    now = load_real(data).counts
    for name, member in zip(names, members, strict=True):
        then, trained_on = member.split_counts, member.config.data
        is_same = (trained_on.name, trained_on.path) == (data.name, data.path)
        if is_same and now[1] and then is not None and then != now:
            raise CheckpointError(
                f"The images of {data.name} have changed since {name} was trained: {then[0]:,} trained it and "
                f"{then[1]:,} validated it, and now these are {now[0]:,} and {now[1]:,}. What validates now may have "
                "trained it; judge it on --split test."
            )


def override_data(config: Config, overrides: Sequence[str]) -> Config:
    """Return `config` with other data or another device. Raises `ConfigError` for any other key.

    The device and the data folder of the training are used if they exist here.
    """
    values = {key.strip(): value.strip() for key, _, value in (override.partition("=") for override in overrides)}
    keys = [override.partition("=")[0].strip() for override in overrides]
    refused = [
        ConfigProblem(f"override {number}", key, f"can't be changed in evaluation; these can: {', '.join(CHANGEABLE)}")
        for number, key in enumerate(keys, start=1)
        if ".".join(key.split(".")[:2]) in FIXED or not (key in CHANGEABLE or key.startswith("data."))
    ]
    if refused:
        raise ConfigError(refused)
    content = config.model_dump(mode="json")
    if {"data.name", "data.binary"} & set(keys):  # other data have no simulated images
        content["data"]["simulate"] = {}
    if values.get("data.name", "folder").casefold() != "folder":  # no other data set has a path
        content["data"]["path"] = None
    if not has_device(config.device):
        content["device"] = "auto"
    if config.data.root is not None and not user_path(config.data.root).is_dir():
        content["data"]["root"] = None
    return load_config(content, overrides)
