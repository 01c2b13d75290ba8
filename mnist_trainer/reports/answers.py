"""What was read in a picture, as lines for people and as a row of a table."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from io import StringIO
from itertools import groupby

from mnist_trainer.inference.reading import DigitPrediction, Prediction
from mnist_trainer.reports.text import percent

PREDICTION_COLUMNS = ("path", "text", "confidence", "refused", "reason", "error", "page", "warnings")


def prediction_row(prediction: Prediction) -> tuple[str, ...]:
    """A picture as a row with `PREDICTION_COLUMNS`: confidence from 0 to 1, refused true or false, what is not there
    empty."""
    confidence = "" if prediction.confidence is None else f"{prediction.confidence:.6g}"
    refused = str(prediction.refused).lower()
    page = "" if prediction.page is None else str(prediction.page)
    others = (prediction.reason or "", prediction.error or "", page, "; ".join(prediction.warnings))
    return prediction.path or "", prediction.text, confidence, refused, *others


def kaggle_submission(classes: Iterable[str]) -> str:
    """Return a submission to Kaggle: the number of each image, from 1, and its class."""
    text = StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("ImageId", "Label"))
    table.writerows(enumerate(classes, 1))
    return text.getvalue()


def prediction_lines(prediction: Prediction, top: int | None = None) -> list[str]:
    """The answer to a picture that could be read, then what else there is to say of single digits.

    Of each digit the `top` most probable answers are told; None: the second one, where it comes close.
    """
    path, digits = prediction.name, prediction.digits
    if prediction.refused:
        head = f"{path}: refused  ({prediction.reason})"
        return [head, *_digit_notes(digits, top)] if len(digits) > 1 else [head]
    lines = prediction.text.split("\n")
    sure = [] if prediction.confidence is None else [percent(prediction.confidence, 1)]
    if len(digits) == 1:
        return [f"{path}: {lines[0]}{_in_parentheses([*sure, *_alternatives(digits[0], top)])}"]
    if len(lines) > 1:
        lines = [f"{len(lines)} lines", *(f"  {line}" for line in lines)]
    return [f"{path}: {lines[0]}{_in_parentheses(sure)}", *lines[1:], *_digit_notes(digits, top)]


def digit_caption(digit: DigitPrediction) -> str:
    """`7  99.9 %`, to stand below its image."""
    return digit.sign if digit.confidence is None or digit.refused else f"{digit.sign}  {percent(digit.confidence, 1)}"


def _in_parentheses(words: Iterable[str]) -> str:
    text = "; ".join(words)
    return f"  ({text})" if text else ""


def _alternatives(digit: DigitPrediction, top: int | None) -> list[str]:
    """`may be 9: 45.1 %`, if there are others to tell."""
    others = ", ".join(f"{name}: {percent(probability, 1)}" for name, probability in digit.ranked(top)[1:])
    return [f"{'then' if top else 'may be'} {others}"] if others else []


def _digit_notes(digits: Iterable[DigitPrediction], top: int | None) -> list[str]:
    """A line for each digit there is more to say of than its answer; it is found by its line and its place there."""
    lines = [list(each) for _, each in groupby(digits, key=lambda digit: digit.line)]
    notes = []
    for number, line in enumerate(lines, start=1):
        where = f"line {number}, digit" if len(lines) > 1 else "digit"
        for place, digit in enumerate(line, start=1):
            ranking = [f"{name} ({percent(probability, 1)})" for name, probability in digit.ranked(top)]
            told = [(", " if top else " or ").join(ranking)] if top or len(ranking) > 1 else []
            words = [digit.reason, *(told if top else [])] if digit.reason else told
            notes += [f"  {where} {place}: {'; '.join(words)}"] if words else []
    return notes
