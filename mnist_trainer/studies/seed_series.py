"""The folder of a series: several runs of one config that differ in their seed alone.

runs/2026-03-14_15-09-26-mlp-seeds/
  config.yaml    what all runs have in common, with the threads each of them has; its seed is the first one's
  run.json       keys as a run's, with kind: seeds; where a run has a figure, the spread of it over the finished runs
  log.txt        plots/seeds.png
  seed-0/  seed-1/  …   ordinary run folders

What happened to a run stands in its own `run.json`; the series' is made from them.

Several runs of one config that differ in their seed alone: what they share is the config's merit, the rest luck.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

from mnist_trainer.config.load import ConfigSource, differences, dump_config, load_config
from mnist_trainer.config.schema import Config
from mnist_trainer.errors import CheckpointError, InterruptedRunError, StorageError, UsageError
from mnist_trainer.files import folder_lock, make_folder, remove_folder, write_text
from mnist_trainer.inference.spread import spread
from mnist_trainer.model.device import settings
from mnist_trainer.model.failures import device_errors
from mnist_trainer.model.threads import choose_threads
from mnist_trainer.pipeline.conclusion import load_test_images, require_reports
from mnist_trainer.pipeline.description import facts_of, header_of
from mnist_trainer.pipeline.preparation import located, prepare, require_same_images, warnings_of
from mnist_trainer.pipeline.resuming import command_for
from mnist_trainer.pipeline.training import resume, train
from mnist_trainer.reports.dots import Dot, dots
from mnist_trainer.reports.environment import describe_environment
from mnist_trainer.reports.listener import Header, Listener
from mnist_trainer.reports.series import Series, SeriesHeader, SeriesListener, SubRun, Summary, judged_part
from mnist_trainer.seeds import check_seeds
from mnist_trainer.storage.run_folder import (
    RunFolder,
    as_folder,
    create_run_folder,
    holds_run,
    is_series,
    refuse_file,
    refuse_run,
)
from mnist_trainer.studies.processes import TaskCallback, WorkerContext, run_tasks, threads_per_job
from mnist_trainer.training.loop import EpochRecord

SUMMARISED = {
    "test": ("accuracy", "errors", "loss"),
    "validation": ("accuracy", "errors", "loss"),
    "timings": ("training_seconds",),
}
"""What is summarised, under the keys of a run's `run.json`."""

RUN_KEYS = ("stop_reason", "best_epoch", "epochs", "test", "validation", "timings")
"""What the series' `run.json` repeats of each run's."""


def sub_folder(folder: Path, seed: int) -> RunFolder:
    """Where the run with `seed` is, or will be."""
    return RunFolder(folder / f"seed-{seed}")


def read_sub_run(folder: Path, seed: int) -> SubRun:
    """A run of the series as far as it got."""
    own = sub_folder(folder, seed)
    return SubRun(seed, own.path, own.read_record())


def is_finished(run: SubRun) -> bool:
    """Whether its model and its figures are all there."""
    return run.status == "finished" and RunFolder(run.folder).best.exists()


def summarise(runs: Sequence[SubRun]) -> Summary:
    """The spread of each figure over the finished ones of `runs`; empty if there are none."""
    finished = [run for run in runs if is_finished(run)]
    found = {
        part: {name: [value for run in finished if (value := run.figure(part, name)) is not None] for name in names}
        for part, names in SUMMARISED.items()
    }
    return {
        part: {name: spread(values) for name, values in columns.items() if values}
        for part, columns in found.items()
        if any(columns.values())
    }


def refuse_foreign(own: RunFolder, is_known: bool) -> None:
    """Raises `UsageError` if a run's place is taken by what is none of the series' making, so not its to remove.

    What the series is known to have there is a run, or less: nothing, or hidden files, which were not written to their
    end or say who is at work.
    """
    path = own.path
    is_own = is_known and path.is_dir() and (holds_run(path) or all(file.name[0] == "." for file in path.iterdir()))
    if path.exists() and not is_own:
        raise UsageError(f"{path} is no run of this series. Choose another --run-dir, or move that folder away.")


