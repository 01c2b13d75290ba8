"""The end of a training: the winner is judged, reports are drawn, `run.json` is finished."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from torch import nn

from mnist_trainer.config.schema import Config
from mnist_trainer.data.loaders import load_test
from mnist_trainer.data.source import Source
from mnist_trainer.inference.evaluate import Answers, answer, measure
from mnist_trainer.inference.firing import dead_sentence, monitor_firing
from mnist_trainer.inference.metrics import Evaluation
from mnist_trainer.reports.curves import Story
from mnist_trainer.reports.drawings import Drawing, draw_confusion, draw_mistakes, draw_training, draw_weights
from mnist_trainer.reports.journal import Journal
from mnist_trainer.reports.listener import Listener, Outcome, metrics_row
from mnist_trainer.reports.text import STOP_REASONS
from mnist_trainer.training.loop import EpochRecord
from mnist_trainer.training.losses import LossFunction
from mnist_trainer.training.prepare import build_criterion


@dataclass(frozen=True)
class Run:
    """A finished training. `model` has the best epoch's weights, or the second fit's where there was one, and is in
    evaluation mode; `validation` is always the first fit's."""

    folder: Path
    config: Config
    records: tuple[EpochRecord, ...]
    best_epoch: int
    stop_reason: str
    test: Evaluation
    validation: Evaluation | None
    model: nn.Module


def judge(journal: Journal, source: Source, split: str, loss: LossFunction | None) -> tuple[Evaluation, Answers]:
    """The figures and the answers of the best epoch's model on `source`."""
    setup = journal.state.setup
    config, classes = setup.config, setup.classes
    predictor = journal.best().predictor(setup.device, journal.state.best_model())
    if split == "validation":
        with monitor_firing(predictor.members[0]) as monitor:
            answers = answer(predictor, source)
        journal.dead_units = monitor.dead
    else:
        answers = answer(predictor, source)
    figure = build_criterion(config, classes, loss=loss).figure
    return measure(predictor, answers, figure, classes, config.data.name, split), answers


def conclude(
    journal: Journal, listener: Listener, validation: Evaluation | None, loss: LossFunction | None
) -> tuple[Run, Outcome]:
    """The winner reads the test set, once; reports are drawn; `run.json` is finished."""
    listener.drawing()
    began = perf_counter()
    config, folder, best_epoch = journal.config, journal.folder, journal.best_epoch
    model = journal.state.best_model()
    file_format = config.report.format
    drawings: list[Drawing] = []
    if config.report.plots:  # drawn while the test set is read
        rows = [metrics_row(record) for record in journal.records if record.phase == "train"]
        drawings.append(draw_training(rows, _story(journal), config.name, file_format))
        title = f"{config.name}: weights of the first layer"
        drawings += draw_weights(model, title, journal.dead_units, file_format)
    source = load_test(config.data, listener.loading)
    test, answers = judge(journal, source, "test", loss)
    evaluated = perf_counter() - began
    if config.report.plots:
        drawings.append(draw_confusion(test, journal.state.setup.classes, file_format))
    if config.report.gallery:
        drawings.append(draw_mistakes(answers, source, test, journal.state.setup.classes, file_format))
    for name, picture in drawings:
        folder.write_plot(name, picture())
    timings = {
        "training_seconds": journal.seconds,
        "evaluation_seconds": evaluated,
        "drawing_seconds": perf_counter() - began - evaluated,
    }
    if dead := dead_sentence(journal.dead_units):
        folder.log(dead)
    journal.finish(test, timings)
    plots = tuple(f"plots/{name}" for name, _ in drawings)
    if config.report.tensorboard:
        plots += ("tensorboard/",)
    reason = journal.stop_reason
    run = Run(folder.path, config, tuple(journal.records), best_epoch, reason, test, validation, model)
    return run, Outcome(folder.path, best_epoch, reason, test, journal.seconds, plots, dead)


def _story(journal: Journal) -> Story:
    """What the curves tell of a training besides its rows."""
    config, best = journal.config, journal.first.best
    rule = config.training.early_stopping
    reason = STOP_REASONS[journal.stop_reason]
    if rule is not None and journal.stop_reason == "early_stopping":
        reason = f"stopped early, for {rule.monitor} did not improve in {best.waited} epochs"
    return Story(
        best_epoch=best.epoch,
        monitor=rule.monitor if rule else "val_loss",
        points=[point for record in journal.records if record.phase == "train" for point in record.curve],
        waited=best.waited if rule else 0,
        patience=rule.patience if rule else None,
        reason=f"{reason[0].lower()}{reason[1:].rstrip('.')}",
        loss=f"{'your own loss' if 'loss' in journal.custom else config.loss.name}, mean per image",
    )
