"""`mnist-train --processes N`: N processes of this command, their signals, their end and their exit code."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
import typer

from mnist_trainer.cli import mnist_train
from mnist_trainer.cli.common import handle_signals
from mnist_trainer.cli.launch import exit_code, first_failed, launch, restarted_run
from mnist_trainer.errors import UsageError
from mnist_trainer.reports.callbacks import Callback

SHORT = (
    "lecture",
    "data.name=digits",
    "data.limit=20",
    "training.epochs=2",
    "report.plots=false",
    "report.gallery=false",
)
SECONDS = 300
"""After this time a test gives up."""


def test_the_exit_code_is_that_of_the_first_process(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code([0, 0], None) == 0
    assert exit_code([143, 143], 0) == 143
    assert exit_code([6, 6], 1) == 6
    assert exit_code([5, -9], 1) == 5
    assert capsys.readouterr().err == ""


def test_the_first_process_may_be_unable_to_say_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code([-signal.SIGKILL, 5], 0) == 5
    assert capsys.readouterr().err.startswith("Process 0 of 2 has ended with SIGKILL.")
    assert exit_code([-signal.SIGKILL, 3], 1) == 5
    assert capsys.readouterr().err.startswith("Process 1 of 2 has ended with exit code 3.")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 143)])
def test_a_process_that_can_not_handle_a_signal_yet_is_stopped_by_it(
    number: signal.Signals, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    for codes, failed in (([-number, -number], 0), ([-signal.SIGKILL, -number], 1), ([-signal.SIGKILL, code], 1)):
        assert exit_code(codes, failed) == code
        assert capsys.readouterr().err == "Stopped.\n"


def test_a_signal_while_the_processes_are_started_reaches_those_that_exist(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: Any
) -> None:
    """It comes while the second of three processes is started: the first two end, and no third one is started."""

    class Child:
        def __init__(self, *command: Any, **options: Any) -> None:
            children.append(self)
            self.returncode: int | None = None
            if len(children) == 2:
                signal.raise_signal(signal.SIGTERM)

        def send_signal(self, number: int) -> None:
            self.returncode = -number

        def poll(self) -> int | None:
            return self.returncode

        kill = wait = poll

    children: list[Child] = []
    monkeypatch.setattr(subprocess, "Popen", Child)
    with pytest.raises(typer.Exit) as ended:
        launch(3)
    assert [child.returncode for child in children] == [-signal.SIGTERM] * 2
    assert ended.value.exit_code == 143
    assert capsys.readouterr().err == "Stopped.\n"


def test_a_process_that_runs_has_not_failed() -> None:
    assert first_failed([None, 0]) is None
    assert first_failed([None, 0, -9]) == 2


def test_what_can_not_be_done_together_is_refused(command: Any) -> None:
    for number in ("0", "-1"):
        ended = command("train", "lecture", "--processes", number)
        assert (ended.code, ended.err) == (2, "--processes is how many processes train together: 1 or more.\n")
    ended = command("train", "lecture", "--processes", "2", "--seeds", "3")
    assert (ended.code, ended.err) == (2, "Several processes train a single run: leave --seeds out.\n")
    ended = command("train", "lecture", "training.micro_batches=3", "--processes", "2")
    assert ended.code == 2
    assert ended.err == (
        "training.micro_batches: 3 can't be divided evenly among 2 processes; set 2, or a multiple of it\n"
    )


def test_after_a_restart_a_run_needs_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    assert restarted_run(None) is None
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    assert restarted_run(None) is None
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    with pytest.raises(UsageError, match="add --run-dir DIR"):
        restarted_run(None)


@pytest.mark.parametrize(
    ("status", "reason", "is_refused"),
    [
        ("failed", "DivergedError", True),
        ("failed", "ConfigError", True),
        ("failed", "DeviceError", False),
        ("running", None, False),
        ("interrupted", "SIGTERM", False),
    ],
)
def test_a_run_that_would_fail_again_is_not_continued_after_a_restart(
    status: str, reason: str | None, is_refused: bool, fake_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = fake_run("one", {"status": status, "stop_reason": reason})
    (run / "log.txt").write_text("09:26:53  failed: DivergedError\n09:26:53  The loss became nan in epoch 1.\n")
    variables = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in {**variables, "TORCHELASTIC_RESTART_COUNT": "1"}.items():
        monkeypatch.setenv(name, value)
    if is_refused:
        with pytest.raises(UsageError, match=rf"it would fail again: {reason}, .*The loss became nan in epoch 1\."):
            restarted_run(run)
    else:
        assert restarted_run(run) == str(run)


def test_a_restarted_run_may_have_been_locked_on_another_host(
    fake_run: Any, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There torchrun has ended the processes; here their run starts over, since they have saved no state."""
    digits = ("data.name=digits", "data.limit=20", "training.epochs=1", "report.plots=false", "report.gallery=false")
    run = fake_run("one", {"status": "running"}, *digits)
    monkeypatch.setattr(mnist_train, "restarted_run", str)
    ended = command("train", "lecture", "--run-dir", run)
    assert (ended.code, ended.err) == (0, "")
    assert json.loads((run / "run.json").read_text())["status"] == "finished"