def same_config(folder: RunFolder, config: Config) -> Config:
    """`config` with the threads and batch size of the run or series in `folder`, if it leaves them open.

    Raises `UsageError` if they differ in anything but their seed and where their data are, and names the difference.
    """
    old = load_config(folder.config)
    if config.threads is None:
        config = config.model_copy(update={"threads": old.threads})
    if config.data.batch_size == "auto":
        config = config.with_batch(old.data.batch)
    first, second = (each.model_dump(mode="json") | {"seed": None} for each in (old, config))
    first["data"] |= {key: second["data"][key] for key in ("path", "root")}
    found = list(differences(first, second))
    if found:
        raise UsageError(
            f"{folder.path} holds another config: {'; '.join(map(str, found))}. "
            "Choose another --run-dir, or the same config to go on with it."
        )
    return config


class SeriesWriter:
    """Keeps a series' own files while its runs are made. `facts` are what `run.json` says of data and machine."""

    def __init__(
        self, folder: RunFolder, config: Config, seeds: Sequence[int], jobs: int, facts: Mapping[str, Any]
    ) -> None:
        old = folder.read_record()
        self.folder, self.seeds = folder, tuple(seeds)
        self.began = perf_counter()
        self.before = (old.get("timings") or {}).get("total_seconds", 0.0)
        self.record: dict[str, Any] = {
            "kind": "seeds",
            "name": config.name,
            "status": "running",
            "stop_reason": None,
            "test": None,
            "validation": None,
            "seeds": list(seeds),
            "jobs": jobs,
            "runs": [],
            **facts,
            "started_at": old.get("started_at") or _now(),
            "finished_at": None,
            "timings": {},
        }
        self.write()  # first: by it the folder is known as a series, however soon this process ends
        write_text(folder.config, dump_config(config))

    def runs(self) -> tuple[SubRun, ...]:
        """Every run as far as it got, in the order of the seeds."""
        return tuple(read_sub_run(self.folder.path, seed) for seed in self.seeds)

    def write(self) -> None:
        """Makes `run.json` anew from the runs'."""
        runs = self.runs()
        figures = {
            part: {name: found.to_json() for name, found in columns.items()}
            for part, columns in summarise(runs).items()
        }
        self.record |= {"test": figures.get("test"), "validation": figures.get("validation")}
        self.record["runs"] = [
            {"seed": run.seed, "folder": run.folder.name, "status": run.status}
            | {key: run.record.get(key) for key in RUN_KEYS}
            for run in runs
        ]
        total = self.before + perf_counter() - self.began
        self.record["timings"] = {**figures.get("timings", {}), "total_seconds": total}
        self.folder.write_record(self.record)

    def on_end(self, seed: int, error: Exception | None) -> None:
        """A run is over: its own record says so if it could not say so itself, and the log says why."""
        run = read_sub_run(self.folder.path, seed)
        if error is not None and run.status in ("waiting", "running"):
            make_folder(run.folder)
            over = {"status": "failed", "stop_reason": type(error).__name__, "finished_at": _now()}
            RunFolder(run.folder).write_record({"name": self.record["name"], "seed": seed, **run.record, **over})
        self.write()
        self.folder.log(f"seed {seed}: {'finished' if error is None else error}")

    def close(self, status: str, reason: str | None = None) -> None:
        """The series is over: finished, interrupted or failed."""
        self.record |= {"status": status, "stop_reason": reason, "finished_at": _now()}
        with suppress(StorageError):  # of an end before its time, its reason is what must be heard of
            self.write()
            self.folder.log(status if reason is None else f"{status}: {reason}")


def open_folder(config: Config, place: Path | None) -> RunFolder:
    """The folder of a series at `place`, or a new one. Raises as `create_run_folder`."""
    if place is not None and is_series(place):
        return RunFolder(place)
    return create_run_folder(f"{config.name}-seeds", place)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True)
class RunTask:
    """One run of a series, to be made."""

    config: Config
    folder: Path


