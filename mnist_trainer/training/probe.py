"""Measures the gradient and the update of each layer in one more step, which a copy of the training takes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mnist_trainer.errors import DivergedError
from mnist_trainer.training.loop import train_step
from mnist_trainer.training.state import TrainingState

SAMPLE = 512
"""The number of training images in the step."""


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


def _weights(model: nn.Module) -> list[Tensor]:
    """Return the weights of linear layers and convolutions, in forward order."""
    return [module.weight for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
