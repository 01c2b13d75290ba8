"""Kill trainings at random moments and resume them until they are done; compare them with uninterrupted ones."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from time import monotonic

from reliability.setting import KINDS, command, config_file, require, require_alike, table
from reliability.zygote import PHASES, SessionResult, Zygote

KILLED = -9
AIMED = ("start-up", "epochs", "epochs", "epochs", "evaluation", "pictures")
"""The phases of the kills of one run, in random order. A kill may also happen while a state is written."""


def kills(folder: Path, count: int, real: int, seed: int) -> None:
    """Kill `count` times; `real` times a process that is started as by a user, else a fork."""
    chance = random.Random(seed)
    rows = []
    with Zygote() as zygote:
        for kind, sections in KINDS.items():
            place = folder / kind.replace(" ", "-")
            place.mkdir()
            config = config_file(place, sections)
            whole = zygote.train(command(config, place / "whole"), place)
            require(whole.code == 0, whole)
            runs, counts = _forked(zygote, place, config, whole, (count - real) // len(KINDS), chance)
            more, started = _started(zygote, place, config, real // len(KINDS), chance)
            rows.append([kind, *(counts[phase] for phase in PHASES), started, runs + more, runs + more])
            print(*rows[-1], sep="\t", file=sys.stderr, flush=True)
    table(["training", *PHASES, "real processes", "runs", "bit-identical"], rows)
    total = sum(sum(row[1:7]) for row in rows)  # type: ignore[arg-type]
    print(f"\n{total} kills in all.")


def _forked(
    zygote: Zygote, place: Path, config: Path, whole: SessionResult, count: int, chance: random.Random
) -> tuple[int, Counter[str]]:
    """Kill forks `count` times. Return the number of runs, and of kills in each phase."""
    counts: Counter[str] = Counter()
    runs, run = 0, place / "run"
    while counts.total() < count:
        for phase in chance.sample(AIMED, len(AIMED))[: count - counts.total()]:
            event = {} if phase == "start-up" else {"since": phase}
            ended = zygote.train(command(config, run), place, after=chance.uniform(0, _length(whole, phase)), **event)
            if ended.code == KILLED:
                counts[ended.phase] += 1
                continue
            require(ended.code == 0, ended)  # it was done before the kill
            if not ended.calls:
                break
        runs += _complete(zygote, place, config)
    return runs, counts


def _length(whole: SessionResult, phase: str) -> float:
    """Return the duration of a phase in seconds."""
    order = ["epochs", "evaluation", "pictures", ""]
    following = order[0] if phase == "start-up" else order[order.index(phase) + 1]
    return whole.seconds(following) - (0 if phase == "start-up" else whole.seconds(phase))


def _started(zygote: Zygote, place: Path, config: Path, count: int, chance: random.Random) -> tuple[int, int]:
    """Kill processes that import everything themselves. Return the number of runs and of kills."""
    run = place / "run"
    began = monotonic()
    subprocess.run(_line(command(config, place / "timed")), cwd=place, check=True, capture_output=True)
    seconds = monotonic() - began
    runs = killed = 0
    while killed < count:
        with subprocess.Popen(_line(command(config, run)), cwd=place, stdout=subprocess.DEVNULL) as child:
            try:
                child.wait(chance.uniform(0.3, 1) * seconds)
            except subprocess.TimeoutExpired:
                child.kill()
        killed += child.returncode == KILLED
        if child.returncode != KILLED or killed == count:
            runs += _complete(zygote, place, config)
    return runs, killed


def _line(arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", "mnist_trainer", "train", *arguments]


def _complete(zygote: Zygote, place: Path, config: Path) -> int:
    """Resume a run until it is done, compare it with the uninterrupted one, and delete it. Return 1."""
    ended = zygote.train(command(config, place / "run"), place)
    require((ended.code, ended.err) == (0, ""), ended)
    require_alike(place / "whole", place / "run")
    shutil.rmtree(place / "run")
    return 1