def train_seeds(
    config: ConfigSource,
    seeds: Sequence[int],
    *overrides: str,
    jobs: int = 1,
    run_dir: str | Path | None = None,
    listener: SeriesListener | None = None,
) -> Series:
    """Trains `config` once with each of `seeds`, `jobs` at a time, in `run_dir` or a new folder below `runs/`.

    Each run is what `train` alone makes of the same seed and the same `threads`: those of the config, else this
    machine's shared out among the jobs. Where `run_dir` holds a series of the same config, its finished runs are kept,
    and the others go on. A run that fails does not end the others; it is among the `failures` of what is
    returned. With more than one job a script needs `if __name__ == "__main__":` around the call, as always in Python.

    Raises `UsageError` for seeds or a folder that can't be, what `prepare` raises for all runs together, `StorageError`
    if another process works on the series, and `InterruptedRunError` if the listener wants a stop, or at a
    KeyboardInterrupt.
    """
    listener, run_dir = listener or SeriesListener(), as_folder(run_dir)
    config, seeds = located(load_config(config, overrides)), check_seeds(seeds)
    if jobs < 1:
        raise UsageError(f"At least 1 job is needed; got {jobs}.")
    jobs = min(jobs, len(seeds))
    config = _series_config(config, seeds, jobs, run_dir)
    for key, reason in warnings_of(config):
        listener.warned(key, reason)
    folder, header, facts = _prepare_series(config, run_dir, listener)
    config = config.with_batch(facts["data"]["batch_size"])  # what auto became
    with folder_lock(folder.path):
        _check_series(folder, config, seeds)  # again: meanwhile another process may have held it
        writer = SeriesWriter(folder, config, seeds, jobs, facts)
        return _train_all(config, writer, SeriesHeader(header, seeds, jobs, _finished(writer)), listener)


def _series_config(config: Config, seeds: tuple[int, ...], jobs: int, run_dir: Path | None) -> Config:
    """The config of the whole series, with its threads. Raises `UsageError` if `run_dir` holds something else."""
    if run_dir is not None:
        refuse_file(run_dir)
        config = _check_series(RunFolder(run_dir), config, seeds)
    threads = choose_threads(config) or threads_per_job(jobs)
    return config.model_copy(update={"seed": seeds[0], "threads": threads})


def _check_series(folder: RunFolder, config: Config, seeds: tuple[int, ...]) -> Config:
    """`config` as the series in `folder` has it, if there is one.

    Raises `UsageError` if it is another or lacks some of the seeds, or if something else is where it would be.
    """
    if not is_series(folder.path):
        refuse_run(folder.path)
    known = folder.read_record().get("seeds", [])
    if missing := [seed for seed in known if seed not in seeds]:
        raise UsageError(
            f"{folder.path} holds a series with the seeds {', '.join(map(str, known))}; "
            f"{', '.join(map(str, missing))} can't be left out. Name them all, and others besides if you like."
        )
    runs = {seed: sub_folder(folder.path, seed) for seed in seeds}
    for seed, own in runs.items():
        refuse_foreign(own, seed in known)
    for made in (folder, *runs.values()):
        if made.config.exists():
            config = same_config(made, config)
    return config


def _prepare_series(
    config: Config, run_dir: Path | None, listener: Listener
) -> tuple[RunFolder, Header, dict[str, Any]]:
    """The series' folder, and what is the same for all runs; no folder is made for a training that can't be."""
    require_reports(config.report)
    with settings(config, config.threads), device_errors():
        state = prepare(config, loading=listener.loading, warned=listener.warned)
        load_test_images(config, listener.loading)  # fetched once, not by several processes at a time
        facts, folder = facts_of(state), open_folder(config, run_dir)
        require_same_images(folder.path, folder.read_record().get("data"), facts["data"])
        return folder, header_of(state, folder.path, {}), {**facts, **describe_environment(state)}


