"""What a series of runs, one a seed, tells of itself. The study calls a listener; a console is one that prints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnist_trainer.config.schema import Config
from mnist_trainer.errors import TrainerError
from mnist_trainer.inference.metrics import Spread
from mnist_trainer.reports.listener import Callback, RunInfo
from mnist_trainer.training.loop import EpochRecord


@dataclass(frozen=True)
class SubRun:
    """One seed's run: its folder, and its `run.json` as far as it got; empty before it began."""

    seed: int
    folder: Path
    record: Mapping[str, Any]

    @property
    def status(self) -> str:
        """As in `run.json`, or waiting."""
        return str(self.record.get("status", "waiting"))

    def metric(self, part: str, name: str) -> float | None:
        """A figure of its record: `metric("test", "accuracy")`."""
        value = (self.record.get(part) or {}).get(name)
        return None if value is None else float(value)


Summary = Mapping[str, Mapping[str, Spread]]
"""The spread of a figure over the finished runs, under the keys it has in `run.json`: `["test"]["accuracy"]`."""


def primary_split(summary: Summary) -> str | None:
    """Return what the runs are compared by: `test`, else `validation`, else None."""
    return next((part for part in ("test", "validation") if part in summary), None)


@dataclass(frozen=True)
class SeriesResult:
    """A series that has ended. `failures` are the errors of the runs that failed, by seed."""

    folder: Path
    config: Config
    runs: tuple[SubRun, ...]
    summary: Summary
    failures: Mapping[int, Exception]

    def raise_failures(self) -> None:
        """Raises an error with the first failure's text and exit code, if there is one."""
        if not self.failures:
            return
        seed, first = next(iter(self.failures.items()))
        if not isinstance(first, TrainerError):
            raise first
        failed, rest = len(self.failures), len(self.runs) - len(self.failures)
        others = f"The figures above are the other {rest}'s. " if rest else ""
        error = TrainerError(f"{failed} of {len(self.runs)} runs failed. {others}Seed {seed}: {first}")
        error.exit_code = first.exit_code
        raise error


@dataclass(frozen=True)
class SeriesInfo:
    """What is known before the first run: what holds for all of them, and which are there already."""

    common: RunInfo
    seeds: tuple[int, ...]
    jobs: int
    finished: tuple[SubRun, ...]


class SeriesCallback_(Callback):
    """Hears how a series goes, and does nothing: the base of every such listener.

    Of a single run it hears no more than what is here; `on_warning` and `loading` are told once, for all.
    """

    def on_series_start(self, info: SeriesInfo) -> None:
        """The first run is about to begin."""

    def on_run_epoch_end(self, seed: int, record: EpochRecord) -> None:
        """A run has trained an epoch."""

    def on_run_end(self, run: SubRun, error: Exception | None) -> None:
        """A run is finished, or was ended by `error`."""

    def on_series_end(self, series: SeriesResult) -> None:
        """Everything is written."""
