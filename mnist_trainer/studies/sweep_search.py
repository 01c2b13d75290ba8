"""A sweep: many trainings of one config with values that a sampler chooses, compared by the validation images alone.

runs/2026-03-14_15-09-26-mlp-sweep/
  sweep.yaml     the sweep with its base config written into it, runnable as it is
  journal.log    the Optuna study, unless a database holds it
  run.json       kind: sweep; status, counts, the best trial
  trials.csv     a row per trial: status, metrics, seconds, values, the reason of a failure
  curves.csv     the objective after each epoch of each trial
  best.yaml      the config of the best trial, runnable as it is
  plots/*.png    plots of the trials

All but the first two are rewritten from the study after each trial.
"""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any

import torch

from mnist_trainer.config.load import dump_config
from mnist_trainer.config.shipped import package_version
from mnist_trainer.config.sweep import Sweep, label, sweep_items
from mnist_trainer.data.identity import identify
from mnist_trainer.data.loaders import load_splits
from mnist_trainer.errors import DeviceError, InterruptedRunError, StorageError, UsageError, shell_quote
from mnist_trainer.files import folder_lock, write_text
from mnist_trainer.pipeline.preparation import config_warnings
from mnist_trainer.reports.callbacks import Callback, SweepInfo, SweepResult, TrialRow
from mnist_trainer.reports.environment import git_commit
from mnist_trainer.reports.run_writer import now
from mnist_trainer.reports.sweep_plots import SweepPlots
from mnist_trainer.reports.text import plural
from mnist_trainer.storage.run_folder import RunFolder, check_not_file, create_run_folder
from mnist_trainer.studies.processes import Scheduler, run_tasks, threads_per_job
from mnist_trainer.studies.sweep_study import (
    StudyStorage,
    join_study,
    open_trials,
    repair_journal,
    requeue_abandoned,
    require_optuna,
    require_url,
    retry_dead,
    storage_errors,
    trial_index,
    trial_rows,
)
from mnist_trainer.studies.sweep_trial import MAX_DEATHS, TrialRequest, run_trials

if TYPE_CHECKING:
    from optuna import Study

WAIT_SECONDS = 1.0
"""How often the study is checked while other commands run its last trials."""

METRICS = ("trial", "status", "value", "epoch", "val_loss", "val_accuracy", "seconds")
"""The first columns of `trials.csv`."""

PLOTS = ("history", "curves", "slice", "parallel", "importance")
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
    if options.jobs < 1:
        raise UsageError(f"At least 1 job is needed; got {options.jobs}.")
    storage = StudyStorage(sweep.name, options.storage)
    if storage.url is not None:
        require_url(storage.url)
    check_not_file(options.run_dir)
    base = sweep.config({})
    for key, reason in config_warnings(base):
        callback.on_warning(key, reason)
    splits = load_splits(base.data, callback.on_loading)  # once, before several processes would download the data
    images = identify(splits, base.data.name).fingerprint
    with ExitStack() as stack:
        if storage.url is not None:
            join_study(storage, sweep, images, stack)  # so that no folder is made if this fails
        folder = _open_folder(sweep, options.run_dir)
        if storage.url is None:
            storage = StudyStorage("sweep", None, folder.path / "journal.log")
        stack.enter_context(folder_lock(folder.path))
        with storage_errors(storage):
            repair_journal(storage)
            return _Run(sweep, options, callback, folder, storage, join_study(storage, sweep, images, stack)).run()


def _open_folder(sweep: Sweep, folder: Path | None) -> RunFolder:
    """Return `folder` if it holds a sweep, else a new folder. Raises as `create_run_folder`."""
    if folder is not None and RunFolder(folder).read_record().get("kind") == "sweep":
        return RunFolder(folder)
    return create_run_folder(f"{sweep.name}-sweep", folder)