def _train_all(config: Config, writer: SeriesWriter, header: SeriesHeader, listener: SeriesListener) -> Series:
    runs = writer.runs()
    todo = [
        RunTask(config.model_copy(update={"seed": run.seed}), run.folder) for run in runs if run not in header.finished
    ]
    reporter = _TaskReporter(writer, listener)
    try:
        listener.series_started(header)
        listener.can_stop = True
        run_tasks(_train_one, todo, max(1, min(header.jobs, len(todo))), reporter)
        listener.can_stop = False
        if len(_finished(writer)) + len(reporter.failures) < len(runs):
            raise KeyboardInterrupt
        series = _conclude(config, writer, reporter.failures)
    except KeyboardInterrupt:
        writer.close("interrupted", listener.stopped_by)
        raise InterruptedRunError(_resume_hint(writer)) from None
    except BaseException as error:
        writer.close("failed", type(error).__name__)
        raise
    listener.series_finished(series)
    return series


def _train_one(task: RunTask, context: WorkerContext) -> None:
    """Makes what is missing of a run: all of it, if nothing can be gone on with."""
    if holds_run(task.folder):
        with suppress(CheckpointError):  # damaged
            write_text(RunFolder(task.folder).config, dump_config(task.config))  # its data may have been moved
            resume(task.folder, listener=_Reporter(context))
            return
        remove_folder(task.folder)
    train(task.config, run_dir=task.folder, listener=_Reporter(context))


class _Reporter(Listener):
    """A run's listener that passes on what the series wants to know."""

    def __init__(self, context: WorkerContext) -> None:
        self.context = context

    def stepped(self, epoch: int, step: int, steps: int) -> None:
        self.wants_stop = self.context.wants_stop

    def epoch_ended(self, record: EpochRecord) -> None:
        self.context.send(record)


class _TaskReporter(TaskCallback[RunTask, None]):
    """Hears how the runs go, writes it down, and tells the series' listener."""

    def __init__(self, writer: SeriesWriter, listener: SeriesListener) -> None:
        self.writer, self.listener = writer, listener
        self.failures: dict[int, Exception] = {}

    @property
    def wants_stop(self) -> bool:
        return self.listener.wants_stop

    def on_message(self, task: RunTask, news: EpochRecord) -> None:
        self.listener.run_progressed(task.config.seed, news)

    def on_end(self, task: RunTask, result: None, error: Exception | None) -> None:
        seed = task.config.seed
        self.writer.on_end(seed, error)
        if error is not None and not isinstance(error, InterruptedRunError):
            self.failures[seed] = error
        self.listener.run_ended(read_sub_run(self.writer.folder.path, seed), error)


def _finished(writer: SeriesWriter) -> tuple[SubRun, ...]:
    return tuple(run for run in writer.runs() if is_finished(run))


def _conclude(config: Config, writer: SeriesWriter, failures: Mapping[int, Exception]) -> Series:
    """All runs have ended: the picture, and the last of `run.json`."""
    runs, finished = writer.runs(), _finished(writer)
    summary = summarise(runs)
    part = judged_part(summary)
    if part is not None and config.report.plots:
        found = [(run.seed, figures) for run in finished if (figures := run.record.get(part))]
        pictured = [Dot(seed, figures["accuracy"], figures["interval"]) for seed, figures in found]
        title = f"{config.name}: {part} accuracy by seed, with 95 % intervals"
        writer.folder.write_plot(
            "seeds.png", dots(pictured, summary[part]["accuracy"], title, found[0][1]["count"], part)
        )
    reason = next((type(error).__name__ for error in failures.values()), None)
    writer.close("failed" if failures else "finished", reason)
    return Series(writer.folder.path, config, runs, summary, failures)


def _resume_hint(writer: SeriesWriter) -> str:
    """What to tell a person who stopped a series, with the command that makes what is missing of it."""
    done = len(_finished(writer))
    are = "is" if done == 1 else "are"
    command = command_for(writer.folder.path)
    return f"Stopped; {done} of {len(writer.seeds)} runs {are} finished.\nGo on with: {command}"


def resume_seeds(
    place: Path, *overrides: str, jobs: int | None = None, listener: SeriesListener | None = None
) -> Series:
    """Goes on with the series in the folder `place`, with as many `jobs` as before; as `train_seeds` does it."""
    folder = RunFolder(place)
    record = folder.read_record()
    return train_seeds(
        folder.config, record["seeds"], *overrides, jobs=jobs or record["jobs"], run_dir=place, listener=listener
    )
