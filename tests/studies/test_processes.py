"""Work in other processes. Starting one takes seconds, so each test of them asks for several things."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from mnist_trainer.errors import ConfigError, ConfigProblem, DeviceError, DivergedError
from mnist_trainer.studies import processes
from mnist_trainer.studies.processes import Scheduler, run_tasks, threads_per_job

PIECES = """
import inspect, os, signal, time
from pathlib import Path
from mnist_trainer.errors import ConfigError, ConfigProblem, DivergedError

def double(task, context):
    context.send(os.getpid())
    context.send(("result", 2 * task))

def see(task, context):
    context.send(os.environ.get("CUDA_VISIBLE_DEVICES"))

def fail(task, context):
    match task:
        case "diverged":
            raise DivergedError("The loss became nan.")
        case "config":
            raise ConfigError([ConfigProblem("a.yaml:1:2", "seed", "wrong"), ConfigProblem("", "x", "too")])
        case "bug":
            raise ZeroDivisionError("division by zero")
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "torn":
            line = inspect.getclosurevars(context.send).nonlocals["connection"]
            os.write(line.fileno(), bytes([0, 0, 0, 9]) + b"half")  # of a message of 9 bytes
            os.kill(os.getpid(), signal.SIGKILL)
    context.send(("result", task))

def wait_for_stop(task, context):
    context.send(os.getpid())
    until = time.monotonic() + 600
    while time.monotonic() < until and not context.stop_requested():
        time.sleep(0.01)
    context.send(("result", context.stop_requested()))

def write_when_stopped(task, context):
    wait_for_stop(task, context)
    Path(task).write_text("after its parent's end")

def wait_for_end(task, context):
    try:
        context.send("started")  # inside: the interruption may come as soon as this is read
        time.sleep(600)
    except KeyboardInterrupt:
        Path(task).write_text("saved")
        raise
"""


class Remembering(Scheduler):
    def __init__(self, tasks: Iterable[Any], stop_after: int | None = None) -> None:
        self.tasks = iter(tasks)
        self.news: list[tuple[Any, Any]] = []
        self.results: dict[Any, Any] = {}
        self.errors: dict[Any, Exception] = {}
        self.stop_after = stop_after

    def should_stop(self, task: Any = None) -> bool:
        return self.stop_after is not None and len(self.news) >= self.stop_after

    def next_task(self) -> Any:
        return next(self.tasks, None)

    def on_message(self, task: Any, message: Any) -> None:
        match message:
            case ("result", result):
                self.results[task] = result
            case _:
                self.news.append((task, message))

    def on_end(self, task: Any, error: Exception | None) -> None:
        if error is not None:
            self.errors[task] = error


@pytest.fixture
def pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Work that other processes can import: they are given this one's path."""
    (tmp_path / "pieces.py").write_text(PIECES)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pieces", raising=False)
    return import_module("pieces")


@pytest.mark.parametrize(("jobs", "threads"), [(1, 6), (2, 3), (4, 1), (7, 1)])
def test_threads_are_shared_out(monkeypatch: pytest.MonkeyPatch, jobs: int, threads: int) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 6)
    assert threads_per_job(jobs) == threads


def test_one_job_is_done_here_in_order(pieces: ModuleType) -> None:
    scheduler = Remembering(iter(range(3)))
    run_tasks(pieces.double, scheduler, 1)
    assert scheduler.results == {0: 0, 1: 2, 2: 4}
    assert scheduler.news == [(task, os.getpid()) for task in range(3)]


def test_two_jobs_are_two_processes_for_all_tasks(pieces: ModuleType) -> None:
    scheduler = Remembering(iter(range(7)))
    run_tasks(pieces.double, scheduler, 2)
    assert scheduler.results == {task: 2 * task for task in range(7)}
    processes = {process for _, process in scheduler.news}
    assert os.getpid() not in processes
    assert len(processes) == 2


