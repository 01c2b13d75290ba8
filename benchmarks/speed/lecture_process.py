"""The lecture's training as a whole process: start, two epochs, test; ours with all reports and pictures."""

from __future__ import annotations

from collections.abc import Callable

from speed.lecture_epoch import NAMES
from speed.processes import Spent
from speed.rounds import Options, alternate, wall
from speed.rows import Row, within
from speed.trainings import ON_MORE, peer, training

EPOCHS = 2


def measure(options: Options) -> list[Row]:
    """Seconds of whole processes."""
    keys = ("report.plots=false",) if options.tiny else ()
    work: dict[str, Callable[[int], Spent]] = {
        "this trainer": lambda seed: training(options, "lecture", *keys, seed=seed)[0]
    }
    if options.peers:
        work |= {name: peer(options, program, EPOCHS) for program, name in NAMES.items()}
    results = alternate(work, options.rounds, warm_up=not options.tiny)
    series = {name: wall(name, runs) for name, runs in results.items()}
    goals = [within(series["this trainer"], series[NAMES["sklearn_lecture"]], 2)] if options.peers else []
    notes = (ON_MORE, "The peers test once and print a line; they write no report and draw nothing. Aim: 1.5 ×.")
    title = "The lecture's training, whole process"
    return [Row(title, "mnist-train --config lecture", tuple(series.values()), tuple(goals), notes)]
