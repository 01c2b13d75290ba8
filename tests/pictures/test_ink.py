"""Ink by its contrast: `mnist_trainer/pictures/ink.py`. What whole pictures hold is asked in `test_writing.py`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from mnist_trainer.pictures.ink import find_ink, ink_threshold, sample

Draw = Callable[..., NDArray[np.uint8]]


def contrast_in(drawn: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What stands out from white paper."""
    return np.float32(255) - drawn


def test_full_ink_is_1_and_its_grey_levels_are_kept(draw_seven: Draw) -> None:
    drawn = draw_seven()
    drawn[50:56] = np.where(drawn[50:56] < 128, 127, 255)
    levels = find_ink(contrast_in(drawn), photograph=False).levels
    assert levels.dtype == np.float32
    assert levels[52, 80] == pytest.approx(128 / 255, abs=0.01)
    assert levels[60, 80] == 1 and levels[0, 0] == 0


def test_what_hangs_together_is_numbered(draw_seven: Draw) -> None:
    drawn = draw_seven(size=(300, 220))
    drawn[60:150, 200:210] = 0
    ink = find_ink(contrast_in(drawn), photograph=False)
    boxes = sorted(tuple(box) for box in ink.boxes[ink.numbers].tolist())
    assert [box[:4] for box in boxes] == [(60, 50, 84, 120), (200, 60, 10, 90)]
    assert boxes[1][4] == 900
    assert set(np.unique(ink.map[drawn == 0])) == set(ink.numbers.tolist())


def test_a_faint_line_that_hangs_on_a_dark_one_is_ink_and_one_alone_is_not() -> None:
    contrast = np.zeros((100, 100), np.float32)
    contrast[20:80, 20:24] = 200
    contrast[48:52, 24:60] = 60
    contrast[20:80, 80:84] = 60
    levels = find_ink(contrast, photograph=False).levels
    assert levels[50, 40] == pytest.approx(0.3, abs=0.02)
    assert not levels[:, 80:84].any()


def test_what_shines_through_on_a_photograph_is_none_even_where_it_touches() -> None:
    contrast = np.zeros((100, 100), np.float32)
    contrast[20:80, 20:24] = 200
    contrast[48:52, 24:60] = 40
    assert find_ink(contrast, photograph=False).levels[50, 40] > 0
    assert find_ink(contrast, photograph=True).levels[50, 40] == 0


@pytest.mark.parametrize("photograph", [False, True])
@pytest.mark.parametrize("deviation", [0, 1, 5, 15])
def test_noise_is_no_ink(deviation: float, photograph: bool) -> None:
    noise = np.random.default_rng(0).normal(0, deviation, (200, 200)).astype(np.float32)
    ink = find_ink(noise, photograph=photograph)
    assert not ink.levels.any() and not len(ink.numbers)


@pytest.mark.parametrize("photograph", [False, True])
def test_ink_fainter_than_the_noise_allows_is_none(photograph: bool) -> None:
    contrast = np.random.default_rng(0).normal(0, 8, (200, 200)).astype(np.float32)
    contrast[50:150, 90:110] += 12
    assert not find_ink(contrast, photograph=photograph).levels.any()
    contrast[50:150, 90:110] += 60
    assert find_ink(contrast, photograph=photograph).levels[50:150, 90:110].mean() > 0.7


def test_grains_are_dropped_and_detached_strokes_kept(draw_seven: Draw) -> None:
    drawn = draw_seven()
    drawn[10:12, 10:12] = drawn[200:202, 20:22] = 0
    drawn[120:130, 150:180] = 0
    levels = find_ink(contrast_in(drawn), photograph=False).levels
    assert not levels[:40].any() and not levels[190:].any()
    assert (levels[120:130, 150:180] == 1).all()


def test_what_ink_must_exceed_grows_with_the_noise_of_the_paper() -> None:
    floors = [
        ink_threshold(np.random.default_rng(0).normal(0, deviation, (100, 100)).astype(np.float32))
        for deviation in (0, 10, 20)
    ]
    assert 0 < floors[0] < floors[1] < floors[2]
    assert floors[2] == pytest.approx(2 * floors[1], rel=0.01)


def test_a_sample_comes_from_everywhere() -> None:
    values = np.arange(1_000_000).reshape(1000, 1000)
    taken = sample(values)
    assert taken.ndim == 1 and len(taken) < 50_000
    assert taken.min() < 1000 and taken.max() > 999_000
    assert np.array_equal(sample(values[:5, :5]), values[:5, :5].ravel())
