"""The drawing of many runs: their curves over each other. Plain values in, the bytes of a PNG out; no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.reports.canvas import GREY, MAX_WIDTH, render
from mnist_trainer.reports.curves import MetricsRow, column, set_epoch_ticks, set_log_scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = [{"color": colour, "marker": marker} for marker, colour in product(("", "o", "^", "s"), COLOURS)]
"""So many runs can be told apart."""

TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
"""Errors in percent that are named on the axis."""

Style = dict[str, Any]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class RunCurve:
    """One run: its rows of `metrics.csv`, the kind of its loss, and its data set.

    Only runs of one kind or data set can be compared. Runs of one series or sweep share a label and a look.
    """

    label: str
    loss_kind: str
    rows: Sequence[MetricsRow]
    task: str = ""

    @property
    def part(self) -> str:
        """The figures that are drawn: val, but train without validation."""
        validated = [np.isfinite(column(self.rows, f"val_{name}")).any() for name in ("accuracy", "loss")]
        return "val" if any(validated) else "train"

    @property
    def name(self) -> str:
        """The label, with a note if the run has no validation."""
        return self.label if self.part == "val" else f"{self.label} (training: it has no validation)"


def overlaid_curves(runs: Sequence[RunCurve], title: str) -> bytes:
    """Validation losses, a panel for each kind, and accuracies in percent, a panel for each data set; a run without
    validation is dashed.

    The last 28 names have a look of their own, those before them are grey.
    """
    names = list(dict.fromkeys(run.name for run in runs))
    earlier = max(0, len(names) - len(STYLES))
    styles: dict[str, Style] = {name: {"color": GREY, "alpha": 0.4} for name in names[:earlier]}
    styles |= dict(zip(names[earlier:], STYLES, strict=False))
    kinds = list(dict.fromkeys((run.task, run.loss_kind) for run in runs))
    tasks = list(dict.fromkeys(run.task for run in runs))
    panels = len(kinds) + len(tasks)
    height = ceil(panels / 2)
    if panels > 2:
        title = (
            f"{title}; {'losses of different kinds' if len(tasks) == 1 else 'different data sets'} can't be compared"
        )
    columns = 3 if max(map(len, names)) <= MAX_WIDTH // 33 else 2

    def draw(figure: Figure) -> None:
        axes = [figure.add_subplot(height, 2, position + 1) for position in range(panels)]
        for panel, (task, kind) in zip(axes, kinds, strict=False):
            alike = [run for run in runs if (run.task, run.loss_kind) == (task, kind)]
            about = ", ".join([*([kind] if len(kinds) > 1 else []), *([task] if len(tasks) > 1 else [])])
            heading = f"validation loss: {about}" if about else "validation loss"
            panel.set_title(shorten(heading, 56) + _clip_diverged(panel, alike))
            _draw_curves(panel, alike, styles, _loss_values)
        for panel, task in zip(axes[len(kinds) :], tasks, strict=True):
            alike = [run for run in runs if run.task == task]
            panel.set_title(shorten("validation accuracy (%)" + (f": {task}" if len(tasks) > 1 else ""), 60))
            _draw_curves(panel, alike, styles, _error_values)
            _set_accuracy_axis(panel, np.concatenate([_error_values(run) for run in alike]))
        drawn = (panel.get_legend_handles_labels() for panel in axes)
        handles = {name: handle for found in drawn for handle, name in zip(*found, strict=True)}
        shown = {f"{earlier} before these": handles[names[0]]} if earlier else {}
        shown |= {shorten(name, MAX_WIDTH // 11 // columns): handles[name] for name in names[earlier:]}
        figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=columns, fontsize=10)

    return render((MAX_WIDTH, 440 * height + 22 * ceil(min(len(names), len(STYLES) + 1) / columns) + 60), title, draw)


def shorten(text: str, most: int) -> str:
    """Return at most so many characters of `text`; a longer one loses its middle."""
    half = (most - 1) // 2
    return text if len(text) <= most else f"{text[:half]}…{text[-half:]}"


def _loss_values(run: RunCurve) -> Values:
    return column(run.rows, f"{run.part}_loss")


def _error_values(run: RunCurve) -> Values:
    """In percent: what is missing to an accuracy of 100."""
    return 100 - 100 * column(run.rows, f"{run.part}_accuracy")


def _clip_diverged(axes: Axes, runs: Sequence[RunCurve]) -> str:
    """Scale the loss axis to the runs that did not diverge; return a note on how many go beyond it."""
    losses = [found for run in runs if (found := (column := _loss_values(run))[np.isfinite(column)]).size]
    if not losses:
        return ""
    usual = sorted(float(each[-1]) for each in losses)[(len(losses) - 1) // 2]
    sane = [each for each in losses if each[-1] <= 10 * usual] or losses
    top = max(max(each[0], each[-1], float(np.median(each))) for each in sane)
    beyond = sum(bool((each > top).any()) for each in losses if each.max() > 3 * top)
    shown = np.concatenate(losses)
    shown = shown[shown <= top] if beyond else shown
    is_logarithmic = set_log_scale(axes, [shown])
    if beyond:
        low = float(shown.min())
        room = 0.05 * (top - low or abs(top) or 1.0)
        axes.set_ylim(*((low / 1.1, top * 1.1) if is_logarithmic else (low - room, top + room)))
    return f" ({beyond} go{'es' if beyond == 1 else ''} beyond)" if beyond else ""


def _draw_curves(
    axes: Axes, runs: Sequence[RunCurve], styles: Mapping[str, Style], values_of: Callable[[RunCurve], Values]
) -> None:
    for run in runs:
        values = values_of(run)
        is_alone = len(values) == 1  # a single epoch has no line to be seen by
        axes.plot(
            column(run.rows, "epoch"),
            values,
            label=run.name,
            linestyle="-" if run.part == "val" else "--",
            linewidth=1.4,
            markersize=5,
            markevery=max(1, len(values) // 10),
            **(styles[run.name] | ({"marker": "D"} if is_alone else {})),
        )
    axes.grid(visible=True)
    axes.set_xlabel("epoch")
    set_epoch_ticks(axes, np.concatenate([column(run.rows, "epoch") for run in runs]))


def _set_accuracy_axis(axes: Axes, errors: Values) -> None:
    """Shows errors as accuracies, with most room near 100 %, where a tenth makes a difference."""
    some = errors[errors > 0]
    if some.size and some.max() > 5 * some.min():
        smallest = max(0.01, float(some.min()))  # no logarithms below it, so that an error of 0 has its place
        axes.set_yscale("symlog", linthresh=smallest, linscale=0.3)
        axes.set_yticks([0, *(error for error in TICKS if error >= smallest)])
        axes.set_ylim(0 if (errors <= 0).any() else 0.9 * smallest, 1.1 * float(some.max()))
    axes.invert_yaxis()
    axes.yaxis.set_major_formatter(lambda error, _: f"{100 - error:g}")
