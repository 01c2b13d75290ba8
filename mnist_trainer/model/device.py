"""Where and how precisely a model computes. `auto` is decided from the hardware and the model, never by timing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

import torch
from torch import nn

from mnist_trainer.errors import DeviceError

Precision = Literal["float32", "bfloat16", "float16"]

LARGE = 2**18
"""Weights from which on a linear layer counts as large."""


def resolve_device(name: str) -> torch.device:
    """The device `name` stands for; `auto` takes CUDA, else Apple's GPU, else the CPU. Raises `DeviceError`."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            there = "there is no CUDA device here" if count == 0 else f"there are {count}, cuda:0 to cuda:{count - 1}"
            raise DeviceError(f"device {name}: {there}. Use device: auto or cpu (on the command line: --device cpu).")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("device mps: there is no Apple GPU here. Use device: auto or cpu.")
    return device


def is_here(name: str) -> bool:
    """Whether this machine has the device `name`."""
    try:
        resolve_device(name)
    except DeviceError:
        return False
    return True


def resolve_precision(name: Literal["auto"] | Precision, device: torch.device, model: nn.Module) -> Precision:
    """The precision `name` stands for. Raises `DeviceError` for float16 on a CPU.

    `auto` is bfloat16 where products in it are faster for sure: for convolutions and large linear layers, on CUDA cards
    since Ampere and on CPUs that multiply bfloat16 (AMX tiles or AVX-512 BF16); float32 everywhere else.
    """
    if name == "float16" and device.type == "cpu":
        raise DeviceError("precision float16 is for GPUs; on a CPU use bfloat16 or float32.")
    if name == "auto":
        return "bfloat16" if any(map(_is_heavy, model.modules())) and _fast_bfloat16(device) else "float32"
    return name


def _is_heavy(module: nn.Module) -> bool:
    """Whether it gains more by faster products than it loses by converting what goes in and out.

    Measured on AVX-512 BF16, a whole step: ×1.2 with 200,000 weights in the largest linear layer, ×2.2 with 400,000.
    """
    return isinstance(module, nn.Conv2d) or (isinstance(module, nn.Linear) and module.weight.numel() >= LARGE)


def _fast_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """A context in which matrix products and convolutions run in `precision`; nothing for float32."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=getattr(torch, precision))


def to_device(model: nn.Module, device: torch.device) -> nn.Module:
    """`model` on `device`, in the memory layout that convolutions are fastest in."""
    if any(isinstance(module, nn.Conv2d) for module in model.modules()):
        return model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
    return model.to(device)


@contextmanager
def settings(threads: int | None, deterministic: bool) -> Iterator[None]:
    """Inside it torch uses so many CPU threads and, if asked, only deterministic CUDA kernels; restored afterwards."""
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic
    if threads is not None:
        torch.set_num_threads(threads)
    if deterministic and torch.cuda.is_available():
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
        torch.backends.cudnn.deterministic = before[2]
