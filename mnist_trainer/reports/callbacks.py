"""The callback protocol of a run, a series and a sweep, and the data that its methods are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from torch import nn

from mnist_trainer.config.schema import Config
from mnist_trainer.config.sweep import Sweep
from mnist_trainer.errors import TrainerError
from mnist_trainer.inference.metrics import Evaluation, Spread
from mnist_trainer.reports.diagnosis import Diagnosis
from mnist_trainer.training.loop import EpochRecord
from mnist_trainer.training.state import TrainingState

Status = Literal["finished", "pruned", "failed", "running", "waiting"]

Summary = Mapping[str, Mapping[str, Spread]]
"""The spread of each metric over the finished runs, under the keys of `run.json`: `["test"]["accuracy"]`."""


@dataclass(frozen=True)
class RunInfo:
    """What is known of a run before its first step, as text."""

    name: str
    data: str
    model: str
    device: str
    seed: int
    epochs: int
    folder: Path
    resumed: str = ""
    """Where the run continues; empty if it starts from its beginning."""


@dataclass(frozen=True)
class Run:
    """A finished training. `model` has the weights of `best_epoch`, or of the second fit, and is in evaluation mode.

    `validation` is always that of the first fit. `test` is None with `report.test: false`. `seconds` are those of
    training, `plots` file names in the folder.
    """

    folder: Path
    config: Config
    records: tuple[EpochRecord, ...]
    best_epoch: int
    stop_reason: str
    test: Evaluation | None
    validation: Evaluation | None
    model: nn.Module
    seconds: float = 0.0
    plots: tuple[str, ...] = ()
    dead: str = ""
    """A sentence about the units that never fired; empty if all did."""
    diagnosis: Diagnosis | None = None
    """What the training shows, in words, and what to try next."""

    @property
    def epoch_text(self) -> str:
        """Which epoch was kept: `best epoch 3`, or `last epoch 3` without validation or with `training.keep: last`."""
        is_best = self.config.training.keep == "best" and any(record.best for record in self.records)
        return f"{'best' if is_best else 'last'} epoch {self.best_epoch}"

    def __repr__(self) -> str:
        """Return the results and the folder in a few lines; all else is in the attributes."""
        epochs = len([record for record in self.records if record.phase == "train"])
        lines = [measured.sentence for measured in (self.test, self.validation) if measured is not None]
        lines += [f"{self.epoch_text} of {epochs}", f"folder {self.folder}"]
        return "\n".join([f"{self.config.name}: {lines[0]}", *lines[1:]])


@dataclass(frozen=True)
class SubRun:
    """A run of a series: its folder, and its `run.json` as far as it got; empty before it starts."""

    seed: int
    folder: Path
    record: Mapping[str, Any]

    @property
    def status(self) -> str:
        """The status in `run.json`, or waiting."""
        return str(self.record.get("status", "waiting"))

    def metric(self, split: str, name: str) -> float | None:
        """Return a metric of its record, as `metric("test", "accuracy")`."""
        value = (self.record.get(split) or {}).get(name)
        return None if value is None else float(value)


def primary_split(summary: Summary) -> str | None:
    """Return the split by which runs are compared: `test`, else `validation`, else None."""
    return next((split for split in ("test", "validation") if split in summary), None)


@dataclass(frozen=True)
class SeriesResult:
    """A series that has ended. `failures` are the errors of the failed runs, by seed."""

    folder: Path
    config: Config
    runs: tuple[SubRun, ...]
    summary: Summary
    failures: Mapping[int, Exception]

    def raise_failures(self) -> None:
        """Raise an error with the text and exit code of the first failure, if there is one."""
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

    @property
    def has_ended(self) -> bool:
        """Whether the trial is finished, pruned or failed."""
        return self.status not in ("running", "waiting")

    def to_json(self) -> dict[str, Any]:
        """Return the trial as plain data."""
        return {key: value for key, value in vars(self).items() if key != "code"}


@dataclass(frozen=True)
class SweepInfo:
    """What is known before the first trial; `rows` are the trials that exist already."""

    sweep: Sweep
    folder: Path
    storage: str
    jobs: int
    threads: int
    rows: Sequence[TrialRow]


@dataclass(frozen=True)
class SweepResult:
    """A sweep that has ended; it is not `complete` if trials are left."""

    folder: Path
    objective: str
    trials: int
    rows: tuple[TrialRow, ...]
    best: TrialRow | None
    plots: tuple[str, ...]
    left_out: tuple[str, ...]
    """Why plots are missing."""
    resume: str
    """The command that continues the sweep."""

    @property
    def complete(self) -> bool:
        """Whether all trials have ended."""
        return len(self.rows) >= self.trials and all(row.has_ended for row in self.rows)

    @property
    def progress(self) -> str:
        """How many trials are done, to be printed before the command `resume`."""
        done = sum(row.has_ended for row in self.rows)
        hidden = "Put the password in place of ***, or take :*** out and put it into PGPASSWORD or ~/.pgpass. "
        return f"{done} of {self.trials} trials are done. {hidden if '***' in self.resume else ''}Resume with:"

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain data."""
        return {
            "folder": str(self.folder),
            "complete": self.complete,
            "objective": self.objective,
            "best": self.best and self.best.to_json(),
            "trials": [row.to_json() for row in self.rows],
        }

    def raise_failure(self) -> None:
        """Raise an error with the most frequent exit code if all trials failed."""
        failed = [row for row in self.rows if row.status == "failed"]
        if self.best is not None or not failed:
            return
        codes = [row.code for row in failed]
        error = TrainerError(
            f"No trial was completed; {len(failed)} of {len(self.rows)} failed. The reasons are in "
            f"{self.folder / 'trials.csv'}; trial {failed[0].trial}: {failed[0].reason}"
        )
        error.exit_code = max(codes, key=codes.count)
        raise error


