"""Devices and precision: `mnist_trainer/model/device.py`. The machine is pretended, so that any one can be tested."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mnist_trainer.errors import DeviceError
from mnist_trainer.model.device import autocast, resolve_device, resolve_precision, settings, to_device

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda"), torch.device("mps")
LINEAR, CONVOLUTION = nn.Linear(2, 2), nn.Sequential(nn.Conv2d(2, 2, 3))
LARGE_LINEAR = nn.Linear(512, 512)


def pretend(monkeypatch: pytest.MonkeyPatch, cuda: int = 0, mps: bool = False) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("name", "cuda", "mps", "device"),
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
    monkeypatch: pytest.MonkeyPatch, name: str, cuda: int, mps: bool, device: str
) -> None:
    pretend(monkeypatch, cuda, mps)
    assert resolve_device(name) == torch.device(device)


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
        ("mps", 1, "device mps: there is no Apple GPU here. Use device: auto or cpu."),
    ],
)
def test_a_device_that_is_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, cuda: int, message: str
) -> None:
    pretend(monkeypatch, cuda)
    with pytest.raises(DeviceError) as caught:
        resolve_device(name)
    assert str(caught.value) == message


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
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has == "amx")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has == "avx512")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert resolve_precision("auto", device, model) == precision


def test_a_named_precision_is_taken_as_it_is() -> None:
    assert resolve_precision("bfloat16", CPU, LINEAR) == "bfloat16"
    assert resolve_precision("float16", CUDA, LINEAR) == "float16"


def test_products_run_in_the_precision_asked_for() -> None:
    inputs = torch.ones(1, 2)
    with autocast(CPU, "bfloat16"):
        assert LINEAR(inputs).dtype == torch.bfloat16
    with autocast(CPU, "float32"):
        assert LINEAR(inputs).dtype == torch.float32


def test_convolutions_lie_in_the_layout_they_are_fastest_in() -> None:
    weight = next(to_device(nn.Sequential(nn.Conv2d(2, 2, 3)), CPU).parameters())
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert to_device(LINEAR, CPU) is LINEAR


def test_settings_are_restored_also_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), settings(threads=before + 1, deterministic=True):
        assert torch.get_num_threads() == before + 1
        assert torch.are_deterministic_algorithms_enabled() and torch.backends.cudnn.deterministic
        _ = 1 / 0
    assert torch.get_num_threads() == before
    assert not torch.are_deterministic_algorithms_enabled() and not torch.backends.cudnn.deterministic


def test_by_default_settings_change_nothing() -> None:
    before = torch.get_num_threads()
    with settings(threads=None, deterministic=True):
        assert torch.get_num_threads() == before
        assert torch.are_deterministic_algorithms_enabled() == torch.cuda.is_available()
