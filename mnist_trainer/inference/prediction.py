"""What is read from a picture: the shape that `mnist-predict --json` prints and `predict` returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from mnist_trainer.inference.predictor import Predictor
from mnist_trainer.pictures.digits import Digit


@dataclass(frozen=True)
class DigitAnswer:
    """One digit: the answer (a class name where classes are no digits), its probability, and all probabilities.

    `box` is (x, y, width, height) in pixels of the upright picture.
    """

    digit: int | str
    confidence: float
    probabilities: tuple[float, ...]
    box: tuple[int, int, int, int]
    refused: bool = False
    reason: str | None = None


@dataclass(frozen=True)
class Prediction:
    """One picture: its digits in reading order as `text`; `confidence` is the lowest of its digits'."""

    path: str | None
    text: str
    digits: tuple[DigitAnswer, ...]
    confidence: float | None
    refused: bool = False
    reason: str | None = None
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The object that `--json` lists."""
        return asdict(self)


def predict_digits(
    predictor: Predictor, digits: Sequence[Digit], classes: tuple[str, ...], path: str | None
) -> Prediction:
    """The answers of `predictor` to the digits found in one picture."""
    images = torch.from_numpy(np.stack([digit.image for digit in digits]))
    answers = tuple(_answer(row, digit, classes) for row, digit in zip(predictor(images).tolist(), digits, strict=True))
    text = "".join(str(answer.digit) for answer in answers)
    return Prediction(path, text, answers, min(answer.confidence for answer in answers))


def unreadable(path: str | None, error: str) -> Prediction:
    """The prediction of a picture that could not be read, with the reason in `error`."""
    return Prediction(path, "", (), None, error=error)


def _answer(probabilities: list[float], digit: Digit, classes: tuple[str, ...]) -> DigitAnswer:
    confidence = max(probabilities)
    name = classes[probabilities.index(confidence)]
    return DigitAnswer(int(name) if name.isdecimal() else name, confidence, tuple(probabilities), digit.box)
