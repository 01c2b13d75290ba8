"""Processes that train a model together: how they meet, tell each other values and errors, and end.

Started by `torchrun`, `mnist-train --processes` or a batch system, which set RANK, WORLD_SIZE, MASTER_ADDR and
MASTER_PORT. The engine is torch.distributed: gloo on CPUs, NCCL on GPUs.
"""

from __future__ import annotations

import os
import pickle
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from traceback import clear_frames
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from mnist_trainer.config.load import differences
from mnist_trainer.errors import DeviceError, TrainerError, UsageError
from mnist_trainer.files import is_alive

Value = TypeVar("Value")

JOIN_SECONDS = 60
"""How long a process waits for the others at the start."""

EXCHANGE_TIMEOUT = timedelta(minutes=30)
"""How long a process waits for a value of the others; they may be loading images."""

END_SECONDS = 20
"""How long the other processes wait for the first one to print an error before they exit."""

TELL_SECONDS = 3
"""How long the first process, whose end may end the store, waits until the others have read its error."""


@dataclass(frozen=True)
class Ranks:
    """The processes that train a model together. This one is number `rank` (from 0) of `size`, on one of `hosts`."""

    rank: int = 0
    size: int = 1
    hosts: int = 1
    local_rank: int = 0
    """The number of this process among those of its host."""

    def share(self, count: int, rank: int | None = None) -> range:
        """Return which of `count` items this process, or `rank`, works on: a run of neighbours."""
        number = self.rank if rank is None else rank
        return range(count * number // self.size, count * (number + 1) // self.size)

    def device(self, device: torch.device) -> torch.device:
        """Return the device of this process: each has a GPU of its own. Raises `UsageError` if there are too few."""
        if self.size == 1 or device.type == "cpu":
            return device
        count = torch.accelerator.device_count()
        if self.local_rank >= count:
            raise UsageError(
                f"Each process needs a GPU of its own, and a host has only {count}. Start {count}, or set device=cpu."
            )
        return torch.device(device.type, self.local_rank)

    def backend(self, device: torch.device) -> str | None:
        """Return the library that exchanges values between the processes."""
        return None if self.size == 1 else "nccl" if device.type == "cuda" else "gloo"


ALONE = Ranks()

KEPT = "What was saved before is kept."

_ranks = ALONE
_store: Any = None
"""The `torch.distributed.Store` through which the processes met."""


def current_ranks() -> Ranks:
    """Return the processes that this one has joined."""
    return _ranks


def join(seconds: float = JOIN_SECONDS) -> Ranks:
    """Meet the other processes. Raises `DeviceError` with the address if they don't come within `seconds`."""
    global _ranks, _store  # noqa: PLW0603 - torch's default process group is one of the process, too
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    timeout, names = timedelta(seconds=seconds), [f"joined/{number}" for number in range(size)]
    has_store = False
    try:
        store, _, _ = next(dist.rendezvous("env://", timeout=timeout))  # type: ignore[attr-defined]
        # torchrun keeps its store after a restart, with what the processes before have left in it
        _store = dist.PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)  # type: ignore[attr-defined]
        _store.set(names[rank], f"{socket.gethostname()} {os.getpid()}")
        has_store = True
        _store.wait(names, timeout)
    except RuntimeError as error:
        address = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        reason = (
            f"did not meet the others at {address} in time. Look whether all {size} were started, and whether this "
            "host can reach that address (MASTER_ADDR, MASTER_PORT)."
        )
        if "EADDRINUSE" in str(error):
            reason = f"can't listen at {address}: another program does. Choose another MASTER_PORT."
        lost = DeviceError(f"Process {rank} of {size} {reason}")
        lost.is_cut_off = not has_store
        raise lost from error
    hosts = len({_store.get(name).split()[0] for name in names})
    _ranks = Ranks(rank, size, hosts, int(os.environ.get("LOCAL_RANK", rank)))
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(_ranks.local_rank % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl"
    with lost_processes():
        dist.init_process_group(backend, store=_store, rank=rank, world_size=size, timeout=EXCHANGE_TIMEOUT)
    return _ranks


def leave(error: BaseException | None) -> None:
    """Leave the others, and tell them the `error` that ends this process, which they raise as well.

    After an error the first process, which has printed it, is the first to end: launchers then kill the others.
    """
    if _store is None or not dist.is_initialized():
        return
    with suppress(RuntimeError):
        is_news = error is not None and _tell(_from_rank(_portable(error), _ranks.rank))
        for each in _with_contexts(error):  # the frame of an exchange would keep the connections open
            clear_frames(each.__traceback__)
        dist.destroy_process_group()  # the others may be waiting for a value
        if error is None:
            return
        others = [f"left/{rank}" for rank in range(1, _ranks.size)]
        if _ranks.rank == 0:
            if is_news:
                _store.wait(others, timedelta(seconds=TELL_SECONDS))
            _store.set("ended", "")
        else:
            _store.set(f"left/{_ranks.rank}", "")
            _store.wait(["ended"], timedelta(seconds=END_SECONDS))


def _with_contexts(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, and those during whose handling it was raised."""
    while error is not None:
        yield error
        error = error.__context__


@contextmanager
def lost_processes() -> Iterator[None]:
    """If an exchange fails, raise the error that has ended another process; `DeviceError` if it is not known."""
    try:
        yield
    except RuntimeError as error:
        raise _failure() from error


def _failure() -> BaseException:
    """Return the error that has ended another process, and tell it to all if that process could not."""
    with suppress(RuntimeError, OSError):
        for _ in range(20):  # a process that was killed exists until its parent has noticed
            for rank in range(_ranks.size):
                host, pid = _store.get(f"joined/{rank}").decode().split()
                if host == socket.gethostname() and not is_alive(int(pid)):
                    killed = f"Process {rank} of {_ranks.size} (process ID {pid}) was killed, or has failed."
                    _tell(DeviceError(f"{killed} {KEPT}"))
                    if rank == 0:
                        _store.set("ended", "")  # torchrun keeps the store of a first process that is dead
            if _store.check(["failure"]):
                return pickle.loads(_store.get("failure"))  # type: ignore[no-any-return]
            time.sleep(0.1)
    return DeviceError(f"Another process of this training has ended, or can't be reached. {KEPT}")


def _tell(error: BaseException) -> bool:
    """Keep an error for `_failure` in all processes. Return false if there is one already, which stays."""
    told = pickle.dumps(error)
    return bool(_store.compare_set("failure", "", told) == told)


def gather(value: Value) -> list[Value]:
    """Return the values of all processes."""
    values: list[Any] = [value] * _ranks.size
    if _ranks.size > 1:
        with lost_processes():
            dist.all_gather_object(values, value)
    return values


@contextmanager
def agreed() -> Iterator[None]:
    """Raise in all processes the error of the first one whose block raises one. All wait for each other at its end.

    A process that is interrupted does not wait: it may be within an exchange already.
    """
    own: BaseException | None = None
    try:
        yield
    except Exception as error:
        own = error
    for rank, first in enumerate(gather(own and _portable(own))):
        if first is not None:
            raise (own if own is not None and rank == _ranks.rank else _from_rank(first, rank))


def _portable(error: BaseException) -> BaseException:
    """Return a copy of an error that another process can load, without its notes."""
    try:
        copy: BaseException = pickle.loads(pickle.dumps(error))
    except Exception:  # an error of any library, which defines what can fail here
        return TrainerError(f"{type(error).__name__}: {error}")
    vars(copy).pop("__notes__", None)
    return copy


def _from_rank(error: BaseException, rank: int) -> BaseException:
    """Return an error of process `rank`, as the others raise it; if it is not the first one, the text names it."""
    if rank and isinstance(error, TrainerError):
        error.args = (f"Process {rank} of {_ranks.size}: {error}",)
    return error


def from_first(function: Callable[[], Value]) -> Value:
    """Return what `function` returns in the first process, which alone calls it. An error is raised in all."""
    values: list[Any] = [None]
    with agreed():
        if _ranks.rank == 0:
            values[0] = function()
    if _ranks.size > 1:
        with lost_processes():
            dist.broadcast_object_list(values)
    return values[0]  # type: ignore[no-any-return]


@contextmanager
def first_of_host_first() -> Iterator[None]:
    """Run the block in the first process of each host, then in the others, which find the files that it has written."""
    own: BaseException | None = None
    if _ranks.local_rank > 0:
        gather(None)
    try:
        yield
    except Exception as error:
        own = error
    if _ranks.local_rank == 0:
        gather(None)
    if own is not None:
        raise own


def check_same(facts: Mapping[str, Any]) -> None:
    """Raise `UsageError` in all processes if one has other `facts`: versions, keys of the config, or images."""
    first, *others = gather(dict(facts))
    for rank, other in enumerate(others, start=1):
        for difference in differences(first, other):
            raise UsageError(
                f"All processes must have the same versions, config and images, but {difference.key} is "
                f"{difference.first} in process 0 and {difference.second} in process {rank}."
            )
