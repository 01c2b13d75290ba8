"""From a config to a finished run: `prepare` gives a training that the caller drives, `train` drives it to its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import nn

from mnist_trainer.config.checks import mistakes
from mnist_trainer.config.expand import expand
from mnist_trainer.config.load import load_config
from mnist_trainer.config.outputs import output_count
from mnist_trainer.config.schema import Config
from mnist_trainer.config.shapes import place
from mnist_trainer.config.warnings import warnings
from mnist_trainer.data.catalog import class_names
from mnist_trainer.data.loaders import load_splits, load_test
from mnist_trainer.errors import ConfigError, DeviceError, InterruptedRunError, Problem
from mnist_trainer.inference.evaluate import answer, measure
from mnist_trainer.inference.metrics import Evaluation
from mnist_trainer.model.device import resolve_device, settings
from mnist_trainer.model.memory import check_memory, footprint
from mnist_trainer.pipeline.description import facts_of, header_of, own_parts
from mnist_trainer.reports.drawings import draw_confusion, draw_mistakes, draw_training, draw_weights
from mnist_trainer.reports.journal import Journal
from mnist_trainer.reports.listener import Listener, Outcome, metrics_row
from mnist_trainer.reports.tensorboard import require_tensorboard
from mnist_trainer.storage.checkpoint import load_checkpoint
from mnist_trainer.storage.run_folder import create_run_folder, find_checkpoint, refuse_taken
from mnist_trainer.training.loop import EpochRecord, fit
from mnist_trainer.training.losses import LossFunction
from mnist_trainer.training.prepare import OptimizerFactory, build_criterion, prepare_state
from mnist_trainer.training.state import TrainingState

ConfigSource = Config | str | Path | Mapping[str, Any]
"""A config, a path, the name of a shipped config, or a mapping as the YAML would be read."""


@dataclass(frozen=True)
class Run:
    """A finished training. `model` has the best epoch's weights and is in evaluation mode."""

    folder: Path
    config: Config
    records: tuple[EpochRecord, ...]
    best_epoch: int
    stop_reason: str
    test: Evaluation
    validation: Evaluation | None
    model: nn.Module


def as_config(source: ConfigSource, overrides: tuple[str, ...] = ()) -> Config:
    """The checked config. Raises `ConfigError` with every problem."""
    if isinstance(source, Config):
        return source if not overrides else load_config(source.model_dump(mode="json"), overrides)
    return load_config(source, overrides)


def prepare(
    config: ConfigSource,
    *overrides: str,
    model: nn.Module | None = None,
    loss: LossFunction | None = None,
    optimizer: OptimizerFactory | None = None,
    loading: Callable[[str, int, int | None], None] | None = None,
) -> TrainingState:
    """A training at its start: data loaded, model built and on its device. `fit(state)` trains it.

    Raises `ConfigError`, `DataError`, `DeviceError` (also when the model cannot fit into memory) or `CheckpointError`.
    """
    config = as_config(config, overrides)
    classes = check_classes(config)
    if model is None:
        placed = place(expand(config.model), output_count(config, classes))
        check_memory(footprint(config, placed), resolve_device(config.device))
    initial = None
    if config.model.init_from is not None:
        checkpoint = load_checkpoint(find_checkpoint(config.model.init_from))
        initial = checkpoint.weights, checkpoint.reading.normalization
    splits = load_splits(config.data, loading)
    return prepare_state(config, splits, model=model, loss=loss, optimizer=optimizer, initial=initial)


def check_classes(config: Config) -> int:
    """How many classes the data has. Raises `ConfigError` if the config names others: a folder's are known only now."""
    classes = len(class_names(config.data))
    if config.data.name == "folder" and config.data.binary is None:
        found = mistakes(config, classes)
        if found:
            raise ConfigError([Problem("", ".".join(map(str, path)), message) for path, message in found])
    return classes


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
    with settings(config.threads, config.deterministic), _memory_errors():
        began = perf_counter()
        if run_dir is not None:
            refuse_taken(run_dir)  # before data are fetched for nothing
        state = prepare(config, model=model, loss=loss, optimizer=optimizer, loading=listener.loading)
        folder = create_run_folder(config.name, run_dir)
        custom = own_parts(model, loss, optimizer)
        journal = Journal(folder, state, custom, began)
        journal.start(facts_of(state))
        try:
            listener.started(header_of(state, folder.path, custom))
            _fit(state, journal, listener)
            run, outcome = _conclude(state, journal, listener, loss)
        except (InterruptedRunError, KeyboardInterrupt):
            journal.stop("interrupted", "SIGINT")
            raise
        except BaseException as error:
            journal.stop("failed", type(error).__name__, str(error))
            raise
    listener.finished(outcome)
    return run


def _fit(state: TrainingState, journal: Journal, listener: Listener) -> None:
    steps = state.setup.course.steps_per_epoch

    def after_step(state: TrainingState) -> None:
        listener.stepped(state.epoch + 1, state.step, steps)
        if listener.wants_stop:
            journal.save_last()
            kept = (
                "what was trained so far is in" if state.epoch else "no epoch is complete, so there is no model yet in"
            )
            where = f"in epoch {state.epoch + 1}, after step {state.step} of {steps}"
            raise InterruptedRunError(f"Stopped {where}; {kept} {journal.folder.path}.")

    listener.can_stop = True
    for record in fit(state, after_step):
        journal.epoch(record)
        listener.epoch_ended(record)
    listener.can_stop = False
    journal.save_last()


def _conclude(
    state: TrainingState, journal: Journal, listener: Listener, loss: LossFunction | None
) -> tuple[Run, Outcome]:
    """The winner reads the test set, once; reports are drawn; `run.json` is finished."""
    listener.drawing()
    began = perf_counter()
    setup, config, folder = state.setup, state.setup.config, journal.folder
    best = journal.best()
    model = state.best_model()
    predictor = best.predictor(setup.device, model)
    figure = build_criterion(config, setup.classes, loss=loss).figure
    validation = None
    if setup.validation is not None:
        known = answer(predictor, setup.validation)
        validation = measure(predictor, known, figure, setup.classes, config.data.name, "validation")
    source = load_test(config.data, listener.loading)
    answers = answer(predictor, source)
    test = measure(predictor, answers, figure, setup.classes, config.data.name, "test")
    evaluated = perf_counter() - began
    drawings: list[tuple[str, bytes]] = []
    if config.report.plots:
        rows = [metrics_row(record) for record in journal.records]
        drawings += draw_training(rows, state.best.epoch, config.name)
        drawings += draw_confusion(test, setup.classes)
        drawings += draw_weights(model, f"{config.name}: weights of the first layer")
    if config.report.gallery:
        drawings += draw_mistakes(answers, source, test, setup.classes)
    for name, png in drawings:
        folder.write_plot(name, png)
    timings = {
        "training_seconds": state.seconds,
        "evaluation_seconds": evaluated,
        "drawing_seconds": perf_counter() - began - evaluated,
    }
    journal.finish(test, validation, timings)
    reason = state.stop_reason or "epochs"
    plots = tuple(f"plots/{name}" for name, _ in drawings)
    if config.report.tensorboard:
        plots += ("tensorboard/",)
    run = Run(folder.path, config, tuple(journal.records), state.best.epoch, reason, test, validation, model)
    return run, Outcome(folder.path, state.best.epoch, reason, test, state.seconds, plots)


@contextmanager
def _memory_errors() -> Iterator[None]:
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
