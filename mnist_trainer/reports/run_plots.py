"""The plots of a run or an evaluation, with their file names, and its predictions as CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import nn

from mnist_trainer.data.image_dataset import ImageDataset
from mnist_trainer.inference.metrics import DoubtedLabel, Evaluation, calibration_error, reliability
from mnist_trainer.inference.predictions import DeadUnits, Predictions, most_confident_errors
from mnist_trainer.reports import plots
from mnist_trainer.reports.canvas import FileFormat, Picture, draw_in_background, encode_png
from mnist_trainer.reports.curves import MetricsRow, TrainingSummary, curves
from mnist_trainer.reports.text import SAMPLE_FILE, csv_text, percent
from mnist_trainer.training.losses import first_weights

Drawing = tuple[str, Picture]
"""A file name, and the function that returns the content of the file."""


def draw_training(
    rows: Sequence[MetricsRow], summary: TrainingSummary, title: str, file_format: FileFormat = "png"
) -> Drawing:
    """Return `curves.png` of the rows of `metrics.csv`."""
    return f"curves.{file_format}", draw_in_background(curves, rows, summary, title, file_format)


def draw_weights(
    model: nn.Module, title: str, dead: Sequence[DeadUnits] = (), file_format: FileFormat = "png"
) -> Iterator[Drawing]:
    """Yield `weights.png` if the first layer is fully connected or convolutional."""
    pictures = first_weights(model)
    if pictures is not None:
        crossed = [unit for layer in dead if layer.layer == 1 and layer.count == len(pictures) for unit in layer.units]
        values = pictures.detach().float().cpu().numpy()
        yield f"weights.{file_format}", draw_in_background(plots.weights, values, title, crossed, file_format)


def draw_epoch_weights(model: nn.Module, epoch: int) -> Iterator[Drawing]:
    """Yield `weights-<epoch>.png` if the first layer is fully connected or convolutional."""
    pictures = first_weights(model)
    if pictures is not None:
        image = plots.weights_image(pictures.detach().float().cpu().numpy())
        yield f"weights-{epoch}.png", partial(encode_png, image)


def draw_confusion(evaluation: Evaluation, classes: tuple[str, ...], file_format: FileFormat = "png") -> Drawing:
    """Return `confusion.png`."""
    title = f"{evaluation.dataset}, {evaluation.split}: accuracy {percent(evaluation.accuracy)}"
    counts = np.array(evaluation.confusion, dtype=np.int64)
    return f"confusion.{file_format}", draw_in_background(plots.confusion, counts, classes, title, file_format)


def draw_mistakes(
    predictions: Predictions,
    dataset: ImageDataset,
    evaluation: Evaluation,
    classes: tuple[str, ...],
    file_format: FileFormat = "png",
) -> Drawing:
    """Return `mistakes.png`: the 25 wrong predictions with the largest probability."""
    worst = most_confident_errors(predictions)
    images, labels = dataset.gather(worst.to(dataset.labels.device))
    which = "All" if evaluation.errors == len(worst) else "The most confident of"
    shown = [None if evaluation.ece is None else float(value) for value in predictions.confidence[worst]]
    return f"mistakes.{file_format}", draw_in_background(
        plots.mistakes,
        images.cpu().numpy(),
        [classes[label] for label in labels.tolist()],
        [classes[label] for label in predictions.predicted[worst].tolist()],
        shown,
        f"{which} {evaluation.errors:,} mistakes in {evaluation.count:,} {evaluation.split} images: label → prediction",
        file_format,
    )


def draw_suspicious(dataset: ImageDataset, doubted: Sequence[DoubtedLabel], positions: torch.Tensor) -> Drawing:
    """Return `suspicious.png`: the first 25 of the `doubted` labels, which are at `positions` [n] in `dataset`."""
    images, _ = dataset.gather(positions[: plots.MAX_MISTAKES])
    which = "All" if len(doubted) == len(images) else f"The {len(images)} least self-confident of"
    return "suspicious.png", partial(
        plots.mistakes,
        images.cpu().numpy(),
        [each.label for each in doubted],
        [each.suggested for each in doubted],
        [each.probability for each in doubted],
        f"{which} {len(doubted):,} doubted labels of {len(dataset):,}: label → out-of-fold prediction",
        nothing="No label is doubted.",
    )


def suspicious_csv(doubted: Sequence[DoubtedLabel]) -> str:
    """Return CSV with the attributes of `DoubtedLabel` as columns; `path` for a folder of pictures alone."""
    names = [field.name for field in fields(DoubtedLabel)]
    if not any(each.path for each in doubted):
        names.remove("path")

    def cell(value: object) -> object:
        return f"{value:.6g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else value

    return csv_text(names, ([cell(getattr(each, name)) for name in names] for each in doubted))


def draw_sample(predictions: Predictions, dataset: ImageDataset) -> Drawing:
    """Return `sample.png`: the first image that is classified correctly (else the first one), to try the model on."""
    first = int(predictions.correct.int().argmax())
    images, _ = dataset.gather(torch.tensor([first], device=dataset.labels.device))
    return SAMPLE_FILE, partial(encode_png, Image.fromarray(images[0].cpu().numpy()))


def draw_reliability(before: Predictions, after: Predictions, evaluation: Evaluation, temperature: float) -> Drawing:
    """Return `reliability.png`: the calibration of the predictions of `evaluation` before and after."""
    words = ("before", f"at temperature {temperature:.3f}")
    panels = {}
    for word, each in zip(words, (before, after), strict=True):
        error = percent(calibration_error(each.confidence, each.correct))
        panels[f"{word}: error {error}"] = reliability(each.confidence, each.correct)
    title = f"{evaluation.dataset}, {evaluation.count:,} {evaluation.split} images: accuracy by confidence"
    return "reliability.png", partial(plots.reliability_diagrams, panels, title)


def predictions_csv(
    predictions: Predictions, dataset: ImageDataset, classes: tuple[str, ...], has_probabilities: bool = True
) -> str:
    """Return CSV with the columns index (in the order of the data set), label, predicted and probability.

    The probability is empty if `has_probabilities` is false.
    """
    columns = (dataset.indices, predictions.labels, predictions.predicted, predictions.confidence)
    rows = (
        (index, classes[label], classes[predicted], f"{confidence:.6g}" if has_probabilities else "")
        for index, label, predicted, confidence in zip(*(column.tolist() for column in columns), strict=True)
    )
    return csv_text(("index", "label", "predicted", "probability"), rows)
