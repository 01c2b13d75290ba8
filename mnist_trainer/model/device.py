"""Choose the device, precision and CPU threads of a model, estimate the memory of a training, and convert failures.

`auto` depends on hardware and config, never on timing.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch
from torch import nn

from mnist_trainer.config.layers import LayerInfo, expand, infer_shapes
from mnist_trainer.config.model import Conv
from mnist_trainer.config.schema import Adagrad, Adam, AnyOptimizer, Config, GradientDescent, RmsProp
from mnist_trainer.data.image_dataset import available_memory
from mnist_trainer.errors import DeviceError
from mnist_trainer.model.build import build_model

Precision = Literal["float32", "bfloat16", "float16"]

LARGE_LAYER = 2**18
"""Minimum number of weights of a large linear layer."""

MIN_MULTIPLICATIONS = 2**24
"""Minimum multiplications of a layer per batch for which a second thread is faster (docs/decisions.md)."""

EXACT_ERROR = 1e-5
"""Maximum error of a float32 product of numbers near 1, divided by their count. bfloat16 has 100 times as much."""

MAX_PROBED = 2048
"""Largest dimension of a product by which the exactness of oneDNN is checked."""

CLASSES = 10
"""Number of outputs that is assumed before the data are known."""

FLOAT = 4
"""Bytes of a float32. Parameters, gradients and optimizer state are float32 in every precision."""

MEMORY_ADVICE = (
    "Make data.batch_size smaller (training.accumulate keeps the step the same; on a GPU data.batch_size: auto finds a "
    "size), or the model narrower."
)


def resolve_device(name: str) -> torch.device:
    """Return the device `name`; `auto` is CUDA, else Apple's GPU, else the CPU. Raises `DeviceError`.

    An accelerator is tested by a small calculation, because it may be present but not usable with this torch.
    """
    if name == "auto":
        usable = (kind for kind in ("cuda", "mps") if is_available(kind) and device_error(kind) is None)
        return torch.device(next(usable, "cpu"))
    device = torch.device(name)
    if device.type == "cpu":
        return device
    advice = "Use device: auto or cpu (on the command line: --device cpu)."
    if not is_available(device.type):
        there = "CUDA device" if device.type == "cuda" else "Apple GPU"
        raise DeviceError(f"device {name}: there is no {there} here{_why_unavailable(device.type)}. {advice}")
    count = torch.cuda.device_count() if device.type == "cuda" else 1
    if (device.index or 0) >= count:
        there = "is 1, cuda:0" if count == 1 else f"are {count}, cuda:0 to cuda:{count - 1}"
        raise DeviceError(f"device {name}: there {there}. {advice}")
    if reason := device_error(name):
        raise DeviceError(f"device {name} can't be used: {reason}. {advice}")
    return device


def visible_gpus(name: str) -> list[str]:
    """Return the GPUs among which runs with the device `name` can be divided, as in CUDA_VISIBLE_DEVICES.

    Empty if `name` is the CPU, or one GPU: `cuda:1`.
    """
    if name not in ("auto", "cuda") or resolve_device(name).type != "cuda":
        return []
    count = torch.cuda.device_count()
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    return given.split(",")[:count] if given else list(map(str, range(count)))


def has_device(name: str) -> bool:
    """Return whether this machine has the device `name`."""
    try:
        resolve_device(name)
    except DeviceError:
        return False
    return True


def skipped_device(name: str) -> str | None:
    """Return why `auto` does not use an accelerator that seems to be present; else None."""
    if name != "auto" or resolve_device(name).type != "cpu":
        return None
    reasons = {kind: device_error(kind) if is_available(kind) else unavailable_reason(kind) for kind in ("cuda", "mps")}
    found = [f"{kind} can't be used: {reason}" for kind, reason in reasons.items() if reason]
    return f"{'; '.join(found)}. The CPU is taken" if found else None


_WARNINGS: dict[str, list[str]] = {}
"""torch's warnings by device type. torch emits them only once per process."""


def is_available(kind: str) -> bool:
    """Return whether torch sees a device of this kind, cuda or mps."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = torch.cuda.is_available() if kind == "cuda" else torch.backends.mps.is_available()
    _WARNINGS.setdefault(kind, []).extend(str(warning.message) for warning in caught)
    return found


def unavailable_reason(kind: str) -> str | None:
    """Return torch's warning about an unavailable device, usually that the driver is too old."""
    caught = _WARNINGS.get(kind)
    return _first_sentence(caught[0]) if caught else None


