"""What torch says of memory and of lost accelerators: `mnist_trainer/model/device.py`. All of it is simulated."""

from __future__ import annotations

import pytest
import torch

from mnist_trainer.errors import DeviceError
from mnist_trainer.model.device import convert_device_errors


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: you tried 8 bytes"
        ),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        RuntimeError("MPS backend out of memory (MPS allocated: 9.07 GB)."),
        torch.AcceleratorError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_a_simulated_lack_of_memory_says_what_to_do(error: Exception) -> None:
    with pytest.raises(DeviceError) as caught, convert_device_errors():
        raise error
    assert str(caught.value) == (
        "The memory is not enough for this training. Make data.batch_size smaller (training.accumulate keeps the "
        "step the same; on a GPU data.batch_size: auto finds a size), or the model narrower."
    )
    assert caught.value.exit_code == 5


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            torch.AcceleratorError(
                "CUDA error: device-side assert triggered\nCUDA kernel errors might be asynchronously reported"
            ),
            "CUDA error: device-side assert triggered",
        ),
        (RuntimeError("CUDA error: unspecified launch failure"), "CUDA error: unspecified launch failure"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED."), "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    ],
)
def test_a_simulated_accelerator_that_fails_is_told_of(error: Exception, said: str) -> None:
    with pytest.raises(DeviceError) as caught, convert_device_errors():
        raise error
    assert str(caught.value) == (
        f"The accelerator failed at its work: {said}. What was saved before is kept. Start the command again; if it "
        "fails at the same place, --device cpu says more of the reason, and if at another, look at the driver, the "
        "memory and the temperature of the card (nvidia-smi)."
    )


def test_other_errors_are_let_through() -> None:
    with pytest.raises(RuntimeError, match="shapes"), convert_device_errors():
        raise RuntimeError("shapes cannot be multiplied")
