"""Routes of the runs (table, details, plots, events, report) and of trainings (configs, check, start, stop, resume)."""

from __future__ import annotations

import json
import re
from asyncio import Lock, sleep
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import suppress
from math import isfinite
from pathlib import Path
from time import monotonic
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import State

from mnist_trainer.config.load import changes, edit_text, load_config, load_text
from mnist_trainer.config.schema import Config
from mnist_trainer.config.shipped import schema_path, shipped, shipped_path
from mnist_trainer.config.yaml_edit import flow
from mnist_trainer.errors import ConfigError, ConfigProblem
from mnist_trainer.files import is_locked, open_regular
from mnist_trainer.serve.trainings import Trainings
from mnist_trainer.storage.run_folder import BUNDLED, RunFolder
from mnist_trainer.studies.run_summary import Row, RunSummary, read_run

POLL_SECONDS = 0.4
"""How often the folder of a run that is watched is looked at."""

HEARTBEAT_SECONDS = 15.0
"""After so long without an event a comment is sent, which fails if the client has gone."""

MAX_PLOT_BYTES, MAX_TEXT_BYTES = 50_000_000, 1_000_000
LOG_LINES = 200

MAX_COMPARED = 20

MAX_YAML, MAX_OVERRIDE, MAX_OVERRIDES = 20_000, 4000, 20
"""The characters of a config and of an override, and the number of overrides at most: each reads the text anew."""

NONE: list[str] = []

PLOT_TYPES = {".png": "image/png", ".svg": "image/svg+xml", ".pdf": "application/pdf"}

STATES = {"running": "running", "finished": "finished", "interrupted": "stopped", "killed": "stopped"}
"""The states of a run for clients, by status; every other status, also none, is `failed`."""

LOCAL_KEYS = ("path", "root", "init_from", "checkpoint")
"""Keys, in any section, that name files of the server, which a client must not choose."""

WEIGHTS = re.compile(r"weights-(\d{1,9})\.png")
"""The names of the plots of the first-layer weights after an epoch."""


class ConfigText(BaseModel):
    """A config as YAML, and overrides of its keys (`optimizer.lr=0.01`) that are applied to it."""

    model_config = ConfigDict(extra="forbid")

    yaml: Annotated[str, Field(max_length=MAX_YAML)]
    overrides: Annotated[list[Annotated[str, Field(max_length=MAX_OVERRIDE)]], Field(max_length=MAX_OVERRIDES)] = []
    base: str = ""
    """The name of a shipped config with which it is compared."""


def runs_router(trainings: Trainings, can_train: bool) -> APIRouter:
    """Return the routes of the runs in the folder of `trainings`; without `can_train`, nothing can be changed."""
    router, routes = APIRouter(prefix="/v1"), _Routes(trainings, can_train)
    get: Mapping[str, Any] = {
        "/runs": routes.list_runs,
        "/runs/{name}": routes.run,
        "/runs/{name}/plots/{file}": routes.plot,
        "/runs/{name}/weights/{epoch}.png": routes.weights,
        "/runs/{name}/report.html": routes.report,
        "/runs/{name}/events": routes.events,
        "/configs": list_configs,
        "/config-schema": config_schema,
    }
    for path, route in get.items():
        router.add_api_route(path, route)
    router.add_api_route("/configs/check", routes.check, methods=["POST"])
    router.add_api_route("/trainings", routes.start, methods=["POST"], status_code=201)
    router.add_api_route("/runs/{name}/stop", routes.stop, methods=["POST"], status_code=202)
    router.add_api_route("/runs/{name}/resume", routes.resume, methods=["POST"], status_code=202)
    return router


# --- configs ---


def list_configs() -> dict[str, Any]:
    """Return the shipped configs, in the order of a course, as YAML with comments."""
    configs = [
        {"name": name, "description": text, "yaml": shipped_path(name).read_text(encoding="utf-8")}
        for name, text in shipped().items()
    ]
    return {"configs": configs}


def config_schema() -> Response:
    """Return the JSON Schema of a config."""
    return Response(schema_path().read_bytes(), media_type="application/schema+json")


