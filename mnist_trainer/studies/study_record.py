"""The folder of a series or a sweep, and its `run.json`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import perf_counter
from typing import Any

from mnist_trainer.errors import InterruptedRunError, StorageError
from mnist_trainer.reports.callbacks import Callback
from mnist_trainer.reports.run_writer import now
from mnist_trainer.storage.run_folder import RunFolder, create_run_folder


def open_folder(kind: str, name: str, folder: Path | None) -> RunFolder:
    """Return `folder` if it holds a study of this kind, else a new folder. Raises as `create_run_folder`."""
    if folder is not None and RunFolder(folder).read_record().get("kind") == kind:
        return RunFolder(folder)
    return create_run_folder(name, folder)


class StudyRecord:
    """The content of `run.json`: fixed `facts`, the status, and the seconds of all sessions together."""

    def __init__(self, folder: RunFolder, **facts: Any) -> None:
        old = folder.read_record()
        self.folder = folder
        self.started = perf_counter() - (old.get("timings") or {}).get("total_seconds", 0.0)
        self.content: dict[str, Any] = {
            **facts,
            "status": "running",
            "stop_reason": None,
            "started_at": old.get("started_at") or now(),
            "finished_at": None,
            "timings": {},
        }

    def write(self, **changes: Any) -> None:
        """Rewrite `run.json` with `changes` of its keys."""
        self.content |= changes
        self.content["timings"] = {**self.content["timings"], "total_seconds": perf_counter() - self.started}
        self.folder.write_record(self.content)

    def close(self, status: str, reason: str | None) -> None:
        """Record how the session ended. An error of writing is ignored, because the reason matters more."""
        with suppress(StorageError):
            self.write(status=status, stop_reason=reason, finished_at=now())
            self.folder.log(status if reason is None else f"{status}: {reason}")

    @contextmanager
    def closed_on_error(self, callback: Callback, how_to_continue: Callable[[], str]) -> Iterator[None]:
        """Record an error or a stop of the block. A KeyboardInterrupt becomes an `InterruptedRunError`."""
        try:
            yield
        except KeyboardInterrupt:
            text = how_to_continue()
            self.close("interrupted", callback.stopped_by)
            raise InterruptedRunError(text) from None
        except BaseException as error:
            self.close("failed", type(error).__name__)
            raise
