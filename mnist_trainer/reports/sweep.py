"""What a sweep tells of itself. The study calls a listener; a console is one that prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mnist_trainer.errors import TrainerError
from mnist_trainer.reports.listener import Callback

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


class SweepCallback_(Callback):
    """Hears how a sweep goes, and does nothing: the base of every such listener."""

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
