"""Batches and momentum: what gradients have in common, and what momentum as written shares with torch's."""

from __future__ import annotations

import pytest
import torch

from mnist_trainer.lab import batches
from mnist_trainer.lab.run import run_experiment

STATEMENTS = [
    "loss of SGD after 5 epochs, in parts of gradient descent's",
    "SGD with momentum reaches gradient descent's last loss in a part of its epochs",
    "with momentum the loss after 3 epochs, in parts of that without",
    "the cosine of a batch's gradient to the full one grows with the batch",
    "of 16 images it is far below 1",
    "of 4,096 images it is almost 1",
    "momentum as written equals torch's at a constant rate",
    "it differs when the rate falls",
]


@pytest.mark.slow
def test_all_statements_hold() -> None:
    experiment = run_experiment("batches", quick=True)
    assert [statement.statement for statement in experiment.statements] == STATEMENTS
    assert experiment.held, str(experiment)


@pytest.mark.slow
def test_as_large_as_all_images_a_batch_has_no_advantage() -> None:
    held = [statement.held for statement in run_experiment("batches", quick=True, batch=5000).statements]
    assert not held[0] and all(held[3:])


def test_the_gradient_is_that_of_backward_and_all_images_have_the_cosine_1() -> None:
    model, images, labels = batches.network(1), torch.rand(50, 784), torch.arange(50) % 10
    torch.nn.functional.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
    expected = torch.cat([weights.grad.flatten() for weights in model.parameters() if weights.grad is not None])
    assert torch.equal(batches.gradient(model, images, labels), expected)
    assert batches.cosines(model, images, labels, 50) == pytest.approx(1)
    assert batches.cosines(model, images, labels, 5) < 0.99


def test_momentum_as_written_differs_if_the_rate_falls_once() -> None:
    images, labels = torch.rand(20, 784).double(), torch.arange(20) % 10
    assert batches.momentum_gap([0.1, 0.1, 0.1], images, labels) < 1e-12
    assert batches.momentum_gap([0.1, 0.1, 0.01], images, labels) > 1e-6
