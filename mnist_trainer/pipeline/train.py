"""From a config to a finished run: `train` drives a training to its end, `resume` one that was stopped before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

from torch import nn

from mnist_trainer.config.load import ConfigSource, Override, load_config, override_texts
from mnist_trainer.config.schema import Config
from mnist_trainer.data.image_dataset import ImageDataset
from mnist_trainer.errors import InterruptedRunError
from mnist_trainer.files import folder_lock
from mnist_trainer.model.device import choose_threads, settings, skipped_device
from mnist_trainer.model.memory import convert_device_errors
from mnist_trainer.pipeline.describe import build_header, run_facts
from mnist_trainer.pipeline.finish import Run, check_reports, conclude, evaluate_best, load_test_images
from mnist_trainer.pipeline.preparation import CustomParts, config_warnings, prepare_training, refit_config
from mnist_trainer.pipeline.resume import (
    check_same_parts,
    check_single_run,
    find_run,
    is_finished,
    load_resume_point,
    resume_command,
)
from mnist_trainer.reports.callbacks import Callback
from mnist_trainer.reports.console import with_console
from mnist_trainer.reports.run_writer import RunWriter
from mnist_trainer.storage.run_folder import as_folder, check_free, check_no_run, create_run_folder
from mnist_trainer.training.divergence import Restore
from mnist_trainer.training.loop import fit
from mnist_trainer.training.losses import LossFunction
from mnist_trainer.training.not_learning import not_learning
from mnist_trainer.training.prepare import OptimizerFactory
from mnist_trainer.training.state import InitialWeights, TrainingState


def _prepare(
    config: Config, custom: CustomParts, callback: Callback, initial: InitialWeights | None = None
) -> tuple[TrainingState, Callable[[int], TrainingState]]:
    """Return the state of the first fit, and a function that makes that of the second from the best epoch."""
    fresh = replace(custom, model=deepcopy(custom.model)) if config.training.refit else custom
    loading, on_warning = callback.on_loading, callback.on_warning
    state = prepare_training(config, custom, loading=loading, on_warning=on_warning, initial=initial)
    _warn_of_device(config, state, callback)
    setup = state.setup  # its batch size is a number

    def prepare_refit(epochs: int) -> TrainingState:
        again = refit_config(setup.config, epochs)
        return prepare_training(again, fresh, loading=loading, phase="refit", initial=setup.initial)

    return state, prepare_refit


def train(
    config: ConfigSource,
    *overrides: Override,
    run_dir: str | Path | None = None,
    model: nn.Module | None = None,
    loss: LossFunction | None = None,
    optimizer: OptimizerFactory | None = None,
    callback: Callback | None = None,
    progress: bool = False,
    **keys: Any,
) -> Run:
    """Trains, tests and writes a run folder: `run_dir`, or a new one below `runs/`.

    `overrides` change keys of the config: `"training.epochs=3"`, or `{"training": {"epochs": 3}}`; so do
    other keyword arguments, as `training={"epochs": 3}`.
    `model` (trained in place), `loss` and `optimizer` (a class or a function of the parameters) take the place of the
    config's. `callback` (a `mnist_trainer.Callback`) hears what happens; with `progress` header, epochs and a bar are
    printed, in a terminal or a notebook, else nothing. Raises the errors of `prepare`, `DivergedError`,
    `StorageError`, and `InterruptedRunError` if the callback wants a stop; what was trained by then is in the folder,
    and `resume` goes on with it.
    """
    custom, run_dir, config = (
        CustomParts(model, loss, optimizer),
        as_folder(run_dir),
        load_config(config, (*overrides, keys)),
    )
    with with_console(callback, progress) as heard:
        _warn(config, heard)
        with settings(config, choose_threads(config, model), model=model), convert_device_errors():
            began = perf_counter()
            if run_dir is not None:
                check_free(run_dir)  # before data are fetched for nothing
            state, second = _prepare(config, custom, heard)
            test = load_test_images(config, heard.on_loading)
            folder = create_run_folder(config.name, run_dir)
            with folder_lock(folder.path):
                check_no_run(folder.path)  # again: another process may have come first
                return _run_training(RunWriter(folder, state, custom.names, began), second, test, loss, heard)


def resume(
    place: str | Path,
    *overrides: Override,
    model: nn.Module | None = None,
    loss: LossFunction | None = None,
    optimizer: OptimizerFactory | None = None,
    callback: Callback | None = None,
    progress: bool = False,
    take_over: bool = False,
    **keys: Any,
) -> Run | None:
    """Goes on with the run in the folder `place`, or `latest`, as if it had never been stopped; None if it is finished.

    What it then has in its folder is to the bit what it would have been, but for times and `sessions` in `run.json`.
    `overrides` may change what `CHANGEABLE` names. Own parts must be those of its beginning, and fresh. `take_over`
    goes on although the folder says that a process on another machine is at work in it. Raises what `train` and
    `load_resume_point` raise.
    """
    custom, texts, folder = (
        CustomParts(model, loss, optimizer),
        override_texts((*overrides, keys)),
        find_run(str(place)),
    )
    check_single_run(folder)
    with with_console(callback, progress) as heard:
        if is_finished(folder, texts):
            heard.on_already_finished(folder.path)
            return None
        with folder_lock(folder.path, steal_lock=take_over):
            resume_point = load_resume_point(folder, texts)
            check_same_parts(resume_point, custom.names)
            _warn(resume_point.config, heard)
            threads = resume_point.threads or choose_threads(resume_point.config, model)
            with settings(resume_point.config, threads, model=model), convert_device_errors():
                began = perf_counter()
                state, second = _prepare(resume_point.config, custom, heard, resume_point.initial)
                resume_point.restore(state)
                for key, reason in resume_point.notes(state):
                    heard.on_warning(key, reason)
                test = load_test_images(resume_point.config, heard.on_loading)
                writer = RunWriter(folder, state, custom.names, began, resume_point.last)
                return _run_training(writer, second, test, loss, heard, resume_point.position())


def _warn(config: Config, callback: Callback) -> None:
    for key, reason in config_warnings(config):
        callback.on_warning(key, reason)
    check_reports(config.report)


def _run_training(
    writer: RunWriter,
    second: Callable[[int], TrainingState],
    test: ImageDataset | None,
    loss: LossFunction | None,
    callback: Callback,
    resumed: str = "",
) -> Run:
    """Trains from where the journal's state is, tests on the images `test`, and writes it all."""
    state, config = writer.state, writer.config
    writer.start(run_facts(state, writer.custom))
    with _record_failure(writer, callback):
        callback.on_train_start(build_header(state, writer.folder.path, writer.custom, resumed))
        if not writer.is_in_refit:
            _fit(state, writer, callback)
        validation = None
        if state.setup.validation is not None:
            validation = evaluate_best(writer, state.setup.validation, "validation", loss)
            writer.set_validation(validation.evaluation)
        if config.training.refit and state.stop_reason != "interrupted":
            refit = second(state.best.epoch)
            refit.setup = replace(refit.setup, threads=state.setup.threads)
            callback.on_refit_start(state.best.epoch, len(refit.setup.train))
            writer.refit(refit)
            _fit(refit, writer, callback)
            writer.finish_refit()
        run, result = conclude(writer, callback, test, validation, loss)
    callback.on_train_end(result)
    return run


