"""A series: several runs of one config that differ only in their seed.

runs/2026-03-14_15-09-26-mlp-seeds/
  config.yaml    the config of all runs, with their number of threads and the first seed
  run.json       the keys of a run, with kind: seeds; instead of each metric its spread over the finished runs
  log.txt        plots/seeds.png
  seed-0/  seed-1/  …   ordinary run folders

The status of each run is recorded in its own `run.json`; that of the series is made from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mnist_trainer.config.load import ConfigSource, differences, dump_config, load_config
from mnist_trainer.config.schema import Config
from mnist_trainer.errors import CheckpointError, InterruptedRunError, UsageError
from mnist_trainer.files import folder_lock, make_folder, remove_folder, write_text
from mnist_trainer.inference.metrics import Spread, spread
from mnist_trainer.model.device import choose_threads, convert_device_errors, settings, visible_gpus
from mnist_trainer.pipeline.describe import build_header, run_facts
from mnist_trainer.pipeline.preparation import (
    CustomParts,
    check_same_images,
    config_warnings,
    prepare_training,
    with_absolute_paths,
)
from mnist_trainer.pipeline.resume import resume_command
from mnist_trainer.pipeline.train import check_reports, load_test_images, resume, train
from mnist_trainer.reports.callbacks import (
    Callback,
    RunInfo,
    SeriesResult,
    SubRun,
    Summary,
    primary_split,
)
from mnist_trainer.reports.plots import seed_accuracies
from mnist_trainer.reports.run_writer import describe_environment, now
from mnist_trainer.seeds import check_seeds
from mnist_trainer.storage.run_folder import (
    RunFolder,
    as_folder,
    check_no_run,
    check_not_file,
    holds_run,
    is_series,
)
from mnist_trainer.studies.processes import Scheduler, WorkerContext, limit_jobs, run_tasks, threads_per_job
from mnist_trainer.studies.study_record import StudyRecord, open_folder
from mnist_trainer.training.loop import EpochRecord

METRICS = (
    *((split, name) for split in ("test", "validation") for name in ("accuracy", "errors", "loss")),
    ("timings", "training_seconds"),
)
"""The metrics that are summarized, by their keys in a run's `run.json`."""

RUN_KEYS = ("stop_reason", "best_epoch", "epochs", "test", "validation", "timings")
"""The keys of each run's `run.json` that are repeated in that of the series."""


def train_seeds(
    config: ConfigSource,
    seeds: Sequence[int],
    *overrides: str,
    jobs: int | None = None,
    run_dir: str | Path | None = None,
    callback: Callback | None = None,
) -> SeriesResult:
    """Train `config` once with each of `seeds`, `jobs` at a time, in `run_dir` or a new folder below `runs/`.

    Without `jobs`, runs take turns on the GPUs of this machine, one on each; on a CPU it is one run at a time. Each run
    is bit-identical to one by `train` with the same seed and the same `threads`: those of the config, or the CPU
    threads of this machine, divided by `jobs` if given. If `run_dir` holds a series of the same config, its finished
    runs are kept and the others continue. A run that fails does not end the others; its error is among the `failures`
    of the result. With more than one job, a script must make the call below `if __name__ == "__main__":`, as
    `multiprocessing` requires.

    Raises `UsageError` for invalid seeds or another series in the folder, what `prepare` raises, `StorageError` if
    another process works on the series, and `InterruptedRunError` if the callback stops it, or at a
    KeyboardInterrupt.
    """
    callback, run_dir = callback or Callback(), as_folder(run_dir)
    config, seeds = with_absolute_paths(load_config(config, overrides)), check_seeds(seeds)
    gpus = visible_gpus(config.device)
    count = limit_jobs(jobs, len(seeds), gpus)
    if run_dir is not None:
        check_not_file(run_dir)
        config = _check_folder(RunFolder(run_dir), config, seeds)
    threads = choose_threads(config) or threads_per_job(1 if jobs is None else count)
    config = config.model_copy(update={"seed": seeds[0], "threads": threads})
    for key, reason in config_warnings(config):
        callback.on_warning(key, reason)
    folder, info, facts = _prepare(config, run_dir, callback)
    config = config.with_batch(facts["data"]["batch_size"])  # the number that auto became
    with folder_lock(folder.path):
        _check_folder(folder, config, seeds)  # another process may have written to it before it was locked
        return _SeriesRun(folder, config, seeds, count, gpus, {**facts, "jobs": jobs}, callback).run(info)


def resume_seeds(
    folder: Path, *overrides: str, jobs: int | None = None, callback: Callback | None = None
) -> SeriesResult:
    """Continue the series in `folder` as `train_seeds` does, with as many `jobs` as before unless they are given."""
    record = RunFolder(folder).read_record()
    jobs = record["jobs"] if jobs is None else jobs
    return train_seeds(
        RunFolder(folder).config, record["seeds"], *overrides, jobs=jobs, run_dir=folder, callback=callback
    )


