"""From checkpoints and a split to their figures.

A checkpoint's copy with a temperature at which its confidence is as often right as it says.

Two checkpoints on the same images: is one better, or was it chance?
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mnist_trainer.config.classes import class_positions, label_of
from mnist_trainer.config.load import Override
from mnist_trainer.config.schema import Data
from mnist_trainer.data.identity import find_known
from mnist_trainer.data.image_dataset import ImageDataset, Split
from mnist_trainer.data.loaders import all_classes, load_split, load_unseen, with_binary
from mnist_trainer.errors import CheckpointError, UsageError
from mnist_trainer.files import user_path
from mnist_trainer.inference.calibration import CalibrationMetrics, fit_temperature
from mnist_trainer.inference.metrics import Comparison, Evaluation, calibration_error, compare_predictions
from mnist_trainer.inference.predictions import (
    LossMetric,
    Predictions,
    log_loss,
    log_probabilities,
    measure,
    measure_members,
    predict,
)
from mnist_trainer.inference.predictor import to_logits
from mnist_trainer.model.device import choose_threads, resolve_device, settings
from mnist_trainer.model.memory import convert_device_errors
from mnist_trainer.pipeline.eval_target import (
    CheckpointRef,
    EvalTarget,
    check_same_split,
    find_checkpoints,
    load_target,
)
from mnist_trainer.pipeline.preparation import CustomParts
from mnist_trainer.storage.checkpoint import Checkpoint, Member, check_same_classes
from mnist_trainer.training.losses import LossFunction
from mnist_trainer.training.prepare import build_criterion

MIN_KNOWN = 30
"""With so many known images in a sample, their share of all images is estimated."""


@dataclass(frozen=True)
class EvalResult:
    """An evaluation with everything it was made from."""

    target: EvalTarget
    evaluation: Evaluation
    predictions: Predictions
    source: ImageDataset


def evaluate(
    checkpoint: CheckpointRef | Iterable[CheckpointRef],
    *overrides: Override,
    split: Split = "test",
    views: int = 1,
    model: nn.Module | None = None,
    loss: LossFunction | None = None,
    **keys: Any,
) -> Evaluation:
    """The figures of a `.pt` file, a run folder's `best.pt`, or the `latest` run, on a split of its data.

    Several checkpoints are judged as an ensemble, by the mean of their probabilities; `views` averages over so many
    slightly deformed copies of each image. Overrides such as `data.name=qmnist`, or `data={"name": "qmnist"}`, choose
    other data. `model` and `loss` are the user's own, where a lone checkpoint was trained with them. Raises
    `CheckpointError`, `ConfigError`, `UsageError`, `DataError` or `DeviceError`.
    """
    return run_evaluation(checkpoint, *overrides, keys, split=split, views=views, model=model, loss=loss).evaluation


def run_evaluation(
    checkpoint: CheckpointRef | Iterable[CheckpointRef],
    *overrides: Override,
    split: Split = "test",
    views: int = 1,
    model: nn.Module | None = None,
    loss: LossFunction | None = None,
) -> EvalResult:
    """The same as `evaluate`, with the answers to every image."""
    return evaluate_target(load_target(checkpoint, overrides, split), split, views, model, loss)


def evaluate_target(
    target: EvalTarget,
    split: Split,
    views: int = 1,
    model: nn.Module | None = None,
    loss: LossFunction | None = None,
) -> EvalResult:
    """What `run_evaluation` does once the checkpoints are loaded."""
    config, checkpoint = target.config, target.checkpoint
    CustomParts(model, loss)
    advice = "Take another device (on the command line: --device cpu), or fewer members of an ensemble."
    with settings(config, choose_threads(config, model)), convert_device_errors("evaluation", advice):
        source, pictures = _load(target, split)
        predictor = checkpoint.predictor(resolve_device(config.device), model)
        predictions = predict(predictor, source, views)
        mean_loss = _loss_metric(checkpoint, loss)
        evaluation = measure(predictor, predictions, mean_loss, checkpoint.classes, config.data.name, split)
        if predictions.members:
            members = measure_members(predictor, predictions, target.member_names)
            evaluation = replace(evaluation, members=members, disagreement=predictions.disagreement)
    notes = _notes(target, split, source)
    return EvalResult(target, replace(evaluation, views=views, pictures=pictures, notes=notes), predictions, source)


def _load(target: EvalTarget, split: Split) -> tuple[ImageDataset, str]:
    """Return the images, labelled by the model's numbers of the classes, and which pictures of a folder they are."""
    labels, pictures = torch.tensor(_labels(target, split)), ""
    data = target.config.data.model_copy(update={"binary": None})
    if data.name == "folder" and split == "test":
        source, pictures = load_unseen(data, target.trained)
    else:
        source = load_split(data, split)
        if data.name == "folder":
            pictures = f"{len(source):,} pictures in {data.path}, its {split} set"
    return replace(source, labels=labels[source.labels]), pictures


