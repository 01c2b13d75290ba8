"""The folder of a series: several runs of one config that differ in their seed alone.

runs/2026-03-14_15-09-26-mlp-seeds/
  config.yaml    what all runs have in common, with the threads each of them has; its seed is the first one's
  run.json       keys as a run's, with kind: seeds; where a run has a figure, the spread of it over the finished runs
  log.txt        plots/seeds.png
  seed-0/  seed-1/  …   ordinary run folders

What happened to a run stands in its own `run.json`; the series' is made from them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

from mnist_trainer.config.differences import differences
from mnist_trainer.config.load import dump_config, load_config
from mnist_trainer.config.schema import Config
from mnist_trainer.errors import StorageError, UsageError
from mnist_trainer.files import make_folder, write_text
from mnist_trainer.inference.spread import spread
from mnist_trainer.reports.series import SubRun, Summary
from mnist_trainer.storage.run_folder import RunFolder, create_run_folder, holds_run, is_series

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
