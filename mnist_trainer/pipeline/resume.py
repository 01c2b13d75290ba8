"""Loads a stopped run, so that it continues bit-identically.

`last.pt` holds the state of the training, and `config.yaml` the config to continue with. Keys that do not affect
earlier steps may be changed, in the file or on the command line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mnist_trainer.config.load import Difference, differences, load_config
from mnist_trainer.config.schema import Config, Decay, OneCycle
from mnist_trainer.errors import CheckpointError, DivergedError, UsageError, shell_quote
from mnist_trainer.files import is_locked
from mnist_trainer.pipeline.describe import run_facts
from mnist_trainer.pipeline.preparation import check_same_images
from mnist_trainer.reports.run_writer import machine_info
from mnist_trainer.storage.checkpoint import load_checkpoint
from mnist_trainer.storage.run_folder import RUNS, RunFolder, find_path, holds_run, tried_paths
from mnist_trainer.training.state import InitialWeights, TrainedTeacher, TrainingState

CHANGEABLE = (
    "device",
    "threads",
    "data.path",
    "data.extra.path",
    "data.root",
    "report",
    "training.epochs",
    "training.max_minutes",
    "training.checkpoint_seconds",
    "training.early_stopping.patience",
    "training.stop",
    "training.teacher.checkpoint",
)
"""These keys, and the keys below them, may differ from the config that a run was started with."""


@dataclass(frozen=True)
class ResumePoint:
    """A run to continue: its `config` from now on, and the `last` state that `RunWriter.save_last` saved.

    Without a saved state (`last` is None) it starts over. `changes` are the changes of the config since then.
    """

    folder: RunFolder
    config: Config
    last: Mapping[str, Any] | None
    changes: tuple[Difference, ...]

    @property
    def threads(self) -> int | None:
        """The number of CPU threads: the same as before, unless the config sets it."""
        known: int | None = self.last["machine"]["threads"] if self.last else None
        return self.config.threads or known

    @property
    def initial(self) -> InitialWeights | None:
        """The weights that `model.init_from` named when the run was started; its file is not read again."""
        saved = self.last and self.last["initial"]
        return InitialWeights.from_state_dict(saved) if saved else None

    def restore(self, state: TrainingState) -> None:
        """Restore `state`, which was made from the config.

        Raises `DataError` if the images have changed, and `CheckpointError` if the teacher has.
        """
        state.setup = replace(state.setup, threads=self.threads or state.setup.threads)
        if self.last is None:
            return
        check_same_images(self.folder.path, self.last.get("data"), run_facts(state)["data"])
        _check_same_teacher(self.folder.path, self.last.get("teacher"), state.setup.teacher)
        if self.last["phase"] == "refit":
            state.load_outcome(self.last["first"])
            return
        state.load_state_dict(self.last)
        if self.changes and self.last["records"]:
            state.stop_reason = state.reason_to_stop(self.last["records"][-1])

    def position(self) -> str:
        """Return where the run continues, for people."""
        if self.last is None:
            return "from its beginning: it was stopped before a state was saved"
        fit = "the second fit, " if self.last["phase"] == "refit" else ""
        done, step = self.last["epoch"], self.last["step"]
        return f"{fit}epoch {done + 1}, after step {step}" if step else f"{fit}after epoch {done}"

    def notes(self, state: TrainingState) -> Iterator[tuple[str, str]]:
        """Yield reasons why the result may differ from an uninterrupted run, as pairs of key and reason."""
        for key, before, after in self.changes:
            if key == "training.epochs" and (part := _depends_on_length(self.config)):
                yield (
                    key,
                    f"{part} is recomputed for {after} epochs instead of {before}, from here on: the result is not "
                    f"that of a fresh run of {after}",
                )
        machine = machine_info(state)
        for what, before in self.last["machine"].items() if self.last else ():
            if (here := machine.get(what)) != before:
                yield "resume", f"{what} was {before} and is {here} now: bits may differ from an uninterrupted run"


def _depends_on_length(config: Config) -> str | None:
    """Return the part of `config` that depends on the number of epochs from the start, if any."""
    schedule, augment = config.schedule, config.data.augment
    if isinstance(schedule, Decay | OneCycle) or schedule.warmup:
        return f"schedule {schedule.name}"
    return "data.augment.clean_last" if augment is not None and augment.clean_last else None


def find_run(name: str) -> RunFolder:
    """Return the folder of the run or series `name`: a path, a name below `runs/`, a `last.pt`, or `latest`.

    Raises `CheckpointError` if there is none to continue.
    """
    if name == "latest" and not Path(name).exists():
        return _latest()
    path = find_path(name)
    if path.name == "last.pt" and path.is_file():
        path = path.parent
    if not path.is_dir():
        what = "it is a file, but no last.pt" if path.exists() else f"there is no such folder{tried_paths(path)}"
        raise CheckpointError(f"{path}: {what}. --resume takes the folder of a run, its last.pt, or latest.")
    if not holds_run(path):
        raise CheckpointError(f"{path} holds no run to resume. Start one: mnist-train --config FILE.")
    return RunFolder(path)


def check_single_run(folder: RunFolder) -> None:
    """Raise `CheckpointError` if the folder holds several runs."""
    path, kind = folder.path, folder.read_record().get("kind")
    if kind == "sweep":
        raise CheckpointError(f"{path} is a sweep. Resume with: mnist-sweep SWEEP --run-dir {shell_quote(path)}")
    if kind is not None or any(path.glob("seed-*/config.yaml")):
        raise CheckpointError(f"{path} holds several runs. Name one of them, or resume all: {resume_command(path)}")


def _latest() -> RunFolder:
    """Return the unfinished run or series below `runs/` that was written last, except those locked by a process.

    If there is none, it is the last of the finished and the locked ones. Sweeps, and runs that diverged (they would
    diverge again), are left out. Raises `CheckpointError` if nothing is left.
    """
    found = [RunFolder(path) for path in RUNS.glob("*") if holds_run(path)]
    runs = [
        run for run in found if (run.config.exists() or run.last.exists()) and run.read_record().get("kind") != "sweep"
    ]
    if not runs:
        raise CheckpointError(f"There is no run under {RUNS}. Start one: mnist-train --config quickstart.")
    usable = [run for run in runs if run.read_record().get("stop_reason") != DivergedError.__name__]
    if not usable:
        newest = max(runs, key=_write_time)
        raise CheckpointError(
            f"There is no run under {RUNS} to resume: {newest.path} ended when its loss or gradient was no longer "
            "a finite number, and would end there again. Train another one with a lower optimizer.lr."
        )
    return max(usable, key=lambda run: (_is_resumable(run), _write_time(run)))


def _is_resumable(folder: RunFolder) -> bool:
    """Return whether the run or series is not finished, and not locked by another process."""
    return folder.read_record().get("status") != "finished" and not is_locked(folder.path)


def _write_time(folder: RunFolder) -> float:
    """Return when a file of the run, or of a run of the series, was last written."""
    times = [0.0]
    for path in (*folder.path.glob("*"), *folder.path.glob("seed-*/*")):
        with suppress(OSError):  # a temporary file of a running process disappears
            times.append(path.stat().st_mtime)
    return max(times)


def is_finished(folder: RunFolder, overrides: Sequence[str]) -> bool:
    """Return whether the run is finished and `overrides` ask for no change."""
    is_whole = folder.config.exists() and folder.best.exists() and folder.last.exists()
    if not is_whole or folder.read_record().get("status") != "finished":
        return False
    return load_config(folder.config, overrides) == load_config(folder.config)


def load_resume_point(folder: RunFolder, overrides: Sequence[str], custom: Mapping[str, str]) -> ResumePoint:
    """Load the run in `folder`; `custom` names the user's own parts to continue with.

    Raises `CheckpointError` for a damaged `last.pt`, `ConfigError` for an invalid config, and `UsageError` if another
    key than `CHANGEABLE` has changed, or the run was started with other parts.
    """
    last: Mapping[str, Any] | None = None
    before: object = folder.read_record().get("custom")
    if folder.last.exists():
        checkpoint = load_checkpoint(folder.last)
        last, before = checkpoint.training_state, checkpoint.only.custom
        if last is None:
            raise CheckpointError(f"{folder.last} holds no state of a training. Delete it to start the run over.")
    _check_same_custom(folder.path, before if isinstance(before, Mapping) else {}, custom)
    started = load_config(folder.config if last is None else last["config"])
    source = folder.config if folder.config.exists() else started.model_dump(mode="json")
    config = load_config(source, overrides)
    changes = tuple(differences(started.model_dump(mode="json"), config.model_dump(mode="json")))
    _check_changes(folder, changes, last)
    return ResumePoint(folder, config, last, changes)


def _check_same_custom(folder: Path, before: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Raise `UsageError` if the user's own parts are not those that the run was started with."""
    if dict(before) != dict(now):
        there, here = (", ".join(f"{part} {name}" for part, name in sorted(parts.items())) for parts in (before, now))
        raise UsageError(
            f"{folder} was started with {there or 'no part of your own'}, and this command has {here or 'none'}. "
            "Resume it in Python with the same: resume(…, model=…, loss=…, optimizer=…)."
        )


