"""What `mnist-predict` and `mnist-eval` print: predictions, metrics, comparisons and calibration, as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from mnist_trainer.inference.reading import DigitPrediction, Prediction
from mnist_trainer.reports.text import Column, csv_text, interval, loss_text, percent, table_lines

if TYPE_CHECKING:
    from mnist_trainer.inference.metrics import (
        CalibrationMetrics,
        Comparison,
        DoubtedLabel,
        Evaluation,
        MemberMetrics,
        RefusalMetrics,
    )
    from mnist_trainer.inference.robustness import RobustnessRow

PREDICTION_COLUMNS = ("path", "text", "confidence", "refused", "reason", "error", "page", "warnings", "signs")

SIGNIFICANT = 0.05
"""Below this p-value a difference is called significant."""


# --- predictions ---


def prediction_row(prediction: Prediction) -> tuple[str, ...]:
    """Return a row with `PREDICTION_COLUMNS`: confidence from 0 to 1, refused true or false, missing values empty."""
    return (
        prediction.path or "",
        prediction.text,
        "" if prediction.confidence is None else f"{prediction.confidence:.6g}",
        str(prediction.refused).lower(),
        prediction.reason or "",
        prediction.error or "",
        "" if prediction.page is None else str(prediction.page),
        "; ".join(prediction.warnings),
        "; ".join(_sign_notes(prediction)),
    )


def kaggle_submission(classes: Iterable[str]) -> str:
    """Return a submission to Kaggle: the number of each image, from 1, and its class."""
    return csv_text(("ImageId", "Label"), enumerate(classes, 1))


def prediction_lines(prediction: Prediction, top: int | None = None) -> list[str]:
    """Return what was read in a picture, then notes on single digits.

    The `top` most probable classes of each digit are named; None: the second one, if it is close.
    """
    path, digits = prediction.name, prediction.digits
    if prediction.refused:
        notes = _digit_notes(digits, top) if len(digits) > 1 else []
        return [f"{path}: refused  ({prediction.reason})", *notes]
    lines = prediction.text.split("\n")
    details = [] if prediction.confidence is None else [percent(prediction.confidence, 1)]
    notes = _digit_notes(digits, top)
    if len(digits) == 1:
        others = ", ".join(f"{name}: {percent(value, 1)}" for name, value in digits[0].ranked(top)[1:])
        details += [f"{'then' if top else 'may be'} {others}"] if others else []
        notes = []
    notes = [*(f"  {note}" for note in _sign_notes(prediction)), *notes]
    if len(lines) > 1:
        lines = [f"{len(lines)} lines", *(f"  {line}" for line in lines)]
    in_parentheses = f"  ({'; '.join(details)})" if details else ""
    return [f"{path}: {lines[0]}{in_parentheses}", *lines[1:], *notes]


def _sign_notes(prediction: Prediction) -> list[str]:
    """Return `with signs: 3.14` for each line with signs, and a note for each fraction bar."""
    notes = []
    for number, text in enumerate(prediction.text.split("\n")):
        signs = [sign for sign in prediction.signs if sign.line == number]
        where = f"line {number + 1}" if "\n" in prediction.text else ""
        written = [digit.sign for digit in prediction.digits if digit.line == number]
        inline = [sign for sign in signs if len(sign.sign) == 1]
        for sign in reversed(inline):
            written.insert(sign.after, sign.sign)
        notes += [f"{where} with signs: {(' ' if ' ' in text else '').join(written)}".lstrip()] if inline else []
        notes += [f"{sign.sign} under {where or 'the digits'}" for sign in signs if sign not in inline]
    return notes


def digit_caption(digit: DigitPrediction) -> str:
    """Return `7  99.9 %`."""
    return digit.sign if digit.confidence is None or digit.refused else f"{digit.sign}  {percent(digit.confidence, 1)}"


def _digit_notes(digits: Iterable[DigitPrediction], top: int | None) -> list[str]:
    """Return a line for each digit that was refused or has other likely classes, with its line and position."""
    lines = [list(each) for _, each in groupby(digits, key=lambda digit: digit.line)]
    notes = []
    for number, line in enumerate(lines, start=1):
        where = f"line {number}, digit" if len(lines) > 1 else "digit"
        for position, digit in enumerate(line, start=1):
            ranking = [f"{name} ({percent(probability, 1)})" for name, probability in digit.ranked(top)]
            ranked = [(", " if top else " or ").join(ranking)] if top or len(ranking) > 1 else []
            words = [digit.reason, *(ranked if top else [])] if digit.reason else ranked
            notes += [f"  {where} {position}: {'; '.join(words)}"] if words else []
    return notes


# --- metrics ---


def evaluation_lines(evaluation: Evaluation, model: str, width: int | None = None) -> list[str]:
    """Return the metrics of a model or an ensemble; the paths of its members are cut to keep within `width`."""
    ece = "- (this model's outputs are not probabilities)"
    if evaluation.ece is not None:
        from mnist_trainer.inference.metrics import BINS  # imports torch, which mnist-predict does without

        ece = f"{percent(evaluation.ece)} (expected, {BINS} bins of equal width)"
    lines = [_heading(evaluation, model), *accuracy_lines(evaluation), _loss_line(evaluation)]
    lines.append(f"calibration error {ece}")
    if evaluation.members:
        lines += ["", *_member_lines(evaluation, width)]
    size = max(5, *(len(each.label) for each in evaluation.per_class))
    lines += ["", f"{'class':>{size}}  {'accuracy':>9}  {'errors':>12}  most often confused with"]
    for each in evaluation.per_class:
        confusion = "-" if each.confused_with is None else f"{each.confused_with} ({each.confused_count})"
        errors = f"{each.errors} of {each.count}"
        lines.append(f"{each.label:>{size}}  {percent(each.accuracy):>9}  {errors:>12}  {confusion}")
    return lines


def accuracy_lines(evaluation: Evaluation) -> list[str]:
    """Return the accuracy; also that without doubted labels, and the interval over writers, where they are known."""
    lines = [evaluation.sentence]
    if (clean := evaluation.undoubted) is not None:
        doubted = evaluation.count - clean.count
        lines.append(f"without the {doubted} labels that human validators doubted {clean}")
    if (writers := evaluation.writers) is not None:
        low, high = (f"{100 * bound:.2f}" for bound in writers.interval)
        lines.append(f"95 % interval for other writers than these {writers.count:,}: {low} to {high} %")
    return lines


def _heading(evaluation: Evaluation, model: str) -> str:
    views = f", the mean of {evaluation.views} views" if evaluation.views > 1 else ""
    pictures = f": {evaluation.pictures}" if evaluation.pictures else ""
    return f"{model} on {evaluation.dataset}{views}{pictures}"


def _loss_line(evaluation: Evaluation) -> str:
    """Return the loss and what it is the mean of, or why there is none."""
    if evaluation.loss is None:
        reason = "the user's own function" if evaluation.plain else "values that are not probabilities"
        return f"loss - ({reason})"
    if evaluation.plain:
        return f"loss {evaluation.loss:.4f}"
    mean = "mean " if evaluation.members or evaluation.views > 1 else ""
    return f"loss {evaluation.loss:.4f} (-ln of the {mean}probability of the correct class)"


def _member_lines(evaluation: Evaluation, width: int | None) -> list[str]:
    """Return a row for each member, the gain of the ensemble, and how often the members disagree."""
    has_duplicates = len({member.path for member in evaluation.members}) < len(evaluation.members)
    columns = [Column("member", least=12, keeps_end=True)]
    columns += [Column(head, right=True) for head in ("accuracy", "errors", "loss")]

    def row(member: MemberMetrics, number: int) -> tuple[str, ...]:
        label = f"{number}: {member.name}" if has_duplicates else member.path
        return label, percent(member.accuracy), f"{member.errors:,} of {member.count:,}", loss_text(member.loss)

    rows = [row(member, number) for number, member in enumerate(evaluation.members, start=1)]
    over_mean, over_best = (f"{100 * gain:+.2f}" for gain in evaluation.gains)
    return [
        *table_lines(columns, rows, width)[0],
        f"together {over_mean} points of accuracy against their mean, {over_best} against the best",
        f"the members disagree on {percent(evaluation.disagreement)} of the images",
    ]


def suspicious_lines(doubted: Sequence[DoubtedLabel], count: int) -> list[str]:
    """Return how many of `count` labels are doubted, and the first ten."""
    sure = sum(each.confident for each in doubted)
    lines = [f"{len(doubted):,} of {count:,} labels are doubted, {sure:,} of them by confident learning"]
    if not doubted:
        return lines
    heads = ("index", "label", "probability", "suggested", "probability")
    columns = [*(Column(head, right=True) for head in heads), Column("confident")]
    columns += [Column("file", least=12, keeps_end=True)] * any(each.path for each in doubted)
    rows = [
        (
            *(str(each.index), each.label, percent(each.self_confidence), each.suggested, percent(each.probability)),
            *("yes" if each.confident else "", *([each.path] if each.path else [])),
        )
        for each in doubted[:10]
    ]
    return [f"{lines[0]}; the least self-confident:", *table_lines(columns, rows)[0]]


def comparison_lines(evaluations: Sequence[Evaluation], names: tuple[str, str], comparison: Comparison) -> list[str]:
    """Return what `mnist-eval --compare` prints."""
    lines = []
    for name, evaluation in zip(names, evaluations, strict=True):
        lines += [_heading(evaluation, name), evaluation.sentence]
    return [*lines, "", difference_sentence(names, comparison)]


def difference_sentence(names: tuple[str, str], comparison: Comparison) -> str:
    """Return `B is correct on 31 images that A gets wrong, wrong on 12 that A gets right: significant (p = 0.005)`."""
    first, second = names
    more, fewer, p = comparison.only_second, comparison.only_first, comparison.p
    if not more + fewer:
        return f"{first} and {second} are correct on the same images: no difference"
    conclusion = "significant" if p < SIGNIFICANT else "not significant"
    p_value = f"p = {p:.3f}" if p >= 0.001 else "p < 0.001"
    return (
        f"{second} is correct on {more} images that {first} gets wrong, wrong on {fewer} that {first} gets right: "
        f"{conclusion} ({p_value})"
    )


def calibration_lines(
    temperature: float, metrics: Mapping[str, tuple[CalibrationMetrics, CalibrationMetrics]]
) -> list[str]:
    """Return the temperature, and the metrics of each split before and after calibration."""
    unchanged = "no prediction changes, so the accuracy stays the same"
    lines = [f"temperature {temperature:.4f}, fitted on the validation images; {unchanged}"]
    lines.append(f"{'':<12}{'loss (-ln)':>19}{'calibration error':>23}")
    warnings = []
    for split, (old, new) in metrics.items():
        loss, ece = f"{old.loss:.4f} → {new.loss:.4f}", f"{percent(old.ece)} → {percent(new.ece)}"
        lines.append(f"{split:<12}{loss:>19}{ece:>23}")
        if worse := new.worse_than(old):
            names = " and the ".join({"loss": "loss", "ece": "calibration error"}[key] for key in worse)
            advice = "Keep the model as it was, or use more validation images."
            warnings.append(f"It makes the {names} on {split} worse. {advice}")
    return [*lines, *warnings]


# --- robustness ---

ROBUSTNESS_COLUMNS = (
    *("change", "setting", "count", "errors", "accuracy", "interval_low", "interval_high", "ece", "refused"),
    *("worst_index", "worst_label", "worst_predicted", "worst_confidence"),
)


def robustness_csv(rows: Sequence[RobustnessRow]) -> str:
    """Return CSV with `ROBUSTNESS_COLUMNS`: fractions from 0 to 1, missing values empty."""
    table = []
    for row in rows:
        worst = (None,) * 4 if (found := row.worst) is None else (*vars(found).values(),)[:4]
        numbers = (row.accuracy, *row.interval, row.ece, row.refused)
        table.append((row.change, row.setting, row.count, row.errors, *numbers, *worst))
    return csv_text(ROBUSTNESS_COLUMNS, table)


def robustness_lines(rows: Sequence[RobustnessRow], width: int | None = None) -> list[str]:
    """Return the table of `mnist-eval --robustness`, and how its images are made."""
    columns = [Column("change"), Column("setting")]
    heads = ("images", "accuracy", "95 % interval", "calibration", "refused")
    columns += [*(Column(head, right=True) for head in heads), Column("worst example", least=10)]
    cells, before = [], ""
    for row in rows:
        same, before = row.change == before, row.change
        shares = percent(row.accuracy), interval(row.interval), percent(row.ece), percent(row.refused, 1)
        cells.append(("" if same else row.change, row.setting, f"{row.count:,}", *shares, _worst_example(row)))
    lines, _ = table_lines(columns, cells, width)
    attacked = next((row.count for row in rows if row.change == "PGD"), None)
    about = "No attacks: an exported file has no gradients."
    if attacked is not None:
        about = (
            f"FGSM and PGD: {attacked:,} evenly spread images, maximum norm, ε in grey levels (0 to 255), without a "
            "target; PGD: 40 steps of ε/30 from one random start."
        )
    return [
        *lines,
        "",
        "The intervals are exact (Clopper-Pearson). A digit is correct if its class is the most probable one, refused "
        "or not; a non-digit if it is refused.",
        about,
    ]


def _worst_example(row: RobustnessRow) -> str:
    """Return `3 → 5 (99.1 %)`, the most confident wrong answer; a dash without one."""
    if row.worst is None:
        return "-"
    return f"{row.worst.label or 'none'} → {row.worst.predicted} ({percent(row.worst.confidence, 1)})"


def refusal_line(before: RefusalMetrics, after: RefusalMetrics) -> str:
    """Return the refusal threshold, and the shares of the validation split that are refused, before and after."""
    parts = [f"digits {percent(before.digits)} → {percent(after.digits)}"]
    if before.non_digits is not None and after.non_digits is not None:
        parts.append(f"non-digits {percent(before.non_digits)} → {percent(after.non_digits)}")
    shares = ", ".join(parts)
    return f"refusal threshold {before.threshold:.4f} → {after.threshold:.4f}; refused in validation: {shares}"
