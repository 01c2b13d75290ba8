"""What happens when a loss, a gradient or a weight is no longer a finite number: the training stops, or goes back."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import asdict, dataclass
from math import inf

from torch import Tensor, nn

from mnist_trainer.errors import DivergedError
from mnist_trainer.training.state import TrainingState

MAX_RESTORES = 3
"""A training goes back so many times; then it stops."""


@dataclass(frozen=True)
class Restore:
    """A training that went back to the start of `epoch` because of `event`, in `step` of it or after its last one.

    From there on every learning rate is × `factor`, on top of what the schedule says.
    """

    epoch: int
    step: int
    factor: float
    event: str

    def __str__(self) -> str:
        return f"{self.event}. Back to the start of epoch {self.epoch}, with the learning rate × {self.factor:g}"


def require_finite(state: TrainingState, loss: Tensor) -> None:
    """Raises `DivergedError` before a loss that is not finite reaches the weights (on a CPU; see `Stepper`)."""
    if not state.stepper.admits(loss):
        raise divergence_error(state, f"The loss became {loss.item()}", state.step + 1)


def take_step(state: TrainingState) -> None:
    """The optimizer's step. Raises `DivergedError` if the gradient is not finite, and takes none (on a CPU)."""
    if not state.stepper.step():
        raise divergence_error(state, "The gradient became infinite or not a number", state.step + 1)


def check_finite_epoch(state: TrainingState) -> None:
    """Raises `DivergedError` for what an accelerator saw in this epoch, and for weights that grew beyond all bounds."""
    if not state.stepper.is_finite():
        raise divergence_error(
            state, "The loss or its gradient became infinite or not a number", first_skipped_step(state)
        )
    if not nn.utils.get_total_norm(state.model.parameters(), inf).isfinite():
        raise divergence_error(state, "The weights became infinite or not a number", state.step)


def first_skipped_step(state: TrainingState) -> int:
    """The step of this epoch, from 1, at which an accelerator stood still."""
    return state.step - state.stepper.lost + 1


def divergence_error(state: TrainingState, what: str, step: int | None = None) -> DivergedError:
    """What to tell a person whose training is no longer finite: `what`, and when."""
    where = f"epoch {state.epoch + 1}"
    if step is not None:
        where += f", step {step} of {state.setup.course.steps_per_epoch}"
    event = f"{what} in {where}, at a learning rate of {state.stepper.rate:g}"
    best = state.best.epoch
    kept = f"Epoch {best}, the best until then, is kept" if best else "No epoch is complete, so there is no model yet"
    lower = f"Lower optimizer.lr (optimizer.lr={state.stepper.base_rates[0] / 10:g} is a good try)"
    clip = "" if (state.stepper.clip_norm or 2) <= 1 else ", set training.clip_norm=1"
    return DivergedError(f"{event}. {kept}. {lower}{clip}, or look at the loss and the data.", event, step)


def save_epoch_start(state: TrainingState) -> None:
    """Keeps what `restore_epoch_start` goes back to: the state between two epochs, so that it never depends on the
    clock."""
    if state.setup.config.training.on_divergence == "restore":
        present = {name: value for name, value in state.state_dict().items() if name not in ("good", "restores")}
        best = present["best_weights"]  # made anew by each best epoch, never changed
        state.epoch_start = deepcopy(present, {id(best): best})


def restore_epoch_start(state: TrainingState, error: DivergedError) -> Restore:
    """Goes back to the start of the epoch, with half the learning rate; seconds go on.

    Raises `error` where `training.on_divergence` says stop, and `DivergedError` after `MAX_RESTORES` times.
    """
    if state.epoch_start is None:
        raise error
    if len(state.restores) == MAX_RESTORES:
        times = f"It went back {MAX_RESTORES} times already (training.on_divergence: restore)."
        raise DivergedError(f"{error} {times}", error.event, error.step) from error
    epoch, step = state.epoch + 1, state.step if error.step is None else error.step
    found = Restore(epoch, step, state.lr_scale / 2, error.event)
    restores, seconds = [*state.restores, asdict(found)], state.seconds + state.epoch_seconds
    changes = {"good": state.epoch_start, "restores": restores, "seconds": seconds}
    state.load_state_dict(deepcopy(state.epoch_start) | changes)
    return found
