"""How many CPU threads a model is worth, decided from the config, never by timing.

Which library multiplies float32 matrices on the CPU: oneDNN where that is as exact as MKL and twice as fast.

On AMD's CPUs MKL leaves AVX-512 unused, oneDNN does not. torch asks oneDNN for float32 products only if these may be
rounded to bfloat16 (`torch.backends.mkldnn.matmul.fp32_precision`), which oneDNN does where it pays: on CPUs with AMX.
On others they stay float32, and that is not believed but looked at.

Where and how precisely a model computes. `auto` is decided from the hardware and the model, never by timing.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any, Literal

import torch
from torch import nn

from mnist_trainer.config.layers import LayerInfo, expand, infer_shapes
from mnist_trainer.config.model import Conv
from mnist_trainer.config.schema import Config
from mnist_trainer.errors import DeviceError

CLASSES = 10
"""Whatever the data has: no output layer is large."""

MIN_MULTIPLICATIONS = 2**24
"""Multiplications of a layer with one batch that are worth a second thread. On two cores an epoch then takes 0.8 of the
time with 26 million, 0.7 with twice as many, and 0.9 with 13 million (benchmarks/RESULTS.md, growth over threads);
beside a busy program it took three times as long, tried by hand."""


def choose_threads(config: Config, own_model: object | None = None) -> int | None:
    """`config.threads`, else 1 where every piece of work is small; None leaves it to torch, as for a user's own model.

    Threads wait for each other after each operation. Between small ones that takes as long as what they save, and
    beside other busy programs many times as long.
    """
    if config.threads is not None or own_model is not None:
        return config.threads
    makes_images = config.data.augment is not None or config.data.simulate.added(1000) > 0
    layers = infer_shapes(expand(config.model), CLASSES)
    heavy = makes_images or any(_is_heavy_layer(info, config.data.batch) for info in layers)
    return None if heavy else 1


def _is_heavy_layer(info: LayerInfo, batch: int) -> bool:
    large = info.parameters >= min(LARGE_LAYER, MIN_MULTIPLICATIONS / batch)
    return isinstance(info.layer, Conv) or large or any(_is_heavy_layer(inner, batch) for inner in info.inner)


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


Precision = Literal["float32", "bfloat16", "float16"]

LARGE_LAYER = 2**18
"""Weights from which on a linear layer counts as large."""


def resolve_device(name: str) -> torch.device:
    """The device `name` stands for; `auto` takes CUDA, else Apple's GPU, else the CPU. Raises `DeviceError`.

    An accelerator must do one small calculation first: that it is there does not say that this torch can use it.
    """
    if name == "auto":
        return torch.device(
            next((kind for kind in ("cuda", "mps") if is_available(kind) and device_error(kind) is None), "cpu")
        )
    device = torch.device(name)
    if device.type == "cpu":
        return device
    advice = "Use device: auto or cpu (on the command line: --device cpu)."
    if not is_available(device.type):
        there = "CUDA device" if device.type == "cuda" else "Apple GPU"
        raise DeviceError(f"device {name}: there is no {there} here{_cause(device.type)}. {advice}")
    count = torch.cuda.device_count() if device.type == "cuda" else 1
    if (device.index or 0) >= count:
        there = "is 1, cuda:0" if count == 1 else f"are {count}, cuda:0 to cuda:{count - 1}"
        raise DeviceError(f"device {name}: there {there}. {advice}")
    if reason := device_error(name):
        raise DeviceError(f"device {name} can't be used: {reason}. {advice}")
    return device


def skipped_device(name: str) -> str | None:
    """Why `name`, if it is auto, does not take an accelerator that seems to be there; None where all is as expected."""
    if name != "auto" or resolve_device(name).type != "cpu":
        return None
    reasons = {kind: device_error(kind) if is_available(kind) else unavailable_reason(kind) for kind in ("cuda", "mps")}
    reasons_found = [f"{kind} can't be used: {reason}" for kind, reason in reasons.items() if reason]
    return f"{'; '.join(reasons_found)}. The CPU is taken" if reasons_found else None


def is_available(kind: str) -> bool:
    """Whether torch sees a device of this kind, cuda or mps."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = torch.cuda.is_available() if kind == "cuda" else torch.backends.mps.is_available()
    _WARNINGS.setdefault(kind, []).extend(str(warning.message) for warning in caught)
    return found


