"""One step of training and what guards it: `train_step` in `mnist_trainer/training/loop.py`.

An accelerator is simulated: its flag lies on the CPU here, and is not waited for; so is the float16 scaler.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import product
from math import hypot, inf, nan
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mnist_trainer.data.loaders import Splits
from mnist_trainer.errors import DivergedError
from mnist_trainer.training.loop import train_step
from mnist_trainer.training.losses import CustomCriterion
from mnist_trainer.training.prepare import prepare_state
from mnist_trainer.training.state import TrainingState

Make = Callable[..., TrainingState]


class Theta(nn.Module):
    """Gives θ = (3, 4) for each image."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor([3.0, 4.0]))

    def forward(self, images: Tensor) -> Tensor:
        return self.theta.expand(len(images), 2)


def half_square(outputs: Tensor, labels: Tensor) -> Tensor:
    """A loss whose gradient is θ itself, of length 5."""
    return outputs[0].square().sum() / 2


def sgd(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.5)


def fused_sgd(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.5, fused=True)


@pytest.fixture
def make(splits: Splits, config: Any) -> Make:
    def state(optimizer: Any = sgd, accelerator: bool = False, scaled: bool = False, **training: Any) -> TrainingState:
        training = {"epochs": 1, **training}
        made = prepare_state(config(training=training), splits, model=Theta(), loss=half_square, optimizer=optimizer)
        made.checks_every_step = not accelerator
        made.scaler = torch.amp.GradScaler("cpu", enabled=scaled)
        return made

    return state


def theta(state: TrainingState) -> list[float]:
    return state.parameters[0].tolist()  # type: ignore[no-any-return]


def one_step(state: TrainingState, factor: float = 1.0) -> None:
    state.criterion = CustomCriterion(lambda outputs, labels: half_square(outputs, labels) * factor)
    train_step(state, [state.setup.train.gather(torch.arange(2))])


def set_gradient(state: TrainingState, *values: float) -> None:
    state.parameters[0].register_hook(lambda _: torch.tensor(values))


def test_a_step_goes_against_the_gradient(make: Make) -> None:
    state = make()
    one_step(state)
    assert theta(state) == [1.5, 2.0]