def _labels(target: EvalTarget, split: Split) -> list[int]:
    """Return the model's number of each class of the data. Raises `CheckpointError` for a class it does not know."""
    data, known, trained = target.config.data, target.checkpoint.classes, target.checkpoint.config.data
    names = all_classes(data, split)
    positions = class_positions(names, known)
    if data.binary is not None and trained.binary is not None:
        asked = label_of(data.binary, names, data)
        if asked is not None and class_positions([names[asked]], known) == [1]:
            return [int(label == asked) for label in range(len(names))]
    found = [position for position in positions if position is not None]
    if data.binary is not None or len(found) < len(positions):
        raise CheckpointError(
            f"{target.name} knows the classes {', '.join(known)}, and {data.name} has "
            f"{', '.join(with_binary(data, names))}. Evaluate it on data with the same classes."
        )
    return found


def _notes(target: EvalTarget, split: Split, source: ImageDataset) -> tuple[str, ...]:
    """Return a warning for each member that was trained on some of the images, or may have been."""
    data, members = target.config.data, zip(target.member_names, target.checkpoint.members, strict=True)
    notes = [_note(path, member, data, split, source) for (path, _), member in members]
    return tuple(dict.fromkeys(note for note in notes if note))


def _note(path: str, member: Member, data: Data, split: Split, source: ImageDataset) -> str:
    trained, samples = member.config.data, member.lineage
    if _dataset_name(trained) == _dataset_name(data):
        if split == "train":
            return ""
        samples = samples[:-1]  # its own split keeps them apart
    known, checked = find_known(source, samples)
    head, count = f"{path} was trained on {_dataset_name(trained)}, and", len(source)
    if known:
        share = f"about {100 * known / checked:.0f} %" if known >= MIN_KNOWN else "some"
        known_ones = f"{f'{known:,}' if checked == count else share} of these {count:,} images"
        return f"{head} {known_ones} trained it, or a model that it started from: the figures are too good."
    return ""


def _dataset_name(data: Data) -> str:
    """Return the path or name of the data set."""
    return data.name if data.path is None else str(user_path(data.path).absolute())


def _loss_metric(checkpoint: Checkpoint, loss: LossFunction | None) -> LossMetric:
    """The loss to report of a plain answer; none where it was a user's own function that is not given."""
    if loss is not None and len(checkpoint.members) > 1:
        raise UsageError("loss= is for a lone checkpoint: an ensemble's loss is -ln of its mean probability.")
    member = checkpoint.members[0]
    if loss is None and "loss" in member.custom:
        return lambda outputs, labels: None
    return build_criterion(member.config, checkpoint.classes, loss=loss).mean_loss


@dataclass(frozen=True)
class CalibrationResult:
    """The copy, and what was judged with and without its temperature: on validation, and on the split asked for."""

    checkpoint: Checkpoint
    before: dict[Split, EvalResult]
    after: dict[Split, EvalResult]

    @property
    def temperature(self) -> float:
        """The copy's."""
        return _temperature(self.checkpoint)

    def calibration_metrics(self) -> dict[str, tuple[CalibrationMetrics, CalibrationMetrics]]:
        """Before and after, on each split."""
        return {
            split: (_calibration_metrics(old), _calibration_metrics(self.after[split]))
            for split, old in self.before.items()
        }

    def to_json(self) -> dict[str, Any]:
        """What `mnist-eval --calibrate --json` adds, but for the files."""
        figures = {
            split: {"before": asdict(old), "after": asdict(new), "worse": new.worse_than(old)}
            for split, (old, new) in self.calibration_metrics().items()
        }
        return {"temperature": self.temperature, **figures}