class Callback:
    """Base class of callbacks for `train(..., callback=...)`: its methods do nothing, and a subclass overrides some.

    Set `should_stop` to stop the training after the present step: it then saves its state and raises
    `InterruptedRunError`, and `resume` continues it. With `finish_on_stop = True` it instead ends like a training that
    has done all its epochs: the best epoch is tested and all files are written. `can_stop` is true while steps are
    taken. `stopped_by` is the reason that `run.json` records.
    """

    should_stop = False
    can_stop = False
    finish_on_stop = False
    stopped_by = "SIGINT"

    def on_message(self, text: str) -> None:
        """Called with a sentence to print about anything but the events below."""

    def on_warning(self, key: str, reason: str) -> None:
        """Called with a warning about the config key `key`, before training or during it."""

    def on_loading(self, what: str, done: int, total: int | None) -> None:
        """Called while data are downloaded or made: `done` of `total` bytes of `what`."""

    def on_train_start(self, info: RunInfo) -> None:
        """Called once before the first step, with the name, data, model, device and folder of the run as text."""

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

    def on_train_end(self, run: Run) -> None:
        """Called last, when all files are written, with what `train` returns."""

    def on_already_finished(self, folder: Path) -> None:
        """Called instead of all others by `resume` if the run in `folder` is finished."""

    def on_series_start(self, info: RunInfo, seeds: tuple[int, ...], jobs: int, finished: tuple[SubRun, ...]) -> None:
        """Called before the first run of a series, with what all runs share, and the runs that are finished already.

        Of a single run a series calls only the methods named below.
        """

    def on_run_epoch_end(self, seed: int, record: EpochRecord) -> None:
        """Called when a run of a series has trained an epoch."""

    def on_run_end(self, run: SubRun, error: Exception | None) -> None:
        """Called when a run of a series is finished, or was ended by `error`."""

    def on_series_end(self, series: SeriesResult) -> None:
        """Called last, when all files of the series are written."""

    def on_sweep_start(self, info: SweepInfo) -> None:
        """Called before the first trial of a sweep."""

    def on_trial_end(self, row: TrialRow, is_best: bool) -> None:
        """Called when a trial is finished, pruned, or failed."""

    def on_sweep_end(self, result: SweepResult) -> None:
        """Called last, when all files of the sweep are written."""


class _Both:
    """Calls two callbacks. Not a subclass: attributes such as `should_stop` are those of `main`."""

    def __init__(self, main: Callback, other: Callback) -> None:
        vars(self).update(main=main, other=other)

    def __getattr__(self, name: str) -> Any:
        own, others = getattr(self.main, name), getattr(self.other, name)

        def call(*arguments: object) -> None:
            others(*arguments)
            own(*arguments)

        return call if name.startswith("on_") else own

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self.main, name, value)


def both(main: Callback, other: Callback) -> Callback:
    """Return a callback that calls two; `main` decides when to stop."""
    return cast("Callback", _Both(main, other))


def metrics_row(record: EpochRecord) -> Mapping[str, float | int | str | None]:
    """Return a row of `metrics.csv`."""
    return {name: value for name, value in vars(record).items() if name not in ("terms", "best", "kept", "curve")}
