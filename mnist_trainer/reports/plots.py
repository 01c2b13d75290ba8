"""The plots of runs, evaluations, series and batches: plain values in, the bytes of a PNG, SVG or PDF out; no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from math import ceil, sqrt
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mnist_trainer.reports.canvas import BLUE, GREEN, GREY, MAX_WIDTH, ORANGE, PALE, FileFormat, render
from mnist_trainer.reports.text import clip_to_range, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mnist_trainer.inference.metrics import ReliabilityBin, Spread
    from mnist_trainer.inference.robustness import RobustnessRow

MAX_MISTAKES = 25
MAX_UNITS = 64
SMALLEST_WITH_SHARE = 40
"""Width in pixels from which on a cell of the confusion matrix holds a share besides the count."""


def confusion(matrix: NDArray[np.int64], classes: Sequence[str], title: str, file_format: FileFormat = "png") -> bytes:
    """Draw the confusion matrix [K, K]: rows are true classes, columns predicted ones; errors are coloured by share."""
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
                colour = "white" if rates[row, column] > 0.6 * worst else "black"
                _write_count(axes, row, column, int(matrix[row, column]), float(shares[row, column]), colour, cell)
        names = [shorten(name, 18) for name in classes]
        upright = max(map(len, names)) * 8 < cell
        size = min(11, cell * 0.55)
        axes.set_xticks(range(count), names, rotation=0 if upright else 90, fontsize=size)
        axes.set_yticks(range(count), names, fontsize=size)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        _add_colorbar(figure, axes, picture, label="mistakes, % of the true class")

    side = cell * count
    return render((min(MAX_WIDTH, max(460, side + 200)), max(420, side + 130)), title, draw, file_format)


def mistakes(
    images: NDArray[np.uint8],
    labels: Sequence[str],
    predicted: Sequence[str],
    probabilities: Sequence[float | None],
    title: str,
    file_format: FileFormat = "png",
    nothing: str = "There are no mistakes.",
) -> bytes:
    """Draw the first 25 of `images` [n, 28, 28] with label, predicted class and its probability (0 to 1)."""
    images = images[:MAX_MISTAKES]
    rows = ceil(len(images) / 5)
    mosaic, corners = _mosaic(images, columns=5, cell=(40, 36), offset=(12, 4))

    def draw(figure: Figure) -> None:
        if not rows:
            figure.text(0.5, 0.45, nothing, ha="center", va="center", fontsize=16, color=GREEN)
            return
        axes = figure.add_subplot()  # a subplot for each image would take four times as long
        for (y, x), caption in zip(corners, map(_mistake_caption, labels, predicted, probabilities), strict=False):
            axes.text(x + 13.5, y - 2, caption, ha="center", va="bottom", fontsize=12, in_layout=False)
        axes.imshow(mosaic, cmap="gray", vmin=0, vmax=255)
        axes.set_axis_off()

    return render((1000, 70 + 225 * rows) if rows else (700, 200), title, draw, file_format)


WEIGHT_COLOURS = ((5, 48, 97), (67, 147, 195), (247, 247, 247), (214, 96, 77), (103, 0, 31))
"""Colours from the smallest weight to the largest, those of matplotlib's RdBu_r."""


def weights_image(pictures: NDArray[np.float32]) -> Image.Image:
    """Return the weights [units, h, w] of the first 64 units as `weights` shows them, without a title and a scale."""
    shown = pictures[:MAX_UNITS]
    columns, (height, width) = min(8, ceil(sqrt(len(shown)))), shown.shape[1:]
    mosaic, _ = _mosaic(shown, columns, cell=(height + 1, width + 1), offset=(0, 0), background=0.0)
    limit = _weight_limit(shown)
    anchors = np.linspace(-limit, limit, len(WEIGHT_COLOURS))
    colours = [np.interp(np.nan_to_num(mosaic), anchors, channel) for channel in zip(*WEIGHT_COLOURS, strict=True)]
    image = Image.fromarray(np.stack(colours, axis=-1).astype(np.uint8))
    scale = max(1, 480 // image.width)
    return image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)


def _weight_limit(shown: NDArray[np.float32]) -> float:
    """Return the size of weights that has the strongest colour: the largest without outliers."""
    sizes = np.abs(shown[np.isfinite(shown)])
    return float(np.percentile(sizes, 99.8) or sizes.max()) if sizes.any() else 1.0


