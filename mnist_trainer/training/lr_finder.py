"""The learning rate range test: how the loss changes while the learning rate grows from step to step.

Source: Smith 2017, "Cyclical learning rates for training neural networks" (arXiv 1506.01186), section 3.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.errors import DivergedError
from mnist_trainer.training.loop import Batch, train_step
from mnist_trainer.training.state import Totals, TrainingState

STEPS = 100
LOWEST, HIGHEST = 1e-6, 10.0
"""The first and the last learning rate of the test. They grow by a constant factor from step to step."""

SMOOTHING = 0.8
"""Decay of the moving average of the losses, because each one is that of another batch."""

DIVERGED = 1.5
"""The training has diverged where the smoothed loss exceeds this multiple of the first one."""

MIN_FALL = 0.05
"""The least fall of the median loss, as a fraction of its first value, for which learning rates are proposed."""

RISE, FLAT = 0.05, 0.02
"""Fractions of the fall: a rise that ends the range (after half of the fall), and a difference that does not matter."""

MARGIN = 0.25
"""The learning rate with the lowest loss is too near the rise; this fraction of it is an end of the range."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LrRange:
    """The result of the test. Learning rates are None where there are none: the loss never fell, or never rose."""

    lrs: Array
    """The learning rates [steps]."""
    losses: Array
    """The smoothed losses [runs, steps]; infinite after a loss that is not finite."""
    median: Array
    """The median over the runs [steps]."""
    low: float | None
    high: float | None
    """The learning rate at which the median loss falls fastest, and `MARGIN` times that of the lowest median loss."""
    diverges: float | None
    """Where the median exceeds `DIVERGED` times its first value, or is infinite."""

    @property
    def suggestion(self) -> float | None:
        """Return the geometric mean of the range, rounded to one digit."""
        return None if self.low is None or self.high is None else float(f"{sqrt(self.low * self.high):.0e}")


def range_test(states: Iterable[TrainingState], steps: int = STEPS) -> LrRange:
    """Train each of `states` for `steps` steps with learning rates from `LOWEST` to `HIGHEST`.

    The states are of no use afterwards.
    """
    lrs = np.geomspace(LOWEST, HIGHEST, steps)
    losses = np.array([_smooth(_losses(state, lrs)) for state in states])
    median = np.median(losses, axis=0)
    low, high = _usable(lrs, median)
    diverged = np.flatnonzero(~(median <= DIVERGED * median[0]))
    return LrRange(lrs, losses, median, low, high, float(lrs[diverged[0]]) if len(diverged) else None)


def _usable(lrs: Array, median: Array) -> tuple[float | None, float | None]:
    """Return the ends of the range of learning rates, or None if the loss does not fall."""
    fall = median[0] - median.min()
    if not fall > MIN_FALL * median[0]:
        return None, None
    least = np.minimum.accumulate(median)
    rises = np.flatnonzero((median > least + RISE * fall) & (least < median[0] - fall / 2))
    before = median[: rises[0]] if len(rises) else median  # saturated outputs can make the loss fall once more
    lowest = int(np.flatnonzero(before <= before.min() + FLAT * fall)[0])
    slopes = np.diff(before[: lowest + 1]) / np.diff(np.log(lrs[: lowest + 1]))
    low, high = sorted((float(lrs[slopes.argmin() + 1]), float(lrs[lowest]) * MARGIN))
    return low, high


def _losses(state: TrainingState, lrs: Array) -> Array:
    """Return the loss of the batch of each step [steps], infinite after a loss that is not finite."""
    losses = np.full(len(lrs), np.inf)
    for number, (lr, micro_batches) in enumerate(zip(lrs, _endless(state), strict=False)):
        state.set_lr(float(lr) / state.base_lrs[0])
        state.train_mode()
        state.seed_dropout()
        state.totals = Totals.empty(state.setup.device)
        try:
            train_step(state, micro_batches)
        except DivergedError:
            break
        losses[number] = state.totals.averages()[0]  # of the weights before the step
        state.step += 1
        if not np.isfinite(losses[number]):
            break
    return losses


def _endless(state: TrainingState) -> Iterator[list[Batch]]:
    """Yield the micro-batches of one step after the other, epoch after epoch."""
    while True:
        batches = state.batches()
        while micro_batches := list(islice(batches, state.setup.micro_batches_per_step)):
            yield micro_batches
        state.epoch, state.step = state.epoch + 1, 0


def _smooth(losses: Array) -> Array:
    """Return the moving average of `losses` [steps], divided by the sum of its factors."""
    mean, smooth = 0.0, np.full(len(losses), np.inf)
    for number, loss in enumerate(losses):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        smooth[number] = mean / (1 - SMOOTHING ** (number + 1))
    return smooth
