"""z and a by hand, the statistics of weights, and weights that never change."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mnist_trainer.lab import look_inside
from mnist_trainer.lab.experiment import Experiment
from mnist_trainer.lab.run import run_experiment

BY_HAND = [
    "z = W·a + b by hand equals the model's, largest difference in all layers",
    "a = f(z) by hand equals the model's, largest difference in all layers",
    "the ten outputs of the softmax sum to 1",
    "the largest of the last z is that of the digit 7",
]
PIXELS = [
    "pixels that are 0 in all images: the largest change of their weights",
    "most weights of border pixels don't change, in %",
    "with the mean subtracted all weights of those pixels change",
    "they change like a bias, all of a unit alike: largest spread",
]


@pytest.mark.slow
def test_all_statements_hold() -> None:
    experiment = run_experiment("look-inside", quick=True)
    statements = [statement.statement for statement in experiment.statements]
    assert statements[:4] == BY_HAND and statements[-4:] == PIXELS and len(statements) == 21
    assert experiment.held, str(experiment)


@pytest.mark.slow
def test_with_a_wrong_bias_or_another_normalization_statements_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    trained, by_hand = look_inside.trained, look_inside.by_hand
    other = {"unit": "mean_std", "mean_std": "unit"}
    monkeypatch.setattr(look_inside, "trained", lambda normalize, *more: trained(other[normalize], *more))
    monkeypatch.setattr(look_inside, "by_hand", lambda pairs, image: by_hand([(w, -b) for w, b in pairs], image))
    experiment = run_experiment("look-inside", quick=True)
    failed = [statement.statement for statement in experiment.statements if not statement.held]
    assert {*BY_HAND[:2], *PIXELS[:3]} <= set(failed)


def test_by_hand_are_the_outputs_of_the_modules() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 5), nn.ReLU(), nn.Linear(5, 3)).double()
    image = np.linspace(-1, 1, 784)
    with torch.no_grad():
        expected = model(torch.from_numpy(image)[None])[0]
    z1, a1, z2, a2 = look_inside.by_hand(look_inside.layers(model), image)
    assert (z1 < 0).any() and np.array_equal(a1, z1 * (z1 > 0))
    assert z2 == pytest.approx(expected.numpy())
    assert a2 == pytest.approx(expected.softmax(0).numpy())
    for ours, its in zip((z1, a1, z2, a2), look_inside.by_model(model, image), strict=True):
        assert ours == pytest.approx(its)


def test_layers_are_copies_that_training_does_not_change() -> None:
    layer = nn.Linear(4, 2)
    ((weight, _),) = look_inside.layers(nn.Sequential(layer))
    before = weight.copy()
    nn.init.zeros_(layer.weight)
    assert np.array_equal(weight, before) and before.any()


def test_statistics_of_weights_that_did_not_grow_fail() -> None:
    rng = np.random.default_rng(0)
    weights = [rng.uniform(-1, 1, (64, n)) / n**0.5 for n in (784, 64, 64)]
    experiment = Experiment("look-inside")
    look_inside.check_weights(experiment, weights, [np.abs(weight) for weight in weights])
    failed = [statement.statement for statement in experiment.statements if not statement.held]
    assert failed == [
        "layer 1 after: the largest weight, in parts of 1/√n",
        *(f"layer {number}: training raises the standard deviation by a factor" for number in (1, 2, 3)),
        "after: the means stay near 0, in standard deviations",
        "layer 1 after: weights near 0, in %",
    ]
