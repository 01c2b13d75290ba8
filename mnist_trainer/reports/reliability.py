"""The reliability diagram: how often answers are right, by how sure they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.inference.calibration import ReliabilityBin
from mnist_trainer.reports.canvas import BLUE, GREY, ORANGE, render

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Bins = Sequence[ReliabilityBin | None]


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
