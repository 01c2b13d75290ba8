from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mnist_trainer.config.load import load_config
from mnist_trainer.data.image_dataset import ImageDataset
from mnist_trainer.inference.metrics import Evaluation
from mnist_trainer.inference.predictions import DeadUnits, Predictions
from mnist_trainer.model.build import build_model
from mnist_trainer.reports import run_plots
from mnist_trainer.reports.curves import TrainingSummary
from mnist_trainer.reports.run_plots import (
    Drawing,
    draw_confusion,
    draw_mistakes,
    draw_training,
    draw_weights,
    predictions_csv,
)

CLASSES = ("zero", "one", "two")


class Painter:
    """Stands in for `plots`, and remembers what it was asked to paint."""

    def __init__(self) -> None:
        self.asked: dict[str, tuple[Any, ...]] = {}

    def __getattr__(self, name: str) -> Any:
        def paint(*arguments: Any) -> bytes:
            self.asked[name] = arguments
            return name.encode()

        return paint


@pytest.fixture(autouse=True)
def painter(monkeypatch: pytest.MonkeyPatch) -> Painter:
    painter = Painter()
    monkeypatch.setattr(run_plots, "plots", painter)
    return painter


def drawn(drawing: Drawing) -> tuple[str, bytes]:
    name, picture = drawing
    return name, picture()


def answered(probabilities: Tensor, labels: list[int]) -> Predictions:
    confidence, predicted = probabilities.double().max(dim=1)
    return Predictions(probabilities, probabilities, predicted, confidence, torch.tensor(labels))


def source_of(labels: list[int]) -> ImageDataset:
    images = torch.arange(len(labels), dtype=torch.uint8)[:, None, None].expand(-1, 28, 28).contiguous()
    return ImageDataset(images, torch.tensor(labels), torch.arange(len(labels)) * 10)


def test_the_curves_are_drawn_from_the_rows(painter: Painter) -> None:
    rows: list[Any] = [{"epoch": 1, "train_loss": 0.5}]
    name, picture = drawn(draw_training(rows, TrainingSummary(1), "mlp"))
    assert (name, picture[:4]) == ("curves.png", b"\x89PNG")
    assert drawn(draw_training(rows, TrainingSummary(1), "mlp", "pdf"))[0] == "curves.pdf"


@pytest.mark.parametrize(
    ("model", "outputs", "count"),
    [
        ({"architecture": "mlp", "hidden": [5]}, 10, 5),
        ({"architecture": "mlp", "hidden": []}, 10, 10),
        ({"architecture": "mlp", "hidden": [5], "activation": "maxout"}, 10, 10),
        ({"architecture": "neuron"}, 1, 1),
    ],
)
def test_weights_are_drawn_where_the_first_layer_sees_the_whole_image(
    painter: Painter, model: dict[str, Any], outputs: int, count: int
) -> None:
    config = load_config({"model": model, "data": {"binary": 7 if outputs == 1 else None}, "loss": "mse"})
    assert dict(map(drawn, draw_weights(build_model(config.model, outputs), "title"))) == {"weights.png": b"weights"}
    pictures, title, crossed, file_format = painter.asked["weights"]
    assert (pictures.shape, pictures.dtype, title) == ((count, 28, 28), np.float32, "title")
    assert (crossed, file_format) == ([], "png")


def test_the_filters_of_a_convolution_are_drawn_and_dead_ones_crossed_out(painter: Painter) -> None:
    dead = [DeadUnits(1, (0, 3), 4), DeadUnits(2, (1,), 4)]
    drawings = draw_weights(nn.Sequential(nn.Conv2d(1, 4, 5), nn.Conv2d(4, 9, 3)), "title", dead, "svg")
    assert dict(map(drawn, drawings)) == {"weights.svg": b"weights"}
    pictures, _, crossed, _ = painter.asked["weights"]
    assert pictures.shape == (4, 5, 5)
    assert crossed == [0, 3]


@pytest.mark.parametrize(
    "model", [nn.Conv2d(3, 4, 3), nn.Linear(700, 3), nn.Linear(16, 3), nn.Flatten(), nn.Sequential()]
)
def test_other_weights_are_not_drawn(painter: Painter, model: nn.Module) -> None:
    assert dict(draw_weights(model, "title")) == {}
    assert not painter.asked


def test_the_confusion_matrix_says_of_what_it_is(painter: Painter, evaluation: Evaluation) -> None:
    assert drawn(draw_confusion(evaluation, ("not 7", "7"))) == ("confusion.png", b"confusion")
    matrix, classes, title, _ = painter.asked["confusion"]
    assert matrix.tolist() == [[1987, 3], [0, 10]]
    assert matrix.dtype == np.int64
    assert (classes, title) == (("not 7", "7"), "mnist, test: accuracy 99.85 %")


def test_the_most_confident_mistakes_come_first(painter: Painter, evaluation: Evaluation) -> None:
    rows = torch.tensor([[0.9, 0.1, 0.0], [0.6, 0.4, 0.0], [0.0, 0.2, 0.8], [0.1, 0.2, 0.7], [0.0, 1.0, 0.0]])
    labels = [0, 1, 0, 1, 0]
    predictions, dataset = answered(rows, labels), source_of(labels)
    assert drawn(draw_mistakes(predictions, dataset, evaluation, CLASSES)) == ("mistakes.png", b"mistakes")
    images, truths, given, shown, title, _ = painter.asked["mistakes"]
    assert images[:, 0, 0].tolist() == [4, 2, 3, 1]
    assert truths == ["zero", "zero", "one", "one"]
    assert given == ["one", "two", "two", "zero"]
    assert shown == pytest.approx([1.0, 0.8, 0.7, 0.6])
    assert title == "The most confident of 3 mistakes in 2,000 test images: label → prediction"


def test_what_is_no_probability_is_not_shown_as_one(painter: Painter, evaluation: Evaluation) -> None:
    predictions = answered(torch.tensor([[7.0, -3.0, 0.0]]), [1])
    drawn(draw_mistakes(predictions, source_of([1]), replace(evaluation, ece=None), CLASSES))
    assert painter.asked["mistakes"][3] == [None]


def test_at_most_25_mistakes_are_shown_and_none_is_possible(painter: Painter, evaluation: Evaluation) -> None:
    rows = torch.tensor([[1.0, 0.0, 0.0]]).expand(40, 3)
    drawn(draw_mistakes(answered(rows, [1] * 40), source_of([1] * 40), evaluation, CLASSES))
    assert len(painter.asked["mistakes"][0]) == 25
    drawn(draw_mistakes(answered(rows, [0] * 40), source_of([0] * 40), evaluation, CLASSES))
    assert [len(part) for part in painter.asked["mistakes"][:4]] == [0, 0, 0, 0]


def test_predictions_name_each_image_by_its_place_in_the_data_set() -> None:
    rows = torch.tensor([[0.9, 0.1, 0.0], [1 / 3, 0.1, 0.0]], dtype=torch.float64)
    text = predictions_csv(answered(rows, [0, 2]), source_of([0, 2]), ("zero", "one", 'a "quoted", class'))
    assert text == ('index,label,predicted,probability\n0,zero,zero,0.9\n10,"a ""quoted"", class",zero,0.333333\n')
