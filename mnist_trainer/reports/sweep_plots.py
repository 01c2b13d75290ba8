"""The plots of a sweep: trials in, the bytes of an image out; no pyplot, no Optuna."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.config.sweep import label
from mnist_trainer.reports.callbacks import TrialRow
from mnist_trainer.reports.canvas import BLUE, GREEN, GREY, MAX_WIDTH, ORANGE, FileFormat, render
from mnist_trainer.reports.curves import LOG_SCALE_DECADES, orders_of_magnitude, set_epoch_ticks, set_log_scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRIALS_A_KEY = 10
"""With fewer finished trials for each key, importances are unreliable."""


class SweepPlots:
    """Draws the finished and pruned trials of a sweep; `objective` is `val_loss` or `val_accuracy` (in percent)."""

    def __init__(self, name: str, rows: Sequence[TrialRow], objective: str, file_format: FileFormat = "png") -> None:
        self.name, self.rows, self.file_format = name, rows, file_format
        self.is_loss = objective == "val_loss"
        self.factor, self.unit = (1.0, "validation loss") if self.is_loss else (100.0, "validation accuracy (%)")
        self.finished = [row for row in rows if row.status == "finished" and row.value is not None]
        self.values = [self.factor * (row.value or 0.0) for row in self.finished]

    @property
    def best(self) -> int:
        """The index of the best trial among the finished ones."""
        return int(np.argmin(self.values) if self.is_loss else np.argmax(self.values))

    def history(self) -> bytes:
        """Draw the objective of each trial, and the best one so far."""
        numbers = [row.trial for row in self.finished]
        pruned = {row.trial: row.value for row in self.rows if row.status == "pruned" and row.value is not None}
        best = (np.minimum if self.is_loss else np.maximum).accumulate(self.values)

        def draw(figure: Figure) -> None:
            axes = figure.add_subplot(xlabel="trial", ylabel=self.unit)
            axes.plot(numbers, best, color=GREEN, drawstyle="steps-post", label="best until then")
            axes.plot(numbers, self.values, "o", color=BLUE, label="finished")
            if pruned:
                heights = self.factor * np.array(list(pruned.values()))
                axes.plot(list(pruned), heights, "x", color=GREY, label="pruned")
            _finish(axes, self.values, [*numbers, *pruned])
            figure.legend(loc="outside lower center", ncols=3)

        return self._render(500, "the best value until each trial", draw)

    def curves(self) -> bytes:
        """Draw the objective after each epoch of each trial."""
        best = self.finished[self.best]

        def draw(figure: Figure) -> None:
            axes = figure.add_subplot(xlabel="epoch", ylabel=self.unit)
            rows = [*(row for row in self.rows if row.curve and row is not best), best]
            for row in rows:
                style: dict[str, Any] = {"color": GREY, "alpha": 0.5, "linewidth": 1.2}
                if row is best:
                    style = {"color": GREEN, "linewidth": 2.2, "label": f"best: trial {best.trial}"}
                elif row.status == "pruned":
                    style["linestyle"] = "--"
                values = [self.factor * value for value in row.curve.values()]
                axes.plot(list(row.curve), values, marker="o", ms=3, **style)
            axes.plot([], [], color=GREY, label="other trials")
            axes.plot([], [], color=GREY, linestyle="--", label="pruned")
            epochs = [epoch for row in rows for epoch in row.curve]
            values = [self.factor * value for row in rows for value in row.curve.values()]
            _finish(axes, values, epochs)
            figure.legend(loc="outside lower center", ncols=3)

        return self._render(500, "each trial's epochs", draw)

    def slice(self) -> bytes:
        """Draw the objective over the values of each key."""
        keys = list(self.finished[self.best].values)
        columns = min(3, len(keys))
        rows = ceil(len(keys) / columns)

        def draw(figure: Figure) -> None:
            for position, key in enumerate(keys, start=1):
                axes = figure.add_subplot(rows, columns, position, xlabel=key)
                axes.set_ylabel(self.unit if position % columns == 1 or columns == 1 else "")
                positions, ticks = _positions([row.values.get(key) for row in self.finished])
                axes.plot(positions, self.values, "o", color=BLUE, alpha=0.7)
                axes.plot(positions[self.best], self.values[self.best], "D", color=GREEN, ms=9)
                if ticks:
                    axes.set_xticks(range(len(ticks)), ticks, rotation=0 if len("".join(ticks)) < 40 // columns else 30)
                    axes.margins(x=0.2)
                else:
                    set_log_scale(axes, positions, "x")
                _finish(axes, self.values)

        return self._render(360 * rows + 60, "the finished trials by each key; the best one is a diamond", draw)

    def parallel(self) -> bytes:
        """Draw a line through the values of each finished trial; better ones are darker."""
        keys = list(self.finished[self.best].values)
        order = np.argsort(self.values, kind="stable")[:: -1 if self.is_loss else 1]

        def draw(figure: Figure) -> None:
            axes = figure.add_subplot()
            heights, ends = [], []
            columns: list[list[Any]] = [[row.values.get(key) for row in self.finished] for key in keys]
            for values in [self.values, *columns]:
                positions, ticks = _positions(values)
                ends.append((ticks[0], ticks[-1]) if ticks else (f"{positions.min():.4g}", f"{positions.max():.4g}"))
                is_wide = not ticks and orders_of_magnitude(positions) > LOG_SCALE_DECADES
                scaled = np.log10(positions) if is_wide else positions
                low, high = scaled.min(), scaled.max()
                heights.append((scaled - low) / (high - low) if high > low else np.full(len(scaled), 0.5))
            lines = np.array(heights).T
            for rank, index in enumerate(order):
                axes.plot(lines[index], color=BLUE, linewidth=1.2, alpha=0.1 + 0.7 * rank / len(order))
            axes.plot(lines[self.best], color=GREEN, linewidth=2.5)
            for position, (low, high) in enumerate(ends):
                axes.axvline(position, color=GREY, linewidth=0.8)
                for height, text, side in ((-0.03, low, "top"), (1.03, high, "bottom")):
                    axes.text(position, height, text, ha="center", va=side, fontsize=9)
            axes.set_xticks(range(len(ends)), [self.unit, *keys])
            axes.tick_params(axis="x", length=0, pad=18)
            axes.set(ylim=(-0.05, 1.12), yticks=[])
            axes.spines[:].set_visible(False)

        return self._render(520, "each finished trial is a line, the better the darker; the best one is green", draw)

    def importance(self, importances: Mapping[str, float]) -> bytes:
        """Draw the share of the objective's variance that each key explains, as Optuna estimates it."""
        count = len(self.finished)
        few = ", too few to rely on" if count < TRIALS_A_KEY * len(importances) else ""

        def draw(figure: Figure) -> None:
            axes = figure.add_subplot(xlabel=f"share of the spread of {self.unit} that a key explains")
            keys, shares = list(importances)[::-1], list(importances.values())[::-1]
            bars = axes.barh(keys, shares, color=ORANGE if few else BLUE)
            axes.bar_label(bars, [f"{share:.2f}" for share in shares], padding=4)
            axes.set_xlim(0, 1.1)

        title = f"importance of each key, estimated from {count} finished trials{few}"
        return self._render(140 + 45 * len(importances), title, draw)

    def _render(self, height: int, about: str, draw: Any) -> bytes:
        return render((min(MAX_WIDTH, 1000), max(240, height)), f"{self.name}: {about}", draw, self.file_format)


def _positions(values: Sequence[Any]) -> tuple[NDArray[np.float64], list[str]]:
    """Return the positions of values on an axis, and the labels of values that are not numbers."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return np.array(values, np.float64), []
    texts = [label(value) for value in values]
    names = list(dict.fromkeys(texts))
    return np.array([names.index(text) for text in texts], np.float64), names


def _finish(axes: Axes, values: Sequence[float], numbers: Sequence[int] = ()) -> None:
    """Add a grid, a logarithmic scale if the values range widely, and ticks at whole `numbers`, if given."""
    set_log_scale(axes, np.array(values, np.float64))
    axes.grid(visible=True)
    if numbers:
        set_epoch_ticks(axes, np.array(numbers, np.float64))
