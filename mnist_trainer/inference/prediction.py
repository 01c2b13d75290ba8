"""What is read from a picture: the shape that `mnist-predict --json` prints and `predict` returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.inference.reading import choose_glyphs
from mnist_trainer.inference.signs import sign_warnings
from mnist_trainer.pictures.page import Box, Glyph, Page, ReadingSteps, touches_border

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
