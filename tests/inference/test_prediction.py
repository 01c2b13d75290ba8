"""The answer to a picture: `mnist_trainer/inference/prediction.py`."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mnist_trainer.data.normalize import Normalization
from mnist_trainer.inference.prediction import Prediction, predict_digits, unreadable
from mnist_trainer.inference.predictor import Predictor, Reading
from mnist_trainer.pictures.digits import Digit

CLASSES = tuple("0123456789")


class Corner(nn.Module):
    """Outputs are the first pixels of the first row: what is written there is what is answered."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs[:, 0, 0, : self.outputs] * 10


def predictor(outputs: int = 10) -> Predictor:
    return Predictor([Corner(outputs)], [Reading(Normalization(0.0, 1.0), "logits")], torch.device("cpu"))


def digit(answer: int, ink: int = 255, x: int = 0) -> Digit:
    image = np.zeros((28, 28), dtype=np.uint8)
    image[0, answer] = ink
    return Digit(image, (x, 2, 20, 30))


def test_a_picture_is_read_from_left_to_right() -> None:
    found = predict_digits(predictor(), [digit(7), digit(0, ink=128, x=40)], CLASSES, "a.png")
    assert (found.path, found.text, found.error, found.refused) == ("a.png", "70", None, False)
    assert [answer.digit for answer in found.digits] == [7, 0]
    assert [answer.box for answer in found.digits] == [(0, 2, 20, 30), (40, 2, 20, 30)]


def test_a_picture_is_as_sure_as_its_least_sure_digit() -> None:
    found = predict_digits(predictor(), [digit(7), digit(0, ink=128)], CLASSES, None)
    sure, unsure = found.digits
    assert sure.confidence == pytest.approx(np.exp(10) / (np.exp(10) + 9))
    assert found.confidence == unsure.confidence < sure.confidence
    assert unsure.confidence == max(unsure.probabilities) == unsure.probabilities[0]
    assert sum(unsure.probabilities) == pytest.approx(1)


def test_classes_that_are_no_digits_are_named() -> None:
    found = predict_digits(predictor(outputs=2), [digit(0), digit(1)], ("not 7", "7"), None)
    assert [answer.digit for answer in found.digits] == ["not 7", 7]


def test_the_json_has_the_shape_that_stays() -> None:
    content = json.loads(json.dumps(predict_digits(predictor(), [digit(7)], CLASSES, "a.png").to_json()))
    assert list(content) == ["path", "text", "digits", "confidence", "refused", "reason", "error"]
    (answer,) = content["digits"]
    assert list(answer) == ["digit", "confidence", "probabilities", "box", "refused", "reason"]
    assert (answer["digit"], len(answer["probabilities"]), answer["box"]) == (7, 10, [0, 2, 20, 30])


def test_an_unreadable_picture_says_why() -> None:
    expected = Prediction("a.png", "", (), None, refused=False, reason=None, error="a.png is no picture.")
    assert unreadable("a.png", "a.png is no picture.") == expected
