"""The sessions of a run: a training that was stopped or killed is one run in several of them."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from mnist_trainer.reports.environment import machine_info
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
