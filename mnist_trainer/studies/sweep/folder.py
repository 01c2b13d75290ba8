"""The folder of a sweep.

runs/2026-03-14_15-09-26-mlp-sweep/
  sweep.yaml     the sweep with its base written into it, runnable as it is
  journal.log    the study, unless a database holds it
  run.json       kind: sweep; status, counts, the best trial
  trials.csv     a row a trial: status, figures, seconds, values, the reason of a failure
  curves.csv     the objective after each epoch of each trial
  best.yaml      the best trial's config, runnable as it is
  plots/*.png    the trials as pictures

All but the first two are made from the study, anew after each trial.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch

from mnist_trainer.config.load import dump_config, dump_plain
from mnist_trainer.config.shipped import package_version
from mnist_trainer.config.sweep import Sweep, label
from mnist_trainer.config.sweep_reading import dump_parts
from mnist_trainer.errors import StorageError
from mnist_trainer.files import write_text
from mnist_trainer.reports.environment import git_commit
from mnist_trainer.reports.sweep import Status, TrialRow
from mnist_trainer.storage.run_folder import RunFolder, create_run_folder
from mnist_trainer.studies.sweep.attempts import attempts_of, decisive_attempt, was_cut_off
from mnist_trainer.studies.sweep.trial import values_of

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

_METRICS = ("trial", "status", "value", "epoch", "val_loss", "val_accuracy", "seconds")


def is_sweep(place: Path) -> bool:
    """Whether the folder `place` holds a sweep."""
    return RunFolder(place).read_record().get("kind") == "sweep"


def open_folder(sweep: Sweep, place: Path | None) -> RunFolder:
    """The folder `place` if it holds a sweep; else it or one below `runs/`, new. Raises as `create_run_folder`."""
    if place is not None and is_sweep(place):
        return RunFolder(place)
    return create_run_folder(f"{sweep.name}-sweep", place)


def trial_rows(study: Study, sweep: Sweep, trials: int) -> tuple[TrialRow, ...]:
    """The first `trials` trials of the study, as far as they got."""
    found = sorted(attempts_of(study).items())
    return tuple(_row(index, decisive_attempt(tries), sweep) for index, tries in found if index < trials)


def _row(index: int, attempt: FrozenTrial, sweep: Sweep) -> TrialRow:
    statuses: dict[str, Status] = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running"}
    status = "waiting" if was_cut_off(attempt) else statuses.get(attempt.state.name, "waiting")
    best = attempt.user_attrs.get("best", {})
    return TrialRow(
        trial=index,
        status=status,
        values=values_of(attempt, sweep.space),
        curve=dict(sorted(attempt.intermediate_values.items())),
        value=best.get(sweep.objective) if status in ("finished", "pruned") else None,
        seconds=attempt.duration.total_seconds() if attempt.duration else None,
        reason=attempt.user_attrs.get("reason", ""),
        code=attempt.user_attrs.get("code", 1),
        **best,
    )


def best_trial(rows: Sequence[TrialRow], sweep: Sweep) -> TrialRow | None:
    """The finished trial with the best value, the first one of several."""
    sign = 1 if sweep.objective == "val_loss" else -1
    finished = [row for row in rows if row.status == "finished" and row.value is not None]
    return min(finished, key=lambda row: sign * (row.value or 0.0), default=None)


class SweepWriter:
    """Keeps a sweep's files. `facts` are what `run.json` says of the search and the machine."""

    def __init__(self, folder: RunFolder, sweep: Sweep, study: Study, trials: int, facts: dict[str, Any]) -> None:
        old = folder.read_record()
        self.folder, self.sweep, self.study, self.trials = folder, sweep, study, trials
        self.began = perf_counter()
        self.before = (old.get("timings") or {}).get("total_seconds", 0.0)
        settings = sweep.settings.model_dump(include={"objective", "sampler", "pruner", "seed"})
        versions = {"mnist_trainer": package_version(), "torch": torch.__version__}
        self.record: dict[str, Any] = {
            "kind": "sweep",
            "name": sweep.name,
            "status": "running",
            "stop_reason": None,
            "trials": trials,
            "counts": {},
            "best": None,
            **settings,
            **facts,
            "versions": versions,
            "git_commit": git_commit(),
            "started_at": old.get("started_at") or _now(),
            "finished_at": None,
            "timings": {},
        }
        write_text(folder.path / "sweep.yaml", dump_plain(dict(dump_parts(sweep, trials))))
        self.write()

    def write(self, **changes: Any) -> tuple[TrialRow, ...]:
        """Makes all files anew from the study; the trials."""
        path, rows = self.folder.path, trial_rows(self.study, self.sweep, self.trials)
        best = best_trial(rows, self.sweep)
        keys = tuple(self.sweep.space)
        write_text(path / "trials.csv", _csv([*_METRICS, *keys, "reason"], (_cells(row, keys) for row in rows)))
        points = ((row.trial, epoch, value) for row in rows for epoch, value in row.curve.items())
        write_text(path / "curves.csv", _csv(["trial", "epoch", self.sweep.objective], points))
        if best is not None:
            write_text(path / "best.yaml", self._best_yaml(best))
        statuses = [row.status for row in rows]
        self.record |= {
            "counts": {status: statuses.count(status) for status in dict.fromkeys(statuses)},
            "best": None
            if best is None
            else {key: vars(best)[key] for key in (*_METRICS, "values") if key != "status"},
            "timings": {"total_seconds": self.before + perf_counter() - self.began},
            **changes,
        }
        self.folder.write_record(self.record)
        return rows

    def _best_yaml(self, best: TrialRow) -> str:
        about = f"# Trial {best.trial} of the sweep {self.sweep.name}: {self.sweep.objective} {best.value:.6g}"
        return f"{about} after epoch {best.epoch}\n{dump_config(self.sweep.config(best.values))}"

    def close(self, status: str, reason: str | None) -> tuple[TrialRow, ...]:
        """The sweep has ended so."""
        return self.write(status=status, stop_reason=reason, finished_at=_now())

    def fail(self, reason: str) -> None:
        """The sweep has failed; what can't be written or read then is let be."""
        with suppress(StorageError):
            self.folder.write_record({**self.record, "status": "failed", "stop_reason": reason, "finished_at": _now()})


def _cells(row: TrialRow, keys: Sequence[str]) -> list[object]:
    figures = ["" if vars(row)[name] is None else vars(row)[name] for name in _METRICS]
    return [*figures, *(label(row.values[key]) if key in row.values else "" for key in keys), row.reason]


def _csv(head: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return stream.getvalue()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
