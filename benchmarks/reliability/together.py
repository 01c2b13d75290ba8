"""Trainings that share a machine and a data folder, one whose cache is deleted, and a series whose parent is killed."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep

from reliability.setting import KINDS, command, config_file, require, require_alike, table
from reliability.zygote import Zygote

AT_ONCE = 8
STARTS = 10
PARENTS_KILLED = 5
SEEDS = 4
QUIET = {"plots": False, "gallery": False}


def together(folder: Path, data: Path) -> None:
    """`data` is a folder of data sets that holds MNIST, packed."""
    root = folder / "data"
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")  # where there may be a cache of the same files
    (root / "MNIST" / "raw").mkdir(parents=True)
    for packed in (data / "MNIST" / "raw").glob("*.gz"):  # only those are kept unpacked in a file of their own
        shutil.copy(packed, root / "MNIST" / "raw")
    mnist = {"name": "mnist", "root": str(root), "limit": 300, "batch_size": 64, "validation": 1000}
    sections = {**KINDS["an MLP with dropout"], "data": mnist, "report": QUIET}
    config = config_file(folder, sections)
    with Zygote() as zygote:
        rows = [_at_once(zygote, folder, config, root), _without_cache(zygote, folder, config, root)]
        rows.append(_series(zygote, folder, config))
    table(["what", "runs", "equal to the lone run, to the bit"], rows)


def _at_once(zygote: Zygote, folder: Path, config: Path, root: Path) -> tuple[str, int, int]:
    require(not list(root.rglob("*.npy")), "there is a cache already")
    runs = [folder / f"run-{number}" for number in range(AT_ONCE)]
    for ended in zygote.train_together([command(config, run) for run in runs], folder):
        require((ended.code, ended.err) == (0, ""), ended)
    require(zygote.train(command(config, folder / "whole"), folder).code == 0, "the lone run")
    require(len(list(root.rglob("*.npy"))) == 2, "what they left of the cache")
    for run in runs:
        require_alike(folder / "whole", run)
    return "at once, on one data folder without a cache", AT_ONCE, AT_ONCE


def _without_cache(zygote: Zygote, folder: Path, config: Path, root: Path) -> tuple[str, int, int]:
    with _deleting(root) as deleted:
        for number in range(STARTS):
            run = folder / f"bare-{number}"
            ended = zygote.train(command(config, run), folder)
            require((ended.code, ended.err) == (0, ""), ended)
            require_alike(folder / "whole", run)
    require(deleted[0] > 1, "nothing was deleted")
    return f"while its cache was deleted {deleted[0]} times", STARTS, STARTS


@contextmanager
def _deleting(root: Path) -> Iterator[list[int]]:
    """Inside it the cache files below `root` are deleted again and again; counts them."""
    over, count = threading.Event(), [0]

    def delete() -> None:
        while not over.is_set():
            for path in root.rglob("*.npy"):
                path.unlink(missing_ok=True)
                count[0] += 1
            sleep(0.005)

    thread = threading.Thread(target=delete)
    thread.start()
    try:
        yield count
    finally:
        over.set()
        thread.join()


def _series(zygote: Zygote, folder: Path, config: Path) -> tuple[str, int, int]:
    chance = random.Random(0)
    series = folder / "series"
    start = [sys.executable, "-m", "mnist_trainer.cli.mnist_train"]
    for number in range(PARENTS_KILLED + 1):
        known = ["--resume", str(series)]
        fresh = ["--config", str(config), "--run-dir", str(series), "--seeds", str(SEEDS), "--jobs", "2"]
        is_begun = (series / "run.json").exists()
        line = [*start, *(known if is_begun else fresh)]
        with subprocess.Popen(line, cwd=folder, env=os.environ, stdout=subprocess.DEVNULL) as parent:
            if number < PARENTS_KILLED:
                _wait_for_states(series, parent, number)
                sleep(chance.uniform(0, 1))
                require(parent.poll() is None, "the series was over before it could be killed")
                parent.kill()
        require(parent.returncode == (0 if number == PARENTS_KILLED else -9), parent.returncode)
    for seed in range(SEEDS):
        lone = folder / f"lone-{seed}"
        require(zygote.train([*command(config, lone), "--seed", str(seed)], folder).code == 0, lone)
        require_alike(lone, series / f"seed-{seed}")
    return f"a series of {SEEDS}, 2 at a time, its parent killed {PARENTS_KILLED} times", SEEDS, SEEDS


def _wait_for_states(series: Path, parent: subprocess.Popen[bytes], number: int) -> None:
    """Until a run of the series has written something new."""
    before = _newest(series)
    while _newest(series) <= before and parent.poll() is None:
        sleep(0.02)


def _newest(series: Path) -> int:
    return max((path.stat().st_mtime_ns for path in series.glob("seed-*/last.pt")), default=0)
