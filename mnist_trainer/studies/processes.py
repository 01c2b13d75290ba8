"""Run tasks in worker processes, or one after another in this process.

Workers are spawned, not forked: a fork would copy torch's threads and locks in an unknown state. A worker runs one
task after another, because importing torch takes a second. Tasks and messages are pickled. A worker exits at once when
its parent does.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from queue import SimpleQueue
from traceback import format_exc
from types import FrameType
from typing import Any, cast

from mnist_trainer.errors import DeviceError, TrainerError, UsageError

POLL_SECONDS = 0.1
"""How often the parent checks whether it should stop."""

GRACE_SECONDS, TERMINATE_SECONDS = 0.5, 10.0
"""How long a worker may take to exit before it gets SIGTERM, and after that before it is killed."""

_SPAWN = get_context("spawn")


@dataclass(frozen=True)
class WorkerContext:
    """The connection of a task to its scheduler: it can `send` messages, and ask whether a stop is requested."""

    send: Callable[[object], None]
    stop_requested: Callable[[], bool]


Function = Callable[[Any, WorkerContext], object]
"""Runs a task. Its return value is ignored; results are sent as messages."""


class Scheduler:
    """Base class of objects that supply tasks and receive their messages; called in the parent process."""

    def should_stop(self, task: Any = None) -> bool:
        """Whether this running task should stop; without a task, whether no other should start."""
        return False

    def next_task(self) -> Any:
        """Return the next task, or None if there is none at present."""

    def on_message(self, task: Any, message: Any) -> None:
        """Called with a message that a task sends."""

    def on_end(self, task: Any, error: Exception | None) -> None:
        """Called when a task has ended, with the error that ended it."""


def limit_jobs(jobs: int | None, tasks: int, gpus: Sequence[str] = ()) -> int:
    """Return `jobs`, else the number of `gpus`, else 1; but at most the number of `tasks`.

    Raises `UsageError` for less than 1 job.
    """
    jobs = max(1, len(gpus)) if jobs is None else jobs
    if jobs < 1:
        raise UsageError(f"At least 1 job is needed; got {jobs}.")
    return min(jobs, tasks)


def threads_per_job(jobs: int) -> int:
    """Return how many of torch's CPU threads each of `jobs` processes gets, at least one."""
    import torch

    return max(1, torch.get_num_threads() // jobs)


def run_tasks(function: Function, scheduler: Scheduler, jobs: int, gpus: Sequence[str] = ()) -> None:
    """Call `function(task, context)` for each task of `scheduler`, up to `jobs` at a time, until there are no more.

    One job runs in this process. More jobs run in a process each; `function` must then be a module-level function. Each
    process sees one of the `gpus` alone, if there are any.
    The scheduler gets a `TrainerError` as it was raised, a `DeviceError` if a process was killed, and a `RuntimeError`
    for any other error. An exception of the scheduler itself, KeyboardInterrupt included, ends all processes.
    """
    if jobs > 1:
        _run_in_processes(function, scheduler, jobs, gpus)
        return
    while not scheduler.should_stop() and (task := scheduler.next_task()) is not None:
        context = WorkerContext(partial(scheduler.on_message, task), partial(scheduler.should_stop, task))
        scheduler.on_end(task, _call(function, task, context))


def _run_in_processes(function: Function, scheduler: Scheduler, jobs: int, gpus: Sequence[str]) -> None:
    """Run the tasks in up to `jobs` processes; all of them have ended when it returns or raises."""
    workers: dict[Connection, _Worker] = {}

    def next_task() -> Any:
        """Return the next task; None if there is none, or if no other should start."""
        return None if scheduler.should_stop() else scheduler.next_task()

    def start_workers() -> None:
        """Start a process for each task, until there are `jobs` or no more tasks."""
        while len(workers) < jobs and (task := next_task()) is not None:
            taken = [worker.gpu for worker in workers.values()]
            worker = _Worker(function, min(gpus, key=taken.count, default=None))
            workers[worker.connection] = worker
            worker.assign(task)

    try:
        start_workers()
        while workers:
            for worker in workers.values():
                if scheduler.should_stop(worker.task):
                    worker.request_stop()
            for connection in wait(list(workers), POLL_SECONDS):
                worker = workers[cast("Connection", connection)]
                has_ended, content = worker.receive()
                if not has_ended:
                    scheduler.on_message(worker.task, content)
                    continue
                scheduler.on_end(worker.task, content)
                if worker.is_dead or (task := next_task()) is None:
                    del workers[worker.connection]
                    worker.join()
                else:
                    worker.assign(task)
                start_workers()
    finally:
        for worker in workers.values():
            worker.request_stop()
        for worker in workers.values():
            worker.join()


class _Worker:
    """A process that runs tasks, as its parent sees it."""

    def __init__(self, function: Function, gpu: str | None) -> None:
        self.task: Any = None
        self.gpu = gpu
        self.stop_sent = self.is_dead = False
        self.connection, child_end = _SPAWN.Pipe()
        self.process = _SPAWN.Process(target=_worker_main, args=(child_end, function), daemon=True)
        with _sigint_ignored(), _visible_gpu(gpu):
            self.process.start()
        child_end.close()  # so that the connection breaks when the process ends

    def assign(self, task: object) -> None:
        """Give the process a task to run; None makes it exit."""
        self.task, self.stop_sent = task, False
        with suppress(ConnectionError):  # the process has just ended
            self.connection.send((task,))

    def request_stop(self) -> None:
        """Ask the task to stop, once."""
        if not self.stop_sent:
            self.stop_sent = True
            with suppress(ConnectionError):
                self.connection.send("stop")

    def receive(self) -> tuple[bool, Any]:
        """Return (False, message) or, at the end of the task, (True, the error that ended it or None)."""
        try:
            return cast("tuple[bool, Any]", self.connection.recv())
        except (EOFError, OSError):  # OSError: it ended in the middle of a message
            self.is_dead = True
            self.process.join(TERMINATE_SECONDS)
            text = f"Its process was ended from outside (exit code {self.process.exitcode}), as happens when the memory"
            return True, DeviceError(f"{text} is full. Take fewer --jobs, or a smaller data.batch_size.")

    def join(self) -> None:
        """Make the process exit and wait for it; one that does not exit is terminated, then killed."""
        self.assign(None)
        self.process.join(GRACE_SECONDS)
        if self.process.is_alive():
            self.process.terminate()
            self.process.join(TERMINATE_SECONDS)
        if self.process.is_alive():
            self.process.kill()
        self.connection.close()


def _worker_main(connection: Connection, function: Function) -> None:
    """Run tasks in a worker process until the parent sends none, and exit."""
    stop, tasks = threading.Event(), SimpleQueue[Any]()
    _install_signal_handlers(stop)
    threading.Thread(target=_read_parent, args=(connection, stop, tasks), daemon=True).start()

    def send(message: object) -> None:
        with suppress(ConnectionError):  # the parent has ended, and so will this process
            connection.send((False, message))

    with suppress(KeyboardInterrupt, ConnectionError):
        while (task := tasks.get()) is not None:
            connection.send((True, _call(function, task, WorkerContext(send, stop.is_set))))
    os._exit(0)  # everything is saved; a normal exit takes seconds to unload torch


def _install_signal_handlers(stop: threading.Event) -> None:
    """Ask the task to stop at the first SIGTERM, and interrupt it at the second one.

    SIGINT, SIGHUP and SIGUSR1 (Ctrl-C, a closed terminal, Slurm) are ignored, because the parent handles them.
    """

    def terminate(number: int, frame: FrameType | None) -> None:
        """Handle SIGTERM."""
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    for name in ("SIGINT", "SIGHUP", "SIGUSR1"):
        if hasattr(signal, name):  # Windows has SIGINT alone, and does not inherit that it is ignored
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, terminate)


