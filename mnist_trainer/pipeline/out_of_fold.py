"""Out-of-fold predictions for a training set, by runs whose validation splits cover it, and the labels they doubt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from mnist_trainer.config.load import Override, override_texts
from mnist_trainer.config.schema import Data
from mnist_trainer.data.folder import picture_paths
from mnist_trainer.data.identity import identify
from mnist_trainer.data.image_dataset import ImageDataset
from mnist_trainer.data.loaders import has_validation, load_real
from mnist_trainer.data.tables import table_of
from mnist_trainer.errors import CheckpointError, DataError
from mnist_trainer.inference.metrics import DoubtedLabel, confident_labels
from mnist_trainer.inference.predictions import log_loss, log_probabilities, make_predictions, measure, predict
from mnist_trainer.model.device import choose_threads, convert_device_errors, resolve_device, settings
from mnist_trainer.pipeline.evaluate import (
    DEVICE_ADVICE,
    CheckpointRef,
    EvalResult,
    EvalTarget,
    check_split_counts,
    evaluate_target,
    load_target,
    override_data,
)
from mnist_trainer.storage.checkpoint import Checkpoint, Member
from mnist_trainer.storage.onnx_model import OnnxModel

ALL_FOLDS = "Train runs with data.fold=1/5, 2/5 … 5/5, which cover the training set together, and name all of them."


@dataclass(frozen=True)
class SuspiciousLabels:
    """The out-of-fold predictions for a training set, and the labels they doubt, the least self-confident first."""

    result: EvalResult
    positions: Tensor
    """int64 [n]: the positions of the doubted labels in `result`."""
    labels: tuple[DoubtedLabel, ...]
    test: EvalResult | None
    """The ensemble of all runs on MNIST's test set, whose labels have been validated by people."""

    def to_json(self) -> dict[str, Any]:
        """Return what `mnist-eval --suspicious --json` prints."""
        found = {**self.result.evaluation.to_json(), "suspicious": [asdict(each) for each in self.labels]}
        return {**found, "test": self.test.evaluation.to_json()} if self.test else found


def find_suspicious_labels(
    checkpoint: CheckpointRef | Iterable[CheckpointRef], *overrides: Override
) -> SuspiciousLabels:
    """Return the training labels that differ from their out-of-fold predictions, or that confident learning calls
    errors, ranked by self-confidence.

    Raises `CheckpointError` if the validation splits of the runs do not cover the training set together, or a run was
    trained with images of its own, and the errors of `evaluate`.
    """
    texts = override_texts(overrides)
    target = load_target(checkpoint, texts, "test")
    if isinstance(target.checkpoint, OnnxModel):
        raise CheckpointError(f"{target.name} is an exported model. Name the checkpoint it was made of.")
    if not target.checkpoint.members[0].spec.gives_probabilities:
        reason = "are not probabilities (squared error without model.output), so no label can be doubted"
        raise CheckpointError(f"The outputs of {target.name} {reason}.")
    result = predict_out_of_fold(target, texts)
    predictions, classes, data = result.predictions, target.checkpoint.classes, target.config.data
    confident = confident_labels(predictions.probabilities, predictions.labels)
    is_confident = confident != predictions.labels
    suggested = torch.where(is_confident, confident, predictions.predicted)
    own = predictions.probabilities.gather(1, predictions.labels[:, None]).flatten()
    positions = torch.nonzero(suggested != predictions.labels).flatten()
    positions = positions[own[positions].argsort(stable=True)]
    indices = result.dataset.indices[positions].tolist()
    paths = picture_paths(data) if data.name == "folder" and table_of(data) is None else []
    labels = tuple(
        DoubtedLabel(
            index,
            classes[predictions.labels[position]],
            float(own[position]),
            classes[suggested[position]],
            float(predictions.probabilities[position, suggested[position]]),
            bool(is_confident[position]),
            paths[index] if paths else None,
        )
        for index, position in zip(indices, positions.tolist(), strict=True)
    )
    tests = data.name == "mnist" and all(member.config.report.test for member in target.checkpoint.members)
    return SuspiciousLabels(result, positions, labels, evaluate_target(target, "test") if tests else None)


def predict_out_of_fold(target: EvalTarget, overrides: Sequence[str] = ()) -> EvalResult:
    """Return the predictions for the training set, each by the models that the image validated: their mean probability.

    `overrides` are those that `target` was loaded with. Raises `CheckpointError` as `find_suspicious_labels`.
    """
    checkpoint, config = target.checkpoint, target.config
    whole = load_real(config.data.model_copy(update={"validation": 0, "fold": None})).train
    total = torch.zeros(len(whole), len(checkpoint.classes), dtype=torch.float64)
    times = torch.zeros(len(whole), dtype=torch.float64)
    with settings(config, choose_threads(config)), convert_device_errors("evaluation", DEVICE_ADVICE):
        for (path, _), member in zip(target.member_names, checkpoint.members, strict=True):
            images = _validation_images(path, member, checkpoint, override_data(member.config, overrides).data)
            predictor = Checkpoint((member,), checkpoint.classes).predictor(resolve_device(config.device))
            positions = torch.searchsorted(whole.indices, images.indices)
            total.index_add_(0, positions, predict(predictor, images).probabilities)
            times[positions] += 1
        _check_complete(target, times > 0)
        probabilities = total / times[:, None]
        predictions = make_predictions(probabilities, whole.labels, log_probabilities(probabilities), plain=False)
        evaluation = measure(
            predictor, predictions, log_loss, checkpoint.classes, config.data.name, "out-of-fold training"
        )
    return EvalResult(target, evaluation, predictions, whole)


def _validation_images(path: str, member: Member, checkpoint: Checkpoint, data: Data) -> ImageDataset:
    """Return the images that validated `member`, which `path` holds. Raises `CheckpointError` if there are none."""
    if len({(each.name, each.limit, each.binary) for each in (checkpoint.config.data, member.config.data, data)}) > 1:
        raise CheckpointError(
            f"{path} was trained with another data.name, limit or binary: out-of-fold predictions are for one training "
            "set, that of all runs."
        )
    if has_validation(data):
        raise DataError(f"{data.path} has validation images of its own, so no run can judge the labels of the others.")
    check_split_counts([path], [member], data)
    splits = load_real(data)
    if splits.validation is None:
        reason = "it was trained on all of them (training.refit, or data.validation 0)"
        raise CheckpointError(f"{path} has no validation images: {reason}. {ALL_FOLDS}")
    if identify(splits, data.name).is_known_to(member.lineage):
        raise CheckpointError(f"{path}, or a model that it started from, was trained with images that validate it now.")
    return splits.validation


def _check_complete(target: EvalTarget, is_predicted: Tensor) -> None:
    """Raise `CheckpointError` that says which images [N] no run predicts, and which folds are missing."""
    missing = int((~is_predicted).sum())
    if not missing:
        return
    folds = {member.config.data.fold_number for member in target.checkpoint.members}
    parts = {fold[1] if fold else 0 for fold in folds}
    lacking = [f"{part}/{count}" for count in parts for part in range(1, count + 1) if (part, count) not in folds]
    advice = f"Missing: data.fold={', '.join(lacking)}." if len(parts) == 1 and lacking else ALL_FOLDS
    raise CheckpointError(
        f"{missing:,} of {len(is_predicted):,} training images validated none of these runs, so their labels can't be "
        f"judged. {advice}"
    )
