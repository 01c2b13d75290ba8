"""How much memory a training needs: a model that cannot fit is refused before it is built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

import torch

from mnist_trainer.config.layers import LayerInfo
from mnist_trainer.config.objective import Adagrad, Adam, AnyOptimizer, GradientDescent, RmsProp, Sgd
from mnist_trainer.config.schema import Config
from mnist_trainer.data.image_dataset import available_memory
from mnist_trainer.errors import DeviceError

FLOAT = 4
"""Bytes of a float32. Parameters, gradients and optimizer state are float32 in every precision."""


@dataclass(frozen=True)
class Footprint:
    """What training a model takes, in numbers of values and in bytes; a lower bound, without torch itself."""

    parameters: int
    weights: int
    activations: int

    @property
    def total(self) -> int:
        """Bytes in all."""
        return self.weights + self.activations


def footprint(config: Config, layers: Sequence[LayerInfo]) -> Footprint:
    """Memory for weights (with gradient, optimizer state, best epoch, running mean) and for one batch's activations."""
    parameters = sum(layer.parameters for layer in layers)
    moving = 1 + _state_copies(config.optimizer) + (config.training.ema is not None)
    copies = moving * (2 if config.training.on_divergence == "restore" else 1) + 2
    values = sum(layer.activations() for layer in layers)
    # forward keeps each layer's output for backward; what backward makes besides is let go layer by layer
    return Footprint(parameters, FLOAT * parameters * copies, FLOAT * values * config.data.batch)


def _state_copies(optimizer: AnyOptimizer) -> int:
    match optimizer:
        case GradientDescent():
            return 0
        case Sgd():
            return int(optimizer.momentum > 0)
        case Adam():
            return 2
        case RmsProp():
            return 1 + (optimizer.momentum > 0)
        case Adagrad():
            return 1
        case _:
            assert_never(optimizer)


def check_memory(needed: Footprint, device: torch.device) -> None:
    """Raises `DeviceError` with the figures if training cannot fit into the memory of `device`."""
    there = available_memory(device)
    if there is None or needed.total <= there:
        return
    raise DeviceError(
        f"The model has {needed.parameters:,} parameters and needs at least {human_bytes(needed.total)} to train "
        f"({human_bytes(needed.weights)} for weights, {human_bytes(needed.activations)} for a batch); "
        f"{device} has {human_bytes(there)} free. Make it narrower, or data.batch_size smaller."
    )


def human_bytes(count: int) -> str:
    """`1.2 GB`: three digits at most and a decimal unit."""
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB", "TB", "PB"):
        if size < 999.5 or unit == "PB":
            return f"{size:.3g} {unit}" if size < 999.5 else f"{size:,.0f} {unit}"
        size /= 1000
    raise AssertionError("unreachable")
