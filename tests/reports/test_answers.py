"""What is said of a picture: `mnist_trainer/reports/results.py`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mnist_trainer.inference.reading import Prediction, Scores, class_labels, predict_page, unreadable
from mnist_trainer.inference.reading import RejectPolicy as Rules
from mnist_trainer.inference.signs import Sign
from mnist_trainer.pictures.page import Glyph, Layout, Line, Page
from mnist_trainer.reports.results import PREDICTION_COLUMNS, digit_caption, prediction_lines, prediction_row

RULES = Rules(class_labels("0123456789"), refusal_threshold=0.5, min_confidence=0.5)


def picture(*rows: str, rules: Rules = RULES) -> Prediction:
    """A picture with such rows: digits are clear, `a` is a 4 or a 9, `b` a 1 or a 7 not sure enough, `x` none."""
    digit_probability = {"a": (4, 0.6, 9), "b": (1, 0.45, 7), "x": (3, 0.9, 5)}
    drawn = [digit_probability.get(sign) or (int(sign), 0.95, (int(sign) + 1) % 10) for row in rows for sign in row]
    probabilities = np.zeros((len(drawn), 10))
    for place, (first, probability, second) in enumerate(drawn):
        probabilities[place, first] = probability
        probabilities[place, second] = (1 - probability) * 0.75
        probabilities[place, 0] += (1 - probability) * 0.25
    none = np.array([0.87 if sign == "x" else 0.0 for row in rows for sign in row])
    image = np.zeros((28, 28), np.uint8)
    lines = [Line(len(row), tuple(Glyph(image, (40, 40, 9, 9), at, at + 1) for at in range(len(row)))) for row in rows]
    page = Page((Layout(tuple(lines)),), size=(100, 100))
    return predict_page(page, Scores(probabilities, none), rules, "a.png")


@pytest.mark.parametrize(
    ("rows", "lines"),
    [
        (["7"], ["a.png: 7  (95.0 %)"]),
        (["a"], ["a.png: 4  (60.0 %; may be 9: 30.0 %)"]),
        (["b"], ["a.png: refused  (may be 1 or 7: 45 % and 41 %)"]),
        (["x"], ["a.png: refused  (looks like no digit: 87 % sure)"]),
        (["407"], ["a.png: 407  (95.0 %)"]),
        (["4a7"], ["a.png: 447  (60.0 %)", "  digit 2: 4 (60.0 %) or 9 (30.0 %)"]),
        (
            ["4x7", "12b"],
            [
                "a.png: 2 lines  (95.0 %)",
                "  4?7",
                "  12?",
                "  line 1, digit 2: looks like no digit: 87 % sure",
                "  line 2, digit 3: may be 1 or 7: 45 % and 41 %",
            ],
        ),
        (
            ["xb"],
            [
                "a.png: refused  (none of its 2 signs can be read; the first looks like no digit: 87 % sure)",
                "  digit 1: looks like no digit: 87 % sure",
                "  digit 2: may be 1 or 7: 45 % and 41 %",
            ],
        ),
    ],
)
def test_what_a_terminal_shows(rows: list[str], lines: list[str]) -> None:
    assert prediction_lines(picture(*rows)) == lines


@pytest.mark.parametrize(
    ("rows", "top", "lines"),
    [
        (["a"], 1, ["a.png: 4  (60.0 %)"]),
        (["7"], 3, ["a.png: 7  (95.0 %; then 8: 3.8 %, 0: 1.3 %)"]),
        (["7a"], 1, ["a.png: 74  (60.0 %)", "  digit 1: 7 (95.0 %)", "  digit 2: 4 (60.0 %)"]),
        (
            ["77x"],
            2,
            [
                "a.png: 77?  (95.0 %)",
                "  digit 1: 7 (95.0 %), 8 (3.8 %)",
                "  digit 2: 7 (95.0 %), 8 (3.8 %)",
                "  digit 3: looks like no digit: 87 % sure; 3 (90.0 %), 5 (7.5 %)",
            ],
        ),
    ],
)
def test_the_likeliest_answers_on_request(rows: list[str], top: int, lines: list[str]) -> None:
    assert prediction_lines(picture(*rows), top) == lines


def test_blank_paper_is_refused_with_its_reason() -> None:
    blank = Prediction("a.png", "", (), None, refused=True, reason="no ink")
    assert prediction_lines(blank) == prediction_lines(blank, 3) == ["a.png: refused  (no ink)"]


def test_outputs_that_are_no_probabilities_are_not_called_so() -> None:
    rules = Rules(RULES.names, gives_probabilities=False)
    assert prediction_lines(picture("7", rules=rules), 3) == ["a.png: 7"]
    assert prediction_lines(picture("7a", rules=rules)) == ["a.png: 74"]
    assert digit_caption(picture("7", rules=rules).digits[0]) == "7"


def test_a_caption_is_the_answer() -> None:
    assert [digit_caption(digit) for digit in picture("7ax").digits] == ["7  95.0 %", "4  60.0 %", "?"]


def test_a_row_of_the_table() -> None:
    assert PREDICTION_COLUMNS == (
        "path",
        "text",
        "confidence",
        "refused",
        "reason",
        "error",
        "page",
        "warnings",
        "signs",
    )
    assert prediction_row(picture("4a", "x7")) == ("a.png", "44\n?7", "0.6", "false", "", "", "", "", "")
    assert prediction_row(picture("x")) == ("a.png", "", "", "true", "looks like no digit: 87 % sure", "", "", "", "")
    assert prediction_row(unreadable(None, "damaged")) == ("", "", "", "false", "", "damaged", "", "", "")
    second = replace(picture("4a"), page=2, warnings=("one", "two"), signs=(Sign(".", (0, 0, 1, 1), 0, 1),))
    assert prediction_row(second) == ("a.png", "44", "0.6", "false", "", "", "2", "one; two", "with signs: 4.4")


def test_a_page_with_much_that_is_unreadable_says_what_it_could_read() -> None:
    rules = replace(RULES, refusal_threshold=0.5)
    assert picture("40732", "71xxx", "9xxxx", rules=rules).text == "40732\n71???\n9????"
    assert picture("40xxx", "7xxxx", rules=rules).refused
    assert picture("40732", "xxxx7", "xxxx9", "xxxx1", "xxxx2", "xxxx3", "xxxx4", rules=rules).refused


def test_signs_are_shown_in_their_places() -> None:
    signs = [Sign("-", (0, 0, 1, 1), 0, 0), Sign(".", (0, 0, 1, 1), 0, 1), Sign("+", (0, 0, 1, 1), 1, 1)]
    one = replace(picture("47"), signs=tuple(signs[:2]))
    assert prediction_lines(one) == ["a.png: 47  (95.0 %)", "  with signs: -4.7"]
    several = replace(picture("47", "12"), signs=(*signs, Sign("fraction bar", (0, 0, 1, 1), 0, 2)))
    assert prediction_lines(several)[3:] == [
        "  line 1 with signs: -4.7",
        "  fraction bar under line 1",
        "  line 2 with signs: 1+2",
    ]


def test_a_page_is_named_by_its_number() -> None:
    assert prediction_lines(replace(picture("77"), page=2)) == ["a.png[2]: 77  (95.0 %)"]
