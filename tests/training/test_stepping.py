"""What stands around an optimizer's step: `mnist_trainer/training/state.py`.

An accelerator is simulated: its flag lies on the CPU here, and is not waited for; so is the float16 scaler.
"""

from __future__ import annotations

from math import inf, nan
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mnist_trainer.training.state import Stepper

CPU = torch.device("cpu")


def stepper(precision: str = "float32", accelerator: bool = False, fused: bool = False) -> Stepper:
    """Over θ = (3, 4), at a learning rate of 0.5."""
    theta = nn.Parameter(torch.tensor([3.0, 4.0]))
    made = Stepper(
        torch.optim.SGD([theta], lr=0.5, fused=fused), CPU, "float16" if precision == "float16" else "float32"
    )
    if accelerator:
        made.waits = False
    return made


def theta(made: Stepper) -> list[float]:
    return made.parameters[0].tolist()  # type: ignore[no-any-return]


def half_square(made: Stepper) -> Tensor:
    """A loss whose gradient is θ itself, of length 5."""
    return made.parameters[0].square().sum() / 2


def one_step(made: Stepper, loss: Tensor) -> None:
    made.admits(loss)
    made.zero_grad()
    made.backward(loss)
    made.step()


def test_a_step_goes_against_the_gradient() -> None:
    made = stepper()
    one_step(made, half_square(made))
    assert theta(made) == [1.5, 2.0]


def test_each_group_keeps_its_own_rate() -> None:
    groups = [{"params": [nn.Parameter(torch.ones(1))], "lr": lr} for lr in (0.5, 0.02)]
    made = Stepper(torch.optim.SGD(groups), CPU, "float32")
    for factor in (0.1, 0.5):
        made.set_rate(factor)
        assert [group["lr"] for group in made.optimizer.param_groups] == [0.5 * factor, 0.02 * factor]
    assert made.rate == 0.25
    assert len(made.parameters) == 2


def test_a_long_gradient_is_cut_to_its_direction() -> None:
    made = stepper()
    made.clip_norm = 1.0
    one_step(made, half_square(made))
    assert theta(made) == pytest.approx([3 - 0.5 * 0.6, 4 - 0.5 * 0.8], abs=1e-5)


def test_a_short_gradient_is_not_made_longer() -> None:
    made = stepper()
    made.clip_norm = 6.0
    one_step(made, half_square(made))
    assert theta(made) == [1.5, 2.0]


@pytest.mark.parametrize("bad", [nan, inf, -inf])
def test_a_cpu_sees_at_once_that_a_loss_is_not_finite(bad: float) -> None:
    made = stepper()
    assert made.admits(torch.tensor(1e38))
    assert not made.admits(torch.tensor(bad))


@pytest.mark.parametrize("clip_norm", [None, 1.0])
@pytest.mark.parametrize("bad", [nan, inf, -inf])
def test_a_cpu_takes_no_step_along_a_gradient_that_is_not_finite(bad: float, clip_norm: float | None) -> None:
    made = stepper()
    made.clip_norm = clip_norm
    made.zero_grad()
    made.parameters[0].grad = torch.tensor([1.0, bad])
    assert not made.step()
    assert theta(made) == [3.0, 4.0]


def test_a_gradient_whose_square_overflows_is_finite() -> None:
    made = stepper()
    made.parameters[0].grad = torch.tensor([2e30, 0.0])
    assert made.step()
    assert theta(made) == pytest.approx([-1e30, 4.0])


@pytest.mark.parametrize("bad", [nan, inf])
@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_a_simulated_accelerator_stands_still_from_the_first_bad_loss_on(bad: float, clip_norm: float | None) -> None:
    made = stepper(accelerator=True)
    made.clip_norm = clip_norm
    one_step(made, half_square(made))
    before = theta(made)
    assert made.is_finite()
    one_step(made, half_square(made) * bad)
    assert theta(made) == before
    one_step(made, half_square(made))
    assert theta(made) == before
    assert not made.is_finite()


@pytest.mark.parametrize("accelerator", [False, True])
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_scaled_losses_make_the_same_step(accelerator: bool, fused: bool, clip_norm: float | None) -> None:
    plain, scaled = stepper(), stepper("float16", accelerator, fused)
    for made in (plain, scaled):
        made.clip_norm = clip_norm
        one_step(made, half_square(made))
    assert theta(scaled) == pytest.approx(theta(plain), rel=1e-6)


@pytest.mark.parametrize("accelerator", [False, True])
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_a_gradient_beyond_float16_skips_the_step_and_lowers_the_scale(
    accelerator: bool, fused: bool, clip_norm: float | None
) -> None:
    made = stepper("float16", accelerator, fused)
    made.clip_norm = clip_norm
    before = made.scaler.get_scale()
    made.zero_grad()
    made.backward(half_square(made) * 1e36)  # finite, but not when scaled
    made.step()
    assert theta(made) == [3.0, 4.0]
    assert made.scaler.get_scale() == before / 2
    assert made.is_finite()


def optimizers(theta: nn.Parameter) -> list[torch.optim.Optimizer]:
    """All that move a parameter by more than its gradient; with kernels that ask the flag, and without."""
    return [
        torch.optim.SGD([theta], lr=0.1, momentum=0.9, weight_decay=0.1, fused=True),
        torch.optim.SGD([theta], lr=0.1, momentum=0.9, weight_decay=0.1),
        torch.optim.AdamW([theta], lr=0.1, weight_decay=0.1, fused=True),
        torch.optim.RMSprop([theta], lr=0.1, momentum=0.9),
        torch.optim.Adagrad([theta], lr=0.1, weight_decay=0.1),
    ]


@pytest.mark.parametrize("which", range(5))
@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("bad", ["loss", "gradient"])
def test_neither_momentum_nor_decay_moves_a_simulated_accelerator_on(which: int, precision: Any, bad: str) -> None:
    theta = nn.Parameter(torch.tensor([3.0, 4.0]))
    made = Stepper(optimizers(theta)[which], CPU, precision)
    made.waits = False
    for _ in range(2):
        one_step(made, half_square(made))
    before = theta.tolist()
    one_step(made, half_square(made) * nan if bad == "loss" else half_square(made) + (0 * theta).sum().abs().sqrt())
    if (precision, bad) == ("float16", "gradient"):  # the scaler has skipped this step alone
        assert made.is_finite()
        return
    for _ in range(3):
        one_step(made, half_square(made))
    assert theta.tolist() == before != [3.0, 4.0]
    assert not made.is_finite()
    assert made.lost == 4