def _check_same_teacher(folder: Path, before: Mapping[str, str] | None, now: TrainedTeacher | None) -> None:
    """Raise `CheckpointError` if the file of `training.teacher` is another one than when the run was started."""
    if before is not None and now is not None and before["sha256"] != now.sha256:
        raise CheckpointError(
            f"training.teacher.checkpoint: {now.file} has changed since {folder} was started. Its SHA-256 was "
            f"{before['sha256']} and is {now.sha256} now. Name the file of then (training.teacher.checkpoint=FILE)."
        )


def _check_changes(folder: RunFolder, changes: Sequence[Difference], last: Mapping[str, Any] | None) -> None:
    """Raise `UsageError` if one of `changes` is not allowed on resume."""
    other = [change for change in changes if not any(f"{change.key}.".startswith(f"{key}.") for key in CHANGEABLE)]
    if other:
        raise UsageError(
            f"{folder.path} was started with another config: {'; '.join(map(str, other))}. A resumed run can change "
            f"{', '.join(CHANGEABLE)} alone. Train another one: mnist-train --config {folder.config} …"
        )
    epochs = next((change.second for change in changes if change.key == "training.epochs"), None)
    if epochs is None or last is None:
        return
    if last["phase"] == "refit":
        raise UsageError(f"{folder.path} is in its second fit (training.refit), and so training.epochs can't change.")
    current = last["epoch"] + (last["step"] > 0)
    if epochs < current:
        raise UsageError(f"training.epochs: {epochs} is too few, for {folder.path} is in its epoch {current} already.")


def resume_command(folder: Path) -> str:
    """Return the command line that continues the run in `folder`."""
    return shell_quote("mnist-train", "--resume", folder)
