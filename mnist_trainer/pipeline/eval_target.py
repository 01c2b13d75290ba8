"""Who is judged, on which data: checkpoints found and loaded, put together where there are several, and checked."""

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
"""What may be another than in training: the data to evaluate on, and the machine."""

FIXED = {f"data.{key}" for key in Data.model_fields} - {*CHANGEABLE}
"""What belongs to the model: how it sees images, and which of them it was trained on."""

SPLITS = tuple(name for part in get_args(Split) for name in get_args(part))

CheckpointRef = str | Path
"""A `.pt` file, a run folder (its `best.pt`), or `latest`."""


@dataclass(frozen=True)
class EvalTarget:
    """A model or an ensemble to judge, its files, and its members' configs with the data to judge them on."""

    paths: tuple[Path, ...]
    checkpoint: Checkpoint
    configs: tuple[Config, ...]
    member_names: tuple[tuple[str, str], ...]
    """Of each member: the file it is in, and its run's name."""
    trained: tuple[Data, ...]
    """The data that its members were trained on, and those of models that it is compared with."""

    @property
    def name(self) -> str:
        """The path, or how many models it is."""
        return str(self.paths[0]) if len(self.paths) == 1 else f"ensemble of {len(self.checkpoint.members)}"

    @property
    def config(self) -> Config:
        """The first member's: its data, device and threads are those of the evaluation."""
        return self.configs[0]


def load_target(
    checkpoint: CheckpointRef | Iterable[CheckpointRef], overrides: Sequence[Override], *splits: Split
) -> EvalTarget:
    """A lone model, or the ensemble of several, ready to be judged on `splits`.

    Raises `CheckpointError` if one is missing or they do not go together, `ConfigError` for what can't be changed,
    `UsageError` for one named twice, or for another `data.limit` where validation images are asked for.
    """
    if unknown := [split for split in splits if split not in SPLITS]:
        raise UsageError(f"split must be one of {', '.join(SPLITS)}; got {one_line(repr(unknown[0]))}.")
    paths, texts = find_checkpoints(_flatten(checkpoint)), override_texts(overrides)
    loaded = {str(path): load_checkpoint(path) for path in paths}
    whole = combine(loaded) if len(loaded) > 1 else loaded[str(paths[0])]
    configs = tuple(override_data(member.config, texts) for member in whole.members)
    names = tuple((path, member.config.name) for path, each in loaded.items() for member in each.members)
    trained = [member.config.data.limit for member in whole.members]
    if "validation" in splits and trained != [config.data.limit for config in configs]:
        raise UsageError("data.limit changes which images validate: some would be images the model was trained with.")
    for split in splits:
        check_same_split([(path, config.data) for (path, _), config in zip(names, configs, strict=True)], split)
    if "validation" in splits:
        check_split_counts([(path, member) for (path, _), member in zip(names, whole.members, strict=True)], configs[0])
    return EvalTarget(paths, whole, configs, names, tuple(member.config.data for member in whole.members))


def _flatten(checkpoint: object) -> list[CheckpointRef]:
    """One place or several as a list. Raises `UsageError` for what is neither."""
    match checkpoint:
        case str() | Path():
            return [checkpoint]
        case Iterable() if not isinstance(checkpoint, bytes):
            return [ref for each in checkpoint for ref in _flatten(each)]
        case _:
            shown = one_line(repr(checkpoint))
            raise UsageError(f"A checkpoint is a .pt file, a run folder or latest, or a list of them, not {shown}.")


def find_checkpoints(member_names: Sequence[CheckpointRef]) -> tuple[Path, ...]:
    """The file of each of `member_names`. Raises `CheckpointError` for a missing one, `UsageError` for one named
    twice."""
    paths = tuple(find_checkpoint(str(ref)) for ref in member_names)
    if not paths:
        raise UsageError("There is no checkpoint to judge: name a .pt file, a run folder or latest.")
    for number, path in enumerate(paths):
        if any(path.samefile(other) for other in paths[:number]):
            raise UsageError(f"{path} is named twice: each checkpoint counts once.")
    return paths


def check_output_file(out: Path, sources: Sequence[Path]) -> None:
    """Raises `UsageError` if `out` is a folder, one of the files `sources`, or one that a run keeps in its folder."""
    if out.exists() and any(out.samefile(source) for source in sources):
        raise UsageError(f"{out} is what is judged, and stays as it is. Name another file to write to.")
    if is_folder(out):
        raise UsageError(f"{out} is a folder. Name a file to write to.")
    if belongs_to_run(out):
        raise UsageError(f"{out} belongs to the run in that folder, and stays as it is. Name another file to write to.")


def check_same_split(named: Sequence[tuple[str, Data]], split: Split) -> None:
    """Raises `CheckpointError` that names two whose `split` has not the same images, and says what differs."""
    (first, one), *others = named
    keys = ["name", "path"]
    if split in ("train", "validation"):
        keys += ["split_seed", "limit", "validation", "simulate.photographs"]
    for name, data in others:
        differs = next((key for key in keys if attrgetter(key)(data) != attrgetter(key)(one)), None)
        if differs is None or (differs == "validation" and load_real(data).counts == load_real(one).counts):
            continue  # where all else is equal, as many images to validate with are the same ones
        theirs, own = (attrgetter(differs)(each) for each in (one, data))
        contrast = f"data.{differs} is {theirs} for {first} and {own} for {name}"
        if differs in ("name", "path"):
            advice = f"Name the data to judge both on, as data.name={one.name}."
        else:
            advice = "What validates one may have trained the other; judge them on --split test."
        raise CheckpointError(f"They have not the same {split} images: {contrast}. {advice}")


def check_split_counts(named: Sequence[tuple[str, Member]], config: Config) -> None:
    """Raises `CheckpointError` that names a model whose data set of that name had another number of images.

    Then other images validate, and some of them it may have been trained with. Where the number is not known, or
    nothing validates, there is nothing to compare.
    """
    data, now = config.data, load_real(config.data).counts
    name = data.name
    for path, member in named:
        then, trained = member.split_counts, member.config.data
        if then is not None and now[1] and then != now and (trained.name, trained.path) == (name, data.path):
            raise CheckpointError(
                f"The images of {name} have changed since {path} was trained: {then[0]:,} trained it and {then[1]:,} "
                f"validated it, and now these are {now[0]:,} and {now[1]:,}. What validates now may have trained it; "
                "judge it on --split test."
            )


def override_data(config: Config, overrides: Sequence[str]) -> Config:
    """`config` with other data or another device. Raises `ConfigError` for any other key.

    What the config says of the machine it was trained on, its device and where its data lay, holds where it is so here.
    """
    keys = [override.partition("=")[0].strip() for override in overrides]
    refused = [
        ConfigProblem(f"override {number}", key, f"can't be changed in evaluation; these can: {', '.join(CHANGEABLE)}")
        for number, key in enumerate(keys, start=1)
        if ".".join(key.split(".")[:2]) in FIXED or not (key in CHANGEABLE or key.startswith("data."))
    ]
    if refused:
        raise ConfigError(refused)
    content = config.model_dump(mode="json")
    if {"data.name", "data.binary"} & set(keys):  # of other images there are no simulated ones
        content["data"]["simulate"] = {}
    names = [name.strip() for override in overrides for key, _, name in [override.partition("=")] if key == "data.name"]
    if names and names[-1].casefold() != "folder":  # no other data set has a path
        content["data"]["path"] = None
    if not has_device(config.device):
        content["device"] = "auto"
    if config.data.root is not None and not user_path(config.data.root).is_dir():
        content["data"]["root"] = None
    return load_config(content, overrides)
