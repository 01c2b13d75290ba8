"""A process that has imported the program once and forks sessions of `mnist-train`: see `faults.py`.

A fork takes milliseconds where a new process takes seconds; and the process that asks need not fork itself.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Ended:
    """How a session ended: its exit code (negative: the signal), what it printed, and the calls that it made."""

    code: int
    out: str
    err: str
    trace: list[str]

    @property
    def calls(self) -> list[str]:
        """The calls that count, each with the name of its file."""
        return [told for told in self.trace if not told.startswith("phase ")]

    @property
    def phase(self) -> str:
        """What it was at when it ended: a phase, or `a state` while one was being written."""
        for told in reversed(self.trace):
            call, _, name = told.partition(" ")
            if call == "phase":
                return name
            if name.startswith((".last.pt.", ".best.pt.")):
                return "writing a state" if call != "unlink" else self._phase()
        return "start-up"

    def _phase(self) -> str:
        return next(told.removeprefix("phase ") for told in reversed(self.trace) if told.startswith("phase "))


class Zygote:
    """The process; a context, which ends it."""

    def __enter__(self) -> Zygote:
        path = os.pathsep.join([str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "faults.py")],
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, "COLUMNS": "80"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        return self

    def __exit__(self, *error: object) -> None:
        self.process.communicate()

    def train(self, argv: Sequence[str], cwd: Path, **fate: float) -> Ended:
        """A session of `mnist-train` in the folder `cwd`; `fate` is what is to happen, as `faults.py` says."""
        (ended,) = self.train_together([argv], cwd, **fate)
        return ended

    def train_together(self, argvs: Sequence[Sequence[str]], cwd: Path, **fate: float) -> list[Ended]:
        """As `train`, several at a time."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        requests = [{"argv": list(argv), "cwd": str(cwd), **fate} for argv in argvs]
        self.process.stdin.write(f"{json.dumps(requests)}\n")
        self.process.stdin.flush()
        return [Ended(**ended) for ended in json.loads(self.process.stdout.readline())]
