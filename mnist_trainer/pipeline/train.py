"""`train` runs a training from its config to a finished run folder, `resume` continues one that was stopped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

from torch import nn

from mnist_trainer.config.load import ConfigSource, Override, load_config, override_texts
from mnist_trainer.config.schema import Config, Report
from mnist_trainer.data.identity import last_images
from mnist_trainer.data.image_dataset import ImageDataset
from mnist_trainer.data.loaders import load_test
from mnist_trainer.data.paths import Progress
from mnist_trainer.errors import DataError, InterruptedRunError
from mnist_trainer.files import folder_lock
from mnist_trainer.inference.metrics import Evaluation
from mnist_trainer.inference.predictions import Predictions, describe_dead_units, measure, monitor_firing, predict
from mnist_trainer.model.device import choose_threads, convert_device_errors, settings, skipped_device
from mnist_trainer.pipeline.describe import build_header, run_facts
from mnist_trainer.pipeline.preparation import (
    CustomParts,
    agree_on_images,
    check_fresh,
    check_processes,
    config_warnings,
    prepare_training,
    refit_config,
)
from mnist_trainer.pipeline.resume import (
    ResumePoint,
    check_single_run,
    find_run,
    is_finished,
    load_resume_point,
    resume_command,
)
from mnist_trainer.reports import run_plots
from mnist_trainer.reports.callbacks import Callback, Run, metrics_row
from mnist_trainer.reports.canvas import check_matplotlib
from mnist_trainer.reports.console import with_console
from mnist_trainer.reports.curves import TrainingSummary
from mnist_trainer.reports.diagnosis import Facts, diagnose
from mnist_trainer.reports.run_writer import RunWriter, SilentWriter, require_tensorboard
from mnist_trainer.reports.text import STOP_REASONS
from mnist_trainer.storage.run_folder import RunFolder, as_folder, check_free, check_no_run, create_run_folder
from mnist_trainer.training.distributed import agreed, first_of_host_first, from_first
from mnist_trainer.training.loop import Restore, fit
from mnist_trainer.training.losses import LossFunction
from mnist_trainer.training.not_learning import likely_cause, not_learning
from mnist_trainer.training.prepare import OptimizerFactory, build_criterion
from mnist_trainer.training.probe import LayerProbe, probe, slower_together
from mnist_trainer.training.state import TrainingState


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
    """Train, test, and write a run folder: `run_dir`, or a new one below `runs/`.

    `overrides` change keys of the config: `"training.epochs=3"`, or `{"training": {"epochs": 3}}`; so do other keyword
    arguments, as `training={"epochs": 3}`. `model` (trained in place), `loss` and `optimizer` (a class or a function of
    the parameters) replace the config's. The methods of `callback` are called as the training proceeds; with `progress`
    a header, the epochs and a progress bar are printed.

    Raises the errors of `prepare`, `DivergedError`, `StorageError`, and `InterruptedRunError` if the callback asks for
    a stop: the folder then holds the training so far, and `resume` continues it.
    """
    custom, folder = CustomParts(model, loss, optimizer), as_folder(run_dir)
    with agreed():
        config = load_config(config, (*overrides, keys))
    with with_console(callback, progress) as reporter:
        if folder is not None:
            from_first(lambda: check_free(folder))  # before data are downloaded
        return _run(config, custom, reporter, _new_folder(config.name, folder))


def resume(
    run: str | Path,
    *overrides: Override,
    model: nn.Module | None = None,
    loss: LossFunction | None = None,
    optimizer: OptimizerFactory | None = None,
    callback: Callback | None = None,
    progress: bool = False,
    take_over: bool = False,
    **keys: Any,
) -> Run | None:
    """Continue the run in the folder `run`, or `latest`; return None if it is finished.

    The result is bit-identical to an uninterrupted run, except for times and `sessions` in `run.json`. `overrides` may
    change the keys in `CHANGEABLE`. Custom parts must be those the run was started with, newly built. `take_over`
    continues even if the folder is locked by a process on another machine. Raises the errors of `train` and
    `load_resume_point`.
    """
    custom, texts = CustomParts(model, loss, optimizer), override_texts((*overrides, keys))
    with with_console(callback, progress) as reporter, ExitStack() as stack:

        def open_run() -> ResumePoint | RunFolder:
            """Return the point to resume from, or the folder of a run that is complete."""
            folder = find_run(str(run))
            check_single_run(folder)
            if is_finished(folder, texts):
                return folder
            stack.enter_context(folder_lock(folder.path, steal_lock=take_over))
            return load_resume_point(folder, texts, custom.names)

        point = from_first(open_run)
        if isinstance(point, RunFolder):
            reporter.on_already_finished(point.path)
            return None
        return _run(point.config, custom, reporter, nullcontext(point.folder), point)


@contextmanager
def _new_folder(name: str, path: Path | None) -> Iterator[RunFolder]:
    """Create the folder of a new run and lock it."""
    folder = create_run_folder(name, path)
    with folder_lock(folder.path):
        check_no_run(folder.path)  # again: another process may have been faster
        yield folder


def _run(
    config: Config,
    custom: CustomParts,
    callback: Callback,
    run_folder: AbstractContextManager[RunFolder],
    point: ResumePoint | None = None,
) -> Run:
    """Train, test, and write everything to `run_folder`, which is entered when training can start."""
    check_processes(config)
    for key, reason in config_warnings(config):
        callback.on_warning(key, reason)
    check_reports(config.report)
    threads = (point and point.threads) or choose_threads(config, custom.model)
    with settings(config, threads, model=custom.model), convert_device_errors(), ExitStack() as stack:
        start_time = perf_counter()
        untrained = replace(custom, model=deepcopy(custom.model)) if config.training.refit else custom
        with agreed(), first_of_host_first():
            state = _initial_state(config, custom, callback, point)
            test = load_test_images(config, callback.on_loading)
            check_fresh(test, "test", last_images(state.setup.train, state.setup.extra))
        agree_on_images(state)
        _warn_of_device(config, state, callback)
        folder = from_first(lambda: stack.enter_context(run_folder))
        kind = RunWriter if state.setup.ranks.rank == 0 else SilentWriter
        writer = kind(folder, state, custom.names, start_time, None if point is None else point.last)
        writer.start(run_facts(state, writer.custom))
        with _record_failure(writer, callback):
            resumed = "" if point is None else point.position()
            callback.on_train_start(build_header(state, folder.path, writer.custom, resumed))
            run = _fit_and_test(writer, callback, test, untrained)
        callback.on_train_end(run)
        return run


def _initial_state(config: Config, custom: CustomParts, callback: Callback, point: ResumePoint | None) -> TrainingState:
    """Return the state of a new training, or the one that was saved at `point`."""
    state = prepare_training(config, custom, callback, initial=None if point is None else point.initial)
    if point is not None:
        point.restore(state)
        for key, reason in point.notes(state):
            callback.on_warning(key, reason)
    return state


def _fit_and_test(writer: RunWriter, callback: Callback, test: ImageDataset | None, untrained: CustomParts) -> Run:
    """Run both fits, as far as they are not over, and the evaluations; `untrained` are the parts of a second fit."""
    state, validation = writer.state, None
    is_first = state.setup.ranks.rank == 0
    if not writer.is_in_refit:
        _fit(state, writer, callback)
    if is_first and state.setup.validation is not None:
        validation = evaluate_best(writer, state.setup.validation, "validation", untrained.loss)
        writer.set_validation(validation.evaluation)
    if writer.config.training.refit and state.stop_reason != "interrupted":
        _refit(writer, untrained, callback)
    if not is_first:
        results = tuple(writer.records), writer.best_epoch, writer.stop_reason, None, None, writer.state.best_model()
        return Run(writer.folder.path, writer.config, *results, writer.seconds)
    return conclude(writer, callback, test, validation, untrained.loss)


def _refit(writer: RunWriter, custom: CustomParts, callback: Callback) -> None:
    """Train the second fit (`training.refit`)."""
    setup, epochs = writer.first.setup, writer.best_epoch
    config = refit_config(setup.config, epochs)  # with the batch size of the first fit, if the run's is auto
    initial, teacher = setup.initial, setup.teacher  # their files may be gone by now
    with agreed(), first_of_host_first():
        refit = prepare_training(config, custom, callback, phase="refit", initial=initial, teacher=teacher)
    refit.setup = replace(refit.setup, threads=setup.threads)
    callback.on_refit_start(epochs, len(refit.setup.train))
    writer.refit(refit)
    _fit(refit, writer, callback)
    writer.finish_refit()


def _warn_of_device(config: Config, state: TrainingState, callback: Callback) -> None:
    """Warn if `auto` has chosen another device or batch size than usual."""
    if reason := skipped_device(config.device):
        callback.on_warning("device", reason)
    asked, size = config.data, state.setup.config.data.batch
    if asked.batch != size:
        reason = f"{asked.batch} images do not fit into the memory of {state.setup.device}; a step takes {size}"
        callback.on_warning("data.batch_size", f"{reason} (training.accumulate={asked.batch // size} makes up for it)")


@contextmanager
def _record_failure(writer: RunWriter, callback: Callback) -> Iterator[None]:
    """Record why a training ended early, and add the command that resumes it to the error."""
    try:
        yield
    except (InterruptedRunError, KeyboardInterrupt) as error:
        writer.stop("interrupted", callback.stopped_by)
        error.add_note(f"Resume with: {resume_command(writer.folder.path)}")
        raise
    except BaseException as error:
        writer.stop("failed", type(error).__name__, str(error))
        raise


def _fit(state: TrainingState, writer: RunWriter, callback: Callback) -> None:
    """Train to the end of a fit; write each epoch, and save the state when it is due or a stop is requested."""
    steps = state.setup.steps_per_epoch

    def after_step(state: TrainingState) -> None:
        """Save the state if it is due; save it and raise `InterruptedRunError` if a stop is requested."""
        callback.on_step_end(state.epoch + 1, state.step, steps)
        stop_level = state.stop_level
        if stop_level and callback.finish_on_stop:
            state.stop_reason = "interrupted"
        elif stop_level:
            writer.save_last()
            is_first = not writer.best_epoch
            kept = "no epoch is complete, so there is no model yet in" if is_first else "what was trained so far is in"
            where = f"in epoch {state.epoch + 1}, after step {state.step} of {steps}"
            stopped = InterruptedRunError(f"Stopped {where}; {kept} {writer.folder.path}.")
            if stop_level > 1:
                stopped.exit_code = InterruptedRunError.terminated_exit_code
                if callback.stopped_by == "SIGINT":  # the signal reached another process
                    callback.stopped_by = "SIGTERM"
            raise stopped
        elif writer.is_due:
            writer.save_last()

    def on_rollback(restore: Restore) -> None:
        writer.on_rollback(restore)
        callback.on_warning("training.on_divergence", f"{restore}.")

    def stop_request() -> float:
        return 0.0 if not callback.should_stop else 1.0 if callback.stopped_by == "SIGINT" else 2.0

    state.stop_request = stop_request
    callback.on_fit_start(state)
    callback.can_stop = True
    for record in fit(state, after_step, on_rollback):
        if record.epoch == 1:
            _probe(state, writer, "first_epoch")  # before the state is saved, which contains it
        writer.epoch(record)
        callback.on_epoch_end(record)
        if record.epoch == 1 and not writer.custom and (slower := slower_together(state)) is not None:
            callback.on_message(slower)
        if reason := not_learning(state, writer.records, writer.custom):
            callback.on_warning("training", reason)
    callback.can_stop = False
    _probe(state, writer, "last_epoch")
    writer.save_last()


def _probe(state: TrainingState, writer: RunWriter, when: str) -> None:
    """Record the gradients and updates of the layers in the first fit; a user's own parts are not called for it."""
    if state.setup.phase == "train" and not writer.custom:
        writer.add_layers(when, probe(state))


