"""What an earlier session left of a run, for another one to go on from exactly there.

`last.pt` is the truth about how far a run got, `config.yaml` about what it is to become: of its keys those that do not
change what was trained so far may be changed, in the file or behind the command.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mnist_trainer.config.load import Difference, differences, load_config
from mnist_trainer.config.objective import Decay, OneCycle
from mnist_trainer.config.schema import Config
from mnist_trainer.errors import CheckpointError, DivergedError, UsageError, shell_quote
from mnist_trainer.files import is_locked
from mnist_trainer.pipeline.describe import run_facts
from mnist_trainer.pipeline.preparation import check_same_images
from mnist_trainer.reports.environment import machine_info
from mnist_trainer.storage.checkpoint import Checkpoint, load_checkpoint
from mnist_trainer.storage.find import find_path, tried_paths
from mnist_trainer.storage.run_folder import RUNS, RunFolder, holds_run
from mnist_trainer.training.state import InitialWeights, TrainingState

CHANGEABLE = (
    "device",
    "threads",
    "data.path",
    "data.root",
    "report",
    "training.epochs",
    "training.max_minutes",
    "training.checkpoint_seconds",
    "training.early_stopping.patience",
)
"""What may differ from the config that a run began with, and what is below these keys."""


@dataclass(frozen=True)
class ResumePoint:
    """A run that was begun: its `config` as it is from now on, and what `RunWriter.save_last` saved of it last.

    Without a saved state (`last` is None) it starts over. `changes` are those of the config since then.
    """

    folder: RunFolder
    config: Config
    last: Mapping[str, Any] | None
    changes: tuple[Difference, ...]
    custom: Mapping[str, str]

    @property
    def threads(self) -> int | None:
        """The CPU threads to go on with: as many as before, unless the config says so."""
        known: int | None = self.last["machine"]["threads"] if self.last else None
        return self.config.threads or known

    @property
    def initial(self) -> InitialWeights | None:
        """The weights that `model.init_from` named when the run began; its file is not read again."""
        saved = self.last and self.last.get("initial")
        return InitialWeights.from_state_dict(saved) if saved else None

    def restore(self, state: TrainingState) -> None:
        """Puts `state`, which was made from the config, to where the run was. Raises `DataError` for other images."""
        state.setup = replace(state.setup, threads=self.threads or state.setup.threads)
        if self.last is None:
            return
        check_same_images(self.folder.path, self.last.get("data"), run_facts(state)["data"])
        if self.last["phase"] == "refit":
            state.load_outcome(self.last["first"])
            return
        state.load_state_dict(self.last)
        if self.changes:
            state.stop_reason = state.reason_to_stop()

    def position(self) -> str:
        """Where it goes on, in words."""
        if self.last is None:
            return "from its beginning: it was stopped before a state was saved"
        fit = "the second fit, " if self.last["phase"] == "refit" else ""
        done, step = self.last["epoch"], self.last["step"]
        return f"{fit}epoch {done + 1}, after step {step}" if step else f"{fit}after epoch {done}"

    def notes(self, state: TrainingState) -> Iterator[tuple[str, str]]:
        """What is to be known of the result, as a key and a reason; `state` is the restored one."""
        for key, before, after in self.changes:
            if key == "training.epochs" and (part := _depends_on_length(self.config)):
                yield (
                    key,
                    f"{part} is computed anew for {after} epochs instead of {before}, from here on: the result is not "
                    f"that of a fresh run of {after}",
                )
        if self.last is not None:
            machine = machine_info(state)
            for what, before in self.last["machine"].items():
                if (here := machine.get(what)) != before:
                    yield "resume", f"{what} was {before} and is {here} now: bits may differ from a run never stopped"


def _depends_on_length(config: Config) -> str | None:
    """What of a training depends on its number of epochs before they are over."""
    schedule, augment = config.schedule, config.data.augment
    if isinstance(schedule, Decay | OneCycle) or schedule.warmup:
        return f"schedule {schedule.name}"
    return "data.augment.clean_last" if augment is not None and augment.clean_last else None


def find_run(place: str) -> RunFolder:
    """The folder of the run or series that `place` stands for: itself or one below `runs/`, a `last.pt`, or `latest`.

    Raises `CheckpointError` if there is none to go on with.
    """
    if place == "latest" and not Path(place).exists():
        return _latest()
    path = find_path(place)
    if path.name == "last.pt" and path.is_file():
        path = path.parent
    if not path.is_dir():
        what = "it is a file, but no last.pt" if path.exists() else f"there is no such folder{tried_paths(path)}"
        raise CheckpointError(f"{path}: {what}. --resume takes the folder of a run, its last.pt, or latest.")
    if not holds_run(path):
        raise CheckpointError(f"{path} holds no run to go on with. Begin one: mnist-train --config FILE.")
    return RunFolder(path)


def check_single_run(folder: RunFolder) -> None:
    """Raises `CheckpointError` if the folder holds several runs, whatever its own `run.json` says."""
    path, kind = folder.path, folder.read_record().get("kind")
    if kind == "sweep":
        raise CheckpointError(f"{path} is a sweep. Go on with: mnist-sweep SWEEP --run-dir {shell_quote(path)}")
    if kind is not None or any(path.glob("seed-*/config.yaml")):
        raise CheckpointError(f"{path} holds several runs. Name one of them, or go on with all: {resume_command(path)}")


def _latest() -> RunFolder:
    """The unfinished run or series below `runs/` that was written last; if there is none, the last finished one.

    Left out are sweeps, runs that diverged (they would diverge again), and what another process is working on.
    """
    begun = [RunFolder(path) for path in RUNS.glob("*") if holds_run(path)]
    begun = [run for run in begun if run.config.exists() or run.last.exists()]
    runs = [run for run in begun if run.read_record().get("kind") != "sweep"]
    if not runs:
        raise CheckpointError(f"There is no run under {RUNS}. Begin one: mnist-train --config quickstart.")
    found = [run for run in runs if run.read_record().get("stop_reason") != DivergedError.__name__]
    if not found:
        newest = max(runs, key=_written)
        raise CheckpointError(
            f"There is no run under {RUNS} to go on with: {newest.path} ended when its loss or gradient was no longer "
            "a finite number, and would end there again. Train another one with a lower optimizer.lr."
        )
    return max(found, key=lambda run: (_is_open(run), _written(run)))


def _is_open(folder: RunFolder) -> bool:
    """Return whether the run or series is not finished, and no other process is working on it."""
    return folder.read_record().get("status") != "finished" and not is_locked(folder.path)


def _written(folder: RunFolder) -> float:
    """Return when a file of the run, or of a run of the series, was last written."""
    times = [0.0]
    for path in (*folder.path.glob("*"), *folder.path.glob("seed-*/*")):
        with suppress(OSError):  # a temporary file of a process at work is soon gone
            times.append(path.stat().st_mtime)
    return max(times)


def is_finished(folder: RunFolder, overrides: Sequence[str]) -> bool:
    """Whether the run in `folder` is finished and `overrides` ask for nothing else."""
    is_whole = folder.config.exists() and folder.best.exists() and folder.last.exists()
    if not is_whole or folder.read_record().get("status") != "finished":
        return False
    return load_config(folder.config, overrides) == load_config(folder.config)


def load_resume_point(folder: RunFolder, overrides: Sequence[str]) -> ResumePoint:
    """What there is of the run in `folder`, with `overrides` for its config.

    Raises `CheckpointError` for a `last.pt` that is damaged, `ConfigError` for the config, and `UsageError` if that
    changes what it must not.
    """
    checkpoint = load_checkpoint(folder.last) if folder.last.exists() else None
    last = None if checkpoint is None else _state_of(checkpoint, folder.last)
    began = load_config(folder.config if last is None else last["config"])
    if folder.config.exists():
        config = load_config(folder.config, overrides)
    else:
        config = load_config(began.model_dump(mode="json"), overrides)
    changes = tuple(differences(began.model_dump(mode="json"), config.model_dump(mode="json")))
    _check_changes(folder, changes, last)
    record = folder.read_record().get("custom")
    custom = record if checkpoint is None else checkpoint.only.custom
    return ResumePoint(folder, config, last, changes, custom if isinstance(custom, Mapping) else {})


def _state_of(checkpoint: Checkpoint, path: Path) -> Mapping[str, Any]:
    last = checkpoint.training_state
    if last is None or not {"config", "records", "first", "machine"} <= last.keys():
        raise CheckpointError(
            f"{path} does not say all that is needed to go on: an earlier version of mnist-trainer wrote it. Delete it "
            "to start the run over from its config.yaml."
        )
    return last


def _check_changes(folder: RunFolder, changes: Sequence[Difference], last: Mapping[str, Any] | None) -> None:
    """Raises `UsageError` if one of `changes` would make another run of it."""
    other = [change for change in changes if not any(f"{change.key}.".startswith(f"{key}.") for key in CHANGEABLE)]
    if other:
        raise UsageError(
            f"{folder.path} was begun with another config: {'; '.join(map(str, other))}. A run that goes on can change "
            f"{', '.join(CHANGEABLE)} alone. Train another one: mnist-train --config {folder.config} …"
        )
    epochs = next((change.second for change in changes if change.key == "training.epochs"), None)
    if epochs is None or last is None:
        return
    if last["phase"] == "refit":
        raise UsageError(f"{folder.path} is in its second fit (training.refit), and so training.epochs can't change.")
    begun = last["epoch"] + (last["step"] > 0)
    if epochs < begun:
        raise UsageError(f"training.epochs: {epochs} is too few, for {folder.path} is in its epoch {begun} already.")


def check_same_parts(begun: ResumePoint, ours: Mapping[str, str]) -> None:
    """Raises `UsageError` if the user's own parts are not those that the run was begun with."""
    if dict(begun.custom) != dict(ours):
        both = (begun.custom, ours)
        there, here = (", ".join(f"{part} {name}" for part, name in sorted(parts.items())) for parts in both)
        raise UsageError(
            f"{begun.folder.path} was begun with {there or 'no part of your own'}, and is to go on with "
            f"{here or 'none'}. Go on in Python with the same: resume(…, model=…, loss=…, optimizer=…)."
        )


def resume_command(folder: Path) -> str:
    """The line that goes on with the run in `folder`."""
    return shell_quote("mnist-train", "--resume", folder)
