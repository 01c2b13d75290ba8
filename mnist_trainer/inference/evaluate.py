"""Figures of a predictor on a split. Training, `mnist-eval` and the Python API all measure here, with equal bits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mnist_trainer.data.image_dataset import ImageDataset
from mnist_trainer.data.loaders import ordered_loader
from mnist_trainer.inference.metrics import (
    Evaluation,
    MemberMetrics,
    calibration_error,
    confusion_matrix,
    metrics_by_class,
    wilson_interval,
)
from mnist_trainer.inference.predictor import Predictor
from mnist_trainer.inference.views import View, make_views

LossMetric = Callable[[Tensor, Tensor], float | None]
"""The mean loss over raw outputs [N, K] and labels [N]."""


@dataclass(frozen=True)
class Predictions:
    """What a predictor answered to a whole split; all on the CPU.

    `plain` outputs are the model's own raw ones. Those of an ensemble, of several views, or at a temperature are the
    logarithms of the probabilities (the mean values of models without probabilities). An ensemble has its `members`'
    answers too.
    """

    outputs: Tensor
    probabilities: Tensor
    predicted: Tensor
    confidence: Tensor
    labels: Tensor
    plain: bool = True
    members: tuple[Predictions, ...] = ()

    @property
    def correct(self) -> Tensor:
        """Bool [N]."""
        return self.predicted == self.labels

    @property
    def disagreement(self) -> float:
        """The share of the images to which not all members give the same answer."""
        each = torch.stack([member.predicted for member in self.members])
        return float((each != each[0]).any(dim=0).double().mean())


def predict(predictor: Predictor, dataset: ImageDataset, views: int = 1) -> Predictions:
    """The answers of `predictor` to every image of `dataset` in its order; the mean over so many `views` of each image.

    Each member reads in batches of its own size, so that it gives the bits that it gives alone. Raises `UsageError`
    for fewer than one view.
    """
    chosen = make_views(views)
    members = tuple(_predict_member(predictor, number, dataset, chosen) for number in range(len(predictor.specs)))
    if len(members) == 1 and predictor.temperature == 1:
        return members[0]
    probabilities = predictor.average([member.probabilities for member in members])
    outputs = _log_outputs(predictor, probabilities)
    return _make_predictions(probabilities, dataset.labels.cpu(), outputs, plain=False, members=members)


def _predict_member(predictor: Predictor, number: int, dataset: ImageDataset, chosen: Sequence[View]) -> Predictions:
    spec, labels = predictor.specs[number], dataset.labels.cpu()
    each = []
    for view in chosen:
        loader = ordered_loader(dataset, spec.batch_size)
        each.append(predictor.outputs((view(images.to(predictor.device)) for images, _ in loader), number))
    probabilities = torch.stack(list(map(spec.probabilities, each))).mean(dim=0)
    plain = len(each) == 1 and spec.temperature == 1
    return _make_predictions(
        probabilities, labels, each[0] if plain else _log_outputs(predictor, probabilities), plain=plain
    )


def log_probabilities(probabilities: Tensor) -> Tensor:
    """Their logarithms, finite for 0 too."""
    return probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny).log()


def _log_outputs(predictor: Predictor, probabilities: Tensor) -> Tensor:
    return log_probabilities(probabilities) if predictor.gives_probabilities else probabilities


def _make_predictions(
    probabilities: Tensor, labels: Tensor, outputs: Tensor, plain: bool, members: tuple[Predictions, ...] = ()
) -> Predictions:
    confidence, predicted = probabilities.max(dim=1)
    return Predictions(outputs, probabilities, predicted, confidence, labels, plain, members)


def log_loss(logarithms: Tensor, labels: Tensor) -> float:
    """−ln of the right class's probability, the mean over the images, of the probabilities' `logarithms` [N, K]."""
    return float(F.nll_loss(logarithms, labels))


def measure(
    predictor: Predictor, predictions: Predictions, loss: LossMetric, classes: tuple[str, ...], dataset: str, split: str
) -> Evaluation:
    """The figures of `predictions`; there is no calibration error where outputs are no probabilities.

    `loss` is that of the model's own outputs; of answers that are not `plain` the `log_loss` is told. The members'
    figures are left to `measure_members`.
    """
    count, correct = len(predictions.labels), int(predictions.correct.sum())
    confusion = confusion_matrix(predictions.labels, predictions.predicted, len(classes))
    gives_probabilities = predictor.gives_probabilities
    metric = loss if predictions.plain else log_loss if gives_probabilities else _no_loss
    return Evaluation(
        accuracy=correct / count,
        errors=count - correct,
        count=count,
        loss=metric(predictions.outputs, predictions.labels),
        interval=wilson_interval(correct, count),
        ece=calibration_error(predictions.confidence, predictions.correct) if gives_probabilities else None,
        per_class=metrics_by_class(confusion, classes),
        confusion=tuple(map(tuple, confusion.tolist())),
        dataset=dataset,
        split=split,
        plain=predictions.plain,
    )


def measure_members(
    predictor: Predictor, predictions: Predictions, member_names: Sequence[tuple[str, str]]
) -> tuple[MemberMetrics, ...]:
    """The figures of an ensemble's members, whose paths and names are `member_names`; all have the `log_loss`."""
    metrics = []
    for (path, name), own in zip(member_names, predictions.members, strict=True):
        count, correct = len(own.labels), int(own.correct.sum())
        loss = log_loss(log_probabilities(own.probabilities), own.labels) if predictor.gives_probabilities else None
        interval = wilson_interval(correct, count)
        metrics.append(MemberMetrics(path, name, correct / count, count - correct, count, loss, interval))
    return tuple(metrics)


def _no_loss(outputs: Tensor, labels: Tensor) -> None:
    """Values that are no probabilities have none that ensembles share."""


def most_confident_errors(predictions: Predictions, count: int = 25) -> Tensor:
    """Positions [≤ count] of the wrong answers given with the largest confidence, surest first."""
    wrong = torch.nonzero(~predictions.correct).flatten()
    order = torch.argsort(predictions.confidence[wrong], descending=True, stable=True)
    return wrong[order][:count]
