"""From a config to a finished run: `train` drives a training to its end and writes everything about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter

import torch
from torch import nn

from mnist_trainer.config.schema import Config
from mnist_trainer.config.warnings import warnings
from mnist_trainer.data.loaders import load_test
from mnist_trainer.data.source import Source
from mnist_trainer.errors import DeviceError, InterruptedRunError
from mnist_trainer.inference.evaluate import Answers, answer, measure
from mnist_trainer.inference.metrics import Evaluation
from mnist_trainer.model.device import settings
from mnist_trainer.pipeline.description import facts_of, header_of, own_parts
from mnist_trainer.pipeline.preparation import ConfigSource, as_config, prepare, refit_config
from mnist_trainer.reports.drawings import draw_confusion, draw_mistakes, draw_training, draw_weights
from mnist_trainer.reports.journal import Journal
from mnist_trainer.reports.listener import Listener, Outcome, metrics_row
from mnist_trainer.reports.tensorboard import require_tensorboard
from mnist_trainer.storage.run_folder import create_run_folder, refuse_taken
from mnist_trainer.training.loop import EpochRecord, fit
from mnist_trainer.training.losses import LossFunction
from mnist_trainer.training.prepare import OptimizerFactory, build_criterion
from mnist_trainer.training.state import TrainingState


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


def train(
    config: ConfigSource,
    *overrides: str,
    run_dir: Path | None = None,
    model: nn.Module | None = None,
    loss: LossFunction | None = None,
    optimizer: OptimizerFactory | None = None,
    listener: Listener | None = None,
) -> Run:
    """Trains, tests and writes a run folder: `run_dir`, or a new one below `runs/`.

    `model` (trained in place), `loss` and `optimizer` (a class or a function of the parameters) take the place of the
    config's. Nothing is printed; `listener` hears what happens. Raises the errors of `prepare`, `DivergedError`,
    `StorageError`, and `InterruptedRunError` if the listener wants a stop; what was trained by then is in the folder.
    """
    listener = listener or Listener()
    config = as_config(config, overrides)
    for path, reason in warnings(config):
        listener.warned(".".join(map(str, path)), reason)
    if config.report.tensorboard:
        require_tensorboard()
    with settings(config.threads, config.deterministic), memory_errors():
        began = perf_counter()
        if run_dir is not None:
            refuse_taken(run_dir)  # before data are fetched for nothing
        prepared = partial(prepare, loss=loss, optimizer=optimizer, loading=listener.loading)
        fresh = deepcopy(model) if config.training.refit else None
        state = prepared(config, model=model)
        folder = create_run_folder(config.name, run_dir)
        custom = own_parts(model, loss, optimizer)
        journal = Journal(folder, state, custom, began)
        journal.start(facts_of(state, custom))
        with _ending(journal):
            listener.started(header_of(state, folder.path, custom))
            _fit(state, journal, listener)
            validation = None
            if state.setup.validation is not None:
                validation, _ = _judge(journal, state.setup.validation, "validation", loss)
                journal.validated(validation)
            if config.training.refit:
                second = prepared(refit_config(config, state.best.epoch), model=fresh, phase="refit")
                listener.refitting(state.best.epoch, len(second.setup.train))
                journal.refit(second)
                _fit(second, journal, listener)
                journal.keep_refit()
            run, outcome = _conclude(journal, listener, validation, loss)
    listener.finished(outcome)
    return run


@contextmanager
def _ending(journal: Journal) -> Iterator[None]:
    """Writes down how a training ended that did not come to its end."""
    try:
        yield
    except (InterruptedRunError, KeyboardInterrupt):
        journal.stop("interrupted", "SIGINT")
        raise
    except BaseException as error:
        journal.stop("failed", type(error).__name__, str(error))
        raise


def _fit(state: TrainingState, journal: Journal, listener: Listener) -> None:
    steps = state.setup.course.steps_per_epoch

    def after_step(state: TrainingState) -> None:
        listener.stepped(state.epoch + 1, state.step, steps)
        if listener.wants_stop:
            journal.save_last()
            is_first = not journal.best_epoch
            kept = "no epoch is complete, so there is no model yet in" if is_first else "what was trained so far is in"
            where = f"in epoch {state.epoch + 1}, after step {state.step} of {steps}"
            raise InterruptedRunError(f"Stopped {where}; {kept} {journal.folder.path}.")

    listener.can_stop = True
    for record in fit(state, after_step):
        journal.epoch(record)
        listener.epoch_ended(record)
    listener.can_stop = False
    journal.save_last()


def _judge(journal: Journal, source: Source, split: str, loss: LossFunction | None) -> tuple[Evaluation, Answers]:
    """The figures and the answers of the best epoch's model on `source`."""
    setup = journal.state.setup
    config, classes = setup.config, setup.classes
    predictor = journal.best().predictor(setup.device, journal.state.best_model())
    answers = answer(predictor, source)
    figure = build_criterion(config, classes, loss=loss).figure
    return measure(predictor, answers, figure, classes, config.data.name, split), answers


def _conclude(
    journal: Journal, listener: Listener, validation: Evaluation | None, loss: LossFunction | None
) -> tuple[Run, Outcome]:
    """The winner reads the test set, once; reports are drawn; `run.json` is finished."""
    listener.drawing()
    began = perf_counter()
    config, folder, best_epoch = journal.config, journal.folder, journal.best_epoch
    source = load_test(config.data, listener.loading)
    test, answers = _judge(journal, source, "test", loss)
    model = journal.state.best_model()
    evaluated = perf_counter() - began
    drawings: list[tuple[str, bytes]] = []
    if config.report.plots:
        rows = [metrics_row(record) for record in journal.records if record.phase == "train"]
        drawings.append(draw_training(rows, best_epoch, config.name))
        drawings.append(draw_confusion(test, journal.state.setup.classes))
        drawings += draw_weights(model, f"{config.name}: weights of the first layer")
    if config.report.gallery:
        drawings.append(draw_mistakes(answers, source, test, journal.state.setup.classes))
    for name, png in drawings:
        folder.write_plot(name, png)
    timings = {
        "training_seconds": journal.seconds,
        "evaluation_seconds": evaluated,
        "drawing_seconds": perf_counter() - began - evaluated,
    }
    journal.finish(test, timings)
    plots = tuple(f"plots/{name}" for name, _ in drawings)
    if config.report.tensorboard:
        plots += ("tensorboard/",)
    reason = journal.stop_reason
    run = Run(folder.path, config, tuple(journal.records), best_epoch, reason, test, validation, model)
    return run, Outcome(folder.path, best_epoch, reason, test, journal.seconds, plots)


@contextmanager
def memory_errors() -> Iterator[None]:
    """Turns torch's words about memory into a `DeviceError` that says what to do."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        memory = isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error)
        if not memory:
            raise
        raise DeviceError(
            "The memory is not enough for this training. Make data.batch_size smaller (training.accumulate keeps the "
            "step the same), or the model narrower."
        ) from error
