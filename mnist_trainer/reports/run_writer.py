"""The sessions of a run: a training that was stopped or killed is one run in several of them.

Figures for TensorBoard, if `report.tensorboard` asks for them and the extra is installed.

Keeps a run's folder while it trains: config first, then a row an epoch, checkpoints, and how it ended.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

from torch import Tensor

from mnist_trainer.config.load import dump_config
from mnist_trainer.config.schema import Config
from mnist_trainer.errors import StorageError, UsageError
from mnist_trainer.files import remove_file, write_text
from mnist_trainer.inference.metrics import Evaluation
from mnist_trainer.inference.predictions import DeadUnits
from mnist_trainer.reports.callbacks import metrics_row
from mnist_trainer.reports.environment import describe_environment, machine_info
from mnist_trainer.reports.text import epoch_cells, terms_line
from mnist_trainer.storage.checkpoint import Checkpoint, Member, save_checkpoint
from mnist_trainer.storage.run_folder import RunFolder
from mnist_trainer.training.divergence import Restore
from mnist_trainer.training.loop import EpochRecord
from mnist_trainer.training.state import TrainingState


class Sessions:
    """The list `sessions` of `run.json`, one entry each, with the present one as its last.

    `record` is `run.json` as the earlier sessions left it. `seconds` are all of theirs, as far as they told: one that
    was killed had no time to.
    """

    def __init__(self, record: Mapping[str, Any]) -> None:
        known = record.get("sessions")
        self.sessions = (
            [dict(session) for session in known if isinstance(session, Mapping)] if isinstance(known, list) else []
        )
        for session in self.sessions:
            if session.get("status") == "running":
                session["status"] = "killed"
        timings = record.get("timings")
        seconds = timings.get("total_seconds") if isinstance(timings, Mapping) else None
        self.seconds = float(seconds) if isinstance(seconds, int | float) else 0.0
        self.started_at = record.get("started_at")

    def begin(self, state: TrainingState) -> list[dict[str, Any]]:
        """All entries, with one for a session that begins at `state`."""
        session = {
            "status": "running",
            "stop_reason": None,
            "started_at": now(),
            "finished_at": None,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "machine": machine_info(state),
            "began": _position(state),
            "ended": None,
        }
        self.sessions.append(session)
        self.started_at = self.started_at or session["started_at"]
        return self.sessions

    def end(self, state: TrainingState, status: str, reason: str | None) -> list[dict[str, Any]]:
        """All entries, with what became of the present session."""
        over = {"status": status, "stop_reason": reason, "finished_at": now(), "ended": _position(state)}
        self.sessions[-1] |= over
        return self.sessions


def _position(state: TrainingState) -> dict[str, Any]:
    return {"phase": state.setup.phase, "epochs": state.epoch, "steps": state.step}


def now() -> str:
    """This moment, as it stands in `run.json`."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


TENSORBOARD_CURVES = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr")


class TensorBoardWriter:
    """Event files below `folder`, for `tensorboard --logdir runs`. Raises `UsageError` without the extra.

    Points from `purge_step` on that an earlier session left there are not shown any more.
    """

    def __init__(self, folder: Path, purge_step: int = 1) -> None:
        require_tensorboard()
        from torch.utils.tensorboard import SummaryWriter

        self.writer: Any = SummaryWriter(str(folder), purge_step=purge_step)

    def add(self, record: EpochRecord) -> None:
        """A point in each curve."""
        values = {name: getattr(record, name) for name in TENSORBOARD_CURVES}
        values.update({f"terms/{name}": value for name, value in record.terms.items()})
        for name, value in values.items():
            if value is not None:
                self.writer.add_scalar(name, value, record.epoch)

    def close(self) -> None:
        """Flushes what is left."""
        self.writer.close()


def require_tensorboard() -> None:
    """Raises `UsageError` if TensorBoard is not installed."""
    if find_spec("tensorboard") is None:
        raise UsageError("report.tensorboard needs TensorBoard: pip install tensorboard (the extra [tensorboard]).")