# --- checks before the first run ---


def _check_folder(folder: RunFolder, config: Config, seeds: tuple[int, ...]) -> Config:
    """Return `config` with the threads and batch size of the series in `folder`, if there is one.

    Raises `UsageError` if that series has another config or other seeds, or if a folder `seed-…` is no run of it.
    """
    if not is_series(folder.path):
        check_no_run(folder.path)
    known = folder.read_record().get("seeds", [])
    if missing := [seed for seed in known if seed not in seeds]:
        raise UsageError(
            f"{folder.path} holds a series with the seeds {', '.join(map(str, known))}; "
            f"{', '.join(map(str, missing))} can't be left out. Name all of them; you may add others."
        )
    runs = [_run_folder(folder, seed) for seed in seeds]
    for seed, run in zip(seeds, runs, strict=True):
        if run.path.exists() and not (seed in known and _is_run(run.path)):
            raise UsageError(
                f"{run.path} is no run of this series. Choose another --run-dir, or move that folder away."
            )
    for made in (folder, *runs):
        if made.config.exists():
            config = _same_config(made, config)
    return config


def _is_run(path: Path) -> bool:
    """Return whether `path` holds a run, or nothing but the lock and temporary files of a killed one."""
    return path.is_dir() and (holds_run(path) or all(file.name.startswith(".") for file in path.iterdir()))


def _same_config(folder: RunFolder, config: Config) -> Config:
    """Return `config`; threads and batch size that it leaves open are those of the config in `folder`.

    Raises `UsageError` if the two differ in other keys than the seed and the folder of the data.
    """
    old = load_config(folder.config)
    if config.threads is None:
        config = config.model_copy(update={"threads": old.threads})
    if config.data.batch_size == "auto":
        config = config.with_batch(old.data.batch)
    first, second = (each.model_dump(mode="json") | {"seed": None} for each in (old, config))
    first["data"] |= {key: second["data"][key] for key in ("path", "root")}
    if found := list(differences(first, second)):
        raise UsageError(
            f"{folder.path} holds another config: {'; '.join(map(str, found))}. "
            "Choose another --run-dir, or continue it with the same config."
        )
    return config


def _prepare(config: Config, run_dir: Path | None, callback: Callback) -> tuple[RunFolder, RunInfo, dict[str, Any]]:
    """Return the folder of the series, and the header and facts that all runs share.

    No folder is made if the training can't be prepared.
    """
    check_reports(config.report)
    with settings(config, config.threads), convert_device_errors():
        state = prepare_training(config, CustomParts(), callback)
        load_test_images(config, callback.on_loading)  # once, before several processes would download them
        folder = open_folder("seeds", f"{config.name}-seeds", run_dir)
        facts = run_facts(state)
        check_same_images(folder.path, folder.read_record().get("data"), facts["data"])
        return folder, build_header(state, folder.path, {}), {**facts, **describe_environment(state)}


# --- the runs ---


class RunTask(NamedTuple):
    """A run of a series to be trained, or continued."""

    config: Config
    folder: Path


def _train_one(task: RunTask, context: WorkerContext) -> None:
    """Continue the run, or train it from its beginning if nothing usable is there."""
    if holds_run(task.folder):
        with suppress(CheckpointError):  # last.pt is damaged
            write_text(RunFolder(task.folder).config, dump_config(task.config))  # the data may have been moved
            resume(task.folder, callback=_Reporter(context))
            return
        remove_folder(task.folder)
    train(task.config, run_dir=task.folder, callback=_Reporter(context))


class _Reporter(Callback):
    """Sends the epochs of a run to the process of the series, and stops the run if that process requests it."""

    def __init__(self, context: WorkerContext) -> None:
        self.context = context

    def on_step_end(self, epoch: int, step: int, steps: int) -> None:
        self.should_stop = self.context.stop_requested()

    def on_epoch_end(self, record: EpochRecord) -> None:
        self.context.send(record)