def weights(
    pictures: NDArray[np.float32], title: str, dead: Sequence[int] | None = None, file_format: FileFormat = "png"
) -> bytes:
    """Draw the weights [units, h, w] of the first 64 units on one scale: red above 0, blue below.

    `dead` units, which never fired on the validation images, are crossed out.
    """
    shown = pictures[:MAX_UNITS]
    scale = max(1, 28 // shown.shape[1])  # so that small filters have small gaps
    shown = shown.repeat(scale, axis=1).repeat(scale, axis=2)
    columns = min(8, ceil(sqrt(len(shown))))
    rows = ceil(len(shown) / columns)
    limit = _weight_limit(shown)
    height, width = shown.shape[1:]
    mosaic, corners = _mosaic(shown, columns, cell=(height + 2, width + 2), offset=(1, 1))

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for index, (y, x) in enumerate(corners):
            is_dead = index in (dead or ())
            style = {"edgecolor": ORANGE, "linewidth": 2.5} if is_dead else {"edgecolor": GREY, "linewidth": 0.6}
            left, top, right, bottom = x - 0.5, y - 0.5, x - 0.5 + width, y - 0.5 + height
            _add_rectangle(axes, (left, top), (width, height), fill=False, **style)
            for heights in ((top, bottom), (bottom, top)) if is_dead else ():
                axes.plot((left, right), heights, color=ORANGE, linewidth=2.5, scalex=False, scaley=False)
        picture = axes.imshow(mosaic, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
        axes.set_axis_off()
        _add_colorbar(figure, axes, picture, extend="both", label="weight")

    crossed = f"; crossed out: {len(dead)} that never fired on the validation images" if dead else ""
    some = f" (the first {len(shown)} of {len(pictures)} units)" if len(pictures) > len(shown) else ""
    side = max(110, 380 // columns)
    return render((side * columns + 130, side * rows + 70), title + some + crossed, draw, file_format)


def _mosaic(
    images: NDArray[Any], columns: int, cell: tuple[int, int], offset: tuple[int, int], background: float = np.nan
) -> tuple[NDArray[np.float32], list[tuple[int, int]]]:
    """Return `images` [n, h, w] side by side in cells of `cell` pixels, and the upper left corner (y, x) of each."""
    (cell_height, cell_width), (height, width) = cell, images.shape[1:]
    mosaic = np.full((ceil(len(images) / columns) * cell_height, columns * cell_width), background, np.float32)
    indices = range(len(images))
    corners = [(i // columns * cell_height + offset[0], i % columns * cell_width + offset[1]) for i in indices]
    for image, (y, x) in zip(images, corners, strict=True):
        mosaic[y : y + height, x : x + width] = image
    return mosaic, corners


def _write_count(axes: Axes, row: int, column: int, count: int, share: float, colour: str, cell: int) -> None:
    """Write a count into its cell of `cell` pixels, above its share of the row if both can be read."""
    if row == column:
        _add_rectangle(axes, (column - 0.5, row - 0.5), (1, 1), facecolor=PALE, edgecolor="none")
    text = f"{count}" if count < 100_000 else f"{count / 1000:.0f}k"
    size = max(4.8, min(12.0, 0.4 * cell, 0.95 * cell / len(text)))
    style: Any = {"ha": "center", "color": colour, "in_layout": False}  # measuring thousands of texts takes seconds
    if cell < SMALLEST_WITH_SHARE:
        axes.text(column, row, text, va="center", fontsize=size, **style)
        return
    percent = f"{100 * share:.1f} %" if share < 1 else "100 %"
    axes.text(column, row + 0.02, text, va="bottom", fontsize=size, **style)
    axes.text(column, row + 0.06, percent, va="top", fontsize=max(6.0, min(9.0, 0.17 * cell)), **style)


def _add_rectangle(axes: Axes, corner: tuple[float, float], size: tuple[float, float], **style: Any) -> None:
    from matplotlib.patches import Rectangle

    axes.add_artist(Rectangle(corner, *size, in_layout=False, **style))


def _add_colorbar(figure: Figure, axes: Axes, picture: Any, **options: Any) -> None:
    bar = figure.colorbar(picture, ax=axes, fraction=0.04, pad=0.02, **options)
    bar.outline.set_visible(False)


def _mistake_caption(label: str, predicted: str, probability: float | None) -> str:
    """Return `7 → 2 (98 %)`, on two lines if the names are long."""
    label, predicted = shorten(label, 16), shorten(predicted, 12)
    between = "\n" if len(label) + len(predicted) > 10 else ""
    if probability is None:
        return f"{label} → {between}{predicted}"
    confidence = "> 99" if 0.995 <= probability < 1 else f"{100 * probability:.0f}"
    return f"{label} → {between}{predicted} ({confidence} %)"


Bins = Sequence["ReliabilityBin | None"]


def reliability_diagrams(panels: Mapping[str, Bins], title: str) -> bytes:
    """Draw accuracy over confidence in bins of equal width, a panel for each heading, and the size of each bin below.

    A bar that ends on the diagonal belongs to a calibrated bin. Bins without predictions are None.
    """

    def draw(figure: Figure) -> None:
        grid = figure.add_gridspec(2, len(panels), height_ratios=(3, 1))
        largest = max(each.count for bins in panels.values() for each in bins if each is not None)
        for column, (heading, bins) in enumerate(panels.items()):
            upper = figure.add_subplot(grid[0, column], title=heading)
            lower = figure.add_subplot(grid[1, column], xlabel="confidence (%)")
            _draw_bins(upper, lower, bins)
            lower.set(xlim=(0, 100), ylim=(0.7, 8 * largest), ylabel="images", yscale="log")
            lower.tick_params(axis="y", which="both", left=False, labelleft=False)
        figure.legend(*upper.get_legend_handles_labels(), loc="outside lower center", ncols=3)

    return render((1000, 640), title, draw)


def _draw_bins(upper: Axes, lower: Axes, bins: Bins) -> None:
    """Draw accuracies and mean confidences to `upper`, and the sizes of the bins to `lower`."""
    width = 100 / len(bins)
    filled = [(width * index, each) for index, each in enumerate(bins) if each is not None]
    lows = np.array([low for low, _ in filled])
    style: Any = {"align": "edge", "edgecolor": "white"}
    heights = [100 * each.accuracy for _, each in filled]
    upper.bar(lows, heights, width, color=BLUE, label="accuracy (%)", **style)
    confidences = [100 * each.confidence for _, each in filled]
    upper.hlines(confidences, lows, lows + width, color=ORANGE, linewidth=2.5, label="mean confidence (%)")
    upper.plot((0, 100), (0, 100), color=GREY, linestyle="--", linewidth=1, label="perfect calibration")
    upper.set(xlim=(0, 100), ylim=(0, 102))
    upper.grid(visible=True, axis="y")
    lower.bar(lows, [each.count for _, each in filled], width, color=GREY, **style)
    for low, each in filled:
        lower.text(low + width / 2, each.count * 1.3, f"{each.count:,}", ha="center", fontsize=8, in_layout=False)


def seed_accuracies(runs: Mapping[int, Mapping[str, Any]], spread: Spread, title: str, split: str = "test") -> bytes:
    """Draw the accuracy of each seed's run on the images of `split`, and their mean, each with its interval.

    A run has `accuracy`, `interval` (fractions) and the `count` of images, as in `run.json`.
    """
    seeds, metrics = list(runs), list(runs.values())
    positions = np.arange(len(runs))
    values = 100 * np.array([run["accuracy"] for run in metrics])
    reach = np.abs(100 * np.array([run["interval"] for run in metrics]).T - values)

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot(xlabel="seed", ylabel=f"{split} accuracy (%)")
        if spread.interval is not None:
            low, high = clip_to_range(spread.interval)
            label = "interval of the mean (other seeds)"
            axes.axhspan(100 * low, 100 * high, color=GREEN, alpha=0.15, linewidth=0, label=label)
        axes.axhline(100 * spread.mean, color=GREEN, label=f"mean {100 * spread.mean:.2f} %")
        label = f"a run (other {metrics[0]['count']:,} images)"
        axes.errorbar(positions, values, reach, fmt="o", color=BLUE, capsize=3, elinewidth=1.8, label=label)
        step = max(1, round(len(runs) / 25))
        axes.set_xticks(positions[::step], list(map(str, seeds[::step])))
        axes.set_xlim(-0.5, len(runs) - 0.5)
        axes.grid(visible=True, axis="y")
        figure.legend(loc="outside lower center", ncols=3)

    return render((min(MAX_WIDTH, max(900, 60 * len(runs) + 200)), 480), title, draw)


SMALL_PANEL = 8
"""The number of settings up to which four panels of `robustness` stand side by side."""


def robustness(rows: Sequence[RobustnessRow], title: str) -> bytes:
    """Draw the accuracy of each setting with its interval, a panel for each change, above the worst examples."""
    plain, *others = rows
    panels = [(name, list(each)) for name, each in groupby(others, key=attrgetter("change"))]
    small = [panel for panel in panels if len(panel[1]) <= SMALL_PANEL]
    large = [panel for panel in panels if panel not in small]
    high = ceil(len(small) / 4)

    def draw(figure: Figure) -> None:
        grid = figure.add_gridspec(high + len(large), 4)
        places = [grid[index // 4, index % 4] for index in range(len(small))]
        places += [grid[high + index, :] for index in range(len(large))]
        for place, (name, settings) in zip(places, [*small, *large], strict=True):
            axes = figure.add_subplot(place, title=name)
            axes.axhline(100 * plain.accuracy, color=GREEN, linewidth=1, label="accuracy on the images as they are (%)")
            _draw_settings(axes, settings)
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)

    return render((MAX_WIDTH, 90 + 290 * high + 330 * len(large)), title, draw)


def _draw_settings(axes: Axes, rows: Sequence[RobustnessRow]) -> None:
    """Draw accuracies, calibration errors and refused shares, and the worst example of each setting below."""
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    at, values = np.arange(len(rows)), 100 * np.array([row.accuracy for row in rows])
    reach = np.abs(100 * np.array([row.interval for row in rows]).T - values)
    axes.errorbar(at, values, reach, fmt="o", color=BLUE, markersize=4, capsize=2, label="accuracy (%)")
    shares = {"ece": ("_", ORANGE, "calibration error (%)"), "refused": ("x", GREY, "refused (%)")}
    for key, (marker, colour, label) in shares.items():
        found = [(x, 100 * share) for x, row in enumerate(rows) if (share := getattr(row, key)) is not None]
        if found:
            axes.plot(*zip(*found, strict=True), marker, color=colour, label=label)
    for x, worst in ((x, row.worst) for x, row in enumerate(rows) if row.worst is not None):
        image = OffsetImage(worst.image, zoom=0.72, cmap="gray", clim=(0, 255), interpolation="nearest")
        axes.add_artist(AnnotationBbox(image, (x, -18), frameon=False, in_layout=False))
        text = f"{worst.label or ''}→{worst.predicted}"
        axes.text(x, -34, text, ha="center", va="top", fontsize=7, in_layout=False)
    axes.set(xlim=(-0.6, len(rows) - 0.4), ylim=(-48, 104), yticks=range(0, 101, 25))
    longest = max(len(row.setting) for row in rows)
    turned = longest * len(rows) > (40 if len(rows) <= SMALL_PANEL else 190)
    axes.set_xticks(at, [row.setting for row in rows], fontsize=8, rotation=90 if turned else 0)
    axes.grid(visible=True, axis="y")


PAIR_COLUMNS, MAX_PAIRS = 12, 48
"""Pairs of images in a row of `batch_grid`, and in all."""

BATCH_CAPTION = 8
"""Height of a caption in pixels of the images."""


def batch_grid(originals: NDArray[np.uint8], seen: NDArray[np.uint8], captions: Sequence[str], title: str) -> bytes:
    """Draw the first 48 of `originals` [n, 28, 28], each with its caption above the same image in `seen`."""
    originals, seen = originals[:MAX_PAIRS], seen[:MAX_PAIRS]
    pairs = np.full((len(originals), 57, 28), 255, np.uint8)  # a white line between both
    pairs[:, :28], pairs[:, 29:] = originals, seen
    columns = min(len(pairs), PAIR_COLUMNS)
    mosaic, corners = _mosaic(pairs, columns, cell=(59 + BATCH_CAPTION, 31), offset=(BATCH_CAPTION, 0), background=255)

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.imshow(mosaic, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_axis_off()
        for (y, x), caption in zip(corners, captions, strict=False):
            axes.text(x + 13.5, y - 1.5, caption, ha="center", va="bottom", fontsize=9, in_layout=False)

    height, width = mosaic.shape
    return render((max(3 * width, 420), 3 * height + 60), title, draw)
