"""A plain network of 12 million weights, 784-2500-2000-1500-1000-500-10, batch 1024: how near it is to the machine's
own speed of matrix products, and what deformed images cost."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from itertools import pairwise
from time import perf_counter
from typing import Any

import torch

from mnist_trainer import EpochRecord, fit, prepare
from mnist_trainer.training.state import TrainingState
from speed.rounds import Options, Series, alternate
from speed.rows import Row, at_least, within

WIDTHS = (784, 2500, 2000, 1500, 1000, 500, 10)
BATCH = 1024
SHAPES = ((1024, 2500, 2000), (4096, 4096, 4096))
"""Products (m, k, n): the network's largest, and one that is large enough to show the best the machine can do."""
DEFORMED = "data.augment={rotate: 15, shear: 15, scale: 0.15, shift: 1, elastic: {alpha: 36, sigma: 5}}"
PLAIN, WITH = "images as they are", "affine and elastic deformation"


def measure(options: Options) -> list[Row]:
    """Epochs of two trainings in one process, in turn with matrix products on as many threads."""
    widths, keys = (WIDTHS, ()) if not options.tiny else ((784, 32, 10), ("data.name=digits", "data.limit=10"))
    config: dict[str, Any] = {
        "data": {"batch_size": BATCH},
        "model": {"architecture": "mlp", "hidden": list(widths[1:-1])},
        "training": {"epochs": 1000},
    }
    states = {PLAIN: prepare(config, *keys), WITH: prepare(config, *keys, DEFORMED)}
    trainings = {name: fit(state) for name, state in states.items()}
    shapes = SHAPES if not options.tiny else ((64, 64, 64),)
    work: dict[str, Callable[[int], float]] = {name: _epoch(epochs) for name, epochs in trainings.items()}
    work |= {f"products in {name}": _product(kind, shapes) for name, kind in KINDS.items()}
    found = alternate(work, options.rounds, warm_up=not options.tiny)
    operations = count_operations(widths)
    rates = {PLAIN: _rates("forward, backward and step", found[PLAIN], operations)}
    rates |= {name: _rates(name, found[name], 1) for name in found if name.startswith("products")}
    plain, deformed = (Series(name, _seconds(found[name], states[name])) for name in (PLAIN, WITH))
    precision = states[PLAIN].setup.reading.precision
    goals = (
        _share(rates[PLAIN], rates["products in bfloat16"], 45),
        within(deformed, plain, 1.4),
    )
    return [Row(TITLE, COMMAND, (plain, deformed, *rates.values()), goals, _notes(precision, shapes))]


TITLE, COMMAND = "An epoch of a network with 12 million weights", "python benchmarks/run large_mlp"
KINDS = {"bfloat16": torch.bfloat16, "float32": torch.float32}


def _notes(precision: str, shapes: tuple[tuple[int, int, int], ...]) -> tuple[str, ...]:
    sizes = ", ".join("·".join(map(str, shape)) for shape in shapes)
    return (
        f"`precision: auto` took {precision} here. {torch.get_num_threads()} threads, for products too; of the "
        f"sizes {sizes} (m·k·n) the fastest counts.",
        "An epoch is 55,000 images without validation, with shuffling, gathering and normalising. Operations: 2 for "
        "each weight and image forward, 4 backward, less the first layer's, whose input needs no gradient. Aim with "
        "deformation: 1.25 ×.",
    )


def count_operations(widths: tuple[int, ...]) -> int:
    """Floating-point operations of one image's forward and backward pass in a plain network's matrix products."""
    weights = [before * after for before, after in pairwise(widths)]
    return 6 * sum(weights) - 2 * weights[0]


def _epoch(records: Iterator[EpochRecord]) -> Callable[[int], float]:
    """Images a second in the training part of an epoch."""
    return lambda _: next(records).images_per_second


def _product(kind: torch.dtype, shapes: tuple[tuple[int, int, int], ...]) -> Callable[[int], float]:
    """Operations a second of the fastest of `shapes`, each the best of three that take some tenths of a second."""

    def rate(_: int) -> float:
        return max(_operations_a_second(kind, *shape) for shape in shapes)

    return rate


def _operations_a_second(kind: torch.dtype, m: int, k: int, n: int) -> float:
    gc.collect()
    left, right = torch.randn(m, k).to(kind), torch.randn(k, n).to(kind)
    times = []
    for _ in range(4):  # the first one prepares
        started = perf_counter()
        left @ right
        times.append(perf_counter() - started)
    return 2 * m * k * n / min(times[1:])


def _rates(name: str, values: list[float], operations: int) -> Series:
    return Series(name, tuple(value * operations / 1e9 for value in values), "GFLOP/s")


def _seconds(values: list[float], state: TrainingState) -> tuple[float, ...]:
    return tuple(len(state.setup.train) / value for value in values)


def _share(rate: Series, limit: Series, least: float) -> Any:
    shares = Series("", tuple(100 * mine / best for mine, best in zip(rate.values, limit.values, strict=True)), "%")
    return at_least(f"share of the speed of {limit.name}", shares, least, 100 * rate.median / limit.median)
