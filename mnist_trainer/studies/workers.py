"""Work shared out among processes that are started once each: a process gets one piece after another.

Processes are spawned, never forked: a fork would copy torch's threads and locks in whatever state they are. Pieces,
results and the function that does the work travel by pickle. A process ends when its parent does.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, cast

from mnist_trainer.errors import DeviceError
from mnist_trainer.studies.serving import STOP, Post, Result, Task, Work, attempt, serve

LISTEN_SECONDS = 0.1
"""How often it is asked whether to stop."""

MOMENT, LAST_SECONDS = 0.5, 10.0
"""What a process has to come to its end before its piece is interrupted, and then, before it is ended itself."""

_SPAWN = get_context("spawn")


class Overseer(Generic[Task, Result]):
    """Hears how the work goes and does nothing: the base of every overseer."""

    @property
    def wants_stop(self) -> bool:
        """Once it is true, pieces in work are asked to end, and none is begun."""
        return False

    def told(self, task: Task, news: Any) -> None:
        """What a piece of work tells."""

    def ended(self, task: Task, result: Result | None, error: Exception | None) -> None:
        """A piece is done, or it failed."""


def threads_each(jobs: int) -> int:
    """How many threads each of `jobs` processes gets, at least one: those that torch uses here are shared out."""
    import torch

    return max(1, torch.get_num_threads() // jobs)


def work_off(work: Work[Task, Result], tasks: Iterable[Task], jobs: int, overseer: Overseer[Task, Result]) -> None:
    """Does `work(task, post)` for each of `tasks`, `jobs` at a time; returns when all have ended.

    One job is done in this process, more in a process each, for which `work` must be a module's own function. The next
    of `tasks` is taken when somebody is free. The overseer gets a `TrainerError` as it was raised, a `DeviceError` if a
    process was killed, a `RuntimeError` that names any other error; the traceback is a note on it. What the overseer
    itself raises, KeyboardInterrupt too, ends all processes.
    """
    pieces = iter(tasks)

    def following() -> Task | None:
        return None if overseer.wants_stop else next(pieces, None)

    if jobs > 1:
        _work_together(work, following, jobs, overseer)
        return
    while (task := following()) is not None:
        overseer.ended(task, *attempt(work, task, Post(partial(overseer.told, task), lambda: overseer.wants_stop)))


def _work_together(
    work: Work[Task, Result], following: Callable[[], Task | None], jobs: int, overseer: Overseer[Task, Result]
) -> None:
    crew: list[_Worker[Task, Result]] = []
    try:
        while len(crew) < jobs and (task := following()) is not None:
            crew.append(_Worker(work, task))
        while busy := {worker.line: worker for worker in crew if worker.task is not None}:
            if overseer.wants_stop:
                for worker in busy.values():
                    worker.ask_to_stop()
            for line in wait(list(busy), LISTEN_SECONDS):
                worker = busy[cast(Connection, line)]
                worker.hear(overseer)
                if worker.task is None and (task := following()) is not None:
                    if worker.is_gone:
                        crew.append(_Worker(work, task))
                    else:
                        worker.give(task)
    finally:
        for worker in crew:
            worker.dismiss()
        for worker in crew:
            worker.see_off()


class _Worker(Generic[Task, Result]):
    """A process, seen from its parent. `task` is what it works on; it begins with one."""

    def __init__(self, work: Work[Task, Result], task: Task) -> None:
        self.line, far = _SPAWN.Pipe()
        self.process = _SPAWN.Process(target=serve, args=(far, work), daemon=True)
        with _deaf_to_ctrl_c():
            self.process.start()
        far.close()  # now the line breaks when the process ends
        self.is_gone = self.is_asked = False
        self.task: Task | None = None
        self.give(task)

    def give(self, task: Task) -> None:
        """Sends it its next piece."""
        self.task = task
        self._send((task,))

    def ask_to_stop(self) -> None:
        """Once: its piece should end."""
        if not self.is_asked:
            self.is_asked = True
            self._send(STOP)

    def hear(self, overseer: Overseer[Task, Result]) -> None:
        """Passes on what it says; `task` is None if that was the end of it."""
        assert self.task is not None
        try:
            is_end, *content = self.line.recv()
        except (EOFError, OSError):  # the latter in the middle of a message
            self.is_gone = is_end = True
            content = [None, self._lost()]
        task = self.task
        if is_end:
            self.task = None
            overseer.ended(task, *content)
        else:
            overseer.told(task, *content)

    def dismiss(self) -> None:
        """Lets it end: at once if it waits for work, else as soon as its piece does."""
        if self.task is None:
            self.line.close()
        else:
            self.ask_to_stop()

    def see_off(self) -> None:
        """Waits until it has ended, but not for ever: its piece is interrupted after a moment."""
        self.process.join(MOMENT)
        if self.process.is_alive():
            self.process.terminate()
            self.process.join(LAST_SECONDS)
        if self.process.is_alive():
            self.process.kill()
        self.line.close()

    def _send(self, message: object) -> None:
        with suppress(ConnectionError):  # it is gone, which is heard of soon enough
            self.line.send(message)

    def _lost(self) -> DeviceError:
        self.process.join(LAST_SECONDS)
        return DeviceError(
            f"Its process was ended from outside (exit code {self.process.exitcode}), as happens when the memory is "
            "full. Take fewer --jobs, or a smaller data.batch_size."
        )


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Inside it Ctrl-C is ignored. A process that is started there inherits that: its parent alone hears Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():  # others may not set it
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
