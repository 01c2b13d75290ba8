"""The training loop: zero_grad, forward, loss, backward, step. It yields records, and never writes or prints."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from itertools import islice
from math import inf, isfinite
from time import perf_counter
from typing import TypeVar

import torch
from torch import Tensor, nn

from mnist_trainer.errors import DivergedError, UsageError
from mnist_trainer.inference.predictions import predict, predict_together
from mnist_trainer.model.device import settings
from mnist_trainer.training.distributed import gather
from mnist_trainer.training.losses import Labels
from mnist_trainer.training.micro_batches import StepMicroBatches
from mnist_trainer.training.optim import lr_multiplier
from mnist_trainer.training.state import Totals, TrainingState

Item = TypeVar("Item")

Batch = tuple[Tensor, Labels]
"""Images [B, 28, 28] with values from 0 to 255, and labels [B]; see `TrainingState.batches`."""


@dataclass(frozen=True)
class EpochRecord:
    """One row of `metrics.csv`. Losses and accuracies are means over all images; `lr` is that of the last step."""

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float | None
    val_accuracy: float | None
    lr: float
    seconds: float
    images_per_second: float
    phase: str = "train"
    terms: dict[str, float] = field(default_factory=dict)
    best: bool = False
    """Whether it is the best epoch so far by validation; never in a second fit."""
    kept: bool = False
    """Whether its weights are the result so far (`training.keep`); never in a second fit."""
    gradient_norm: float | None = None
    """The Euclidean norm of the whole gradient before clipping, mean over the steps; without steps that are not finite,
    and None if all are."""
    curve: tuple[tuple[float, float, float, float], ...] = ()
    """Points within the epoch, for `curves.png`: epochs done (2.5 is the middle of the third), mean training loss and
    accuracy of an interval around it, and the learning rate at its end."""


POINTS = 50
"""The number of curve points in the first epoch. Epoch n has 1/n of them, and from epoch 26 on there are none. The
number does not depend on training.epochs, which may change on resume."""


def train_step(state: TrainingState, micro_batches: Sequence[Batch]) -> None:
    """Take one step of gradient descent: the five lines of the lecture, and checks for values that are not finite.

    Mini-batch training has one micro-batch a step. Gradient accumulation and full-batch gradient descent have several:
    the gradients are summed, and only one micro-batch is in memory at a time.
    """
    model, criterion, optimizer, scaler = state.model, state.criterion, state.optimizer, state.scaler
    step, results = StepMicroBatches(state, micro_batches), []
    optimizer.zero_grad()  # lecture: optimizer.zero_grad()
    for (images, labels), share in step.own():
        with state.autocast():  # matrix products in the precision of the training
            outputs = model(state.normalize(images)).float()  # lecture: prediction = model(images)
        loss = criterion(outputs, labels)  # lecture: loss = criterion(prediction, labels)
        scaler.scale(loss * share).backward()  # lecture: loss.backward()
        results.append(state.measure(loss, outputs, labels))
    for labels, result in step.reduce(results):
        check_finite(state, result[0])
        state.update_totals(labels, result)
    scaler.unscale_(optimizer)
    gradients = [each.grad for each in state.parameters if each.grad is not None]
    gradient_norm = nn.utils.get_total_norm(gradients)
    check_finite_gradients(state, gradients, gradient_norm)
    state.totals.add_gradient_norm(gradient_norm)
    if state.clip_norm is not None:
        nn.utils.clip_grads_with_norm_(state.parameters, state.clip_norm, gradient_norm)
    with skipped_if_nonfinite(state):
        scaler.step(optimizer)  # lecture: optimizer.step()
    scaler.update()


def check_finite(state: TrainingState, loss: Tensor) -> None:
    """Raise `DivergedError` if `loss` is infinite or not a number.

    On an accelerator this would need a synchronization. There `state.nonfinite` is set on the device,
    `skipped_if_nonfinite` skips all later steps of the epoch, and `check_finite_epoch` raises the error.
    """
    if not state.checks_every_step:
        state.nonfinite.logical_or_(~torch.isfinite(loss))
    elif not isfinite(loss.item()):
        raise divergence_error(state, f"The loss became {loss.item()}", state.step + 1)


def check_finite_gradients(state: TrainingState, gradients: Sequence[Tensor], norm: Tensor) -> None:
    """Raise `DivergedError` if one of `gradients`, whose total norm is `norm`, is not finite.

    On an accelerator `state.nonfinite` is set, as by `check_finite`. In float16 gradients overflow occasionally; the
    gradient scaler skips such steps itself.
    """
    if state.scaler.is_enabled() or (state.checks_every_step and isfinite(norm.item())):
        return
    state.nonfinite.logical_or_(~nn.utils.get_total_norm(gradients, inf).isfinite())  # the squares alone may overflow
    if state.checks_every_step and state.nonfinite:
        raise divergence_error(state, "The gradient became infinite or not a number", state.step + 1)


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
    kept = "No epoch is complete, so there is no model yet"
    if state.best.epoch:
        kept = f"Epoch {state.best.epoch}, the {state.kept_kind} until then, is kept"
    lower = f"Lower optimizer.lr (optimizer.lr={state.base_lrs[0] / 10:g} for example)"
    clip = "" if (state.clip_norm or 2) <= 1 else ", set training.clip_norm=1"
    return DivergedError(f"{event}. {kept}. {lower}{clip}, or look at the loss and the data.", event, step)


def steps(state: TrainingState) -> Iterator[TrainingState]:
    """Run the rest of this epoch. Yields the state after each step, where it can be saved."""
    _require_state(state)
    return _with_settings(state, _steps(state))


def _with_settings(state: TrainingState, loop: Iterator[Item]) -> Iterator[Item]:
    """Yield the items of `loop`, which runs with the settings of the training. The caller keeps its own settings."""
    setup = state.setup
    while True:
        with settings(setup.config, setup.threads, setup.device, state.model):
            try:
                item = next(loop)
            except StopIteration:
                return
        yield item


def _steps(state: TrainingState) -> Iterator[TrainingState]:
    """Run the rest of this epoch, as `steps`, with the settings of the caller."""
    setup = state.setup
    steps_per_epoch, epochs = setup.steps_per_epoch, setup.config.training.epochs
    started = perf_counter()
    batches = state.batches()
    state.train_mode()
    while micro_batches := list(islice(batches, setup.micro_batches_per_step)):
        if not state.model.training:  # the caller may have evaluated the model after the last step
            state.train_mode()
        step = state.epoch * steps_per_epoch + state.step
        multiplier = lr_multiplier(setup.config.schedule, step, steps_per_epoch, epochs)
        state.set_lr(multiplier * state.plateau.factor * state.lr_scale)
        state.seed_dropout()
        train_step(state, micro_batches)
        if state.ema is not None:
            state.ema.update_parameters(state.model)
        state.step += 1
        state.totals.add_point(state.step, steps_per_epoch, POINTS // (state.epoch + 1), state.lr)
        state.epoch_seconds += perf_counter() - started
        yield state
        if state.is_time_up:
            state.stop_reason = "max_minutes"
        if state.stop_reason is not None:  # the caller may have set one
            return
        started = perf_counter()


def _require_state(state: object) -> None:
    if not isinstance(state, TrainingState):
        raise UsageError(f"fit and steps take what prepare returns, as in fit(prepare('quickstart')), not {state!r}.")


def fit(
    state: TrainingState,
    after_step: Callable[[TrainingState], None] | None = None,
    on_rollback: Callable[[Restore], None] | None = None,
) -> Iterator[EpochRecord]:
    """Train until `state.stop_reason` is set. Yields a record after each epoch.

    A loss or gradient that is not finite never reaches the weights. It raises `DivergedError`, or with
    `training.on_divergence: restore` training goes back to the start of the epoch and `on_rollback` is called.
    `config.threads` and `deterministic` apply inside the loop and in `after_step`, but not where records are yielded.
    """
    _require_state(state)
    return _with_settings(state, _fit(state, after_step, on_rollback))


def _fit(
    state: TrainingState,
    after_step: Callable[[TrainingState], None] | None,
    on_rollback: Callable[[Restore], None] | None,
) -> Iterator[EpochRecord]:
    """Train, as `fit`, with the settings of the caller."""
    if state.epoch_start is None:
        save_epoch_start(state)
    while state.stop_reason is None:
        try:
            for _ in _steps(state):
                if after_step is not None:
                    after_step(state)
            record = finish_epoch(state)
        except DivergedError as error:
            restore = restore_epoch_start(state, error)
            if on_rollback is not None:
                on_rollback(restore)
        else:
            save_epoch_start(state)
            yield record


def finish_epoch(state: TrainingState) -> EpochRecord:
    """Validate, keep the best weights, decide whether to stop, and return the record of the epoch."""
    started = perf_counter()
    training = state.setup.config.training
    check_finite_epoch(state)
    train_loss, train_accuracy, terms = state.totals.averages()
    steps, train_seconds = state.setup.steps_per_epoch, state.epoch_seconds
    curve = tuple((state.epoch + step / steps, loss, correct, lr) for step, loss, correct, lr in state.totals.curve())
    val_loss, val_accuracy = validate(state)
    state.epoch += 1
    is_best = state.best.update(training, state.epoch, val_loss, val_accuracy)
    is_kept, is_first_fit = state.best.epoch == state.epoch, state.setup.phase == "train"
    if is_kept:
        state.save_best_weights()
    state.plateau.update(state.setup.config.schedule, val_loss)
    record = EpochRecord(
        epoch=state.epoch,
        train_loss=train_loss,
        train_accuracy=train_accuracy,
        val_loss=val_loss,
        val_accuracy=val_accuracy,
        lr=state.lr,
        seconds=train_seconds + perf_counter() - started,
        images_per_second=state.totals.images / train_seconds,
        phase=state.setup.phase,
        terms=terms,
        best=is_best and is_first_fit,
        kept=is_kept and is_first_fit,
        gradient_norm=state.totals.gradient_norm,
        curve=curve,
    )
    state.seconds += record.seconds
    state.step, state.epoch_seconds, state.totals = 0, 0.0, Totals.empty(state.setup.device)
    state.stop_reason, *_ = gather(state.stop_reason or state.reason_to_stop(vars(record)))  # clocks may differ
    return record


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


def validate(state: TrainingState) -> tuple[float | None, float | None]:
    """Return the validation loss and accuracy; None without validation images."""
    if state.setup.validation is None:
        return None, None
    if state.setup.ranks.size == 1:
        predictions = predict(state.predictor(), state.setup.validation)
    else:
        predictions = predict_together(state.predictor(), state.setup.validation, state.setup.ranks.share, gather)
    loss = state.criterion.mean_loss(predictions.outputs, predictions.labels)
    if not isfinite(loss):
        raise divergence_error(state, f"The validation loss became {loss}")
    return loss, float(predictions.correct.double().mean())
