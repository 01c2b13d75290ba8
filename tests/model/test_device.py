"""Devices and precision: `mnist_trainer/model/device.py`. The machine is pretended, so that any one can be tested."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import nn

from mnist_trainer.config.schema import Config
from mnist_trainer.errors import DeviceError
from mnist_trainer.model import device
from mnist_trainer.model.device import (
    autocast,
    resolve_device,
    resolve_precision,
    settings,
    skipped_device,
    to_device,
    visible_gpus,
)

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda"), torch.device("mps")
LINEAR, CONVOLUTION = nn.Linear(2, 2), nn.Sequential(nn.Conv2d(2, 2, 3))
LARGE_LINEAR = nn.Linear(512, 512)


def pretend(monkeypatch: pytest.MonkeyPatch, cuda: int = 0, mps: bool = False) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(device, "device_error", lambda name: None)
    monkeypatch.setattr(device, "_WARNINGS", {})


@pytest.mark.parametrize(
    ("name", "cuda", "mps", "expected"),
    [
        ("auto", 0, False, "cpu"),
        ("auto", 1, False, "cuda"),
        ("auto", 0, True, "mps"),
        ("auto", 2, True, "cuda"),
        ("cpu", 2, True, "cpu"),
        ("cuda:1", 2, False, "cuda:1"),
        ("mps", 0, True, "mps"),
    ],
)
def test_the_device_a_name_stands_for(
    monkeypatch: pytest.MonkeyPatch, name: str, cuda: int, mps: bool, expected: str
) -> None:
    pretend(monkeypatch, cuda, mps)
    assert resolve_device(name) == torch.device(expected)


def test_the_gpus_among_which_runs_are_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    pretend(monkeypatch)
    assert visible_gpus("auto") == []
    pretend(monkeypatch, cuda=3)
    assert visible_gpus("auto") == visible_gpus("cuda") == ["0", "1", "2"]
    assert visible_gpus("cpu") == visible_gpus("cuda:1") == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-ab,2")
    assert visible_gpus("auto") == ["5", "GPU-ab", "2"]


@pytest.mark.parametrize(
    ("name", "cuda", "message"),
    [
        (
            "cuda",
            0,
            "device cuda: there is no CUDA device here. Use device: auto or cpu (on the command line: --device cpu).",
        ),
        (
            "cuda:2",
            2,
            "device cuda:2: there are 2, cuda:0 to cuda:1. "
            "Use device: auto or cpu (on the command line: --device cpu).",
        ),
        (
            "cuda:7",
            1,
            "device cuda:7: there is 1, cuda:0. Use device: auto or cpu (on the command line: --device cpu).",
        ),
        (
            "mps",
            1,
            "device mps: there is no Apple GPU here. Use device: auto or cpu (on the command line: --device cpu).",
        ),
    ],
)
def test_a_device_that_is_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, cuda: int, message: str
) -> None:
    pretend(monkeypatch, cuda)
    with pytest.raises(DeviceError) as caught:
        resolve_device(name)
    assert str(caught.value) == message


TOO_OLD = (
    "CUDA initialization: The NVIDIA driver on your system is too old (found version 11040). Please update your GPU "
    "driver by downloading and installing a new version from the URL: http://www.nvidia.com/Download/index.aspx"
)
ADVICE = "Use device: auto or cpu (on the command line: --device cpu)."


def test_a_simulated_old_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)

    def is_available() -> bool:
        warnings.warn(TOO_OLD, stacklevel=1)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", is_available)
    assert resolve_device("auto") == CPU
    reason = "CUDA initialization: The NVIDIA driver on your system is too old (found version 11040)"
    assert skipped_device("auto") == f"cuda can't be used: {reason}. The CPU is taken"
    with pytest.raises(DeviceError) as caught:
        resolve_device("cuda")
    assert str(caught.value) == f"device cuda: there is no CUDA device here that can be used: {reason}. {ADVICE}"


def test_a_torch_without_cuda_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(DeviceError) as caught:
        resolve_device("cuda")
    reason = "there is no CUDA device here that this torch could use: it was built without CUDA"
    assert str(caught.value) == f"device cuda: {reason}. {ADVICE}"
    assert skipped_device("auto") is None  # nobody asked for one


class Ones:
    """What `torch.ones(2, 2)` is on a device that calculates `total`, or fails."""

    def __init__(self, total: float | Exception) -> None:
        self.total = total

    def __matmul__(self, other: Ones) -> Ones:
        if isinstance(self.total, Exception):
            raise self.total
        return self

    def sum(self) -> float:
        assert not isinstance(self.total, Exception)
        return self.total


@pytest.mark.parametrize(
    ("total", "reason"),
    [
        (
            torch.AcceleratorError(
                "CUDA error: no kernel image is available for execution on the device\nSearch for `cudaErrorNoKernel'"
            ),
            "CUDA error: no kernel image is available for execution on the device "
            "(the card is too old, or too new, for this torch)",
        ),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB."), "CUDA out of memory"),
        (AssertionError(), "AssertionError"),
        (7.5, "it says that 2·2·2 is 7.5"),
    ],
)
@pytest.mark.parametrize("name", ["cuda", "cuda:1", "mps"])
def test_a_simulated_device_that_can_not_compute_is_found_by_a_small_calculation(
    monkeypatch: pytest.MonkeyPatch, name: str, total: float | Exception, reason: str
) -> None:
    small_calculation = device.device_error.__wrapped__
    pretend(monkeypatch, cuda=0 if name == "mps" else 2, mps=name == "mps")
    monkeypatch.setattr(device, "device_error", small_calculation)
    monkeypatch.setattr(torch, "ones", lambda *size, device: Ones(total))
    with pytest.raises(DeviceError) as caught:
        resolve_device(name)
    assert str(caught.value) == f"device {name} can't be used: {reason}. {ADVICE}"
    assert resolve_device("auto") == CPU
    kind = name.partition(":")[0]
    assert skipped_device("auto") == f"{kind} can't be used: {reason}. The CPU is taken"
    assert skipped_device(name) is skipped_device("cpu") is None


def test_a_simulated_broken_card_leaves_the_next_kind_to_auto(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, cuda=1, mps=True)
    monkeypatch.setattr(device, "device_error", lambda name: "broken" if name == "cuda" else None)
    assert resolve_device("auto") == MPS
    assert skipped_device("auto") is None


def test_the_calculation_is_right_on_a_cpu_and_never_made_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device.device_error("cpu") is None
    pretend(monkeypatch)
    monkeypatch.setattr(device, "device_error", lambda name: "asked")
    assert resolve_device("cpu") == resolve_device("auto") == CPU


def test_float16_is_refused_on_a_cpu() -> None:
    with pytest.raises(DeviceError) as caught:
        resolve_precision("float16", CPU, LINEAR)
    assert str(caught.value) == "precision float16 is for GPUs; on a CPU use bfloat16 or float32."


@pytest.mark.parametrize(
    ("model", "device", "has", "capability", "precision"),
    [
        (CONVOLUTION, CPU, "amx", (0, 0), "bfloat16"),
        (CONVOLUTION, CPU, "avx512", (0, 0), "bfloat16"),
        (CONVOLUTION, CPU, "neither", (0, 0), "float32"),
        (LINEAR, CPU, "amx", (0, 0), "float32"),
        (LARGE_LINEAR, CPU, "avx512", (0, 0), "bfloat16"),
        (LARGE_LINEAR, CPU, "neither", (0, 0), "float32"),
        (CONVOLUTION, CUDA, "neither", (8, 0), "bfloat16"),
        (CONVOLUTION, CUDA, "amx", (7, 5), "float32"),
        (LINEAR, CUDA, "neither", (9, 0), "float32"),
        (LARGE_LINEAR, CUDA, "neither", (9, 0), "bfloat16"),
        (CONVOLUTION, MPS, "amx", (0, 0), "float32"),
    ],
)
def test_auto_precision_follows_from_the_hardware_and_the_model(
    monkeypatch: pytest.MonkeyPatch,
    model: nn.Module,
    device: torch.device,
    has: str,
    capability: tuple[int, int],
    precision: str,
) -> None:
    has_set = {"amx_tile": has == "amx", "avx512_bf16": has == "avx512"}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has_set)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert resolve_precision("auto", device, model) == precision


def test_auto_precision_is_float32_where_torch_cannot_tell_what_the_cpu_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert resolve_precision("auto", CPU, CONVOLUTION) == "float32"


def test_a_named_precision_is_taken_as_it_is() -> None:
    assert resolve_precision("bfloat16", CPU, LINEAR) == "bfloat16"
    assert resolve_precision("float16", CUDA, LINEAR) == "float16"


def test_products_run_in_the_precision_asked_for() -> None:
    inputs = torch.ones(1, 2)
    with autocast(CPU, "bfloat16"):
        assert LINEAR(inputs).dtype == torch.bfloat16
    with autocast(CPU, "float32"):
        assert LINEAR(inputs).dtype == torch.float32


@pytest.mark.parametrize(
    ("precision", "layout"),
    [
        ("float32", torch.contiguous_format),
        ("bfloat16", torch.channels_last),
        ("float16", torch.channels_last),
    ],
)
def test_convolutions_lie_in_a_layout_that_is_exact_in_float32(precision: Any, layout: torch.memory_format) -> None:
    for before in (torch.contiguous_format, torch.channels_last):
        model = nn.Sequential(nn.Conv2d(2, 2, 3)).to(memory_format=before)  # type: ignore[call-overload]
        assert next(to_device(model, CPU, precision).parameters()).is_contiguous(memory_format=layout)
    assert to_device(LINEAR, CPU, precision) is LINEAR


DETERMINISTIC = Config.model_validate({"model": {"architecture": "neuron"}, "deterministic": True})


def test_settings_are_restored_also_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), settings(DETERMINISTIC, before + 1):
        assert torch.get_num_threads() == before + 1
        assert torch.are_deterministic_algorithms_enabled() and torch.backends.cudnn.deterministic
        _ = 1 / 0
    assert torch.get_num_threads() == before
    assert not torch.are_deterministic_algorithms_enabled() and not torch.backends.cudnn.deterministic


def test_the_random_generators_are_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, cuda=2, mps=True)
    states = {"cuda": ["first", "second"], "mps": "third"}
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: states["cuda"])
    monkeypatch.setattr(torch.cuda, "set_rng_state_all", lambda state: states.update(cuda=state))
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: states["mps"])
    monkeypatch.setattr(torch.mps, "set_rng_state", lambda state: states.update(mps=state))
    before = torch.get_rng_state()
    for name, there in (("auto", None), ("cuda:1", None), ("cpu", CUDA), ("mps", None), ("cpu", MPS)):
        config = DETERMINISTIC.model_copy(update={"device": name, "deterministic": False})
        with pytest.raises(ZeroDivisionError), settings(config, None, there):
            torch.default_generator.manual_seed(1)
            kinds = ("cuda", "mps") if name == "auto" else (name[:4] if there is None else there.type,)
            states.update(dict.fromkeys(kinds, "changed"))
            _ = 1 / 0
        assert torch.equal(torch.get_rng_state(), before)
        assert states == {"cuda": ["first", "second"], "mps": "third"}


def test_by_default_settings_change_nothing() -> None:
    before = torch.get_num_threads()
    with settings(DETERMINISTIC, None):
        assert torch.get_num_threads() == before
        assert torch.are_deterministic_algorithms_enabled() == torch.cuda.is_available()
