"""Simulated photographs of digits and rows, of every kind, legible, and reproducible: `photographs.py`."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mnist_trainer.simulator import photographs
from mnist_trainer.simulator.effects import render_scene
from mnist_trainer.simulator.photographs import KINDS, merge_patches, page, place_row, plan_picture, write_on_sheet
from mnist_trainer.simulator.scene import LARGEST
from mnist_trainer.simulator.strokes import deform, trace

Images = NDArray[np.uint8]


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def photograph(digit: Images, random: np.random.Generator, *arguments: Any, **options: Any) -> Images:
    """The picture alone, without what is on it."""
    return photographs.photograph(digit, random, *arguments, **options)[0]


def contrast(digit: Images, kind: str, seed: int) -> float:
    """Grey levels between a digit and the paper around it."""
    import cv2

    random = generator(seed)
    chosen = plan_picture(random, kind)
    writing = write_on_sheet(deform(trace(digit), random), chosen, random)
    grey = render_scene(writing, chosen, random).mean(axis=2)
    ink = (writing.ink > 0.5 * writing.ink.max()).astype(np.uint8)
    near, far = (cv2.dilate(ink, np.ones((size, size), np.uint8)) > 0 for size in (3, 7))
    return abs(float(grey[ink > 0].mean() - grey[far & ~near].mean()))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_every_digit_is_a_picture_with_ink_that_stands_out(digits: Images, kind: str) -> None:
    for seed, digit in enumerate(digits):
        picture = photograph(digit, generator(seed), kind, label=seed)
        assert (picture.dtype, picture.ndim, picture.shape[2]) == (np.uint8, 3, 3)
        assert 20 <= min(picture.shape[:2]) <= max(picture.shape[:2]) <= LARGEST
        assert picture.flags.c_contiguous
        assert contrast(digit, kind, seed) > 5


@pytest.mark.parametrize("kind", [None, *KINDS])
def test_a_picture_depends_on_digit_and_random_numbers_alone(digits: Images, kind: str | None) -> None:
    digit = digits[7].copy()
    first = photograph(digit, generator(3), kind, label=7)
    photograph(digits[2], generator(4))
    assert np.array_equal(digit, digits[7])
    assert np.array_equal(first, photograph(digit, generator(3), kind, label=7))
    assert not np.array_equal(first, photograph(digit, generator(4), kind, label=7))


@pytest.mark.parametrize("kind", ["plain", "enlarged", "tiny"])
def test_the_box_is_that_of_the_digit(digits: Images, kind: str) -> None:
    for seed in range(10):
        picture, shown = photographs.photograph(digits[6], generator(seed), kind)
        x, y, width, height = shown.box
        assert np.array_equal(picture, photograph(digits[6], generator(seed), kind))
        ground = picture[0, 0].astype(int)
        rows, columns = np.nonzero(np.abs(picture - ground).max(axis=2) > 120)
        if kind == "plain":
            assert (x - 2 <= columns.min(), y - 2 <= rows.min()) == (True, True)
            assert (columns.max() <= x + width + 2, rows.max() <= y + height + 2) == (True, True)
        assert 0 <= x < x + width <= picture.shape[1]
        assert 0 <= y < y + height <= picture.shape[0]


def test_drawings_and_photographs_of_paper_take_a_good_share_of_the_mixture() -> None:
    random = generator()
    media = Counter(plan_picture(random).medium for _ in range(1000))
    assert min(media["d"], media["p"]) > 350
    assert media["b"] > 20


def test_a_plan_holds_its_kind_and_nothing_that_does_not_go_with_it() -> None:
    for kind in KINDS:
        plans = [plan_picture(generator(seed), kind) for seed in range(40)]
        assert all(kind in chosen.effects for chosen in plans)
    faint = [plan_picture(generator(seed), "faint") for seed in range(200)]
    assert not any(chosen.effects & {"noise", "jpeg", "blur"} for chosen in faint)
    assert {chosen.pen for chosen in (plan_picture(generator(seed), "pencil") for seed in range(20))} == {"pencil"}


def test_pictures_are_dark_on_light_but_for_those_kinds_that_are_not(digits: Images) -> None:
    def corner(kind: str) -> float:
        return float(np.mean([photograph(digits[3], generator(seed), kind)[:2, :2].mean() for seed in range(20)]))

    assert corner("plain") > 220
    assert corner("light_on_dark") < 60
    assert corner("chalk") < 100


def test_a_tiny_digit_takes_three_to_eight_percent_of_the_width(digits: Images) -> None:
    for seed in range(20):
        random = generator(seed)
        writing = write_on_sheet(trace(digits[5]), plan_picture(random, "tiny"), random)
        assert 0.02 < writing.box[2] / writing.ink.shape[1] < 0.12


def test_a_digit_at_the_border_touches_it(digits: Images) -> None:
    for seed in range(20):
        random = generator(seed)
        ink = write_on_sheet(trace(digits[8]), plan_picture(random, "border"), random).ink
        assert max(edge.max() for edge in (ink[0], ink[-1], ink[:, 0], ink[:, -1])) > 0


def test_small_canvases_are_twenty_to_forty_pixels_wide(digits: Images) -> None:
    sizes = {photograph(digits[4], generator(seed), "small28").shape for seed in range(30)}
    assert all(20 <= height <= 40 for height, _, _ in sizes)
    assert (28, 28, 3) in sizes


def test_some_sevens_are_crossed_in_every_kind(digits: Images) -> None:
    """Those whose label is told; the random numbers are the same without it."""
    pairs = [
        (photograph(digits[7], generator(seed), "plain", label=7), photograph(digits[7], generator(seed), "plain"))
        for seed in range(40)
    ]
    alike = sum(one.shape == other.shape and np.array_equal(one, other) for one, other in pairs)
    assert 20 < alike < 39


@pytest.mark.slow
def test_some_digits_are_written_as_they_are_printed(digits: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    """The label is what is printed, even where the image shows something else."""
    taken: list[int] = []

    def typed(digit: int, _: np.random.Generator) -> Images:
        taken.append(digit)
        shown: Images = digits[digit]
        return shown

    monkeypatch.setattr(photographs, "typed_digit", typed)
    for seed in range(400):
        photograph(digits[2], generator(seed), "plain", label=3)
    assert 4 < len(taken) < 30
    assert set(taken) == {3}
    for seed in range(100):
        photograph(digits[2], generator(seed), "plain")
    assert set(taken) == {3}, "without a label nothing can be printed"


def test_some_ones_are_as_broad_as_half_of_their_height(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photographs, "apply_habit", lambda strokes, *_: strokes)
    bar = np.zeros((28, 28), np.uint8)
    bar[4:24, 13:15] = 255

    def slabs(label: int) -> int:
        pictures = (photographs.photograph(bar, generator(seed), "marker", label=label) for seed in range(200))
        return sum(shown.image.mean() > 37 for _, shown in pictures)

    assert 5 < slabs(1) < 60
    assert slabs(7) == 0, "others would be taken for a 1"


@pytest.mark.parametrize("lengths", [(1,), (2,), (8,), (3, 8, 2), (8,) * 6])
@pytest.mark.parametrize("touching", [False, True])
def test_pages_of_any_layout_are_pictures(digits: Images, lengths: tuple[int, ...], touching: bool) -> None:
    lines = [list(digits[:length]) for length in lengths]
    first, second = (page(lines, np.random.default_rng(5), touching=touching)[0] for _ in range(2))
    assert np.array_equal(first, second)
    assert (first.dtype, first.shape[2]) == (np.uint8, 3)
    assert 40 <= min(first.shape[:2]) <= max(first.shape[:2]) <= LARGEST


def patches() -> list[Images]:
    """A slope to the right, and one to the left: their boxes meet long before their ink does."""
    slope = np.triu(np.full((40, 30), 255, np.uint8))
    return [slope, np.asarray(slope[::-1], np.uint8)] * 4


def test_digits_stand_side_by_side_on_a_line() -> None:
    placed = place_row(patches(), (10, 5), 0.0, 40, np.random.default_rng(0))
    ends = [x + patch.shape[1] for patch, _, x in placed]
    assert all(2 < x - end < 25 for end, (_, _, x) in zip(ends, placed[1:], strict=False))
    assert [y + len(patch) for patch, y, _ in placed] == pytest.approx([50] * 8, abs=7)


def test_a_slanted_row_falls() -> None:
    placed = place_row(patches(), (0, 0), 0.1, 40, np.random.default_rng(0))
    assert placed[-1][1] - placed[0][1] == pytest.approx(0.1 * placed[-1][2], abs=8)


def test_some_neighbours_touch_when_they_are_to() -> None:
    import cv2

    margins = np.full(4, 5.0)

    def parts(touching: bool) -> list[int]:
        inks = [
            merge_patches(place_row(patches(), (0, 0), 0, 40, np.random.default_rng(seed), touching=touching), margins)[
                0
            ]
            for seed in range(8)
        ]
        return [cv2.connectedComponents((ink > 0.5).astype(np.uint8))[0] - 1 for ink in inks]

    assert parts(touching=False) == [8] * 8
    assert 2.5 < np.mean(parts(touching=True)) < 7


def test_a_sheet_has_its_margins_around_the_ink() -> None:
    ink, boxes = merge_patches([(np.full((10, 6), 255, np.uint8), 3.0, 100.0)], np.array([4.0, 7.0, 9.0, 2.0]))
    assert boxes == [(7, 4, 6, 10)]
    assert ink.shape == (10 + 4 + 9, 6 + 7 + 2)
    assert ink[4:14, 7:13].min() == 1
    assert ink.sum() == 60


def test_a_page_is_written_by_one_hand() -> None:
    """Either all ones of a page have a habit or none: what they have in common is their shape."""
    bar = np.zeros((28, 28), np.uint8)
    bar[4:24, 13:15] = 255

    def widths(seed: int) -> list[int]:
        _, drawn = page([[bar] * 6], np.random.default_rng(seed), labels=[[1] * 6])
        return [int(np.ptp(np.flatnonzero(digit.image.any(axis=0)))) for digit in drawn]

    pages = [np.mean(np.array(widths(seed)) > 9) for seed in range(12)]
    assert min(pages) < 0.2
    assert max(pages) > 0.8
