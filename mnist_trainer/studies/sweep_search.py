"""A sweep: many trainings of one config with values that a sampler chooses, compared by the validation images alone.

runs/2026-03-14_15-09-26-mlp-sweep/
  sweep.yaml     the sweep with its base config written into it, runnable as it is
  journal.log    the Optuna study, unless a database holds it
  run.json       kind: sweep; status, counts, the best trial
  trials.csv     a row per trial: status, metrics, seconds, values, the reason of a failure
  curves.csv     the objective after each epoch of each trial
  best.yaml      the config of the best trial, runnable as it is
  plots/*.png    plots of the trials
  log.txt        how each session ended

The files from run.json to best.yaml are rewritten from the study after each trial.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, sleep
from typing import TYPE_CHECKING

import torch

from mnist_trainer.config.load import dump_config
from mnist_trainer.config.shipped import package_version
from mnist_trainer.config.sweep import Sweep, label, sweep_items
from mnist_trainer.data.identity import identify
from mnist_trainer.data.loaders import load_splits
from mnist_trainer.errors import DeviceError, InterruptedRunError, shell_quote
from mnist_trainer.files import folder_lock, write_text
from mnist_trainer.pipeline.preparation import config_warnings
from mnist_trainer.reports.callbacks import Callback, SweepInfo, SweepResult, TrialRow
from mnist_trainer.reports.run_writer import git_commit
from mnist_trainer.reports.sweep_plots import SweepPlots
from mnist_trainer.reports.text import csv_text, plural
from mnist_trainer.storage.run_folder import RunFolder, check_not_file
from mnist_trainer.studies.processes import Scheduler, limit_jobs, run_tasks, threads_per_job
from mnist_trainer.studies.study_record import StudyRecord, open_folder
from mnist_trainer.studies.sweep_study import (
    Attempt,
    StudyStorage,
    cut_off,
    joined_study,
    open_trials,
    parse_url,
    requeue_abandoned,
    require_optuna,
    start_attempt,
    trial_rows,
)
from mnist_trainer.studies.sweep_trial import Failure, TrialTask, build_pruner, build_sampler, suggest, train_trial
from mnist_trainer.training.loop import EpochRecord

if TYPE_CHECKING:
    from optuna import Study

WAIT_SECONDS = 1.0
"""How often the study is checked while other commands run its last trials."""

MAX_DEATHS = 3
"""A trial whose process died so many times is not retried."""

METRICS = ("trial", "status", "value", "epoch", "val_loss", "val_accuracy", "seconds")
"""The first columns of `trials.csv`."""

BEST_EPOCH = ("epoch", "val_loss", "val_accuracy")
"""What the study keeps of the best epoch of a trial."""

PLOTS = ("history", "curves", "slice", "parallel")
MIN_TRIALS = 2
"""With fewer finished trials there is nothing to plot."""


@dataclass(frozen=True)
class SweepOptions:
    """How a command works on a sweep: `jobs` at a time, for some `minutes`, in a database and a folder."""

    jobs: int = 1
    minutes: float | None = None
    storage: str | None = None
    run_dir: Path | None = None


def run_sweep(sweep: Sweep, options: SweepOptions | None = None, callback: Callback | None = None) -> SweepResult:
    """Run the trials that `sweep` lacks, and write its folder.

    Continues the study if the folder or the database already holds it; several commands may work on one database. The
    test set is not read. Raises `UsageError` if Optuna is missing or the study is about another sweep, what loading
    the data raises, `StorageError` if the study can't be read or written, and `InterruptedRunError` if the callback
    wants a stop, or at a KeyboardInterrupt: running trials are then retried when the sweep continues.
    """
    options, callback = options or SweepOptions(), callback or Callback()
    require_optuna()
    jobs = limit_jobs(options.jobs, sweep.trials)
    storage = StudyStorage(sweep.name, options.storage)
    if storage.url is not None:
        parse_url(storage.url)
    check_not_file(options.run_dir)
    base = sweep.config({})
    for key, reason in config_warnings(base):
        callback.on_warning(key, reason)
    splits = load_splits(base.data, callback.on_loading)  # once, before several processes would download the data
    images = identify(splits, base.data.name).fingerprint
    with ExitStack() as stack:
        study = None
        if storage.url is not None:  # before the folder: if this fails, none is made
            study = stack.enter_context(joined_study(storage, sweep, images))
        folder = open_folder("sweep", f"{sweep.name}-sweep", options.run_dir)
        stack.enter_context(folder_lock(folder.path))
        if study is None:
            storage = StudyStorage("sweep", None, folder.path / "journal.log")
            study = stack.enter_context(joined_study(storage, sweep, images))
        return _Run(sweep, options, jobs, callback, folder, storage, study).run()


@dataclass
class _Run(Scheduler):
    """One command that works on a sweep: it asks the study for trials, has them trained, and writes the folder."""

    sweep: Sweep
    options: SweepOptions
    jobs: int
    callback: Callback
    folder: RunFolder
    storage: StudyStorage
    study: Study

    def __post_init__(self) -> None:
        self.threads = self.sweep.config({}).threads or threads_per_job(self.jobs)
        self.started = perf_counter()
        self.running: dict[int, Attempt] = {}
        self.study.pruner = build_pruner(self.sweep)
        self.record = StudyRecord(
            self.folder,
            kind="sweep",
            name=self.sweep.name,
            trials=self.sweep.trials,
            **self.sweep.settings.model_dump(include={"objective", "sampler", "pruner", "seed"}),
            storage=str(self.storage),
            jobs=self.jobs,
            threads=self.threads,
            versions={"mnist_trainer": package_version(), "torch": torch.__version__},
            git_commit=git_commit(),
        )

    @property
    def is_over(self) -> bool:
        """Whether the minutes are used up."""
        minutes = self.options.minutes
        return minutes is not None and perf_counter() - self.started >= 60 * minutes

    def should_stop(self, task: TrialTask | None = None) -> bool:
        is_cancelled = task is not None and task.number not in self.running  # pruned, or taken for dead
        return is_cancelled or self.callback.should_stop or self.is_over

    def run(self) -> SweepResult:
        """Run the sweep as `run_sweep` says."""
        write_text(self.folder.path / "sweep.yaml", dump_config(sweep_items(self.sweep, self.sweep.trials)))
        try:
            with self.record.closed_on_error(self.callback, self._stop):
                requeue_abandoned(self.study, self.sweep.trials, self.storage)
                rows = self.write()
                self.best = best_trial(rows, self.sweep)
                info = SweepInfo(self.sweep, self.folder.path, str(self.storage), self.jobs, self.threads, rows)
                self.callback.on_sweep_start(info)
                self._run_trials()
                if self.callback.should_stop:
                    raise KeyboardInterrupt
                return self._finish()
        finally:
            for attempt in self.running.values():
                attempt.heartbeat.join()

    def _stop(self) -> str:
        """Free the running trials for the next command, and return how to continue."""
        for number in list(self.running):
            self._cut_off(number, died=False)
        result = self._result(self.write())
        return f"Stopped; {result.progress}\n{result.resume}"

    def _run_trials(self) -> None:
        """Run trials until all have ended; wait while other commands run the last ones."""
        self.callback.can_stop = True
        announced = 0
        while not self.should_stop() and any(found := open_trials(self.study, self.sweep.trials)):
            startable, running = found
            if startable:
                run_tasks(train_trial, self, min(self.jobs, startable))
            else:
                if running != announced:
                    self.callback.on_message(f"Waiting for {plural(running, 'trial')} in work elsewhere.")
                    announced = running
                sleep(WAIT_SECONDS)
            requeue_abandoned(self.study, self.sweep.trials, self.storage)
        self.callback.can_stop = False

    # --- as scheduler of the trainings ---

    def next_task(self) -> TrialTask | None:
        while open_trials(self.study, self.sweep.trials)[0]:
            attempt = start_attempt(self.study)
            number, index = attempt.trial.number, attempt.index
            self.running[number] = attempt
            if index >= self.sweep.trials:  # another command started the last trial at the same moment
                self._cut_off(number, died=False)
            elif attempt.trial.user_attrs.get("deaths", 0) >= MAX_DEATHS:
                reason = f"Its process died {MAX_DEATHS} times, as happens when the memory is full."
                self._end(number, "FAIL", Failure(reason, DeviceError.exit_code))
            else:
                self.study.sampler = build_sampler(self.sweep, index)
                return TrialTask(number, self.sweep, suggest(attempt.trial, self.sweep.space), self.threads)
        return None

    def on_message(self, task: TrialTask, message: EpochRecord | Failure) -> None:
        from optuna.exceptions import UpdateFinishedTrialError

        if task.number not in self.running:  # pruned; the training has not yet stopped
            return
        if isinstance(message, Failure):
            self._end(task.number, "FAIL", message)
            return
        attempt = self.running[task.number]
        attempt.best = message if message.best else attempt.best
        try:
            attempt.trial.report(getattr(message, self.sweep.objective), message.epoch)
            if attempt.trial.should_prune():
                self._end(task.number, "PRUNED")
        except UpdateFinishedTrialError:  # another command took it for dead, and retries it
            self._release(task.number)

    def on_end(self, task: TrialTask, error: Exception | None) -> None:
        if task.number not in self.running:
            return
        if error is None:
            self._end(task.number, "COMPLETE")
        elif isinstance(error, DeviceError | InterruptedRunError):
            self._cut_off(task.number, died=isinstance(error, DeviceError))  # those of trainings come as a failure
        else:
            raise error

    def _release(self, number: int) -> Attempt:
        attempt = self.running.pop(number)
        attempt.heartbeat.join()
        return attempt

    def _cut_off(self, number: int, died: bool) -> None:
        attempt = self._release(number)
        cut_off(self.study, number, died)
        if died:
            self.write()
            text = "its process died, as happens when the memory is full; it is repeated"
            self.callback.on_message(f"{attempt.index:>5}  {text}")

    def _end(self, number: int, state: str, failure: Failure | None = None) -> None:
        """Record the state and the best epoch of an attempt, unless another command took it for dead."""
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        attempt = self._release(number)
        best = {name: getattr(attempt.best, name) for name in BEST_EPOCH} if attempt.best else {}
        value = best[self.sweep.objective] if state == "COMPLETE" else None
        with suppress(UpdateFinishedTrialError):
            for name, attribute in {"best": best, **(vars(failure) if failure else {})}.items():
                attempt.trial.set_user_attr(name, attribute)
            self.study.tell(attempt.trial, value, TrialState[state], skip_if_finished=True)
        row = next(row for row in self.write() if row.trial == attempt.index)
        if row.has_ended:
            before, self.best = self.best, best_trial([*([self.best] if self.best else []), row], self.sweep)
            self.callback.on_trial_end(row, is_best=self.best is not before)

    # --- files and result ---

    def write(self) -> tuple[TrialRow, ...]:
        """Rewrite all files from the study; return the trials."""
        path, sweep, rows = self.folder.path, self.sweep, trial_rows(self.study, self.sweep)
        best, keys = best_trial(rows, sweep), tuple(sweep.space)
        table = (
            [*(getattr(row, name) for name in METRICS)]
            + [label(row.values[key]) if key in row.values else "" for key in keys]
            + [row.reason]
            for row in rows
        )
        write_text(path / "trials.csv", csv_text([*METRICS, *keys, "reason"], table))
        points = ((row.trial, epoch, value) for row in rows for epoch, value in row.curve.items())
        write_text(path / "curves.csv", csv_text(["trial", "epoch", sweep.objective], points))
        if best is not None:
            about = f"# Trial {best.trial} of the sweep {sweep.name}: {sweep.objective} {best.value:.6g}"
            config = dump_config(sweep.config(best.values))
            write_text(path / "best.yaml", f"{about} after epoch {best.epoch}\n{config}")
        self.record.write(
            counts=Counter(row.status for row in rows),
            best=best and {key: vars(best)[key] for key in (*METRICS, "values") if key != "status"},
        )
        return rows

    def _finish(self) -> SweepResult:
        rows = self.write()
        drawn, failures = plot_study(self.study, self.sweep, rows) if self.sweep.config({}).report.plots else ({}, [])
        for name, picture in drawn.items():
            self.folder.write_plot(name, picture)
        result = self._result(rows, [f"plots/{name}" for name in drawn], failures)
        if not result.complete:
            self.record.close("interrupted", "minutes" if self.is_over else "trials are left")
        elif result.best is None:
            self.record.close("failed", "no trial is finished")
        else:
            self.record.close("finished", "trials")
        self.callback.on_sweep_end(result)
        return result

    def _result(
        self, rows: tuple[TrialRow, ...], plots: Sequence[str] = (), left_out: Sequence[str] = ()
    ) -> SweepResult:
        path, storage = self.folder.path, [] if self.storage.url is None else ["--storage", self.storage]
        resume = shell_quote("mnist-sweep", path / "sweep.yaml", "--run-dir", path, "--jobs", self.jobs, *storage)
        best = best_trial(rows, self.sweep)
        return SweepResult(
            path, self.sweep.objective, self.sweep.trials, rows, best, tuple(plots), tuple(left_out), resume
        )


def best_trial(rows: Sequence[TrialRow], sweep: Sweep) -> TrialRow | None:
    """Return the finished trial with the best objective, the first one of several."""
    sign = 1 if sweep.objective == "val_loss" else -1
    finished = [row for row in rows if row.status == "finished" and row.value is not None]
    return min(finished, key=lambda row: sign * (row.value or 0.0), default=None)


def plot_study(study: Study, sweep: Sweep, rows: Sequence[TrialRow]) -> tuple[dict[str, bytes], list[str]]:
    """Return the plots by file name, and a sentence for each one that can't be drawn."""
    from optuna.importance import get_param_importances

    plots = SweepPlots(sweep.name, rows, sweep.objective, sweep.config({}).report.format)
    if (finished := len(plots.finished)) < MIN_TRIALS:
        return {}, [f"No pictures: {plural(finished, 'finished trial')}, and {MIN_TRIALS} are needed."]
    drawings: dict[str, Callable[[], bytes]] = {name: getattr(plots, name) for name in PLOTS}
    drawings["importance"] = lambda: plots.importance(get_param_importances(study))
    drawn, failures = {}, []
    for name, draw in drawings.items():
        picture = f"{name}.{plots.file_format}"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Optuna calls some of it experimental
                drawn[picture] = draw()
        except Exception as error:  # a plot that can't be drawn must not fail the sweep
            failures.append(f"No picture {picture}: {error}")
    return drawn, failures
