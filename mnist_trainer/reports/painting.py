"""Pictures drawn by processes of their own, which get ready while a model is trained.

The first loads matplotlib, which takes as long as some epochs of a small model, and then makes a second one by forking.
Each draws what it is told to: a function of a module with its arguments comes in, and the bytes of a picture go out,
both pickled. They write no file and end with their parent. Where there is none, or it was ended, the pictures are drawn
where they are wanted.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from typing import IO, ParamSpec

Parameters = ParamSpec("Parameters")

Picture = Callable[[], bytes]
"""Gives the bytes of a PNG as soon as they are there."""

FORKS = sys.platform == "linux"
"""Elsewhere one process draws: macOS has libraries that break in a fork, and Windows has none."""


class Painters:
    """The processes beside this one that draw, each with a line that orders go out by and pictures come in by."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
        second = [*os.pipe(), *os.pipe()] if FORKS else []
        theirs, ours = second[::3], second[1:3]  # to read orders and to write pictures; to read pictures and to write
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "mnist_trainer.reports.painting", *map(str, theirs)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            pass_fds=theirs,
        )
        for end in theirs:
            os.close(end)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.lines: list[tuple[IO[bytes], IO[bytes]]] = [(self.process.stdin, self.process.stdout)]
        if FORKS:
            self.lines.append((os.fdopen(ours[0], "wb"), os.fdopen(ours[1], "rb")))
        self.idle: SimpleQueue[tuple[IO[bytes], IO[bytes]]] = SimpleQueue()
        for line in self.lines:
            self.idle.put(line)
        self.waiting = ThreadPoolExecutor(len(self.lines))

    def picture(self, order: bytes) -> bytes | None:
        """What the next process that is free draws; None if it can't."""
        orders, pictures = line = self.idle.get()
        try:
            orders.write(order)
            orders.flush()
            drawn = pickle.load(pictures)
        except (OSError, EOFError, pickle.UnpicklingError):
            return None
        finally:
            self.idle.put(line)
        return drawn if isinstance(drawn, bytes) else None

    def end(self) -> None:
        """Lets them end, which they do once their lines are closed."""
        self.waiting.shutdown(cancel_futures=True)
        for end in (end for line in self.lines for end in line):
            with suppress(OSError):
                end.close()
        self.process.wait()


_painters: list[Painters] = []
"""Those that are there, if any."""


@contextmanager
def painter_beside(is_wanted: bool) -> Iterator[None]:
    """Inside it `paint` has processes of its own, if pictures are wanted and there is a second core; they have ended
    behind."""
    if not is_wanted or _painters or _cores() == 1:
        yield
        return
    painters = Painters()
    _painters.append(painters)
    try:
        yield
    finally:
        _painters.clear()
        painters.end()


def paint(draw: Callable[Parameters, bytes], *arguments: Parameters.args, **options: Parameters.kwargs) -> Picture:
    """What `draw`, a module's function, gives for these arguments. It is begun at once where there is somebody to."""

    def here() -> bytes:
        return draw(*arguments, **options)

    for painters in _painters:
        order = pickle.dumps((draw, arguments, options))
        coming = painters.waiting.submit(painters.picture, order)
        return lambda: coming.result() or here()  # an error is raised here, where it is of use
    return here


def _cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _serve() -> None:
    with suppress(EOFError, OSError):
        while True:
            draw, arguments, options = pickle.load(sys.stdin.buffer)
            try:
                picture: bytes | str = draw(*arguments, **options)
            except Exception as error:
                picture = f"{type(error).__name__}: {error}"
            sys.stdout.buffer.write(pickle.dumps(picture))
            sys.stdout.buffer.flush()


def _fork(orders: int, pictures: int) -> int:
    """A second process that knows as much as this one, with a line of its own; 0 in it, its number here."""
    child = os.fork()
    if child == 0:
        os.dup2(orders, 0)
        os.dup2(pictures, 1)
    os.close(orders)
    os.close(pictures)
    return child


def main() -> None:
    """Draws for a parent, until that closes the line."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears of Ctrl-C
    from mnist_trainer.reports import canvas, curves, plots  # noqa: F401 - all that draws

    canvas.get_ready()
    child = _fork(*map(int, sys.argv[1:])) if sys.argv[1:] else 0
    _serve()
    if child:
        os.waitpid(child, 0)
    os._exit(0)  # there is nothing left to do, and the parent waits


if __name__ == "__main__":
    main()
