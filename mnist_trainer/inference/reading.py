"""From the candidate glyphs of a page and the model's scores to its text: `Prediction`, as `predict` returns it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.inference.signs import Sign, find_signs, median, place_signs, split_signs
from mnist_trainer.pictures.page import Box, Glyph, Layout, Line, Page, ReadingSteps, touches_border

if TYPE_CHECKING:
    from mnist_trainer.inference.explain import Explanation

MIN_PROBABILITY = 0.005
"""The lower limit of probabilities."""

MIN_SIDE, SMALL_COST = 0.5, 10.0
"""A glyph is small below this fraction of the median side; the cost of each unit below it."""

SKIP_COST = 10.0
"""The cost of skipping a small glyph, times its side as a fraction of the median side."""

SKIPPED_SURPRISE = 5.0
"""The −ln probability of a skipped glyph, for comparing layouts."""


def choose_glyphs(page: Page, probabilities: NDArray[np.float64], none: NDArray[np.float64]) -> list[list[int]]:
    """Return the digits of `page`, line by line, as indices into `page.glyphs`; empty if there is nothing to read.

    `probabilities` [G, K] and `none` [G], the probability of being no digit, belong to those G glyphs. The answer in
    each line is the most likely sequence of glyphs: the least sum of −ln P(a digit, and the predicted one) and of the
    costs of cuts and joins (Viterbi; LeCun et al. 1998, section V). Glyphs that are far smaller than the others may be
    skipped: specks, and remains of ruled lines. The layout with the least mean −ln P, weighted by size, is used.
    """
    glyphs = page.glyphs
    likelihood = np.maximum(probabilities.max(axis=1) * (1 - none), MIN_PROBABILITY)
    surprise = -np.log(likelihood)
    costs = surprise + np.array([glyph.cost for glyph in glyphs])
    sides = np.array([max(glyph.box[2:]) for glyph in glyphs], np.float64)
    best: list[list[int]] = []
    least, start = np.inf, 0
    for layout in page.layouts:
        typical = _median_side(layout, surprise[start:])
        chains, skipped = list[list[int]](), list[int]()
        for line in layout.lines:
            end = start + len(line.glyphs)
            shares = sides[start:end] / typical
            skips = np.where(shares < MIN_SIDE, SKIP_COST * shares, np.inf)
            chain, others = _viterbi(line, costs[start:end] + SMALL_COST * np.maximum(0, MIN_SIDE - shares), skips)
            chains.append([start + index for index in chain])
            skipped += [start + index for index in others]
            start = end
        chosen = [index for chain in chains for index in chain]
        surprises = np.append(surprise[chosen], [SKIPPED_SURPRISE] * len(skipped))
        cost = layout.cost + float(np.average(surprises, weights=sides[chosen + skipped]))
        if chosen and cost < least:
            best, least = [chain for chain in chains if chain], cost
    return best


def _median_side(layout: Layout, surprise: NDArray[np.float64]) -> float:
    """Return the median of the longer sides, weighted by length and by the probability of being a digit."""
    glyphs = [glyph for line in layout.lines for glyph in line.glyphs]
    sides = np.array([max(glyph.box[2:]) for glyph in glyphs], np.float64)
    order = np.argsort(sides)
    weights = np.cumsum((sides * np.exp(-surprise[: len(glyphs)]))[order])
    return float(sides[order][np.searchsorted(weights, weights[-1] / 2)])


def _viterbi(line: Line, costs: NDArray[np.float64], skips: NDArray[np.float64]) -> tuple[list[int], list[int]]:
    """Return the indices of the glyphs in the cheapest sequence from the line's start to its end, and of those skipped.

    `costs` and `skips` are the costs of reading and of skipping each glyph.
    """
    least = np.full(line.end + 1, np.inf)
    least[0] = 0
    last = np.zeros(line.end + 1, np.intp)
    steps = np.minimum(costs, skips)
    for index in sorted(range(len(line.glyphs)), key=lambda each: line.glyphs[each].end):
        glyph = line.glyphs[index]
        total = least[glyph.first] + steps[index]
        if total < least[glyph.end]:
            least[glyph.end], last[glyph.end] = total, index
    chain, end = list[int](), line.end
    while end:
        chain.append(int(last[end]))
        end = line.glyphs[chain[-1]].first
    read = [index for index in reversed(chain) if steps[index] == costs[index]]
    return read, [index for index in chain if steps[index] < costs[index]]


RUNNER_UP = 0.1
"""The second class is shown if it is at least as probable as this."""

MIN_DIGIT_SHARE = 0.64
"""A text is refused if the mean probability of being a digit is below this: words contain an occasional digit."""

MANY_DIGITS, SURE_MEAN, SURE_SHARE = 5, 0.9, 0.33
"""A text with so many accepted digits, whose mean probability of being digits is at least the second, is refused only
if the share of digits is below the third: words do not contain sure digits."""

HEIGHT_RANGE = 0.5, 1.7
"""A refused sign is kept among digits if its height, as a fraction of theirs, is in this range."""

Name = int | str
"""A digit, or the name of another class."""


@dataclass(frozen=True)
class DigitPrediction:
    """One digit, or another class: its prediction, confidence and all probabilities.

    Without probabilities (squared error without an output function) `confidence` is None and `probabilities` is empty.
    `box` is (x, y, width, height) in pixels of the upright picture. The fields below `reason` are not in the JSON: the
    network's input, uint8 [28, 28], the class names of `probabilities`, the line, from 0, and the probability of being
    a digit at all.
    """

    digit: Name
    confidence: float | None
    probabilities: tuple[float, ...] = field(repr=False)
    box: Box
    refused: bool = False
    reason: str | None = None
    image: NDArray[np.uint8] | None = field(default=None, repr=False, compare=False)
    names: tuple[Name, ...] = field(default=(), repr=False)
    line: int = 0
    digit_probability: float = field(default=1.0, compare=False)
    explanation: Explanation | None = field(default=None, repr=False, compare=False)
    """What decided, if requested. Refused digits have none."""

    @property
    def sign(self) -> str:
        """The text in `Prediction.text`: `?` if it is refused."""
        return "?" if self.refused else str(self.digit)

    def ranked(self, most: int | None = None) -> list[tuple[Name, float]]:
        """Return the `most` probable classes with their probabilities; None: one, or two if the second is close."""
        ranking = sorted(zip(self.names, self.probabilities, strict=True), key=lambda pair: -pair[1])
        if most is None:
            most = 2 if len(ranking) > 1 and ranking[1][1] >= RUNNER_UP else 1
        return ranking[:most]

    def to_json(self) -> dict[str, Any]:
        """Return its object in `digits`; `explanation` only if there is one."""
        keys = ("digit", "confidence", "probabilities", "box", "refused", "reason")
        content = {key: getattr(self, key) for key in keys}
        return content if self.explanation is None else content | {"explanation": self.explanation.to_json()}


@dataclass(frozen=True)
class Prediction:
    """What was read from one picture: `text` in reading order; `confidence` is the lowest of the accepted digits'.

    `steps` show how it was read, if requested; they are not in the JSON.
    """

    path: str | None
    text: str
    digits: tuple[DigitPrediction, ...]
    confidence: float | None
    refused: bool = False
    reason: str | None = None
    error: str | None = None
    steps: ReadingSteps | None = field(default=None, repr=False, compare=False)
    page: int | None = None
    """The page number, from 1, if the file has several pages."""
    warnings: tuple[str, ...] = ()
    """Sentences about what may have been misread."""
    signs: tuple[Sign, ...] = ()
    """Signs beside the digits, such as a decimal point or a minus; they are not in `text`."""
    can_refuse: bool = field(default=True, compare=False)
    """Whether the model can refuse what is no digit."""

    @property
    def name(self) -> str:
        """The file, and which of its pages: `scan.tif[2]`."""
        return f"{self.path}" if self.page is None else f"{self.path}[{self.page}]"

    def to_json(self) -> dict[str, Any]:
        """Return what `--json` prints; `page`, `signs`, `warnings`, `can_refuse` only if they are not the default."""
        keys = ("path", "text", "digits", "confidence", "refused", "reason", "error")
        content = {key: getattr(self, key) for key in keys} | {"digits": [digit.to_json() for digit in self.digits]}
        if self.page is not None:
            content["page"] = self.page
        if self.signs:
            content["signs"] = [sign.to_json() for sign in self.signs]
        if self.warnings:
            content["warnings"] = list(self.warnings)
        if not self.can_refuse:
            content["can_refuse"] = False
        return content


@dataclass(frozen=True)
class Scores:
    """The output of a model for images: `probabilities` [N, K] of the classes, and of `none` of them [N]."""

    probabilities: NDArray[np.float64]
    none: NDArray[np.float64]


MIN_SCORE = 1e-6
"""The lower limit of probabilities that are multiplied."""

GLYPH_WEIGHT, ROW_WEIGHT = 0.8, 0.6
"""Exponents of the probabilities of a glyph alone, and of its window in the row, in their product."""


def combine_scores(glyphs: Scores, rows: Scores, has_window: NDArray[np.bool_]) -> Scores:
    """Return the scores of glyphs [G] with those of the windows that `has_window` [G] says some of them have.

    Both are probabilities of K + 1 classes, the last of which is "none": they are multiplied and normalized, as of two
    experts that are independent (Hinton 2002, doi 10.1162/089976602760128018).
    """
    own, window = (
        np.column_stack([scores.probabilities * (1 - scores.none)[:, None], scores.none]) for scores in (glyphs, rows)
    )
    both = np.maximum(own[has_window], MIN_SCORE) ** GLYPH_WEIGHT * np.maximum(window, MIN_SCORE) ** ROW_WEIGHT
    both /= both.sum(axis=1, keepdims=True)
    probabilities, none = glyphs.probabilities.copy(), glyphs.none.copy()
    probabilities[has_window] = both[:, :-1] / both[:, :-1].sum(axis=1, keepdims=True)
    none[has_window] = both[:, -1]
    return Scores(probabilities, none)


@dataclass(frozen=True)
class RejectPolicy:
    """When a digit is refused: if `none` is at least `refusal_threshold` (None: never), or if its confidence is below
    `min_confidence`. Without probabilities nothing is refused."""

    names: tuple[Name, ...]
    gives_probabilities: bool = True
    refusal_threshold: float | None = None
    min_confidence: float = 0.0

    def decide(self, glyph: Glyph, probabilities: NDArray[np.float64], none: float) -> DigitPrediction:
        """Return the prediction for a glyph with `probabilities` [K]."""
        best = int(probabilities.argmax())
        values = tuple(probabilities.tolist()) if self.gives_probabilities else ()
        names = self.names if self.gives_probabilities else ()
        confidence = values[best] if values else None
        reason = self._reason(probabilities, none)
        shown = DigitPrediction(
            self.names[best], confidence, values, glyph.box, bool(reason), reason, glyph.image, names
        )
        return replace(shown, digit_probability=1.0 if self.refusal_threshold is None else 1 - none)

    def _reason(self, probabilities: NDArray[np.float64], none: float) -> str | None:
        """Return why such a digit is refused; None if it is not."""
        if not self.gives_probabilities:
            return None
        if self.refusal_threshold is not None and none >= self.refusal_threshold:
            return f"looks like no digit: {_percent(none)} sure"
        second, first = np.argsort(probabilities)[-2:]
        if probabilities[first] >= self.min_confidence:
            return None
        one, other = (_percent(float(probabilities[index])) for index in (first, second))
        return f"may be {self.names[first]} or {self.names[second]}: {one} and {other}"


def class_labels(classes: Sequence[str]) -> tuple[Name, ...]:
    """Return the class names; those that are digits as numbers."""
    return tuple(int(name) if name.isdecimal() else name for name in classes)


def predict_page(page: Page, scores: Scores, policy: RejectPolicy, path: str | None) -> Prediction:
    """Return the prediction for a picture from the `scores` of `page.glyphs`."""
    glyphs, can_refuse = page.glyphs, policy.refusal_threshold is not None
    warnings = page.warnings
    chosen = choose_glyphs(page, scores.probabilities, scores.none) if glyphs else []
    lines = [
        [policy.decide(glyphs[at], scores.probabilities[at], float(scores.none[at])) for at in indices]
        for indices in chosen
    ]
    layout = page.layout_of(chosen[0][0]) if chosen else Layout(())
    kept, found = split_signs(lines, layout.ink)
    accepted = [digit for line in kept for digit in line if not digit.refused]
    signs: tuple[Sign, ...] = ()
    if accepted:
        lines = _drop_non_digits(kept, accepted, page.size)
        found, marks = find_signs(lines, page, layout, found)
        signs, warnings = place_signs(found, lines), warnings + marks
    digits = tuple(replace(digit, line=number) for number, line in enumerate(lines) for digit in line)
    if _is_little(accepted, len(digits)):
        reason = page.reason or _refusal_reason(digits)
        refused = Prediction(path, "", digits, None, True, reason, steps=page.steps, can_refuse=can_refuse)
        return replace(refused, warnings=page.warnings)
    text = "\n".join(_join_signs([digit.sign for digit in line]) for line in lines)
    confidence = min((digit.confidence for digit in accepted if digit.confidence is not None), default=None)
    shown = Prediction(path, text, digits, confidence, steps=page.steps, can_refuse=can_refuse)
    return replace(shown, signs=signs, warnings=warnings)


def _is_little(accepted: Sequence[DigitPrediction], count: int) -> bool:
    """Return whether too few of `count` signs are accepted as digits."""
    certain = sum(each.digit_probability for each in accepted)
    is_sure = len(accepted) >= MANY_DIGITS and certain >= SURE_MEAN * len(accepted)
    return not accepted or (count > 1 and certain < (SURE_SHARE if is_sure else MIN_DIGIT_SHARE) * count)


def _drop_non_digits(
    lines: list[list[DigitPrediction]], accepted: Sequence[DigitPrediction], size: tuple[int, int]
) -> list[list[DigitPrediction]]:
    """Return the lines without refused signs of another height than digits, at the border, or in lines of their own.

    Such signs usually are the edge of a table, a finger or a smudge.
    """
    typical = median([digit.box[3] for digit in accepted])
    kept = [line for line in lines if not all(digit.refused for digit in line)]
    return [[each for each in line if not each.refused or _is_sign(each, typical, size)] for line in kept]


def _is_sign(digit: DigitPrediction, typical: float, size: tuple[int, int]) -> bool:
    """Return whether a refused sign is about as high as digits, and not at the border of the picture."""
    return not touches_border(digit.box, size) and HEIGHT_RANGE[0] < digit.box[3] / typical < HEIGHT_RANGE[1]


def unreadable(path: str | None, error: str) -> Prediction:
    """Return the prediction for a picture that could not be read."""
    return Prediction(path, "", (), None, error=error)


def _refusal_reason(digits: Sequence[DigitPrediction]) -> str:
    """Return why a picture with these digits is refused."""
    if not digits:
        return "nothing that looks like a digit"
    refused = [str(digit.reason) for digit in digits if digit.refused]
    if len(digits) == 1:
        return refused[0]
    if not refused:
        return f"its {len(digits)} signs look little like digits"
    if len(refused) < len(digits):
        return f"only {len(digits) - len(refused)} of its {len(digits)} signs can be read; another {refused[0]}"
    return f"none of its {len(digits)} signs can be read; the first {refused[0]}"


def _join_signs(signs: Sequence[str]) -> str:
    """Return `407`, or `three seven` if names are longer than a character."""
    return ("" if all(len(sign) == 1 for sign in signs) else " ").join(signs)


def _percent(fraction: float) -> str:
    """Return `87 %`; never 100."""
    return f"{min(99, round(100 * fraction))} %"
