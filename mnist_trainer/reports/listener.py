"""The callbacks of a training: the pipeline calls them; consoles are callbacks that print."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from mnist_trainer.inference.metrics import Evaluation
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

    def loading(self, what: str, done: int, total: int | None) -> None:
        """Called while data are downloaded or made: `done` of `total` bytes of `what` are there."""

    def started(self, info: RunInfo) -> None:
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

    def drawing(self) -> None:
        """Called after the last epoch, before the test set is read and the plots are drawn."""

    def finished(self, result: RunResult) -> None:
        """Called last, when all files are written, with the test figures and the run folder."""

    def on_already_finished(self, folder: Path) -> None:
        """Called instead of all others by `resume` when the run in `folder` is finished already."""


Callback = Callback

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
