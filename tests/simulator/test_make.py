"""Images made to train with, as they are read from simulated pictures: `mnist_trainer/simulator/make.py`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mnist_trainer.pictures.page import Box, Glyph, Layout, Line, Page
from mnist_trainer.simulator import make, photographs
from mnist_trainer.simulator.habits import ideal_image
from mnist_trainer.simulator.scene import DrawnDigit
from mnist_trainer.simulator.strokes import from_lines, sketch

Image = NDArray[np.uint8]

SEVEN: Box = (10, 10, 20, 20)
SEEDS = np.arange(20)
LABELS = np.full((20, 4), 7)


def bars(*columns: int) -> Image:
    """Upright strokes 20 pixels high and 3 wide that begin at `columns`."""
    image = np.zeros((28, 28), np.uint8)
    for column in columns:
        image[4:24, column : column + 3] = 255
    return image


def page_with(*glyphs: tuple[Image, Box]) -> Page:
    read = tuple(Glyph(image, box, at, at + 1) for at, (image, box) in enumerate(glyphs))
    return Page((Layout((Line(len(read), read),)),))


@pytest.fixture
def digits() -> Image:
    """For each of 20 images four digits, all of which show an eleven that is 14 pixels wide."""
    return np.broadcast_to(bars(7, 18), (20, 4, 28, 28)).copy()


def shows(monkeypatch: pytest.MonkeyPatch, *glyphs: tuple[Image, Box], in_a_row: bool = False) -> None:
    """From here on every picture shows `bars(7, 18)` at `SEVEN`, and `glyphs` are what is read from it."""
    there = DrawnDigit(SEVEN, bars(7, 18))
    monkeypatch.setattr(make, "IN_A_ROW", float(in_a_row))
    monkeypatch.setattr(make, "photograph", lambda *_, **__: (bars(), there))
    monkeypatch.setattr(make, "page", lambda lines, *_, **__: (bars(), [there] * len(lines[0])))
    monkeypatch.setattr(make, "read_image", lambda *_: page_with(*glyphs))


def test_images_that_differ_by_a_pixel_are_alike_and_others_are_not() -> None:
    assert make.similarity(bars(7), bars(7)) == pytest.approx(1)
    assert make.similarity(bars(7), bars(8)) > 0.9
    assert make.similarity(bars(7), bars(18)) < 0.1
    assert make.similarity(bars(7, 18), bars(7)) == pytest.approx(2**-0.5, abs=0.01)


@pytest.mark.parametrize("in_a_row", [False, True])
def test_a_digit_of_which_half_is_lost_is_not_learnt_as_one(
    monkeypatch: pytest.MonkeyPatch, digits: Image, in_a_row: bool
) -> None:
    """Though its box is right: the digit itself is there in its place."""
    shows(monkeypatch, (bars(7), SEVEN), in_a_row=in_a_row)
    assert np.array_equal(make.make_images("photographs", digits, LABELS, SEEDS), digits[:, 0])
    shows(monkeypatch, (bars(7, 17), SEVEN), in_a_row=in_a_row)
    assert np.array_equal(make.make_images("photographs", digits, LABELS, SEEDS), [bars(7, 17)] * 20)


def test_every_cut_through_a_row_that_can_be_read_is_learnt(monkeypatch: pytest.MonkeyPatch, digits: Image) -> None:
    cuts = [bars(7, 18), bars(7, 17), bars(8, 18)]
    shows(monkeypatch, *((cut, SEVEN) for cut in cuts), in_a_row=True)
    made = make.make_images("photographs", digits, LABELS, SEEDS)
    assert {image.tobytes() for image in made} == {cut.tobytes() for cut in cuts}


@pytest.mark.parametrize(
    ("image", "box", "is_wrong"),
    [
        (bars(7, 18), SEVEN, False),
        (bars(7, 18), (10, 10, 60, 20), False),  # a digit, though with a speck that takes its box far
        (bars(7, 12, 18), (10, 10, 60, 20), True),
        (bars(10, 14), SEVEN, True),
        (bars(7, 12, 18), SEVEN, False),  # between the two: it is not learnt at all
    ],
)
def test_a_cut_is_wrong_where_neither_box_nor_image_is_a_digit(
    monkeypatch: pytest.MonkeyPatch, digits: Image, image: Image, box: Box, is_wrong: bool
) -> None:
    shows(monkeypatch, (image, box))
    monkeypatch.setattr(make, "SOURCES", {"row": 1.0})
    monkeypatch.setattr(make, "NEAR_PART", 1.0)
    monkeypatch.setattr(make, "ONE_LIKE", 1.0)
    monkeypatch.setattr(make, "glyph_non_digit", lambda *_: bars())
    made = make.make_images("non_digits", digits, LABELS, SEEDS)
    assert np.array_equal(made, [image if is_wrong else bars()] * 20)


def other_things(monkeypatch: pytest.MonkeyPatch, *images: Image) -> list[Any]:
    """From here on `images` are read from every picture of no digit; the list grows by one for each picture drawn."""
    drawn: list[Any] = []
    monkeypatch.setattr(make, "SOURCES", {"other": 1.0})
    monkeypatch.setattr(make, "non_digit", lambda *_: drawn.append(1))
    monkeypatch.setattr(make, "read_image", lambda _: page_with(*((image, SEVEN) for image in images)))
    return drawn


def test_a_picture_of_no_digit_serves_for_some_images(monkeypatch: pytest.MonkeyPatch, digits: Image) -> None:
    drawn = other_things(monkeypatch, *(bars(column, column + 12) for column in range(10)))
    made = make.make_images("non_digits", digits, LABELS, SEEDS)
    assert (len(made), len(drawn)) == (20, 7)
    assert len({image.tobytes() for image in made[:3]}) == 3


def test_what_several_layouts_have_in_common_is_taken_once(monkeypatch: pytest.MonkeyPatch, digits: Image) -> None:
    drawn = other_things(monkeypatch, bars(4, 18), bars(4, 18), bars(4, 18))
    make.make_images("non_digits", digits, LABELS, SEEDS)
    assert len(drawn) == 20


@pytest.mark.parametrize("one", [bars(12), bars(8, 10, 13, 16)])
def test_little_of_what_may_be_a_one_is_learnt_as_no_digit(monkeypatch: pytest.MonkeyPatch, one: Image) -> None:
    """A narrow one, or a block of a broad pen."""
    other_things(monkeypatch, one, bars(4, 18))
    digits, seeds = np.broadcast_to(bars(7, 18), (600, 8, 28, 28)), np.arange(600)
    made = make.make_images("non_digits", digits, np.full((600, 8), 7), seeds)
    narrow = np.mean([np.array_equal(image, one) for image in made])
    assert 0.005 < narrow < 0.04, "2 in 100 of them, beside all of the others"


def written(text: str) -> Image:
    return ideal_image(from_lines(sketch(text, 0, np.random.default_rng(0))))


def test_what_looks_like_a_digit_is_not_learnt_as_no_digit(monkeypatch: pytest.MonkeyPatch, digits: Image) -> None:
    """Such as the outline of a drop, which is a 0."""
    seven, cross = written("6,8 92,4! 64,46 46,100/34,52 84,48"), written("50,0 50,100/0,50 100,50")
    other_things(monkeypatch, seven, cross)
    made = make.make_images("non_digits", digits, LABELS, SEEDS)
    assert np.array_equal(made, [cross] * 20)


def test_digits_of_the_data_set_are_not_learnt_as_no_digit(monkeypatch: pytest.MonkeyPatch, digits: Image) -> None:
    """Though no person writes an eleven as one digit."""
    other_things(monkeypatch, digits[0, 0], bars(3, 22))
    made = make.make_images("non_digits", digits, LABELS, SEEDS)
    assert np.array_equal(made, [bars(3, 22)] * 20)


@pytest.mark.parametrize("label", [1, 8])
def test_a_block_is_learnt_as_a_one_alone(monkeypatch: pytest.MonkeyPatch, digits: Image, label: int) -> None:
    block = np.zeros((28, 28), np.uint8)
    block[4:24, 8:20] = 255
    monkeypatch.setattr(make, "similarity", lambda *_: 1.0)
    shows(monkeypatch, (block, SEVEN))
    made = make.make_images("photographs", digits, np.full((20, 4), label), SEEDS)
    assert np.array_equal(made, np.broadcast_to(block, made.shape) if label == 1 else digits[:, 0])


def test_windows_of_rows_have_a_digit_in_the_middle_or_none() -> None:
    """A ring is empty in the middle, and has a side on the left and on the right."""
    ring = np.zeros((28, 28), np.uint8)
    ring[4:24, 7:21], ring[7:21, 10:18] = 255, 0
    digits = np.broadcast_to(ring, (12, 8, 28, 28)).copy()
    labels = np.full((12, 8), 3)  # people rarely have a habit for it, which would replace the ring
    made = make.make_images("rows", digits, labels, np.arange(12)).reshape(12, 2, 8, 28, 28)

    def is_ring(windows: Image) -> float:
        middle = windows[..., 8:20, :] > 80
        around = middle[..., 4:13].any(axis=(-2, -1)) & middle[..., 15:24].any(axis=(-2, -1))
        return float(np.mean(around & (middle[..., 13:15].mean(axis=(-2, -1)) < 0.2)))

    assert is_ring(made[:, 0]) > 0.7
    assert is_ring(made[:, 1]) < is_ring(made[:, 0]) - 0.2
    again = make.make_images("rows", digits[:2], labels[:2], np.arange(2))
    assert np.array_equal(again, made[:2].reshape(-1, 28, 28))


def test_a_digit_in_no_strip_keeps_its_image(monkeypatch: pytest.MonkeyPatch, digits: Image) -> None:
    shows(monkeypatch)
    monkeypatch.setattr(make, "read_strips", lambda _: [])
    monkeypatch.setattr(make, "page", lambda lines, *_, **__: (bars(), [DrawnDigit(SEVEN, bars(7))] * 4))
    made = make.make_images("rows", digits, LABELS, SEEDS).reshape(20, 2, 4, 28, 28)
    assert np.array_equal(made[:, 0], digits)
    assert not made[:, 1].any()


def test_training_sees_the_strips_that_reading_sees() -> None:
    """Also on pages with strays, such as the edge of a table, which are left out (seeds 27, 50 and 68)."""
    digits = np.broadcast_to(bars(7, 18), (6, 28, 28))
    for seed in (0, 1, 2, 27, 50, 68):
        picture, _ = photographs.page([list(digits[:4]), list(digits[4:])], np.random.default_rng(seed))
        layouts = make.read_image(picture).layouts
        lines = [line.strip.image for line in layouts[0].lines if line.strip is not None] if layouts else []
        assert [strip.image.tolist() for strip in make.read_strips(picture)] == [image.tolist() for image in lines]