def _why_unavailable(kind: str) -> str:
    """Return the reason as the end of a sentence; empty if torch gives none."""
    if reason := unavailable_reason(kind):
        return f" that can be used: {reason}"
    return " that this torch could use: it was built without CUDA" if kind == "cuda" and not torch.version.cuda else ""


@cache
def device_error(name: str) -> str | None:
    """Return why a small calculation on the device `name` fails, or None if it works. Cached."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # only the result of the calculation matters
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


def cpu_capabilities() -> dict[str, Any]:
    """Return the CPU's name and instruction sets as torch reports them; empty if this torch does not."""
    return dict(getattr(torch.cpu, "get_capabilities", dict)())


def resolve_precision(name: Literal["auto"] | Precision, device: torch.device, model: nn.Module) -> Precision:
    """Return the precision `name`. Raises `DeviceError` for float16 on a CPU.

    `auto` is bfloat16 where that is certainly faster: for convolutions and large linear layers on CUDA devices since
    Ampere and on CPUs with bfloat16 instructions (AMX tiles or AVX-512 BF16). Otherwise it is float32.
    """
    if name == "float16" and device.type == "cpu":
        raise DeviceError("precision float16 is for GPUs; on a CPU use bfloat16 or float32.")
    if name == "auto":
        return "bfloat16" if any(map(_gains_by_bfloat16, model.modules())) and _has_bfloat16(device) else "float32"
    return name


def _gains_by_bfloat16(module: nn.Module) -> bool:
    """Return whether bfloat16 is faster for a layer, on a device that has it."""
    return isinstance(module, nn.Conv2d) or (isinstance(module, nn.Linear) and module.weight.numel() >= LARGE_LAYER)


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    has = cpu_capabilities()
    return device.type == "cpu" and bool(has.get("amx_tile") or has.get("avx512_bf16"))


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Return a context in which matrix products and convolutions run in `precision`."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=getattr(torch, precision))


def to_device(model: nn.Module, device: torch.device, precision: Precision) -> nn.Module:
    """Move `model` to `device`, with convolutions in the fastest exact memory format.

    In float32 that is contiguous: with channels_last, the gradient of torch's CPU batch norm has an error of 1 %.
    """
    if any(isinstance(module, nn.Conv2d) for module in model.modules()):
        layout = torch.contiguous_format if precision == "float32" else torch.channels_last
        return model.to(device, memory_format=layout)  # type: ignore[call-overload, no-any-return]
    return model.to(device)


def choose_threads(config: Config, own_model: object | None = None) -> int | None:
    """Return `config.threads`; if unset, 1 if all layers are small, else None (torch's default, also for `own_model`).

    Threads synchronize after each operation. For small operations that costs as much as they save, and many times more
    while other programs are busy.
    """
    if config.threads is not None or own_model is not None:
        return config.threads
    makes_images = config.data.augment is not None or config.data.simulate.added(1000) > 0
    layers = infer_shapes(expand(config.model), CLASSES)
    return None if makes_images or any(_needs_threads(layer, config.micro_batch) for layer in layers) else 1


def _needs_threads(info: LayerInfo, batch: int) -> bool:
    """Return whether several threads are faster for a layer."""
    large = info.parameters >= min(LARGE_LAYER, MIN_MULTIPLICATIONS / batch)
    return isinstance(info.layer, Conv) or large or any(_needs_threads(inner, batch) for inner in info.inner)


@contextmanager
def settings(
    config: Config, threads: int | None, device: torch.device | None = None, model: nn.Module | None = None
) -> Iterator[None]:
    """Apply torch's settings for `config` within a context: CPU threads, deterministic kernels, matmul backend.

    `threads` None keeps torch's default. Settings are restored on exit, and so are the states of torch's random
    generators on the CPU and on `device` (None: `config.device`). `model` is a user's model that `config` does not
    describe.
    """
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic
    generators = _generator_states(config.device if device is None else device.type)
    if threads is not None:
        torch.set_num_threads(threads)
    if config.deterministic and torch.cuda.is_available():
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.deterministic = True
    try:
        with fast_matmul(config, model):
            yield
    finally:
        torch.set_num_threads(before[0])
        if torch.are_deterministic_algorithms_enabled() != before[1]:  # the call would load the compiler
            torch.use_deterministic_algorithms(before[1])
        torch.backends.cudnn.deterministic = before[2]
        for restore, state in generators:
            restore(state)