class SplitResult(NamedTuple):
    """The metrics of a split, and the predictions and images they were computed from."""

    evaluation: Evaluation
    predictions: Predictions
    dataset: ImageDataset


def load_test_images(config: Config, progress: Progress | None) -> ImageDataset | None:
    """Return the test images; None with `report.test: false`. Raises `DataError`, before the first step."""
    if not config.report.test:
        return None
    try:
        return load_test(config.data, progress)
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
        writer.dead_units, writer.saturated_units = monitor.dead, monitor.saturated
    mean_loss = build_criterion(config, classes, loss=loss).mean_loss
    evaluation = measure(predictor, predictions, mean_loss, classes, config.data.name, split)
    return SplitResult(evaluation, predictions, dataset)


def conclude(
    writer: RunWriter,
    callback: Callback,
    images: ImageDataset | None,
    validation: SplitResult | None,
    loss: LossFunction | None,
) -> Run:
    """Evaluate the best model on the test `images`, once; draw the plots; complete `run.json`.

    Without test images the plots show the `validation` images.
    """
    callback.on_test_start()
    start_time = perf_counter()
    config, folder = writer.config, writer.folder
    model = writer.state.best_model()
    drawings = _draw_training(writer, model) if config.report.plots else []  # while the model is tested
    tested = None if images is None else evaluate_best(writer, images, "test", loss)
    evaluated = perf_counter() - start_time
    if shown := tested or validation:
        drawings += _draw_predictions(shown, writer.state.setup.classes, config.report)
    for name, picture in drawings:
        folder.write_plot(name, picture())
    timings = {
        "training_seconds": writer.seconds,
        "evaluation_seconds": evaluated,
        "drawing_seconds": perf_counter() - start_time - evaluated,
    }
    if dead := describe_dead_units(writer.dead_units):
        folder.log(dead)
    test, validated = (None if measured is None else measured.evaluation for measured in (tested, validation))
    plots = tuple(f"plots/{name}" for name, _ in drawings)
    if config.report.tensorboard:
        plots += ("tensorboard/",)
    is_guessing = shown is not None and shown.evaluation.is_guessing
    advice = likely_cause(writer.state, writer.records, writer.custom) if is_guessing else ""
    diagnosis = diagnose(_facts(writer, validated, advice))
    writer.finish(test, timings, diagnosis)
    epochs = tuple(writer.records), writer.best_epoch, writer.stop_reason
    return Run(folder.path, config, *epochs, test, validated, model, writer.seconds, plots, dead, diagnosis)


