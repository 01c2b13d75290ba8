"""Figures on a split: `mnist_trainer/inference/predictions.py`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_trainer.config.schema import Data
from mnist_trainer.data.datasets import DOUBTED_TEST_LABELS
from mnist_trainer.data.image_dataset import ImageDataset
from mnist_trainer.data.loaders import load_test
from mnist_trainer.data.normalize import Normalization
from mnist_trainer.inference.metrics import Evaluation, SubsetMetrics, wilson_interval
from mnist_trainer.inference.predictions import Predictions, measure, most_confident_errors, predict
from mnist_trainer.inference.predictor import InferenceSpec, Predictor
from mnist_trainer.reports.results import evaluation_lines

CPU = torch.device("cpu")
CLASSES = tuple("0123456789")
SPEC = InferenceSpec(Normalization(0.13, 0.31), "logits")


def mean_loss(outputs: Tensor, labels: Tensor) -> float:
    return float(F.cross_entropy(outputs.double(), labels))


def evaluated(network: nn.Module, dataset: ImageDataset, spec: InferenceSpec = SPEC) -> tuple[Predictions, Evaluation]:
    predictor = Predictor([network], [spec], CPU)
    predictions = predict(predictor, dataset)
    return predictions, measure(predictor, predictions, mean_loss, CLASSES, "mnist", "validation")


@pytest.mark.parametrize("batch_size", [1, 7, 64, 150])
def test_the_batch_size_changes_no_answer(dataset: ImageDataset, network: nn.Module, batch_size: int) -> None:
    predictions, metrics = evaluated(network, dataset)
    others, other_metrics = evaluated(network, dataset, replace(SPEC, batch_size=batch_size))
    assert torch.equal(others.predicted, predictions.predicted)
    assert other_metrics.confusion == metrics.confusion
    assert other_metrics.loss == pytest.approx(metrics.loss, abs=1e-6)


def test_figures_are_counted_over_all_images(dataset: ImageDataset, network: nn.Module) -> None:
    _, metrics = evaluated(network, dataset)
    inputs = ((dataset.images.float() / 255 - 0.13) / 0.31)[:, None]
    outputs = network.eval()(inputs).detach()
    correct = int((outputs.argmax(dim=1) == dataset.labels).sum())
    assert (metrics.count, metrics.errors, metrics.accuracy) == (150, 150 - correct, correct / 150)
    assert metrics.loss == pytest.approx(mean_loss(outputs, dataset.labels), abs=1e-6)
    assert metrics.interval[0] < metrics.accuracy < metrics.interval[1]
    assert (metrics.dataset, metrics.split) == ("mnist", "validation")


def test_the_doubted_labels_of_mnists_test_set_are_left_out_once_more() -> None:
    labels = torch.arange(10_000) % 10
    wrong = torch.tensor([*DOUBTED_TEST_LABELS, 0, 1])
    predicted = labels.index_add(0, wrong, torch.ones_like(wrong)) % 10
    probabilities = F.one_hot(predicted, 10).double()
    predictions = Predictions(probabilities, probabilities, predicted, probabilities.amax(dim=1), labels)
    predictor = Predictor([nn.Identity()], [SPEC], CPU)
    metrics = measure(predictor, predictions, mean_loss, CLASSES, "mnist", "test")
    assert (metrics.errors, metrics.count) == (17, 10_000)
    assert metrics.undoubted == SubsetMetrics(9983 / 9985, 2, 9985, wilson_interval(9983, 9985))
    assert metrics.to_json()["undoubted"]["errors"] == 2
    told = "99.98 % (2 errors of 9,985; 95 % interval 99.93 to 99.99 %)"
    assert evaluation_lines(metrics, "m")[2] == f"without the 15 labels that human validators doubted {told}"
    for name, split in (("mnist", "validation"), ("qmnist", "test")):
        assert measure(predictor, predictions, mean_loss, CLASSES, name, split).undoubted is None


def test_the_doubted_labels_are_those_that_people_were_asked_about(mnist_root: Path) -> None:
    labels = load_test(Data(root=str(mnist_root))).labels[list(DOUBTED_TEST_LABELS)]
    assert labels.tolist() == [8, 0, 9, 4, 2, 5, 6, 6, 5, 5, 0, 1, 4, 6, 5]  # given_original_label in the source


def test_confusion_and_classes_agree_with_the_errors(dataset: ImageDataset, network: nn.Module) -> None:
    predictions, metrics = evaluated(network, dataset)
    assert sum(map(sum, metrics.confusion)) == 150
    assert sum(metrics.confusion[digit][digit] for digit in range(10)) == 150 - metrics.errors
    assert sum(each.errors for each in metrics.per_class) == metrics.errors
    assert metrics.confusion[3][5] == int(((predictions.labels == 3) & (predictions.predicted == 5)).sum())


def test_the_confidence_is_the_probability_of_the_answer(dataset: ImageDataset, network: nn.Module) -> None:
    predictions, metrics = evaluated(network, dataset)
    chosen = predictions.probabilities.gather(1, predictions.predicted[:, None])[:, 0]
    assert torch.equal(predictions.confidence, chosen)
    assert metrics.ece is not None and 0 < metrics.ece < 1


def test_outputs_that_are_no_probabilities_have_no_calibration_error(dataset: ImageDataset, network: nn.Module) -> None:
    predictions, metrics = evaluated(network, dataset, replace(SPEC, kind="values"))
    assert metrics.ece is None
    assert torch.equal(predictions.predicted, predictions.outputs.argmax(dim=1))


def test_evaluating_leaves_the_global_generator_alone(dataset: ImageDataset, network: nn.Module) -> None:
    before = torch.get_rng_state()
    evaluated(network, dataset)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_surest_mistakes_come_first() -> None:
    predictions = Predictions(
        outputs=torch.zeros(6, 2),
        probabilities=torch.zeros(6, 2),
        predicted=torch.tensor([0, 1, 1, 0, 1, 1]),
        confidence=torch.tensor([0.9, 0.6, 0.99, 0.8, 0.8, 1.0]),
        labels=torch.tensor([1, 0, 0, 1, 0, 1]),
    )
    assert most_confident_errors(predictions).tolist() == [2, 0, 3, 4, 1]
    assert most_confident_errors(predictions, count=2).tolist() == [2, 0]


def test_a_model_without_mistakes_has_none_to_show() -> None:
    zeros = torch.zeros(3, dtype=torch.int64)
    predictions = Predictions(torch.zeros(3, 2), torch.zeros(3, 2), zeros, torch.ones(3), zeros)
    assert most_confident_errors(predictions).tolist() == []
