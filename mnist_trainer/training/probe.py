"""Measures a training by some more steps, which a copy of it takes: gradients, updates, and seconds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from statistics import median
from time import perf_counter

import torch
from torch import Tensor, nn

from mnist_trainer.errors import DivergedError
from mnist_trainer.training.distributed import ALONE, Ranks, from_first
from mnist_trainer.training.loop import steps, train_step
from mnist_trainer.training.state import TrainingState

SAMPLE = 512
"""The number of training images in the step."""

TIMED_STEPS = 5

MARGIN = 0.9
"""One process is called faster if a step takes less than this share of the time; smaller differences may be chance."""


@dataclass(frozen=True)
class LayerProbe:
    """One layer with weights: Euclidean norms over its weights, without biases."""

    layer: int
    """Layers with weights are numbered from 1."""
    gradient: float
    """The norm of the gradient."""
    update: float
    """The norm of the change in one step, divided by the norm of the weights before it."""


def probe(state: TrainingState) -> tuple[LayerProbe, ...]:
    """Return the gradient and the update of each layer in a step with the first training images.

    The step has the full learning rate, `optimizer.lr`: at the end of an epoch a schedule may have lowered it to 0.
    `state` and torch's random generators stay as they are. Empty if the step is not finite, or nothing is trained.
    """
    trial = state.trial()
    numbered = enumerate(_weights(trial.model), start=1)
    layers = {number: weight for number, weight in numbered if weight.requires_grad}  # without frozen ones
    before = {number: weight.detach().clone() for number, weight in layers.items()}
    images, labels = state.setup.train.gather(torch.arange(min(SAMPLE, len(state.setup.train))))
    teacher = state.setup.teacher
    batch = images, labels if teacher is None else teacher.label(images, labels)
    trial.train_mode()
    trial.set_lr(trial.lr_scale)
    try:
        with torch.random.fork_rng(devices=[state.setup.device] if state.setup.device.type == "cuda" else []):
            trial.seed_dropout()
            train_step(trial, [batch])
    except DivergedError:
        return ()
    found = []
    for number, weight in layers.items():
        differences = weight.grad, weight.detach() - before[number], before[number]
        gradient, change, size = (float(torch.linalg.vector_norm(each)) for each in differences)
        found.append(LayerProbe(number, gradient, change / (size or 1.0)))
    return tuple(found)


def slower_together(state: TrainingState) -> str | None:
    """Return a sentence if one process alone takes its steps faster than all together; else None, as in a second fit.

    Called by all processes at the same time; the others wait while the first one takes its steps alone. `state` and
    torch's random generators stay as they are.
    """
    ranks = state.setup.ranks
    if ranks.size == 1 or state.setup.phase == "refit":
        return None
    try:
        together = step_seconds(state, ranks)
        alone = from_first(lambda: step_seconds(state, ALONE))
    except DivergedError:
        return None
    if alone >= MARGIN * together:
        return None
    times = f"{1000 * together:.3g} ms in {ranks.size} processes, {1000 * alone:.3g} ms in one process alone"
    return f"More processes are slower here: a step takes {times} (medians of {TIMED_STEPS} steps)."


def step_seconds(state: TrainingState, ranks: Ranks) -> float:
    """Return the median time of the first steps of an epoch, taken by a copy of the training in the processes `ranks`.

    Raises `DivergedError` if a step is not finite.
    """
    trial = state.trial()
    trial.setup, trial.micro_batches = replace(state.setup, ranks=ranks), state.micro_batches
    trial.epoch, trial.step, trial.stop_reason = 0, 0, None
    seconds, start = [], perf_counter()
    for _ in islice(steps(trial), TIMED_STEPS):
        if state.setup.device.type != "cpu":
            torch.accelerator.synchronize()
        now = perf_counter()
        seconds.append(now - start)
        start = now
    return median(seconds)


def _weights(model: nn.Module) -> list[Tensor]:
    """Return the weights of linear layers and convolutions, in forward order."""
    return [module.weight for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
