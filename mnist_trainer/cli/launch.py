"""One training in several processes: `mnist-train --processes` starts them, as `torchrun` and batch systems do."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import inf
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import typer

from mnist_trainer.cli.common import (
    STOP_SIGNALS,
    handle_signals,
    on_stop_signals,
    print_error,
    require,
    world_size,
)
from mnist_trainer.errors import DeviceError, InterruptedRunError, UsageError

if TYPE_CHECKING:
    from mnist_trainer.config.schema import Config

GRACE_SECONDS = 10
"""How long the other processes may take to end after one has failed, before they are killed."""

POLL_SECONDS = 0.05

LASTING_ERRORS = ("ConfigError", "UsageError", "DataError", "CheckpointError", "DivergedError")
"""Errors that come again if a run is started again."""


@contextmanager
def left_together() -> Iterator[None]:
    """After the block, leave the processes that `joined` has met, and tell them the error that `handle_errors` printed.

    Does nothing if torch was not imported, or its import was interrupted.
    """
    error: BaseException | None = None
    try:
        yield
    except BaseException as end:
        error = end.__cause__ or end
        raise
    finally:
        if (distributed := sys.modules.get("mnist_trainer.training.distributed")) is not None:
            distributed.leave(error)


@contextmanager
def joined(processes: int | None) -> Iterator[None]:
    """Before the block, meet the processes that were started with this one, if any; `processes` is the option.

    Until they have met, a signal has its default action: it ends this process, also while torch waits for the others.
    """
    if world_size() > 1:
        from mnist_trainer.reports.callbacks import Callback
        from mnist_trainer.training.distributed import join

        require({f"--processes {processes}: this is one of {world_size()} already.": processes in (None, world_size())})
        join()
        handle_signals(Callback())
    yield


@contextmanager
def agreed_if_together() -> Iterator[None]:
    """Raise an error of the block in all processes, if there are several."""
    if world_size() == 1:
        yield
        return
    from mnist_trainer.training.distributed import agreed

    with agreed():
        yield


def start_processes(processes: int | None, config: Config | None = None) -> None:
    """Continue in several processes, if the option `--processes` says so and this is not one of them.

    Raises `ConfigError` if they can't share the batches of `config`.
    """
    if world_size() > 1 or processes in (None, 1):
        return
    from mnist_trainer.config.checks import check_divides

    if config is not None:
        check_divides(config, processes)
    launch(processes)


def restarted_run(run_dir: Path | None) -> str | None:
    """Return the run to continue if `torchrun --max-restarts` has started this process again, else None.

    The process that locked it, on whichever host, was ended by torchrun before.
    Raises `UsageError` without `--run-dir`, because a new folder would be made each time, and for a run that has failed
    by its config or data, because it would fail again.
    """
    if world_size() == 1 or int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) == 0:
        return None
    if run_dir is None:
        raise UsageError(
            "To go on after a restart (torchrun --max-restarts) the run needs a folder: add --run-dir DIR."
        )
    from mnist_trainer.storage.run_folder import RunFolder, holds_run
    from mnist_trainer.training.distributed import from_first

    def holds_killed_run() -> bool:
        """Return whether the folder holds a run. Raises `UsageError` for one that would fail again."""
        record = RunFolder(run_dir).read_record()
        reason = str(record.get("stop_reason"))
        if record.get("status") == "failed" and reason in LASTING_ERRORS:
            *_, said = ["", *(run_dir / "log.txt").read_text(encoding="utf-8").splitlines()]
            raise UsageError(f"{run_dir} is not continued after a restart: it would fail again: {reason}, {said}")
        return holds_run(run_dir)

    return str(run_dir) if from_first(holds_killed_run) else None


def launch(processes: int) -> NoReturn:
    """Run this command in several processes of this machine, and exit with the code of the first one.

    Signals are passed on. If a process fails, the others notice it and end; those that don't are killed.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    environment = {"OMP_NUM_THREADS": "1", **os.environ, **{key: str(value) for key, value in shared.items()}}
    if sys.platform == "linux":
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo")
    command = [sys.executable, "-m", "mnist_trainer", "train", *sys.argv[1:]]
    children: list[subprocess.Popen[bytes]] = []
    passed_on: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:
        """Send a signal to all processes, and keep it for those that are started later."""
        passed_on.append(number)
        for child in children:
            child.send_signal(number)

    on_stop_signals(forward)  # before there is a process that would miss the signal
    try:
        for rank in range(processes):
            ranks = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            # a session of its own, so that the terminal sends Ctrl-C to this process alone
            children.append(subprocess.Popen(command, env={**environment, **ranks}, start_new_session=True))
            if passed_on:
                children[-1].send_signal(passed_on[-1])  # it may have come before the process was in the list
                break
        failed = wait_for(children)
    finally:
        for child in children:
            child.kill()
            child.wait()
    raise typer.Exit(exit_code([child.returncode for child in children], failed))


def wait_for(children: Sequence[subprocess.Popen[bytes]]) -> int | None:
    """Wait until all have ended, or `GRACE_SECONDS` after one has failed; return the number of that one, if any."""
    failed: int | None = None
    end = inf
    while any(child.poll() is None for child in children) and time.monotonic() < end:
        if failed is None and (failed := first_failed([child.returncode for child in children])) is not None:
            end = time.monotonic() + GRACE_SECONDS
        time.sleep(POLL_SECONDS)
    return first_failed([child.returncode for child in children]) if failed is None else failed


def first_failed(codes: Sequence[int | None]) -> int | None:
    """Return the number of the first process that has ended with another exit code than 0."""
    return next((number for number, code in enumerate(codes) if code), None)


def exit_code(codes: Sequence[int], failed: int | None) -> int:
    """Return the exit code of all processes: that of the first one, which has printed the reason.

    If it was killed, a reason is printed here: `failed` is the process that failed first.
    """
    if failed is None or codes[0] > 0:
        return codes[0]
    if (stopped := stop_code(codes[failed])) is not None:
        print_error("Stopped.")
        return stopped
    how = signal.Signals(-codes[failed]).name if codes[failed] < 0 else f"exit code {codes[failed]}"
    print_error(f"Process {failed} of {len(codes)} has ended with {how}. What was saved before is kept (--resume).")
    return DeviceError.exit_code


def stop_code(code: int) -> int | None:
    """Return 130 or 143 if a process with this exit code was stopped, or ended by the signal itself; else None."""
    stopped, terminated = InterruptedRunError.exit_code, InterruptedRunError.terminated_exit_code
    if code in (stopped, terminated):
        return code
    if code < 0 and signal.Signals(-code).name in STOP_SIGNALS:
        return stopped if code == -signal.SIGINT else terminated
    return None
