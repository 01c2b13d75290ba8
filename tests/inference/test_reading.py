"""Which glyphs are the digits: `mnist_trainer/inference/reading.py`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnist_trainer.inference.reading import GLYPH_WEIGHT, Scores, choose_glyphs, combine_scores
from mnist_trainer.pictures.page import Glyph, Layout, Line, Page

IMAGE = np.zeros((28, 28), np.uint8)


def glyph(first: int, end: int, cost: float = 0.0, size: int = 30) -> Glyph:
    return Glyph(IMAGE, (0, 0, size // 2, size), first, end, cost)


def line(end: int, *glyphs: Glyph) -> Line:
    return Line(end, glyphs)


def page(*lines: Line) -> Page:
    """A page that can be seen in one way only."""
    return Page((Layout(lines),))


def layouts(*each: tuple[Line, float]) -> Page:
    return Page(tuple(Layout((one,), cost) for one, cost in each))


def chosen(seen: Page, sure: Sequence[float], none: Sequence[float] | None = None) -> list[list[int]]:
    """What is chosen where the best class of each glyph has the probability `sure`."""
    best = np.array(sure)[:, None]
    probabilities = np.hstack([best, (1 - best).repeat(9, axis=1) / 9])
    return choose_glyphs(seen, probabilities, np.zeros(len(sure)) if none is None else np.array(none))


def test_every_line_has_its_chain_of_places_on_the_page() -> None:
    seen = page(line(2, glyph(0, 1), glyph(1, 2)), line(1, glyph(0, 1)))
    assert chosen(seen, [0.9, 0.9, 0.9]) == [[0, 1], [2]]


@pytest.mark.parametrize(("parts", "whole", "places"), [(0.95, 0.5, [0, 1]), (0.5, 0.95, [2])])
def test_the_glyphs_that_surprise_least_are_the_digits(parts: float, whole: float, places: list[int]) -> None:
    seen = page(line(2, glyph(0, 1), glyph(1, 2), glyph(0, 2)))
    assert chosen(seen, [parts, parts, whole]) == [places]


def test_glyphs_may_come_in_any_order() -> None:
    seen = page(line(3, glyph(1, 3), glyph(2, 3), glyph(0, 1), glyph(0, 2), glyph(1, 2)))
    assert chosen(seen, [0.2, 0.9, 0.9, 0.2, 0.9]) == [[2, 4, 1]]
    assert chosen(seen, [0.9, 0.2, 0.9, 0.2, 0.2]) == [[2, 0]]


def test_what_is_no_digit_surprises() -> None:
    seen = page(line(2, glyph(0, 1), glyph(1, 2), glyph(0, 2)))
    assert chosen(seen, [0.9] * 3, none=[0, 0, 0.9]) == [[0, 1]]
    assert chosen(seen, [0.9] * 3, none=[0.9, 0.9, 0]) == [[2]]
    assert chosen(seen, [0.9, 0.9, 0.6], none=[0.4, 0.4, 0]) == [[2]]  # though each of them is rather a digit
    assert chosen(seen, [0.9, 0.9, 0.6]) == [[0, 1]]


def test_a_cut_must_be_worth_its_cost() -> None:
    cheap, dear = (page(line(2, glyph(0, 1, cost), glyph(1, 2, cost), glyph(0, 2))) for cost in (0.1, 2.0))
    assert chosen(cheap, [0.9, 0.9, 0.4]) == [[0, 1]]
    assert chosen(dear, [0.9, 0.9, 0.4]) == [[2]]


def test_a_layout_must_be_worth_its_cost() -> None:
    row, whole = line(2, glyph(0, 1), glyph(1, 2)), line(1, glyph(0, 1))
    assert chosen(layouts((row, 0), (whole, 0.5)), [0.8, 0.8, 0.9]) == [[0, 1]]
    assert chosen(layouts((row, 0), (whole, 0.5)), [0.3, 0.3, 0.9]) == [[2]]
    assert chosen(layouts((row, 1.5), (whole, 0.5)), [0.8, 0.8, 0.9]) == [[2]]
    assert chosen(layouts((whole, 0), (row, 0)), [0.9, 0.9, 0.9]) == [[0]]  # the likelier one comes first


def test_in_a_layout_large_digits_count_more_than_small_ones() -> None:
    """A doubtful speck beside a clear digit does not speak against it; a doubtful digit beside a clear speck does."""
    speck, digit, other = glyph(0, 1, size=2), glyph(1, 2, size=40), line(1, glyph(0, 1))
    seen = layouts((line(2, speck, digit), 0), (other, 0))
    assert chosen(seen, [0.3, 0.95, 0.7]) == [[1]]
    assert chosen(seen, [0.95, 0.3, 0.7]) == [[2]]


def test_impossible_digits_have_an_end() -> None:
    seen = page(line(2, glyph(0, 1), glyph(1, 2)))
    zeros = np.zeros((2, 10))
    assert choose_glyphs(seen, zeros, np.ones(2)) == [[0, 1]]


def every_chain(one: Line) -> list[list[int]]:
    """All chains from the first piece to the last, by trying all."""
    chains: list[tuple[int, list[int]]] = [(0, [])]
    done = []
    while chains:
        end, places = chains.pop()
        if end == one.end:
            done.append(places)
        chains += [(each.end, [*places, place]) for place, each in enumerate(one.glyphs) if each.first == end]
    return done


@st.composite
def lines(draw: st.DrawFn) -> Line:
    end = draw(st.integers(1, 6))
    spans = [(first, first + 1) for first in range(end)]
    spans += draw(st.lists(st.tuples(st.integers(0, end - 1), st.integers(1, end)), max_size=8))
    cost = st.floats(0, 5)
    return line(end, *(glyph(first, max(end, first + 1), draw(cost)) for first, end in spans))


@given(st.lists(lines(), min_size=1, max_size=3), st.integers(0, 2**32 - 1))
def test_no_other_chain_surprises_less(found: list[Line], seed: int) -> None:
    random = np.random.default_rng(seed)
    seen = page(*found)
    probabilities = random.dirichlet([0.3] * 10, len(seen.glyphs))
    none = np.zeros(len(seen.glyphs))
    best = probabilities.max(axis=1).tolist()
    surprise = [each.cost - log(probability) for each, probability in zip(seen.glyphs, best, strict=True)]
    start, starts = 0, []
    for one in found:
        starts.append(start)
        start += len(one.glyphs)
    for one, begin, places in zip(found, starts, choose_glyphs(seen, probabilities, none), strict=True):
        glyphs = [seen.glyphs[place] for place in places]
        ends = [0, *(each.end for each in glyphs)]
        assert [each.first for each in glyphs] == ends[:-1] and ends[-1] == one.end
        least = min(sum(surprise[begin + place] for place in chain) for chain in every_chain(one))
        assert sum(surprise[place] for place in places) == pytest.approx(least)


def test_the_example_of_seven_pieces() -> None:
    """All ways to cut 7 pieces into spans of 1 to 3, of which one is sure."""
    spans = [(first, end) for first, end in product(range(7), range(1, 8)) if 1 <= end - first <= 3]
    wanted = [(0, 2), (2, 3), (3, 6), (6, 7)]
    seen = page(line(7, *(glyph(*span) for span in spans)))
    (places,) = chosen(seen, [0.99 if span in wanted else 0.4 for span in spans])
    assert [spans[place] for place in places] == wanted


def test_what_is_probably_no_digit_costs_its_probability() -> None:
    seen = page(line(2, glyph(0, 1), glyph(1, 2), glyph(0, 2)))
    assert chosen(seen, (0.5, 0.5, 1.0), (0.0, 0.0, 0.7)) == [[2]]
    assert chosen(seen, (0.5, 0.5, 1.0), (0.0, 0.0, 0.8)) == [[0, 1]]


def test_a_speck_between_digits_is_skipped_unless_it_makes_one_whole() -> None:
    """However much like a 1 it looks: digits are not that much smaller than others beside them."""
    speck = (glyph(0, 1), glyph(1, 2, size=5), glyph(2, 3))
    assert chosen(page(line(3, *speck)), [0.9, 0.99, 0.9]) == [[0, 2]]
    assert chosen(page(line(3, *speck, glyph(1, 3, 0.4))), [0.9, 0.99, 0.1, 0.9]) == [[0, 3]]
    assert chosen(page(line(3, glyph(0, 1), glyph(1, 2, size=20), glyph(2, 3))), [0.9, 0.99, 0.9]) == [[0, 1, 2]]


def test_a_line_of_specks_is_none_and_a_smudge_does_not_make_specks_of_digits() -> None:
    seen = page(line(1, glyph(0, 1, size=6)), line(2, glyph(0, 1), glyph(1, 2)))
    assert chosen(seen, [0.99, 0.9, 0.9]) == [[1, 2]]
    smudge = page(line(3, glyph(0, 1), glyph(1, 2, size=160), glyph(2, 3)))
    assert chosen(smudge, [0.9, 0.4, 0.9], none=[0, 0.9, 0]) == [[0, 1, 2]]


def test_digits_that_are_cut_are_as_large_as_others() -> None:
    """Where no glyph is a step alone, and small pieces of one that is cut are no measure."""
    assert chosen(page(line(3, glyph(0, 3))), [0.9]) == [[0]]
    slivers = [glyph(at, at + 1, size=8) for at in range(4)]
    assert chosen(page(line(4, *slivers, glyph(0, 2), glyph(2, 4))), [0.3] * 4 + [0.9, 0.9]) == [[4, 5]]


def test_the_window_in_the_row_decides_where_the_glyph_alone_is_unclear() -> None:
    glyphs = Scores(np.array([[0.55, 0.45], [0.9, 0.1], [0.5, 0.5]]), np.array([0.1, 0.2, 0.3]))
    rows = Scores(np.array([[0.02, 0.98], [0.5, 0.5]]), np.array([0.0, 0.9]))
    both = combine_scores(glyphs, rows, np.array([True, False, True]))
    assert both.probabilities.argmax(axis=1)[0] == 1
    assert both.probabilities[1].tolist() == [0.9, 0.1] and both.none[1] == 0.2
    assert both.none[2] > 0.7 > glyphs.none[2], "what has no digit in its middle is none"
    assert both.probabilities.sum(axis=1) == pytest.approx(1)


def test_two_models_that_know_nothing_leave_the_scores_as_they_are() -> None:
    glyphs = Scores(np.array([[0.7, 0.2, 0.1]]), np.array([0.0]))
    flat = Scores(np.full((1, 3), 1 / 3), np.array([0.25]))
    both = combine_scores(glyphs, flat, np.array([True]))
    sharpened = np.array([0.7, 0.2, 0.1]) ** GLYPH_WEIGHT
    assert both.probabilities[0] == pytest.approx(sharpened / sharpened.sum())
