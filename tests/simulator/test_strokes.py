"""Tracing and drawing: `mnist_trainer/simulator/strokes.py`."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mnist_trainer.simulator.strokes import (
    Nib,
    Strokes,
    break_strokes,
    deform,
    draw,
    elastic_waves,
    polyline,
    sketch,
    trace,
)

Images = NDArray[np.uint8]


def bar(left: int = 12, right: int = 16) -> Images:
    image = np.zeros((28, 28), np.uint8)
    image[4:24, left:right] = 255
    return image


def ring() -> Images:
    rows, columns = np.mgrid[:28, :28] - 13.5
    return (np.clip(2 - np.abs(np.hypot(rows, columns) - 8), 0, 1) * 255).astype(np.uint8)


def components(patch: Images) -> NDArray[np.int32]:
    """x, y, width, height and area of the separate parts [n, 5]."""
    import cv2

    return np.asarray(cv2.connectedComponentsWithStats(patch)[2], np.int32)[1:]


def loops(strokes: Strokes) -> int:
    return len(strokes.links) - len(strokes.points) + 1


def test_a_bar_is_one_straight_line_of_its_width() -> None:
    strokes = trace(bar())
    assert loops(strokes) == 0
    assert np.ptp(strokes.points[:, 0]) < 0.1
    assert np.ptp(strokes.points[:, 1]) == pytest.approx(1)
    assert np.median(strokes.radii) == pytest.approx(2 / 17, rel=0.3)  # of 4 pixels, on a line about 17 long


def test_a_ring_is_a_line_that_meets_itself() -> None:
    strokes = trace(ring())
    assert loops(strokes) == 1
    assert np.linalg.norm(strokes.points, axis=1) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("height", [20, 60, 150, 400])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.2])
def test_strokes_are_drawn_as_high_and_as_broad_as_asked(height: int, share: float) -> None:
    patch = draw(polyline(np.array([[0, 0], [0, 1]], np.float32)), height, Nib(max(1.2, share * height), press=0))
    rows, columns = np.flatnonzero(patch.max(axis=1) > 127), patch[len(patch) // 2] / 255
    assert columns.sum() == pytest.approx(max(1.2, share * height), abs=1.2)
    assert len(rows) == pytest.approx(height + share * height, abs=3)


def test_a_mouse_draws_a_line_of_one_pixel_without_grey() -> None:
    patch = draw(trace(ring()), 80, Nib(1, press=0, smooth=False))
    assert set(np.unique(patch)) == {0, 255}
    assert 1.1 < patch.astype(bool).sum() / (np.pi * 80 / 2**0.5) < 1.7


@pytest.mark.parametrize(
    "image", [np.zeros((28, 28), np.uint8), np.eye(28, dtype=np.uint8) * 255, bar(13, 14), bar(3, 25)]
)
def test_whatever_is_on_an_image_can_be_traced_and_drawn(image: Images) -> None:
    strokes = deform(trace(image), np.random.default_rng(0))
    assert np.isfinite(strokes.points).all()
    assert draw(strokes, 50, Nib(4)).max() > 127


def test_dots_stay() -> None:
    image = bar()
    image[12:15, 22:25] = 255
    assert len(components(draw(trace(image), 80, Nib(5)))) == 2


def test_another_hand_writes_the_same_strokes_elsewhere(digits: Images) -> None:
    strokes = trace(digits[3])
    other = deform(strokes, np.random.default_rng(1))
    assert np.array_equal(strokes.links, other.links)
    assert max(np.ptp(other.points, axis=0)) == pytest.approx(1)
    moved = np.abs(other.points - strokes.points)
    assert 0.01 < moved.mean() < 0.2


def test_bending_is_gentle() -> None:
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (100, 2)).astype(np.float32)
    for seed in range(20):
        assert np.abs(elastic_waves(points, np.random.default_rng(seed)) - points).max() < 0.35


@pytest.mark.parametrize("angle", [-90, 90])
def test_strokes_turn_by_the_angle(angle: int) -> None:
    turned = deform(trace(bar()), np.random.default_rng(0), angle)
    assert np.ptp(turned.points[:, 0]) == pytest.approx(1)
    assert np.ptp(turned.points[:, 1]) < 0.4


def test_a_sketch_goes_through_its_points_and_turns_sharply_only_at_corners() -> None:
    rng = np.random.default_rng(0)
    (round_line,), (corner,) = sketch("0,0 50,0 50,50", 0, rng), sketch("0,0 50,0! 50,50", 0, rng)
    for line in (round_line, corner):
        assert np.abs(line[[0, -1]] - [[0, 0], [0.5, 0.5]]).max() < 1e-6
        assert np.linalg.norm(line - [0.5, 0], axis=1).min() < 1e-6
    assert corner.min() == pytest.approx(0, abs=1e-6)
    assert round_line.min() < -0.01, "a smooth line overshoots before it turns"


def test_a_sketch_has_a_line_for_each_stroke_and_moves_its_points() -> None:
    text = "o50,50,40,20/0,0 100,100"
    ellipse, line = sketch(text, 0, np.random.default_rng(0))
    assert np.ptp(ellipse, axis=0) == pytest.approx([0.8, 0.4], abs=0.03)
    assert np.ptp(line, axis=0) == pytest.approx([1, 1])
    first, second = (sketch(text, 0.03, np.random.default_rng(seed))[1] for seed in range(2))
    assert 0.001 < np.abs(first - second).mean() < 0.1


def test_a_gap_cuts_a_line_in_two_away_from_its_ends() -> None:
    line = trace(bar())
    for seed in range(10):
        cut = break_strokes(line, 1, 0.2, np.random.default_rng(seed))
        parts = components(draw(cut, 100, Nib(5)))
        assert len(parts) == 2
        assert parts[:, 3].min() > 10
