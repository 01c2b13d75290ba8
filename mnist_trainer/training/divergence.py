"""Detects non-finite losses, gradients and weights, and restores the state from the start of the epoch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass
from math import inf, isfinite

import torch
from torch import Tensor, nn

from mnist_trainer.errors import DivergedError
from mnist_trainer.training.state import TrainingState

MAX_RESTORES = 3
"""The maximum number of restores in a training."""


@dataclass(frozen=True)
class Restore:
    """A return to the start of `epoch` because of `event` in `step`; from then on `factor` scales learning rates."""

    epoch: int
    step: int
    factor: float
    event: str

    def __str__(self) -> str:
        return f"{self.event}. Back to the start of epoch {self.epoch}, with the learning rate × {self.factor:g}"


def check_finite(state: TrainingState, loss: Tensor) -> None:
    """Raise `DivergedError` if `loss` is infinite or not a number.

    On an accelerator this would need a synchronization. There `state.nonfinite` is set on the device,
    `skipped_if_nonfinite` skips all later steps of the epoch, and `check_finite_epoch` raises the error.
    """
    if not state.checks_every_step:
        state.nonfinite.logical_or_(~torch.isfinite(loss.detach()))
    elif not isfinite(loss.item()):
        raise divergence_error(state, f"The loss became {loss.item()}", state.step + 1)


def check_finite_gradients(state: TrainingState) -> None:
    """Raise `DivergedError` if a gradient is not finite, as `check_finite` does for the loss.

    In float16 gradients overflow occasionally; the gradient scaler skips such steps itself.
    """
    if state.scaler.is_enabled():
        return
    note_nonfinite([each.grad for each in state.parameters if each.grad is not None], state.nonfinite)
    if state.checks_every_step and state.nonfinite:
        raise divergence_error(state, "The gradient became infinite or not a number", state.step + 1)


def note_nonfinite(gradients: list[Tensor], nonfinite: Tensor) -> None:
    """Set `nonfinite` to 1 if a value of `gradients` is infinite or not a number, without a synchronization."""
    check = getattr(torch, "_amp_foreach_non_finite_check_and_unscale_", None)
    if check is None:
        nonfinite.logical_or_(~nn.utils.get_total_norm(gradients, inf).isfinite())
    else:  # the check of torch's GradScaler: one pass over all gradients, 6 µs where a norm takes 30
        check(gradients, nonfinite, torch.ones_like(nonfinite))


@contextmanager
def skipped_if_nonfinite(state: TrainingState) -> Iterator[None]:
    """A context for `optimizer.step()` on an accelerator: no parameter changes if `state.nonfinite` is 1.

    Fused optimizers read the flag themselves, as with `GradScaler`. For others the old values are copied back.
    """
    if state.checks_every_step:
        yield
        return
    state.skipped_steps += state.nonfinite
    if getattr(state.optimizer, "_step_supports_amp_scaling", False) and not state.scaler.is_enabled():
        state.optimizer.found_inf = state.nonfinite  # type: ignore[attr-defined]
        yield
        return
    before = [parameter.detach().clone() for parameter in state.parameters]
    yield
    with torch.no_grad():
        for parameter, old in zip(state.parameters, before, strict=True):
            parameter.copy_(torch.where(state.nonfinite == 0, parameter, old))


def check_finite_epoch(state: TrainingState) -> None:
    """Raise `DivergedError` if an accelerator found a non-finite value in this epoch, or if weights are not finite."""
    if state.nonfinite:
        step = state.step - int(state.skipped_steps) + 1
        raise divergence_error(state, "The loss or its gradient became infinite or not a number", step)
    if not nn.utils.get_total_norm(state.model.parameters(), inf).isfinite():
        raise divergence_error(state, "The weights became infinite or not a number", state.step)


def divergence_error(state: TrainingState, what: str, step: int | None = None) -> DivergedError:
    """Return the error that says `what` happened and when, what is kept, and what to try."""
    where = f"epoch {state.epoch + 1}"
    if step is not None:
        where += f", step {step} of {state.setup.steps_per_epoch}"
    event = f"{what} in {where}, at a learning rate of {state.lr:g}"
    best = state.best.epoch
    kept = f"Epoch {best}, the best until then, is kept" if best else "No epoch is complete, so there is no model yet"
    lower = f"Lower optimizer.lr (optimizer.lr={state.base_lrs[0] / 10:g} for example)"
    clip = "" if (state.clip_norm or 2) <= 1 else ", set training.clip_norm=1"
    return DivergedError(f"{event}. {kept}. {lower}{clip}, or look at the loss and the data.", event, step)


def save_epoch_start(state: TrainingState) -> None:
    """Save the state for `restore_epoch_start`, if `training.on_divergence` is restore."""
    if state.setup.config.training.on_divergence == "restore":
        present = {name: value for name, value in state.state_dict().items() if name not in ("epoch_start", "restores")}
        best = present["best_weights"]  # replaced in each best epoch, never modified in place
        state.epoch_start = deepcopy(present, {id(best): best})


def restore_epoch_start(state: TrainingState, error: DivergedError) -> Restore:
    """Restore the start of the epoch, with half the learning rate. The elapsed time still counts.

    Raises `error` if `training.on_divergence` is stop, and `DivergedError` after `MAX_RESTORES` times.
    """
    if state.epoch_start is None:
        raise error
    if len(state.restores) == MAX_RESTORES:
        times = f"It was restored {MAX_RESTORES} times already (training.on_divergence: restore)."
        raise DivergedError(f"{error} {times}", error.event, error.step) from error
    epoch, step = state.epoch + 1, state.step if error.step is None else error.step
    restore = Restore(epoch, step, state.lr_scale / 2, error.event)
    restores, seconds = [*state.restores, asdict(restore)], state.seconds + state.epoch_seconds
    changes = {"epoch_start": state.epoch_start, "restores": restores, "seconds": seconds}
    state.load_state_dict(deepcopy(state.epoch_start) | changes)
    return restore
