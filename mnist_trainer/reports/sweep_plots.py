"""The plots of a sweep: trials in, the bytes of an image out; no pyplot, no Optuna."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from mnist_trainer.config.sweep import label
from mnist_trainer.reports.callbacks import TrialRow
from mnist_trainer.reports.canvas import BLUE, GREEN, GREY, MAX_WIDTH, ORANGE, FileFormat, render
from mnist_trainer.reports.curves import LOG_SCALE_DECADES, orders_of_magnitude, set_epoch_ticks, set_log_scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRIALS_A_KEY = 10
"""With fewer finished trials for each key, importances are unreliable."""


@dataclass(frozen=True)
class SweepPlots:
    """Draws the finished and pruned trials of a sweep; `objective` is `val_loss` or `val_accuracy`."""

    name: str
    rows: Sequence[TrialRow]
    objective: str
    file_format: FileFormat = "png"

    @property
    def factor(self) -> float:
        """The factor of the objective in plots: accuracies are in percent."""
        return 100.0 if self.objective == "val_accuracy" else 1.0

    @property
    def unit(self) -> str:
        """The label of the objective on an axis."""
        return "validation accuracy (%)" if self.objective == "val_accuracy" else "validation loss"

    @property
    def finished(self) -> list[TrialRow]:
        """The finished trials that have a value."""
        return [row for row in self.rows if row.status == "finished" and row.value is not None]

    @property
    def best(self) -> TrialRow:
        """The finished trial with the best value."""
        sign = -1 if self.objective == "val_accuracy" else 1
        return min(self.finished, key=lambda row: sign * (row.value or 0.0))

    def value(self, row: TrialRow) -> float:
        """Return the objective of the best epoch of a trial, in the unit of the plots."""
        return self.factor * (row.value or 0.0)

    def history(self) -> bytes:
        """Draw the objective of each trial, and the best one so far."""
        pruned = [row for row in self.rows if row.status == "pruned" and row.value is not None]
        best = np.maximum.accumulate if self.objective == "val_accuracy" else np.minimum.accumulate

        def draw(figure: Figure) -> None:
            axes = figure.add_subplot(xlabel="trial", ylabel=self.unit)
            numbers, values = [row.trial for row in self.finished], [self.value(row) for row in self.finished]
            axes.plot(numbers, best(values), color=GREEN, drawstyle="steps-post", label="best until then")
            axes.plot(numbers, values, "o", color=BLUE, label="finished")
            if pruned:
                axes.plot([row.trial for row in pruned], list(map(self.value, pruned)), "x", color=GREY, label="pruned")
            _finish(axes, values, np.array([row.trial for row in (*self.finished, *pruned)], np.float64))
            figure.legend(loc="outside lower center", ncols=3)

        return self._render(500, "the best value until each trial", draw)

    def curves(self) -> bytes:
        """Draw the objective after each epoch of each trial."""
        best = self.best

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
            _finish(axes, values, np.array(epochs, np.float64))
            figure.legend(loc="outside lower center", ncols=3)

        return self._render(500, "each trial's epochs", draw)

    def slice(self) -> bytes:
        """Draw the objective over the values of each key."""
        keys = list(self.best.values)
        columns = min(3, len(keys))
        rows = ceil(len(keys) / columns)

        def draw(figure: Figure) -> None:
            for position, key in enumerate(keys, start=1):
                axes = figure.add_subplot(rows, columns, position, xlabel=key)
                axes.set_ylabel(self.unit if position % columns == 1 or columns == 1 else "")
                positions, ticks, is_wide = _positions([row.values.get(key) for row in self.finished])
                axes.plot(positions, [self.value(row) for row in self.finished], "o", color=BLUE, alpha=0.7)
                axes.plot(positions[self.finished.index(self.best)], self.value(self.best), "D", color=GREEN, ms=9)
                if ticks:
                    axes.set_xticks(range(len(ticks)), ticks, rotation=0 if len("".join(ticks)) < 40 // columns else 30)
                    axes.margins(x=0.2)
                elif is_wide:
                    _set_log_scale_x(axes)
                _finish(axes, [self.value(row) for row in self.finished])

        return self._render(360 * rows + 60, "the finished trials by each key; the best one is a diamond", draw)

    def parallel(self) -> bytes:
        """Draw a line through the values of each finished trial; better ones are darker."""
        keys = list(self.best.values)
        ordered = sorted(self.finished, key=self.value, reverse=self.objective == "val_loss")

        def draw(figure: Figure) -> None:
            axes = figure.add_subplot()
            heights, ends = [], []
            columns: list[list[Any]] = [[row.values.get(key) for row in ordered] for key in keys]
            for values in [list(map(self.value, ordered)), *columns]:
                positions, ticks, is_wide = _positions(values)
                scaled = np.log10(positions) if is_wide else np.array(positions, np.float64)
                low, high = scaled.min(), scaled.max()
                heights.append((scaled - low) / (high - low) if high > low else np.full(len(scaled), 0.5))
                ends.append((ticks[0], ticks[-1]) if ticks else (f"{min(positions):.4g}", f"{max(positions):.4g}"))
            for number, line in enumerate(np.array(heights).T):
                is_best = ordered[number] is self.best
                style: Any = {"color": GREEN, "linewidth": 2.5} if is_best else {"color": BLUE, "linewidth": 1.2}
                axes.plot(line, alpha=1.0 if is_best else 0.1 + 0.7 * number / len(ordered), **style)
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


def _positions(values: Sequence[Any]) -> tuple[list[float], list[str], bool]:
    """Return the positions of values on an axis, the labels of non-numeric ones, and whether to use a log scale."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        numbers = [float(value) for value in values]
        return numbers, [], orders_of_magnitude([np.array(numbers)]) > LOG_SCALE_DECADES
    names = list(dict.fromkeys(label(value) for value in values))
    return [float(names.index(label(value))) for value in values], names, False


def _set_log_scale_x(axes: Axes) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(numticks=5))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def _finish(axes: Axes, values: Sequence[float], numbers: Any = None) -> None:
    """Add a grid, a logarithmic scale if the values range widely, and ticks at whole numbers."""
    set_log_scale(axes, [np.array(values, np.float64)])
    axes.grid(visible=True)
    if numbers is not None:
        set_epoch_ticks(axes, numbers)
