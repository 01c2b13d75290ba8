"""Size: pruning and rounding by closed forms, memory, and statements that fail where the mathematics is broken."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mnist_trainer.lab import size
from mnist_trainer.lab.run import run_experiment
from mnist_trainer.model.device import Footprint

STATEMENTS = [
    "more images of each class, more digits right",
    "10 of each class: known by heart, other images are points behind",
    "1,000 of each class: errors in parts of those",
    "from 1 unit to 16: points gained",
    "from 16 units to 256: points gained",
    "the widest network is the best, it doesn't overfit: points behind",
    "200 million units: 795n + 10 parameters",
    "200 million units: GB of weights",
    "200 million units: refused where 1 TB is free",
    "the smaller half of the weights set to 0: points lost",
    "80 % at random lose more than the smallest 80 %: points",
    "99 % set to 0: points lost",
    "8 bits a weight in place of 32: points lost",
    "4 bits: points lost",
]


@pytest.mark.slow
def test_all_statements_hold() -> None:
    experiment = run_experiment("size", quick=True)
    assert [statement.statement for statement in experiment.statements] == STATEMENTS
    assert experiment.held, str(experiment)


@pytest.mark.slow
def test_with_the_largest_weights_at_0_and_too_few_bits_the_statements_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def largest(weight: Tensor, percent: int, at_random: int = 0) -> Tensor:
        return weight - pruned(weight, 100 - percent)

    pruned, quantized = size.pruned, size.quantized
    monkeypatch.setattr(size, "pruned", largest)
    monkeypatch.setattr(size, "quantized", lambda weight, bits: quantized(weight, 2))
    monkeypatch.setattr(size, "UNITS", 100)
    held = {each.statement: each.held for each in run_experiment("size", quick=True).statements}
    assert [statement for statement in STATEMENTS if not held[statement]] == [*STATEMENTS[7:11], *STATEMENTS[12:]]


def test_pruned_sets_the_smallest_weights_to_0_or_any() -> None:
    weight = torch.tensor([[0.1, -4.0], [3.0, -0.2]])
    assert size.pruned(weight, 50).tolist() == [[0, -4], [3, 0]]
    assert torch.equal(size.pruned(weight, 0), weight) and not size.pruned(weight, 100).any()
    large = torch.randn(100, 100)
    assert int((size.pruned(large, 30, 1) == 0).sum()) == int((size.pruned(large, 30) == 0).sum()) == 3000
    assert size.pruned(large, 30).abs().sum() > size.pruned(large, 30, 1).abs().sum()


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_quantized_is_what_torch_quantizes_for_each_output(bits: int) -> None:
    weight, most = torch.randn(5, 40), 2 ** (bits - 1) - 1
    scales = weight.abs().amax(1) / most
    expected = torch.fake_quantize_per_channel_affine(weight, scales, torch.zeros(5).int(), 0, -most, most)
    assert torch.allclose(size.quantized(weight, bits), expected, atol=1e-6)


def test_accuracy_changes_matrices_only_and_leaves_the_model_as_it_is() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    model[2].bias.data = torch.tensor([0.0, 1.0])
    before = [weights.clone() for weights in model.parameters()]
    data = torch.randn(4, 2), torch.tensor([1, 1, 1, 0])
    assert size.accuracy(model, data, size.pruned, 100) == 75  # only the biases are left
    assert all(map(torch.equal, model.parameters(), before))
    assert size.accuracy(model, data) == 100 * float((model(data[0]).argmax(1) == data[1]).float().mean())


def test_a_training_is_refused_where_its_memory_is_not_free() -> None:
    assert size.refused(Footprint(1, 12, 4), 15)
    assert not size.refused(Footprint(1, 12, 4), 16)


def test_per_class_returns_the_first_of_each_class() -> None:
    images, labels = size.per_class(2, torch.arange(40.0)[:, None], torch.arange(40) % 10)
    assert sorted(images[:, 0].tolist()) == list(range(20)) and labels.bincount().tolist() == [2] * 10
