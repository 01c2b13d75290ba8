"""What is known of one run, or of a series of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from mnist_trainer.config.document import printable
from mnist_trainer.studies.runs.records import Row

DAMAGED = "damaged"
"""The status of a folder that does not say how its training went."""

KILLED = "killed"
"""The status of a run that had no time to say how it ended."""


@dataclass(frozen=True)
class RunSummary:
    """One run, or a series of them; None is what is not known. Accuracies are fractions from 0 to 1.

    `problems` says what of the folder is damaged. Figures of loss can be compared where `loss` is equal. The validation
    figures are those of the best epoch; a series has means over its finished `members`, and the seconds of all of
    these; a sweep has its best trial's, and as `members` its trials. `written_at` is when a run that calls itself
    running wrote anything last.
    """

    path: Path
    name: str
    problems: tuple[str, ...] = ()
    kind: str = "run"
    status: str | None = None
    stop_reason: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    model: str | None = None
    data: str | None = None
    parameters: int | None = None
    seed: int | None = None
    loss: str | None = None
    epochs: int | None = None
    planned_epochs: int | None = None
    best_epoch: int | None = None
    val_loss: float | None = None
    val_accuracy: float | None = None
    test_loss: float | None = None
    test_accuracy: float | None = None
    test_interval: tuple[float, float] | None = None
    seconds: float | None = None
    members: int | None = None
    written_at: datetime | None = None
    made_with: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    rows: tuple[Row, ...] = ()

    @property
    def folder(self) -> str:
        """The folder's name, without what would upset a terminal."""
        return printable(self.path.name or str(self.path), 200)

    @property
    def task(self) -> str | None:
        """The data set, and the one class of a yes/no model. Accuracies can be compared within one task."""
        data = self.config.get("data", {})
        binary, path = data.get("binary"), data.get("path") if self.data == "folder" else None
        parts = [self.data, *([] if path is None else [printable(path, 200)])]
        return (
            None if self.data is None else " ".join(map(str, parts)) + ("" if binary is None else f", {binary} or not")
        )

    def to_json(self) -> dict[str, Any]:
        """An object of `mnist-runs --json`: every field but the rows; times in UTC as in `run.json`."""
        values = {name.name: getattr(self, name.name) for name in fields(self) if name.name != "rows"}
        times = {key: value.isoformat() for key, value in values.items() if isinstance(value, datetime)}
        return {"folder": self.path.name, **values, "path": str(self.path), **times}
