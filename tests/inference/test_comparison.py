"""McNemar's exact test: `mnist_trainer/inference/metrics.py`."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from mnist_trainer.inference.metrics import compare_predictions, mcnemar


@given(st.integers(0, 300), st.integers(0, 300))
def test_the_p_value_is_scipys(one: int, other: int) -> None:
    expected = 1.0 if one + other == 0 else binomtest(one, one + other, 0.5).pvalue
    assert mcnemar(one, other) == pytest.approx(expected, rel=1e-10)
    assert mcnemar(one, other) == mcnemar(other, one)


def test_p_values_by_hand() -> None:
    assert mcnemar(0, 0) == mcnemar(7, 7) == mcnemar(3, 4) == 1
    assert mcnemar(0, 5) == 2 / 2**5
    assert mcnemar(1, 5) == 2 * (1 + 6) / 2**6


def test_many_images_neither_overflow_nor_round_to_nothing_too_early() -> None:
    assert mcnemar(10_000, 10_200) == pytest.approx(binomtest(10_000, 20_200, 0.5).pvalue, rel=1e-9)
    assert mcnemar(0, 1000) == pytest.approx(2.0**-999)
    assert mcnemar(100, 30_000) == 0


def test_images_that_both_get_or_both_miss_say_nothing() -> None:
    first = torch.tensor([True, True, False, False, True, False])
    second = torch.tensor([True, False, True, True, True, False])
    found = compare_predictions(first, second)
    assert (found.only_first, found.only_second, found.p) == (1, 2, 1.0)
