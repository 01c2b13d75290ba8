"""Alternating runs: A B C, A B C, …, so that a machine that is slower for a while is so for all of them."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from speed.processes import Spent

T = TypeVar("T")


@dataclass(frozen=True)
class Options:
    """How much is measured."""

    rounds: int = 5
    tiny: bool = False
    """One short round without peers: it shows only that the script works."""
    peers: Path | None = None
    """The Python interpreter that has scikit-learn, Keras and Lightning; None: no peers."""


@dataclass(frozen=True)
class Series:
    """One thing, measured several times."""

    name: str
    values: tuple[float, ...]
    unit: str = "s"
    cpu: tuple[float, ...] = field(default=())
    """CPU seconds of the same runs, where whole processes were measured."""

    @property
    def median(self) -> float:
        return statistics.median(self.values)


def alternate(work: Mapping[str, Callable[[int], T]], rounds: int, warm_up: bool = True) -> dict[str, list[T]]:
    """What each of `work` gives in each round, in turn; it is told the round's number. A first round isn't counted."""
    results: dict[str, list[T]] = {name: [] for name in work}
    for number in range(-1 if warm_up else 0, rounds):
        for name, run in work.items():
            print(f"  {'warming up' if number < 0 else f'round {number + 1} of {rounds}'}: {name}", file=sys.stderr)
            result = run(max(number, 0))
            if number >= 0:
                results[name].append(result)
    return results


def wall(name: str, runs: list[Spent]) -> Series:
    """Seconds of whole processes."""
    return Series(name, tuple(run.seconds for run in runs), cpu=tuple(run.cpu_seconds for run in runs))