class RunWriter:
    """Writes one run's folder. `custom` names what of it is the user's own code; `start_time` is when loading began.

    `last` is what an earlier session of the run saved with `save_last`, and `state` goes on from there.
    """

    def __init__(
        self,
        folder: RunFolder,
        state: TrainingState,
        custom: dict[str, str],
        start_time: float,
        last: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder, self.first, self.state, self.custom, self.last = folder, state, state, custom, last
        self.records = [EpochRecord(**record) for record in last["records"]] if last else []
        self.start_time, self.saved = start_time, perf_counter()
        self.loaded = self.saved - start_time
        self.sessions = Sessions(folder.read_record())
        self.events: TensorBoardWriter | None = None
        self.record: dict[str, Any] = {}
        self.dead_units: list[DeadUnits] = []

    @property
    def config(self) -> Config:
        """The run's config, as it stands in `config.yaml`."""
        return self.first.setup.config

    @property
    def best_epoch(self) -> int:
        """The best epoch by validation; 0 before the first one is complete."""
        return self.first.best.epoch

    @property
    def is_in_refit(self) -> bool:
        """Whether an earlier session saved a second fit: the first one is over then."""
        return self.last is not None and self.last["phase"] == "refit"

    @property
    def stop_reason(self) -> str:
        """Why the first fit ended."""
        return self.first.stop_reason or "epochs"

    @property
    def seconds(self) -> float:
        """Of training, both fits together."""
        return sum(state.seconds for state in self._fits)

    @property
    def _fits(self) -> list[TrainingState]:
        return [self.first] if self.state is self.first else [self.first, self.state]

    def start(self, facts: dict[str, Any]) -> None:
        """Writes `config.yaml`, then `run.json` with the status running and the `facts` that are known by now.

        Of an earlier session it keeps what its saved state covers; the epochs behind that are made again.
        """
        config = self.config
        write_text(self.folder.config, dump_config(config))
        self.folder.rewrite_metrics(map(metrics_row, self.records))
        if self.best_epoch:
            save_checkpoint(self.folder.best, self.best())
        else:
            remove_file(self.folder.best)
        sessions = self.sessions.begin(self.state)
        self.record = {
            "name": config.name,
            "status": "running",
            "stop_reason": None,
            "best_epoch": self.best_epoch or None,
            "epochs": self.first.epoch,
            "test": None,
            "validation": None,
            "seed": config.seed,
            **facts,
            **describe_environment(self.state),
            "started_at": self.sessions.started_at,
            "finished_at": None,
            "timings": {},
            "sessions": sessions,
        }
        self.folder.write_record(self.record)
        if config.report.tensorboard:
            self.events = TensorBoardWriter(self.folder.path / "tensorboard", purge_step=len(self.records) + 1)

    def epoch(self, record: EpochRecord) -> None:
        """Adds an epoch's row, and saves what it changed; the state last, for it is what says how far the run got."""
        self.records.append(record)
        self.folder.add_metrics(metrics_row(record))
        if record.best:
            save_checkpoint(self.folder.best, self.best())
        terms = f"   loss terms: {terms_line(record)}" if record.terms else ""
        self.folder.log("  ".join(cell for cell in epoch_cells(record) if cell) + terms)
        if self.is_due or not self.config.training.checkpoint_seconds:
            self.save_last()
        if self.events is not None:
            self.events.add(record)

    def on_rollback(self, restore: Restore) -> None:
        """The training was no longer finite, and goes on from the start of the epoch at a lower rate."""
        self.folder.log(f"restore: {restore}")
        self.record |= {"restores": self.restores}
        self.folder.write_record(self.record)

    @property
    def restores(self) -> list[dict[str, Any]]:
        """Every time that `training.on_divergence` went back, in both fits."""
        return [{"phase": state.setup.phase, **found} for state in self._fits for found in state.restores]

    def set_validation(self, validation: Evaluation) -> None:
        """What the best epoch's model reached on the validation images."""
        self.record |= {"validation": validation.summary()}

    def refit(self, state: TrainingState) -> None:
        """From here on it is `state`, a second fit, that is trained; `best.pt` stays the first one's until the end."""
        self.state = state
        if self.last is not None and self.is_in_refit:
            state.load_state_dict(self.last)
        self.folder.log(f"refit: {state.setup.config.training.epochs} epochs on {len(state.setup.train):,} images")

    def finish_refit(self) -> None:
        """The second fit is complete: it is the run's model. One that was stopped early leaves the first one's."""
        if self.state.stop_reason == "interrupted":
            self.state = self.first
            return
        self.dead_units = []  # they were the first model's
        save_checkpoint(self.folder.best, self.best())
        self.record |= {"refit": {"epochs": self.state.epoch, "train_count": len(self.state.setup.train)}}

    def best(self, training_state: dict[str, Any] | None = None) -> Checkpoint:
        """The best epoch as a checkpoint."""
        setup = self.state.setup
        weights: dict[str, Tensor] = self.state.best_weights
        member = Member(setup.config, weights, setup.spec, self.custom, setup.counts, setup.lineage)
        return Checkpoint((member,), setup.classes, training_state=training_state)

    @property
    def is_due(self) -> bool:
        """Whether the state should be saved, by the time that has passed since it was."""
        wait = self.config.training.checkpoint_seconds
        return 0 < wait <= perf_counter() - self.saved

    def save_last(self) -> None:
        """Writes `last.pt`: the best epoch, and the state of the training to go on from, with all that came before.

        A state that is no longer finite, which on an accelerator is told at the epoch's end only, is not kept.
        """
        if self.state.nonfinite:
            return
        initial = self.first.setup.initial
        past = {
            "config": self.config.model_dump(mode="json"),
            "records": [asdict(record) for record in self.records],
            "first": None if self.state is self.first else self.first.outcome(),
            "initial": initial and initial.state_dict(),
            "machine": machine_info(self.state),
            "data": self.record.get("data"),
        }
        save_checkpoint(self.folder.last, self.best(self.state.state_dict() | past))
        self.saved = perf_counter()

    def finish(self, test: Evaluation | None, timings: dict[str, float]) -> None:
        """The training is over and everything else is written: `run.json` says so."""
        last = self.records[-1]
        self._close(
            status="finished",
            stop_reason=self.stop_reason,
            test=None if test is None else test.summary(),
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
        self.record |= {"best_epoch": self.best_epoch or None, "epochs": self.first.epoch, **changes}
        self.record |= {"restores": self.restores} if self.restores else {}
        total = self.sessions.seconds + perf_counter() - self.start_time
        self.record["timings"] = {"loading_seconds": self.loaded, **self.record["timings"], "total_seconds": total}
        sessions = self.sessions.end(self.state, self.record["status"], self.record["stop_reason"])
        self.record |= {"finished_at": sessions[-1]["finished_at"], "sessions": sessions}
        self.folder.log(f"{self.record['status']}: {self.record['stop_reason']}")
        self.folder.write_record(self.record)
