"""How time and memory grow with batch size, width, images, threads, pictures, runs and epochs."""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from speed.processes import Spent, ours, spend
from speed.rounds import Options
from speed.tables import Point, Table
from speed.trainings import training

QUICK = 15
"""Seconds: what takes less is measured three times, and the median counts."""
PLAIN = ("report.plots=false", "report.gallery=false")

Measure = Callable[[int], Point]


def measure(options: Options, name: str) -> Table:
    """The table `name`, one of `TABLES`; in the tiny form only its smallest size."""
    return TABLES[name](options)


def batches(options: Options) -> Table:
    """Over the size of a batch."""

    def one(size: int) -> Point:
        return _epoch(options, size, "lecture", f"data.batch_size={size}", "training.epochs=4")

    points = _points(one, (16, 64, 256, 1024, 4096), options)
    return Table("Batch size", "images a batch", "epoch", points, "The lecture's network, 55,000 images.")


def widths(options: Options) -> Table:
    """Over the width of three hidden layers."""

    def one(size: int) -> Point:
        keys = (f"model.hidden=[{size}, {size}, {size}]", "data.limit=1000", "training.epochs=3")
        return _epoch(options, size, "lecture", *keys)

    points = _points(one, (64, 256, 1024, 4096), options)
    note = "Three hidden layers, 10,000 images less those to validate, batch 256. Their products grow as width²."
    return Table("Width", "units a layer", "epoch", points, note)


def images(title: str, note: str, *way: str) -> Callable[[Options], Table]:
    """Over the number of training images, in memory or in a file."""
    program = Path(__file__).parent / "repeated.py"

    def make(options: Options) -> Table:
        def one(size: int) -> Point:
            keys = ("data.name=digits",) if options.tiny else ()
            spent = spend([sys.executable, str(program), str(size), *way, *keys])
            held = spent.told["anonymous_mb"] if way else None
            seconds = statistics.median(spent.told["epoch_seconds"][1:])
            return Point(size, seconds, None, spent.peak_mb if held is None else held)

        points = _points(one, (1_000, 10_000, 60_000, 600_000), options)
        return Table(title, "training images", "epoch", points, note)

    return make


def threads(title: str, config: str, *keys: str) -> Callable[[Options], Table]:
    """Over threads, for one network."""

    def make(options: Options) -> Table:
        def one(size: int) -> Point:
            return _epoch(options, size, config, *keys, f"threads={size}", "training.epochs=4")

        return Table(f"Threads, {title}", "threads", "epoch", _points(one, (1, 2), options))

    return make


def pictures(options: Options) -> Table:
    """Over the pictures in one `mnist-predict`."""
    from speed.reading import write_digits

    def one(size: int) -> Point:
        with tempfile.TemporaryDirectory() as scratch:
            folder = write_digits(Path(scratch) / "pictures", size)
            return _whole(size, spend(ours("predict", str(folder), "--csv")))

    points = _points(one, (1, 10, 100, 1_000, 10_000), options)
    return Table("Pictures", "pictures in one call", "mnist-predict", points, "28×28 PNGs, the bundled model.")


def runs(options: Options) -> Table:
    """Over the runs in the folder that `mnist-runs` lists."""
    with tempfile.TemporaryDirectory() as scratch:
        run, many = Path(scratch) / "run", Path(scratch) / "many"
        training(replace(options, tiny=True), "quickstart", "report.plots=false", folder=run)

        def one(size: int) -> Point:
            shutil.rmtree(many, ignore_errors=True)
            for number in range(size):
                copy = many / f"2026-01-01_00-00-00-run{number:05}"
                copy.mkdir(parents=True)
                for name in ("config.yaml", "run.json", "metrics.csv"):
                    shutil.copyfile(run / name, copy / name)
            return _whole(size, spend(ours("runs", str(many))))

        points = _points(one, (1, 10, 100, 1_000, 10_000), options)
    return Table("Runs", "runs in the folder", "mnist-runs", points, "Goal: 1 s for 1,000.")


def epochs(options: Options) -> Table:
    """Over the epochs of a training, for one of them."""
    keys = (
        "data.name=digits",
        "data.limit=10",
        "data.validation=50",
        "model.hidden=[8]",
        "training.checkpoint_seconds=10",
    )

    def shortest(size: int) -> Spent:
        tries = 1 if options.tiny or size > 1_000 else 7  # a start varies by more than ten epochs take
        runs = [training(options, "lecture", *keys, f"training.epochs={size}")[0] for _ in range(tries)]
        return min(runs, key=lambda run: run.cpu_seconds)

    def one(size: int) -> Point:
        spent, after = shortest(size), size - 1
        cpu = (spent.cpu_seconds - start.cpu_seconds) / after
        return Point(size, (spent.seconds - start.seconds) / after, cpu, spent.peak_mb)

    start = shortest(1)
    points = _points(one, (10, 100, 1_000, 10_000), options)
    note = (
        "A whole `mnist-train` with all reports on 50 images, less one of a single epoch, by the epochs after it; of "
        "up to 1,000 the shortest of seven runs. "
        "Goal: 10,000 cost no more an epoch than 10."
    )
    return Table("Epochs", "epochs", "an epoch", points, note)


def _epoch(options: Options, size: int, config: str, *keys: str) -> Point:
    spent, record = training(options, config, *keys, *PLAIN)
    return Point(size, statistics.median(record["epochs_seconds"][1:]), None, spent.peak_mb)


def _whole(size: int, spent: Spent) -> Point:
    return Point(size, spent.seconds, spent.cpu_seconds, spent.peak_mb)


def _points(one: Measure, sizes: Sequence[int], options: Options) -> list[Point]:
    """A point for each of `sizes`; the median of three by time where one is quick."""
    found = []
    for size in sizes[: 1 if options.tiny else None]:
        print(f"  {size:,}", file=sys.stderr)
        started = perf_counter()
        tries = [one(size)]
        if perf_counter() - started < QUICK and not options.tiny:
            tries += [one(size), one(size)]
        found.append(sorted(tries, key=lambda point: point.seconds)[len(tries) // 2])
    return found


TABLES: dict[str, Callable[[Options], Table]] = {
    "batches": batches,
    "widths": widths,
    "images": images(
        "Images", "The lecture's network, the training images again and again, 5,000 to validate in each epoch."
    ),
    "mapped": images(
        "Images in a file", "The same from a mapped file. Memory is what the system can't take back.", "mapped"
    ),
    "threads-lecture": threads("the lecture's network", "lecture"),
    "threads-half": threads("128 units, batches of 256", "lecture", "model.hidden=[128]"),
    "threads-layer": threads("256 units, batches of 256", "lecture", "model.hidden=[256]"),
    "threads-batch": threads("batches of 1,024", "lecture", "data.batch_size=1024"),
    "threads-wide": threads("3 × 1,024", "lecture", "model.hidden=[1024, 1024, 1024]", "data.limit=1000"),
    "threads-cnn": threads("cnn", "cnn", "data.limit=1000"),
    "pictures": pictures,
    "runs": runs,
    "epochs": epochs,
}
TINY = ("images", "mapped", "runs")
"""Enough to see that it works."""
