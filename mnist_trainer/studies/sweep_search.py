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

import gc
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import torch

from mnist_trainer.config.load import dump_config
from mnist_trainer.config.shipped import package_version
from mnist_trainer.config.sweep import Sweep, label, sweep_items
from mnist_trainer.data.identity import identify
from mnist_trainer.data.loaders import load_splits
from mnist_trainer.errors import DeviceError, InterruptedRunError, TrainerError, shell_quote
from mnist_trainer.files import folder_lock, write_text
from mnist_trainer.model.device import choose_threads, convert_device_errors, settings, visible_gpus
from mnist_trainer.pipeline.preparation import CustomParts, config_warnings, prepare_training
from mnist_trainer.reports.callbacks import Callback, SweepInfo, SweepResult, TrialRow
from mnist_trainer.reports.run_writer import git_commit
from mnist_trainer.reports.sweep_plots import SweepPlots
from mnist_trainer.reports.text import csv_text, plural
from mnist_trainer.storage.run_folder import RunFolder, check_not_file
from mnist_trainer.studies.processes import Scheduler, WorkerContext, limit_jobs, run_tasks, threads_per_job
from mnist_trainer.studies.study_record import StudyRecord, open_folder
from mnist_trainer.studies.sweep_study import SweepStudy, require_optuna
from mnist_trainer.training.loop import EpochRecord, fit
from mnist_trainer.training.state import TrainingState

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


def run_sweep(
    sweep: Sweep,
    *,
    jobs: int | None = None,
    minutes: float | None = None,
    storage: str | None = None,
    run_dir: Path | None = None,
    callback: Callback | None = None,
) -> SweepResult:
    """Run the trials of `sweep` that have not ended, `jobs` at a time, for at most some `minutes`.

    Without `jobs`, trials take turns on the GPUs of this machine, one on each; on a CPU it is one trial at a time.
    Writes `run_dir`, or a new folder below `runs/`. The study is kept in the database with the URL `storage`, or in the
    folder. If one of them already holds it, it continues; several commands may work on one database. The test set is
    not read. Raises `UsageError` if Optuna is missing or the study is about another sweep, what loading
    the data raises, `StorageError` if the study can't be read or written, and `InterruptedRunError` if the callback
    stops it, or at a KeyboardInterrupt: running trials are then retried when the sweep continues.
    """
    callback = callback or Callback()
    require_optuna()
    limit_jobs(jobs, sweep.trials)  # its error comes first
    study = SweepStudy(sweep, storage)
    check_not_file(run_dir)
    base = sweep.config({})
    for key, reason in config_warnings(base):
        callback.on_warning(key, reason)
    splits = load_splits(base.data, callback.on_loading)  # once, before several processes would download the data
    images = identify(splits, base.data.name).fingerprint
    with ExitStack() as stack:
        if study.url is not None:  # before the folder: if this fails, none is made
            stack.enter_context(study.opened(images))
        folder = open_folder("sweep", f"{sweep.name}-sweep", run_dir)
        stack.enter_context(folder_lock(folder.path))
        if study.url is None:
            study.journal = folder.path / "journal.log"
            stack.enter_context(study.opened(images))
        return _Run(study, jobs, minutes, callback, folder).run()


