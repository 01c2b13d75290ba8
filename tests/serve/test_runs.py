"""The routes of runs and trainings, in process: what a client can read, start and stop, and what it can't."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the extra [serve]")

import httpx

from mnist_trainer.config.load import format_override, load_config, load_text
from mnist_trainer.config.shipped import shipped, shipped_path
from mnist_trainer.files import folder_lock, write_text
from mnist_trainer.serve import runs
from mnist_trainer.serve.app import create_app
from mnist_trainer.serve.trainings import Trainings
from mnist_trainer.storage.run_folder import RunFolder
from mnist_trainer.studies import html_report

TINY = """\
name: tiny
threads: 1
data: {name: digits, limit: 200, validation: 40, batch_size: 32}
model: {architecture: mlp, hidden: [8]}
training: {epochs: 2}
report: {plots: false, gallery: false}
"""
LONG = TINY.replace("epochs: 2", "epochs: 100000").replace("tiny", "long")

PNG = b"\x89PNG\r\n\x1a\n"


class Server:
    """A server in this process, from its start to its end, and a client of it."""

    def __init__(self, folder: Path, **settings: bool) -> None:
        self.app = create_app((), runs_dir=folder, **{"can_train": True, **settings})
        self.trainings: Trainings = self.app.state.trainings

    def __enter__(self) -> Server:
        self.loop = asyncio.Runner()
        self.lifespan = self.app.router.lifespan_context(self.app)
        self.loop.run(self.lifespan.__aenter__())  # type: ignore[arg-type]
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.run(self.lifespan.__aexit__(None, None, None))  # type: ignore[arg-type]
        self.loop.close()

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.loop.run(self._send("GET", path, options))

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.loop.run(self._send("POST", path, options))

    async def _send(self, method: str, path: str, options: dict[str, Any]) -> httpx.Response:
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.request(method, path, **options)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Server]:
    """A server of the runs in `runs`; the trainings that it has started have ended afterwards."""
    with Server(tmp_path / "runs") as server:
        yield server
    for training in server.trainings.started.values():
        training.process.wait(timeout=60)


def wait_for(happens: Callable[[], Any]) -> Any:
    """Return the first true value of a function. It fails after a minute, which no healthy machine needs."""
    deadline = time.monotonic() + 60
    while not (value := happens()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return value


def state(client: Server, name: str) -> Any:
    return client.get(f"/v1/runs/{name}").json()["state"]


def events(text: str) -> list[tuple[str, str, Any]]:
    """Return kind, id and data of the events in a stream."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
        if fields:
            found.append((fields["event"], fields.get("id", ""), json.loads(fields["data"])))
    return found


# --- runs ---


def test_runs_are_listed_as_mnist_runs_does(client: Server, fake_run: Callable[..., Path]) -> None:
    from mnist_trainer.studies.run_summary import read_runs

    fake_run("runs/2026-03-14_15-09-26-one")
    folder = fake_run("runs/2026-03-15_15-09-26-two", {"started_at": "2026-03-15T15:09:26.535+00:00"}).parent
    (folder / "find-lr").mkdir()
    answer = client.get("/v1/runs").json()
    expected = json.loads(json.dumps([run.to_json() for run in read_runs(folder)]))
    assert [{key: row[key] for key in expected[0]} for row in answer["runs"]] == expected
    assert [row["state"] for row in answer["runs"]] == ["finished", "finished"]
    assert answer["runs"][0]["task"] == "digits"
    assert answer["can_train"] is True


def test_the_list_follows_the_folder(client: Server, fake_run: Callable[..., Path]) -> None:
    assert client.get("/v1/runs").json()["runs"] == []
    folder = fake_run("runs/one", metrics=None)
    assert client.get("/v1/runs").json()["runs"][0]["val_loss"] == 0.25
    RunFolder(folder).write_record({**RunFolder(folder).read_record(), "status": "failed"})
    assert client.get("/v1/runs").json()["runs"][0]["state"] == "failed"


