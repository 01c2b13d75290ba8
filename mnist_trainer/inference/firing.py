"""Units that never fire: ReLU units whose output is 0 for every image, so that no gradient reaches their weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

WEIGHTED = (nn.Linear, nn.Conv2d)


@dataclass(frozen=True)
class DeadUnits:
    """The units of `layer` that never fired, of its `count`; layers with weights are numbered from 1."""

    layer: int
    units: tuple[int, ...]
    count: int


class FiringMonitor:
    """Records which ReLU units had an output above 0, while it is attached to a model."""

    def __init__(self) -> None:
        self.layer = self.position = 0
        self.fired: dict[int, tuple[int, Tensor]] = {}

    def reset(self, *_: Any) -> None:
        """Called before each batch."""
        self.layer = self.position = 0

    def record(self, module: nn.Module, inputs: Any, outputs: Tensor) -> None:
        """Called after each layer with weights and each ReLU, with its outputs [B, units, …]."""
        if isinstance(module, WEIGHTED):
            self.layer += 1
            return
        fired = (outputs > 0).any(dim=(0, *range(2, outputs.dim())))
        _, before = self.fired.get(self.position, (0, fired))
        if before.shape == fired.shape:
            self.fired[self.position] = (self.layer, before | fired)
        self.position += 1

    @property
    def dead(self) -> list[DeadUnits]:
        """The layers with units that never fired, in the order in which data pass them."""
        found = [(layer, fired.cpu()) for layer, fired in self.fired.values()]
        dead = [DeadUnits(layer, tuple((~fired).nonzero().flatten().tolist()), len(fired)) for layer, fired in found]
        return [layer for layer in dead if layer.units]


@contextmanager
def monitor_firing(model: nn.Module) -> Iterator[FiringMonitor]:
    """Attach a monitor to `model` inside the block."""
    monitor = FiringMonitor()
    modules = [module for module in model.modules() if isinstance(module, (*WEIGHTED, nn.ReLU, nn.ReLU6))]
    handles = [module.register_forward_hook(monitor.record) for module in modules]
    handles.append(model.register_forward_pre_hook(monitor.reset))
    try:
        yield monitor
    finally:
        for handle in handles:
            handle.remove()


def describe_dead_units(dead: Sequence[DeadUnits]) -> str:
    """Return `3 of 64 units of layer 1, 2 of 32 of layer 2 never fired on the validation images.`, or an empty text."""
    parts = [
        f"{len(each.units)} of {each.count}{' units' * (not index)} of layer {each.layer}"
        for index, each in enumerate(dead)
    ]
    return f"{', '.join(parts)} never fired on the validation images." if parts else ""
