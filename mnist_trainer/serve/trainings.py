"""Trainings that the server starts, resumes and stops: ordinary `mnist-train` processes, which can outlive it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, count
from pathlib import Path
from threading import RLock
from typing import IO

from fastapi import HTTPException

from mnist_trainer.config.load import format_override
from mnist_trainer.config.schema import Config
from mnist_trainer.config.shipped import shipped_path
from mnist_trainer.errors import StorageError
from mnist_trainer.files import is_locked, lock_holder
from mnist_trainer.storage.run_folder import RunFolder, holds_run
from mnist_trainer.studies.run_summary import NO_RUNS, RunSummary

MAX_MESSAGE = 4000
"""Characters of a failed training's messages that are shown, the last ones."""

SAVE_SECONDS = 2.0
"""How old the saved state may be with which drawings are read while a run trains."""

NEW_PROCESS_GROUP = 0x200 if os.name == "nt" else 0
"""The flag of Windows for what `start_new_session` does elsewhere."""


@dataclass(frozen=True)
class Training:
    """A process of `mnist-train`. `config` is None if it resumes a run; `messages` is its stderr."""

    path: Path
    config: Config | None
    process: subprocess.Popen[bytes]
    messages: IO[bytes]
    started_at: datetime

    @property
    def is_alive(self) -> bool:
        """Whether the process has not ended yet."""
        return self.process.poll() is None

    @property
    def error(self) -> str:
        """What a process that failed has printed to stderr; empty if it is alive, was stopped or has succeeded."""
        if self.messages.closed or self.process.poll() in (None, 0, 130, 143, -signal.SIGTERM):
            return ""
        self.messages.seek(0)
        return self.messages.read().decode(errors="replace").strip()[-MAX_MESSAGE:] or "The training was killed."


