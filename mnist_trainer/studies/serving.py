"""The other side of `workers`: a process that works on what its parent sends, and ends when the parent does."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import SimpleQueue
from traceback import format_exc
from types import FrameType
from typing import Any, TypeVar

from mnist_trainer.errors import TrainerError

Task = TypeVar("Task")
Result = TypeVar("Result")

STOP = "stop"
"""What a parent sends besides tasks: that the present one should end."""


class WorkerContext:
    """What a piece of work has of whoever gave it out: `send` sends news; `wants_stop` says that it should end."""

    def __init__(self, send: Callable[[object], None], asked: Callable[[], bool]) -> None:
        self.send = send
        self.asked = asked

    @property
    def wants_stop(self) -> bool:
        """To be looked at between steps; what was done by then should be saved."""
        return self.asked()


Work = Callable[[Task, WorkerContext], Result]


def worker_main(line: Connection, work: Work[Task, Result]) -> None:
    """Works on what comes along `line`; when that breaks, the process is over."""
    tasks: SimpleQueue[tuple[Task]] = SimpleQueue()
    stop = threading.Event()
    _heed_signals(stop)
    threading.Thread(target=_listen, args=(line, tasks, stop), daemon=True).start()

    def send(news: object) -> None:
        with suppress(ConnectionError):  # without a parent, `stop` is set
            line.send((False, news))

    with suppress(KeyboardInterrupt, ConnectionError):
        while True:
            line.send((True, *call_task(work, *tasks.get(), WorkerContext(send, stop.is_set))))
    os._exit(0)  # there is nothing left to save, and Python would take seconds to take torch down


def _heed_signals(stop: threading.Event) -> None:
    """SIGTERM asks the piece to end, and a second one ends it. The rest goes to the parent, who passes it on."""

    def end(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # not inherited on Windows
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, end)


def _listen(line: Connection, tasks: SimpleQueue[Any], stop: threading.Event) -> None:
    """Takes in what the parent sends; without a parent its process ends at once, and writes nothing more."""
    try:
        with suppress(EOFError, OSError):
            while True:
                message = line.recv()
                if message == STOP:
                    stop.set()
                else:
                    tasks.put(message)
    finally:
        os._exit(1)


def call_task(work: Work[Task, Result], task: Task, context: WorkerContext) -> tuple[Result | None, Exception | None]:
    """The result of a piece, or the error it ended with."""
    try:
        return work(task, context), None
    except Exception as error:  # all of them: a piece that fails is not the end of the others
        # An exception of somebody else's may not survive the way to another process.
        known = error if isinstance(error, TrainerError) else RuntimeError(f"{type(error).__name__}: {error}")
        known.add_note(format_exc())
        return None, known
