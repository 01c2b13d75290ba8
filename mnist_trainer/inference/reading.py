"""Which of the glyphs on a page are its digits.

What is read from a picture: the shape that `mnist-predict --json` prints and `predict` returns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.inference.sign_warnings import sign_warnings
from mnist_trainer.pictures.page import Box, Glyph, Layout, Line, Page, ReadingSteps, touches_border

MIN_PROBABILITY, REFUSAL_COST = 0.005, 0.5
"""Probabilities are taken to be at least the first; what is rather no digit costs the second besides."""

MIN_SIDE, SMALL_COST = 0.5, 10.0
"""Of the usual glyph's longer side: a smaller glyph is hardly a digit among others, and costs the second times what it
lacks."""

SKIP_COST = 10.0
"""The cost of taking such a small one for no writing, times its side as a share of the usual one."""

SKIPPED_SURPRISE = 5.0
"""How much what is skipped surprises, where layouts are compared."""


def choose_glyphs(page: Page, probabilities: NDArray[np.float64], none: NDArray[np.float64]) -> list[list[int]]:
    """The digits of `page` as places in `page.glyphs`, line by line; none in none where nothing is worth reading.

    `probabilities` [G, K] and `none` [G], the probability that it is no digit, belong to those G glyphs. In each line
    the chain of glyphs is chosen that is least surprising: the least sum of −ln P(a digit, and the one it is taken for)
    and of the costs of its cuts and joins (Viterbi; LeCun et al. 1998, section V). Glyphs that are far smaller than the
    others may be skipped: specks, and what is left of lines. Among the layouts it is the one whose digits, weighted by
    their size, surprise least.
    """
    glyphs = page.glyphs
    surprise = -np.log(np.maximum(probabilities.max(axis=1) * (1 - none), MIN_PROBABILITY)) + REFUSAL_COST * (
        none > 0.5
    )
    costs = surprise + np.array([glyph.cost for glyph in glyphs])
    sides = np.array([max(glyph.box[2:]) for glyph in glyphs], np.float64)
    best: list[list[int]] = []
    least, start = np.inf, 0
    for layout in page.layouts:
        usual = _median_side(layout, surprise[start:])
        chains, skipped = list[list[int]](), list[int]()
        for line in layout.lines:
            end = start + len(line.glyphs)
            shares = sides[start:end] / usual
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
    """The longer side of the glyph in the middle, each counted for its length and how likely it is a digit."""
    glyphs = [glyph for line in layout.lines for glyph in line.glyphs]
    sides = np.array([max(glyph.box[2:]) for glyph in glyphs], np.float64)
    order = np.argsort(sides)
    weights = np.cumsum((sides * np.exp(-surprise[: len(glyphs)]))[order])
    return float(sides[order][np.searchsorted(weights, weights[-1] / 2)])


def _viterbi(line: Line, costs: NDArray[np.float64], skips: NDArray[np.float64]) -> tuple[list[int], list[int]]:
    """The places of the glyphs in the cheapest chain from the line's first piece to its last, and of those skipped.

    Each glyph may be skipped for what `skips` says.
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
"""A second answer that is at least as probable as this is worth naming."""

MIN_DIGIT_SHARE = 0.64
"""Of several signs, that must be digits, each counted as likely as it is one: words have one now and then."""

HEIGHT_RANGE = 0.5, 1.7
"""Least and most height of a refused sign that stands among digits, as shares of theirs."""

Name = int | str
"""A digit, or the name of a class that is none."""


@dataclass(frozen=True)
class DigitPrediction:
    """One digit: the answer (a class name where classes are no digits), its probability, and all probabilities.

    A model whose outputs are no probabilities (squared error without an output function) gives None and none. `box` is
    (x, y, width, height) in pixels of the upright picture. The fields below `reason` are for people to look at, and in
    no JSON: what the network saw, uint8 [28, 28], the names that `probabilities` belong to, the line, from 0, and how
    likely it is a digit at all.
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

    @property
    def sign(self) -> str:
        """The answer as it stands in `Prediction.text`: `?` if it is refused."""
        return "?" if self.refused else str(self.digit)

    def ranked(self, most: int | None = None) -> list[tuple[Name, float]]:
        """The `most` probable names, each with its probability; None: the answer, and the second where it is close."""
        ranking = sorted(zip(self.names, self.probabilities, strict=True), key=lambda pair: -pair[1])
        if most is None:
            most = 2 if len(ranking) > 1 and ranking[1][1] >= RUNNER_UP else 1
        return ranking[:most]

    def to_json(self) -> dict[str, Any]:
        """Its object in `digits`."""
        keys = ("digit", "confidence", "probabilities", "box", "refused", "reason")
        return {key: getattr(self, key) for key in keys}


@dataclass(frozen=True)
class Prediction:
    """One picture: its digits in reading order as `text`; `confidence` is the lowest of its answered digits'.

    `steps` show how it was read, if that was asked for; they are in no JSON.
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
    """Its number, from 1, if the file has several pages."""
    warnings: tuple[str, ...] = ()
    """What makes the answer doubtful, in words."""
    can_refuse: bool = field(default=True, compare=False)
    """Whether the model can tell that a sign is no digit."""

    @property
    def name(self) -> str:
        """The file, and which of its pages: `scan.tif[2]`."""
        return f"{self.path}" if self.page is None else f"{self.path}[{self.page}]"

    def to_json(self) -> dict[str, Any]:
        """The object that `--json` lists; `page` and `warnings` only where there are any, `can_refuse` where not."""
        keys = ("path", "text", "digits", "confidence", "refused", "reason", "error")
        content = {key: getattr(self, key) for key in keys} | {"digits": [digit.to_json() for digit in self.digits]}
        if self.page is not None:
            content["page"] = self.page
        if self.warnings:
            content["warnings"] = list(self.warnings)
        if not self.can_refuse:
            content["can_refuse"] = False
        return content