def check_config(text: ConfigText) -> dict[str, Any]:
    """Return the answer of `_Routes.check`."""
    edited, rest = text.yaml, []
    for number, override in enumerate(text.overrides):
        if (written := edit_text(edited, override)) is None:
            rest.append(number)
        else:
            edited = written
    answer: dict[str, Any] = {"yaml": edited, "errors": [], "config": None, "changes": []}
    try:
        config = _load(ConfigText(yaml=edited, overrides=[text.overrides[number] for number in rest]))
    except ConfigError as error:
        return answer | {"errors": [_located(problem, rest) for problem in error.problems]}
    found = changes(load_config(text.base), config) if text.base in shipped() else ()
    listed = [{"key": key, "value": flow(value), "before": flow(before)} for key, value, before in found]
    return answer | {"config": config.model_dump(mode="json"), "changes": listed}


def _load(text: ConfigText) -> Config:
    """Return the checked config of a client. Raises `ConfigError`, also for keys that name files of the server."""
    config = load_text(text.yaml, text.overrides)
    if named := list(_local_keys(config.model_dump(mode="json"))):
        why = "names a file of the server, which only a training in a terminal can use"
        raise ConfigError([ConfigProblem("", key, why) for key in named])
    return config


def _local_keys(config: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Yield the keys of a config that name a file."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _local_keys(value, f"{above}{key}.")
        elif key in LOCAL_KEYS and value not in (None, BUNDLED):
            yield f"{above}{key}"


def _located(problem: ConfigProblem, overrides: Sequence[int]) -> dict[str, Any]:
    """Return a problem with its location as numbers; `overrides` are the indices of those that were applied."""
    kind, _, number = problem.location.partition(" ")
    override = overrides[int(number) - 1] if kind == "override" else None
    _, line, column = problem.location.split(":") if problem.location.startswith(":") else ("", None, None)
    place = {"line": line and int(line), "column": column and int(column), "override": override}
    return {**place, "key": problem.path, "message": problem.message}


# --- runs ---


class _Routes:
    """The routes of the runs in one folder. Their docstrings are the descriptions in /openapi.json."""

    def __init__(self, trainings: Trainings, can_train: bool) -> None:
        self.trainings, self.can_train = trainings, can_train
        self.summaries: dict[Path, tuple[object, RunSummary]] = {}
        self.checking, self.reporting = Lock(), Lock()  # slow work leaves threads for other requests

    def list_runs(self) -> Response:
        """Return the rows of `mnist-runs --json`, with the `state` and `task` of each run, the latest last."""
        started = self.trainings.started.copy()  # another thread may start one
        paths = {name: training.path for name, training in started.items()} | self.trainings.paths()
        summaries = {name: summary for name, path in paths.items() if (summary := self._summary_at(name, path))}
        rows = [self._row(name, summary) for name, summary in summaries.items()]
        rows.sort(key=lambda row: row["started_at"] or "")
        return _json({"runs": rows, "can_train": self.can_train})

    def run(self, name: str) -> Response:
        """Return `run.json`, the config, the rows of `metrics.csv`, the names of the plots and the log of a run."""
        folder, summary = RunFolder(self.trainings.find(name)), self._summary(name)
        plots = _plots(folder)
        answer = {
            "name": name,
            "state": self._state(name),
            "row": summary and self._row(name, summary),
            "run": folder.read_record(),
            "config": _text(folder.path / ("best.yaml" if summary and summary.kind == "sweep" else "config.yaml")),
            "metrics": summary.rows if summary else [],
            "members": _members(summary) if summary else [],
            "plots": [plot for plot in plots if not WEIGHTS.fullmatch(plot)],
            "weights": sorted(int(found[1]) for plot in plots if (found := WEIGHTS.fullmatch(plot))),
            "log": "\n".join(_text(folder.path / "log.txt", from_end=True).splitlines()[-LOG_LINES:]),
            "error": self.trainings.error(name),
        }
        return _json(answer)

    def plot(self, name: str, file: str) -> Response:
        """Return a plot of a run."""
        return _picture(RunFolder(self.trainings.find(name)), file)

    def weights(self, name: str, epoch: int) -> Response:
        """Return the plot of the first-layer weights after an epoch."""
        folder = RunFolder(self.trainings.find(name))
        file = next((plot for plot in _plots(folder) if _epoch_of(plot) == epoch), "")
        return _picture(folder, file)

    async def report(
        self, name: str, compare: Annotated[list[str], Query(max_length=MAX_COMPARED)] = NONE
    ) -> HTMLResponse:
        """Return a report on the run as one self-contained file; `compare` names other runs to compare it with."""
        async with self.reporting:
            html = await run_in_threadpool(self._report, list(dict.fromkeys([name, *compare])))
        file = "runs" if compare else name
        return HTMLResponse(html, headers={"Content-Disposition": f"attachment; filename*=UTF-8''{quote(file)}.html"})

    def _report(self, names: Sequence[str]) -> str:
        from mnist_trainer.studies.html_report import report_html

        if missing := [each for each in names if self._summary(each) is None]:
            raise HTTPException(404, f"{missing[0]} has no folder to report on.")
        return report_html([read_run(self.trainings.find(each)) for each in names])

    def events(self, name: str, request: Request) -> StreamingResponse:
        """Return server-sent events: `metrics` for each row of `metrics.csv`, with its number as the id, and `state`.

        The stream ends when the run does. `reset` says that a resumed run trains its last epochs again.
        """
        self.trainings.find(name)
        last = request.headers.get("last-event-id", "")
        sent = int(last) if last.isdecimal() and len(last) < 10 else 0
        return StreamingResponse(self._events(name, sent, request.app.state), media_type="text/event-stream")

    async def _events(self, name: str, sent: int, server: State) -> AsyncIterator[str]:
        """Yield the events of a run after row `sent`, until the run or the server ends."""
        shown, silent = "", 0.0
        while not server.is_ending():
            try:
                state, rows = await run_in_threadpool(self._follow, name)
            except HTTPException:  # its folder was removed
                return
            events = list(_metrics_events(rows, sent))
            if state != shown:
                events.append(_event("state", {"state": state, "error": self.trainings.error(name)}))
            silent = 0.0 if events else silent + POLL_SECONDS
            if silent >= HEARTBEAT_SECONDS:
                events, silent = [":\n\n"], 0.0
            yield "".join(events)
            if state != "running":
                return
            sent, shown = len(rows), state
            await _pause(POLL_SECONDS, server)

    def _follow(self, name: str) -> tuple[str, Sequence[Row]]:
        """Return the state and the rows of a run. The state is read first: a run that has ended adds no rows."""
        state = self._state(name)
        summary = self._summary(name)
        return state, summary.rows if summary else ()

    def _state(self, name: str) -> str:
        """Return whether a run is `running`, `finished`, `stopped` or `failed`."""
        if self._is_running(name, self.trainings.find(name)):
            return "running"
        summary = self._summary(name)
        return _ended_state(summary) if summary else "failed"

    def _is_running(self, name: str, path: Path) -> bool:
        return self.trainings.is_training(name) or is_locked(path)

    def _summary(self, name: str) -> RunSummary | None:
        return self._summary_at(name, self.trainings.find(name))

    def _summary_at(self, name: str, path: Path) -> RunSummary | None:
        """Return the summary of a run, which is read again only if its files have changed."""
        if (pending := self.trainings.summary(name)) is not None:
            return pending
        if not path.is_dir():
            return None
        stamp = (is_locked(path), *_stamps(path))
        if self.summaries.get(path, (None,))[0] != stamp:
            self.summaries[path] = (stamp, read_run(path))
        return self.summaries[path][1]

    def _row(self, name: str, summary: RunSummary) -> dict[str, Any]:
        state = "running" if self._is_running(name, summary.path) else _ended_state(summary)
        return {**summary.to_json(), "folder": name, "state": state, "task": summary.task}

    # --- trainings ---

    async def check(self, text: ConfigText) -> dict[str, Any]:
        """Write the overrides into the YAML, and return it, its problems, and the complete config if there are none.

        `line` and `column`, from 1, are those in the new `yaml`. `override` is the index of one that can't be written
        into it. `changes` are what differs from the config `base`, as overrides: key, value, and the value there.
        """
        async with self.checking:
            return await run_in_threadpool(check_config, text)

    def start(self, text: ConfigText) -> dict[str, str]:
        """Start a training, and return its name. The errors of the config are those of /v1/configs/check."""
        self._check_can_train()
        return {"name": self.trainings.start(_load(text))}

    def stop(self, name: str) -> dict[str, str]:
        """Ask a training to save its state and to stop after its current step."""
        self._check_can_train()
        self.trainings.stop(name)
        return {"name": name}

    def resume(self, name: str) -> dict[str, str]:
        """Continue a run that was stopped."""
        self._check_can_train()
        self.trainings.resume(name)
        return {"name": name}

    def _check_can_train(self) -> None:
        if not self.can_train:
            raise HTTPException(403, "This server is read-only: it starts and stops no trainings.")


def _ended_state(summary: RunSummary) -> str:
    return STATES.get(summary.status or "", "failed")


def _members(summary: RunSummary) -> list[dict[str, Any]]:
    """Return the metrics of each run of a series, and of each trial of a sweep."""
    if summary.kind == "run":
        return []
    from mnist_trainer.studies.run_table import curves

    return [{"metrics": curve.rows} for curve in curves([summary])[0]]


def _metrics_events(rows: Sequence[Row], sent: int) -> Iterator[str]:
    """Yield an event for each row after `sent` of them; all again if there are fewer than were sent."""
    if len(rows) < sent:
        yield _event("reset", {})
        sent = 0
    for number, row in enumerate(rows[sent:], sent + 1):
        yield _event("metrics", row, number)


def _event(kind: str, data: object, number: int | None = None) -> str:
    """Return a server-sent event (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""
    lines = [f"event: {kind}", *([] if number is None else [f"id: {number}"]), f"data: {json.dumps(data)}"]
    return "\n".join(lines) + "\n\n"


async def _pause(seconds: float, server: State) -> None:
    """Wait, but not while the server ends: its time for that is short."""
    deadline = monotonic() + seconds
    while monotonic() < deadline and not server.is_ending():
        await sleep(min(0.1, seconds))


# --- files of runs ---


def _plots(folder: RunFolder) -> list[str]:
    """Return the file names of the plots of a run."""
    try:
        return sorted(path.name for path in folder.plots.iterdir() if path.suffix in PLOT_TYPES and path.name[0] != ".")
    except OSError:
        return []


def _epoch_of(plot: str) -> int | None:
    found = WEIGHTS.fullmatch(plot)
    return int(found[1]) if found else None


def _picture(folder: RunFolder, file: str) -> Response:
    """Return a plot. Raises `HTTPException` (404) for other files, and for links, which may lead out of the folder."""
    content = _read(folder.plots / file, MAX_PLOT_BYTES) if file in _plots(folder) else None
    if content is None:
        raise HTTPException(404, "There is no such picture.")
    return Response(content, media_type=PLOT_TYPES[Path(file).suffix])


def _text(path: Path, from_end: bool = False) -> str:
    """Return the first or the last `MAX_TEXT_BYTES` of a text file; empty if there is none."""
    return (_read(path, MAX_TEXT_BYTES, from_end) or b"").decode(errors="replace")


def _read(path: Path, limit: int, from_end: bool = False) -> bytes | None:
    """Return at most `limit` bytes of a regular file; None if it can't be read."""
    with suppress(OSError), open(path, "rb", opener=open_regular) as stream:
        if from_end:
            stream.seek(max(0, path.stat().st_size - limit))
        return stream.read(limit)
    return None


def _stamps(path: Path) -> Iterator[object]:
    """Yield what changes when the files that a summary is read from do."""
    for name in ("run.json", "metrics.csv", "config.yaml", "best.yaml"):
        with suppress(OSError):
            info = (path / name).stat()
            yield name, info.st_mtime_ns, info.st_size


# --- JSON ---


def _json(data: object) -> Response:
    """Return JSON with null for infinite numbers and NaN, which JSON lacks and files of runs may contain."""
    return Response(json.dumps(_finite(data), default=str), media_type="application/json")


def _finite(value: Any) -> Any:
    match value:
        case float():
            return value if isfinite(value) else None
        case Mapping():
            return {str(key): _finite(item) for key, item in value.items()}
        case list() | tuple():
            return [_finite(item) for item in value]
        case _:
            return value
