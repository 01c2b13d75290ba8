"""How people write digits, and what looks like a digit: `mnist_trainer/simulator/habits.py`."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mnist_trainer.simulator.habits import HABITS, apply_habit, ideal_image, looks_like_a_digit
from mnist_trainer.simulator.letters import typed
from mnist_trainer.simulator.strokes import Strokes, deform, from_lines, sketch, trace

Images = NDArray[np.uint8]


def written(digits: Images, label: int, count: int = 60) -> list[Strokes]:
    strokes = trace(digits[label])
    return [apply_habit(strokes, label, np.random.default_rng(seed)) for seed in range(count)]


@pytest.mark.parametrize("label", range(10))
def test_habits_are_legible_strokes_of_the_width_of_the_image(digits: Images, label: int) -> None:
    width = np.median(trace(digits[label]).radii)
    for strokes in written(digits, label):
        assert np.isfinite(strokes.points).all()
        assert max(np.ptp(strokes.points, axis=0)) < 2
        assert np.median(strokes.radii) == pytest.approx(width, rel=0.05)
    assert 0 < HABITS[label] <= 0.5, "most digits stay as they are in the data set"


def test_strokes_without_a_label_stay(digits: Images) -> None:
    strokes = trace(digits[7])
    assert apply_habit(strokes, None, np.random.default_rng(0)) is strokes


@pytest.mark.parametrize("label", [0, 7])
def test_zeros_and_sevens_are_crossed(digits: Images, label: int) -> None:
    strokes = trace(digits[label])
    lines = [len(other.points) - len(strokes.points) for other in written(digits, label)]
    assert lines.count(12) > 10, "a line of twelve points"


def flag_and_foot(strokes: Strokes) -> tuple[float, float, float]:
    """How far the ink of a 1 reaches to the left of its top, how far that end lies below it, and the foot's width."""
    x, y = strokes.points.T
    top, upper = y.min(), y < np.quantile(y, 0.9) - 0.06
    end = np.flatnonzero(upper)[x[upper].argmin()]
    low = x[y > y.max() - 0.06]
    return float(x[y.argmin()] - x[end]), float(y[end] - top), float(np.ptp(low))


def test_ones_have_flags_of_any_length_and_often_a_foot(digits: Images) -> None:
    flags = np.array([flag_and_foot(strokes) for strokes in written(digits, 1, 200)])
    assert (flags[:, 0] > 0.4).mean() > 0.05, "some flags are long"
    assert (flags[:, 0] < 0.25).mean() > 0.1
    assert 0.25 < (flags[:, 2] > 0.2).mean() < 0.6


def test_the_flag_of_a_one_rises_to_the_right_where_a_seven_is_level(digits: Images) -> None:
    flags = np.array([flag_and_foot(strokes) for strokes in written(digits, 1, 200)])
    long = flags[(flags[:, 0] > 0.35) & (flags[:, 2] < 0.2)]
    assert len(long) > 5
    assert (long[:, 1] / long[:, 0]).min() > 0.25


def test_some_fives_and_eights_have_separate_parts(digits: Images) -> None:
    for label in (5, 8):
        parts = {len(strokes.points) - len(strokes.links) for strokes in written(digits, label)}
        assert 2 in parts


@pytest.mark.parametrize("label", range(10))
def test_printed_and_written_digits_look_like_digits(digits: Images, label: int) -> None:
    images = [
        ideal_image(deform(strokes, np.random.default_rng(seed)))
        for seed, strokes in enumerate((trace(typed(str(label), "DejaVuSerif.ttf")), *written(digits, label, 39)))
    ]
    assert sum(map(looks_like_a_digit, images)) > 3, "which of the shapes are met depends on the deformation"


@pytest.mark.parametrize(
    "text",
    [
        "50,0 50,100/0,50 100,50",
        "6,4! 6,96! 90,96",
        "o50,50,48,48/o34,36,4,5/o66,36,4,5/26,62 50,80 74,62",
        "2,30! 98,30/2,70! 98,70",
    ],
)
def test_crosses_corners_and_faces_look_like_no_digit(text: str) -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        assert not looks_like_a_digit(ideal_image(deform(from_lines(sketch(text, 0.01, rng)), rng)))


def test_an_empty_image_looks_like_no_digit() -> None:
    assert not looks_like_a_digit(np.zeros((28, 28), np.uint8))
