"""`training.adversarial`: the changed images against the formula written out, and what else a batch keeps."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch

from mnist_trainer.data.loaders import Splits
from mnist_trainer.training.loop import steps
from mnist_trainer.training.losses import MixedLabels, main_labels


def test_the_change_is_the_normalised_gradient_by_hand(prepare: Any, splits: Splits) -> None:
    """Of a linear model with cross-entropy the gradient by the inputs is (p − one-hot) · W."""
    layers = ["flatten", {"linear": "classes"}]
    state = prepare(splits, model={"architecture": "layers", "layers": layers}, training={"adversarial": 1.5})
    images, labels = next(state.batches())
    clean, changed = images.double().chunk(2)
    assert torch.equal(labels[:32], labels[32:])
    assert clean.round().equal(clean)

    weight, bias = (parameter.detach().double() for parameter in state.model.parameters())
    inputs = (clean / 255 - state.setup.spec.normalization.mean) / state.setup.spec.normalization.std
    error = torch.softmax(inputs.flatten(1) @ weight.T + bias, dim=1)
    error[range(32), labels[:32]] -= 1
    gradient = error @ weight
    wanted = 1.5 * gradient / gradient.norm(dim=1, keepdim=True)
    torch.testing.assert_close((changed - clean).flatten(1) / 255, wanted, atol=1e-5, rtol=0)


def test_confident_images_change_as_much(prepare: Any, splits: Splits) -> None:
    state = prepare(
        splits,
        model={"architecture": "layers", "layers": ["flatten", {"linear": "classes"}]},
        training={"adversarial": 1},
    )
    images, _ = next(state.batches())
    clean = images.chunk(2)[0]
    with torch.no_grad():
        state.model[-1].weight *= 30
    predicted = state.model(state.normalize(clean)).argmax(dim=1)
    changed = state.with_adversarial(clean, predicted, 1.0)[0].chunk(2)[1]
    norms = (changed - clean).flatten(1).norm(dim=1) / 255
    assert norms[norms > 0].min() > 0.99


def test_the_changed_images_have_a_larger_loss(prepare: Any, splits: Splits) -> None:
    state = prepare(splits, training={"adversarial": 0.5})
    images, labels = next(state.batches())
    with torch.no_grad():
        outputs = state.model(state.normalize(images))
        before, after = (state.criterion(*half) for half in zip(outputs.chunk(2), labels.chunk(2), strict=True))
    assert after > before + 0.05


def test_batch_statistics_and_random_numbers_are_left_alone(prepare: Any, splits: Splits) -> None:
    model = {"architecture": "mlp", "hidden": [16], "batch_norm": True, "dropout": 0.5}
    state = prepare(splits, model=model, training={"adversarial": 1})
    before = {name: value.clone() for name, value in state.model.state_dict().items()}
    generator = torch.get_rng_state()
    next(state.batches())
    assert all(torch.equal(value, before[name]) for name, value in state.model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator) and state.model.training
    assert all(parameter.grad is None for parameter in state.model.parameters())


def test_mixed_images_keep_their_shares(prepare: Any, splits: Splits) -> None:
    state = prepare(splits, training={"adversarial": 1, "mixup": 0.5})
    images, labels = next(state.batches())
    assert isinstance(labels, MixedLabels) and len(images) == 64
    assert torch.equal(labels.labels_b[:32], labels.labels_b[32:])


def test_images_of_other_processes_stay_away(prepare: Any, splits: Splits) -> None:
    state = prepare(splits, training={"adversarial": 1})
    images, labels = state.with_adversarial(torch.empty(0, 28, 28), torch.arange(8), 1.0)
    assert len(images) == 0 and len(main_labels(labels)) == 16


@pytest.mark.parametrize("changes", [{}, {"micro_batches": 4}, {"accumulate": 2}])
def test_a_training_continues_bit_identically(prepare: Any, splits: Splits, changes: dict[str, int]) -> None:
    sections = {"training": {"adversarial": 1, "epochs": 1, **changes}}
    whole, first, second = (prepare(splits, **sections) for _ in range(3))
    *_, whole = steps(whole)
    loop = steps(first)
    next(loop), next(loop)
    second.load_state_dict(first.state_dict())
    *_, second = steps(second)
    states = [each.model.state_dict().values() for each in (whole, second)]
    assert all(torch.equal(one, other) for one, other in zip(*states, strict=True))


def test_the_totals_are_those_of_all_images(prepare: Any, splits: Splits) -> None:
    state = prepare(splits, training={"adversarial": 1, "epochs": 1})
    counts = [state.totals.images for _ in steps(state)]
    assert {after - before for before, after in pairwise(counts)} == {64, 16}  # twice 32, and twice the last 8
