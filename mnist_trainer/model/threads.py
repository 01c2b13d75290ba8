"""How many CPU threads a model is worth, decided from the config, never by timing."""

from __future__ import annotations

from mnist_trainer.config.layers import LayerInfo, expand, infer_shapes
from mnist_trainer.config.model import Conv
from mnist_trainer.config.schema import Config
from mnist_trainer.model.device import LARGE_LAYER

CLASSES = 10
"""Whatever the data has: no output layer is large."""

MIN_MULTIPLICATIONS = 2**24
"""Multiplications of a layer with one batch that are worth a second thread. On two cores an epoch then takes 0.8 of the
time with 26 million, 0.7 with twice as many, and 0.9 with 13 million (benchmarks/RESULTS.md, growth over threads);
beside a busy program it took three times as long, tried by hand."""


def choose_threads(config: Config, own_model: object | None = None) -> int | None:
    """`config.threads`, else 1 where every piece of work is small; None leaves it to torch, as for a user's own model.

    Threads wait for each other after each operation. Between small ones that takes as long as what they save, and
    beside other busy programs many times as long.
    """
    if config.threads is not None or own_model is not None:
        return config.threads
    makes_images = config.data.augment is not None or config.data.simulate.added(1000) > 0
    layers = infer_shapes(expand(config.model), CLASSES)
    heavy = makes_images or any(_is_heavy_layer(info, config.data.batch) for info in layers)
    return None if heavy else 1


def _is_heavy_layer(info: LayerInfo, batch: int) -> bool:
    large = info.parameters >= min(LARGE_LAYER, MIN_MULTIPLICATIONS / batch)
    return isinstance(info.layer, Conv) or large or any(_is_heavy_layer(inner, batch) for inner in info.inner)