def _read_parent(connection: Connection, stop: threading.Event, tasks: SimpleQueue[Any]) -> None:
    """Pass on what the parent sends; runs in a thread.

    When the parent ends, exit at once, because its locks are then free for another process.
    """
    with suppress(EOFError, OSError):
        while True:
            message = connection.recv()
            if message == "stop":
                stop.set()
            else:
                (task,) = message
                if task is not None:
                    stop.clear()  # the request was for the task before
                tasks.put(task)
    os._exit(1)


def _call(function: Function, task: object, context: WorkerContext) -> Exception | None:
    """Run the task; return the error that ended it, with its traceback as a note."""
    try:
        function(task, context)
    except Exception as error:  # one failed task must not end the others
        # Exceptions of other packages may fail to unpickle in the parent.
        known = error if isinstance(error, TrainerError) else RuntimeError(f"{type(error).__name__}: {error}")
        known.add_note(format_exc())
        return known
    return None


@contextmanager
def _visible_gpu(gpu: str | None) -> Iterator[None]:
    """Let a process that is started inside the block see this GPU alone; without `gpu`, as many as this process."""
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    try:
        yield
    finally:
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)
        if before is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = before


@contextmanager
def _sigint_ignored() -> Iterator[None]:
    """Ignore Ctrl-C inside the block, so that a process started there never receives it: its parent handles it."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set signal handlers
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