@pytest.mark.parametrize(
    ("status", "expected"),
    [("finished", "finished"), ("interrupted", "stopped"), ("failed", "failed"), ("nonsense", "failed")],
)
def test_state_of_a_run(client: Server, fake_run: Callable[..., Path], status: str, expected: str) -> None:
    fake_run("runs/one", {"status": status})
    assert state(client, "one") == expected
    assert client.get("/v1/runs").json()["runs"][0]["state"] == expected


def test_a_run_whose_process_is_dead_is_stopped(client: Server, fake_run: Callable[..., Path]) -> None:
    folder = fake_run("runs/one", {"status": "running"})
    assert state(client, "one") == "running"
    (folder / ".lock").unlink()
    assert state(client, "one") == "stopped"


def test_a_run_has_its_files(client: Server, fake_run: Callable[..., Path]) -> None:
    folder = fake_run("runs/one", {"test": {"accuracy": 0.9, "loss": float("nan")}})
    RunFolder(folder).write_plot("curves.png", PNG)
    RunFolder(folder).write_plot("weights-2.png", PNG + b"2")
    RunFolder(folder).log("something happened")
    answer = client.get("/v1/runs/one").json()
    assert [row["val_loss"] for row in answer["metrics"]] == [1.25, 0.25, 0.3]
    assert load_text(answer["config"]).name == "small"
    assert answer["run"]["test"] == {"accuracy": 0.9, "loss": None}
    assert answer["plots"] == ["curves.png"]
    assert answer["weights"] == [2]
    assert "something happened" in answer["log"]
    assert client.get("/v1/runs/one/plots/curves.png").content == PNG
    assert client.get("/v1/runs/one/weights/2.png").content == PNG + b"2"
    assert client.get("/v1/runs/one/weights/3.png").status_code == 404


def test_a_series_has_the_curves_of_its_seeds(client: Server, fake_run: Callable[..., Path]) -> None:
    folder = fake_run("runs/series", {"kind": "seeds", "seeds": [0, 1]}, metrics=None)
    for seed in (0, 1):
        fake_run(f"runs/series/seed-{seed}")
    members = client.get(f"/v1/runs/{folder.name}").json()["members"]
    assert [len(member["metrics"]) for member in members] == [3, 3]


def test_a_report_is_a_file_to_keep(client: Server, fake_run: Callable[..., Path]) -> None:
    fake_run("runs/größe 1")
    fake_run("runs/two", {"name": "zweiter"})
    answer = client.get("/v1/runs/größe 1/report.html")
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''gr%C3%B6%C3%9Fe%201.html"
    assert answer.text.startswith("<!DOCTYPE html>")
    assert "zweiter" not in answer.text
    assert "zweiter" in client.get("/v1/runs/größe 1/report.html?compare=two").text
    assert client.get("/v1/runs/two/report.html?compare=nothing").status_code == 404
    many = "&".join(["compare=two"] * 21)
    assert client.get(f"/v1/runs/two/report.html?{many}").status_code == 422


