"""Devices that fail at work: torch's words about memory and lost accelerators, turned into errors for people.

How much memory a training needs: a model that cannot fit is refused before it is built.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import assert_never

import torch

from mnist_trainer.config.layers import LayerInfo
from mnist_trainer.config.objective import Adagrad, Adam, AnyOptimizer, GradientDescent, RmsProp, Sgd
from mnist_trainer.config.schema import Config
from mnist_trainer.data.image_dataset import available_memory
from mnist_trainer.errors import DeviceError

MEMORY_ADVICE = (
    "Make data.batch_size smaller (training.accumulate keeps the step the same; on a GPU data.batch_size: auto finds a "
    "size), or the model narrower."
)
"""What helps a training that lacks memory."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that memory was not enough: torch has words of its own on each kind of device."""
    words = ("allocate memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(word in str(error) for word in words)


def is_device_failure(error: BaseException) -> bool:
    """Whether `error` says that an accelerator failed; after most of these it is of no use to this process."""
    return isinstance(error, torch.AcceleratorError) or any(
        word in str(error) for word in ("CUDA error", "cuDNN error")
    )


@contextmanager
def convert_device_errors(work: str = "training", advice: str = MEMORY_ADVICE) -> Iterator[None]:
    """Turns a lack of memory for the `work`, and an accelerator that fails, into a `DeviceError` with `advice`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise DeviceError(f"The memory is not enough for this {work}. {advice}") from error
        if is_device_failure(error):
            said = str(error).strip().partition("\n")[0].rstrip(".")
            raise DeviceError(
                f"The accelerator failed at its work: {said}. What was saved before is kept. Start the command again; "
                "if it fails at the same place, --device cpu says more of the reason, and if at another, look at the "
                "driver, the memory and the temperature of the card (nvidia-smi)."
            ) from error
        raise


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
