"""Plots of metrics over epochs: of one training, and of many runs; rows of `metrics.csv` in, bytes out; no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.reports.canvas import BLUE, GREEN, GREY, MAX_WIDTH, ORANGE, FileFormat, render
from mnist_trainer.reports.text import plural, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mnist_trainer.training.lr_finder import LrRange

Style = dict[str, Any]
Values = NDArray[np.float64]
MetricsRow = Mapping[str, float | int | str | None]

MAX_EPOCHS_WITH_POINTS = 10
"""The largest number of epochs for which the points within epochs are drawn."""

LOG_SCALE_DECADES = 1.3
"""Orders of magnitude between values from which on an axis is logarithmic."""

POINT = ("epoch", "train_loss", "train_accuracy", "lr")
"""What a point within an epoch consists of."""

FORMS = {"loss": "{:.4f}", "accuracy": "{:.2f} %"}


@dataclass(frozen=True)
class TrainingSummary:
    """What the plot of a training shows besides its rows.

    `points` within the epochs are as `EpochRecord.curve` holds them. `monitor` is the metric of early stopping
    (None with `training.keep: last`), `patience` is None without it; `reason` says why the training stopped; `loss`
    names the loss.
    """

    best_epoch: int | None = None
    monitor: str | None = "val_loss"
    points: Sequence[tuple[float, float, float, float]] = ()
    num_bad_epochs: int = 0
    patience: int | None = None
    reason: str = ""
    loss: str = "loss"


def curves(rows: Sequence[MetricsRow], summary: TrainingSummary, title: str, file_format: FileFormat = "png") -> bytes:
    """Draw loss, accuracy and learning rate over the epochs, and mark the best epoch.

    Accuracies are fractions in `rows` and percent in the plot. Missing and non-finite values are left out.
    """
    is_short = len(rows) <= min(MAX_EPOCHS_WITH_POINTS, len(summary.points) - 1)
    within = [dict(zip(POINT, point, strict=True)) for point in summary.points] if is_short else []

    def draw(figure: Figure) -> None:
        epochs, positions = column(rows, "epoch"), column(within, "epoch")
        grid = figure.add_gridspec(2, 2, height_ratios=(4, 1))
        loss = figure.add_subplot(grid[0, 0], title="loss", ylabel=summary.loss)
        losses = [column(rows, "train_loss"), column(rows, "val_loss"), column(within, "train_loss")]
        set_log_scale(loss, np.concatenate(losses))
        accuracy = figure.add_subplot(grid[0, 1], title="accuracy", ylabel="accuracy (%)")
        rate = figure.add_subplot(grid[1, :], title="learning rate")
        if is_short:
            style: Any = {"color": BLUE, "alpha": 0.5, "linewidth": 1.2, "label": "train, within the epoch"}
            loss.plot(positions, column(within, "train_loss"), **style)
            accuracy.plot(positions, 100 * column(within, "train_accuracy"), **style)
            rate.plot(positions, column(within, "lr"), color=GREY, linewidth=1.2)
        _draw_pair(loss, rows, summary, "loss")
        _draw_pair(accuracy, rows, summary, "accuracy")
        line = {"linewidth": 0} if is_short else {}
        rate.plot(epochs, column(rows, "lr"), color=GREY, **_point_style(epochs) | line)
        rate.margins(y=0.2)
        rate.set_ylim(bottom=0)
        rate.locator_params(axis="y", nbins=3)
        for axes in (loss, accuracy, rate):
            axes.set_xlabel("epoch")
            set_epoch_ticks(axes, epochs, first=0 if is_short else None)

    return render((MAX_WIDTH, 620), f"{title}: {summary.reason}" if summary.reason else title, draw, file_format)


def _draw_pair(axes: Axes, rows: Sequence[MetricsRow], summary: TrainingSummary, kind: str) -> None:
    """Draw training and validation metrics; the best epoch has a line, a marker and its value in the legend."""
    epochs = column(rows, "epoch")
    factor = 100 if kind == "accuracy" else 1
    train, validation = (factor * column(rows, f"{split}_{kind}") for split in ("train", "val"))
    validated = bool(np.isfinite(validation).any())
    axes.plot(epochs, train, color=BLUE, label="train, mean of the epoch", **_point_style(epochs))
    if validated:
        axes.plot(epochs, validation, color=ORANGE, label="validation", **_point_style(epochs))
    for position in np.flatnonzero(epochs == summary.best_epoch)[-1:]:
        value = (validation if validated else train)[position]
        axes.axvline(epochs[position], color=GREEN, linestyle="--", linewidth=1)
        why = f"best by {summary.monitor}" if validated and summary.monitor else "kept, the last one"
        label = f"{why}: epoch {summary.best_epoch}, {FORMS[kind].format(value)}"
        axes.plot(epochs[position], value, "D", color=GREEN, fillstyle="none", ms=9, mew=2, label=label)
        if validated and f"val_{kind}" != summary.monitor:
            _mark_other_best(axes, epochs, validation, position, kind)
    if summary.num_bad_epochs and len(epochs):
        start, end = epochs.max() - summary.num_bad_epochs, epochs.max()
        label = f"{plural(summary.num_bad_epochs, 'epoch')} without improvement (patience {summary.patience})"
        axes.axvspan(start, end, color=GREY, alpha=0.13, linewidth=0, label=label)
    axes.grid(visible=True)
    # Losses fall and accuracies rise. matplotlib's "best" location avoids the shaded area and covers curves.
    axes.legend(loc="upper right" if kind == "loss" else "lower right", fontsize=10)


def _mark_other_best(axes: Axes, epochs: Values, values: Values, best: int, kind: str) -> None:
    """Mark the best epoch by a metric that does not choose the one kept, if it is another epoch."""
    heights = np.where(np.isfinite(values), values if kind == "accuracy" else -values, -np.inf)
    highest = int(heights.argmax())
    if heights[highest] > heights[best]:
        word = "highest" if kind == "accuracy" else "lowest"
        label = f"{word} val_{kind}: epoch {epochs[highest]:.0f}, {FORMS[kind].format(values[highest])}"
        axes.plot(epochs[highest], values[highest], "s", color=GREY, fillstyle="none", ms=9, mew=2, label=label)


def column(rows: Sequence[MetricsRow], name: str) -> Values:
    """Return one column as numbers [rows], NaN for missing and non-finite values."""
    values = [row.get(name) for row in rows]
    array = np.array([np.nan if value in (None, "") else value for value in values], np.float64)
    return np.where(np.isfinite(array), array, np.nan)


def _point_style(epochs: Values) -> dict[str, Any]:
    """Return a line style with a dot at each epoch, without dots if there are many; one epoch alone has no line."""
    return {"marker": "o" if len(epochs) <= 40 else "", "markersize": 4, "linewidth": 1.8}


def set_epoch_ticks(axes: Axes, epochs: Values, first: float | None = None) -> None:
    """Put ticks at whole numbers, from `first` on; without it, leave half an epoch of space on both sides."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True, min_n_ticks=1))
    if len(epochs):
        low, high = epochs.min(), epochs.max()
        axes.set_xlim(*((low - 0.5, high + 0.5) if first is None else (first, high + 0.04 * (high - first))))


