"""Sweeps whose trials are made in processes of their own. Starting one takes seconds: each test asks several things."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mnist_trainer.config.sweep import load_sweep
from mnist_trainer.reports.callbacks import Callback, TrialRow
from mnist_trainer.studies import processes
from mnist_trainer.studies import sweep_search as sweep_module
from mnist_trainer.studies.sweep_search import TrialTask, run_sweep
from mnist_trainer.studies.sweep_study import SweepStudy
from tests.studies.conftest import LONG

pytest.importorskip("optuna", reason="needs the extra [sweep]")
REPOSITORY = Path(__file__).parents[2]


class Remembering(Callback):
    def __init__(self) -> None:
        self.died: list[int] = []
        self.ended: list[int] = []

    def on_trial_end(self, row: TrialRow, is_best: bool) -> None:
        self.ended.append(row.trial)

    def on_message(self, text: str) -> None:
        self.died.append(
            int(text.removesuffix("  its process died, as happens when the memory is full; it is repeated"))
        )


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "long.yaml").write_text(f"{LONG}sampler: random\ntrials: 4\n")
    return tmp_path


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "mnist_trainer", "sweep", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
    until = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < until
        assert process is None or process.poll() is None
        time.sleep(0.05)


@pytest.mark.slow
def test_a_killed_process_costs_its_trial_no_more_than_time(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of two processes is killed in a trial: the values are tried again, and all trials are as ever."""
    on_message = sweep_module._Run.on_message

    def kill(run: sweep_module._Run, task: TrialTask, message: object) -> None:
        on_message(run, task, message)  # type: ignore[arg-type]
        if task.number == 2 and 2 in pids:  # what the process sent before its end is read after it
            os.kill(pids.pop(2), signal.SIGKILL)

    pids: dict[int, int] = {}
    assign = processes._Worker.assign

    def remember(worker: Any, task: TrialTask | None) -> None:
        assign(worker, task)
        if task is not None:
            pids[task.number] = worker.process.pid

    monkeypatch.setattr(processes._Worker, "assign", remember)
    monkeypatch.setattr(sweep_module._Run, "on_message", kill)
    for epochs in (40, 400, 4000):  # on a busy machine a trial may be over before it is killed
        long, callback = load_sweep("long.yaml", [f"training.epochs={epochs}"]), Remembering()
        result = run_sweep(long, jobs=2, callback=callback)
        if callback.died:
            break
    monkeypatch.undo()
    monkeypatch.chdir(here)
    alone = run_sweep(long)
    assert callback.died == [2]
    assert sorted(callback.ended) == [0, 1, 2, 3]
    made = [(row.status, row.values, row.curve) for row in result.rows]
    assert made == [("finished", row.values, row.curve) for row in alone.rows]


@pytest.mark.slow
def test_a_killed_command_goes_on(here: Path) -> None:
    """What it had in work is repeated."""
    journal = here / "mine" / "journal.log"
    child = start("long.yaml", "--run-dir", "mine", "training.epochs=1000000")
    wait_until(lambda: journal.exists() and journal.read_bytes().count(b'"intermediate_value"') > 2, child)
    child.kill()
    child.communicate()
    sweep = load_sweep("long.yaml", ["training.epochs=1000000"])
    result = run_sweep(sweep, run_dir=here / "mine", minutes=0.0)
    assert [row.status for row in result.rows] == ["waiting"]
    study = SweepStudy(sweep, None, journal)
    study.open()
    states = {index: [one.state.name for one in tries] for index, tries in study.attempts().items()}
    assert states == {0: ["FAIL", "WAITING"]}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c_says_how_to_go_on(here: Path) -> None:
    journal = here / "mine" / "journal.log"
    child = start("long.yaml", "--run-dir", "mine", "--jobs", "2", "training.epochs=1000000")
    wait_until(lambda: journal.exists() and journal.read_bytes().count(b'"intermediate_value"') > 6, child)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=600)
    assert child.returncode == 130
    assert err == (
        "Stopped; 0 of 4 trials are done. Resume with:\nmnist-sweep mine/sweep.yaml --run-dir mine --jobs 2\n"
    )
    assert "long: 4 trials, random, by val_loss" in out
    assert json.loads((here / "mine" / "run.json").read_text())["status"] == "interrupted"