def _facts(writer: RunWriter, validation: Evaluation | None, advice: str) -> Facts:
    """Return what the diagnosis is made from."""
    setup = writer.first.setup
    early, late = (writer.layers.get(when, ()) for when in ("first_epoch", "last_epoch"))
    return Facts(
        setup.config,
        [record for record in writer.records if record.phase == "train"],
        writer.best_epoch,
        writer.stop_reason,
        validation,
        writer.dead_units,
        writer.saturated_units,
        [LayerProbe(**layer) for layer in early],
        [LayerProbe(**layer) for layer in late],
        dict(zip(setup.classes, setup.train.labels.bincount(minlength=len(setup.classes)).tolist(), strict=False)),
        len(writer.first.restores),
        advice,
        tuple(writer.custom),
    )


def _draw_training(writer: RunWriter, model: nn.Module) -> list[run_plots.Drawing]:
    """Return the curves, and the weights of the first layer."""
    name, file_format = writer.config.name, writer.config.report.format
    rows = [metrics_row(record) for record in writer.records if record.phase == "train"]
    curves = run_plots.draw_training(rows, _training_summary(writer), name, file_format)
    title = f"{name}: weights of the first layer"
    return [curves, *run_plots.draw_weights(model, title, writer.dead_units, file_format)]


def _training_summary(writer: RunWriter) -> TrainingSummary:
    """Return the content of `curves.png` besides the metrics of the epochs."""
    config, best = writer.config, writer.first.best
    rule = config.training.early_stopping
    reason = STOP_REASONS[writer.stop_reason]
    if rule is not None and writer.stop_reason == "early_stopping":
        reason = f"stopped early, for {rule.monitor} did not improve in {best.num_bad_epochs} epochs"
    return TrainingSummary(
        best_epoch=best.epoch,
        monitor=None if config.training.keep == "last" else rule.monitor if rule else "val_loss",
        points=[point for record in writer.records if record.phase == "train" for point in record.curve],
        num_bad_epochs=best.num_bad_epochs if rule else 0,
        patience=rule.patience if rule else None,
        reason=f"{reason[0].lower()}{reason[1:].rstrip('.')}",
        loss=f"{'your own loss' if 'loss' in writer.custom else config.loss.name}, mean per image",
    )


def _draw_predictions(measured: SplitResult, classes: tuple[str, ...], report: Report) -> Iterator[run_plots.Drawing]:
    """Yield the plots of an evaluation that `report` asks for."""
    evaluation, predictions, dataset = measured
    if report.plots:
        yield run_plots.draw_confusion(evaluation, classes, report.format)
    if report.gallery:
        yield run_plots.draw_mistakes(predictions, dataset, evaluation, classes, report.format)
        yield run_plots.draw_sample(predictions, dataset)
