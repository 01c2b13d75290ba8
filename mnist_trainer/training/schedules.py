"""The learning rate as a function of the step: nothing is remembered, so any step can be asked for."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi
from typing import assert_never

from mnist_trainer.config.objective import (
    AnySchedule,
    Constant,
    Decay,
    Exponential,
    OneCycle,
    Plateau,
    StepDecay,
)


@dataclass(frozen=True)
class Course:
    """How long a training is: steps in each epoch, and epochs."""

    steps_per_epoch: int
    epochs: int

    @property
    def steps(self) -> int:
        """Steps in all."""
        return self.steps_per_epoch * self.epochs


def lr_multiplier(schedule: AnySchedule, step: int, course: Course) -> float:
    """What the learning rate is multiplied with at `step` (from 0); plateau's own falls come on top of it.

    `warmup` is a straight climb over its share of the steps, and the schedule itself runs over the steps after it
    (step and exponential count epochs from the start). one_cycle climbs and falls along half cosines (Smith & Topin
    2018, arXiv 1708.07120). cosine, linear and one_cycle reach `final` at the last step; a single step, also one that
    the warmup leaves alone, has the full rate.

    The factors are torch's: OneCycleLR (but momentum stays as it is, and a warmup of a single step or none starts at
    the full rate), StepLR and ExponentialLR called once an epoch, CosineAnnealingLR and LinearLR called once a step
    with T_max and total_iters one less than the number of steps.
    """
    last = course.steps - 1
    warm = min(round(schedule.warmup * course.steps), last)
    epoch = step // course.steps_per_epoch
    if isinstance(schedule, OneCycle):
        peak = max(schedule.warmup * course.steps - 1, 0)
        if step < peak:
            return _cosine_ramp(schedule.start, 1.0, step / peak)
        return _cosine_ramp(1.0, schedule.final, (step - peak) / (last - peak or 1))
    if step < warm:
        return (step + 1) / (warm + 1)
    done = (step - warm) / max(last - warm, 1)
    match schedule:
        case Constant() | Plateau():
            return 1.0
        case StepDecay():
            return schedule.gamma ** (epoch // schedule.every)
        case Exponential():
            return schedule.gamma**epoch
        case Decay(name="cosine"):
            return _cosine_ramp(1.0, schedule.final, done)
        case Decay():
            return 1.0 + (schedule.final - 1.0) * done
        case _:
            assert_never(schedule)


def _cosine_ramp(start: float, end: float, progress: float) -> float:
    """From `start` (share 0) to `end` (share 1) along half a cosine."""
    return end + (start - end) * (1 + cos(pi * min(progress, 1.0))) / 2


@dataclass
class PlateauState:
    """Falls made so far by `plateau`: × factor after more than `patience` epochs without a lower validation loss."""

    factor: float = 1.0
    best: float = float("inf")
    num_bad_epochs: int = 0

    def update(self, schedule: AnySchedule, val_loss: float | None) -> None:
        """Takes an epoch's validation loss into account; other schedules than plateau are let be."""
        if not isinstance(schedule, Plateau) or val_loss is None:
            return
        if val_loss < self.best:
            self.best, self.num_bad_epochs = val_loss, 0
            return
        self.num_bad_epochs += 1
        if self.num_bad_epochs > schedule.patience:
            self.factor, self.num_bad_epochs = self.factor * schedule.factor, 0