@pytest.mark.parametrize("path", ["report.html", "check"])
def test_slow_work_leaves_threads_for_other_requests(
    client: Server, fake_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """All routes share 40 threads."""
    fake_run("runs/one")
    release = Event()
    monkeypatch.setattr(html_report, "report_html", lambda runs: str(release.wait(60)))
    monkeypatch.setattr(runs, "check_config", lambda text: {"yaml": str(release.wait(60))})

    async def main() -> None:
        post = ("POST", "/v1/configs/check", {"json": {"yaml": ""}})
        slow = post if path == "check" else ("GET", f"/v1/runs/one/{path}", {})
        waiting = [asyncio.create_task(client._send(*slow)) for _ in range(50)]
        await asyncio.sleep(0.1)
        assert (await client._send("GET", "/v1/runs", {})).status_code == 200
        assert not any(each.done() for each in waiting)
        release.set()
        assert {each.status_code for each in await asyncio.gather(*waiting)} == {200}

    client.loop.run(main())


@pytest.mark.parametrize(
    "path",
    [
        "nothing",
        "..",
        "%2e%2e",
        "..%2fsecret",
        "%2fetc",
        ".hidden",
        "one%00",
        "one/plots/..%2f..%2fconfig.yaml",
        "one/plots/%2e%2e%2fconfig.yaml",
        "one/plots/link.png",
        "one/plots/pipe.png",
        "one/plots/note.txt",
        "file",
        "find-lr",
    ],
)
def test_only_names_from_the_list_reach_the_disk(client: Server, fake_run: Callable[..., Path], path: str) -> None:
    folder = fake_run("runs/one")
    fake_run("secret")
    for name in (".hidden", "find-lr"):
        fake_run(f"runs/{name}")
    (folder.parent / "file").write_text("no folder")
    RunFolder(folder).write_plot("curves.png", PNG)
    (folder / "plots" / "note.txt").write_text("no picture")
    (folder / "plots" / "link.png").symlink_to(folder / "config.yaml")
    os.mkfifo(folder / "plots" / "pipe.png")
    answer = client.get(f"/v1/runs/{path}")
    assert answer.status_code == 404
    assert list(answer.json()) == ["error"]


# --- events ---


def test_a_finished_run_tells_its_rows_and_its_state(client: Server, fake_run: Callable[..., Path]) -> None:
    fake_run("runs/one")
    answer = client.get("/v1/runs/one/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = events(answer.text)
    assert [(kind, number) for kind, number, _ in found] == [
        *(("metrics", str(number)) for number in (1, 2, 3)),
        ("state", ""),
    ]
    assert [data.get("val_loss") for _, _, data in found] == [1.25, 0.25, 0.3, None]
    assert found[-1][2] == {"state": "finished", "error": ""}


@pytest.mark.parametrize(
    ("last", "kinds"),
    [
        ("2", ["metrics", "state"]),
        ("3", ["state"]),
        ("7", ["reset", "metrics", "metrics", "metrics", "state"]),
        ("-1", ["metrics", "metrics", "metrics", "state"]),
        ("x", ["metrics", "metrics", "metrics", "state"]),
    ],
)
def test_a_client_that_comes_back_gets_what_it_missed(
    client: Server, fake_run: Callable[..., Path], last: str, kinds: list[str]
) -> None:
    fake_run("runs/one")
    found = events(client.get("/v1/runs/one/events", headers={"Last-Event-ID": last}).text)
    assert [kind for kind, _, _ in found] == kinds


async def stream(app: Any, path: str) -> AsyncIterator[tuple[str, str, Any]]:
    """Yield the events of a stream as they are sent; the client goes away when the generator is closed."""
    sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    scope = {
        **{"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http"},
        **{"path": path, "raw_path": path.encode(), "query_string": b"", "root_path": ""},
        **{"headers": [(b"host", b"127.0.0.1")], "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1)},
    }
    gone = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    answering = asyncio.create_task(app(scope, receive, sent.put))
    more = True
    try:
        while more:
            message = await asyncio.wait_for(sent.get(), timeout=60)
            more = message["type"] == "http.response.start" or message.get("more_body", False)
            for event in events(message.get("body", b"").decode()):
                yield event
    finally:
        gone.set()
        await asyncio.wait_for(answering, timeout=60)


def test_a_run_that_another_process_trains_is_followed(client: Server, fake_run: Callable[..., Path]) -> None:
    """It adds a row, begins its last epoch again as after a kill, and ends."""
    folder = RunFolder(fake_run("runs/one"))
    head, *rows = folder.metrics.read_text().splitlines(keepends=True)

    def write(count: int) -> None:
        write_text(folder.metrics, "".join([head, *rows[:count]]))

    async def watch() -> list[tuple[str, str]]:
        found, steps = [], iter([2, 1, 3])
        write(1)
        with folder_lock(folder.path):
            watched = stream(client.app, "/v1/runs/one/events")
            async for kind, number, _ in watched:
                found.append((kind, number))
                if kind == "state" or (kind == "metrics" and len(found) in (3, 5)):
                    write(next(steps))
                if number == "3":
                    break
            await watched.aclose()  # type: ignore[attr-defined]
        found += [(kind, data.get("state", "")) async for kind, _, data in stream(client.app, "/v1/runs/one/events")]
        return found

    one, two, three = (("metrics", str(number)) for number in (1, 2, 3))
    seen = client.loop.run(watch())
    assert seen[:7] == [one, ("state", ""), two, ("reset", ""), one, two, three]
    assert seen[7:] == [("metrics", "")] * 3 + [("state", "finished")]


@pytest.mark.parametrize("ended", ["server", "folder"])
def test_the_stream_ends_with_the_server_and_with_its_folder(
    ended: str, client: Server, fake_run: Callable[..., Path]
) -> None:
    folder = fake_run("runs/one", {"status": "running"})

    async def watch() -> list[str]:
        kinds = []
        async for kind, _, _ in stream(client.app, f"/v1/runs/{folder.name}/events"):
            kinds.append(kind)
            if ended == "folder":
                shutil.rmtree(folder, ignore_errors=True)
            else:
                client.app.state.is_ending = lambda: len(kinds) == 4
        return kinds

    assert client.loop.run(watch()) == ["metrics", "metrics", "metrics", "state"]


# --- configs ---


def test_shipped_configs_can_be_trained_as_they_are_listed(client: Server) -> None:
    configs = client.get("/v1/configs").json()["configs"]
    assert [config["name"] for config in configs] == list(shipped())
    for config in configs:
        assert config["description"]
        answer = client.post("/v1/configs/check", json={"yaml": config["yaml"]}).json()
        assert answer["errors"] == []
        assert answer["config"] == load_config(config["name"]).model_dump(mode="json")


def test_the_schema_is_that_of_the_configs(client: Server) -> None:
    answer = client.get("/v1/config-schema")
    assert answer.json() == json.loads(shipped_path("mlp").with_name("schema.json").read_text())


def check(client: Server, text: str, *overrides: str) -> list[dict[str, Any]]:
    answer = client.post("/v1/configs/check", json={"yaml": text, "overrides": overrides}).json()
    assert (answer["config"] is None) == bool(answer["errors"])
    if not answer["errors"]:
        assert answer["config"] == load_text(text, overrides).model_dump(mode="json")
    errors: list[dict[str, Any]] = answer["errors"]
    return errors


def test_problems_have_their_location(client: Server) -> None:
    text = "model: {architecture: mlp, hiden: [8]}\ntraining:\n  epochs: 0\n"
    first, second, third, fourth = check(client, text, "seed=1", "optimizer.lr=-1", "model.hidden=[1,")
    assert (first["line"], first["column"], first["override"], first["key"]) == (1, 28, None, "model.hiden")
    assert first["message"] == "unknown key; did you mean 'hidden'?"
    assert (second["line"], second["column"], second["key"]) == (3, 11, "training.epochs")
    assert (third["line"], third["column"], third["key"]) == (5, 29, "optimizer.lr")  # it is in the text now
    assert (fourth["line"], fourth["override"], fourth["key"]) == (None, 2, "model.hidden")


def test_overrides_are_written_into_the_text(client: Server) -> None:
    base = shipped_path("quickstart").read_text(encoding="utf-8")
    overrides = ["training.epochs=3", "optimizer=sgd", "data.limit=40"]
    answer = client.post("/v1/configs/check", json={"yaml": base, "base": "quickstart", "overrides": overrides}).json()
    assert "\n  epochs: 3              # passes over all training images\n" in answer["yaml"]
    assert load_text(answer["yaml"]) == load_text(base, overrides)
    assert answer["changes"] == [
        {"key": "data.limit", "value": "40", "before": "null"},
        {"key": "optimizer", "value": "sgd", "before": "{name: adamw, lr: 0.01}"},
        {"key": "training.epochs", "value": "3", "before": "12"},
    ]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "the file is empty; it needs at least 'model: {architecture: mlp}'"),
        ("model: [1", 1, "the '[' is never closed; a list is [1, 2, 3]"),
        ("- 1", 1, "a list at the top; a config has keys there: remove the '- ' or the brackets"),
        ("a: \x00", 1, "control character U+0000; a config is plain text"),
        ("model: mlp\nseed: off", 2, None),
    ],
)
def test_what_is_no_yaml(client: Server, text: str, line: int | None, message: str | None) -> None:
    (error,) = check(client, text)
    assert error["line"] == line
    assert message in (None, error["message"])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"yaml": "#" * 20_001}, "yaml: String should have at most 20000 characters."),
        ({"yaml": "", "overrides": ["seed=" + "1" * 4000]}, "overrides.0: String should have at most 4000 characters."),
        ({"yaml": "", "overrides": ["seed=1"] * 21}, "overrides: List should have at most 20 items after validation"),
    ],
)
def test_long_configs_are_refused(client: Server, body: dict[str, Any], message: str) -> None:
    """To read 170 kB of YAML with five overrides took 33 s, in which other answers were slow."""
    for path in ("/v1/configs/check", "/v1/trainings"):
        answer = client.post(path, json=body)
        assert (answer.status_code, answer.json()["error"][: len(message)]) == (422, message)


