"""What a training tells while it runs. The pipeline calls a listener; consoles are listeners that print."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mnist_trainer.inference.metrics import Evaluation
from mnist_trainer.training.loop import EpochRecord


@dataclass(frozen=True)
class Header:
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
class Outcome:
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


class Listener:
    """Hears everything and does nothing: the base of every listener.

    `wants_stop` is asked after each step; the training then saves itself and ends as interrupted, or, if it `finishes`
    then, is reported as if it had come to its end. `can_stop` is true while it is asked. `stopped_by` says what for.
    """

    wants_stop = False
    can_stop = False
    finishes = False
    stopped_by = "SIGINT"

    def warned(self, path: str, reason: str) -> None:
        """The config works against itself."""

    def loading(self, what: str, done: int, total: int | None) -> None:
        """Of `what`, a download or images that are made, `done` of `total` bytes are there."""

    def started(self, header: Header) -> None:
        """The first step is about to be taken."""

    def stepped(self, epoch: int, step: int, steps: int) -> None:
        """`step` of `steps` in `epoch` (from 1) are done."""

    def epoch_ended(self, record: EpochRecord) -> None:
        """An epoch was trained and judged."""

    def refitting(self, epochs: int, images: int) -> None:
        """The best epoch is known; a second fit of so many epochs begins, on training and validation images."""

    def drawing(self) -> None:
        """Training is over; the test set is read and reports are written."""

    def finished(self, outcome: Outcome) -> None:
        """Everything is written."""

    def was_finished(self, folder: Path) -> None:
        """The run in `folder` that was to go on is finished already."""


def metrics_row(record: EpochRecord) -> Mapping[str, float | int | str | None]:
    """A row of `metrics.csv`."""
    return {name: value for name, value in vars(record).items() if name not in ("terms", "best", "curve")}