@dataclass
class _Run(Scheduler):
    """One command that works on a sweep: starts workers, and writes the folder after each trial."""

    sweep: Sweep
    options: SweepOptions
    callback: Callback
    folder: RunFolder
    storage: StudyStorage
    study: Study
    workers: dict[int, int | None] = field(default_factory=dict)
    """Worker → its running attempt; None between two of them."""
    crashes: int = 0
    """How many workers died between two attempts."""

    def __post_init__(self) -> None:
        self.jobs = min(self.options.jobs, self.sweep.trials)
        self.threads = self.sweep.config({}).threads or threads_per_job(self.jobs)
        self.started = perf_counter()
        old = self.folder.read_record()
        self.seconds_before = (old.get("timings") or {}).get("total_seconds", 0.0)
        self.record: dict[str, Any] = {
            "kind": "sweep",
            "name": self.sweep.name,
            "status": "running",
            "stop_reason": None,
            "trials": self.sweep.trials,
            "counts": {},
            "best": None,
            **self.sweep.settings.model_dump(include={"objective", "sampler", "pruner", "seed"}),
            "storage": str(self.storage),
            "jobs": self.jobs,
            "threads": self.threads,
            "versions": {"mnist_trainer": package_version(), "torch": torch.__version__},
            "git_commit": git_commit(),
            "started_at": old.get("started_at") or now(),
            "finished_at": None,
            "timings": {},
        }

    @property
    def is_over(self) -> bool:
        """Whether the minutes are used up."""
        minutes = self.options.minutes
        return minutes is not None and perf_counter() - self.started >= 60 * minutes

    @property
    def should_stop(self) -> bool:
        return self.callback.should_stop or self.is_over

    def run(self) -> SweepResult:
        """Run the sweep as `run_sweep` says."""
        requeue_abandoned(self.study, self.sweep.trials, is_alone=self.storage.url is None)
        text = dump_config(sweep_items(self.sweep, self.sweep.trials))
        write_text(self.folder.path / "sweep.yaml", text)
        rows = self.write()
        self.best = best_trial(rows, self.sweep)
        try:
            info = SweepInfo(self.sweep, self.folder.path, str(self.storage), self.jobs, self.threads, rows)
            self.callback.on_sweep_start(info)
            self._run_trials()
        except KeyboardInterrupt:
            raise self._interrupted() from None
        except BaseException as error:
            failure = {"status": "failed", "stop_reason": type(error).__name__, "finished_at": now()}
            with suppress(StorageError):  # the error itself matters more
                self.folder.write_record({**self.record, **failure})
            raise
        if self.callback.should_stop:
            raise self._interrupted()
        return self._finish()

    def _run_trials(self) -> None:
        self.callback.can_stop = True
        while not self.should_stop and any(found := open_trials(self.study, self.sweep.trials)):
            run_tasks(run_trials, self, min(self.jobs, max(1, found[0])))
            self._wait_for_others()
        self.callback.can_stop = False

    def _wait_for_others(self) -> None:
        """Wait while other commands run the last trials; retry those whose process is dead."""
        from optuna.storages import fail_stale_trials

        shown = 0
        while self.storage.url is not None and not self.should_stop:
            startable, running = open_trials(self.study, self.sweep.trials)
            if startable or not running:
                break
            if running != shown:
                self.callback.on_message(f"Waiting for {plural(running, 'trial')} in work elsewhere.")
                shown = running
            sleep(WAIT_SECONDS)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Optuna calls it experimental
                fail_stale_trials(self.study)
        requeue_abandoned(self.study, self.sweep.trials, is_alone=self.storage.url is None)

    # --- as scheduler of the workers ---

    def next_task(self) -> TrialRequest | None:
        """Return a request for one more worker if there are more trials to start than workers about to start one."""
        startable, _ = open_trials(self.study, self.sweep.trials)
        if startable <= list(self.workers.values()).count(None):
            return None
        worker = max(self.workers, default=0) + 1
        self.workers[worker] = None
        return TrialRequest(worker, self.sweep, self.storage, self.sweep.trials, self.threads)

    def on_message(self, task: TrialRequest, message: tuple[str, int]) -> None:
        event, number = message
        self.workers[task.worker] = number if event == "started" else None
        if event == "ended" and (row := self._row(number, self.write())) is not None:
            before, self.best = self.best, best_trial([*([self.best] if self.best else []), row], self.sweep)
            self.callback.on_trial_end(row, is_best=self.best is not before)

    def on_end(self, task: TrialRequest, error: Exception | None) -> None:
        number = self.workers.pop(task.worker)
        if not isinstance(error, DeviceError) or self.crashes >= MAX_DEATHS:
            if error is not None and not isinstance(error, InterruptedRunError):
                raise error
            return
        if number is None:  # a DeviceError means that the process died, for those of trainings fail their trial
            self.crashes += 1
            return
        retry_dead(self.study, number)
        if (row := self._row(number, self.write())) is not None:
            self.callback.on_message(
                f"{row.trial:>5}  its process died, as happens when the memory is full; it is repeated"
            )

    def _row(self, number: int, rows: Sequence[TrialRow]) -> TrialRow | None:
        """Return the row of the trial that attempt `number` was at; None if the sweep does not need that trial."""
        index = trial_index(self.study, number)
        return next((row for row in rows if row.trial == index), None)

    # --- files and result ---

    def write(self, **changes: Any) -> tuple[TrialRow, ...]:
        """Rewrite all files from the study, with `changes` of `run.json`; return the trials."""
        path, sweep, rows = self.folder.path, self.sweep, trial_rows(self.study, self.sweep)
        best, keys = best_trial(rows, sweep), tuple(sweep.space)
        write_text(path / "trials.csv", _csv([*METRICS, *keys, "reason"], (_cells(row, keys) for row in rows)))
        points = ((row.trial, epoch, value) for row in rows for epoch, value in row.curve.items())
        write_text(path / "curves.csv", _csv(["trial", "epoch", sweep.objective], points))
        if best is not None:
            about = f"# Trial {best.trial} of the sweep {sweep.name}: {sweep.objective} {best.value:.6g}"
            config = dump_config(sweep.config(best.values))
            write_text(path / "best.yaml", f"{about} after epoch {best.epoch}\n{config}")
        statuses = [row.status for row in rows]
        self.record |= {
            "counts": {status: statuses.count(status) for status in dict.fromkeys(statuses)},
            "best": best and {key: vars(best)[key] for key in (*METRICS, "values") if key != "status"},
            "timings": {"total_seconds": self.seconds_before + perf_counter() - self.started},
            **changes,
        }
        self.folder.write_record(self.record)
        return rows

    def _finish(self) -> SweepResult:
        rows = self.write()
        drawn, failures = plot_study(self.study, self.sweep, rows) if self.sweep.config({}).report.plots else ([], [])
        for name, picture in drawn:
            self.folder.write_plot(name, picture)
        result = self._result(rows, tuple(f"plots/{name}" for name, _ in drawn), tuple(failures))
        status, reason = "finished", "trials"
        if not result.complete:
            status, reason = "interrupted", "minutes" if self.is_over else "trials are left"
        elif result.best is None:
            status, reason = "failed", "no trial is finished"
        self.write(status=status, stop_reason=reason, finished_at=now())
        self.callback.on_sweep_end(result)
        return result

    def _interrupted(self) -> InterruptedRunError:
        result = self._result(self.write(status="interrupted", stop_reason="SIGINT", finished_at=now()))
        return InterruptedRunError(f"Stopped; {result.progress}\n{result.resume}")

    def _result(
        self, rows: tuple[TrialRow, ...], plots: tuple[str, ...] = (), left_out: tuple[str, ...] = ()
    ) -> SweepResult:
        path, storage = self.folder.path, [] if self.storage.url is None else ["--storage", self.storage]
        resume = shell_quote("mnist-sweep", path / "sweep.yaml", "--run-dir", path, "--jobs", self.jobs, *storage)
        best = best_trial(rows, self.sweep)
        return SweepResult(path, self.sweep.objective, self.sweep.trials, rows, best, plots, left_out, resume)


