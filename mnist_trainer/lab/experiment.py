"""What experiments share: statements that are checked, MNIST as plain tensors, and training by the five lines."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mnist_trainer.config.schema import Data
from mnist_trainer.data.datasets import load_published
from mnist_trainer.data.paths import data_root
from mnist_trainer.files import make_folder, write_bytes, write_text

COMPARISONS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "=": operator.eq}


@dataclass(frozen=True)
class Statement:
    """One statement, what was expected and measured, and whether it held."""

    statement: str
    expected: str
    measured: Any
    held: bool

    def __str__(self) -> str:
        """Return `held  OR: 5 updates by the perceptron rule`; a failed statement ends with what was measured."""
        measured = f"{self.measured:.4g}" if isinstance(self.measured, float) else str(self.measured)
        if not self.held:
            return f"failed  {self.statement}: measured {measured}, expected {self.expected}"
        return f"held  {self.statement}" + (f" ({measured})" if self.expected[0] in "<>" else "")


class Experiment:
    """What an experiment measures. `quick` asks for less data."""

    def __init__(self, name: str, quick: bool = False) -> None:
        self.name, self.quick = name, quick
        self.statements: list[Statement] = []
        self.seconds = 0.0
        self.png = b""

    def check(self, statement: str, measured: Any, expected: Any, tolerance: float = 0.0) -> None:
        """Check that `measured` equals `expected`, within `tolerance`, or fulfils a comparison such as `"<= 1e-6"`."""
        measured = measured.tolist() if hasattr(measured, "tolist") else measured  # of an array or a tensor
        sign, _, limit = expected.partition(" ") if isinstance(expected, str) else ("", "", "")
        if sign in COMPARISONS:
            held = bool(COMPARISONS[sign](measured, float(limit)))
        else:
            held = bool(abs(measured - expected) <= tolerance if tolerance else measured == expected)
        text = expected if sign in COMPARISONS else f"{expected} ± {tolerance:g}" if tolerance else str(expected)
        self.statements.append(Statement(statement, text, measured, held))

    @property
    def held(self) -> bool:
        """Whether all statements held."""
        return all(statement.held for statement in self.statements)

    def write(self, folder: Path) -> Path:
        """Write `NAME.png` and `NAME.json` to `folder` and return the path of the picture. Raises `StorageError`."""
        make_folder(folder)
        record = {"name": self.name, "quick": self.quick, "held": self.held, "seconds": round(self.seconds, 2)}
        statements = [asdict(statement) for statement in self.statements]
        write_text(folder / f"{self.name}.json", json.dumps(record | {"statements": statements}, indent=2) + "\n")
        write_bytes(folder / f"{self.name}.png", self.png)
        return folder / f"{self.name}.png"

    def _repr_png_(self) -> bytes:
        """Return the picture, which a notebook shows."""
        return self.png

    def __repr__(self) -> str:
        """Return the statements, a line each."""
        return "\n".join(map(str, self.statements))


def mnist(split: Literal["train", "test"], images: int | None = None) -> tuple[Tensor, Tensor]:
    """Return the first `images` of MNIST, float32 [N, 784] from 0 (paper) to 1 (ink), and their labels [N].

    Raises `DataError` if MNIST is neither there nor to be downloaded.
    """
    dataset = load_published("mnist", data_root(Data()), split)
    pixels, labels = dataset.gather(torch.arange(len(dataset) if images is None else images))
    return pixels.flatten(1) / 255, labels


def fit(
    model: nn.Module,
    criterion: Callable[[Tensor, Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    inputs: Tensor,
    targets: Tensor,
    *,
    epochs: int,
    batch_size: int | None = None,
) -> Iterator[float]:
    """Train `model` on `inputs` [N, ...] and `targets` [N, ...], and yield the mean loss of each epoch.

    `batch_size` None: all of them in each step. The order is drawn from torch's global generator.
    """
    count = len(inputs)
    for _ in range(epochs):
        total = 0.0
        order = torch.arange(count) if batch_size is None else torch.randperm(count)
        for batch in torch.split(order, batch_size or count):
            loss = criterion(model(inputs[batch]), targets[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += float(loss.detach()) * len(batch)
        yield total / count
