from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mnist_trainer.inference.metrics import spread, wilson_interval
from mnist_trainer.reports.plots import seed_accuracies

from .conftest import pixels, where

BLUE, GREEN = (0, 114, 178), (0, 122, 90)


def drawing(rights: list[int]) -> bytes:
    runs: dict[int, dict[str, Any]] = {
        seed: {"accuracy": right / 10_000, "interval": wilson_interval(right, 10_000), "count": 10_000}
        for seed, right in enumerate(rights)
    }
    return seed_accuracies(runs, spread([run["accuracy"] for run in runs.values()]), "mlp")


def middles(rows: NDArray[np.bool_]) -> list[int]:
    """The first of each group of neighbours that are true."""
    return np.flatnonzero(np.diff(rows.astype(int), prepend=0) == 1).tolist()


@pytest.mark.parametrize("count", [1, 3, 10])
def test_there_is_a_dot_a_seed_with_its_interval(count: int) -> None:
    blue = where(pixels(drawing([9_842 + 3 * seed for seed in range(count)]))[:400], BLUE)
    assert len(middles(blue.sum(axis=0) > 25)) == count  # upright lines


def test_the_mean_and_its_interval_lie_where_they_should() -> None:
    picture = pixels(drawing([9_800, 9_840, 9_880]))
    (mean,) = middles(where(picture[:400], GREEN).sum(axis=1) > 600)
    pale = np.abs(picture[:400] - (217, 235, 230)).max(axis=2) <= 4
    band = np.flatnonzero(pale.sum(axis=1) > 600)
    assert band[0] < mean < band[-1]
    assert mean - band[0] == pytest.approx(band[-1] - mean, abs=4)
    middle = middles(where(picture[:400], BLUE).sum(axis=0) > 25)[1]
    dot = np.flatnonzero(where(picture[:400], BLUE)[:, middle - 3])  # left of the line there are only dot and caps
    assert any(abs(row - mean) <= 6 for row in dot)


def test_the_interval_of_the_mean_ends_where_accuracies_end() -> None:
    blue = np.flatnonzero(where(pixels(drawing([100, 9_900]))[:400], BLUE).any(axis=1))
    assert blue[-1] - blue[0] > 280  # most of the axis: one that went from -500 to 600 % would leave them a tenth


def test_a_single_run_has_no_interval_of_the_mean() -> None:
    picture = pixels(drawing([9_800]))
    assert not (np.abs(picture[:400] - (217, 235, 230)).max(axis=2) <= 4).sum(axis=1).max() > 600


def test_a_hundred_seeds_fit() -> None:
    picture = pixels(drawing([9_800 + seed for seed in range(100)]))
    assert picture.shape == (480, 1200, 3)


def test_equal_series_give_equal_bytes() -> None:
    assert drawing([9_800, 9_840]) == drawing([9_800, 9_840])
