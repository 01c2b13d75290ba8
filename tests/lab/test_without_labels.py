"""Autoencoder, k-means and forward-forward: the statements, and each function against an independent one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mnist_trainer.lab import without_labels
from mnist_trainer.lab.run import run_experiment

STATEMENTS = [
    "codes of 16 numbers: error on test images in parts of PCA's",
    "10 clusters of codes: purity in %",
    "10 random clusters: purity in %",
    "100 clusters of codes are as pure as of 784 pixels: difference in points",
    "samples: distance to the nearest training image, in parts of a test image's",
    "pixels drawn one by one: the same distance",
    "forward-forward learns: accuracy on test images in %",
    "backpropagation is better after as many epochs, by points",
    "it is as good after this part of the epochs",
]


@pytest.mark.slow
def test_all_statements_hold() -> None:
    experiment = run_experiment("without-labels", quick=True)
    assert [statement.statement for statement in experiment.statements] == STATEMENTS
    assert experiment.held, str(experiment)


@pytest.mark.slow
def test_with_another_loss_random_clusters_and_no_labels_statements_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def random_clusters(points: Tensor, count: int) -> tuple[Tensor, Tensor]:
        return 9 * torch.randn(count, points.shape[1]), torch.randint(count, (len(points),))

    monkeypatch.setattr(nn, "MSELoss", lambda: lambda outputs, _: outputs.square().mean())
    monkeypatch.setattr(without_labels, "k_means", random_clusters)
    monkeypatch.setattr(without_labels, "with_labels", lambda images, _: images)
    held = {each.statement: each.held for each in run_experiment("without-labels", quick=True).statements}
    assert [statement for statement in STATEMENTS if not held[statement]] == [*STATEMENTS[:2], STATEMENTS[6]]


def test_k_means_finds_separate_clusters_and_ends_at_their_means() -> None:
    torch.manual_seed(0)
    points = torch.cat([torch.randn(50, 2), 100 + torch.randn(50, 2)])
    centres, nearest = without_labels.k_means(points, 2)
    assert (nearest[:50] == nearest[0]).all() and (nearest[50:] == 1 - nearest[0]).all()
    assert torch.allclose(centres[nearest[0]], points[:50].mean(dim=0))
    assert torch.allclose(centres[nearest[50]], points[50:].mean(dim=0))


def test_k_means_lowers_the_distances_in_each_round() -> None:
    points, sums = torch.rand(300, 5), []
    for rounds in (1, 2, 4, 8):
        torch.manual_seed(0)
        centres, _ = without_labels.k_means(points, 7, rounds)
        sums.append(float(torch.cdist(points, centres).amin(dim=1).square().sum()))
    assert sums == sorted(sums, reverse=True) and sums[-1] < sums[0]


def test_purity_of_a_counted_example() -> None:
    clusters = torch.tensor([0, 0, 0, 1, 1, 1, 1, 3])
    labels = torch.tensor([5, 5, 9, 0, 1, 1, 2, 7])
    assert without_labels.purity(clusters, labels) == 100 * (2 + 2 + 1) / 8


def test_with_labels_writes_a_5_at_the_label() -> None:
    images = torch.rand(3, 784)
    labelled = without_labels.with_labels(images, torch.tensor([0, 9, 4]))
    assert labelled[:, :10].nonzero().tolist() == [[0, 0], [1, 9], [2, 4]] and labelled.max() == 5
    assert torch.equal(labelled[:, 10:], images[:, 10:])


def test_goodness_is_the_mean_square_and_its_gradient_stays_in_the_layer() -> None:
    torch.manual_seed(0)
    first, second = nn.Linear(6, 5), nn.Linear(5, 4)
    x = torch.randn(3, 6)
    found = without_labels.ForwardForward(first, second)(x)
    a1 = first(nn.functional.rms_norm(x, (6,), eps=1e-8)).relu()
    a2 = second(nn.functional.rms_norm(a1, (5,), eps=1e-8)).relu()
    assert torch.allclose(found, torch.stack([(a**2).mean(dim=1) - 2 for a in (a1, a2)], dim=1), atol=1e-5)
    of_first, of_second = torch.autograd.grad(found[:, 1].sum(), [first.weight, second.weight])
    assert not of_first.any() and of_second.any()
