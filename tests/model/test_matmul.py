"""float32 products by the faster library stay float32."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from mnist_trainer.config.schema import Config
from mnist_trainer.model import device
from mnist_trainer.model.build import build_model
from mnist_trainer.model.device import EXACT_ERROR, fast_matmul, matmul_shapes, settings

SETTING = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]


def error(rows: int, inner: int, columns: int) -> float:
    """The largest of a product of positive numbers below 1, by their length."""
    generator = torch.Generator().manual_seed(0)
    left = torch.rand(rows, inner, generator=generator)
    right = torch.rand(inner, columns, generator=generator)
    return float((left @ right - left.double() @ right.double()).abs().max() / inner)


def config(precision: str = "auto") -> Config:
    return Config.model_validate({"model": {"architecture": "neuron"}, "precision": precision})


@pytest.mark.parametrize("shape", [(1, 784, 64), (256, 784, 64), (64, 256, 784), (256, 64, 10), (1000, 784, 1200)])
def test_products_are_as_exact_as_float32_is(shape: tuple[int, int, int]) -> None:
    with fast_matmul(config()):
        assert error(*shape) < EXACT_ERROR


def test_what_is_rounded_to_bfloat16_would_be_noticed() -> None:
    numbers = torch.rand(256, 784, generator=torch.Generator().manual_seed(0))
    rounded = numbers.bfloat16().float()
    product = rounded @ rounded[:64].t() - numbers.double() @ numbers[:64].double().t()
    assert product.abs().max() / 784 > 10 * EXACT_ERROR


@pytest.fixture
def amd(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A CPU of AMD's, whose products have not been looked at yet."""
    monkeypatch.setattr(
        torch.cpu, "get_capabilities", lambda: {"cpu_name": "AMD EPYC", "avx512_f": True}, raising=False
    )
    device._stays_float32.cache_clear()
    yield monkeypatch
    device._stays_float32.cache_clear()  # other tests look for themselves


def test_the_setting_is_the_users_again_afterwards(amd: pytest.MonkeyPatch) -> None:
    amd.setattr(device, "EXACT_ERROR", 1.0)
    before = SETTING.fp32_precision
    with fast_matmul(config()):
        assert SETTING.fp32_precision == "bf16"
    assert SETTING.fp32_precision == before


def test_they_are_as_torch_makes_them_where_that_is_wanted(amd: pytest.MonkeyPatch) -> None:
    amd.setattr(device, "EXACT_ERROR", 1.0)
    with settings(config("auto"), None):
        assert device.matmul_backend() == "oneDNN"
    with settings(config("float32"), None):
        assert device.matmul_backend() == "torch's default"


@pytest.mark.parametrize("cpu", [{}, {"cpu_name": "Intel Xeon", "avx512_f": True}, {"cpu_name": "AMD EPYC"}])
def test_other_cpus_are_left_to_torch(amd: pytest.MonkeyPatch, cpu: dict[str, object]) -> None:
    amd.setattr(torch.cpu, "get_capabilities", lambda: cpu)
    before = SETTING.fp32_precision
    with fast_matmul(config()):
        assert SETTING.fp32_precision == before


def test_a_cpu_that_would_round_is_left_to_torch(amd: pytest.MonkeyPatch) -> None:
    amd.setattr(device, "EXACT_ERROR", 0.0)  # nothing is as exact as that
    before = SETTING.fp32_precision
    with fast_matmul(config()):
        assert SETTING.fp32_precision == before


def test_a_torch_without_the_setting_is_left_alone(amd: pytest.MonkeyPatch) -> None:
    amd.setattr(device, "_matmul_settings", lambda: None)
    with fast_matmul(config()):
        assert device.matmul_backend() == "torch's default"


def test_the_products_of_all_linear_layers_are_checked() -> None:
    whole = Config.model_validate(
        {"model": {"architecture": "mlp", "hidden": [64], "activation": "maxout"}, "data": {"batch_size": 50}}
    )
    shapes = {(50, 784, 128), (50, 128, 784), (128, 50, 784), (50, 64, 10), (50, 10, 64), (10, 50, 64)}
    assert matmul_shapes(whole) == shapes
    assert matmul_shapes(whole, build_model(whole.model, 10)) == shapes
    assert matmul_shapes(whole, nn.Sequential(nn.Linear(5000, 3))) == {(50, 2048, 3), (50, 3, 2048), (3, 50, 2048)}
