"""Pictures drawn by a process of its own, which gets ready while a model is trained.

It loads matplotlib, which takes as long as some epochs of a small model, and then draws what it is told to: a function
of `plots` by name with its arguments comes in, and the bytes of a PNG go out, both pickled. It writes no file and ends
with its parent. Where there is none, or it was ended, the pictures are drawn where they are wanted.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import ParamSpec

Parameters = ParamSpec("Parameters")

_painters: list[subprocess.Popen[bytes]] = []
"""The process that is there, if any."""


@contextmanager
def painter_beside(is_wanted: bool) -> Iterator[None]:
    """Inside it `paint` has a process of its own, if pictures are wanted and there is a second core; it has ended
    behind."""
    if not is_wanted or _painters or _cores() == 1:
        yield
        return
    process = _start()
    _painters.append(process)
    try:
        yield
    finally:
        _painters.clear()
        for stream in (process.stdin, process.stdout):
            with suppress(OSError):
                assert stream is not None
                stream.close()
        process.wait()


def paint(draw: Callable[Parameters, bytes], *arguments: Parameters.args, **options: Parameters.kwargs) -> bytes:
    """What `draw`, a function of `plots`, gives for these arguments."""
    for process in _painters:
        with suppress(OSError, EOFError, pickle.UnpicklingError):
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(pickle.dumps((draw.__name__, arguments, options)))
            process.stdin.flush()
            picture = pickle.load(process.stdout)
            if isinstance(picture, bytes):
                return picture
    return draw(*arguments, **options)  # an error is raised here, where it is of use


def _cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start() -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-P", "-m", "mnist_trainer.reports.painting"]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    )


def main() -> None:
    """Draws for a parent, until that closes the line."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears of Ctrl-C
    from mnist_trainer.reports import canvas, plots

    canvas.get_ready()
    with suppress(EOFError, OSError):
        while True:
            name, arguments, options = pickle.load(sys.stdin.buffer)
            try:
                picture: bytes | str = getattr(plots, name)(*arguments, **options)
            except Exception as error:
                picture = f"{type(error).__name__}: {error}"
            sys.stdout.buffer.write(pickle.dumps(picture))
            sys.stdout.buffer.flush()
    os._exit(0)  # there is nothing left to do, and the parent waits


if __name__ == "__main__":
    main()