@dataclass
class _Run(Scheduler):
    """One command that works on a sweep: it asks the study for trials, has them trained, and writes the folder."""

    study: SweepStudy
    jobs_option: int | None
    minutes: float | None
    callback: Callback
    folder: RunFolder

    def __post_init__(self) -> None:
        self.sweep = self.study.sweep
        base = self.sweep.config({})
        self.gpus = visible_gpus(base.device)
        self.jobs = limit_jobs(self.jobs_option, self.sweep.trials, self.gpus)
        self.threads = base.threads or threads_per_job(1 if self.jobs_option is None else self.jobs)
        self.started = perf_counter()
        self.record = StudyRecord(
            self.folder,
            kind="sweep",
            name=self.sweep.name,
            trials=self.sweep.trials,
            **self.sweep.settings.model_dump(include={"objective", "sampler", "pruner", "seed"}),
            storage=str(self.study),
            jobs=self.jobs,
            threads=self.threads,
            versions={"mnist_trainer": package_version(), "torch": torch.__version__},
            git_commit=git_commit(),
        )

    @property
    def is_over(self) -> bool:
        """Whether the minutes are used up."""
        return self.minutes is not None and perf_counter() - self.started >= 60 * self.minutes

    def should_stop(self, task: TrialTask | None = None) -> bool:
        """Whether to stop; a task is also stopped if its trial was pruned, or was taken for dead elsewhere."""
        is_cancelled = task is not None and task.number not in self.study.running
        return is_cancelled or self.callback.should_stop or self.is_over

    def run(self) -> SweepResult:
        """Run the sweep as `run_sweep` says."""
        write_text(self.folder.path / "sweep.yaml", dump_config(sweep_items(self.sweep, self.sweep.trials)))
        with self.record.closed_on_error(self.callback, self._stop):
            self.study.requeue_abandoned()
            rows = self.write()
            info = SweepInfo(self.sweep, self.folder.path, str(self.study), self.jobs, self.threads, rows)
            self.callback.on_sweep_start(info)
            self._run_trials()
            if self.callback.should_stop:
                raise KeyboardInterrupt
            return self._finish()

    def _stop(self) -> str:
        """Free the running trials for the next command, and return how to continue."""
        for number in list(self.study.running):
            self.study.cut_off(number, died=False)
        result = self._result(self.write())
        return f"Stopped; {result.progress}\n{result.resume}"

    def _run_trials(self) -> None:
        """Run trials until all have ended; wait while other commands run the last ones."""
        self.callback.can_stop = True
        announced = 0
        while not self.should_stop() and any(counts := self.study.count_open()):
            startable, running = counts
            if startable:
                run_tasks(train_trial, self, min(self.jobs, startable), self.gpus)
            else:
                if running != announced:
                    self.callback.on_message(f"Waiting for {plural(running, 'trial')} that another command runs.")
                    announced = running
                sleep(WAIT_SECONDS)
            self.study.requeue_abandoned()
        self.callback.can_stop = False

    # --- as scheduler of the trainings ---

    def next_task(self) -> TrialTask | None:
        """Start an attempt, and return its training; None if no trial can be started."""
        while self.study.count_open()[0]:
            attempt = self.study.start()
            number = attempt.trial.number
            if attempt.index >= self.sweep.trials:  # another command started the last trial at the same moment
                self.study.cut_off(number, died=False)
            elif attempt.trial.user_attrs.get("deaths", 0) >= MAX_DEATHS:
                reason = f"Its process died {MAX_DEATHS} times, as happens when the memory is full."
                self._end(number, "FAIL", Failure(reason, DeviceError.exit_code))
            else:
                return TrialTask(number, self.sweep, self.study.suggest(attempt), self.threads)
        return None

    def on_message(self, task: TrialTask, message: EpochRecord | Failure) -> None:
        """Record an epoch or the failure of a trial, unless the trial was pruned while its training still runs."""
        if task.number not in self.study.running:
            return
        if isinstance(message, Failure):
            self._end(task.number, "FAIL", message)
        elif self.study.report(task.number, message):
            self._end(task.number, "PRUNED")

    def on_end(self, task: TrialTask, error: Exception | None) -> None:
        """Record the end of a training. Errors of the training itself have come as a `Failure` before."""
        if task.number not in self.study.running:
            return
        if error is None:
            self._end(task.number, "COMPLETE")
        elif isinstance(error, InterruptedRunError):
            self.study.cut_off(task.number, died=False)
        elif isinstance(error, DeviceError):
            index = self.study.cut_off(task.number, died=True)
            self.write()
            text = "its process died, as happens when the memory is full; it is repeated"
            self.callback.on_message(f"{index:>5}  {text}")
        else:
            raise error

    def _end(self, number: int, state: str, failure: Failure | None = None) -> None:
        """Record the end of an attempt, rewrite the files, and announce the trial."""
        record = self.study.running[number].best
        best = {name: getattr(record, name) for name in BEST_EPOCH} if record else {}
        index = self.study.end(number, state, best, **(vars(failure) if failure else {}))
        rows = self.write()
        row = next(row for row in rows if row.trial == index)
        if row.has_ended:
            self.callback.on_trial_end(row, is_best=row == best_trial(rows, self.sweep.objective))

    # --- files and result ---

    def write(self) -> tuple[TrialRow, ...]:
        """Rewrite all files from the study; return the trials."""
        path, sweep, rows = self.folder.path, self.sweep, self.study.rows()
        columns = [*METRICS, *sweep.space, "reason"]
        cells = [{**vars(row), **{key: label(value) for key, value in row.values.items()}} for row in rows]
        write_text(path / "trials.csv", csv_text(columns, ([row.get(name, "") for name in columns] for row in cells)))
        points = ((row.trial, epoch, value) for row in rows for epoch, value in row.curve.items())
        write_text(path / "curves.csv", csv_text(["trial", "epoch", sweep.objective], points))
        best = best_trial(rows, sweep.objective)
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
        """Draw the plots, and write the last record."""
        rows = self.write()
        wanted = self.sweep.config({}).report.plots
        drawn, failures = plot_study(self.study, rows) if wanted else ({}, [])
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
        """Return the result of the sweep so far, with the command that resumes it."""
        path, options = self.folder.path, {"--jobs": self.jobs_option, "--storage": self.study.url and self.study}
        given = (word for name, value in options.items() if value is not None for word in (name, value))
        return SweepResult(
            folder=path,
            objective=self.sweep.objective,
            trials=self.sweep.trials,
            rows=rows,
            best=best_trial(rows, self.sweep.objective),
            plots=tuple(plots),
            left_out=tuple(left_out),
            resume=shell_quote("mnist-sweep", path / "sweep.yaml", "--run-dir", path, *given),
        )


