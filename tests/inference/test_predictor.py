"""A model as one thing: `mnist_trainer/inference/predictor.py`."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import torch
from torch import nn

from mnist_trainer.data.image_dataset import ImageDataset
from mnist_trainer.data.normalize import Normalization
from mnist_trainer.inference.predictor import InferenceSpec, Predictor

CPU = torch.device("cpu")
READING = InferenceSpec(Normalization(0.13, 0.31), "logits")


def other(network: nn.Module) -> nn.Module:
    copied = deepcopy(network)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.mul_(-0.5)
    return copied


def test_uint8_images_become_probabilities(dataset: ImageDataset, network: nn.Module) -> None:
    probabilities = Predictor([network], [READING], CPU)(dataset.images)
    inputs = (dataset.images.float() / 255 - 0.13) / 0.31
    expected = torch.softmax(network.eval()(inputs[:, None]).double(), dim=1)
    assert (probabilities.shape, probabilities.dtype) == ((150, 10), torch.float64)
    assert torch.allclose(probabilities, expected, atol=1e-6)


def test_it_is_in_evaluation_mode_and_asks_for_no_gradient(dataset: ImageDataset, network: nn.Module) -> None:
    predictor = Predictor([network.train()], [READING], CPU)
    assert not any(module.training for module in predictor.modules())
    probabilities = predictor(dataset.images)
    assert torch.equal(probabilities, predictor(dataset.images))
    assert not probabilities.requires_grad


def test_the_images_are_not_changed(dataset: ImageDataset, network: nn.Module) -> None:
    before = dataset.images.clone()
    Predictor([network], [READING], CPU)(dataset.images)
    assert torch.equal(dataset.images, before)


def test_several_members_answer_with_the_mean_of_their_probabilities(dataset: ImageDataset, network: nn.Module) -> None:
    members = [network, other(network)]
    both = Predictor(members, [READING, READING], CPU)(dataset.images)
    each = [Predictor([member], [READING], CPU)(dataset.images) for member in members]
    assert torch.equal(both, (each[0] + each[1]) / 2)
    assert not torch.allclose(each[0], each[1])


def test_members_are_read_each_in_its_own_way(dataset: ImageDataset, network: nn.Module) -> None:
    """Scale, precision, temperature and kind of the one are not those of the other."""
    unit = replace(READING, normalization=Normalization(0.0, 1.0), kind="sigmoid", temperature=2.0)
    both = Predictor([network, other(network)], [READING, unit], CPU)(dataset.images)
    one = Predictor([network], [READING], CPU)(dataset.images)
    another = Predictor([other(network)], [unit], CPU)(dataset.images)
    assert torch.equal(both, (one + another) / 2)


def test_the_ensembles_temperature_acts_on_the_logarithm_of_the_mean(dataset: ImageDataset, network: nn.Module) -> None:
    members, specs = [network, other(network)], [READING, READING]
    mean = Predictor(members, specs, CPU)(dataset.images)
    calm = Predictor(members, specs, CPU, temperature=2.5)(dataset.images)
    powers = mean ** (1 / 2.5)
    assert torch.allclose(calm, powers / powers.sum(dim=1, keepdim=True), atol=1e-12)
    assert torch.equal(calm.argmax(dim=1), mean.argmax(dim=1))


def test_members_without_probabilities_answer_with_the_mean_of_their_values(
    dataset: ImageDataset, network: nn.Module
) -> None:
    values = [replace(READING, kind="values")] * 2
    predictor = Predictor([network, other(network)], values, CPU, temperature=3.0)
    assert not predictor.gives_probabilities
    raw = [predictor.outputs([dataset.images], member).double() for member in (0, 1)]
    assert torch.equal(predictor(dataset.images), (raw[0] + raw[1]) / 2)


def test_raw_outputs_of_batches_come_back_in_order(dataset: ImageDataset, network: nn.Module) -> None:
    predictor = Predictor([network, other(network)], [READING, READING], CPU)
    for member in (0, 1):
        whole = predictor.outputs([dataset.images], member)
        end = predictor.outputs(dataset.images.split(64), member)
        assert whole.shape == end.shape == (150, 10)
        assert torch.allclose(whole, end, atol=1e-6)


def test_the_temperature_makes_answers_less_sure(dataset: ImageDataset, network: nn.Module) -> None:
    sure = Predictor([network], [READING], CPU)(dataset.images)
    calm = Predictor([network], [replace(READING, temperature=10.0)], CPU)(dataset.images)
    assert bool((calm.max(dim=1).values < sure.max(dim=1).values).all())
    assert torch.equal(calm.argmax(dim=1), sure.argmax(dim=1))


def test_in_bfloat16_the_raw_outputs_are_still_float32(dataset: ImageDataset, network: nn.Module) -> None:
    exact = Predictor([network], [READING], CPU).outputs([dataset.images])
    rough = Predictor([network], [replace(READING, precision="bfloat16")], CPU).outputs([dataset.images])
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    assert torch.allclose(rough, exact, atol=0.05)


def test_a_yes_or_no_model_gives_two_probabilities(dataset: ImageDataset) -> None:
    neuron = nn.Sequential(nn.Flatten(), nn.Linear(784, 1))
    probabilities = Predictor([neuron], [READING], CPU)(dataset.images)
    assert probabilities.shape == (150, 2)
    assert torch.allclose(probabilities.sum(dim=1), torch.ones(150, dtype=torch.float64))


ABLE = replace(READING, refusal_threshold=0.5)


def test_none_of_the_classes_is_one_more_logit_that_is_always_0(dataset: ImageDataset, network: nn.Module) -> None:
    predictor = Predictor([network], [ABLE], CPU)
    probabilities, none = predictor.read(dataset.images)
    logits = predictor.outputs([dataset.images]).double()
    shares = torch.softmax(torch.cat([logits, torch.zeros(150, 1, dtype=torch.float64)], dim=1), dim=1)
    assert (none.shape, none.dtype) == ((150,), torch.float64)
    assert torch.allclose(none, shares[:, 10], atol=1e-12)
    assert torch.equal(probabilities, Predictor([network], [READING], CPU)(dataset.images))
    assert torch.equal(none, predictor.read(dataset.images)[1])


def test_a_temperature_changes_nothing_in_what_is_refused(dataset: ImageDataset, network: nn.Module) -> None:
    plain = Predictor([network], [ABLE], CPU)
    calm = Predictor([network], [replace(ABLE, temperature=3.0)], CPU, temperature=2.0)
    assert torch.equal(plain.read(dataset.images)[1], calm.read(dataset.images)[1])
    assert not torch.equal(plain(dataset.images), calm(dataset.images))


def test_only_members_that_can_tell_are_asked_what_is_none(dataset: ImageDataset, network: nn.Module) -> None:
    members = [network, other(network), other(other(network))]
    specs = [ABLE, READING, replace(ABLE, refusal_threshold=0.75)]
    several = Predictor(members, specs, CPU)
    each = [Predictor([member], [ABLE], CPU).read(dataset.images)[1] for member in members]
    assert torch.equal(several.read(dataset.images)[1], (each[0] + each[2]) / 2)
    assert several.refusal_threshold == 0.625


def test_a_model_that_cannot_tell_refuses_nothing(dataset: ImageDataset, network: nn.Module) -> None:
    predictor = Predictor([network], [READING], CPU)
    assert predictor.refusal_threshold is None
    assert torch.equal(predictor.read(dataset.images)[1], torch.zeros(150, dtype=torch.float64))


def test_logits_of_any_size_have_a_probability_of_none(dataset: ImageDataset) -> None:
    for bias, none in ((-1e30, 1.0), (1e30, 0.0)):
        constant = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
        nn.init.zeros_(constant[1].weight)  # type: ignore[arg-type]
        nn.init.constant_(constant[1].bias, bias)  # type: ignore[arg-type]
        assert Predictor([constant], [ABLE], CPU).read(dataset.images)[1].unique().tolist() == [none]


def test_both_come_from_one_pass(dataset: ImageDataset, network: nn.Module) -> None:
    passes = []
    network.register_forward_hook(lambda *_: passes.append(1))
    Predictor([network], [ABLE], CPU).read(dataset.images)
    assert len(passes) == 1
