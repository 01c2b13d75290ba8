"""The lecture's additions to a loss: `mnist_trainer/training/losses.py`."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mnist_trainer.config.layers import OutputKind
from mnist_trainer.config.schema import Penalty
from mnist_trainer.training.losses import (
    differentiable_probabilities,
    first_layer_images,
    penalty_matrix,
    total_variation,
)


def test_the_matrix_has_labels_in_rows_and_penalties_add_up() -> None:
    penalties = (
        Penalty(true=0, predicted=1, weight=0.5),
        Penalty(true=0, predicted=1, weight=0.25),
        Penalty(true=0, predicted=2, weight=0.5),
        Penalty(true=2, predicted=0, symmetric=True),
    )
    assert penalty_matrix(penalties, 3).tolist() == [[0, 0.75, 1.5], [0, 0, 0], [1, 0, 0]]
    assert penalty_matrix((), 2).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("kind", "outputs", "expected"),
    [
        ("logits", [[0.0, 0.0]], [[0.5, 0.5]]),
        ("log_probabilities", [[0.0, -1e9]], [[1.0, 0.0]]),
        ("probabilities", [[0.25, 0.75]], [[0.25, 0.75]]),
        ("sigmoid", [[0.25, 0.5]], [[0.25, 0.5]]),
        ("values", [[-0.5, 1.5]], [[0.0, 1.0]]),
        ("logits", [[0.0]], [[0.5, 0.5]]),
        ("sigmoid", [[0.25]], [[0.75, 0.25]]),
        ("values", [[1.5]], [[0.0, 1.0]]),
    ],
)
def test_probabilities_to_train_on(kind: OutputKind, outputs: list[list[float]], expected: list[list[float]]) -> None:
    raw = torch.tensor(outputs, requires_grad=True)
    probabilities = differentiable_probabilities(raw, kind)
    assert probabilities.tolist() == expected
    assert probabilities.requires_grad


def test_total_variation_by_hand() -> None:
    step = [[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]  # one edge of height 1 along two rows
    checks = [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]  # 4 across, 3 down
    assert total_variation(torch.tensor([step])).item() == 2
    assert total_variation(torch.tensor([checks])).item() == 7
    assert total_variation(torch.tensor([step, checks])).item() == 4.5
    assert total_variation(torch.full((3, 5, 5), 0.7)).item() == 0


def test_the_first_layers_weights_as_pictures() -> None:
    mlp = nn.Sequential(nn.Flatten(), nn.Linear(784, 5), nn.ReLU(), nn.Linear(5, 10))
    pictures = first_layer_images(mlp)
    assert pictures is not None and pictures.shape == (5, 28, 28)
    assert torch.equal(pictures[2].flatten(), mlp[1].weight[2])
    cnn = first_layer_images(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(2704, 10)))
    assert cnn is not None and cnn.shape == (4, 3, 3)


def test_pictures_pass_their_gradient_on() -> None:
    linear = nn.Linear(784, 5)
    pictures = first_layer_images(linear)
    assert pictures is not None
    total_variation(pictures).backward()
    assert linear.weight.grad is not None and linear.weight.grad.any()


@pytest.mark.parametrize("model", [nn.Linear(783, 5), nn.ReLU()])
def test_weights_that_are_no_pictures_give_none(model: nn.Module) -> None:
    assert first_layer_images(model) is None
