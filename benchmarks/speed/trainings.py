"""This trainer's trainings as processes, in a folder that is thrown away, and what their files say."""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from speed.environment import plain_environment, program
from speed.processes import Spent, ours, spend
from speed.rounds import Options

SMALL = ("data.name=digits", "data.limit=10", "data.validation=50", "training.epochs=3", "report.gallery=false")
"""Keys that make any training one of a second: the tiny form."""
ON_MORE = "The peers train on 60,000 images; this trainer on 55,000, and judges each epoch on 5,000 more."


def training(
    options: Options, config: str, *keys: str, seed: int = 0, folder: Path | None = None, watch: bool = False
) -> tuple[Spent, dict[str, Any]]:
    """One `mnist-train`, with what its run.json says and, as `epochs`, the rows of its metrics.csv."""
    with tempfile.TemporaryDirectory() as scratch:
        place = folder or Path(scratch) / "run"
        tiny = SMALL if options.tiny else ()
        arguments = ["--config", config, "--seed", str(seed), "--run-dir", str(place), "--quiet", *keys, *tiny]
        spent = spend(ours("train", *arguments), watch=watch)
        record: dict[str, Any] = json.loads((place / "run.json").read_text())
        with (place / "metrics.csv").open(newline="") as file:
            record["epochs_seconds"] = [float(row["seconds"]) for row in csv.DictReader(file)]
    return spent, record


def peer(options: Options, name: str, epochs: int) -> Callable[[int], Spent]:
    """A run of one of the peers' programs."""
    assert options.peers is not None
    command = program(options.peers, name, str(epochs))
    return lambda _: spend(command, env=plain_environment())