@pytest.mark.parametrize(
    ("key", "override"),
    [
        ("data.path", "data={name: folder, path: /etc}"),
        ("data.root", "data.root=/etc"),
        ("data.extra.path", "data.extra={path: /etc}"),
        ("model.init_from", "model.init_from=runs/one"),
        ("training.teacher.checkpoint", "training.teacher.checkpoint=runs/one"),
    ],
)
def test_a_client_names_no_file(client: Server, key: str, override: str) -> None:
    (error,) = check(client, TINY, override)
    assert error["key"] == key
    assert error["message"] == "names a file of the server, which only a training in a terminal can use"
    answer = client.post("/v1/trainings", json={"yaml": TINY, "overrides": [override]})
    assert answer.status_code == 400
    assert key in answer.json()["error"]
    assert check(client, TINY, "model.init_from=bundled") == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"yaml": 3}', b'{"yaml": "", "run_dir": "/tmp/x"}', b"\xff"])
def test_bodies_of_another_form_are_refused(client: Server, body: bytes) -> None:
    for path in ("/v1/configs/check", "/v1/trainings"):
        answer = client.post(path, content=body, headers={"content-type": "application/json"})
        assert answer.status_code in (400, 422)
        assert list(answer.json()) == ["error"]


# --- trainings ---


