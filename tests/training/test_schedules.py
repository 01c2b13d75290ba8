"""Learning rates over time, against torch's schedulers: `mnist_trainer/training/optim.py`."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from torch.optim import SGD, Optimizer
from torch.optim import lr_scheduler as torchs

from mnist_trainer.config.schema import AnySchedule, Constant, OneCycle, Plateau, Schedule
from mnist_trainer.training.optim import PlateauState, lr_multiplier

LENGTH = 7, 6
"""Steps an epoch, and epochs."""
STEPS = 42


def read(spec: Any) -> AnySchedule:
    adapter: TypeAdapter[AnySchedule] = TypeAdapter(Schedule)
    return adapter.validate_python(spec)


def ours(spec: Any, length: tuple[int, int] = LENGTH) -> list[float]:
    return [lr_multiplier(read(spec), step, *length) for step in range(prod(length))]


def optimizer(lr: float = 1.0) -> Optimizer:
    return SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def torchs_rates(build: Callable[[Optimizer], torchs.LRScheduler], every: int = 1, steps: int = STEPS) -> list[float]:
    """The rate at each step, where the scheduler is called after every so many of them."""
    made = optimizer()
    scheduler, rates = build(made), []
    for step in range(steps):
        rates.append(float(made.param_groups[0]["lr"]))
        made.step()
        if (step + 1) % every == 0 and step + 1 < steps:
            scheduler.step()
    return rates


def test_constant_stays() -> None:
    assert ours("constant") == [1.0] * STEPS
    assert ours("plateau") == [1.0] * STEPS


@pytest.mark.parametrize("warmup", [0.2, 0.3, 0.5])
def test_one_cycle_is_torchs(warmup: float) -> None:
    expected = torchs_rates(
        lambda made: torchs.OneCycleLR(made, max_lr=1.0, total_steps=STEPS, pct_start=warmup, cycle_momentum=False)
    )
    rates = ours({"name": "one_cycle", "warmup": warmup})
    assert rates == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert (rates[0], rates[-1]) == (pytest.approx(0.04), pytest.approx(4e-6))


@given(
    warmup=st.floats(min_value=0, max_value=0.99),
    steps_per_epoch=st.integers(min_value=1, max_value=9),
    epochs=st.integers(min_value=1, max_value=9),
)
def test_one_cycle_climbs_and_falls_however_short(warmup: float, steps_per_epoch: int, epochs: int) -> None:
    length = steps_per_epoch, epochs
    rates = [lr_multiplier(OneCycle(warmup=warmup), step, *length) for step in range(prod(length))]
    top = rates.index(max(rates))
    assert all(0 < rate <= 1 for rate in rates)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


@pytest.mark.parametrize(("warmup", "steps"), [(0.2, 5), (0.5, 2), (0.0, 4), (0.1, 3)])
def test_one_cycle_with_no_room_to_climb_starts_at_the_full_rate(warmup: float, steps: int) -> None:
    assert lr_multiplier(OneCycle(warmup=warmup), 0, 1, steps) == 1.0


@pytest.mark.parametrize("warmup", [0.0, 0.6])
@pytest.mark.parametrize("name", ["one_cycle", "cosine", "linear", "constant", "exponential", "step"])
def test_a_single_step_has_the_full_rate(name: str, warmup: float) -> None:
    spec = {"name": name, "warmup": warmup if name == "one_cycle" else 0.0}
    assert lr_multiplier(read(spec), 0, 1, 1) == 1.0


@given(
    name=st.sampled_from(["cosine", "linear", "one_cycle"]),
    final=st.floats(min_value=0, max_value=1),
    warmup=st.floats(min_value=0, max_value=0.99),
    steps_per_epoch=st.integers(min_value=1, max_value=9),
    epochs=st.integers(min_value=1, max_value=9),
)
def test_the_last_step_is_at_final(name: str, final: float, warmup: float, steps_per_epoch: int, epochs: int) -> None:
    length = steps_per_epoch, epochs
    warm = 0 if name == "one_cycle" else round(warmup * prod(length))
    assume(prod(length) > warm + 1)
    assert ours({"name": name, "final": final, "warmup": warmup}, length)[-1] == pytest.approx(final, abs=1e-12)


@pytest.mark.parametrize("final", [0.0, 0.1])
def test_cosine_is_torchs(final: float) -> None:
    expected = torchs_rates(lambda made: torchs.CosineAnnealingLR(made, T_max=STEPS - 1, eta_min=final))
    assert ours({"name": "cosine", "final": final}) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("final", [0.0, 0.1])
def test_linear_is_torchs(final: float) -> None:
    last = STEPS - 1
    expected = torchs_rates(lambda made: torchs.LinearLR(made, start_factor=1.0, end_factor=final, total_iters=last))
    assert ours({"name": "linear", "final": final}) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_step_is_torchs() -> None:
    expected = torchs_rates(lambda made: torchs.StepLR(made, step_size=2, gamma=0.3), every=7)
    assert ours({"name": "step", "every": 2, "gamma": 0.3}) == pytest.approx(expected, rel=1e-12)


def test_exponential_is_torchs() -> None:
    expected = torchs_rates(lambda made: torchs.ExponentialLR(made, gamma=0.8), every=7)
    assert ours({"name": "exponential", "gamma": 0.8}) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", ["constant", "linear", "cosine", "step", "exponential", "plateau"])
def test_warmup_climbs_in_a_straight_line_to_the_full_rate(name: str) -> None:
    rates = ours({"name": name, "warmup": 0.25})
    warm = round(0.25 * STEPS)
    torchs_climb = torchs_rates(
        lambda made: torchs.LinearLR(made, start_factor=1 / (warm + 1), end_factor=1.0, total_iters=warm), steps=warm
    )
    assert rates[:warm] == pytest.approx(torchs_climb)
    if name in ("constant", "linear", "cosine", "plateau"):
        assert rates[warm] == 1.0


def test_what_falls_over_the_steps_falls_over_those_after_the_warmup() -> None:
    warm = round(0.5 * STEPS)
    assert ours({"name": "cosine", "warmup": 0.5})[warm:] == ours("cosine", (STEPS - warm, 1))


def plateau(losses: list[float], schedule: Plateau) -> list[float]:
    state, factors = PlateauState(), []
    for loss in losses:
        state.update(schedule, loss)
        factors.append(state.factor)
    return factors


LOSSES = st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]), max_size=25)


@given(LOSSES, st.integers(min_value=0, max_value=3))
def test_plateau_is_torchs_without_its_threshold(losses: list[float], patience: int) -> None:
    made = optimizer()
    torchs_plateau = torchs.ReduceLROnPlateau(made, factor=0.5, patience=patience, threshold=0.0, eps=0.0)
    expected = []
    for loss in losses:
        torchs_plateau.step(loss)
        expected.append(float(made.param_groups[0]["lr"]))
    assert plateau(losses, Plateau(factor=0.5, patience=patience)) == expected


def test_plateau_by_hand() -> None:
    falls = plateau([3.0, 2.0, 2.0, 2.5, 1.0, 1.0, 1.0], Plateau(factor=0.1, patience=1))
    assert falls == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.01])


def test_other_schedules_do_not_mind_the_loss() -> None:
    state = PlateauState()
    for loss in (1.0, 2.0, 3.0, None):
        state.update(read("cosine"), loss)
    assert state == PlateauState()


@pytest.mark.parametrize("steps", [1, 10])
def test_a_warmup_leaves_one_step_at_the_full_rate(steps: int) -> None:
    assert lr_multiplier(Constant(warmup=0.99), steps - 1, 1, steps) == 1.0