class Trainings:
    """The runs in `folder`, and the processes that this server has started there, at most `limit` at once.

    A training that was started in a terminal, or by an earlier server, counts and can be stopped as well. Processes
    get the variables of `environment`, or those of the server.
    """

    def __init__(self, folder: Path, limit: int = 1, environment: Mapping[str, str] | None = None) -> None:
        self.folder, self.limit, self.environment = folder, limit, environment
        self.started: dict[str, Training] = {}
        self._signalled: set[int] = set()
        self._lock = RLock()  # routes run in threads

    def paths(self) -> dict[str, Path]:
        """Return the folders in which runs are looked for, by name. A name from a client is only looked up in it."""
        try:
            with os.scandir(self.folder) as found:
                names = sorted(each.name for each in found if each.name not in NO_RUNS and each.is_dir())
        except OSError:  # the first training makes it
            return {}
        return {name: self.folder / name for name in names if name[0] != "."}

    def find(self, name: str) -> Path:
        """Return the folder of a run, which may not be there yet. Raises `HTTPException` (404)."""
        training = self.started.get(name)
        path = training.path if training else self.paths().get(name)
        if path is None:
            raise HTTPException(404, "There is no run of this name.")
        return path

    def running(self) -> list[str]:
        """Return the names of the runs that train on this machine."""
        own = [name for name, training in self.started.items() if training.is_alive]
        return own + [name for name, path in self.paths().items() if name not in own and lock_holder(path) is not None]

    def start(self, config: Config) -> str:
        """Start a training, and return its name: that of its folder, which appears after the images are loaded.

        Its state is saved at least every `SAVE_SECONDS`. Raises `HTTPException` (409) if `limit` trainings run already.
        """
        seconds = min(config.training.checkpoint_seconds, SAVE_SECONDS)
        training = config.training.model_copy(update={"checkpoint_seconds": seconds})
        config = config.model_copy(update={"training": training})
        with self._lock:
            self._check_free()
            first = f"{datetime.now():%Y-%m-%d_%H-%M-%S}-{config.name}"
            names = chain([first], (f"{first}-{number}" for number in count(2)))
            name = next(each for each in names if each not in self.started and not (self.folder / each).exists())
            # With all keys nothing of the file is left.
            changes = map(format_override, config.model_dump(mode="json").items())
            base = ("--config", str(shipped_path("quickstart")), "--run-dir", str(self.folder / name))
            self._launch(name, self.folder / name, config, (*base, "--quiet", "--", *changes))
            return name

    def resume(self, name: str) -> None:
        """Continue a run or a series that was stopped. Raises `HTTPException` (404, 409)."""
        with self._lock:
            path = self.find(name)
            folder = RunFolder(path)
            if is_locked(path) or name in self.running():
                raise HTTPException(409, f"{name} is being trained already.")
            if not holds_run(path) or folder.read_record().get("status") == "finished":
                raise HTTPException(409, f"{name} has nothing left to train.")
            self._check_free()
            self._launch(name, path, None, ("--quiet", "--resume", str(path.absolute())))

    def stop(self, name: str) -> None:
        """Ask a training to save its state and to stop, as Ctrl-C does. Raises `HTTPException` (404, 409)."""
        with self._lock:
            path, training = self.find(name), self.started.get(name)
            pid = training.process.pid if training and training.is_alive else lock_holder(path)
            if pid is None:
                where = "runs on another machine: stop it there" if is_locked(path) else "is not being trained"
                raise HTTPException(409, f"{name} {where}.")
            self._signal(pid)

    def close(self, keep: bool = False) -> None:
        """Ask all trainings that this server has started to save and to stop, unless `keep`; don't wait for them."""
        with self._lock:
            for training in self.started.values():
                if training.is_alive and not keep:
                    self._signal(training.process.pid)
                training.messages.close()

    def summary(self, name: str) -> RunSummary | None:
        """Return what is known of a training that has no run folder (yet); None if it has one, or is not known."""
        training = self.started.get(name)
        if training is None or training.config is None or holds_run(training.path):
            return None
        config, error = training.config, self.error(name)
        return RunSummary(
            path=training.path,
            name=config.name,
            problems=(error,) if error else (),
            status="running" if training.is_alive else "failed" if error else "interrupted",
            started_at=training.started_at,
            model=config.model.architecture,
            data=config.data.name,
            seed=config.seed,
            epochs=0,
            planned_epochs=config.training.epochs,
            config=config.model_dump(mode="json"),
        )

    def is_training(self, name: str) -> bool:
        """Return whether a process that this server has started trains the run."""
        training = self.started.get(name)
        return training is not None and training.is_alive

    def error(self, name: str) -> str:
        """Return why a training that this server has started has failed; else an empty text."""
        training = self.started.get(name)
        with self._lock:  # the messages have one position
            return training.error if training else ""

    def _check_free(self) -> None:
        """Raise `HTTPException` (409) if no other training may start now."""
        running = self.running()
        if len(running) >= self.limit:
            trains, it = ("trains", "it") if len(running) == 1 else ("train", "one")
            raise HTTPException(409, f"{' and '.join(running)} {trains} already. Stop {it}, or wait until {it} ends.")

    def _launch(self, name: str, path: Path, config: Config | None, arguments: Sequence[str]) -> None:
        """Start `mnist-train` in a session of its own, so that a Ctrl-C for the server does not reach it."""
        messages = tempfile.TemporaryFile()  # no pipe: the server may end before the training  # noqa: SIM115
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "mnist_trainer", "train", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=messages,
                env=self.environment,
                start_new_session=True,
                creationflags=NEW_PROCESS_GROUP,
            )
        except OSError as error:
            raise StorageError(f"The training could not be started: {error.strerror or error}.") from error
        if before := self.started.get(name):
            before.messages.close()
        self._signalled.discard(process.pid)
        self.started[name] = Training(path, config, process, messages, datetime.now().astimezone())

    def _signal(self, pid: int) -> None:
        """Send SIGTERM, once: a second one would end the training before it has saved its state."""
        if pid in self._signalled:
            return
        try:
            os.kill(pid, signal.SIGTERM)
        except PermissionError:
            raise HTTPException(409, "Another user of this machine has started this training.") from None
        except ProcessLookupError:
            pass  # it has ended
        self._signalled.add(pid)