@pytest.mark.slow
def test_a_training_is_an_ordinary_run(client: Server, tmp_path: Path) -> None:
    answer = client.post("/v1/trainings", json={"yaml": TINY, "overrides": ["training.epochs=3"]})
    assert answer.status_code == 201
    name = answer.json()["name"]
    assert name.endswith("-tiny")
    rows = client.get("/v1/runs").json()["runs"]
    assert [(row["folder"], row["state"], row["planned_epochs"]) for row in rows] == [(name, "running", 3)]
    found = events(client.get(f"/v1/runs/{name}/events").text)
    assert [kind for kind, _, _ in found if kind == "metrics"] == ["metrics"] * 3
    assert found[-1][2] == {"state": "finished", "error": ""}
    folder = RunFolder(tmp_path / "runs" / name)
    assert load_config(folder.config) == load_text(TINY, ["training.epochs=3", "training.checkpoint_seconds=2"])
    assert folder.read_record()["status"] == "finished"
    assert sorted(path.name for path in folder.path.iterdir()) == [
        *("best.pt", "config.yaml", "last.pt", "log.txt", "metrics.csv", "run.json")
    ]


@pytest.mark.slow
def test_one_training_at_once_that_stops_and_resumes(client: Server) -> None:
    name = client.post("/v1/trainings", json={"yaml": LONG}).json()["name"]
    second = client.post("/v1/trainings", json={"yaml": TINY})
    assert second.status_code == 409
    assert second.json()["error"] == f"{name} trains already. Stop it, or wait until it ends."
    assert client.post(f"/v1/runs/{name}/resume").json()["error"] == f"{name} is being trained already."
    wait_for(lambda: client.get(f"/v1/runs/{name}").json()["metrics"])
    for _ in range(2):  # the second one must not kill it
        assert client.post(f"/v1/runs/{name}/stop").status_code in (202, 409)
    wait_for(lambda: state(client, name) == "stopped")
    answer = client.get(f"/v1/runs/{name}").json()
    assert answer["run"]["status"] == "interrupted"
    epochs = len(answer["metrics"])
    assert client.post(f"/v1/runs/{name}/stop").json()["error"] == f"{name} is not being trained."
    assert client.post(f"/v1/runs/{name}/resume").status_code == 202
    assert state(client, name) == "running"
    wait_for(lambda: len(client.get(f"/v1/runs/{name}").json()["metrics"]) > epochs)
    assert len(client.get(f"/v1/runs/{name}").json()["run"]["sessions"]) == 2