def _generator_states(name: str) -> list[tuple[Callable[..., None], Any]]:
    """Return (restore function, current state) of each of torch's random generators. May initialize CUDA."""
    states: list[tuple[Callable[..., None], Any]] = [(torch.set_rng_state, torch.get_rng_state())]
    kind = name.partition(":")[0]
    if kind in ("auto", "cuda") and is_available("cuda") and device_error("cuda") is None:
        states.append((torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all()))
    if kind in ("auto", "mps") and is_available("mps") and device_error("mps") is None:
        states.append((torch.mps.set_rng_state, torch.mps.get_rng_state()))
    return states


def matmul_shapes(config: Config, model: nn.Module | None = None) -> set[tuple[int, int, int]]:
    """Return the shapes (rows, inner, columns) of all linear layers' matrix products with a training batch.

    These are the forward product and both backward products of each layer of `model`, else of the config. Dimensions
    are limited to `MAX_PROBED`, so that a model that is too large for the memory is still reported as such.
    """
    if model is None:
        with torch.device("meta"):  # without memory
            model = build_model(config.model, CLASSES)
    linear = (module for module in model.modules() if isinstance(module, nn.Linear))
    sizes = {(module.in_features, module.out_features) for module in linear}
    batch = config.micro_batch
    shapes = (shape for i, o in sizes for shape in ((batch, i, o), (batch, o, i), (o, batch, i)))
    return {(min(a, MAX_PROBED), min(b, MAX_PROBED), min(c, MAX_PROBED)) for a, b, c in shapes}


@contextmanager
def fast_matmul(config: Config, model: nn.Module | None = None) -> Iterator[None]:
    """Use oneDNN for float32 products within a context, on AMD CPUs with AVX-512, which MKL does not use.

    torch only calls oneDNN if rounding to bfloat16 is allowed. oneDNN rounds on CPUs with AMX; on others products stay
    float32, which is checked for all `matmul_shapes`. Has no effect unless the config's precision is auto.
    """
    has, backend = cpu_capabilities(), _matmul_settings()
    is_amd = str(has.get("cpu_name", "")).startswith("AMD") and bool(has.get("avx512_f"))
    if config.precision != "auto" or not is_amd or not all(map(_stays_float32, matmul_shapes(config, model))):
        yield
        return
    before, backend.fp32_precision = backend.fp32_precision, "bf16"
    try:
        yield
    finally:
        backend.fp32_precision = before


def matmul_backend() -> str:
    """Return the library that computes float32 products. The bits of a training depend on it."""
    return "oneDNN" if getattr(_matmul_settings(), "fp32_precision", None) == "bf16" else "torch's default"


def _matmul_settings() -> Any:
    """Return torch's settings of oneDNN's matrix products; None if this torch has none."""
    return getattr(torch.backends.mkldnn, "matmul", None)


@cache
def _stays_float32(shape: tuple[int, int, int]) -> bool:
    """Return whether oneDNN computes a product of this shape in float32 although it may round. Compares 16 rows."""
    rows, inner, columns = shape
    left = torch.linspace(0.5, 1.5, rows * inner).view(rows, inner)
    right = torch.linspace(1.5, 0.5, inner * columns).view(inner, columns)
    backend = _matmul_settings()
    before = getattr(backend, "fp32_precision", None)
    if before is None:  # this version of torch lacks the setting
        return False
    backend.fp32_precision = "bf16"
    try:
        product = left @ right
    finally:
        backend.fp32_precision = before
    return bool((product[:16] - left[:16].double() @ right.double()).abs().max() / inner < EXACT_ERROR)


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
    images = config.micro_batch * (1 if config.training.adversarial is None else 2)
    return Footprint(parameters, FLOAT * parameters * copies, FLOAT * values * images)


def _optimizer_copies(optimizer: AnyOptimizer) -> int:
    """Return how many values the optimizer keeps for each parameter."""
    if isinstance(optimizer, GradientDescent):
        return 0
    if isinstance(optimizer, Adam | Adagrad):
        return 2 if isinstance(optimizer, Adam) else 1
    return isinstance(optimizer, RmsProp) + (optimizer.momentum > 0)


def check_memory(needed: Footprint, device: torch.device, free: int | None = None) -> None:
    """Raise `DeviceError` if training cannot fit into `free` bytes; None: into the free memory of `device`."""
    free = available_memory(device) if free is None else free
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
