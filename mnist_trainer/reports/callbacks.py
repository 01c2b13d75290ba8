"""The callbacks of a training: the pipeline calls them; consoles are callbacks that print.

What a series of runs, one a seed, tells of itself. The study calls a callback; a console is one that prints.

What a sweep tells of itself. The study calls a callback; a console is one that prints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

from mnist_trainer.config.schema import Config
from mnist_trainer.errors import TrainerError
from mnist_trainer.inference.metrics import Evaluation, Spread
from mnist_trainer.training.loop import EpochRecord
from mnist_trainer.training.state import TrainingState


@dataclass(frozen=True)
class RunInfo:
    """What is known before the first step, in words."""

    name: str
    data: str
    model: str
    device: str
    seed: int
    epochs: int
    folder: Path
    resumed: str = ""
    """Where it goes on, if it is not at its beginning."""


@dataclass(frozen=True)
class RunResult:
    """How a training ended."""

    folder: Path
    best_epoch: int
    stop_reason: str
    test: Evaluation | None
    """None with `report.test: false`."""
    seconds: float
    plots: tuple[str, ...]
    dead: str = ""
    """Which units never fired, in a sentence; empty if all did."""
    validation: Evaluation | None = None
    advice: str = ""
    """Of a model that is no better than guessing: why, as far as it can be seen, and what to try."""


class Callback:
    """Base class of callbacks for `train(..., callback=...)`: its methods do nothing, and a subclass overrides some.

    Set `should_stop` to stop the training after the present step: it then saves its state and raises
    `InterruptedRunError`, and `resume` continues it. With `finish_on_stop = True` it instead ends like a training that
    has
    done all its epochs: the best epoch is tested and all files are written. `can_stop` is true while steps are taken.
    `stopped_by` is the reason that `run.json` records.
    """

    should_stop = False
    can_stop = False
    finish_on_stop = False
    stopped_by = "SIGINT"

    def on_warning(self, key: str, reason: str) -> None:
        """Called with a warning about the config key `key`, before training or during it."""

    def on_loading(self, what: str, done: int, total: int | None) -> None:
        """Called while data are downloaded or made: `done` of `total` bytes of `what` are there."""

    def on_train_start(self, info: RunInfo) -> None:
        """Called once before the first step, with the name, data, model, device and folder of the run in words."""

    def on_fit_start(self, state: TrainingState) -> None:
        """Called before the first step of each fit (`training.refit` has two).

        `state` holds the model and the optimizer, and changes with each step.
        """

    def on_step_end(self, epoch: int, step: int, steps: int) -> None:
        """Called after each optimizer step: `step` of `steps` in `epoch` are done, both from 1."""

    def on_epoch_end(self, record: EpochRecord) -> None:
        """Called after each epoch and its validation, with the losses, the accuracies and the learning rate."""

    def on_refit_start(self, epochs: int, images: int) -> None:
        """Called before the second fit of `training.refit`, which takes so many epochs on so many images."""

    def on_test_start(self) -> None:
        """Called after the last epoch, before the test set is read and the plots are drawn."""

    def on_train_end(self, result: RunResult) -> None:
        """Called last, when all files are written, with the test figures and the run folder."""

    def on_series_start(self, info: SeriesInfo) -> None:
        """The first run is about to begin."""

    def on_run_epoch_end(self, seed: int, record: EpochRecord) -> None:
        """A run has trained an epoch."""

    def on_run_end(self, run: SubRun, error: Exception | None) -> None:
        """A run is finished, or was ended by `error`."""

    def on_series_end(self, series: SeriesResult) -> None:
        """Everything is written."""

    def on_sweep_start(self, info: SweepInfo) -> None:
        """The first trial is about to begin."""

    def on_trial_end(self, row: TrialRow, is_best: bool) -> None:
        """A trial was finished, pruned, or failed."""

    def on_trial_retry(self, row: TrialRow) -> None:
        """The process of a trial was killed; the trial is repeated."""

    def on_wait(self, count: int) -> None:
        """Other commands still have so many trials in work."""

    def on_sweep_end(self, result: SweepResult) -> None:
        """Everything is written."""

    def on_already_finished(self, folder: Path) -> None:
        """Called instead of all others by `resume` when the run in `folder` is finished already."""


CALLS = tuple(name for name in vars(Callback) if callable(getattr(Callback, name)) and not name.startswith("_"))


def both(main: Callback, other: Callback) -> Callback:
    """Return a callback that calls two; `main` decides when to stop."""
    return cast("Callback", _Both(main, other))


class _Both:
    """Not a subclass: all attributes that are no methods are those of `main`."""

    def __init__(self, main: Callback, other: Callback) -> None:
        vars(self).update(main=main, other=other)

    def __getattr__(self, name: str) -> Any:
        own = getattr(self.main, name)
        return partial(_call, (getattr(self.other, name), own)) if name in CALLS else own

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self.main, name, value)


def _call(functions: tuple[Callable[..., None], ...], *arguments: object) -> None:
    for function in functions:
        function(*arguments)


def metrics_row(record: EpochRecord) -> Mapping[str, float | int | str | None]:
    """A row of `metrics.csv`."""
    return {name: value for name, value in vars(record).items() if name not in ("terms", "best", "curve")}


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


Status = Literal["finished", "pruned", "failed", "running", "waiting"]


@dataclass(frozen=True)
class TrialRow:
    """One trial as far as it got. `value` is the objective of its best epoch, `curve` the objective of each epoch."""

    trial: int
    status: Status
    values: Mapping[str, Any]
    curve: Mapping[int, float]
    value: float | None = None
    epoch: int | None = None
    val_loss: float | None = None
    val_accuracy: float | None = None
    seconds: float | None = None
    reason: str = ""
    code: int = 1

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {key: value for key, value in vars(self).items() if key != "code"}


@dataclass(frozen=True)
class SweepInfo:
    """What is known before the first trial. `begun` are the trials that are there already."""

    name: str
    folder: Path
    storage: str
    keys: tuple[str, ...]
    objective: str
    search: str
    trials: int
    jobs: int
    threads: int
    begun: Sequence[TrialRow]


@dataclass(frozen=True)
class SweepResult:
    """A sweep that has come to its end, or to the end of its time: then it is not `complete`."""

    folder: Path
    objective: str
    trials: int
    rows: tuple[TrialRow, ...]
    best: TrialRow | None
    plots: tuple[str, ...]
    left_out: tuple[str, ...]
    """Why pictures are not there."""
    resume: str
    """The command that goes on."""

    @property
    def complete(self) -> bool:
        """Whether there is nothing left to do."""
        return len(self.rows) >= self.trials and all(row.status not in ("running", "waiting") for row in self.rows)

    @property
    def progress(self) -> str:
        """A sentence that leads to `resume`."""
        done = sum(row.status not in ("running", "waiting") for row in self.rows)
        hidden = "Put the password in place of ***, or take :*** out and put it into PGPASSWORD or ~/.pgpass. "
        return f"{done} of {self.trials} trials are done. {hidden if '***' in self.resume else ''}Go on with:"

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        rows = [row.to_json() for row in self.rows]
        best = None if self.best is None else self.best.to_json()
        return {"folder": str(self.folder), "complete": self.complete, "objective": self.objective, "best": best} | {
            "trials": rows
        }

    def raise_failure(self) -> None:
        """Raises an error with the commonest exit code if all trials failed."""
        failed = [row for row in self.rows if row.status == "failed"]
        if self.best is not None or not failed:
            return
        codes = [row.code for row in failed]
        error = TrainerError(
            f"No trial came to its end; {len(failed)} of {len(self.rows)} failed. The reasons are in "
            f"{self.folder / 'trials.csv'}; trial {failed[0].trial}: {failed[0].reason}"
        )
        error.exit_code = max(codes, key=codes.count)
        raise error
