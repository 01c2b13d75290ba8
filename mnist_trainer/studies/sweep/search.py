"""A sweep: many trainings of one config with values that a sampler chooses, judged on the validation images alone."""

from __future__ import annotations

import warnings
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING

from mnist_trainer.config.sweep import Sweep
from mnist_trainer.data.identity import identify
from mnist_trainer.data.loaders import load_splits
from mnist_trainer.errors import DeviceError, InterruptedRunError, UsageError, shell_quote
from mnist_trainer.files import folder_lock
from mnist_trainer.pipeline.preparation import warnings_of
from mnist_trainer.reports.sweep import SweepHeader, SweepListener, SweepResult, TrialRow
from mnist_trainer.storage.run_folder import RunFolder, refuse_file
from mnist_trainer.studies.sweep.attempts import requeue_abandoned, retry_dead, running, startable, trial_index
from mnist_trainer.studies.sweep.folder import SweepWriter, best_trial, open_folder
from mnist_trainer.studies.sweep.plots import plot_study
from mnist_trainer.studies.sweep.study import (
    StudyStorage,
    join_study,
    repair_journal,
    require_optuna,
    require_url,
    storage_errors,
)
from mnist_trainer.studies.sweep.trial import MOST_DEATHS, TrialRequest, run_trial
from mnist_trainer.studies.workers import TaskCallback, run_tasks, threads_per_job

if TYPE_CHECKING:
    from optuna import Study

JOURNAL = "journal.log"
WAIT_SECONDS = 1.0
"""How often it is looked whether others are ready."""


@dataclass(frozen=True)
class SweepOptions:
    """How a sweep is worked off, here: so many `jobs` at a time, for so many `minutes`, in a folder and a database."""

    jobs: int = 1
    minutes: float | None = None
    storage: str | None = None
    run_dir: Path | None = None


def run_sweep(sweep: Sweep, options: SweepOptions | None = None, listener: SweepListener | None = None) -> SweepResult:
    """Makes the trials that `sweep` lacks, and writes everything about it into a folder.

    Where the folder or the database holds the study already, it goes on; several commands may work on one database.
    The test set is not read. Raises `UsageError` if Optuna is missing or the study is about something else, what
    loading the data raises, `StorageError` if the study can't be read or written, and `InterruptedRunError` if the
    listener wants a stop, or at a KeyboardInterrupt: what was in work is then repeated by the one who goes on.
    """
    options, listener = options or SweepOptions(), listener or SweepListener()
    require_optuna()
    if options.jobs < 1:
        raise UsageError(f"At least 1 job is needed; got {options.jobs}.")
    place = StudyStorage(sweep.name, options.storage)
    if options.storage is not None:
        require_url(options.storage)
    refuse_file(options.run_dir)
    base = sweep.config({})
    for key, reason in warnings_of(base):
        listener.warned(key, reason)
    splits = load_splits(base.data, listener.loading)  # by one process first, for they may have to be fetched
    images = identify(splits, base.data.name).fingerprint
    with ExitStack() as closing:
        if options.storage is not None:
            join_study(place, sweep, images, closing)  # before there is a folder
        folder = open_folder(sweep, options.run_dir)
        if options.storage is None:
            place = StudyStorage("sweep", None, folder.path / JOURNAL)
        closing.enter_context(folder_lock(folder.path))
        with storage_errors(place):
            repair_journal(place)
            return _Run(sweep, options, listener, folder, place, join_study(place, sweep, images, closing)).run()


