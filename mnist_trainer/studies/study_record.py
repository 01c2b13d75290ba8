"""The `run.json` of a series or a sweep."""

from __future__ import annotations

from contextlib import suppress
from time import perf_counter
from typing import Any

from mnist_trainer.errors import StorageError
from mnist_trainer.reports.run_writer import now
from mnist_trainer.storage.run_folder import RunFolder


class StudyRecord:
    """What `run.json` holds: fixed `facts`, the status, and the seconds of all sessions together."""

    def __init__(self, folder: RunFolder, **facts: Any) -> None:
        old = folder.read_record()
        self.folder = folder
        self.started = perf_counter() - (old.get("timings") or {}).get("total_seconds", 0.0)
        self.content = {
            "status": "running",
            "stop_reason": None,
            **facts,
            "started_at": old.get("started_at") or now(),
            "finished_at": None,
        }

    def write(self, timings: dict[str, Any] | None = None, **changes: Any) -> None:
        """Rewrite `run.json` with `changes` of its keys."""
        self.content |= {**changes, "timings": {**(timings or {}), "total_seconds": perf_counter() - self.started}}
        self.folder.write_record(self.content)

    def close(self, status: str, reason: str | None) -> None:
        """Record how the session ended; a folder that can't be written is ignored: the reason matters more."""
        self.content |= {"status": status, "stop_reason": reason, "finished_at": now()}
        with suppress(StorageError):
            self.folder.write_record(self.content)
            self.folder.log(status if reason is None else f"{status}: {reason}")
