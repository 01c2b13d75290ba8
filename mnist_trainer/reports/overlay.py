"""The drawing of many runs: their curves over each other. Plain values in, the bytes of a PNG out; no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.reports.canvas import GREY, WIDEST, render
from mnist_trainer.reports.curves import Row, by_logarithm, column_of, orders_of_magnitude, whole_epochs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LOOKS = [{"color": colour, "marker": marker} for marker, colour in product(("", "o", "^", "s"), COLOURS)]
"""So many runs can be told apart."""

TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
"""Errors in percent that are named on the axis."""

Look = dict[str, Any]
Figures = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """One run: its rows of `metrics.csv`, and what its losses are; only those of the same kind can be compared."""

    label: str
    loss_kind: str
    rows: Sequence[Row]

    @property
    def part(self) -> str:
        """The figures that are drawn: val, but train without validation."""
        return "val" if np.isfinite(column_of(self.rows, "val_accuracy")).any() else "train"


def overlay(runs: Sequence[Curve], title: str) -> bytes:
    """Validation losses, a panel for each kind, and accuracies in percent; a run without validation is dashed.

    The last 28 runs have a look of their own, those before them are grey.
    """
    earlier = max(0, len(runs) - len(LOOKS))
    looks = [{"color": GREY, "alpha": 0.4}] * earlier + LOOKS[: len(runs)]
    dressed = list(zip(runs, looks, strict=True))
    kinds = list(dict.fromkeys(run.loss_kind for run in runs))
    height = ceil((len(kinds) + 1) / 2)
    if len(kinds) > 1:
        title = f"{title}; losses of different kinds can't be compared"

    def draw(figure: Figure) -> None:
        *panels, last = (figure.add_subplot(height, 2, place + 1) for place in range(len(kinds) + 1))
        for panel, kind in zip(panels, kinds, strict=True):
            panel.set_title("validation loss" if len(kinds) == 1 else f"validation loss: {kind}")
            alike = [(run, look) for run, look in dressed if run.loss_kind == kind]
            _draw(panel, alike, _losses)
            if orders_of_magnitude([_losses(run) for run, _ in alike]) > 1.3:
                by_logarithm(panel)
        last.set_title("validation accuracy (%)")
        _draw(last, dressed, _errors)
        _stretch(last, np.concatenate([_errors(run) for run in runs]))
        handles, labels = last.get_legend_handles_labels()
        if earlier:
            handles, labels = handles[earlier - 1 :], [f"{earlier} before these", *labels[earlier:]]
        figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=10)

    legend = ceil(min(len(runs), len(LOOKS) + 1) / 3)
    return render((WIDEST, 440 * height + 22 * legend + 60), title, draw)


def _losses(run: Curve) -> Figures:
    return column_of(run.rows, f"{run.part}_loss")


def _errors(run: Curve) -> Figures:
    """In percent: what is missing to an accuracy of 100."""
    return 100 - 100 * column_of(run.rows, f"{run.part}_accuracy")


def _draw(axes: Axes, runs: Sequence[tuple[Curve, Look]], figures_of: Callable[[Curve], Figures]) -> None:
    for run, look in runs:
        figures = figures_of(run)
        is_alone = len(figures) == 1  # a single epoch has no line to be seen by
        axes.plot(
            column_of(run.rows, "epoch"),
            figures,
            label=run.label if run.part == "val" else f"{run.label} (training: it has no validation)",
            linestyle="-" if run.part == "val" else "--",
            linewidth=1.4,
            markersize=5,
            markevery=max(1, len(figures) // 10),
            **(look | ({"marker": "D"} if is_alone else {})),
        )
    axes.grid(visible=True)
    axes.set_xlabel("epoch")
    whole_epochs(axes, np.concatenate([column_of(run.rows, "epoch") for run, _ in runs]))


def _stretch(axes: Axes, errors: Figures) -> None:
    """Shows errors as accuracies, with most room near 100 %, where a tenth makes a difference."""
    some = errors[errors > 0]
    if some.size and some.max() > 5 * some.min():
        smallest = max(0.01, float(some.min()))  # no logarithms below it, so that an error of 0 has its place
        axes.set_yscale("symlog", linthresh=smallest, linscale=0.3)
        axes.set_yticks([0, *(error for error in TICKS if error >= smallest)])
        axes.set_ylim(0 if (errors <= 0).any() else 0.9 * smallest, 1.1 * float(some.max()))
    axes.invert_yaxis()
    axes.yaxis.set_major_formatter(lambda error, _: f"{100 - error:g}")