@dataclass
class _Run(TaskCallback[TrialRequest, int | None]):
    """One sweep in work. `given` are tickets whose trial is not known yet, `begun` the attempts of the others."""

    sweep: Sweep
    options: SweepOptions
    listener: SweepListener
    folder: RunFolder
    place: StudyStorage
    study: Study
    given: set[int] = field(default_factory=set)
    begun: dict[int, int] = field(default_factory=dict)
    best: TrialRow | None = None
    deaths: int = 0
    """Of processes that had not begun a trial."""
    began: float = field(default_factory=monotonic)

    @property
    def jobs(self) -> int:
        """At a time."""
        return min(self.options.jobs, self.sweep.trials)

    @property
    def is_over(self) -> bool:
        """Whether its minutes are."""
        return self.options.minutes is not None and monotonic() - self.began >= 60 * self.options.minutes

    @property
    def wants_stop(self) -> bool:
        return self.listener.wants_stop or self.is_over

    def run(self) -> SweepResult:
        """See `run_sweep`."""
        sweep, settings = self.sweep, self.sweep.settings
        threads = sweep.config({}).threads or threads_per_job(self.jobs)
        requeue_abandoned(self.study, sweep.trials, is_alone=self.place.url is None)
        facts = {"storage": str(self.place), "jobs": self.jobs, "threads": threads}
        self.writer = SweepWriter(self.folder, sweep, self.study, sweep.trials, facts)
        rows = self.writer.write()
        self.best = best_trial(rows, sweep)
        search = settings.sampler if settings.pruner == "none" else f"{settings.sampler} with {settings.pruner} pruning"
        header = SweepHeader(
            name=sweep.name,
            folder=self.folder.path,
            storage=str(self.place),
            keys=tuple(sweep.space),
            objective=sweep.objective,
            search=search,
            trials=sweep.trials,
            jobs=self.jobs,
            threads=threads,
            begun=rows,
        )
        try:
            self.listener.sweep_started(header)
            self._work(threads)
        except KeyboardInterrupt:
            raise self._interrupted() from None
        except BaseException as error:
            self.writer.fail(type(error).__name__)
            raise
        if self.listener.wants_stop:
            raise self._interrupted()
        return self._conclude()

    def _work(self, threads: int) -> None:
        requests = _Requests(self, threads)
        self.listener.can_stop = True
        study, trials = self.study, self.sweep.trials
        while not self.wants_stop and ((left := startable(study, trials)) or running(study, trials)):
            run_tasks(run_trial, requests, min(self.jobs, max(1, left)), self)
            self._look_around()
        self.listener.can_stop = False

    def _look_around(self) -> None:
        """Nothing is left to begin: what nobody works on any more is taken up, what others work on is waited for."""
        from optuna.storages import fail_stale_trials

        study, trials, is_alone = self.study, self.sweep.trials, self.place.url is None
        on_message = 0
        while not (is_alone or self.wants_stop or startable(study, trials)) and (count := running(study, trials)):
            if count != on_message:
                self.listener.waiting_for_others(count)
                on_message = count
            sleep(WAIT_SECONDS)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Optuna calls it experimental
                fail_stale_trials(study)
        requeue_abandoned(study, trials, is_alone)

    def on_message(self, task: TrialRequest, news: int) -> None:
        self.given.discard(task.serial)
        self.begun[task.serial] = news

    def on_end(self, task: TrialRequest, result: int | None, error: Exception | None) -> None:
        self.given.discard(task.serial)
        number = self.begun.pop(task.serial, None)
        if isinstance(error, DeviceError) and self.deaths < MOST_DEATHS:  # its process was killed: no trial raises it
            if number is None:
                self.deaths += 1
            else:
                retry_dead(self.study, number)
        elif error is not None and not isinstance(error, InterruptedRunError):
            raise error
        rows = self.writer.write()
        if number is None or isinstance(error, InterruptedRunError):
            return
        row = next((row for row in rows if row.trial == trial_index(self.study, number)), None)
        if error is not None and row is not None:
            self.listener.process_died(row)
        elif result is not None and row is not None:
            before, self.best = self.best, best_trial([*([] if self.best is None else [self.best]), row], self.sweep)
            self.listener.trial_ended(row, is_best=self.best is not before)

    def _conclude(self) -> SweepResult:
        wanted = self.sweep.config({}).report.plots
        plots, left_out = plot_study(self.study, self.sweep, self.writer.write()) if wanted else ([], [])
        for name, png in plots:
            self.folder.write_plot(name, png)
        result = self._result(tuple(f"plots/{name}" for name, _ in plots), tuple(left_out))
        if not result.complete:
            self.writer.close("interrupted", "minutes" if self.is_over else "trials are left")
        elif result.best is None:
            self.writer.close("failed", "no trial is finished")
        else:
            self.writer.close("finished", "trials")
        self.listener.sweep_finished(result)
        return result

    def _interrupted(self) -> InterruptedRunError:
        result = self._result()
        self.writer.close("interrupted", "SIGINT")
        return InterruptedRunError(f"Stopped; {result.progress}\n{result.resume}")

    def _result(self, plots: tuple[str, ...] = (), left_out: tuple[str, ...] = ()) -> SweepResult:
        rows, place = self.writer.write(), self.folder.path
        command = ["mnist-sweep", str(place / "sweep.yaml"), "--run-dir", str(place), "--jobs", str(self.jobs)]
        command += [] if self.place.url is None else ["--storage", str(self.place)]
        return SweepResult(
            folder=place,
            objective=self.sweep.objective,
            trials=self.sweep.trials,
            rows=rows,
            best=best_trial(rows, self.sweep),
            plots=plots,
            left_out=left_out,
            resume=shell_quote(*command),
        )


class _Requests:
    """A ticket for each trial that can be begun at the moment it is asked for; there may be more later."""

    def __init__(self, run: _Run, threads: int) -> None:
        self.run, self.threads = run, threads
        self.count = 0

    def __iter__(self) -> _Requests:
        return self

    def __next__(self) -> TrialRequest:
        run, trials = self.run, self.run.sweep.trials
        if startable(run.study, trials) <= len(run.given):
            raise StopIteration
        self.count += 1
        run.given.add(self.count)
        return TrialRequest(self.count, run.sweep, run.place, trials, self.threads)
