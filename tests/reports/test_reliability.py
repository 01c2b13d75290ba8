"""The reliability diagram: `mnist_trainer/reports/plots.py`."""

from __future__ import annotations

from mnist_trainer.inference.metrics import ReliabilityBin
from mnist_trainer.reports.plots import reliability_diagrams

from .conftest import pixels, where

BLUE = (0, 114, 178)


def test_each_panel_has_its_bars() -> None:
    high, low = ReliabilityBin(9, 0.97, 1.0), ReliabilityBin(5000, 0.5, 0.25)
    empty: list[ReliabilityBin | None] = [None] * 13
    png = reliability_diagrams({"before": [*empty, high, high], "after": [low, *empty, None]}, "digits")
    picture = pixels(png)
    assert picture.shape == (640, 1000, 3)
    left, right = where(picture, BLUE)[:, :500].sum(), where(picture, BLUE)[:, 500:].sum()
    assert left > 5 * right > 0
    assert png == reliability_diagrams({"before": [*empty, high, high], "after": [low, *empty, None]}, "digits")
