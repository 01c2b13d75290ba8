from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mnist_trainer.pictures.page import bounding_box
from mnist_trainer.pictures.render import centroid, looks_rendered, render, tight_box


def levels_of(width: int, height: int, margin: int = 3) -> NDArray[np.float32]:
    """Ink that fills a rectangle, with empty paper around."""
    return np.pad(np.ones((height, width), np.float32), margin)


def whole(levels: NDArray[np.float32]) -> NDArray[np.uint8]:
    return render(levels, tight_box(levels))


@given(st.integers(3, 120), st.integers(3, 120))
def test_the_longer_side_is_20_pixels_and_the_aspect_kept(width: int, height: int) -> None:
    image = whole(levels_of(width, height))
    _, _, across, down = bounding_box(image > 0)
    assert image.shape == (28, 28) and image.dtype == np.uint8 and image.max() == 255
    assert max(across, down) == 20
    thin = max(20 * min(width, height) / max(width, height), 1.4)  # hairlines are thickened
    assert abs(min(across, down) - thin) <= 1


@given(st.integers(0, 2**32 - 1))
def test_the_centroid_lies_at_index_14_unless_ink_would_leave_the_image(seed: int) -> None:
    random = np.random.default_rng(seed)
    levels = np.pad(random.random((40, 30), np.float32) ** random.integers(1, 6), 2)
    image = whole(levels)
    x, y, width, height = bounding_box(image > 0)
    for at, start, size in zip(centroid(image), (y, x), (height, width), strict=True):
        assert abs(at - 14) <= 0.5 or start == 0 or start + size == 28


def test_a_heavy_end_may_touch_the_border_and_nothing_is_cut_off() -> None:
    levels = np.zeros((60, 100), np.float32)
    levels[:, :12], levels[28:32] = 1, 1
    image = whole(levels)
    x, _, width, _ = bounding_box(image > 0)
    assert (x + width, width) == (28, 20)


def test_shrinking_keeps_grey_levels_as_the_mean_of_what_they_cover() -> None:
    levels = np.ones((100, 100), np.float32)
    levels[:50, ::5] = 0.5
    image = whole(levels)
    assert image[14 - 10 + 4, 14] == pytest.approx(0.9 * 255, abs=1)
    assert image[14 + 5, 14] == 255


def test_a_soft_rim_does_not_widen_the_box() -> None:
    levels = np.zeros((100, 100), np.float32)
    levels[20:60, 15:95] = 1
    for grown, level in ((1, 0.4), (2, 0.1)):
        rim = np.zeros_like(levels)
        rim[20 - grown : 60 + grown, 15 - grown : 95 + grown] = level
        levels = np.maximum(levels, rim)
    assert tight_box(levels) == (15, 20, 80, 40)


def test_a_faint_outermost_pixel_of_an_enlarged_digit_stays_in_the_box() -> None:
    levels = np.zeros((140, 140), np.float32)
    levels[25:125, 60:80] = 1
    levels[20:25, 60:80] = 0.2
    assert tight_box(levels) == (60, 20, 20, 105)


def test_hairlines_are_thickened() -> None:
    levels = np.zeros((400, 400), np.float32)
    levels[10:390, 50], levels[10, 50:300] = 1, 1
    image = whole(levels)
    assert image.sum() / 255 > 1.1 * (20 + 12)
    assert image.max(axis=1)[bounding_box(image > 0)[1] :][:19].min() > 128


@given(st.integers(0, 2**32 - 1))
def test_a_rendered_digit_looks_rendered(seed: int) -> None:
    random = np.random.default_rng(seed)
    levels = np.zeros((50, 50), np.float32)
    levels[5:45, 20:30] = 1
    levels[random.integers(8, 40) :][:4, 10:40] = random.uniform(0.3, 1)
    assert looks_rendered(whole(levels))


def test_other_pictures_do_not_look_rendered() -> None:
    good = whole(levels_of(20, 50))
    assert looks_rendered(good)
    assert not looks_rendered(255 - good)
    assert not looks_rendered(np.roll(good, 1, axis=1))
    assert not looks_rendered(np.zeros((28, 28), np.uint8))
    assert not looks_rendered(np.pad(good, 1))
    smaller = good.copy()
    smaller[[5, 6, 23, 24]] = 0
    assert not looks_rendered(smaller)
