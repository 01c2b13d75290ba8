"""Write the folder of a run while it trains: the config, a row an epoch, checkpoints, `run.json`, TensorBoard."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.util import find_spec
from math import ceil
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from mnist_trainer.config.load import dump_config
from mnist_trainer.config.schema import Config
from mnist_trainer.config.shipped import package_version
from mnist_trainer.errors import StorageError, UsageError
from mnist_trainer.files import remove_file, write_text
from mnist_trainer.inference.metrics import Evaluation
from mnist_trainer.inference.predictions import DeadUnits
from mnist_trainer.model.device import matmul_backend
from mnist_trainer.reports.callbacks import metrics_row
from mnist_trainer.reports.console import epoch_cells
from mnist_trainer.reports.diagnosis import Diagnosis
from mnist_trainer.reports.run_plots import draw_epoch_weights
from mnist_trainer.storage.checkpoint import Checkpoint, Member, save_checkpoint
from mnist_trainer.storage.run_folder import RunFolder
from mnist_trainer.training.loop import EpochRecord, Restore
from mnist_trainer.training.probe import LayerProbe
from mnist_trainer.training.state import TrainingState

MAX_WEIGHT_PLOTS = 50
"""The number of pictures of `report.weights_by_epoch`, besides that of the first epoch."""


def now() -> str:
    """Return the time as it is written to `run.json`."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def git_commit() -> str | None:
    """Return the commit of the current folder's repository, with `+changes` if files differ from it, or None."""
    try:
        commit = _git("rev-parse", "HEAD")
        return f"{commit}+changes" if _git("status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=5, check=True)
    return done.stdout.strip()


def machine_info(state: TrainingState) -> dict[str, Any]:
    """Return what determines the bits of a training besides the config."""
    return {
        "device": str(state.setup.device),
        "precision": state.setup.spec.precision,
        "threads": torch.get_num_threads(),
        "products": matmul_backend(),
        "torch": str(torch.__version__),  # a subclass of str, which no checkpoint may contain
        "instructions": torch.backends.cpu.get_cpu_capability(),
        **({} if state.setup.config.training.reduce == "exact" else {"processes": state.setup.ranks.size}),
    }


def describe_environment(state: TrainingState) -> dict[str, Any]:
    """Return versions, device and what every `auto` became."""
    machine, device = machine_info(state), state.setup.device
    versions = {"mnist_trainer": package_version(), "python": platform.python_version(), "torch": machine["torch"]}
    return {
        "device": machine["device"],
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or None,
        **{key: machine[key] for key in ("precision", "threads", "products")},
        "deterministic": device.type == "cpu" or torch.are_deterministic_algorithms_enabled(),
        "versions": versions,
        "processes": describe_processes(state),
        "platform": platform.platform(),
        "git_commit": git_commit(),
    }


def describe_processes(state: TrainingState) -> dict[str, Any] | None:
    """Return the number of processes, their hosts and the library between them; None for one process."""
    ranks = state.setup.ranks
    if ranks.size == 1:
        return None
    return {"world_size": ranks.size, "hosts": ranks.hosts, "backend": ranks.backend(state.setup.device)}


def _position(state: TrainingState) -> dict[str, Any]:
    return {"phase": state.setup.phase, "epochs": state.epoch, "steps": state.step}


def _earlier_sessions(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the sessions in `run.json`; one that could not write its end was killed."""
    sessions = [dict(session) for session in record.get("sessions") or []]
    for session in sessions:
        session["status"] = "killed" if session["status"] == "running" else session["status"]
    return sessions


def _new_session(state: TrainingState) -> dict[str, Any]:
    """Return the entry of this session in `run.json`."""
    return {
        "status": "running",
        "stop_reason": None,
        "started_at": now(),
        "finished_at": None,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "machine": machine_info(state),
        "processes": describe_processes(state),
        "began": _position(state),
        "ended": None,
    }


TENSORBOARD_CURVES = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr", "gradient_norm")


def add_curves(events: Any, record: EpochRecord) -> None:
    """Add a point to each curve of a `SummaryWriter`."""
    values = {name: getattr(record, name) for name in TENSORBOARD_CURVES}
    values |= {f"terms/{name}": value for name, value in record.terms.items()}
    for name, value in values.items():
        if value is not None:
            events.add_scalar(name, value, record.epoch)


def require_tensorboard() -> None:
    """Raise `UsageError` if TensorBoard is not installed."""
    if find_spec("tensorboard") is None:
        raise UsageError("report.tensorboard needs TensorBoard: pip install tensorboard (the extra [tensorboard]).")


class RunWriter:
    """Writes the folder of one run. `custom` names the user's own parts; `start_time` is when loading began.

    `last` is what an earlier session saved with `save_last`; `state` continues from it. With `training.refit`, `first`
    is the state of the first fit and `state` that of the present one.
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
        self.start_time, self.save_time = start_time, perf_counter()
        self.loading_seconds = self.save_time - start_time
        self.events: Any = None
        """TensorBoard's writer, with `report.tensorboard`."""
        self.record: dict[str, Any] = dict(folder.read_record())
        self.seconds_before = float((self.record.get("timings") or {}).get("total_seconds", 0.0))
        self.dead_units: list[DeadUnits] = []
        self.saturated_units: list[DeadUnits] = []
        self.layers: dict[str, list[dict[str, Any]]] = dict(last.get("layers", {})) if last else {}

    @property
    def config(self) -> Config:
        """The config of the run, as it is written to `config.yaml`."""
        return self.first.setup.config

    @property
    def best_epoch(self) -> int:
        """The epoch whose weights are kept; 0 before the first one is complete."""
        return self.first.best.epoch

    @property
    def is_in_refit(self) -> bool:
        """Whether an earlier session saved the second fit, so that the first one is over."""
        return self.last is not None and self.last["phase"] == "refit"

    @property
    def stop_reason(self) -> str:
        """Why the first fit ended."""
        return self.first.stop_reason or "epochs"

    @property
    def seconds(self) -> float:
        """The seconds of training in both fits."""
        return sum(state.seconds for state in self._fits)

    @property
    def _fits(self) -> list[TrainingState]:
        return [self.first] if self.state is self.first else [self.first, self.state]

    def start(self, facts: dict[str, Any]) -> None:
        """Write `config.yaml`, then `run.json` with the status running and the `facts` that are known now.

        What an earlier session wrote after its saved state is removed, since those epochs are trained again.
        """
        write_text(self.folder.config, dump_config(self.config))
        self.folder.rewrite_metrics(map(metrics_row, self.records))
        if self.best_epoch:
            save_checkpoint(self.folder.best, self.best())
        else:
            remove_file(self.folder.best)
        sessions = [*_earlier_sessions(self.record), _new_session(self.state)]
        self.record = {
            "name": self.config.name,
            "status": "running",
            "stop_reason": None,
            "best_epoch": self.best_epoch or None,
            "epochs": self.first.epoch,
            "test": None,
            "validation": None,
            "seed": self.config.seed,
            **facts,
            **describe_environment(self.state),
            "started_at": self.record.get("started_at") or sessions[-1]["started_at"],
            "finished_at": None,
            "timings": {},
            "sessions": sessions,
        }
        self.folder.write_record(self.record)
        if self.config.report.tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            folder, next_epoch = self.folder.path / "tensorboard", len(self.records) + 1
            self.events = SummaryWriter(str(folder), purge_step=next_epoch)  # hides what an earlier session wrote

    def epoch(self, record: EpochRecord) -> None:
        """Write the row of an epoch and its checkpoints; the state comes last, because it says how far the run got."""
        self.records.append(record)
        if self.config.report.weights_by_epoch and self.state is self.first:
            self._draw_weights(record.epoch)  # before the row, for those who follow the rows
        self.folder.add_metrics(metrics_row(record))
        if record.kept:
            save_checkpoint(self.folder.best, self.best())
        terms = ", ".join(f"{name} {value:.4g}" for name, value in record.terms.items())
        cells = "  ".join(cell for cell in epoch_cells(record) if cell)
        self.folder.log(f"{cells}   loss terms: {terms}" if terms else cells)
        if self.is_due or not self.config.training.checkpoint_seconds:
            self.save_last()
        if self.events is not None:
            add_curves(self.events, record)

    def _draw_weights(self, epoch: int) -> None:
        """Plot the first-layer weights after the first epoch, and after each one, or fewer if there are many."""
        if epoch == 1 or epoch % ceil(self.config.training.epochs / MAX_WEIGHT_PLOTS) == 0:
            for name, picture in draw_epoch_weights(self.state.model, epoch):
                self.folder.write_plot(name, picture())

    def add_layers(self, when: str, probes: Sequence[LayerProbe]) -> None:
        """Keep the gradients and updates of the layers, `when` is `first_epoch` or `last_epoch`."""
        self.layers[when] = list(map(asdict, probes))

    def on_rollback(self, restore: Restore) -> None:
        """Record that the training diverged and continues from the start of the epoch with a lower learning rate."""
        self.folder.log(f"restore: {restore}")
        self.record |= {"restores": self.restores}
        self.folder.write_record(self.record)

    @property
    def restores(self) -> list[dict[str, Any]]:
        """Each rollback of `training.on_divergence`, in both fits."""
        return [{"phase": state.setup.phase, **found} for state in self._fits for found in state.restores]

    def set_validation(self, validation: Evaluation) -> None:
        """Record the metrics of the best epoch on the validation images."""
        self.record |= {"validation": validation.summary()}

    def refit(self, state: TrainingState) -> None:
        """Continue with `state`, the second fit; `best.pt` stays that of the first one until `finish_refit`."""
        self.state = state
        if self.last is not None and self.is_in_refit:
            state.load_state_dict(self.last)
        self.folder.log(f"refit: {state.setup.config.training.epochs} epochs on {len(state.setup.train):,} images")

    def finish_refit(self) -> None:
        """Make the second fit the model of the run, unless it was stopped early."""
        if self.state.stop_reason == "interrupted":
            self.state = self.first
            return
        self.dead_units = self.saturated_units = []  # those of the first model
        save_checkpoint(self.folder.best, self.best())
        self.record |= {"refit": {"epochs": self.state.epoch, "train_count": len(self.state.setup.train)}}

    def best(self, training_state: dict[str, Any] | None = None) -> Checkpoint:
        """Return the best epoch as a checkpoint."""
        setup = self.state.setup
        weights: dict[str, Tensor] = self.state.best_weights
        member = Member(setup.config, weights, setup.spec, self.custom, setup.counts, setup.lineage)
        return Checkpoint((member,), setup.classes, training_state=training_state)

    @property
    def is_due(self) -> bool:
        """Whether `training.checkpoint_seconds` have passed since the state was saved."""
        return 0 < self.config.training.checkpoint_seconds <= perf_counter() - self.save_time

    def save_last(self) -> None:
        """Write `last.pt`: the best epoch and all that is needed to continue. A non-finite state is not saved."""
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
            "teacher": self.record.get("teacher"),
            "layers": self.layers,
        }
        save_checkpoint(self.folder.last, self.best(self.state.state_dict() | past))
        self.save_time = perf_counter()

    def finish(self, test: Evaluation | None, timings: dict[str, float], diagnosis: Diagnosis) -> None:
        """Write the end of a finished run to `run.json`."""
        self._close(
            status="finished",
            stop_reason=self.stop_reason,
            test=test and test.summary(),
            loss_terms=self.records[-1].terms,
            layers=self.layers,
            diagnosis=diagnosis.to_json(),
            timings=timings,
        )

    def stop(self, status: str, reason: str, details: str = "") -> None:
        """Write the end of a run that was `interrupted` or has `failed`.

        `details` may name paths of this machine, so they are written to the log only. Errors of writing are ignored,
        because the user must see the reason of the end.
        """
        with suppress(StorageError):
            self._close(status=status, stop_reason=reason, timings={"training_seconds": self.seconds})
            if details:
                self.folder.log(details)

    def _close(self, *, status: str, stop_reason: str, timings: dict[str, float], **changes: Any) -> None:
        """Complete `run.json` with how the run and this session ended, and `changes`."""
        if self.events is not None:
            self.events.close()
        total = self.seconds_before + perf_counter() - self.start_time
        end = {"status": status, "stop_reason": stop_reason, "finished_at": now()}
        self.record["sessions"][-1] |= {**end, "ended": _position(self.state)}
        self.record |= {
            "best_epoch": self.best_epoch or None,
            "epochs": self.first.epoch,
            **end,
            **changes,
            **({"restores": self.restores} if self.restores else {}),
            "timings": {"loading_seconds": self.loading_seconds, **timings, "total_seconds": total},
        }
        self.folder.log(f"{status}: {stop_reason}")
        self.folder.write_record(self.record)


class SilentWriter(RunWriter):
    """Keeps the records of a run in a process that writes nothing, because another one writes the folder."""

    def start(self, facts: dict[str, Any]) -> None:
        """Write nothing."""

    def epoch(self, record: EpochRecord) -> None:
        """Keep the record of an epoch."""
        self.records.append(record)

    def on_rollback(self, restore: Restore) -> None:
        """Write nothing."""

    def refit(self, state: TrainingState) -> None:
        """Continue with `state`, the second fit."""
        self.state = state
        if self.last is not None and self.is_in_refit:
            state.load_state_dict(self.last)

    def finish_refit(self) -> None:
        """Make the second fit the model of the run, unless it was stopped early."""
        if self.state.stop_reason == "interrupted":
            self.state = self.first

    def save_last(self) -> None:
        """Write nothing."""
        self.save_time = perf_counter()

    def stop(self, status: str, reason: str, details: str = "") -> None:
        """Write nothing."""