def _warn_of_device(config: Config, state: TrainingState, callback: Callback) -> None:
    """What `auto` became, where that is not what one would expect."""
    if reason := skipped_device(config.device):
        callback.on_warning("device", reason)
    asked, size = config.data, state.setup.config.data.batch
    if asked.batch != size:
        reason = f"{asked.batch} images do not fit into the memory of {state.setup.device}; a step takes {size}"
        callback.on_warning("data.batch_size", f"{reason} (training.accumulate={asked.batch // size} makes up for it)")


@contextmanager
def _record_failure(writer: RunWriter, callback: Callback) -> Iterator[None]:
    """Writes down how a training ended that did not come to its end, and says how to go on."""
    try:
        yield
    except (InterruptedRunError, KeyboardInterrupt) as error:
        writer.stop("interrupted", callback.stopped_by)
        error.add_note(f"Go on with: {resume_command(writer.folder.path)}")
        raise
    except BaseException as error:
        writer.stop("failed", type(error).__name__, str(error))
        raise


def _fit(state: TrainingState, writer: RunWriter, callback: Callback) -> None:
    steps = state.setup.steps_per_epoch

    def after_step(state: TrainingState) -> None:
        callback.on_step_end(state.epoch + 1, state.step, steps)
        if callback.should_stop and callback.finish_on_stop:
            state.stop_reason = "interrupted"
        elif callback.should_stop:
            writer.save_last()
            is_first = not writer.best_epoch
            kept = "no epoch is complete, so there is no model yet in" if is_first else "what was trained so far is in"
            where = f"in epoch {state.epoch + 1}, after step {state.step} of {steps}"
            raise InterruptedRunError(f"Stopped {where}; {kept} {writer.folder.path}.")
        elif writer.is_due:
            writer.save_last()

    def on_rollback(restore: Restore) -> None:
        writer.on_rollback(restore)
        callback.on_warning("training.on_divergence", f"{restore}.")

    callback.on_fit_start(state)
    callback.can_stop = True
    for record in fit(state, after_step, on_rollback):
        writer.epoch(record)
        callback.on_epoch_end(record)
        if reason := not_learning(state, writer.records, writer.custom):
            callback.on_warning("training", reason)
    callback.can_stop = False
    writer.save_last()
