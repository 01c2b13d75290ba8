"""Figures of a predictor on a split. Training, `mnist-eval` and the Python API all measure here, with equal bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mnist_trainer.data.loaders import ordered_loader
from mnist_trainer.data.source import Source
from mnist_trainer.inference.metrics import (
    Evaluation,
    calibration_error,
    confusion_matrix,
    figures_by_class,
    wilson_interval,
)
from mnist_trainer.inference.predictor import Predictor
from mnist_trainer.inference.probabilities import to_probabilities

LossFigure = Callable[[Tensor, Tensor], float | None]
"""The mean loss over raw outputs [N, K] and labels [N]."""


@dataclass(frozen=True)
class Answers:
    """What a predictor answered to a whole split: raw outputs, probabilities, predictions; all on the CPU."""

    outputs: Tensor
    probabilities: Tensor
    predicted: Tensor
    confidence: Tensor
    labels: Tensor

    @property
    def right(self) -> Tensor:
        """Bool [N]."""
        return self.predicted == self.labels


def answer(predictor: Predictor, source: Source) -> Answers:
    """The answers of `predictor`, which has one member, to every image of `source` in its order."""
    loader = ordered_loader(source, predictor.reading.batch_size)
    (outputs,) = predictor.outputs(images for images, _ in loader)
    probabilities = to_probabilities(outputs, predictor.reading.kind, predictor.reading.temperature)
    confidence, predicted = probabilities.max(dim=1)
    return Answers(outputs, probabilities, predicted, confidence, source.labels.cpu())


def measure(
    predictor: Predictor, answers: Answers, loss: LossFigure, classes: tuple[str, ...], dataset: str, split: str
) -> Evaluation:
    """The figures of `answers`; there is no calibration error where outputs are no probabilities."""
    count, right = len(answers.labels), int(answers.right.sum())
    confusion = confusion_matrix(answers.labels, answers.predicted, len(classes))
    return Evaluation(
        accuracy=right / count,
        errors=count - right,
        count=count,
        loss=loss(answers.outputs, answers.labels),
        interval=wilson_interval(right, count),
        ece=calibration_error(answers.confidence, answers.right) if predictor.reading.gives_probabilities else None,
        per_class=figures_by_class(confusion, classes),
        confusion=tuple(map(tuple, confusion.tolist())),
        dataset=dataset,
        split=split,
    )


def surest_mistakes(answers: Answers, count: int = 25) -> Tensor:
    """Positions [≤ count] of the wrong answers given with the largest confidence, surest first."""
    wrong = torch.nonzero(~answers.right).flatten()
    order = torch.argsort(answers.confidence[wrong], descending=True, stable=True)
    return wrong[order][:count]