def best_trial(rows: Sequence[TrialRow], objective: str) -> TrialRow | None:
    """Return the finished trial with the best objective, the first one of several."""
    sign = 1 if objective == "val_loss" else -1
    finished = [row for row in rows if row.status == "finished" and row.value is not None]
    return min(finished, key=lambda row: sign * (row.value or 0.0), default=None)


def plot_study(study: SweepStudy, rows: Sequence[TrialRow]) -> tuple[dict[str, bytes], list[str]]:
    """Return the plots by file name, and a sentence for each one that can't be drawn."""
    from optuna.importance import get_param_importances

    sweep = study.sweep
    plots = SweepPlots(sweep.name, rows, sweep.objective, sweep.config({}).report.format)
    if (finished := len(plots.finished)) < MIN_TRIALS:
        return {}, [f"No pictures: {plural(finished, 'finished trial')}, and {MIN_TRIALS} are needed."]
    drawings: dict[str, Callable[[], bytes]] = {name: getattr(plots, name) for name in PLOTS}
    drawings["importance"] = lambda: plots.importance(get_param_importances(study.study))
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


# --- one trial ---


@dataclass(frozen=True)
class TrialTask:
    """The training of one attempt, by the number that Optuna gave it."""

    number: int
    sweep: Sweep
    values: Mapping[str, Any]
    threads: int


@dataclass(frozen=True)
class Failure:
    """Why a trial failed, and the exit code of its error."""

    reason: str
    code: int


def train_trial(task: TrialTask, context: WorkerContext) -> None:
    """Train the trial and send each epoch; an error of the training is sent as a `Failure`. The test set is not read.

    Raises `InterruptedRunError` if a stop is requested.
    """

    def after_step(state: TrainingState) -> None:
        if context.stop_requested():
            raise InterruptedRunError("Stopped.")

    try:
        config = task.sweep.config(task.values)
        with settings(config, choose_threads(config) or task.threads), convert_device_errors():
            # The images are loaded once in a process as long as the keys of `data` that choose them are the same.
            splits = _load_images(config.data.model_copy(update={"batch_size": 1, "augment": None}))
            state = prepare_training(config, CustomParts(), splits=splits)
            for record in fit(state, after_step):
                context.send(record)
    except InterruptedRunError:
        raise
    except Exception as error:
        reason = str(error) if isinstance(error, TrainerError) else f"{type(error).__name__}: {error}"
        context.send(Failure(reason, getattr(error, "exit_code", 1)))
    finally:
        if torch.cuda.is_available():  # what a trial that ran out of GPU memory may still hold
            gc.collect()
            torch.cuda.empty_cache()


_load_images = lru_cache(maxsize=1)(load_splits)
