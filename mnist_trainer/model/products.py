"""Which library multiplies float32 matrices on the CPU: oneDNN where that is as exact as MKL and twice as fast.

On AMD's CPUs MKL leaves AVX-512 unused, oneDNN does not. torch asks oneDNN for float32 products only if these may be
rounded to bfloat16 (`torch.backends.mkldnn.matmul.fp32_precision`), which oneDNN does where it pays: on CPUs with AMX.
On others they stay float32, and that is not believed but looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch

EXACT_ERROR = 1e-5
"""Largest error of a float32 product of numbers about 1, by their length. Rounded to bfloat16 it is a hundred times
as large."""


@contextmanager
def fast_matmul(are_wanted: bool = True) -> Iterator[None]:
    """Inside it float32 products are made by the faster library of two that are equally exact, if that is wanted."""
    with _rounding_allowed(are_wanted and _is_amd() and _stays_float32()):
        yield


def matmul_backend() -> str:
    """The library that makes float32 products at present; the bits of a training depend on it."""
    return "oneDNN" if _matmul().fp32_precision == "bf16" else "torch's default"


@contextmanager
def _rounding_allowed(is_allowed: bool) -> Iterator[None]:
    matmul = _matmul()
    before = matmul.fp32_precision
    if is_allowed:
        matmul.fp32_precision = "bf16"
    try:
        yield
    finally:
        matmul.fp32_precision = before


def _matmul() -> Any:
    """Where the setting is; torch has no types for it."""
    return torch.backends.mkldnn.matmul  # type: ignore[attr-defined]


def _is_amd() -> bool:
    """Whether this is one of AMD's CPUs with AVX-512."""
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # older versions of torch can't tell
    return str(capabilities.get("cpu_name", "")).startswith("AMD") and bool(capabilities.get("avx512_f"))


@cache
def _stays_float32() -> bool:
    """Whether oneDNN multiplies float32 exactly even if it need not."""
    numbers = torch.linspace(0.5, 1.5, 256 * 784).view(256, 784)
    with _rounding_allowed(True):
        product = numbers @ numbers[:64].t()
    exact = numbers.double() @ numbers[:64].double().t()
    return bool((product - exact).abs().max() / 784 < EXACT_ERROR)
