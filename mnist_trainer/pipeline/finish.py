"""The end of a training: the best model is tested, plots are drawn, `run.json` is completed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from torch import nn

from mnist_trainer.config.schema import Config, Report
from mnist_trainer.data.image_dataset import ImageDataset
from mnist_trainer.data.loaders import load_test
from mnist_trainer.errors import DataError
from mnist_trainer.inference.metrics import Evaluation
from mnist_trainer.inference.predictions import Predictions, describe_dead_units, measure, monitor_firing, predict
from mnist_trainer.pipeline.preparation import Loading
from mnist_trainer.reports.callbacks import Callback, RunResult, metrics_row
from mnist_trainer.reports.canvas import check_matplotlib
from mnist_trainer.reports.curves import TrainingSummary
from mnist_trainer.reports.run_plots import (
    Drawing,
    draw_confusion,
    draw_mistakes,
    draw_sample,
    draw_training,
    draw_weights,
)
from mnist_trainer.reports.run_writer import RunWriter, require_tensorboard
from mnist_trainer.reports.text import STOP_REASONS
from mnist_trainer.training.loop import EpochRecord
from mnist_trainer.training.losses import LossFunction
from mnist_trainer.training.not_learning import likely_cause
from mnist_trainer.training.prepare import build_criterion


@dataclass(frozen=True)
class Run:
    """A finished training. `model` has the weights of the best epoch, or of the second fit, and is in evaluation mode.

    `validation` is always that of the first fit. `test` is None with `report.test: false`.
    """

    folder: Path
    config: Config
    records: tuple[EpochRecord, ...]
    best_epoch: int
    stop_reason: str
    test: Evaluation | None
    validation: Evaluation | None
    model: nn.Module

    def __repr__(self) -> str:
        """Return the results and the folder in a few lines; all else is in the attributes."""
        epochs = len([record for record in self.records if record.phase == "train"])
        lines = [measured.sentence for measured in (self.test, self.validation) if measured is not None]
        lines += [f"best epoch {self.best_epoch} of {epochs}", f"folder {self.folder}"]
        return "\n".join([f"{self.config.name}: {lines[0]}", *lines[1:]])


class SplitResult(NamedTuple):
    """The metrics of a split, and the predictions and images they were computed from."""

    evaluation: Evaluation
    predictions: Predictions
    dataset: ImageDataset


def load_test_images(config: Config, loading: Loading | None) -> ImageDataset | None:
    """Return the test images; None with `report.test: false`. Raises `DataError`, before the first step."""
    if not config.report.test:
        return None
    try:
        return load_test(config.data, loading)
    except DataError as error:
        raise DataError(f"{error}\nA training without a test needs no test images: report.test=false") from error


def check_reports(report: Report) -> None:
    """Raise `UsageError` if a package is missing that the reports need, or matplotlib's settings can't be read."""
    if report.tensorboard:
        require_tensorboard()
    if report.plots or report.gallery:
        check_matplotlib()


def evaluate_best(writer: RunWriter, dataset: ImageDataset, split: str, loss: LossFunction | None) -> SplitResult:
    """Return the metrics of the best epoch's model on `dataset`."""
    setup = writer.state.setup
    config, classes = setup.config, setup.classes
    predictor = writer.best().predictor(setup.device, writer.state.best_model())
    with monitor_firing(predictor.members[0]) if split == "validation" else nullcontext() as monitor:
        predictions = predict(predictor, dataset)
    if monitor is not None:
        writer.dead_units = monitor.dead
    mean_loss = build_criterion(config, classes, loss=loss).mean_loss
    evaluation = measure(predictor, predictions, mean_loss, classes, config.data.name, split)
    return SplitResult(evaluation, predictions, dataset)


def conclude(
    writer: RunWriter,
    callback: Callback,
    images: ImageDataset | None,
    validation: SplitResult | None,
    loss: LossFunction | None,
) -> tuple[Run, RunResult]:
    """Evaluate the best model on the test `images`, once; draw the plots; complete `run.json`.

    Without test images the plots show the `validation` images.
    """
    callback.on_test_start()
    began = perf_counter()
    config, folder, best_epoch = writer.config, writer.folder, writer.best_epoch
    model = writer.state.best_model()
    file_format = config.report.format
    drawings: list[Drawing] = []
    if config.report.plots:  # drawn while the model is tested
        rows = [metrics_row(record) for record in writer.records if record.phase == "train"]
        drawings.append(draw_training(rows, _training_summary(writer), config.name, file_format))
        title = f"{config.name}: weights of the first layer"
        drawings += draw_weights(model, title, writer.dead_units, file_format)
    tested = None if images is None else evaluate_best(writer, images, "test", loss)
    evaluated = perf_counter() - began
    if shown := tested or validation:
        drawings += _draw_predictions(shown, writer.state.setup.classes, config.report)
    for name, picture in drawings:
        folder.write_plot(name, picture())
    timings = {
        "training_seconds": writer.seconds,
        "evaluation_seconds": evaluated,
        "drawing_seconds": perf_counter() - began - evaluated,
    }
    if dead := describe_dead_units(writer.dead_units):
        folder.log(dead)
    test, validated = (None if measured is None else measured.evaluation for measured in (tested, validation))
    writer.finish(test, timings)
    plots = tuple(f"plots/{name}" for name, _ in drawings)
    if config.report.tensorboard:
        plots += ("tensorboard/",)
    reason = writer.stop_reason
    run = Run(folder.path, config, tuple(writer.records), best_epoch, reason, test, validated, model)
    is_guessing = shown is not None and shown.evaluation.is_guessing
    advice = likely_cause(writer.state, writer.records, writer.custom) if is_guessing else ""
    return run, RunResult(folder.path, best_epoch, reason, test, writer.seconds, plots, dead, validated, advice)


def _training_summary(writer: RunWriter) -> TrainingSummary:
    """Return what `curves.png` shows besides the metrics of the epochs."""
    config, best = writer.config, writer.first.best
    rule = config.training.early_stopping
    reason = STOP_REASONS[writer.stop_reason]
    if rule is not None and writer.stop_reason == "early_stopping":
        reason = f"stopped early, for {rule.monitor} did not improve in {best.num_bad_epochs} epochs"
    return TrainingSummary(
        best_epoch=best.epoch,
        monitor=rule.monitor if rule else "val_loss",
        points=[point for record in writer.records if record.phase == "train" for point in record.curve],
        num_bad_epochs=best.num_bad_epochs if rule else 0,
        patience=rule.patience if rule else None,
        reason=f"{reason[0].lower()}{reason[1:].rstrip('.')}",
        loss=f"{'your own loss' if 'loss' in writer.custom else config.loss.name}, mean per image",
    )


def _draw_predictions(measured: SplitResult, classes: tuple[str, ...], report: Report) -> Iterator[Drawing]:
    evaluation, predictions, dataset = measured
    if report.plots:
        yield draw_confusion(evaluation, classes, report.format)
    if report.gallery:
        yield draw_mistakes(predictions, dataset, evaluation, classes, report.format)
        yield draw_sample(predictions, dataset)
