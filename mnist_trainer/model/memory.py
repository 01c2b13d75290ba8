"""Estimate the memory of a training, and convert failures of memory and accelerators into `DeviceError`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from mnist_trainer.config.layers import LayerInfo
from mnist_trainer.config.schema import Adagrad, Adam, AnyOptimizer, Config, GradientDescent, RmsProp
from mnist_trainer.data.image_dataset import available_memory
from mnist_trainer.errors import DeviceError

FLOAT = 4
"""Bytes of a float32. Parameters, gradients and optimizer state are float32 in every precision."""

MEMORY_ADVICE = (
    "Make data.batch_size smaller (training.accumulate keeps the step the same; on a GPU data.batch_size: auto finds a "
    "size), or the model narrower."
)


@dataclass(frozen=True)
class Footprint:
    """A lower bound of the memory for training: `parameters` is a count, the others are bytes."""

    parameters: int
    weights: int
    activations: int

    @property
    def total(self) -> int:
        """Return the sum in bytes."""
        return self.weights + self.activations


def footprint(config: Config, layers: Sequence[LayerInfo]) -> Footprint:
    """Return the memory for weights (and gradients, optimizer state, best epoch, EMA) and one batch's activations."""
    parameters = sum(layer.parameters for layer in layers)
    changing = 1 + _optimizer_copies(config.optimizer) + (config.training.ema is not None)
    copies = changing * (2 if config.training.on_divergence == "restore" else 1) + 2
    values = sum(layer.activations() for layer in layers)  # kept for backward; its own buffers are freed by layer
    return Footprint(parameters, FLOAT * parameters * copies, FLOAT * values * config.data.batch)


def _optimizer_copies(optimizer: AnyOptimizer) -> int:
    """Return how many values the optimizer keeps for each parameter."""
    if isinstance(optimizer, GradientDescent):
        return 0
    if isinstance(optimizer, Adam | Adagrad):
        return 2 if isinstance(optimizer, Adam) else 1
    return isinstance(optimizer, RmsProp) + (optimizer.momentum > 0)


def check_memory(needed: Footprint, device: torch.device) -> None:
    """Raise `DeviceError` if training cannot fit into the memory of `device`."""
    free = available_memory(device)
    if free is None or needed.total <= free:
        return
    raise DeviceError(
        f"The model has {needed.parameters:,} parameters and needs at least {human_bytes(needed.total)} to train "
        f"({human_bytes(needed.weights)} for weights, {human_bytes(needed.activations)} for a batch); "
        f"{device} has {human_bytes(free)} free. Make it narrower, or data.batch_size smaller."
    )


def human_bytes(count: int) -> str:
    """Return a size such as `1.2 GB`: three significant digits and a decimal unit."""
    size, units = float(count), ["bytes", "kB", "MB", "GB", "TB", "PB"]
    while size >= 999.5 and len(units) > 1:
        size /= 1000
        del units[0]
    return f"{size:.3g} {units[0]}" if size < 999.5 else f"{size:,.0f} {units[0]}"


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether `error` means that memory ran out. torch's message depends on the device."""
    words = ("allocate memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(word in str(error) for word in words)


def is_device_failure(error: BaseException) -> bool:
    """Return whether an accelerator failed. This process can then usually not use it any more."""
    return isinstance(error, torch.AcceleratorError) or "CUDA error" in str(error) or "cuDNN error" in str(error)


@contextmanager
def convert_device_errors(work: str = "training", advice: str = MEMORY_ADVICE) -> Iterator[None]:
    """Convert out-of-memory and accelerator errors inside the block into `DeviceError` with advice."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise DeviceError(f"The memory is not enough for this {work}. {advice}") from error
        if is_device_failure(error):
            reason = str(error).strip().partition("\n")[0].rstrip(".")
            raise DeviceError(
                f"The accelerator failed at its work: {reason}. What was saved before is kept. Start the command "
                "again; if it fails at the same place, --device cpu says more of the reason, and if at another, look "
                "at the driver, the memory and the temperature of the card (nvidia-smi)."
            ) from error
        raise
