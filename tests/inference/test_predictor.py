"""A model as one thing: `mnist_trainer/inference/predictor.py`."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import torch
from torch import nn

from mnist_trainer.data.normalize import Normalization
from mnist_trainer.data.source import Source
from mnist_trainer.inference.predictor import Predictor, Reading

CPU = torch.device("cpu")
READING = Reading(Normalization(0.13, 0.31), "logits")


def other(network: nn.Module) -> nn.Module:
    copied = deepcopy(network)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.mul_(-0.5)
    return copied


def test_uint8_images_become_probabilities(source: Source, network: nn.Module) -> None:
    probabilities = Predictor([network], [READING], CPU)(source.images)
    inputs = (source.images.float() / 255 - 0.13) / 0.31
    expected = torch.softmax(network.eval()(inputs[:, None]).double(), dim=1)
    assert (probabilities.shape, probabilities.dtype) == ((150, 10), torch.float64)
    assert torch.allclose(probabilities, expected, atol=1e-6)


def test_it_is_in_evaluation_mode_and_asks_for_no_gradient(source: Source, network: nn.Module) -> None:
    predictor = Predictor([network.train()], [READING], CPU)
    assert not any(module.training for module in predictor.modules())
    probabilities = predictor(source.images)
    assert torch.equal(probabilities, predictor(source.images))
    assert not probabilities.requires_grad


def test_the_images_are_not_changed(source: Source, network: nn.Module) -> None:
    before = source.images.clone()
    Predictor([network], [READING], CPU)(source.images)
    assert torch.equal(source.images, before)


def test_several_members_answer_with_the_mean_of_their_probabilities(source: Source, network: nn.Module) -> None:
    members = [network, other(network)]
    both = Predictor(members, [READING, READING], CPU)(source.images)
    each = [Predictor([member], [READING], CPU)(source.images) for member in members]
    assert torch.equal(both, (each[0] + each[1]) / 2)
    assert not torch.allclose(each[0], each[1])


def test_members_are_read_each_in_its_own_way(source: Source, network: nn.Module) -> None:
    """Scale, precision, temperature and kind of the one are not those of the other."""
    unit = replace(READING, normalization=Normalization(0.0, 1.0), kind="sigmoid", temperature=2.0)
    both = Predictor([network, other(network)], [READING, unit], CPU)(source.images)
    one = Predictor([network], [READING], CPU)(source.images)
    another = Predictor([other(network)], [unit], CPU)(source.images)
    assert torch.equal(both, (one + another) / 2)


def test_the_ensembles_temperature_acts_on_the_logarithm_of_the_mean(source: Source, network: nn.Module) -> None:
    members, readings = [network, other(network)], [READING, READING]
    mean = Predictor(members, readings, CPU)(source.images)
    calm = Predictor(members, readings, CPU, temperature=2.5)(source.images)
    powers = mean ** (1 / 2.5)
    assert torch.allclose(calm, powers / powers.sum(dim=1, keepdim=True), atol=1e-12)
    assert torch.equal(calm.argmax(dim=1), mean.argmax(dim=1))


def test_members_without_probabilities_answer_with_the_mean_of_their_values(source: Source, network: nn.Module) -> None:
    values = [replace(READING, kind="values")] * 2
    predictor = Predictor([network, other(network)], values, CPU, temperature=3.0)
    assert not predictor.gives_probabilities
    raw = [predictor.outputs([source.images], member).double() for member in (0, 1)]
    assert torch.equal(predictor(source.images), (raw[0] + raw[1]) / 2)


def test_raw_outputs_of_batches_come_back_in_order(source: Source, network: nn.Module) -> None:
    predictor = Predictor([network, other(network)], [READING, READING], CPU)
    for member in (0, 1):
        whole = predictor.outputs([source.images], member)
        pieces = predictor.outputs(source.images.split(64), member)
        assert whole.shape == pieces.shape == (150, 10)
        assert torch.allclose(whole, pieces, atol=1e-6)


def test_the_temperature_makes_answers_less_sure(source: Source, network: nn.Module) -> None:
    sure = Predictor([network], [READING], CPU)(source.images)
    calm = Predictor([network], [replace(READING, temperature=10.0)], CPU)(source.images)
    assert bool((calm.max(dim=1).values < sure.max(dim=1).values).all())
    assert torch.equal(calm.argmax(dim=1), sure.argmax(dim=1))


def test_in_bfloat16_the_raw_outputs_are_still_float32(source: Source, network: nn.Module) -> None:
    exact = Predictor([network], [READING], CPU).outputs([source.images])
    rough = Predictor([network], [replace(READING, precision="bfloat16")], CPU).outputs([source.images])
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    assert torch.allclose(rough, exact, atol=0.05)


def test_a_yes_or_no_model_gives_two_probabilities(source: Source) -> None:
    neuron = nn.Sequential(nn.Flatten(), nn.Linear(784, 1))
    probabilities = Predictor([neuron], [READING], CPU)(source.images)
    assert probabilities.shape == (150, 2)
    assert torch.allclose(probabilities.sum(dim=1), torch.ones(150, dtype=torch.float64))
