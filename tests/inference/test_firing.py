from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mnist_trainer.inference.predictions import DeadUnits, describe_dead_units, monitor_firing


def linear(*biases: float) -> nn.Linear:
    """A layer whose units give their bias, whatever comes in, with as many inputs as outputs."""
    layer = nn.Linear(len(biases), len(biases))
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.copy_(torch.tensor(biases))
    return layer


def test_units_that_are_0_for_every_image_are_dead() -> None:
    model = nn.Sequential(linear(1, -1, 0), nn.ReLU(), linear(-1, -1, 2), nn.ReLU6(), linear(1, 1, 1))
    with monitor_firing(model) as monitor:
        model(torch.randn(5, 3))
    assert monitor.dead == [DeadUnits(1, (1, 2), 3), DeadUnits(2, (0, 1), 3)]


def test_one_image_of_any_batch_suffices() -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU())
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(2))
    batches = [torch.tensor([[-1.0, -1.0], [-2.0, -1.0]]), torch.tensor([[-1.0, -1.0], [0.5, -1.0]])]
    with monitor_firing(model) as monitor:
        for batch in batches:
            model(batch)
    assert monitor.dead == [DeadUnits(1, (1,), 2)]


def test_a_channel_is_a_unit() -> None:
    images = torch.full((2, 3, 4, 4), -1.0)
    images[1, 2, 3, 0] = 1.0
    model = nn.Sequential(nn.ReLU())
    with monitor_firing(model) as monitor:
        model(images)
    assert monitor.dead == [DeadUnits(0, (0, 1), 3)]


class Shared(nn.Module):
    """One ReLU at two places, of other sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.relu = linear(1, -1), nn.Linear(2, 3), nn.ReLU()
        nn.init.constant_(self.second.weight, 1)
        nn.init.zeros_(self.second.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.relu(self.second(self.relu(self.first(inputs))))
        return outputs


def test_a_module_may_be_used_twice_and_is_left_without_hooks() -> None:
    model = Shared()
    with monitor_firing(model) as monitor:
        model(torch.randn(3, 2))
        model(torch.randn(3, 2))
    assert monitor.dead == [DeadUnits(1, (1,), 2)]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("activation", [nn.LeakyReLU(), nn.Tanh(), nn.GELU()])
def test_other_activations_have_no_dead_units(activation: nn.Module) -> None:
    model = nn.Sequential(linear(-1, -1), activation)
    with monitor_firing(model) as monitor:
        model(torch.randn(3, 2))
    assert monitor.dead == []


def test_a_sentence_says_how_many() -> None:
    dead = [DeadUnits(1, (4, 5, 9), 64), DeadUnits(3, (1,), 32)]
    text = "3 of 64 units of layer 1, 1 of 32 of layer 3 never fired on the validation images."
    assert describe_dead_units(dead) == text
    assert describe_dead_units([]) == ""


def test_units_near_a_limit_for_nearly_all_images_are_saturated() -> None:
    model = nn.Sequential(linear(9, -9, 1), nn.Sigmoid(), linear(3, 0, -3), nn.Tanh())
    model.append(linear(9, 9, 9)).append(nn.Sigmoid())  # the function of the output does not count
    with monitor_firing(model) as monitor:
        for _ in range(2):
            model(torch.randn(50, 3))
    assert monitor.saturated == [DeadUnits(1, (0, 1), 3), DeadUnits(2, (0, 2), 3)]
    assert monitor.dead == []


@pytest.mark.parametrize(("active", "is_saturated"), [(1, True), (2, False)])
def test_one_image_of_a_hundred_does_not_count(active: int, is_saturated: bool) -> None:
    model = nn.Sequential(nn.Tanh(), nn.Identity())
    images = torch.full((100, 1, 2, 2), 5.0)
    images[:active] = 0.0
    with monitor_firing(model) as monitor:
        model(images)
    assert bool(monitor.saturated) is is_saturated
