"""The drawings of a run, each as the bytes of a PNG: plain values in, nothing written, no torch and no pyplot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.reports.canvas import BLUE, GREEN, GREY, ORANGE, PALE, WIDEST, png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = Mapping[str, float | int | str | None]

MOST_MISTAKES = 25
MOST_UNITS = 64


def curves(rows: Sequence[Row], best_epoch: int | None, title: str) -> bytes:
    """Loss, accuracy and learning rate by epoch, from rows of `metrics.csv`; `best_epoch` is marked.

    Accuracies are fractions in `rows` and percent in the drawing. What is None, or not finite, is left out.
    """

    def draw(figure: Figure) -> None:
        epochs = column_of(rows, "epoch")
        grid = figure.add_gridspec(2, 2, height_ratios=(5, 1))
        losses = [column_of(rows, name) for name in ("train_loss", "val_loss")]
        loss = figure.add_subplot(grid[0, 0], title="loss")
        if orders_of_magnitude(losses) > 1.3:
            by_logarithm(loss)
        _draw_pair(loss, epochs, losses, best_epoch, "{:.4f}")
        shares = [100 * column_of(rows, name) for name in ("train_accuracy", "val_accuracy")]
        _draw_pair(figure.add_subplot(grid[0, 1], title="accuracy (%)"), epochs, shares, best_epoch, "{:.2f} %")
        rate = figure.add_subplot(grid[1, :], title="learning rate", xlabel="epoch")
        rate.plot(epochs, column_of(rows, "lr"), color=GREY, **_marks(epochs))
        rate.margins(y=0.2)
        rate.set_ylim(bottom=0)
        rate.locator_params(axis="y", nbins=3)
        whole_epochs(rate, epochs)

    return png((WIDEST, 560), title, draw)


def confusion(matrix: NDArray[np.int64], classes: Sequence[str], title: str) -> bytes:
    """Counts [K, K], rows the labels, columns the answers; mistakes coloured by their share of the label's row."""
    count = len(classes)
    rates = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    np.fill_diagonal(rates, 0)
    worst = max(float(rates.max()), 0.001)
    cell = min(70, (WIDEST - 150) // count)

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot(xlabel="answer", ylabel="label")
        picture = axes.imshow(100 * rates, cmap="Oranges", vmin=0, vmax=100 * worst)
        for row, column in np.ndindex(matrix.shape):
            _write_count(axes, row, column, int(matrix[row, column]), float(rates[row, column]) / worst, cell)
        names = [_short(name, 18) for name in classes]
        upright = max(map(len, names)) * 8 < cell
        size = min(11, cell * 0.55)
        axes.set_xticks(range(count), names, rotation=0 if upright else 90, fontsize=size)
        axes.set_yticks(range(count), names, fontsize=size)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        bar = figure.colorbar(picture, ax=axes, fraction=0.04, pad=0.02, label="mistakes, % of the label's images")
        bar.outline.set_visible(False)

    return png((min(WIDEST, max(460, cell * count + 200)), max(420, cell * count + 130)), title, draw)


def mistakes(
    images: NDArray[np.uint8],
    labels: Sequence[str],
    predicted: Sequence[str],
    probabilities: Sequence[float | None],
    title: str,
) -> bytes:
    """The first 25 of `images` [n, 28, 28], each under its label, the answer, and the answer's probability (0 to 1)."""
    shown = min(len(images), MOST_MISTAKES)
    rows = ceil(shown / 5)
    wide, high = 36, 40  # of a picture with its words and what is around it, in the pixels of the picture
    mosaic = np.full((rows * high, 5 * wide), np.nan, np.float32)

    def draw(figure: Figure) -> None:
        if not shown:
            figure.text(0.5, 0.45, "There are no mistakes.", ha="center", va="center", fontsize=16, color=GREEN)
            return
        axes = figure.add_subplot()  # one for all: 25 of them would take four times as long
        for index in range(shown):
            y, x = index // 5 * high, index % 5 * wide
            mosaic[y + high - 28 : y + high, x + 4 : x + 32] = images[index]
            words = _verdict(labels[index], predicted[index], probabilities[index])
            axes.text(x + 17.5, y + high - 30, words, ha="center", va="bottom", fontsize=12, in_layout=False)
        axes.imshow(mosaic, cmap="gray", vmin=0, vmax=255)
        axes.set_axis_off()

    return png((1000, 70 + 225 * rows) if shown else (700, 200), title, draw)


def weights(pictures: NDArray[np.float32], title: str) -> bytes:
    """The weights [units, 28, 28] of the first 64 units as pictures on one scale: red above 0, blue below."""
    shown = pictures[:MOST_UNITS]
    columns = min(8, ceil(sqrt(len(shown))))
    rows = ceil(len(shown) / columns)
    sizes = np.abs(shown[np.isfinite(shown)])
    limit = float(np.percentile(sizes, 99.8) or sizes.max()) if sizes.any() else 1.0  # few outliers must not pale all
    high, wide = shown.shape[1] + 2, shown.shape[2] + 2
    mosaic = np.full((rows * high, columns * wide), np.nan, np.float32)

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for index, weight in enumerate(shown):
            y, x = index // columns * high, index % columns * wide
            mosaic[y + 1 : y + high - 1, x + 1 : x + wide - 1] = weight
            _rectangle(axes, (x + 0.5, y + 0.5), (wide - 2, high - 2), fill=False, edgecolor=GREY, linewidth=0.6)
        picture = axes.imshow(mosaic, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
        axes.set_axis_off()
        bar = figure.colorbar(picture, ax=axes, fraction=0.04, pad=0.02, extend="both", label="weight")
        bar.outline.set_visible(False)

    some = f" (the first {len(shown)} of {len(pictures)} units)" if len(pictures) > len(shown) else ""
    side = max(110, 380 // columns)
    return png((side * columns + 130, side * rows + 70), title + some, draw)


def column_of(rows: Sequence[Row], name: str) -> NDArray[np.float64]:
    """One column as numbers [rows], NaN where there is none."""
    values = [row.get(name) for row in rows]
    column = np.array([np.nan if value in (None, "") else float(value or 0) for value in values], np.float64)
    return np.where(np.isfinite(column), column, np.nan)


def _draw_pair(
    axes: Axes, epochs: NDArray[np.float64], pair: Sequence[NDArray[np.float64]], best_epoch: int | None, form: str
) -> None:
    """Training and validation figures over the epochs, the best one marked by a line, a dot and its value."""
    train, validation = pair
    validated = bool(np.isfinite(validation).any())
    axes.plot(epochs, train, color=BLUE, label="train", **_marks(epochs))
    if validated:
        axes.plot(epochs, validation, color=ORANGE, label="validation", **_marks(epochs))
    for position in np.flatnonzero(epochs == best_epoch)[-1:]:
        value = (validation if validated else train)[position]
        axes.axvline(epochs[position], color=GREEN, linestyle="--", linewidth=1)
        label = f"best: epoch {best_epoch}, {form.format(value)}"
        axes.plot(epochs[position], value, "D", color=GREEN, fillstyle="none", ms=9, mew=2, label=label)
    axes.grid(visible=True)
    axes.legend(loc="best")
    whole_epochs(axes, epochs)


def _marks(epochs: NDArray[np.float64]) -> dict[str, Any]:
    """A dot at each epoch while dots can be told apart: a single epoch has no line to be seen by."""
    return {"marker": "o" if len(epochs) <= 40 else "", "markersize": 4, "linewidth": 1.8}


def whole_epochs(axes: Axes, epochs: NDArray[np.float64]) -> None:
    """Ticks at whole numbers, and half an epoch of room on both sides."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True, min_n_ticks=1))
    if len(epochs):
        axes.set_xlim(epochs.min() - 0.5, epochs.max() + 0.5)


def orders_of_magnitude(pair: Sequence[NDArray[np.float64]]) -> float:
    """Powers of ten between the smallest and the largest value; 0 where a logarithm can't show all of them."""
    values = np.concatenate(pair)
    values = values[np.isfinite(values)]
    return float(np.log10(values.max()) - np.log10(values.min())) if values.size and values.min() > 0 else 0.0


def by_logarithm(axes: Axes) -> None:
    """Steps of equal factors, named 1, 2, 5, 10, …"""
    from matplotlib.ticker import LogLocator, NullLocator

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())


def _write_count(axes: Axes, row: int, column: int, count: int, depth: float, cell: int) -> None:
    """The count in its cell of `cell` pixels, whose colour has a `depth` from 0 to 1; the diagonal stays neutral."""
    if right := row == column:
        _rectangle(axes, (column - 0.5, row - 0.5), (1, 1), facecolor=PALE, edgecolor="none")
    if count or right:
        text = f"{count}" if count < 100_000 else f"{count / 1000:.0f}k"
        size = max(4.8, min(12.0, 0.4 * cell, 0.95 * cell / len(text)))
        shade = "white" if depth > 0.6 else "black"
        # Thousands of texts that the layout had to measure would take seconds.
        axes.text(column, row, text, ha="center", va="center", fontsize=size, color=shade, in_layout=False)


def _rectangle(axes: Axes, corner: tuple[float, float], size: tuple[float, float], **look: Any) -> None:
    from matplotlib.patches import Rectangle

    axes.add_artist(Rectangle(corner, *size, in_layout=False, **look))


def _verdict(label: str, predicted: str, probability: float | None) -> str:
    """`7 → 2 (98 %)`, on two lines where the names are long."""
    label, predicted = _short(label, 16), _short(predicted, 12)
    between = "\n" if len(label) + len(predicted) > 10 else ""
    if probability is None:
        return f"{label} → {between}{predicted}"
    sure = "> 99" if 0.995 <= probability < 1 else f"{100 * probability:.0f}"
    return f"{label} → {between}{predicted} ({sure} %)"


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
