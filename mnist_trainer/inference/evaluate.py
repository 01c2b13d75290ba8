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
    MemberFigures,
    calibration_error,
    confusion_matrix,
    figures_by_class,
    wilson_interval,
)
from mnist_trainer.inference.predictor import Predictor
from mnist_trainer.inference.views import View, make_views

LossFigure = Callable[[Tensor, Tensor], float | None]
"""The mean loss over raw outputs [N, K] and labels [N]."""


@dataclass(frozen=True)
class Answers:
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
    members: tuple[Answers, ...] = ()

    @property
    def right(self) -> Tensor:
        """Bool [N]."""
        return self.predicted == self.labels

    @property
    def disagreement(self) -> float:
        """The share of the images to which not all members give the same answer."""
        each = torch.stack([member.predicted for member in self.members])
        return float((each != each[0]).any(dim=0).double().mean())


def answer(predictor: Predictor, dataset: ImageDataset, views: int = 1) -> Answers:
    """The answers of `predictor` to every image of `dataset` in its order; the mean over so many `views` of each image.

    Each member reads in batches of its own size, so that it gives the bits that it gives alone. Raises `UsageError`
    for fewer than one view.
    """
    chosen = make_views(views)
    members = tuple(_member(predictor, number, dataset, chosen) for number in range(len(predictor.readings)))
    if len(members) == 1 and predictor.temperature == 1:
        return members[0]
    probabilities = predictor.together([member.probabilities for member in members])
    outputs = _logarithm(predictor, probabilities)
    return _answers(probabilities, dataset.labels.cpu(), outputs, plain=False, members=members)


def _member(predictor: Predictor, number: int, dataset: ImageDataset, chosen: Sequence[View]) -> Answers:
    reading, labels = predictor.readings[number], dataset.labels.cpu()
    each = []
    for view in chosen:
        loader = ordered_loader(dataset, reading.batch_size)
        each.append(predictor.outputs((view(images.to(predictor.device)) for images, _ in loader), number))
    probabilities = torch.stack(list(map(reading.probabilities, each))).mean(dim=0)
    plain = len(each) == 1 and reading.temperature == 1
    return _answers(probabilities, labels, each[0] if plain else _logarithm(predictor, probabilities), plain=plain)


def log_probabilities(probabilities: Tensor) -> Tensor:
    """Their logarithms, finite for 0 too."""
    return probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny).log()


def _logarithm(predictor: Predictor, probabilities: Tensor) -> Tensor:
    return log_probabilities(probabilities) if predictor.gives_probabilities else probabilities


def _answers(
    probabilities: Tensor, labels: Tensor, outputs: Tensor, plain: bool, members: tuple[Answers, ...] = ()
) -> Answers:
    confidence, predicted = probabilities.max(dim=1)
    return Answers(outputs, probabilities, predicted, confidence, labels, plain, members)


def log_loss(logarithms: Tensor, labels: Tensor) -> float:
    """−ln of the right class's probability, the mean over the images, of the probabilities' `logarithms` [N, K]."""
    return float(F.nll_loss(logarithms, labels))


def measure(
    predictor: Predictor, answers: Answers, loss: LossFigure, classes: tuple[str, ...], dataset: str, split: str
) -> Evaluation:
    """The figures of `answers`; there is no calibration error where outputs are no probabilities.

    `loss` is that of the model's own outputs; of answers that are not `plain` the `log_loss` is told. The members'
    figures are left to `measure_members`.
    """
    count, right = len(answers.labels), int(answers.right.sum())
    confusion = confusion_matrix(answers.labels, answers.predicted, len(classes))
    honest = predictor.gives_probabilities
    figure = loss if answers.plain else log_loss if honest else _no_loss
    return Evaluation(
        accuracy=right / count,
        errors=count - right,
        count=count,
        loss=figure(answers.outputs, answers.labels),
        interval=wilson_interval(right, count),
        ece=calibration_error(answers.confidence, answers.right) if honest else None,
        per_class=figures_by_class(confusion, classes),
        confusion=tuple(map(tuple, confusion.tolist())),
        dataset=dataset,
        split=split,
        plain=answers.plain,
    )


def measure_members(
    predictor: Predictor, answers: Answers, places: Sequence[tuple[str, str]]
) -> tuple[MemberFigures, ...]:
    """The figures of an ensemble's members, whose paths and names are `places`; all have the `log_loss`."""
    figures = []
    for (path, name), own in zip(places, answers.members, strict=True):
        count, right = len(own.labels), int(own.right.sum())
        loss = log_loss(log_probabilities(own.probabilities), own.labels) if predictor.gives_probabilities else None
        interval = wilson_interval(right, count)
        figures.append(MemberFigures(path, name, right / count, count - right, count, loss, interval))
    return tuple(figures)


def _no_loss(outputs: Tensor, labels: Tensor) -> None:
    """Values that are no probabilities have none that ensembles share."""


def surest_mistakes(answers: Answers, count: int = 25) -> Tensor:
    """Positions [≤ count] of the wrong answers given with the largest confidence, surest first."""
    wrong = torch.nonzero(~answers.right).flatten()
    order = torch.argsort(answers.confidence[wrong], descending=True, stable=True)
    return wrong[order][:count]
