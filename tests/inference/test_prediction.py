"""The answer to a picture: `mnist_trainer/inference/reading.py`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from mnist_trainer.inference.reading import (
    DigitPrediction,
    Prediction,
    RejectPolicy,
    Scores,
    class_labels,
    predict_page,
    unreadable,
)
from mnist_trainer.pictures.page import Glyph, Layout, Line, Page

TEN = RejectPolicy(class_labels("0123456789"))


def line(*boxes: int) -> Line:
    """A row of pieces that can be read in one way only, at these distances from the left."""
    glyphs = [
        Glyph(np.full((28, 28), x, np.uint8), (x + 5, 20, 20, 30), place, place + 1) for place, x in enumerate(boxes)
    ]
    return Line(len(glyphs), tuple(glyphs))


def page(*lines: Line) -> Page:
    return Page((Layout(lines),), size=(400, 200))


def scores(*answers: tuple[int, float], second: Sequence[int] = (), none: Sequence[float] = ()) -> Scores:
    """Of each digit its answer and its probability; what is left belongs to `second` (9 unless told)."""
    probabilities = np.zeros((len(answers), 10))
    for place, (digit, probability) in enumerate(answers):
        probabilities[place, digit] = probability
        probabilities[place, second[place] if second else 9] += 1 - probability
    return Scores(probabilities, np.array(none or [0.0] * len(answers)))


def test_a_picture_is_read_line_by_line() -> None:
    found = predict_page(page(line(0, 40), line(3)), scores((7, 0.9), (0, 0.8), (5, 1)), TEN, "a.png")
    assert (found.path, found.text, found.error, found.refused, found.reason) == ("a.png", "70\n5", None, False, None)
    assert [decide.digit for decide in found.digits] == [7, 0, 5]
    assert [decide.box for decide in found.digits] == [(5, 20, 20, 30), (45, 20, 20, 30), (8, 20, 20, 30)]
    assert [decide.line for decide in found.digits] == [0, 0, 1]
    assert [int(decide.image[0, 0]) for decide in found.digits if decide.image is not None] == [0, 40, 3]


def test_of_all_ways_to_see_digits_one_is_answered() -> None:
    """Two pieces are two digits or one: the scores say which."""
    apart = line(0, 40)
    whole = Glyph(np.full((28, 28), 99, np.uint8), (0, 2, 60, 30), 0, 2)
    end = page(Line(2, (*apart.glyphs, whole)))
    surest = scores((1, 0.99), (3, 0.99), (8, 0.51), none=(0, 0, 0.9))
    assert predict_page(end, surest, TEN, None).text == "13"
    surest = scores((1, 0.51), (3, 0.51), (8, 0.99), none=(0.9, 0.9, 0))
    assert predict_page(end, surest, TEN, None).text == "8"


def test_a_picture_is_as_sure_as_its_least_sure_digit() -> None:
    found = predict_page(page(line(0, 40)), scores((7, 0.9), (0, 0.6)), TEN, None)
    sure, unsure = found.digits
    assert (sure.confidence, unsure.confidence, found.confidence) == (0.9, 0.6, 0.6)
    assert unsure.confidence == max(unsure.probabilities) == unsure.probabilities[0]
    assert sum(unsure.probabilities) == pytest.approx(1)


def test_what_looks_like_no_digit_is_refused() -> None:
    policy = replace(TEN, refusal_threshold=0.5)
    seen = page(line(*range(0, 280, 40)))
    found = predict_page(
        seen,
        scores((7, 0.3), (0, 0.9), (4, 0.8), (1, 1), (2, 1), (3, 1), (4, 1), none=(0.87, 0.49, 0.5, 0, 0, 0, 0)),
        policy,
        None,
    )
    assert (found.text, found.refused, found.confidence) == ("?0?1234", False, 0.9)
    assert [decide.reason for decide in found.digits[:3]] == [
        "looks like no digit: 87 % sure",
        None,
        "looks like no digit: 50 % sure",
    ]
    assert found.digits[0].digit == 9  # its likeliest answer stays


def test_a_model_that_cannot_tell_refuses_nothing() -> None:
    found = predict_page(page(line(0, 40)), scores((7, 0.3), (0, 0.9), none=(1, 1)), TEN, None)
    assert (found.text, found.refused) == ("90", False)


def test_what_is_less_sure_than_asked_for_is_refused_with_both_answers_named() -> None:
    policy = replace(TEN, min_confidence=0.6)
    seen = page(line(*range(0, 240, 40)))
    answers = ((4, 0.52), (0, 0.6), (3, 0.59), (1, 1), (2, 1), (3, 1))
    found = predict_page(seen, scores(*answers, second=(9, 9, 8, 0, 0, 0)), policy, None)
    assert (found.text, found.confidence) == ("?0?123", 0.6)
    assert [decide.reason for decide in found.digits[:3]] == [
        "may be 4 or 9: 52 % and 48 %",
        None,
        "may be 3 or 8: 59 % and 41 %",
    ]


@pytest.mark.parametrize("digit", range(4))
def test_a_digit_among_letters_is_none(digit: int) -> None:
    """A word has a letter now and then that looks like one; the reason is of one that does not."""
    none = [0.0 if place == digit else 0.9 for place in range(4)]
    seen = page(line(0, 40, 80, 120))
    found = predict_page(seen, scores(*[(1, 1.0)] * 4, none=none), replace(TEN, refusal_threshold=0.5), None)
    assert (found.text, found.refused, found.confidence) == ("", True, None)
    assert found.reason == "only 1 of its 4 signs can be read; another looks like no digit: 90 % sure"
    assert len(found.digits) == 4


def sign(place: int, height: int) -> Glyph:
    """One of several pieces in a row, of that height."""
    return Glyph(np.zeros((28, 28), np.uint8), (50 * place + 5, 20, 20, height), place, place + 1)


@pytest.mark.parametrize(("height", "text"), [(30, "7?0"), (20, "7?0"), (45, "7?0"), (6, "70"), (120, "70")])
def test_a_refused_sign_far_from_as_high_as_the_digits_is_none(height: int, text: str) -> None:
    seen = page(Line(3, (sign(0, 30), sign(1, height), sign(2, 32))))
    found = predict_page(
        seen, scores((7, 0.9), (1, 0.4), (0, 0.8), none=(0, 0.9, 0)), replace(TEN, refusal_threshold=0.5), None
    )
    assert (found.text, found.refused, found.confidence) == (text, False, 0.8)
    assert [decide.sign for decide in found.digits] == list(text)


def test_lines_of_refused_signs_alone_are_left_out() -> None:
    seen = page(line(0, 40), line(0), line(3))
    policy = replace(TEN, refusal_threshold=0.5)
    found = predict_page(seen, scores((7, 0.9), (0, 0.8), (1, 1), (5, 1), none=(0, 0, 0.9, 0)), policy, None)
    assert found.text == "70\n5"
    assert [decide.line for decide in found.digits] == [0, 0, 1]


def test_a_small_digit_that_is_answered_stays() -> None:
    seen = page(Line(3, (sign(0, 30), sign(1, 6), sign(2, 32))))
    assert (
        predict_page(seen, scores((7, 0.9), (1, 0.9), (0, 0.8)), replace(TEN, refusal_threshold=0.5), None).text
        == "710"
    )


def test_nothing_is_a_hundred_percent_sure() -> None:
    seen = page(line(0))
    found = predict_page(seen, scores((7, 1), none=(0.9999,)), replace(TEN, refusal_threshold=0.5), None)
    assert found.reason == "looks like no digit: 99 % sure"


def test_a_picture_without_an_answer_is_refused() -> None:
    policy = replace(TEN, refusal_threshold=0.5)
    one = predict_page(page(line(0)), scores((7, 1), none=(0.9,)), policy, "a.png")
    assert (one.text, one.refused, one.confidence, one.error) == ("", True, None, None)
    assert one.reason == "looks like no digit: 90 % sure"
    assert len(one.digits) == 1
    two = predict_page(page(line(0), line(0)), scores((7, 1), (8, 1), none=(0.9, 0.8)), policy, None)
    assert (two.text, two.refused) == ("", True)
    assert two.reason == "none of its 2 signs can be read; the first looks like no digit: 90 % sure"


def test_a_page_without_lines_says_why() -> None:
    nothing = Scores(np.empty((0, 10)), np.empty(0))
    found = predict_page(Page((), "no ink"), nothing, TEN, "a.png")
    assert found == Prediction("a.png", "", (), None, refused=True, reason="no ink")


def test_classes_that_are_no_digits_are_named() -> None:
    policy = RejectPolicy(class_labels(["seven", "not 7"]))
    seen = page(line(0, 40))
    found = predict_page(seen, Scores(np.array([[0.9, 0.1], [0.2, 0.8]]), np.zeros(2)), policy, None)
    assert (found.text, [decide.digit for decide in found.digits]) == ("seven not 7", ["seven", "not 7"])
    assert class_labels(["not 7", "7"]) == ("not 7", 7)


def test_outputs_that_are_no_probabilities_have_an_order_alone() -> None:
    policy = replace(TEN, gives_probabilities=False, refusal_threshold=0.5, min_confidence=0.9)
    values = np.full((1, 10), -1.0)
    values[0, 4] = 2.5
    found = predict_page(page(line(0)), Scores(values, np.ones(1)), policy, None)
    (digit,) = found.digits
    assert (found.text, found.confidence, found.refused) == ("4", None, False)
    assert (digit.confidence, digit.probabilities, digit.refused, digit.ranked(3)) == (None, (), False, [])


def test_the_second_answer_is_ranked_where_it_is_close() -> None:
    close, clear = (
        predict_page(page(line(0)), scores((4, probability)), TEN, None).digits[0] for probability in (0.89, 0.91)
    )
    assert close.ranked() == [(4, 0.89), (9, pytest.approx(0.11))]
    assert clear.ranked() == [(4, 0.91)]
    assert clear.ranked(1) == [(4, 0.91)]
    assert [name for name, _ in clear.ranked(3)] == [4, 9, 0]
    assert len(clear.ranked(99)) == 10


def test_the_json_has_the_shape_that_stays() -> None:
    content = json.loads(json.dumps(predict_page(page(line(0)), scores((7, 0.9)), TEN, "a.png").to_json()))
    assert list(content) == ["path", "text", "digits", "confidence", "refused", "reason", "error", "can_refuse"]
    (decide,) = content["digits"]
    assert list(decide) == ["digit", "confidence", "probabilities", "box", "refused", "reason"]
    assert (decide["digit"], len(decide["probabilities"]), decide["box"]) == (7, 10, [5, 20, 20, 30])


def test_equal_answers_are_equal() -> None:
    """Though they hold images, which numpy compares pixel by pixel."""
    first, second = (predict_page(page(line(0)), scores((7, 0.9)), TEN, None) for _ in range(2))
    assert first == second
    assert "image" not in repr(first)
    assert isinstance(first.digits[0], DigitPrediction)


def test_an_unreadable_picture_says_why() -> None:
    expected = Prediction("a.png", "", (), None, refused=False, reason=None, error="a.png is no picture.")
    assert unreadable("a.png", "a.png is no picture.") == expected


@pytest.mark.parametrize(("left", "text"), [(0, "70"), (5, "?70")])
def test_what_is_refused_at_the_border_is_no_sign(left: int, text: str) -> None:
    first = Glyph(np.zeros((28, 28), np.uint8), (left, 20, 20, 30), 0, 1)
    seen = page(Line(3, (first, sign(1, 30), sign(2, 32))))
    found = predict_page(
        seen, scores((1, 0.9), (7, 0.9), (0, 0.9), none=(0.9, 0, 0)), replace(TEN, refusal_threshold=0.5), None
    )
    assert found.text == text
