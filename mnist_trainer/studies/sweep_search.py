"""The folder of a sweep.

runs/2026-03-14_15-09-26-mlp-sweep/
  sweep.yaml     the sweep with its base written into it, runnable as it is
  journal.log    the study, unless a database holds it
  run.json       kind: sweep; status, counts, the best trial
  trials.csv     a row a trial: status, figures, seconds, values, the reason of a failure
  curves.csv     the objective after each epoch of each trial
  best.yaml      the best trial's config, runnable as it is
  plots/*.png    the trials as pictures

All but the first two are made from the study, anew after each trial.

Which pictures a sweep gets, drawn by `reports/sweep_plots.py`.

A sweep: many trainings of one config with values that a sampler chooses, judged on the validation images alone.
"""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, perf_counter, sleep
from typing import TYPE_CHECKING, Any

import torch

from mnist_trainer.config.load import dump_config, dump_plain
from mnist_trainer.config.shipped import package_version
from mnist_trainer.config.sweep import Sweep, label, sweep_items
from mnist_trainer.data.identity import identify
from mnist_trainer.data.loaders import load_splits
from mnist_trainer.errors import DeviceError, InterruptedRunError, StorageError, UsageError, shell_quote
from mnist_trainer.files import folder_lock, write_text
from mnist_trainer.pipeline.preparation import warnings_of
from mnist_trainer.reports.environment import git_commit
from mnist_trainer.reports.sweep import Status, SweepHeader, SweepListener, SweepResult, TrialRow
from mnist_trainer.reports.sweep_plots import SweepPlots
from mnist_trainer.storage.run_folder import RunFolder, create_run_folder, refuse_file
from mnist_trainer.studies.processes import TaskCallback, run_tasks, threads_per_job
from mnist_trainer.studies.sweep_study import (
    StudyStorage,
    attempts_of,
    decisive_attempt,
    join_study,
    repair_journal,
    requeue_abandoned,
    require_optuna,
    require_url,
    retry_dead,
    running,
    startable,
    storage_errors,
    trial_index,
    was_cut_off,
)
from mnist_trainer.studies.sweep_trial import MOST_DEATHS, TrialRequest, run_trial, values_of

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

_METRICS = ("trial", "status", "value", "epoch", "val_loss", "val_accuracy", "seconds")


def is_sweep(place: Path) -> bool:
    """Whether the folder `place` holds a sweep."""
    return RunFolder(place).read_record().get("kind") == "sweep"


def open_folder(sweep: Sweep, place: Path | None) -> RunFolder:
    """The folder `place` if it holds a sweep; else it or one below `runs/`, new. Raises as `create_run_folder`."""
    if place is not None and is_sweep(place):
        return RunFolder(place)
    return create_run_folder(f"{sweep.name}-sweep", place)


def trial_rows(study: Study, sweep: Sweep, trials: int) -> tuple[TrialRow, ...]:
    """The first `trials` trials of the study, as far as they got."""
    found = sorted(attempts_of(study).items())
    return tuple(_row(index, decisive_attempt(tries), sweep) for index, tries in found if index < trials)


def _row(index: int, attempt: FrozenTrial, sweep: Sweep) -> TrialRow:
    statuses: dict[str, Status] = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running"}
    status = "waiting" if was_cut_off(attempt) else statuses.get(attempt.state.name, "waiting")
    best = attempt.user_attrs.get("best", {})
    return TrialRow(
        trial=index,
        status=status,
        values=values_of(attempt, sweep.space),
        curve=dict(sorted(attempt.intermediate_values.items())),
        value=best.get(sweep.objective) if status in ("finished", "pruned") else None,
        seconds=attempt.duration.total_seconds() if attempt.duration else None,
        reason=attempt.user_attrs.get("reason", ""),
        code=attempt.user_attrs.get("code", 1),
        **best,
    )


def best_trial(rows: Sequence[TrialRow], sweep: Sweep) -> TrialRow | None:
    """The finished trial with the best value, the first one of several."""
    sign = 1 if sweep.objective == "val_loss" else -1
    finished = [row for row in rows if row.status == "finished" and row.value is not None]
    return min(finished, key=lambda row: sign * (row.value or 0.0), default=None)


