"""The most memory that a training holds, with its children, beside `import torch` alone."""

from __future__ import annotations

from collections.abc import Callable

from speed.fast import TORCH, is_shipped
from speed.processes import Spent, python, spend
from speed.rounds import Options, Series, alternate
from speed.rows import Row, above
from speed.trainings import training

NAMES = ("lecture", "fast", "mlp")
MOST = 350
"""Megabytes above `import torch`."""
WITH_GOAL = ("lecture", "fast")


def measure(options: Options) -> list[Row]:
    """Peaks of whole commands, sampled and by the system's own account."""
    names = [name for name in NAMES if is_shipped(name)][: 1 if options.tiny else None]

    keys = ("report.plots=false",) if options.tiny else ()

    def trained(name: str) -> Callable[[int], Spent]:
        return lambda seed: training(options, name, *keys, seed=seed, watch=True)[0]

    work: dict[str, Callable[[int], Spent]] = {TORCH: lambda _: spend(python("import torch"), watch=True)}
    work |= {f"mnist-train --config {name}": trained(name) for name in names}
    found = alternate(work, 1 if options.tiny else 3, warm_up=False)
    series = {name: Series(name, tuple(run.together_mb for run in runs), "MB") for name, runs in found.items()}
    goals = [above(one, series[TORCH], MOST) for name, one in series.items() if name.split()[-1] in WITH_GOAL]
    notes = (
        "10⁶ bytes of resident memory: the system's peak of one process, or what a process and its children held at "
        "one moment where that was more (looked at every 20 ms; what they share counts once).",
        *(() if is_shipped("fast") else ("fast: **open**, there is no such config yet.",)),
    )
    command = "; ".join(f"mnist-train --config {name}" for name in names)
    return [Row("Memory", command, tuple(series.values()), tuple(goals), notes)]
