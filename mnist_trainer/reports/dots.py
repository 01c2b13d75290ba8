"""The drawing of a series: a dot for each run, and what all of them say together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mnist_trainer.inference.metrics import Spread
from mnist_trainer.reports.canvas import BLUE, GREEN, MAX_WIDTH, render
from mnist_trainer.reports.text import clip_to_range

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class SeedAccuracy(NamedTuple):
    """A run's accuracy and its own interval (low, high), as fractions."""

    seed: int
    accuracy: float
    interval: tuple[float, float]


def seed_accuracies(runs: Sequence[SeedAccuracy], whole: Spread, title: str, count: int, part: str = "test") -> bytes:
    """The accuracies of `runs` on the `count` images of `part`, and their mean, each with its interval."""
    positions = np.arange(len(runs))
    values = 100 * np.array([run.accuracy for run in runs])
    reach = np.abs(100 * np.array([run.interval for run in runs]).T - values)

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot(xlabel="seed", ylabel=f"{part} accuracy (%)")
        if whole.interval is not None:
            low, high = clip_to_range(whole.interval)
            label = "interval of the mean (other seeds)"
            axes.axhspan(100 * low, 100 * high, color=GREEN, alpha=0.15, linewidth=0, label=label)
        axes.axhline(100 * whole.mean, color=GREEN, label=f"mean {100 * whole.mean:.2f} %")
        label = f"a run (other {count:,} images)"
        axes.errorbar(positions, values, reach, fmt="o", color=BLUE, capsize=3, elinewidth=1.8, label=label)
        shown = positions[:: max(1, round(len(runs) / 25))]
        axes.set_xticks(shown, [str(runs[place].seed) for place in shown])
        axes.set_xlim(-0.5, len(runs) - 0.5)
        axes.grid(visible=True, axis="y")
        figure.legend(loc="outside lower center", ncols=3)

    return render((min(MAX_WIDTH, max(900, 60 * len(runs) + 200)), 480), title, draw)