@dataclass
class _SeriesRun(Scheduler):
    """Trains the runs of a series that are not finished, and rewrites its `run.json` after each run.

    `facts` are the keys of `run.json` about the data, the machine and the option `--jobs`.
    """

    folder: RunFolder
    config: Config
    seeds: tuple[int, ...]
    jobs: int
    gpus: Sequence[str]
    facts: dict[str, Any]
    callback: Callback

    def __post_init__(self) -> None:
        self.failures: dict[int, Exception] = {}
        seeds = list(self.seeds)
        self.record = StudyRecord(self.folder, kind="seeds", name=self.config.name, seeds=seeds, **self.facts)
        self.write()  # before anything else, so that the folder is known as a series if this process is killed
        write_text(self.folder.config, dump_config(self.config))
        missing = [run for run in self.runs() if not _is_finished(run)]
        self.unannounced = [run.seed for run in missing]
        """The seeds of the runs whose end the callback has not been told, in order."""
        self.ended: dict[int, Exception | None] = {}
        self.tasks = iter([RunTask(self.config.model_copy(update={"seed": run.seed}), run.folder) for run in missing])

    def should_stop(self, task: RunTask | None = None) -> bool:
        """Whether the callback requests a stop, which ends all runs."""
        return self.callback.should_stop

    def run(self, common: RunInfo) -> SeriesResult:
        """Train the runs that are not finished; raises as `train_seeds`."""
        finished = self.finished()
        with self.record.closed_on_error(self.callback, self._how_to_continue):
            self.callback.on_series_start(common, self.seeds, self.jobs, finished)
            self.callback.can_stop = True
            run_tasks(_train_one, self, max(1, min(self.jobs, len(self.seeds) - len(finished))), self.gpus)
            self.callback.can_stop = False
            if len(self.finished()) + len(self.failures) < len(self.seeds):
                raise KeyboardInterrupt
            series = self._conclude()
        self.callback.on_series_end(series)
        return series

    def _how_to_continue(self) -> str:
        """Return how many runs are finished, and the command that continues the series."""
        self.write()
        done = len(self.finished())
        are, command = "is" if done == 1 else "are", resume_command(self.folder.path)
        return f"Stopped; {done} of {len(self.seeds)} runs {are} finished.\nResume with: {command}"

    def next_task(self) -> RunTask | None:
        """Return the next run that is not finished."""
        return next(self.tasks, None)

    def on_message(self, task: RunTask, message: EpochRecord) -> None:
        """Report an epoch to the callback."""
        self.callback.on_run_epoch_end(task.config.seed, message)

    def on_end(self, task: RunTask, error: Exception | None) -> None:
        """Record how a run ended; a process that was killed could not do so itself."""
        seed = task.config.seed
        run = _read_run(self.folder, seed)
        if error is not None and run.status in ("waiting", "running"):
            make_folder(run.folder)
            failure = {"status": "failed", "stop_reason": type(error).__name__, "finished_at": now()}
            RunFolder(run.folder).write_record({"name": self.config.name, "seed": seed, **run.record, **failure})
        self.write()
        self.folder.log(f"seed {seed}: {'finished' if error is None else error}")
        if error is not None and not isinstance(error, InterruptedRunError):
            self.failures[seed] = error
        self.ended[seed] = error
        while self.unannounced and self.unannounced[0] in self.ended:  # in the order of the seeds
            first = self.unannounced.pop(0)
            self.callback.on_run_end(_read_run(self.folder, first), self.ended[first])

    # --- files and result ---

    def runs(self) -> tuple[SubRun, ...]:
        """Return every run as far as it got, in the order of the seeds."""
        return tuple(_read_run(self.folder, seed) for seed in self.seeds)

    def finished(self) -> tuple[SubRun, ...]:
        """Return the runs that are finished."""
        return tuple(filter(_is_finished, self.runs()))

    def write(self) -> None:
        """Rewrite `run.json` from those of the runs."""
        runs, summary = self.runs(), summarize(self.finished())
        spreads = {part: {name: vars(found) for name, found in each.items()} for part, each in summary.items()}
        self.record.write(
            test=spreads.get("test"),
            validation=spreads.get("validation"),
            runs=[
                {"seed": run.seed, "folder": run.folder.name, "status": run.status}
                | {key: run.record.get(key) for key in RUN_KEYS}
                for run in runs
            ],
            timings=spreads.get("timings", {}),
        )

    def _conclude(self) -> SeriesResult:
        """Draw the plot and write the last record, when all runs have ended."""
        finished = self.finished()
        summary = summarize(finished)
        part = primary_split(summary)
        if part is not None and self.config.report.plots:
            runs = {run.seed: metrics for run in finished if (metrics := run.record.get(part))}
            title = f"{self.config.name}: {part} accuracy by seed, with 95 % intervals"
            self.folder.write_plot("seeds.png", seed_accuracies(runs, summary[part]["accuracy"], title, part))
        reason = next((type(error).__name__ for error in self.failures.values()), None)
        self.record.close("failed" if self.failures else "finished", reason)
        return SeriesResult(self.folder.path, self.config, self.runs(), summary, self.failures)


def summarize(finished: Sequence[SubRun]) -> Summary:
    """Return the spread of each metric over the finished runs; empty if there are none."""
    summary: dict[str, dict[str, Spread]] = {}
    for part, name in METRICS:
        if values := [value for run in finished if (value := run.metric(part, name)) is not None]:
            summary.setdefault(part, {})[name] = spread(values)
    return summary


def _run_folder(folder: RunFolder, seed: int) -> RunFolder:
    return RunFolder(folder.path / f"seed-{seed}")


def _read_run(folder: RunFolder, seed: int) -> SubRun:
    """Return a run of the series as far as it got."""
    run = _run_folder(folder, seed)
    return SubRun(seed, run.path, run.read_record())


def _is_finished(run: SubRun) -> bool:
    return run.status == "finished" and RunFolder(run.folder).best.exists()
