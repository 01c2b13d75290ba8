"""A process that has imported the package and forks sessions of `mnist-train`; `sessions.py` is its code.

A fork takes milliseconds, a new process seconds. The process of the tests itself is never forked.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LIMIT = {"after": 240.0}
"""Ends a session that hangs."""

PHASES = ("start-up", "epochs", "a state", "evaluation", "pictures")
"""The phases of a training. "a state": the state of the training is being written, during or after its epochs."""


@dataclass(frozen=True)
class SessionResult:
    """The end of a session: its exit code (negative: the signal), its output, and its events with their times."""

    code: int
    out: str
    err: str
    trace: list[str] = field(repr=False)

    @property
    def events(self) -> list[str]:
        """The counted system calls, each with the name of its file, and the beginnings of phases."""
        return [line.partition(" ")[2] for line in self.trace]

    @property
    def calls(self) -> list[str]:
        """The counted system calls."""
        return [what for what in self.events if not what.startswith("phase ")]

    @property
    def phase(self) -> str:
        """The phase in which it ended."""
        begun = [what.removeprefix("phase ") for what in self.events if what.startswith("phase ")]
        call, _, name = self.events[-1].partition(" ") if self.events else ("", "", "")
        is_writing = name.startswith((".last.pt.", ".best.pt.")) and call != "unlink"
        return "a state" if is_writing else begun[-1] if begun else PHASES[0]

    def seconds(self, phase: str) -> float:
        """Return the time at which a phase began, or the time of the last event if it did not begin."""
        times = {line.partition(" ")[2]: float(line.partition(" ")[0]) for line in reversed(self.trace)}
        return times.get(f"phase {phase}", float(self.trace[-1].split()[0]))


class Zygote:
    """The process, as a context manager that ends it."""

    def __enter__(self) -> Zygote:
        path = os.pathsep.join([str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "sessions.py")],
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": path,
                "COLUMNS": "80",
                "TORCH_CPP_LOG_LEVEL": "ERROR",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        return self

    def __exit__(self, *error: object) -> None:
        self.process.communicate()

    def train(self, argv: Sequence[str], cwd: Path, **event: float | str | Sequence[str]) -> SessionResult:
        """Run `mnist-train` in the folder `cwd`. `event` is the kill or error, as described in `sessions.py`."""
        (result,) = self.train_together([argv], cwd, **event)
        return result

    def train_together(
        self, argvs: Sequence[Sequence[str]], cwd: Path, **event: float | str | Sequence[str]
    ) -> list[SessionResult]:
        """Run several trainings at the same time."""
        return self._run([{"argv": list(argv), "cwd": str(cwd), **event} for argv in argvs])

    def train_in_processes(
        self, count: int, argv: Sequence[str], cwd: Path, events: Mapping[int, Mapping[str, Any]] = {}
    ) -> list[SessionResult]:
        """Run one training in `count` processes, as `torchrun` does; `events` has those of some ranks.

        The others are killed after some minutes.
        """
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        shared = {"WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "lo"}
        requests = []
        for rank in range(count):
            environment = {key: str(value) for key, value in {**shared, "RANK": rank, "LOCAL_RANK": rank}.items()}
            requests.append(
                {"argv": list(argv), "cwd": str(cwd), "environment": environment, **events.get(rank, LIMIT)}
            )
        return self._run(requests)

    def _run(self, requests: Sequence[Mapping[str, Any]]) -> list[SessionResult]:
        """Run sessions at the same time."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{json.dumps(requests)}\n")
        self.process.stdin.flush()
        return [SessionResult(**result) for result in json.loads(self.process.stdout.readline())]
