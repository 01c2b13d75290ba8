"""The console scripts. Each makes threads polite, runs its command, and then the process ends at once.

Python would take torch down piece by piece, which takes a quarter of the time that loading it takes.
"""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import suppress
from importlib import import_module

SPINS = "3000"
"""How many turns of a loop, some dozens of microseconds, a thread that has done its part waits awake for the others.

OpenMP's own 300,000 keep a core busy that the others need where another program wants it too: `fast` then takes three
to ten times as long. With few turns threads sleep between all operations, which costs more than it saves.
"""


def train() -> None:
    """`mnist-train`."""
    _run("train")


def evaluate() -> None:
    """`mnist-eval`."""
    _run("eval")


def predict() -> None:
    """`mnist-predict`."""
    _run("predict")


def runs() -> None:
    """`mnist-runs`."""
    _run("runs")


def sweep() -> None:
    """`mnist-sweep`."""
    _run("sweep")


def _run(name: str) -> None:
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)  # OpenMP reads it when torch is loaded
    try:
        import_module(f"mnist_trainer.cli.{name}").main()
    except SystemExit as ended:
        code = ended.code
    else:
        code = 0
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody need listen to the end
            stream.flush()
    atexit._run_exitfuncs()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)