def test_a_batch_system_and_a_launcher_may_both_send_a_signal(command: Any) -> None:
    """They do so at the same time: that is no wish to end at once, as a second Ctrl-C is."""
    callback = Callback()
    callback.can_stop = True
    handle_signals(callback)  # the fixture `command` puts the handlers back
    for _ in range(2):
        signal.raise_signal(signal.SIGTERM)
    assert (callback.should_stop, callback.stopped_by) == (True, "SIGTERM")
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


@contextmanager
def started(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command in a process, which is ended with its children."""
    process = subprocess.Popen(
        [sys.executable, "-m", "mnist_trainer", "train", *SHORT, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()


def wait_for_file(path: Path, process: subprocess.Popen[str]) -> None:
    end = monotonic() + SECONDS
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert monotonic() < end
        sleep(0.1)


def read_pids(folder: Path) -> Sequence[int]:
    sessions = json.loads((folder / "run.json").read_text())["sessions"]
    return [session["pid"] for session in sessions]


@pytest.mark.slow
def test_two_processes_train_one_run(tmp_path: Path) -> None:
    with started(tmp_path, "--processes", "2", "training.micro_batches=2", "--run-dir", "run") as process:
        out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, err) == (0, "")
    assert out.count("test accuracy") == 1
    assert json.loads((tmp_path / "run" / "run.json").read_text())["processes"]["world_size"] == 2


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_all_and_saves(number: signal.Signals, code: int, tmp_path: Path) -> None:
    long = ("--processes", "2", "training.micro_batches=2", "training.epochs=100000", "--run-dir", "run")
    with started(tmp_path, *long) as process:
        wait_for_file(tmp_path / "run" / "metrics.csv", process)
        process.send_signal(number)
        _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == code
    assert err.count("Stopped in epoch") == 1
    assert (tmp_path / "run" / "last.pt").exists()
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "interrupted"


@pytest.mark.slow
def test_ctrl_c_ends_a_process_that_waits_for_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(SECONDS)
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(server.getsockname()[1])}
        for name, value in {"RANK": "1", "WORLD_SIZE": "2", **address}.items():
            monkeypatch.setenv(name, value)
        with started(tmp_path) as process, server.accept()[0]:
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == -signal.SIGINT


@pytest.mark.slow
def test_the_first_process_is_killed(tmp_path: Path) -> None:
    long = ("--processes", "2", "training.micro_batches=2", "training.epochs=100000", "--run-dir", "run")
    with started(tmp_path, *long) as process:
        wait_for_file(tmp_path / "run" / "metrics.csv", process)
        (pid,) = read_pids(tmp_path / "run")
        os.kill(pid, signal.SIGKILL)
        _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 5
    assert re.fullmatch(r"Process 0 of 2 has ended with SIGKILL. What was saved before is kept \(--resume\).\n", err)