def calibrate(
    checkpoint: CheckpointRef | Iterable[CheckpointRef], *overrides: Override, split: Split = "test"
) -> CalibrationResult:
    """A copy of a model, or of several as an ensemble, with a temperature fitted on validation images; not yet saved.

    No answer changes: a temperature keeps the order of the probabilities. Raises `CheckpointError` where the outputs
    are no probabilities, `DataError` where there are no validation images (`training.refit` trains with all) or no
    temperature is best for them, and what `judge` raises.
    """
    target = load_target(checkpoint, overrides, "validation", split)
    if not target.checkpoint.members[0].spec.gives_probabilities:  # of an ensemble all members do, or none
        raise CheckpointError(
            f"The outputs of {target.name} are no probabilities (squared error without model.output), so no "
            "temperature makes them truer."
        )
    before = {part: evaluate_target(target, part) for part in _parts(split)}
    copied = _with_temperature(_best_temperature(before["validation"]), target)
    after = {part: evaluate_target(copied, part) for part in before}
    return CalibrationResult(copied.checkpoint, before, after)


def _parts(split: Split) -> tuple[Split, ...]:
    return ("validation",) if split == "validation" else ("validation", split)


def _best_temperature(result: EvalResult) -> float:
    """The one for the very logits that it will divide: those at temperature 1."""
    if _temperature(result.target.checkpoint) != 1:
        result = evaluate_target(_with_temperature(1.0, result.target), "validation")
    predictions, (first, *others) = result.predictions, result.target.checkpoint.members
    if others:
        return fit_temperature(to_logits(predictions.probabilities, "probabilities"), predictions.labels)
    return fit_temperature(to_logits(predictions.outputs, first.spec.kind), predictions.labels)


def _with_temperature(temperature: float, target: EvalTarget) -> EvalTarget:
    """The subject at `temperature`, without the state of its training."""
    first, *others = target.checkpoint.members
    if others:
        copy = replace(target.checkpoint, temperature=temperature, training_state=None)
    else:
        member = replace(first, spec=replace(first.spec, temperature=temperature))
        copy = replace(target.checkpoint, members=(member,), training_state=None)
    return replace(target, checkpoint=copy)


def _temperature(checkpoint: Checkpoint) -> float:
    return checkpoint.temperature if len(checkpoint.members) > 1 else checkpoint.spec.temperature


def _calibration_metrics(result: EvalResult) -> CalibrationMetrics:
    predictions = result.predictions
    loss = log_loss(log_probabilities(predictions.probabilities), predictions.labels)
    return CalibrationMetrics(loss, calibration_error(predictions.confidence, predictions.correct))


@dataclass(frozen=True)
class ComparisonResult:
    """The judgements of both, by the names they are told apart by, and how they differ."""

    names: tuple[str, str]
    first: EvalResult
    second: EvalResult
    comparison: Comparison

    @property
    def notes(self) -> tuple[str, ...]:
        """Those of both evaluations."""
        return (*self.first.evaluation.notes, *self.second.evaluation.notes)

    def to_json(self) -> dict[str, Any]:
        """What `mnist-eval --compare --json` prints."""
        both = zip(self.names, (self.first, self.second), strict=True)
        models = [{"path": result.target.name, "name": name, **result.evaluation.summary()} for name, result in both]
        evaluation = self.first.evaluation
        about = {"dataset": evaluation.dataset, "split": evaluation.split, "views": evaluation.views}
        if evaluation.pictures:
            about["pictures"] = evaluation.pictures
        notes = {"notes": self.notes} if self.notes else {}
        return {"first": models[0], "second": models[1], **asdict(self.comparison), **about, **notes}


def compare(
    first: CheckpointRef, second: CheckpointRef, *overrides: Override, split: Split = "test", views: int = 1
) -> ComparisonResult:
    """Which of two checkpoints, each a model or a saved ensemble, is right on more of the same images.

    Raises `CheckpointError` if one is missing, or they have other classes or images, and what `judge` raises.
    """
    paths = find_checkpoints([first, second])
    one, other = (load_target(path, overrides, split) for path in paths)
    check_same_classes({one.name: one.checkpoint, other.name: other.checkpoint})
    check_same_split([(each.name, config.data) for each in (one, other) for config in each.configs], split)
    trained = one.trained + other.trained
    first_judged, second_judged = (
        evaluate_target(replace(each, trained=trained), split, views) for each in (one, other)
    )
    comparison = compare_predictions(first_judged.predictions.correct, second_judged.predictions.correct)
    return ComparisonResult(_names(*paths), first_judged, second_judged, comparison)


def _names(first: Path, second: Path) -> tuple[str, str]:
    """A run's `best.pt` by its folder, another file by itself; both with their whole paths if that does not do."""
    short = [path.parent.name if path.name == "best.pt" and path.parent.name else path.stem for path in (first, second)]
    return (short[0], short[1]) if short[0] != short[1] else (str(first), str(second))
