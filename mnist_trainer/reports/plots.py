"""The drawings of a run, each as the bytes of a picture: plain values in, nothing written, no torch and no pyplot.

The reliability diagram: how often answers are right, by how sure they are.

The drawing of a series: a dot for each run, and what all of them say together.

A training batch as a picture: each image as it lies in the data set, and below it as the model sees it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, sqrt
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.reports.canvas import BLUE, GREEN, GREY, MAX_WIDTH, ORANGE, PALE, FileFormat, render
from mnist_trainer.reports.text import clip_to_range

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mnist_trainer.inference.calibration import ReliabilityBin
    from mnist_trainer.inference.metrics import Spread

MAX_MISTAKES = 25
MAX_UNITS = 64
SMALLEST_WITH_SHARE = 40
"""Pixels of a cell of the confusion matrix that has room for a count and a share."""


def confusion(matrix: NDArray[np.int64], classes: Sequence[str], title: str, file_format: FileFormat = "png") -> bytes:
    """Counts [K, K], rows the true classes, columns the predicted ones; and shares of the row where there is room.

    Mistakes are coloured by these shares.
    """
    count = len(classes)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    rates = shares.copy()
    np.fill_diagonal(rates, 0)
    worst = max(float(rates.max()), 0.001)
    cell = min(70, (MAX_WIDTH - 150) // count)

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot(xlabel="predicted", ylabel="true")
        picture = axes.imshow(100 * rates, cmap="Oranges", vmin=0, vmax=100 * worst)
        for row, column in np.ndindex(matrix.shape):
            if matrix[row, column] or row == column:
                shade = "white" if rates[row, column] > 0.6 * worst else "black"
                _write_count(axes, (row, column), int(matrix[row, column]), float(shares[row, column]), shade, cell)
        names = [_truncate(name, 18) for name in classes]
        upright = max(map(len, names)) * 8 < cell
        size = min(11, cell * 0.55)
        axes.set_xticks(range(count), names, rotation=0 if upright else 90, fontsize=size)
        axes.set_yticks(range(count), names, fontsize=size)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        bar = figure.colorbar(picture, ax=axes, fraction=0.04, pad=0.02, label="mistakes, % of the true class")
        bar.outline.set_visible(False)

    return render(
        (min(MAX_WIDTH, max(460, cell * count + 200)), max(420, cell * count + 130)), title, draw, file_format
    )


def mistakes(
    images: NDArray[np.uint8],
    labels: Sequence[str],
    predicted: Sequence[str],
    probabilities: Sequence[float | None],
    title: str,
    file_format: FileFormat = "png",
) -> bytes:
    """The first 25 of `images` [n, 28, 28], each under its label, the answer, and the answer's probability (0 to 1)."""
    shown = min(len(images), MAX_MISTAKES)
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
            words = _mistake_caption(labels[index], predicted[index], probabilities[index])
            axes.text(x + 17.5, y + high - 30, words, ha="center", va="bottom", fontsize=12, in_layout=False)
        axes.imshow(mosaic, cmap="gray", vmin=0, vmax=255)
        axes.set_axis_off()

    return render((1000, 70 + 225 * rows) if shown else (700, 200), title, draw, file_format)


