"""Memory that is there: `mnist_trainer/data/image_dataset.py`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mnist_trainer.data import image_dataset
from mnist_trainer.data.image_dataset import MEMORY_FRACTION, available_memory, too_large

CPU = torch.device("cpu")


def control_group(folder: Path, limit: str) -> Path:
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text("700\n")
    (folder / "memory.stat").write_text("anon 400\nfile 300\ninactive_file 250\nactive_file 50\n")
    return folder


def test_a_container_has_what_its_limit_leaves_and_cached_files_give_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(image_dataset, "CONTROL_GROUP", control_group(tmp_path, "1000"))
    assert available_memory(CPU) == available_memory() == 1000 - 700 + 250


@pytest.mark.parametrize("limit", ["max", None])
def test_without_a_limit_the_systems_memory_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, limit: str | None
) -> None:
    folder = control_group(tmp_path, limit) if limit else tmp_path
    monkeypatch.setattr(image_dataset, "CONTROL_GROUP", folder)
    monkeypatch.setattr(image_dataset, "_system_memory", lambda: 123)
    assert available_memory(CPU) == 123


def test_this_machine_says_how_much_memory_it_has() -> None:
    there = available_memory(CPU)
    assert there is None or 10_000_000 < there < 10**15


def test_a_gpu_is_asked_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (5, 8))
    assert available_memory(torch.device("cuda")) == 5


@pytest.mark.parametrize("device", [None, CPU, torch.device("cuda")])
def test_more_than_the_share_of_what_can_be_had_is_too_large(
    device: torch.device | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (4000, 10**9))
    monkeypatch.setattr(image_dataset, "_system_memory", lambda: 10**9)
    monkeypatch.setattr(image_dataset, "_cgroup_memory", lambda: 4000)
    assert not too_large(int(4000 * MEMORY_FRACTION), device) and too_large(int(4000 * MEMORY_FRACTION) + 1, device)


def test_where_nobody_knows_how_much_there_is_nothing_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_dataset, "available_memory", lambda _: None)
    assert not too_large(10**18)
