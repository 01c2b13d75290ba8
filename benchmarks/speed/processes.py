"""Whole processes: seconds until a command and all its children have ended, their CPU time and their memory."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

ROOT = Path(__file__).parents[2]
UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes in the unit of ru_maxrss."""
BECOME_SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER of Linux's prctl.h: children whose parent has ended become ours, so that they can be waited
for."""
SAMPLING = 0.02
"""Seconds between two looks at the memory of a process and its children."""


@dataclass(frozen=True)
class Spent:
    """What one command took."""

    seconds: float
    """From its start until the last of its children has ended."""
    cpu_seconds: float
    """Of all of them, user and system."""
    peak_mb: float
    """The largest amount that one of them held, in 10⁶ bytes."""
    code: int
    output: str
    together_mb: float = 0.0
    """The largest sum that they held at one moment, sampled; pages that they share count once."""

    @property
    def summary(self) -> Any:
        """The JSON object that the command printed at its end; libraries may have more to say behind it."""
        return json.loads(next(line for line in reversed(self.output.splitlines()) if line.startswith("{")))


def ours(command: str, *arguments: str) -> list[str]:
    """One of this trainer's commands, as its console script calls it: `ours("train", "--config", "lecture")`."""
    return [*python(f"from mnist_trainer.cli.start import {command}; {command}()"), *arguments]


def python(code: str) -> list[str]:
    """A Python process that runs `code`."""
    return [sys.executable, "-c", code]


def spend(
    command: Sequence[str], *, expect: int = 0, watch: bool = False, env: Mapping[str, str] | None = None
) -> Spent:
    """Runs `command` to its very end. Raises RuntimeError with its output if it ends with another code than `expect`.

    The process that asks must have no other children: it waits for all that it has. Modules are compiled once and kept,
    as they are wherever a package is installed, whatever this process was told about that.

    `watch` samples what all its processes hold together, which costs some time.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(BECOME_SUBREAPER, 1, 0, 0, 0)
    with tempfile.TemporaryFile() as output:
        environment = {**(os.environ if env is None else env)}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        started = perf_counter()
        # The shell's place: a file takes all output at once, and nobody has to read a pipe meanwhile.
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT, env=environment
        )
        watcher = Watcher() if watch and sys.platform == "linux" else None
        code, cpu, peak = _wait_for_all(process.pid)
        seconds = perf_counter() - started
        process.returncode = code  # it has been waited for
        together = max(peak, watcher.stop()) if watcher else peak
        output.seek(0)
        text = output.read().decode(errors="replace")
    if code != expect:
        raise RuntimeError(f"{' '.join(command)} ended with code {code}:\n{text[-3000:]}")
    return Spent(seconds, cpu, peak, code, text, together)


def _wait_for_all(leader: int) -> tuple[int, float, float]:
    """The exit code of `leader`, CPU seconds of all, and the largest peak, once no child is left."""
    code, cpu, peak = 0, 0.0, 0.0
    while True:
        try:
            pid, status, used = os.wait4(-1, 0)
        except ChildProcessError:
            return code, cpu, peak
        cpu += used.ru_utime + used.ru_stime  # with the children that it waited for itself
        peak = max(peak, used.ru_maxrss * UNIT / 1e6)
        if pid == leader:
            code = os.waitstatus_to_exitcode(status)


class Watcher(threading.Thread):
    """Samples how much all descendants of this process hold together."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak, self.stopped = 0.0, threading.Event()
        self.start()

    def run(self) -> None:
        while not self.stopped.wait(SAMPLING):
            self.peak = max(self.peak, sum(map(_share_mb, _descendants(os.getpid()))))

    def stop(self) -> float:
        """The largest sum, in 10⁶ bytes."""
        self.stopped.set()
        self.join()
        return self.peak


def _descendants(pid: int) -> Iterator[int]:
    """Children, their children, …; those whose parent has ended are this process's own by now."""
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:
            continue  # it has ended
        for child in map(int, children):
            yield child
            yield from _descendants(child)


def _share_mb(pid: int) -> float:
    """What a process holds, in 10⁶ bytes, pages that several hold divided among them; 0 once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("Pss:"))
