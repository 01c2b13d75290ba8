"""From a config to a training that can start: everything checked, images loaded, model built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mnist_trainer.config.checks import mistakes
from mnist_trainer.config.classes import task_classes
from mnist_trainer.config.expand import expand
from mnist_trainer.config.load import load_config
from mnist_trainer.config.outputs import output_count
from mnist_trainer.config.schema import Config, Data
from mnist_trainer.config.shapes import place
from mnist_trainer.data.catalog import all_classes
from mnist_trainer.data.loaders import Splits, load_splits, load_together
from mnist_trainer.errors import ConfigError, Problem
from mnist_trainer.model.device import resolve_device
from mnist_trainer.model.memory import check_memory, footprint
from mnist_trainer.storage.checkpoint import Member, load_checkpoint
from mnist_trainer.storage.run_folder import find_checkpoint
from mnist_trainer.training.losses import LossFunction
from mnist_trainer.training.prepare import OptimizerFactory, prepare_state
from mnist_trainer.training.setup import Phase
from mnist_trainer.training.state import TrainingState

ConfigSource = Config | str | Path | Mapping[str, Any]
"""A config, a path, the name of a shipped config, or a mapping as the YAML would be read."""

Loading = Callable[[str, int, int | None], None]


def as_config(source: ConfigSource, overrides: tuple[str, ...] = ()) -> Config:
    """The checked config. Raises `ConfigError` with every problem."""
    if isinstance(source, Config):
        return source if not overrides else load_config(source.model_dump(mode="json"), overrides)
    return load_config(source, overrides)


def prepare(
    config: ConfigSource,
    *overrides: str,
    model: nn.Module | None = None,
    loss: LossFunction | None = None,
    optimizer: OptimizerFactory | None = None,
    loading: Loading | None = None,
    phase: Phase = "train",
    splits: Splits | None = None,
) -> TrainingState:
    """A training at its start: data loaded, model built and on its device. `fit(state)` trains it.

    In the phase `refit` it trains on all images that the data set has besides the test set; see `refit_config`.
    `splits` are the images of `config.data`, where they are loaded already.
    Raises `ConfigError`, `DataError`, `DeviceError` (also when the model cannot fit into memory) or `CheckpointError`.
    """
    config = as_config(config, overrides)
    classes = check_classes(config)
    if model is None:
        placed = place(expand(config.model), output_count(config, classes))
        device = resolve_device(config.device)
        check_memory(footprint(smallest(config, device), placed), device)
    checkpoint = initial = None
    if config.model.init_from is not None:
        checkpoint = load_checkpoint(find_checkpoint(config.model.init_from))
        initial = checkpoint.weights, checkpoint.reading.normalization
    if splits is None:
        splits = load_splits(config.data, loading) if phase == "train" else load_together(config.data, loading)
    if checkpoint is not None:
        _refuse_known(checkpoint.members[0], config.data, splits)
    return prepare_state(config, splits, model=model, loss=loss, optimizer=optimizer, initial=initial, phase=phase)


def smallest(config: Config, device: torch.device) -> Config:
    """`config` with the smallest batch that it allows on `device`: a single image for auto on an accelerator."""
    return config.with_batch(1) if config.data.batch_size == "auto" and device.type != "cpu" else config


def _refuse_known(start: Member, data: Data, splits: Splits) -> None:
    """Raises `ConfigError` if the model to start from was trained with images that are to validate it now."""
    theirs = start.config.data
    if splits.validation is None or (theirs.name, theirs.path) != (data.name, data.path):
        return
    alike = (theirs.split_seed, theirs.limit) == (data.split_seed, data.limit)
    known = start.split_counts
    if not alike or (theirs.validation != data.validation if known is None else known != splits.counts):
        reason = "it was trained with images that would validate here, and the validation figures would be too good"
        advice = "Take its data.validation, split_seed and limit, or data.validation=0 to do without"
        raise ConfigError([Problem("", "model.init_from", f"{reason}. {advice}")])


def check_classes(config: Config) -> int:
    """How many classes the data has. Raises `ConfigError` if the config names others: a folder's are known only now."""
    classes = all_classes(config.data)
    if config.data.name == "folder":
        found = mistakes(config, classes)
        if found:
            raise ConfigError([Problem("", ".".join(map(str, path)), message) for path, message in found])
    return len(task_classes(config.data, classes))


def refit_config(config: Config, epochs: int) -> Config:
    """The config of the second fit that `training.refit` asks for: without validation, for `epochs` epochs.

    A run of this config on its own gives the same model (but for folders with a `val/` of their own).
    """
    data, training = config.data, config.training
    if data.augment is not None:
        clean_last = min(data.augment.clean_last, epochs - 1)
        data = data.model_copy(update={"augment": data.augment.model_copy(update={"clean_last": clean_last})})
    changes = {"epochs": epochs, "early_stopping": None, "refit": False}
    return config.model_copy(
        update={"data": data.model_copy(update={"validation": 0}), "training": training.model_copy(update=changes)}
    )