def weights(
    pictures: NDArray[np.float32], title: str, dead: Sequence[int] | None = None, file_format: FileFormat = "png"
) -> bytes:
    """The weights [units, h, w] of the first 64 units as pictures on one scale: red above 0, blue below.

    `dead` units, which never fired on the validation images, are crossed out; None: that is not known.
    """
    shown = pictures[:MAX_UNITS]
    enlarged = max(1, 28 // shown.shape[1])  # so that small filters have small gaps
    shown = shown.repeat(enlarged, axis=1).repeat(enlarged, axis=2)
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
            is_dead = index in (dead or ())
            style = {"edgecolor": ORANGE, "linewidth": 2.5} if is_dead else {"edgecolor": GREY, "linewidth": 0.6}
            _rectangle(axes, (x + 0.5, y + 0.5), (wide - 2, high - 2), fill=False, **style)
            if is_dead:
                ends = ((x + 0.5, x + wide - 1.5), (y + 0.5, y + high - 1.5))
                for heights in (ends[1], ends[1][::-1]):
                    axes.plot(ends[0], heights, color=ORANGE, linewidth=2.5, scalex=False, scaley=False)
        picture = axes.imshow(mosaic, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
        axes.set_axis_off()
        bar = figure.colorbar(picture, ax=axes, fraction=0.04, pad=0.02, extend="both", label="weight")
        bar.outline.set_visible(False)

    crossed = f"; crossed out: {len(dead)} that never fired on the validation images" if dead else ""
    some = f" (the first {len(shown)} of {len(pictures)} units)" if len(pictures) > len(shown) else ""
    side = max(110, 380 // columns)
    return render((side * columns + 130, side * rows + 70), title + some + crossed, draw, file_format)


def _write_count(axes: Axes, place: tuple[int, int], count: int, share: float, shade: str, cell: int) -> None:
    """The count in its cell of `cell` pixels, above its share of the row where both can be read; the diagonal stays
    neutral."""
    row, column = place
    if row == column:
        _rectangle(axes, (column - 0.5, row - 0.5), (1, 1), facecolor=PALE, edgecolor="none")
    text = f"{count}" if count < 100_000 else f"{count / 1000:.0f}k"
    size = max(4.8, min(12.0, 0.4 * cell, 0.95 * cell / len(text)))
    style: Any = {"ha": "center", "color": shade, "in_layout": False}  # thousands that are measured would take seconds
    if cell < SMALLEST_WITH_SHARE:
        axes.text(column, row, text, va="center", fontsize=size, **style)
        return
    percent = f"{100 * share:.1f} %" if share < 1 else "100 %"
    axes.text(column, row + 0.02, text, va="bottom", fontsize=size, **style)
    axes.text(column, row + 0.06, percent, va="top", fontsize=max(6.0, min(9.0, 0.17 * cell)), **style)


def _rectangle(axes: Axes, corner: tuple[float, float], size: tuple[float, float], **style: Any) -> None:
    from matplotlib.patches import Rectangle

    axes.add_artist(Rectangle(corner, *size, in_layout=False, **style))


def _mistake_caption(label: str, predicted: str, probability: float | None) -> str:
    """`7 → 2 (98 %)`, on two lines where the names are long."""
    label, predicted = _truncate(label, 16), _truncate(predicted, 12)
    between = "\n" if len(label) + len(predicted) > 10 else ""
    if probability is None:
        return f"{label} → {between}{predicted}"
    sure = "> 99" if 0.995 <= probability < 1 else f"{100 * probability:.0f}"
    return f"{label} → {between}{predicted} ({sure} %)"


def _truncate(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


Bins = Sequence["ReliabilityBin | None"]


def reliability_diagrams(panels: Mapping[str, Bins], title: str) -> bytes:
    """Accuracy over confidence in bins of equal width, a panel for each heading; below, how many answers a bin holds.

    A bar that ends on the diagonal is as often right as it says.
    """

    def draw(figure: Figure) -> None:
        grid = figure.add_gridspec(2, len(panels), height_ratios=(3, 1))
        most = max(entry.count for bins in panels.values() for entry in bins if entry is not None)
        for column, (heading, bins) in enumerate(panels.items()):
            axes = figure.add_subplot(grid[0, column], title=heading)
            _draw_bins(axes, bins)
            _draw_counts(figure.add_subplot(grid[1, column], xlabel="confidence (%)"), bins, most)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)

    return render((1000, 640), title, draw)


def _draw_bins(axes: Axes, bins: Bins) -> None:
    places, filled = _non_empty(bins)
    lows, highs = places * 100 / len(bins), (places + 1) * 100 / len(bins)
    heights = [100 * entry.accuracy for entry in filled]
    axes.bar(
        lows, heights, highs - lows, align="edge", color=BLUE, edgecolor="white", label="answers that are right (%)"
    )
    sure = [100 * entry.confidence for entry in filled]
    axes.hlines(sure, lows, highs, color=ORANGE, linewidth=2.5, label="their mean confidence (%)")
    axes.plot((0, 100), (0, 100), color=GREY, linestyle="--", linewidth=1, label="as right as sure")
    axes.set(xlim=(0, 100), ylim=(0, 102))
    axes.grid(visible=True, axis="y")


def _draw_counts(axes: Axes, bins: Bins, most: int) -> None:
    places, filled = _non_empty(bins)
    middles, counts = (places + 0.5) * 100 / len(bins), [entry.count for entry in filled]
    axes.bar(middles, counts, 100 / len(bins), color=GREY, edgecolor="white")
    for middle, count in zip(middles, counts, strict=True):
        axes.text(middle, count * 1.3, f"{count:,}", ha="center", fontsize=8, in_layout=False)
    axes.set(xlim=(0, 100), ylim=(0.7, 8 * most), ylabel="images", yscale="log")
    axes.tick_params(axis="y", which="both", left=False, labelleft=False)


def _non_empty(bins: Bins) -> tuple[NDArray[np.int64], list[ReliabilityBin]]:
    """The places of the bins that hold answers, and what they hold."""
    filled = [(place, entry) for place, entry in enumerate(bins) if entry is not None]
    return np.array([place for place, _ in filled], np.int64), [entry for _, entry in filled]


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


PAIR_COLUMNS, MAX_PAIRS = 12, 48
"""Pairs in a row, and in all."""

BATCH_SIDE, BATCH_GAP, BATCH_CAPTION = 28, 3, 8
"""In pixels of the images."""

PAIR_WIDTH, PAIR_HEIGHT = BATCH_SIDE + BATCH_GAP, 2 * BATCH_SIDE + BATCH_GAP + BATCH_CAPTION


def batch(originals: NDArray[np.uint8], seen: NDArray[np.uint8], captions: Sequence[str], title: str) -> bytes:
    """The first 48 of `originals` [n, 28, 28], each above the same image in `seen` and under its caption."""
    shown = min(len(originals), MAX_PAIRS)
    columns, rows = min(shown, PAIR_COLUMNS), ceil(shown / PAIR_COLUMNS)
    paper = np.full((rows * PAIR_HEIGHT, columns * PAIR_WIDTH), 255, np.uint8)
    corners = [(index // PAIR_COLUMNS * PAIR_HEIGHT, index % PAIR_COLUMNS * PAIR_WIDTH) for index in range(shown)]
    for (y, x), original, image in zip(corners, originals, seen, strict=False):
        top = y + BATCH_CAPTION
        paper[top : top + BATCH_SIDE, x : x + BATCH_SIDE] = original
        paper[top + BATCH_SIDE + 1 : top + 2 * BATCH_SIDE + 1, x : x + BATCH_SIDE] = image

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.imshow(paper, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_axis_off()
        for (y, x), caption in zip(corners, captions, strict=False):
            middle = x + BATCH_SIDE / 2 - 0.5
            axes.text(middle, y + BATCH_CAPTION - 1.5, caption, ha="center", va="bottom", fontsize=9, in_layout=False)

    return render((max(3 * columns * PAIR_WIDTH, 420), 3 * rows * PAIR_HEIGHT + 60), title, draw)
