"""From a checkpoint and a split to its figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from mnist_trainer.config.load import load_config
from mnist_trainer.config.schema import Config
from mnist_trainer.data.catalog import class_names
from mnist_trainer.data.dataset import Part
from mnist_trainer.data.loaders import load_split
from mnist_trainer.data.source import Source
from mnist_trainer.errors import CheckpointError, ConfigError, Problem
from mnist_trainer.inference.evaluate import Answers, LossFigure, answer, measure
from mnist_trainer.inference.metrics import Evaluation
from mnist_trainer.model.device import is_here, resolve_device, settings
from mnist_trainer.storage.checkpoint import Checkpoint, load_checkpoint
from mnist_trainer.storage.run_folder import find_checkpoint
from mnist_trainer.training.losses import LossFunction
from mnist_trainer.training.prepare import build_criterion

CHANGEABLE = ("data.name", "data.path", "data.root", "data.binary", "data.limit", "device", "threads")
"""What may be another than in training: the data to evaluate on, and the machine."""

FIXED = ("data.batch_size", "data.normalize", "data.validation", "data.split_seed")
"""What belongs to the model: how it sees images, and which of them it was not trained on."""


@dataclass(frozen=True)
class Judged:
    """An evaluation with everything it was made from."""

    path: Path
    checkpoint: Checkpoint
    evaluation: Evaluation
    answers: Answers
    source: Source


def evaluate(
    checkpoint: str | Path,
    *overrides: str,
    split: Part = "test",
    model: nn.Module | None = None,
    loss: LossFunction | None = None,
) -> Evaluation:
    """The figures of a `.pt` file, a run folder's `best.pt`, or the `latest` run, on a split of its data.

    Overrides such as `data.name=qmnist` choose other data. `model` and `loss` are the user's own, where the checkpoint
    was trained with them. Raises `CheckpointError`, `ConfigError`, `DataError` or `DeviceError`.
    """
    return judge(checkpoint, *overrides, split=split, model=model, loss=loss).evaluation


def judge(
    checkpoint: str | Path,
    *overrides: str,
    split: Part = "test",
    model: nn.Module | None = None,
    loss: LossFunction | None = None,
) -> Judged:
    """The same as `evaluate`, with the answers to every image."""
    path = find_checkpoint(str(checkpoint))
    loaded = load_checkpoint(path)
    config = change_data(loaded.config, overrides)
    with settings(config.threads, config.deterministic):
        classes, source = class_names(config.data), load_split(config.data, split)
        if classes != loaded.classes:
            raise CheckpointError(
                f"{path} knows the classes {', '.join(loaded.classes)}, and {config.data.name} has "
                f"{', '.join(classes)}. Evaluate it on data with the same classes."
            )
        predictor = loaded.predictor(resolve_device(config.device), model)
        answers = answer(predictor, source)
        figure = _loss_figure(loaded, loss)
        evaluation = measure(predictor, answers, figure, loaded.classes, config.data.name, split)
    return Judged(path, loaded, evaluation, answers, source)


def change_data(config: Config, overrides: tuple[str, ...]) -> Config:
    """`config` with other data or another device. Raises `ConfigError` for any other key.

    What the config says of the machine it was trained on, its device and where its data lay, holds where it is so here.
    """
    keys = [override.partition("=")[0].strip() for override in overrides]
    refused = [
        Problem(f"override {number}", key, f"can't be changed in evaluation; these can: {', '.join(CHANGEABLE)}")
        for number, key in enumerate(keys, start=1)
        if key in FIXED or not (key in CHANGEABLE or key.startswith("data."))
    ]
    if refused:
        raise ConfigError(refused)
    content = config.model_dump(mode="json")
    if not is_here(config.device):
        content["device"] = "auto"
    if config.data.root is not None and not Path(config.data.root).is_dir():
        content["data"]["root"] = None
    return load_config(content, overrides)


def _loss_figure(checkpoint: Checkpoint, loss: LossFunction | None) -> LossFigure:
    """The loss to report; none where it was a user's own function that is not given."""
    if loss is None and "loss" in checkpoint.custom:
        return lambda outputs, labels: None
    return build_criterion(checkpoint.config, checkpoint.classes, loss=loss).figure