@dataclass(frozen=True)
class Scores:
    """What a model says of images: `probabilities` [N, K] of the classes, and of showing `none` of them [N]."""

    probabilities: NDArray[np.float64]
    none: NDArray[np.float64]


@dataclass(frozen=True)
class RejectPolicy:
    """How answers are made of scores: the classes' names, and when a digit is refused.

    It is where showing no digit is at least as probable as `refusal_threshold` (None: the model can't tell), and where
    the answer
    is less probable than `min_confidence`. Scores that are not `gives_probabilities` are no probabilities, and never
    refused.
    """

    names: tuple[Name, ...]
    gives_probabilities: bool = True
    refusal_threshold: float | None = None
    min_confidence: float = 0.0

    def decide(self, glyph: Glyph, probabilities: NDArray[np.float64], none: float) -> DigitPrediction:
        """The answer to an image with `probabilities` [K]."""
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
        """Why such a digit is refused; None if it is not."""
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
    """The classes' names: numbers where they are digits."""
    return tuple(int(name) if name.isdecimal() else name for name in classes)


def predict_page(page: Page, scores: Scores, policy: RejectPolicy, path: str | None) -> Prediction:
    """The answer to a picture, of what a model says of `page.glyphs`."""
    glyphs, can_refuse = page.glyphs, policy.refusal_threshold is not None
    warnings = page.warnings
    chosen = choose_glyphs(page, scores.probabilities, scores.none) if glyphs else []
    lines = [
        [policy.decide(glyphs[at], scores.probabilities[at], float(scores.none[at])) for at in indices]
        for indices in chosen
    ]
    accepted = [decide for line in lines for decide in line if not decide.refused]
    if accepted:
        lines = _drop_non_digits(lines, accepted, page.size)
        warnings += sign_warnings(lines, page.layout_of(chosen[0][0]).ink, page.size)
    digits = tuple(replace(decide, line=number) for number, line in enumerate(lines) for decide in line)
    if not accepted or (
        len(digits) > 1 and sum(each.digit_probability for each in accepted) < MIN_DIGIT_SHARE * len(digits)
    ):
        reason = page.reason or _refusal_reason(digits)
        refused = Prediction(path, "", digits, None, True, reason, steps=page.steps, can_refuse=can_refuse)
        return replace(refused, warnings=page.warnings)
    text = "\n".join(_join_signs([decide.sign for decide in line]) for line in lines)
    confidence = min((decide.confidence for decide in accepted if decide.confidence is not None), default=None)
    return Prediction(path, text, digits, confidence, steps=page.steps, can_refuse=can_refuse, warnings=warnings)


def _drop_non_digits(
    lines: list[list[DigitPrediction]], accepted: Sequence[DigitPrediction], size: tuple[int, int]
) -> list[list[DigitPrediction]]:
    """The lines without what was refused and is no sign among digits: lines of it alone, what is far from as high, and
    what touches the picture's border.

    Such are the edge of a table, a finger, a smudge.
    """
    usual = float(np.median([decide.box[3] for decide in accepted]))
    kept = [line for line in lines if not all(decide.refused for decide in line)]
    return [[each for each in line if not each.refused or _is_sign(each, usual, size)] for line in kept]


def _is_sign(decide: DigitPrediction, usual: float, size: tuple[int, int]) -> bool:
    return not touches_border(decide.box, size) and HEIGHT_RANGE[0] < decide.box[3] / usual < HEIGHT_RANGE[1]


def unreadable(path: str | None, error: str) -> Prediction:
    """The prediction of a picture that could not be read, with the reason in `error`."""
    return Prediction(path, "", (), None, error=error)


def _refusal_reason(digits: Sequence[DigitPrediction]) -> str:
    if not digits:
        return "nothing that looks like a digit"
    refused = [str(decide.reason) for decide in digits if decide.refused]
    if len(digits) == 1:
        return refused[0]
    if not refused:
        return f"its {len(digits)} signs look little like digits"
    if len(refused) < len(digits):
        return f"only {len(digits) - len(refused)} of its {len(digits)} signs can be read; another {refused[0]}"
    return f"none of its {len(digits)} signs can be read; the first {refused[0]}"


def _join_signs(signs: Sequence[str]) -> str:
    """`407`, or `three seven` where names are longer than a character."""
    return ("" if all(len(sign) == 1 for sign in signs) else " ").join(signs)


def _percent(fraction: float) -> str:
    """`87 %`; never 100, for nothing is so sure."""
    return f"{min(99, round(100 * fraction))} %"
