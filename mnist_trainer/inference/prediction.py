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

    A model whose outputs are no probabilities (squared error without an output function) gives None and none. `box` is
    (x, y, width, height) in pixels of the upright picture.
    """

    digit: int | str
    confidence: float | None
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
    honest = predictor.gives_probabilities
    rows = zip(predictor(images).tolist(), digits, strict=True)
    answers = tuple(_answer(row, digit, classes, honest) for row, digit in rows)
    text = "".join(str(answer.digit) for answer in answers)
    return Prediction(
        path, text, answers, min((a.confidence for a in answers if a.confidence is not None), default=None)
    )


def unreadable(path: str | None, error: str) -> Prediction:
    """The prediction of a picture that could not be read, with the reason in `error`."""
    return Prediction(path, "", (), None, error=error)


def _answer(outputs: list[float], digit: Digit, classes: tuple[str, ...], honest: bool) -> DigitAnswer:
    largest = max(outputs)
    name = classes[outputs.index(largest)]
    answer = int(name) if name.isdecimal() else name
    return DigitAnswer(answer, largest if honest else None, tuple(outputs) if honest else (), digit.box)