_WARNINGS: dict[str, list[str]] = {}
"""What torch said of each kind when it was asked; it says so once a process."""


def unavailable_reason(kind: str) -> str | None:
    """What torch has against a device that it does not count as there: a driver that is too old, most often."""
    caught = _WARNINGS.get(kind)
    return _first_sentence(caught[0]) if caught else None


def _cause(kind: str) -> str:
    if reason := unavailable_reason(kind):
        return f" that can be used: {reason}"
    return " that this torch could use: it was built without CUDA" if kind == "cuda" and not torch.version.cuda else ""


@cache
def device_error(name: str) -> str | None:
    """Why the device `name` can't compute, by one small calculation; None if it can. Asked once a process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what matters is whether it computes
        try:
            ones = torch.ones(2, 2, device=name)
            total = float((ones @ ones).sum())
        except Exception as error:  # a broken driver fails in many ways: no list of exceptions is complete
            reason = _first_sentence(str(error)) or type(error).__name__
            old = "no kernel image" in reason
            return f"{reason} (the card is too old, or too new, for this torch)" if old else reason
    return None if total == 8 else f"it says that 2·2·2 is {total:g}"


def _first_sentence(text: str) -> str:
    return text.strip().partition("\n")[0].partition(". ")[0].rstrip(".")


def has_device(name: str) -> bool:
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
    return isinstance(module, nn.Conv2d) or (isinstance(module, nn.Linear) and module.weight.numel() >= LARGE_LAYER)


def _fast_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """A context in which matrix products and convolutions run in `precision`; nothing for float32."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=getattr(torch, precision))


def to_device(model: nn.Module, device: torch.device, precision: Precision) -> nn.Module:
    """Move `model` to `device`, convolutions in the memory layout in which they are fastest and exact.

    torch's batch norm on a CPU sums a channels_last batch one by one: in float32 its gradient is then wrong by 1 %.
    """
    if any(isinstance(module, nn.Conv2d) for module in model.modules()):
        layout = torch.contiguous_format if precision == "float32" else torch.channels_last
        return model.to(device, memory_format=layout)  # type: ignore[call-overload, no-any-return]
    return model.to(device)


@contextmanager
def settings(config: Config, threads: int | None, device: torch.device | None = None) -> Iterator[None]:
    """Inside it torch uses so many CPU threads (None: its own choice), only deterministic CUDA kernels if `config` asks
    so, and where its precision is auto the faster library for products.

    Restored afterwards, as is the state of torch's random generators: that of the CPU, and that of `device` (None: of
    what `config.device` stands for).
    """
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic
    generators = _generator_states(config.device if device is None else device.type)
    if threads is not None:
        torch.set_num_threads(threads)
    if config.deterministic and torch.cuda.is_available():
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.deterministic = True
    try:
        with fast_matmul(config.precision == "auto"):
            yield
    finally:
        torch.set_num_threads(before[0])
        if torch.are_deterministic_algorithms_enabled() != before[1]:  # the call would load the compiler
            torch.use_deterministic_algorithms(before[1])
        torch.backends.cudnn.deterministic = before[2]
        for restore, state in generators:
            restore(state)


def _generator_states(name: str) -> list[tuple[Callable[..., None], Any]]:
    """Return functions that restore torch's random generators, each with its present state. May initialise CUDA."""
    states: list[tuple[Callable[..., None], Any]] = [(torch.set_rng_state, torch.get_rng_state())]
    kind = name.partition(":")[0]
    if kind in ("auto", "cuda") and is_available("cuda") and device_error("cuda") is None:
        states.append((torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all()))
    if kind in ("auto", "mps") and is_available("mps") and device_error("mps") is None:
        states.append((torch.mps.set_rng_state, torch.mps.get_rng_state()))
    return states