def best_trial(rows: Sequence[TrialRow], sweep: Sweep) -> TrialRow | None:
    """Return the finished trial with the best objective, the first one of several."""
    sign = 1 if sweep.objective == "val_loss" else -1
    finished = [row for row in rows if row.status == "finished" and row.value is not None]
    return min(finished, key=lambda row: sign * (row.value or 0.0), default=None)


def _cells(row: TrialRow, keys: Sequence[str]) -> list[object]:
    metrics = ["" if vars(row)[name] is None else vars(row)[name] for name in METRICS]
    return [*metrics, *(label(row.values[key]) if key in row.values else "" for key in keys), row.reason]


def _csv(head: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return stream.getvalue()


def plot_study(study: Study, sweep: Sweep, rows: Sequence[TrialRow]) -> tuple[list[tuple[str, bytes]], list[str]]:
    """Return (file name, bytes) for each of `PLOTS`, and a sentence for each plot that can't be drawn."""
    from optuna.importance import get_param_importances

    plots = SweepPlots(sweep.name, rows, sweep.objective, sweep.config({}).report.format)
    if (finished := len(plots.finished)) < MIN_TRIALS:
        trials = f"{finished} finished trial{'' if finished == 1 else 's'}"
        return [], [f"No pictures: {trials}, and {MIN_TRIALS} are needed."]
    drawn: list[tuple[str, bytes]] = []
    failures = []
    for name in PLOTS:
        picture = f"{name}.{plots.file_format}"
        draw: Callable[..., bytes] = getattr(plots, name)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Optuna calls some of it experimental
                drawn.append((picture, draw(get_param_importances(study)) if name == "importance" else draw()))
        except Exception as error:  # a plot that can't be drawn must not fail the sweep
            failures.append(f"No picture {picture}: {error}")
    return drawn, failures
