"""Devices that fail at work: torch's words about memory and lost accelerators, turned into errors for people."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

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
