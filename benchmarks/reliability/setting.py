"""The trainings that `kills` kills, and helpers to start and compare them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mnist_trainer.storage.run_folder import holds_run
from reliability.runs_alike import differences_of_runs

COMMON: dict[str, Any] = {
    "threads": 1,
    "data": {"name": "digits", "batch_size": 32, "validation": 200},
    "report": {"plots": True, "gallery": False},  # three plots are enough
}
OFTEN = 0.03
"""Seconds between two saved states: so short that many kills happen while a state is written."""

KINDS: dict[str, dict[str, Any]] = {
    "an MLP with dropout": {
        "model": {"architecture": "mlp", "hidden": [256, 128], "dropout": 0.3},
        "optimizer": "adam",
        "training": {"epochs": 30, "checkpoint_seconds": OFTEN},
    },
    "a CNN with batch norm, EMA, augmentation and one-cycle": {
        "model": {"architecture": "cnn", "channels": [4, 8], "batch_norm": True, "hidden": [32]},
        "data": {**COMMON["data"], "augment": {"rotate": 10, "shift": 2, "elastic": {"alpha": 30}, "clean_last": 1}},
        "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9},
        "schedule": "one_cycle",
        "training": {"epochs": 6, "ema": 0.99, "checkpoint_seconds": OFTEN},
    },
    "early stopping": {
        "model": {"architecture": "mlp", "hidden": [128]},
        "optimizer": {"name": "adam", "lr": 0.002},
        "schedule": {"name": "plateau", "patience": 3},
        "training": {"epochs": 99, "early_stopping": {"patience": 8}, "checkpoint_seconds": OFTEN},
    },
    "a second fit": {
        "model": {"architecture": "mlp", "hidden": [128], "dropout": 0.2},
        "optimizer": {"name": "adam", "lr": 0.002},
        "training": {"epochs": 15, "refit": True, "checkpoint_seconds": OFTEN},
    },
}
SMALL = {
    "data": {"name": "digits", "limit": 8, "batch_size": 32, "validation": 40},
    "model": {"architecture": "mlp", "hidden": [8], "dropout": 0.3},
    "training": {"epochs": 2, "checkpoint_seconds": 1e-9},
    "report": {"plots": False, "gallery": False},
}
"""A short run with every kind of system call."""


def config_file(folder: Path, sections: dict[str, Any], name: str = "config") -> Path:
    """Write a config file (JSON is YAML) to `folder` and return its path."""
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps({**COMMON, "name": name, **sections}))
    return path


def command(config: Path, run: Path, *overrides: str) -> list[str]:
    """Return the arguments of mnist-train that start a run in the folder `run`, or resume it if it exists."""
    if holds_run(run):
        return ["--resume", str(run)]
    return ["--config", str(config), "--run-dir", str(run), *overrides]


def require_alike(whole: Path, run: Path) -> None:
    """Exit unless both runs are bit-identical."""
    if found := differences_of_runs(whole, run):
        raise SystemExit(f"{run} differs from {whole}: {'; '.join(found)}")


def require(holds: bool, what: object) -> None:
    """Exit unless `holds`."""
    if not holds:
        raise SystemExit(f"FAILED: {what}")


def table(head: Iterable[object], rows: Iterable[Iterable[object]]) -> None:
    """Print a table as Markdown."""
    lines = [list(map(str, row)) for row in (head, *rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    for line in lines:
        print(f"| {' | '.join(line)} |", flush=True)