class SweepWriter:
    """Keeps a sweep's files. `facts` are what `run.json` says of the search and the machine."""

    def __init__(self, folder: RunFolder, sweep: Sweep, study: Study, trials: int, facts: dict[str, Any]) -> None:
        old = folder.read_record()
        self.folder, self.sweep, self.study, self.trials = folder, sweep, study, trials
        self.began = perf_counter()
        self.before = (old.get("timings") or {}).get("total_seconds", 0.0)
        settings = sweep.settings.model_dump(include={"objective", "sampler", "pruner", "seed"})
        versions = {"mnist_trainer": package_version(), "torch": torch.__version__}
        self.record: dict[str, Any] = {
            "kind": "sweep",
            "name": sweep.name,
            "status": "running",
            "stop_reason": None,
            "trials": trials,
            "counts": {},
            "best": None,
            **settings,
            **facts,
            "versions": versions,
            "git_commit": git_commit(),
            "started_at": old.get("started_at") or _now(),
            "finished_at": None,
            "timings": {},
        }
        write_text(folder.path / "sweep.yaml", dump_plain(dict(sweep_items(sweep, trials))))
        self.write()

    def write(self, **changes: Any) -> tuple[TrialRow, ...]:
        """Makes all files anew from the study; the trials."""
        path, rows = self.folder.path, trial_rows(self.study, self.sweep, self.trials)
        best = best_trial(rows, self.sweep)
        keys = tuple(self.sweep.space)
        write_text(path / "trials.csv", _csv([*_METRICS, *keys, "reason"], (_cells(row, keys) for row in rows)))
        points = ((row.trial, epoch, value) for row in rows for epoch, value in row.curve.items())
        write_text(path / "curves.csv", _csv(["trial", "epoch", self.sweep.objective], points))
        if best is not None:
            write_text(path / "best.yaml", self._best_yaml(best))
        statuses = [row.status for row in rows]
        self.record |= {
            "counts": {status: statuses.count(status) for status in dict.fromkeys(statuses)},
            "best": None
            if best is None
            else {key: vars(best)[key] for key in (*_METRICS, "values") if key != "status"},
            "timings": {"total_seconds": self.before + perf_counter() - self.began},
            **changes,
        }
        self.folder.write_record(self.record)
        return rows

    def _best_yaml(self, best: TrialRow) -> str:
        about = f"# Trial {best.trial} of the sweep {self.sweep.name}: {self.sweep.objective} {best.value:.6g}"
        return f"{about} after epoch {best.epoch}\n{dump_config(self.sweep.config(best.values))}"

    def close(self, status: str, reason: str | None) -> tuple[TrialRow, ...]:
        """The sweep has ended so."""
        return self.write(status=status, stop_reason=reason, finished_at=_now())

    def fail(self, reason: str) -> None:
        """The sweep has failed; what can't be written or read then is let be."""
        with suppress(StorageError):
            self.folder.write_record({**self.record, "status": "failed", "stop_reason": reason, "finished_at": _now()})


def _cells(row: TrialRow, keys: Sequence[str]) -> list[object]:
    figures = ["" if vars(row)[name] is None else vars(row)[name] for name in _METRICS]
    return [*figures, *(label(row.values[key]) if key in row.values else "" for key in keys), row.reason]


def _csv(head: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return stream.getvalue()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


LEAST_TRIALS = 2
"""Below it there is nothing to compare."""


def plot_study(study: Study, sweep: Sweep, rows: Sequence[TrialRow]) -> tuple[list[tuple[str, bytes]], list[str]]:
    """(file name, bytes) for each picture, and a sentence for each one that can't be drawn.

    The history of the trials, the objective after each epoch, each key's values, all of them in parallel, and how much
    each key matters (Optuna's estimate).
    """
    file_format = sweep.config({}).report.format
    plots = SweepPlots(sweep.name, rows, sweep.objective, file_format)
    finished = len(plots.finished)
    if finished < LEAST_TRIALS:
        return [], [
            f"No pictures: {finished} finished trial{'' if finished == 1 else 's'}, and {LEAST_TRIALS} are needed."
        ]
    drawers: dict[str, Callable[[], bytes]] = {
        "history": plots.history,
        "curves": plots.curves,
        "slice": plots.slice,
        "parallel": plots.parallel,
        "importance": lambda: plots.importance(_importances(study)),
    }
    drawn: list[tuple[str, bytes]] = []
    left_out = []
    for name, drawer in drawers.items():
        picture = f"{name}.{file_format}"
        try:
            drawn.append((picture, drawer()))
        except Exception as error:  # a picture that can't be drawn must not cost the sweep its end
            left_out.append(f"No picture {picture}: {error}")
    return drawn, left_out


def _importances(study: Study) -> dict[str, float]:
    from optuna.importance import get_param_importances

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna calls some of it experimental
        return get_param_importances(study)


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