def test_each_group_keeps_its_own_rate(make: Make) -> None:
    def groups(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.SGD([{"params": parameters, "lr": 0.5}, {"params": [nn.Parameter(torch.ones(1))]}], lr=0.02)

    state = make(groups)
    for multiplier in (0.1, 0.5):
        state.set_lr(multiplier)
        assert [group["lr"] for group in state.optimizer.param_groups] == [0.5 * multiplier, 0.02 * multiplier]
    assert state.lr == 0.25
    assert len(state.parameters) == 2


def test_a_long_gradient_is_cut_to_its_direction(make: Make) -> None:
    state = make(clip_norm=1.0)
    one_step(state)
    assert theta(state) == pytest.approx([3 - 0.5 * 0.6, 4 - 0.5 * 0.8], abs=1e-5)


def test_a_short_gradient_is_not_made_longer(make: Make) -> None:
    state = make(clip_norm=6.0)
    one_step(state)
    assert theta(state) == [1.5, 2.0]


@pytest.mark.parametrize("bad", [nan, inf, -inf])
def test_a_cpu_sees_at_once_that_a_loss_is_not_finite(make: Make, bad: float) -> None:
    state = make()
    with pytest.raises(DivergedError, match="The loss became"):
        one_step(state, bad)
    assert theta(state) == [3.0, 4.0]


@pytest.mark.parametrize("clip_norm", [None, 1.0])
@pytest.mark.parametrize("bad", [nan, inf, -inf])
def test_a_cpu_takes_no_step_along_a_gradient_that_is_not_finite(
    make: Make, bad: float, clip_norm: float | None
) -> None:
    state = make(clip_norm=clip_norm)
    set_gradient(state, 1.0, bad)
    with pytest.raises(DivergedError, match="The gradient became infinite or not a number in epoch 1, step 1"):
        one_step(state)
    assert theta(state) == [3.0, 4.0]


@pytest.mark.parametrize("bad", [nan, inf, 1.0])
def test_a_simulated_accelerator_takes_no_step_along_a_gradient_that_is_not_finite(make: Make, bad: float) -> None:
    state = make(accelerator=True)
    set_gradient(state, 1.0, bad)
    one_step(state)
    assert bool(state.nonfinite) == (bad != 1)
    assert theta(state) == ([3.0, 4.0] if bad != 1 else [2.5, 3.5])


@pytest.mark.parametrize("accelerator", [False, True])
def test_a_gradient_whose_square_overflows_is_finite(make: Make, accelerator: bool) -> None:
    state = make(accelerator=accelerator)
    set_gradient(state, 2e30, 0.0)
    one_step(state)
    assert theta(state) == pytest.approx([-1e30, 4.0])
    assert not state.nonfinite
    assert state.totals.gradient_norm is None


@pytest.mark.parametrize("clip_norm", [None, 1.0])
@pytest.mark.parametrize("scaled", [False, True])
def test_the_norm_of_the_gradient_is_that_before_clipping_and_without_scale(
    make: Make, clip_norm: float | None, scaled: bool
) -> None:
    state = make(clip_norm=clip_norm, scaled=scaled)
    one_step(state)
    first, second = 5.0, 2 * hypot(*theta(state))  # the gradient is θ, then 2θ
    one_step(state, 2.0)
    assert state.totals.gradient_norm == pytest.approx((first + second) / 2, rel=1e-6)


def test_steps_that_the_scaler_skips_do_not_count_for_the_norm_of_the_gradient(make: Make) -> None:
    state = make(scaled=True)
    one_step(state)
    one_step(state, 1e36)  # finite, but not when scaled
    assert state.totals.gradient_norm == pytest.approx(5)


@pytest.mark.parametrize("clip_norm", [0.001, 100.0])
def test_clipping_has_the_bits_of_clip_grad_norm(config: Any, splits: Splits, clip_norm: float) -> None:
    state, twin = (prepare_state(config(training={"epochs": 1, "clip_norm": clip_norm}), splits) for _ in range(2))
    batch = state.setup.train.gather(torch.arange(32))
    train_step(state, [batch])
    twin.criterion(twin.model(twin.normalize(batch[0])), batch[1]).backward()
    nn.utils.clip_grad_norm_(twin.parameters, clip_norm)
    assert len(state.parameters) > 2
    for one, other in zip(state.parameters, twin.parameters, strict=True):
        assert one.grad is not None and other.grad is not None and torch.equal(one.grad, other.grad)


@pytest.mark.parametrize("bad", [nan, inf])
@pytest.mark.parametrize("clip_norm", [None, 1.0])
@pytest.mark.parametrize("optimizer", [sgd, fused_sgd])
@pytest.mark.parametrize("is_private", [False, True])
def test_a_simulated_accelerator_stands_still_from_the_first_bad_loss_on(
    make: Make, bad: float, clip_norm: float | None, optimizer: Any, is_private: bool
) -> None:
    state = make(optimizer, accelerator=True, clip_norm=clip_norm)
    if not is_private and hasattr(state.optimizer, "_step_supports_amp_scaling"):
        del state.optimizer._step_supports_amp_scaling
    one_step(state)
    before = theta(state)
    assert not state.nonfinite
    one_step(state, bad)
    assert theta(state) == before
    one_step(state)
    assert theta(state) == before
    assert state.nonfinite


each_way_to_scale = pytest.mark.parametrize(
    ("accelerator", "optimizer", "clip_norm"), list(product([False, True], [sgd, fused_sgd], [None, 1.0]))
)


@each_way_to_scale
def test_scaled_losses_make_the_same_step(
    make: Make, accelerator: bool, optimizer: Any, clip_norm: float | None
) -> None:
    plain, scaled = make(clip_norm=clip_norm), make(optimizer, accelerator, scaled=True, clip_norm=clip_norm)
    for state in (plain, scaled):
        one_step(state)
    assert theta(scaled) == pytest.approx(theta(plain), rel=1e-6)


@each_way_to_scale
def test_a_gradient_beyond_float16_skips_the_step_and_lowers_the_scale(
    make: Make, accelerator: bool, optimizer: Any, clip_norm: float | None
) -> None:
    state = make(optimizer, accelerator, scaled=True, clip_norm=clip_norm)
    before = state.scaler.get_scale()
    one_step(state, 1e36)  # finite, but not when scaled
    assert theta(state) == [3.0, 4.0]
    assert state.scaler.get_scale() == before / 2
    assert not state.nonfinite


OPTIMIZERS: list[Callable[[Any], torch.optim.Optimizer]] = [
    lambda theta: torch.optim.SGD(theta, lr=0.1, momentum=0.9, weight_decay=0.1, fused=True),
    lambda theta: torch.optim.SGD(theta, lr=0.1, momentum=0.9, weight_decay=0.1),
    lambda theta: torch.optim.AdamW(theta, lr=0.1, weight_decay=0.1, fused=True),
    lambda theta: torch.optim.RMSprop(theta, lr=0.1, momentum=0.9),
    lambda theta: torch.optim.Adagrad(theta, lr=0.1, weight_decay=0.1),
]
"""All that move a parameter by more than its gradient; with kernels that ask the flag, and without."""


@pytest.mark.parametrize("which", range(5))
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("bad", ["loss", "gradient"])
def test_neither_momentum_nor_decay_moves_a_simulated_accelerator_on(
    make: Make, which: int, scaled: bool, bad: str
) -> None:
    state = make(OPTIMIZERS[which], accelerator=True, scaled=scaled)
    for _ in range(2):
        one_step(state)
    before = theta(state)
    if bad == "loss":
        one_step(state, nan)
    else:
        hook = state.parameters[0].register_hook(lambda gradient: gradient * nan)
        one_step(state)
        hook.remove()
    if scaled and bad == "gradient":  # the scaler has skipped this step alone
        assert not state.nonfinite
        return
    for _ in range(3):
        one_step(state)
    assert theta(state) == before != [3.0, 4.0]
    assert state.nonfinite
    assert state.skipped_steps == 4
