"""Pictures and images of no digit, and their letters: `mnist_trainer/simulator/non_digits.py`, `letters.py`."""

from __future__ import annotations

from typing import Any
from unicodedata import normalize

import numpy as np
import pytest
from numpy.typing import NDArray

from mnist_trainer.pictures.render import centroid
from mnist_trainer.simulator.habits import ideal_image, looks_like_a_digit
from mnist_trainer.simulator.letters import (
    CURSIVE,
    DRAWINGS,
    LETTERS,
    MARKS,
    SYMBOLS,
    letter,
    printed,
    symbol,
    typed,
    typed_digit,
)
from mnist_trainer.simulator.non_digits import NON_DIGITS, glyph_non_digit, non_digit, outline
from mnist_trainer.simulator.scene import LARGEST
from mnist_trainer.simulator.strokes import Strokes, deform, from_lines, sketch

Images = NDArray[np.uint8]


@pytest.mark.parametrize("kind", [None, *NON_DIGITS])
def test_every_kind_is_a_picture_that_depends_on_its_arguments_alone(digits: Images, kind: str | None) -> None:
    for seed in range(5):
        before = digits.copy()
        picture = non_digit(np.random.default_rng(seed), digits, kind)
        assert (picture.dtype, picture.ndim, picture.shape[2]) == (np.uint8, 3, 3)
        assert 20 <= min(picture.shape[:2]) <= max(picture.shape[:2]) <= LARGEST
        assert np.array_equal(picture, non_digit(np.random.default_rng(seed), digits, kind))
        assert np.array_equal(before, digits)


def test_the_mixture_is_not_always_the_same(digits: Images) -> None:
    assert len({non_digit(np.random.default_rng(seed), digits).shape for seed in range(10)}) > 5


@pytest.mark.parametrize("kind", ["turned", "cut", "joined"])
def test_digits_that_can_not_be_spoilt_do_not_hang_it(kind: str) -> None:
    bars = np.zeros((2, 28, 28), np.uint8)
    bars[:, 4:24, 13:16] = 255
    assert non_digit(np.random.default_rng(0), bars, kind).size


def test_letters_look_like_no_digit() -> None:
    cursive = normalize("NFKC", "".join(letters for letters, _ in CURSIVE))  # of 𝓐 it makes A
    assert {*LETTERS, *cursive}.isdisjoint("OoDlIiSsZzbqg0123456789")
    assert set(SYMBOLS).isdisjoint("0123456789|/()")


@pytest.mark.parametrize("draw", [letter, symbol])
def test_letters_and_symbols_are_there_and_whole(draw: type[letter]) -> None:
    for seed in range(60):
        image = draw(np.random.default_rng(seed))
        assert image.shape == (112, 112)
        assert image.max() > 200
        assert not image[[0, -1]].any()
        assert not image[:, [0, -1]].any()


@pytest.mark.parametrize("face", ["DejaVuSans.ttf", "DejaVuSans-Bold.ttf"])
def test_every_symbol_has_a_glyph_in_the_font(face: str) -> None:
    foreign = {character for character in LETTERS if not character.isascii()}
    characters = {*SYMBOLS, *foreign, "\uffff"}  # what a face lacks is a box, the same for all
    assert len({typed(character, face).tobytes() for character in characters}) == len(characters)


def test_symbols_are_written_and_come_filled(digits: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pen leaves most of a heart white."""
    import mnist_trainer.simulator.non_digits as module

    heart = typed("❤", "DejaVuSans.ttf")
    monkeypatch.setattr(module, "symbol", lambda _: heart)
    inks = list[float]()
    monkeypatch.setattr(module, "render_scene", lambda writing, *_: inks.append(covered(writing.ink)))
    for seed in range(40):
        non_digit(np.random.default_rng(seed), digits, "symbol")
    assert 5 < sum(ink > 0.9 * covered(heart) for ink in inks) < 30


def covered(ink: NDArray[Any]) -> float:
    """How much of its box the ink takes."""
    rows, columns = np.nonzero(ink > 0.5 * ink.max())
    return len(rows) / float(np.ptp(rows) * np.ptp(columns))


def test_outlines_are_lines_around_what_stays_empty() -> None:
    images = [outline(np.random.default_rng(seed)) for seed in range(40)]
    assert all(image.shape == (112, 112) and not image[[0, -1]].any() for image in images)
    assert np.median([covered(image) for image in images]) < 0.5


@pytest.mark.parametrize("texts", [DRAWINGS, MARKS])
def test_few_drawings_and_marks_look_like_digits(texts: tuple[str, ...]) -> None:
    alike = 0
    for seed, text in enumerate(texts):
        rng = np.random.default_rng(seed)
        alike += looks_like_a_digit(ideal_image(deform(from_lines(sketch(text, 0.02, rng)), rng)))
    assert alike <= 0.08 * len(texts)


def test_scribbles_are_drawn_again_until_they_look_like_no_digit(
    digits: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mnist_trainer.simulator.non_digits as module

    drawn: list[Strokes] = []
    monkeypatch.setattr(module, "_write", lambda strokes, _: drawn.append(strokes))
    for kind in ("scribble", "mark", "turned", "cut"):
        for seed in range(20):
            non_digit(np.random.default_rng(seed), digits, kind)
    assert sum(looks_like_a_digit(ideal_image(strokes)) for strokes in drawn) < 0.05 * len(drawn)


def test_print_fills_its_page() -> None:
    page = printed(LARGEST)
    assert page.shape == (LARGEST, LARGEST)
    blocks = page.reshape(10, 100, 10, 100).max(axis=(1, 3))
    assert blocks.min() > 0


def test_digits_as_they_are_printed_come_from_several_faces() -> None:
    for digit in range(10):
        faces = [typed_digit(digit, np.random.default_rng(seed)) for seed in range(30)]
        assert len({face.tobytes() for face in faces}) > 5
    assert not np.array_equal(typed_digit(3, np.random.default_rng(0)), typed_digit(4, np.random.default_rng(0)))


def test_glyphs_are_like_those_of_a_reading(digits: Images) -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        image = glyph_non_digit(random, digits)
        assert (image.shape, image.dtype, image.max()) == ((28, 28), np.uint8, 255)
        assert all(abs(at - 14) < 4 for at in centroid(image))


def test_glyphs_depend_on_their_arguments_alone(digits: Images) -> None:
    before = digits.copy()
    first, second = (glyph_non_digit(np.random.default_rng(9), digits) for _ in range(2))
    assert np.array_equal(first, second)
    assert np.array_equal(before, digits)


def test_most_glyphs_hold_more_than_one_digit(digits: Images) -> None:
    random = np.random.default_rng(0)
    bars = np.zeros((1, 28, 28), np.uint8)
    bars[:, 4:24, 12:16] = 255
    widths = [int((glyph_non_digit(random, bars).max(axis=0) > 80).sum()) for _ in range(60)]
    assert np.mean(np.array(widths) > 5) > 0.8
