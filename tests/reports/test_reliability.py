"""The reliability diagram: `mnist_trainer/reports/plots.py`."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image

from mnist_trainer.inference.metrics import ReliabilityBin
from mnist_trainer.reports.plots import reliability_diagrams


def shape(png: bytes) -> tuple[int, int]:
    with Image.open(BytesIO(png)) as image:
        return image.size


def blue(png: bytes, half: int) -> int:
    """Pixels of bars in one half of the drawing."""
    with Image.open(BytesIO(png)) as image:
        picture = np.asarray(image.convert("RGB")).astype(int)[:, 500 * half : 500 * half + 500]
    return int((np.abs(picture - (0, 114, 178)).max(axis=2) <= 3).sum())


def test_each_panel_has_its_bars() -> None:
    high, low = ReliabilityBin(9, 0.97, 1.0), ReliabilityBin(5000, 0.5, 0.25)
    empty: list[ReliabilityBin | None] = [None] * 13
    png = reliability_diagrams({"before": [*empty, high, high], "after": [low, *empty, None]}, "digits")
    assert shape(png) == (1000, 640)
    assert blue(png, 0) > 5 * blue(png, 1) > 0
    assert png == reliability_diagrams({"before": [*empty, high, high], "after": [low, *empty, None]}, "digits")
