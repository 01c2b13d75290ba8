"""Compare two run folders bit by bit. The tests use this file, too."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from mnist_trainer.storage.checkpoint import load_checkpoint

TIMES = {
    "seconds",
    "epoch_seconds",
    "images_per_second",
    "started_at",
    "finished_at",
    "timings",
    "sessions",
    "processes",
}
"""Keys that are not compared, at any depth: times, the list of sessions, and the number of processes."""


def differences_of_runs(one: Path, other: Path) -> list[str]:
    """Return the differences between the folders of two finished runs, apart from times."""
    both = (one, other)
    first, second = map(_names, both)
    found = [f"{name} is only in one of them" for name in sorted(first ^ second)]
    readers = {"best.pt": _checkpoint, "last.pt": _checkpoint, "metrics.csv": _rows, "run.json": _record}
    for name, read in readers.items():
        found += [f"{name}: {key}" for key in _unlike(*(read(run / name) for run in both))]
    same = ["config.yaml", *sorted(name for name in first & second if name.endswith(".png"))]
    return found + [name for name in same if len({(run / name).read_bytes() for run in both}) > 1]


def _names(run: Path) -> set[str]:
    """Return the names of all files except the lock, which may be left by a killed process."""
    return {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file() and path.name != ".lock"}


def _checkpoint(path: Path) -> Any:
    checkpoint = load_checkpoint(path)
    weights = [member.weights for member in checkpoint.members]
    return {"weights": weights, "state": _timeless(checkpoint.training_state)}


def _rows(path: Path) -> Any:
    return [_timeless(row) for row in csv.DictReader(path.read_text().splitlines())]


def _record(path: Path) -> Any:
    return _timeless(json.loads(path.read_text()))


def _timeless(value: Any) -> Any:
    match value:
        case Mapping():
            return {str(key): _timeless(inner) for key, inner in value.items() if key not in TIMES}
        case list() | tuple():
            return [_timeless(inner) for inner in value]
        case _:
            return value


def _unlike(one: Any, other: Any, above: str = "") -> Iterator[str]:
    """Yield the keys at which two nested values differ."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in sorted({*one, *other}):
            yield from _unlike(one.get(key), other.get(key), f"{above}{key}.")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, pair in enumerate(zip(one, other, strict=True)):
            yield from _unlike(*pair, f"{above}{number}.")
    elif isinstance(one, Tensor) and isinstance(other, Tensor):
        alike = one.dtype == other.dtype and one.shape == other.shape and bool((one == other).all())
        if not alike:
            yield above
    elif one != other:
        yield above
