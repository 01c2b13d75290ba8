"""What a config would train, without training it: layers, parameters, memory, and what works against itself."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mnist_trainer.config.expand import expand
from mnist_trainer.config.outputs import output_count
from mnist_trainer.config.schema import Config
from mnist_trainer.config.shapes import Placed, place
from mnist_trainer.model.build import build_model
from mnist_trainer.model.device import resolve_device
from mnist_trainer.model.memory import Footprint, check_memory, footprint
from mnist_trainer.pipeline.training import check_classes


@dataclass(frozen=True)
class Plan:
    """A model that can be trained here: its layers at their places, and what it needs."""

    config: Config
    device: torch.device
    placed: tuple[Placed, ...]
    footprint: Footprint


def plan(config: Config) -> Plan:
    """The plan for `config`; its model is built on the meta device, which takes no memory.

    Raises `ConfigError`, `DataError` if a folder of pictures is missing, or `DeviceError` if it cannot fit.
    """
    device = resolve_device(config.device)
    outputs = output_count(config, check_classes(config))
    placed = place(expand(config.model), outputs)
    needed = footprint(config, placed)
    check_memory(needed, device)
    with torch.device("meta"):
        model = build_model(config.model, outputs)
    built = sum(parameter.numel() for parameter in model.parameters())
    assert built == needed.parameters, f"counted {needed.parameters} parameters, built {built}"
    return Plan(config, device, placed, needed)
