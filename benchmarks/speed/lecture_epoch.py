"""An epoch of the lecture's network: 784-64-64-64-10, Adam 0.003, batch 256."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from speed.rounds import Options, Series, alternate
from speed.rows import Row, faster, within
from speed.trainings import ON_MORE, peer, training

EPOCHS = {"sklearn_lecture": 6, "keras_lecture": 4, "lecture": 2, "lightning_lecture": 2}
"""Of each peer; the first is left out, in which buffers are made and code is compiled."""
OURS = 9
NAMES = {
    "sklearn_lecture": "scikit-learn's MLPClassifier",
    "keras_lecture": "Keras with tensorflow-cpu",
    "lecture": "the lecture's loop",
    "lightning_lecture": "Lightning",
}


def measure(options: Options) -> list[Row]:
    """Seconds of an epoch as each program times it: the median of all but the first of each process."""

    def mine(number: int) -> float:
        keys = (f"training.epochs={OURS}", "report.plots=false", "report.gallery=false")
        return later(training(options, "lecture", *keys, seed=number)[1]["epochs_seconds"])

    def theirs(name: str) -> Callable[[int], float]:
        run = peer(options, name, EPOCHS[name])
        return lambda number: later(run(number).told["epoch_seconds"])

    work: dict[str, Callable[[int], float]] = {"this trainer": mine}
    if options.peers:
        work |= {NAMES[name]: theirs(name) for name in EPOCHS}
    results = alternate(work, options.rounds, warm_up=not options.tiny)
    series = {name: Series(name, tuple(values)) for name, values in results.items()}
    goals = []
    if options.peers:
        us = series["this trainer"]
        goals = [faster(us, series[NAMES["lecture"]], 12), within(us, series[NAMES["sklearn_lecture"]], 0.85)]
    command = f"mnist-train --config lecture training.epochs={OURS} report.plots=false report.gallery=false"
    notes = (ON_MORE, "Of each process the median of its epochs, the first left out.")
    return [Row("An epoch of the lecture's network", command, tuple(series.values()), tuple(goals), notes)]


def later(epochs: list[float]) -> float:
    """The median of all epochs but the first."""
    return statistics.median(epochs[1:])
