"""Keeps a run's folder while it trains: config first, then a row an epoch, checkpoints, and how it ended."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

from torch import Tensor

from mnist_trainer.config.load import dump_config
from mnist_trainer.config.schema import Config
from mnist_trainer.errors import StorageError
from mnist_trainer.files import write_text
from mnist_trainer.inference.metrics import Evaluation
from mnist_trainer.reports.environment import describe_environment
from mnist_trainer.reports.listener import metrics_row
from mnist_trainer.reports.tensorboard import EventWriter
from mnist_trainer.reports.text import epoch_cells, terms_line
from mnist_trainer.storage.checkpoint import Checkpoint, Member, save_checkpoint
from mnist_trainer.storage.run_folder import RunFolder
from mnist_trainer.training.loop import EpochRecord
from mnist_trainer.training.state import TrainingState

SAVE_SECONDS = 10.0
"""`last.pt` is written at an epoch's end when so much time has passed since it was written last."""


class Journal:
    """Writes one run's folder. `custom` names what of it is the user's own code; `began` is when loading began."""

    def __init__(self, folder: RunFolder, state: TrainingState, custom: dict[str, str], began: float) -> None:
        self.folder, self.first, self.state, self.custom = folder, state, state, custom
        self.records: list[EpochRecord] = []
        self.began, self.saved = began, perf_counter()
        self.loaded = self.saved - began
        self.events: EventWriter | None = None
        self.entry: dict[str, Any] = {}

    @property
    def config(self) -> Config:
        """The run's config, as it stands in `config.yaml`."""
        return self.first.setup.config

    @property
    def best_epoch(self) -> int:
        """The best epoch by validation; 0 before the first one is complete."""
        return self.first.best.epoch

    @property
    def stop_reason(self) -> str:
        """Why the first fit ended."""
        return self.first.stop_reason or "epochs"

    @property
    def seconds(self) -> float:
        """Of training, both fits together."""
        return sum(state.seconds for state in {self.first, self.state})

    def start(self, facts: dict[str, Any]) -> None:
        """Writes `config.yaml`, then `run.json` with the status running and the `facts` that are known by now."""
        config = self.config
        write_text(self.folder.config, dump_config(config))
        self.entry = {
            "name": config.name,
            "status": "running",
            "stop_reason": None,
            "best_epoch": None,
            "epochs": 0,
            "test": None,
            "validation": None,
            "seed": config.seed,
            **facts,
            **describe_environment(self.state),
            "started_at": _now(),
            "finished_at": None,
            "timings": {},
        }
        self.folder.write_record(self.entry)
        if config.report.tensorboard:
            self.events = EventWriter(self.folder.path / "tensorboard")

    def epoch(self, record: EpochRecord) -> None:
        """Adds an epoch's row, and saves what it changed."""
        self.records.append(record)
        if record.best:
            save_checkpoint(self.folder.best, self.best())
        if perf_counter() - self.saved >= SAVE_SECONDS:
            self.save_last()
        self.folder.add_metrics(metrics_row(record))
        terms = f"   loss terms: {terms_line(record)}" if record.terms else ""
        self.folder.log("  ".join(cell for cell in epoch_cells(record) if cell) + terms)
        if self.events is not None:
            self.events.add(record)

    def validated(self, validation: Evaluation) -> None:
        """What the best epoch's model reached on the validation images."""
        self.entry |= {"validation": validation.summary()}

    def refit(self, state: TrainingState) -> None:
        """From here on it is `state`, a second fit, that is trained; `best.pt` stays the first one's until the end."""
        self.state = state
        self.folder.log(f"refit: {state.setup.course.epochs} epochs on {len(state.setup.train):,} images")

    def keep_refit(self) -> None:
        """The second fit is complete: it is the run's model."""
        save_checkpoint(self.folder.best, self.best())
        self.entry |= {"refit": {"epochs": self.state.epoch, "train_count": len(self.state.setup.train)}}

    def best(self, training_state: dict[str, Any] | None = None) -> Checkpoint:
        """The best epoch as a checkpoint."""
        setup = self.state.setup
        weights: dict[str, Tensor] = self.state.best_weights
        member = Member(setup.config, weights, setup.reading, self.custom, setup.counts)
        return Checkpoint((member,), setup.classes, training_state=training_state)

    def save_last(self) -> None:
        """Writes `last.pt`: the best epoch, and the state of the training to go on from."""
        save_checkpoint(self.folder.last, self.best(self.state.state_dict()))
        self.saved = perf_counter()

    def finish(self, test: Evaluation, timings: dict[str, float]) -> None:
        """The training is over and everything else is written: `run.json` says so."""
        last = self.records[-1]
        self._close(
            status="finished",
            stop_reason=self.stop_reason,
            test=test.summary(),
            loss_terms=last.terms,
            timings=timings,
        )

    def stop(self, status: str, reason: str, details: str = "") -> None:
        """The training ended before its time: `interrupted` or `failed`.

        `details` may name paths of this machine, so they go to the log alone. What can't be written is let be: the
        reason for the end is what the user must hear of.
        """
        with suppress(StorageError):
            self._close(status=status, stop_reason=reason, timings={"training_seconds": self.seconds})
            if details:
                self.folder.log(details)

    def _close(self, **changes: Any) -> None:
        if self.events is not None:
            self.events.close()
        self.entry |= {"best_epoch": self.best_epoch or None, "epochs": self.first.epoch, **changes}
        self.entry |= {"finished_at": _now()}
        total = perf_counter() - self.began
        self.entry["timings"] = {"loading_seconds": self.loaded, **self.entry["timings"], "total_seconds": total}
        self.folder.write_record(self.entry)
        self.folder.log(f"{self.entry['status']}: {self.entry['stop_reason']}")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
