"""The other side of `workers`: a process that works on what its parent sends, and ends when the parent does.

Work shared out among processes that are started once each: a process gets one piece after another.

Processes are spawned, never forked: a fork would copy torch's threads and locks in whatever state they are. Pieces,
results and the function that does the work travel by pickle. A process ends when its parent does.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from queue import SimpleQueue
from traceback import format_exc
from types import FrameType
from typing import Any, Generic, TypeVar, cast

from mnist_trainer.errors import DeviceError, TrainerError

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


POLL_SECONDS = 0.1
"""How often it is asked whether to stop."""

GRACE_SECONDS, TERMINATE_SECONDS = 0.5, 10.0
"""What a process has to come to its end before its piece is interrupted, and then, before it is ended itself."""

_SPAWN = get_context("spawn")


class TaskCallback(Generic[Task, Result]):
    """Hears how the work goes and does nothing: the base of every overseer."""

    @property
    def wants_stop(self) -> bool:
        """Once it is true, pieces in work are asked to end, and none is begun."""
        return False

    def on_message(self, task: Task, news: Any) -> None:
        """What a piece of work tells."""

    def on_end(self, task: Task, result: Result | None, error: Exception | None) -> None:
        """A piece is done, or it failed."""


def threads_per_job(jobs: int) -> int:
    """How many threads each of `jobs` processes gets, at least one: those that torch uses here are shared out."""
    import torch

    return max(1, torch.get_num_threads() // jobs)


def run_tasks(work: Work[Task, Result], tasks: Iterable[Task], jobs: int, callback: TaskCallback[Task, Result]) -> None:
    """Does `work(task, context)` for each of `tasks`, `jobs` at a time; returns when all have ended.

    One job is done in this process, more in a process each, for which `work` must be a module's own function. The next
    of `tasks` is taken when somebody is free. The overseer gets a `TrainerError` as it was raised, a `DeviceError` if a
    process was killed, a `RuntimeError` that names any other error; the traceback is a note on it. What the overseer
    itself raises, KeyboardInterrupt too, ends all processes.
    """
    pieces = iter(tasks)

    def next_task() -> Task | None:
        return None if callback.wants_stop else next(pieces, None)

    if jobs > 1:
        _run_in_processes(work, next_task, jobs, callback)
        return
    while (task := next_task()) is not None:
        callback.on_end(
            task, *call_task(work, task, WorkerContext(partial(callback.on_message, task), lambda: callback.wants_stop))
        )


def _run_in_processes(
    work: Work[Task, Result], next_task: Callable[[], Task | None], jobs: int, callback: TaskCallback[Task, Result]
) -> None:
    workers: list[_Worker[Task, Result]] = []
    try:
        while len(workers) < jobs and (task := next_task()) is not None:
            workers.append(_Worker(work, task))
        while busy := {worker.line: worker for worker in workers if worker.task is not None}:
            if callback.wants_stop:
                for worker in busy.values():
                    worker.request_stop()
            for line in wait(list(busy), POLL_SECONDS):
                worker = busy[cast(Connection, line)]
                worker.receive(callback)
                if worker.task is None and (task := next_task()) is not None:
                    if worker.is_gone:
                        workers.append(_Worker(work, task))
                    else:
                        worker.assign(task)
    finally:
        for worker in workers:
            worker.dismiss()
        for worker in workers:
            worker.join()


class _Worker(Generic[Task, Result]):
    """A process, seen from its parent. `task` is what it works on; it begins with one."""

    def __init__(self, work: Work[Task, Result], task: Task) -> None:
        self.line, far = _SPAWN.Pipe()
        self.process = _SPAWN.Process(target=worker_main, args=(far, work), daemon=True)
        with _ignore_sigint():
            self.process.start()
        far.close()  # now the line breaks when the process ends
        self.is_gone = self.is_asked = False
        self.task: Task | None = None
        self.assign(task)

    def assign(self, task: Task) -> None:
        """Sends it its next piece."""
        self.task = task
        self._send((task,))

    def request_stop(self) -> None:
        """Once: its piece should end."""
        if not self.is_asked:
            self.is_asked = True
            self._send(STOP)

    def receive(self, callback: TaskCallback[Task, Result]) -> None:
        """Passes on what it says; `task` is None if that was the end of it."""
        assert self.task is not None
        try:
            is_end, *content = self.line.recv()
        except (EOFError, OSError):  # the latter in the middle of a message
            self.is_gone = is_end = True
            content = [None, self._death_error()]
        task = self.task
        if is_end:
            self.task = None
            callback.on_end(task, *content)
        else:
            callback.on_message(task, *content)

    def dismiss(self) -> None:
        """Lets it end: at once if it waits for work, else as soon as its piece does."""
        if self.task is None:
            self.line.close()
        else:
            self.request_stop()

    def join(self) -> None:
        """Waits until it has ended, but not for ever: its piece is interrupted after a moment."""
        self.process.join(GRACE_SECONDS)
        if self.process.is_alive():
            self.process.terminate()
            self.process.join(TERMINATE_SECONDS)
        if self.process.is_alive():
            self.process.kill()
        self.line.close()

    def _send(self, message: object) -> None:
        with suppress(ConnectionError):  # it is gone, which is heard of soon enough
            self.line.send(message)

    def _death_error(self) -> DeviceError:
        self.process.join(TERMINATE_SECONDS)
        return DeviceError(
            f"Its process was ended from outside (exit code {self.process.exitcode}), as happens when the memory is "
            "full. Take fewer --jobs, or a smaller data.batch_size."
        )


@contextmanager
def _ignore_sigint() -> Iterator[None]:
    """Inside it Ctrl-C is ignored. A process that is started there inherits that: its parent alone hears Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():  # others may not set it
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
