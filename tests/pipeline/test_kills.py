"""A training that is killed at any of its writes, and at any moment, goes on to the same bits."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import sleep
from typing import Any

import pytest

from .conftest import Command

Alike = Callable[[Path, Path], list[str]]

KILLED = -signal.SIGKILL
WRITES = ("mkdir", "write", "replace")
"""What leaves the disk in another state than before."""


@pytest.mark.slow
def test_killed_at_each_of_its_writes_it_is_the_same_run(
    zygote: Any, here: Path, command: Command, differences_of_runs: Alike
) -> None:
    often = "training.checkpoint_seconds=0.000000001"  # a state after each step
    whole = zygote.train(command(here / "whole", often), here)
    assert (whole.code, whole.err) == (0, "")
    killed, at, runs = [], 1, 0
    while at <= sum(call.startswith(WRITES) for call in whole.calls):
        ended = zygote.train(
            command(here / "run", often), here, at=at, only=WRITES
        )  # one after another goes on where the last fell
        if ended.code == KILLED:
            killed.append(ended.calls[-1])
            at += 1
            continue
        assert (ended.code, ended.err) == (0, "")
        assert differences_of_runs(here / "whole", here / "run") == []
        shutil.rmtree(here / "run")
        runs += 1
    assert zygote.train(command(here / "run", often), here).code == 0
    assert differences_of_runs(here / "whole", here / "run") == []
    assert runs >= 2
    assert {call.split()[0] for call in killed} == set(WRITES)


@pytest.mark.slow
def test_killed_while_pictures_are_written_it_is_the_same_run(
    zygote: Any, here: Path, command: Command, differences_of_runs: Alike
) -> None:
    whole = zygote.train(command(here / "whole", "report.plots=true"), here)
    assert whole.code == 0
    begin = next(number for number, call in enumerate(whole.calls, 1) if call == "mkdir plots")
    calls = range(begin, len(whole.calls) + 1)
    assert zygote.train(command(here / "run", "report.plots=true"), here, at=calls[0]).phase == "pictures"
    before = len(whole.calls) - len(zygote.train(["--resume", "run"], here, at=begin).calls)
    for at in calls[2::9]:
        assert zygote.train(["--resume", "run"], here, at=at - before).code == KILLED
    assert zygote.train(["--resume", "run"], here).code == 0
    assert differences_of_runs(here / "whole", here / "run") == []
    assert len(list((here / "run" / "plots").iterdir())) == 3


@pytest.mark.slow
def test_killed_from_outside_at_three_moments_it_is_the_same_run(
    zygote: Any, here: Path, command: Command, differences_of_runs: Alike
) -> None:
    often = ["training.epochs=200", "training.checkpoint_seconds=0.01"]
    assert zygote.train(command(here / "whole", *often), here).code == 0
    moments = random.Random()  # truly: no seed makes a process meet its signal at the same step again
    for count in range(3):
        start = [sys.executable, "-m", "mnist_trainer", "train", *command(here / "run", *often)]
        with subprocess.Popen(start, cwd=here, env=os.environ, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            if count:  # the first one falls while it starts, more often than not
                assert any(line.startswith(("epoch ", "resume ")) for line in child.stdout)
            sleep(moments.uniform(0, 0.3))
            child.kill()
        if child.returncode == 0:  # the machine was too busy to kill it before its end
            break
        assert child.returncode == KILLED
    assert zygote.train(command(here / "run", *often), here).code == 0
    assert differences_of_runs(here / "whole", here / "run") == []
