"""What was read in a picture, as lines for people and as a row of a table.

What `mnist-eval` prints: figures of one model or an ensemble, a comparison, a calibration.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from itertools import groupby

from mnist_trainer.inference.calibration import CalibrationMetrics
from mnist_trainer.inference.metrics import BINS, ClassMetrics, Comparison, Evaluation, MemberMetrics
from mnist_trainer.inference.reading import DigitPrediction, Prediction
from mnist_trainer.reports.text import Column, loss_text, percent, table_lines

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


CHANCE = 0.05
"""From this p-value on a difference may well be chance."""


def evaluation_lines(evaluation: Evaluation, model: str, width: int | None = None) -> list[str]:
    """What `mnist-eval` prints; the paths of an ensemble's members are cut to keep within `width`."""
    lines = [_heading(evaluation, model), evaluation.sentence, _loss_line(evaluation)]
    if evaluation.ece is None:
        lines.append("calibration error - (this model's outputs are no probabilities)")
    else:
        lines.append(f"calibration error {percent(evaluation.ece)} (expected, {BINS} bins of equal width)")
    if evaluation.members:
        lines += ["", *_member_lines(evaluation, width)]
    size = max(5, *(len(figures.label) for figures in evaluation.per_class))
    lines.append("")
    lines.append(f"{'class':>{size}}  {'accuracy':>9}  {'errors':>12}  most often taken for")
    lines.extend(_class_line(figures, size) for figures in evaluation.per_class)
    return lines


def _heading(evaluation: Evaluation, model: str) -> str:
    views = f", the mean of {evaluation.views} views" if evaluation.views > 1 else ""
    pictures = f": {evaluation.pictures}" if evaluation.pictures else ""
    return f"{model} on {evaluation.dataset}{views}{pictures}"


def _loss_line(evaluation: Evaluation) -> str:
    if evaluation.loss is None:
        reason = "the user's own function" if evaluation.plain else "values that are no probabilities"
        return f"loss - ({reason})"
    if evaluation.plain:
        return f"loss {evaluation.loss:.4f}"
    mean = "mean " if evaluation.members or evaluation.views > 1 else ""
    return f"loss {evaluation.loss:.4f} (-ln of the {mean}probability of the right class)"


def _member_lines(evaluation: Evaluation, width: int | None) -> list[str]:
    """A row for each member, what they gain together, and how often they are of different opinions."""
    alike = len({member.path for member in evaluation.members}) < len(evaluation.members)
    columns = [
        Column("member", least=12, keeps_end=True),
        *(Column(head, right=True) for head in ("accuracy", "errors", "loss")),
    ]
    rows = [_member_row(member, number, alike) for number, member in enumerate(evaluation.members, start=1)]
    table, _ = table_lines(columns, rows, width)
    over_mean, over_best = (f"{100 * gain:+.2f}" for gain in evaluation.gains)
    return [
        *table,
        f"together {over_mean} points of accuracy against their mean, {over_best} against the best",
        f"the members disagree on {percent(evaluation.disagreement)} of the images",
    ]


def _member_row(member: MemberMetrics, number: int, alike: bool) -> tuple[str, ...]:
    label = f"{number}: {member.name}" if alike else member.path
    return label, percent(member.accuracy), f"{member.errors:,} of {member.count:,}", loss_text(member.loss)


def _class_line(figures: ClassMetrics, width: int) -> str:
    confusion = "-" if figures.confused_with is None else f"{figures.confused_with} ({figures.confused_count})"
    errors = f"{figures.errors} of {figures.count}"
    return f"{figures.label:>{width}}  {percent(figures.accuracy):>9}  {errors:>12}  {confusion}"


def comparison_lines(evaluations: Sequence[Evaluation], names: tuple[str, str], comparison: Comparison) -> list[str]:
    """What `mnist-eval --compare` prints."""
    lines = []
    for name, evaluation in zip(names, evaluations, strict=True):
        lines += [_heading(evaluation, name), evaluation.sentence]
    return [*lines, "", difference_sentence(names, comparison)]


def difference_sentence(names: tuple[str, str], comparison: Comparison) -> str:
    """`B is right on 31 that A misses, and misses 12 that A gets: unlikely to be chance (p = 0.005)`."""
    first, second = names
    more, fewer, p = comparison.only_second, comparison.only_first, comparison.p
    if not more + fewer:
        return f"{first} and {second} are right on the same images: there is nothing to tell them apart by"
    verdict = "unlikely to be chance" if p < CHANCE else "may well be chance"
    size = f"p = {p:.3f}" if p >= 0.001 else "p < 0.001"
    return f"{second} is right on {more} that {first} misses, and misses {fewer} that {first} gets: {verdict} ({size})"


def calibration_lines(
    temperature: float, metrics: Mapping[str, tuple[CalibrationMetrics, CalibrationMetrics]]
) -> list[str]:
    """The temperature, and what it changed on validation, where it was fitted, and on the split asked for."""
    count = "no answer changes, so accuracy stays as it is"
    lines = [f"temperature {temperature:.4f}, fitted on the validation images; {count}"]
    lines.append(f"{'':<12}{'loss (-ln)':>19}{'calibration error':>23}")
    for split, (old, new) in metrics.items():
        loss = f"{old.loss:.4f} → {new.loss:.4f}"
        lines.append(f"{split:<12}{loss:>19}{percent(old.ece) + ' → ' + percent(new.ece):>23}")
    for split, (old, new) in metrics.items():
        if worse := new.worse_than(old):
            names = " and the ".join({"loss": "loss", "ece": "calibration error"}[key] for key in worse)
            lines.append(
                f"It makes the {names} on {split} worse. Keep the model as it was, or use more validation images."
            )
    return lines