def orders_of_magnitude(values: Values) -> float:
    """Return the powers of ten between smallest and largest value; 0 if a value has no logarithm."""
    values = values[np.isfinite(values)]
    return float(np.log10(values.max()) - np.log10(values.min())) if values.size and values.min() > 0 else 0.0


def set_log_scale(axes: Axes, values: Values, which: Literal["x", "y"] = "y") -> bool:
    """Make an axis logarithmic if `values` range widely, with labels at 1, 10, …, of the y axis also at 2, 5, 20, …"""
    from matplotlib.ticker import LogLocator, NullLocator

    orders = orders_of_magnitude(values)
    if orders <= LOG_SCALE_DECADES:
        return False
    axes.set(**{f"{which}scale": "log"})
    axis = axes.yaxis if which == "y" else axes.xaxis
    # With more decades matplotlib labels none of the ticks at 2 and 5.
    ticks = LogLocator(subs=(1, 2, 5) if orders < 3 else (1,)) if which == "y" else LogLocator(numticks=5)
    axis.set_major_locator(ticks)
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())
    return True


COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES: list[Style] = [{"color": colour, "marker": marker} for marker, colour in product(("", "o", "^", "s"), COLOURS)]
"""The styles that tell runs apart."""

TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
"""Errors in percent that are labelled on the axis."""


