"""What is read from a picture: the shape that `mnist-predict --json` prints and `predict` returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.inference.reading import choose
from mnist_trainer.inference.signs import sign_warnings
from mnist_trainer.pictures.page import Box, Glyph, Page, ReadingSteps, touches_border

CLOSE = 0.1
"""A second answer that is at least as probable as this is worth naming."""

MOSTLY = 0.64
"""Of several signs, that must be digits, each counted as likely as it is one: words have one now and then."""

ALIKE = 0.5, 1.7
"""Least and most height of a refused sign that stands among digits, as shares of theirs."""

Name = int | str
"""A digit, or the name of a class that is none."""


@dataclass(frozen=True)
class DigitAnswer:
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
    likely: float = field(default=1.0, compare=False)

    @property
    def sign(self) -> str:
        """The answer as it stands in `Prediction.text`: `?` if it is refused."""
        return "?" if self.refused else str(self.digit)

    def ranked(self, most: int | None = None) -> list[tuple[Name, float]]:
        """The `most` probable names, each with its probability; None: the answer, and the second where it is close."""
        ranking = sorted(zip(self.names, self.probabilities, strict=True), key=lambda pair: -pair[1])
        if most is None:
            most = 2 if len(ranking) > 1 and ranking[1][1] >= CLOSE else 1
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
    digits: tuple[DigitAnswer, ...]
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
class Judgement:
    """How answers are made of scores: the classes' names, and when a digit is refused.

    It is where showing no digit is at least as probable as `refusal` (None: the model can't tell), and where the answer
    is less probable than `min_confidence`. Scores that are not `honest` are no probabilities, and never refused.
    """

    names: tuple[Name, ...]
    honest: bool = True
    refusal: float | None = None
    min_confidence: float = 0.0

    def answer(self, glyph: Glyph, probabilities: NDArray[np.float64], none: float) -> DigitAnswer:
        """The answer to an image with `probabilities` [K]."""
        best = int(probabilities.argmax())
        values = tuple(probabilities.tolist()) if self.honest else ()
        names = self.names if self.honest else ()
        confidence = values[best] if values else None
        reason = self._reason(probabilities, none)
        shown = DigitAnswer(self.names[best], confidence, values, glyph.box, bool(reason), reason, glyph.image, names)
        return replace(shown, likely=1.0 if self.refusal is None else 1 - none)

    def _reason(self, probabilities: NDArray[np.float64], none: float) -> str | None:
        """Why such a digit is refused; None if it is not."""
        if not self.honest:
            return None
        if self.refusal is not None and none >= self.refusal:
            return f"looks like no digit: {_in_percent(none)} sure"
        second, first = np.argsort(probabilities)[-2:]
        if probabilities[first] >= self.min_confidence:
            return None
        one, other = (_in_percent(float(probabilities[place])) for place in (first, second))
        return f"may be {self.names[first]} or {self.names[second]}: {one} and {other}"


def named(classes: Sequence[str]) -> tuple[Name, ...]:
    """The classes' names: numbers where they are digits."""
    return tuple(int(name) if name.isdecimal() else name for name in classes)


def answer_page(page: Page, scores: Scores, judgement: Judgement, path: str | None) -> Prediction:
    """The answer to a picture, of what a model says of `page.glyphs`."""
    glyphs, able = page.glyphs, judgement.refusal is not None
    warnings = page.warnings
    chosen = choose(page, scores.probabilities, scores.none) if glyphs else []
    lines = [
        [judgement.answer(glyphs[at], scores.probabilities[at], float(scores.none[at])) for at in places]
        for places in chosen
    ]
    answered = [answer for line in lines for answer in line if not answer.refused]
    if answered:
        lines = _without_others(lines, answered, page.size)
        warnings += sign_warnings(lines, page.layout_of(chosen[0][0]).ink, page.size)
    answers = tuple(replace(answer, line=number) for number, line in enumerate(lines) for answer in line)
    if not answered or (len(answers) > 1 and sum(each.likely for each in answered) < MOSTLY * len(answers)):
        reason = page.reason or _reason_of_all(answers)
        refused = Prediction(path, "", answers, None, True, reason, steps=page.steps, can_refuse=able)
        return replace(refused, warnings=page.warnings)
    text = "\n".join(_spelled([answer.sign for answer in line]) for line in lines)
    confidence = min((answer.confidence for answer in answered if answer.confidence is not None), default=None)
    return Prediction(path, text, answers, confidence, steps=page.steps, can_refuse=able, warnings=warnings)


def _without_others(
    lines: list[list[DigitAnswer]], answered: Sequence[DigitAnswer], size: tuple[int, int]
) -> list[list[DigitAnswer]]:
    """The lines without what was refused and is no sign among digits: lines of it alone, what is far from as high, and
    what touches the picture's border.

    Such are the edge of a table, a finger, a smudge.
    """
    usual = float(np.median([answer.box[3] for answer in answered]))
    kept = [line for line in lines if not all(answer.refused for answer in line)]
    return [[each for each in line if not each.refused or _is_sign(each, usual, size)] for line in kept]


def _is_sign(answer: DigitAnswer, usual: float, size: tuple[int, int]) -> bool:
    return not touches_border(answer.box, size) and ALIKE[0] < answer.box[3] / usual < ALIKE[1]


def unreadable(path: str | None, error: str) -> Prediction:
    """The prediction of a picture that could not be read, with the reason in `error`."""
    return Prediction(path, "", (), None, error=error)


def _reason_of_all(answers: Sequence[DigitAnswer]) -> str:
    if not answers:
        return "nothing that looks like a digit"
    refused = [str(answer.reason) for answer in answers if answer.refused]
    if len(answers) == 1:
        return refused[0]
    if not refused:
        return f"its {len(answers)} signs look little like digits"
    if len(refused) < len(answers):
        return f"only {len(answers) - len(refused)} of its {len(answers)} signs can be read; another {refused[0]}"
    return f"none of its {len(answers)} signs can be read; the first {refused[0]}"


def _spelled(signs: Sequence[str]) -> str:
    """`407`, or `three seven` where names are longer than a character."""
    return ("" if all(len(sign) == 1 for sign in signs) else " ").join(signs)


def _in_percent(fraction: float) -> str:
    """`87 %`; never 100, for nothing is so sure."""
    return f"{min(99, round(100 * fraction))} %"