@pytest.mark.slow
def test_a_later_server_stops_what_an_earlier_one_has_left(tmp_path: Path) -> None:
    with Server(tmp_path / "runs", keep_trainings=True) as first:
        name = first.post("/v1/trainings", json={"yaml": LONG}).json()["name"]
        wait_for(lambda: first.get(f"/v1/runs/{name}").json()["metrics"])
    process = first.trainings.started[name].process
    assert process.poll() is None
    with Server(tmp_path / "runs") as second:
        assert state(second, name) == "running"
        assert second.post("/v1/trainings", json={"yaml": TINY}).status_code == 409
        assert second.post(f"/v1/runs/{name}/stop").status_code == 202
        assert process.wait(timeout=60) == 143
        assert state(second, name) == "stopped"


@pytest.mark.slow
def test_trainings_end_with_the_server_and_are_saved(tmp_path: Path) -> None:
    with Server(tmp_path / "runs") as client:
        name = client.post("/v1/trainings", json={"yaml": LONG}).json()["name"]
        wait_for(lambda: client.get(f"/v1/runs/{name}").json()["metrics"])
    assert client.trainings.started[name].process.wait(timeout=60) == 143
    folder = RunFolder(tmp_path / "runs" / name)
    assert folder.read_record()["status"] == "interrupted"
    assert folder.last.exists()


@pytest.mark.slow
def test_why_a_training_did_not_begin_is_told(client: Server, tmp_path: Path) -> None:
    name = client.post("/v1/trainings", json={"yaml": TINY, "overrides": ["device=cuda:99"]}).json()["name"]
    (*_, (kind, _, data)) = events(client.get(f"/v1/runs/{name}/events").text)
    assert (kind, data["state"]) == ("state", "failed")
    assert "cuda:99" in data["error"]
    (row,) = client.get("/v1/runs").json()["runs"]
    assert (row["state"], row["problems"]) == ("failed", [data["error"]])
    assert client.get(f"/v1/runs/{name}").json()["error"] == data["error"]
    assert not (tmp_path / "runs" / name).exists()


def test_runs_that_cannot_be_stopped_or_resumed(client: Server, fake_run: Callable[..., Path]) -> None:
    fake_run("runs/done")
    fake_run("runs/far", {"status": "running"})
    assert client.post("/v1/runs/done/resume").json()["error"] == "done has nothing left to train."
    assert client.post("/v1/runs/far/stop").json()["error"] == "far runs on another machine: stop it there."
    assert client.post("/v1/runs/far/resume").json()["error"] == "far is being trained already."
    for action in ("stop", "resume"):
        assert client.post(f"/v1/runs/nothing/{action}").status_code == 404


def test_a_training_of_another_user_is_not_stopped(
    client: Server, fake_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fake_run("runs/one")
    monkeypatch.setattr("os.kill", lambda pid, signal: (_ for _ in ()).throw(PermissionError))
    with folder_lock(folder):
        answer = client.post("/v1/runs/one/stop")
    assert (answer.status_code, list(answer.json())) == (409, ["error"])


def test_a_read_only_server_changes_nothing(tmp_path: Path, fake_run: Callable[..., Path]) -> None:
    fake_run("runs/one", {"status": "interrupted"})
    with Server(tmp_path / "runs", can_train=False) as client:
        assert client.get("/v1/runs").json()["can_train"] is False
        answers = [
            client.post("/v1/trainings", json={"yaml": TINY}),
            *(client.post(f"/v1/runs/one/{action}") for action in ("stop", "resume")),
        ]
    assert [answer.status_code for answer in answers] == [403] * 3
    assert client.trainings.started == {}


@pytest.mark.parametrize("name", shipped())
def test_overrides_replace_all_keys_of_the_config_below_them(name: str) -> None:
    """A training is started as overrides of `quickstart`, so that no file has to be written for it."""
    config = load_config(name)
    changes = map(format_override, config.model_dump(mode="json").items())
    assert load_config("quickstart", changes) == config