def test_each_process_sees_one_gpu(pieces: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    scheduler = Remembering(iter(range(3)))
    run_tasks(pieces.see, scheduler, 3, ["4", "7"])
    assert sorted(visible for _, visible in scheduler.news) == ["4", "4", "7"]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "4,7"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_errors_come_back_and_the_others_go_on(pieces: ModuleType) -> None:
    scheduler = Remembering(["diverged", "config", "killed", "bug", "torn", "fine", "too"])
    run_tasks(pieces.fail, scheduler, 2)
    assert scheduler.results == {"fine": "fine", "too": "too"}
    check_errors(scheduler.errors)
    for lost in (scheduler.errors["killed"], scheduler.errors["torn"]):
        assert type(lost) is DeviceError
        assert str(lost).startswith(
            "Its process was ended from outside (exit code -9), as happens when the memory is full."
        )


def test_errors_are_the_same_here(pieces: ModuleType) -> None:
    scheduler = Remembering(["diverged", "config", "bug", "fine"])
    run_tasks(pieces.fail, scheduler, 1)
    assert scheduler.results == {"fine": "fine"}
    check_errors(scheduler.errors)


def check_errors(errors: dict[str, Exception]) -> None:
    assert type(errors["diverged"]) is DivergedError
    assert str(errors["diverged"]) == "The loss became nan."
    known = errors["config"]
    assert isinstance(known, ConfigError)
    assert known.problems == (ConfigProblem("a.yaml:1:2", "seed", "wrong"), ConfigProblem("", "x", "too"))
    assert str(known) == "a.yaml:1:2  seed: wrong\nx: too"
    assert type(errors["bug"]) is RuntimeError
    assert str(errors["bug"]) == "ZeroDivisionError: division by zero"
    for name in ("diverged", "config", "bug"):
        assert "in fail" in errors[name].__notes__[0]  # the traceback


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_stop_ends_what_is_in_work_and_begins_nothing(pieces: ModuleType, jobs: int) -> None:
    scheduler = Remembering(iter(range(9)), stop_after=jobs)
    run_tasks(pieces.wait_for_stop, scheduler, jobs)
    assert scheduler.results == dict.fromkeys(range(jobs), True)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows ends processes without a word")
def test_an_interruption_here_interrupts_the_others(
    pieces: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks = [str(tmp_path / "one"), str(tmp_path / "two")]

    class Interrupting(Remembering):
        def on_message(self, task: Any, message: Any) -> None:
            super().on_message(task, message)
            if len(self.news) == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr(processes, "TERMINATE_SECONDS", 600.0)
    with pytest.raises(KeyboardInterrupt):
        run_tasks(pieces.wait_for_end, Interrupting(marks), 2)
    assert [Path(mark).read_text() for mark in marks] == ["saved", "saved"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_processes_end_with_their_parent(pieces: ModuleType, tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "import pieces\n"
        "from mnist_trainer.studies.processes import Scheduler, run_tasks\n"
        "class Dying(Scheduler):\n"
        "    tasks, told_of = iter(sys.argv[1:]), 0\n"
        "    def next_task(self):\n"
        "        return next(self.tasks, None)\n"
        "    def on_message(self, task, process):\n"
        "        print(process, flush=True)\n"
        "        self.told_of += 1\n"
        "        if self.told_of == 2:\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "run_tasks(pieces.write_when_stopped, Dying(), 2)\n"
    )
    marks = [tmp_path / "first", tmp_path / "second"]
    command = [sys.executable, "-c", script, *map(str, marks)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == -signal.SIGKILL
    processes = [int(line) for line in done.stdout.split()]
    assert len(processes) == 2
    until = time.monotonic() + 600
    while any(map(is_running, processes)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(is_running, processes))
    assert not any(mark.exists() for mark in marks)  # nothing is written any more, so another may take over at once


@pytest.mark.skipif(os.name == "nt", reason="Windows ends a process at once")
def test_a_process_that_is_told_to_end_lets_its_piece_end(pieces: ModuleType) -> None:
    class Ending(Remembering):
        def on_message(self, task: Any, message: Any) -> None:
            super().on_message(task, message)
            if isinstance(message, int):
                os.kill(message, signal.SIGTERM)

    scheduler = Ending([1, 2])
    run_tasks(pieces.wait_for_stop, scheduler, 2)
    assert scheduler.results == {1: True, 2: True}


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{process}/stat")
    return not (status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z")
