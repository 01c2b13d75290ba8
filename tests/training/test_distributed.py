"""Processes that meet: time-outs with the address, and one device for each."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
import torch
import torch.distributed as dist

from mnist_trainer.errors import DeviceError, UsageError
from mnist_trainer.training import distributed
from mnist_trainer.training.distributed import Ranks, check_same, join


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_can_not_reach_the_others_names_the_address(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    for name, value in {"RANK": str(rank), "WORLD_SIZE": "2", **address}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(distributed, "_store", None)
    said = rf"Process {rank} of 2 did not meet the others at 127\.0\.0\.1:{port} in time"
    with pytest.raises(DeviceError, match=said) as lost:
        join(seconds=0.5)
    assert lost.value.is_cut_off  # so that it prints the error itself


def test_a_port_that_another_program_has_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "_store", None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        for name, value in {"RANK": "0", "WORLD_SIZE": "2", **address}.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(
            DeviceError, match=rf"Process 0 of 2 can't listen at 127\.0\.0\.1:{port}: another program does"
        ):
            join(seconds=0.5)


def test_nobody_waits_for_a_first_process_that_was_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchrun keeps the store. The others raise the same error, whichever of them has found the process dead."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    store = dist.HashStore()  # type: ignore[attr-defined]
    for rank, pid in enumerate((dead.pid, os.getpid(), os.getpid())):
        store.set(f"joined/{rank}", f"{socket.gethostname()} {pid}")
    monkeypatch.setattr(distributed, "_store", store)
    monkeypatch.setattr(distributed, "_ranks", Ranks(1, 3))
    for _ in range(2):
        with pytest.raises(DeviceError, match=r"^Process 0 of 3 "), distributed.lost_processes():
            raise RuntimeError("Connection closed by peer")
    assert store.check(["ended"])


def test_each_process_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    assert [Ranks(rank, 4, 2, rank % 2).device(cuda).index for rank in range(4)] == [0, 1, 0, 1]
    assert Ranks(3, 4, 1, 3).device(cpu) == cpu
    with pytest.raises(UsageError, match=r"and a host has only 2\. Start 2, or set device=cpu\."):
        Ranks(2, 3, 1, 2).device(cuda)


@pytest.mark.parametrize(("key", "other"), [("optimizer.lr", 0.2), ("torch", "2.12")])
def test_all_processes_have_the_same_config_and_versions(
    key: str, other: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = {"optimizer.lr": 0.1, "torch": "2.11"}
    monkeypatch.setattr(distributed, "gather", lambda value: [value, value, {**value, key: other}])
    with pytest.raises(UsageError, match=rf"{key} is {facts[key]} in process 0 and {other} in process 2"):
        check_same(facts)
