from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mnist_trainer.inference.metrics import spread, t95


@pytest.mark.parametrize("degrees", [*range(1, 41), 99, 100, 999, 1000])
def test_students_t_is_scipys(degrees: int) -> None:
    assert t95(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=1e-9)  # older scipys know ten digits


@given(st.lists(st.floats(min_value=0, max_value=1), min_size=2, max_size=30))
def test_the_figures_are_numpys_and_scipys(values: list[float]) -> None:
    found = spread(values)
    assert found.mean == pytest.approx(np.mean(values), abs=1e-12)
    assert found.sd == pytest.approx(np.std(values, ddof=1), abs=1e-9)
    assert (found.min, found.max, found.count) == (min(values), max(values), len(values))
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    expected = stats.t.interval(0.95, len(values) - 1, np.mean(values), max(error, 1e-300))
    assert found.interval == pytest.approx(expected, abs=1e-7)


def test_a_single_run_has_no_spread() -> None:
    found = spread([0.25])
    assert (found.mean, found.min, found.max, found.count) == (0.25, 0.25, 0.25, 1)
    assert (found.sd, found.interval) == (None, None)


def test_equal_runs_have_an_interval_without_width() -> None:
    assert asdict(spread([0.5, 0.5, 0.5])) == {
        "mean": 0.5,
        "sd": 0.0,
        "min": 0.5,
        "max": 0.5,
        "interval": (0.5, 0.5),
        "count": 3,
    }