@dataclass(frozen=True)
class RunCurve:
    """The rows of `metrics.csv` of a run, the kind of its loss and its data set (`task`).

    Only runs with the same kind and data set can be compared. Runs of a series or sweep share a label and a style.
    """

    label: str
    loss_kind: str
    rows: Sequence[MetricsRow]
    task: str = ""

    @property
    def split(self) -> str:
        """The split that is drawn: val, or train without validation."""
        validated = [np.isfinite(column(self.rows, f"val_{name}")).any() for name in ("accuracy", "loss")]
        return "val" if any(validated) else "train"

    @property
    def name(self) -> str:
        """The label, with a note if the run has no validation."""
        return self.label if self.split == "val" else f"{self.label} (training: it has no validation)"

    def losses(self) -> Values:
        """Return the loss of each epoch."""
        return column(self.rows, f"{self.split}_loss")

    def errors(self) -> Values:
        """Return the error rate of each epoch in percent."""
        return 100 - 100 * column(self.rows, f"{self.split}_accuracy")


def overlaid_curves(runs: Sequence[RunCurve], title: str) -> bytes:
    """Draw validation losses, a panel for each kind, and accuracies, a panel for each data set.

    A run without validation is dashed. The last 28 names have a style each, earlier ones are grey.
    """
    names = list(dict.fromkeys(run.name for run in runs))
    earlier = max(0, len(names) - len(STYLES))
    grey: Style = {"color": GREY, "alpha": 0.4}
    styles = dict(zip(names, [grey] * earlier + STYLES, strict=False))
    kinds = list(dict.fromkeys((run.task, run.loss_kind) for run in runs))
    tasks = list(dict.fromkeys(run.task for run in runs))
    panels = len(kinds) + len(tasks)
    height = ceil(panels / 2)
    if panels > 2:
        different = "losses of different kinds" if len(tasks) == 1 else "different data sets"
        title = f"{title}; {different} can't be compared"
    columns = 3 if max(map(len, names)) <= MAX_WIDTH // 33 else 2

    def draw(figure: Figure) -> None:
        axes = [figure.add_subplot(height, 2, position + 1) for position in range(panels)]
        for panel, (task, kind) in zip(axes, kinds, strict=False):
            alike = [run for run in runs if (run.task, run.loss_kind) == (task, kind)]
            about = ", ".join([*([kind] if len(kinds) > 1 else []), *([task] if len(tasks) > 1 else [])])
            heading = f"validation loss: {about}" if about else "validation loss"
            panel.set_title(shorten(heading, 56) + _clip_diverged(panel, alike))
            _draw_curves(panel, alike, styles, RunCurve.losses)
        for panel, task in zip(axes[len(kinds) :], tasks, strict=True):
            alike = [run for run in runs if run.task == task]
            panel.set_title(shorten("validation accuracy (%)" + (f": {task}" if len(tasks) > 1 else ""), 60))
            _draw_curves(panel, alike, styles, RunCurve.errors)
            _set_accuracy_axis(panel, np.concatenate([run.errors() for run in alike]))
        drawn = (panel.get_legend_handles_labels() for panel in axes)
        handles = {name: handle for found in drawn for handle, name in zip(*found, strict=True)}
        shown = {f"{earlier} before these": handles[names[0]]} if earlier else {}
        shown |= {shorten(name, MAX_WIDTH // 11 // columns): handles[name] for name in names[earlier:]}
        figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=columns, fontsize=10)

    return render((MAX_WIDTH, 440 * height + 22 * ceil(min(len(names), len(STYLES) + 1) / columns) + 60), title, draw)


def _clip_diverged(axes: Axes, runs: Sequence[RunCurve]) -> str:
    """Scale the loss axis to the runs that did not diverge; return a note on how many go beyond it."""
    losses = [known for run in runs if (known := run.losses()[np.isfinite(run.losses())]).size]
    if not losses:
        return ""
    typical = sorted(float(each[-1]) for each in losses)[(len(losses) - 1) // 2]
    converged = [each for each in losses if each[-1] <= 10 * typical] or losses
    top = max(max(each[0], each[-1], float(np.median(each))) for each in converged)
    beyond = sum(bool((each > top).any()) for each in losses if each.max() > 3 * top)
    shown = np.concatenate(losses)
    shown = shown[shown <= top] if beyond else shown
    is_logarithmic = set_log_scale(axes, shown)
    if beyond:
        low = float(shown.min())
        room = 0.05 * (top - low or abs(top) or 1.0)
        axes.set_ylim(*((low / 1.1, top * 1.1) if is_logarithmic else (low - room, top + room)))
    return f" ({beyond} go{'es' if beyond == 1 else ''} beyond)" if beyond else ""


def _draw_curves(
    axes: Axes, runs: Sequence[RunCurve], styles: Mapping[str, Style], values_of: Callable[[RunCurve], Values]
) -> None:
    """Draw a curve for each run."""
    for run in runs:
        values = values_of(run)
        marker = {"marker": "D"} if len(values) == 1 else {}  # a single epoch has no line
        axes.plot(
            column(run.rows, "epoch"),
            values,
            label=run.name,
            linestyle="-" if run.split == "val" else "--",
            linewidth=1.4,
            markersize=5,
            markevery=max(1, len(values) // 10),
            **(styles[run.name] | marker),
        )
    axes.grid(visible=True)
    axes.set_xlabel("epoch")
    set_epoch_ticks(axes, np.concatenate([column(run.rows, "epoch") for run in runs]))


def _set_accuracy_axis(axes: Axes, errors: Values) -> None:
    """Label error rates as accuracies, on a scale with most space near 100 %."""
    positive = errors[errors > 0]
    if positive.size and positive.max() > 5 * positive.min():
        smallest = max(0.01, float(positive.min()))  # linear below it, so that an error of 0 can be shown
        axes.set_yscale("symlog", linthresh=smallest, linscale=0.3)
        axes.set_yticks([0, *(error for error in TICKS if error >= smallest)])
        axes.set_ylim(0 if (errors <= 0).any() else 0.9 * smallest, 1.1 * float(positive.max()))
    axes.invert_yaxis()
    axes.yaxis.set_major_formatter(lambda error, _: f"{100 - error:g}")


def draw_lr_range(found: LrRange, title: str) -> bytes:
    """Return the learning rate range test: the losses of each run and their median, the range, and the divergence."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for number, losses in enumerate(found.losses):
            axes.plot(found.lrs, losses, color=BLUE, alpha=0.35, linewidth=1, label="" if number else "each seed")
        axes.plot(found.lrs, found.median, color=BLUE, linewidth=2, label="median")
        if found.low is not None and found.high is not None:
            label = f"range {found.low:.2g} to {found.high:.2g}"
            axes.axvspan(found.low, found.high, color=GREEN, alpha=0.2, linewidth=0, label=label)
        if found.diverges is not None:
            axes.axvline(found.diverges, color=ORANGE, linestyle="--", label=f"diverges at {found.diverges:.2g}")
        axes.set(xscale="log", xlabel="learning rate of the step", ylabel="loss of the batch, moving average")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_ylim(0, 1.6 * found.median[0])
        axes.grid(visible=True)
        axes.legend(loc="lower left")

    return render((MAX_WIDTH, 620), title, draw)
