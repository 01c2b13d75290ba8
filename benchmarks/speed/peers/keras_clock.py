"""Seconds of each of Keras' epochs."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import keras


class Clock(keras.callbacks.Callback):
    """Remembers how long each epoch took."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.started = perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.seconds.append(perf_counter() - self.started)
