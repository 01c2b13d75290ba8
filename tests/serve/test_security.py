"""Which requests are answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the extra [serve]")

from mnist_trainer.serve import read
from mnist_trainer.serve.security import Limits

SEVEN = (Path(__file__).parents[1] / "pictures" / "samples" / "7_drawing.png").read_bytes()


def error_of(response: Any) -> str:
    (text,) = response.json().values()
    return str(text)


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "localhost", "[::1]:8000", "127.0.0.5"])
def test_names_of_this_machine_are_answered(client: Any, host: str) -> None:
    assert client.get("/healthz", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1", "", "[::1].evil.example", "[", ":"]
)
def test_a_rebound_name_is_refused(client: Any, host: str) -> None:
    response = client.get("/", headers={"host": host})
    assert response.status_code == 403
    assert "Host header" in error_of(response)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://127.0.0.1:8000"}, 200),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"origin": "http://127.0.0.1:8001"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": ""}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
    ],
)
def test_pages_of_other_sites_change_nothing(client: Any, headers: dict[str, str], status: int) -> None:
    assert client.post("/v1/read", content=SEVEN, headers=headers).status_code == status


def test_scripts_and_styles_come_from_the_server_alone(client: Any) -> None:
    for path in ("/", "/v1/models", "/nothing"):
        headers = client.get(path).headers
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'" and policy["script-src"] == policy["style-src"] == "'self'"
        assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"


# --- other machines: a token ---


@pytest.fixture
def guarded(connect: Any) -> Any:
    """A client of a server that is bound to all addresses."""
    return connect(host="0.0.0.0", token="secret")


def test_other_machines_need_the_token(guarded: Any) -> None:
    for options in ({}, {"params": {"token": "wrong"}}, {"headers": {"authorization": "Bearer wröng".encode()}}):
        response = guarded.get("/v1/models", **options)
        assert response.status_code == 401 and "token" in error_of(response)
    assert guarded.get("/healthz").status_code == 200
    assert guarded.get("/v1/models", headers={"authorization": "Bearer secret"}).status_code == 200
    assert guarded.get("/v1/models", headers={"authorization": "Basic secret"}).status_code == 401


def test_a_browser_gets_the_token_as_a_cookie(guarded: Any) -> None:
    cookie = guarded.get("/?token=secret").headers["set-cookie"]
    assert cookie == "mnist-serve-8000=secret; Path=/; HttpOnly; SameSite=Strict"
    assert guarded.get("/v1/models", headers={"cookie": cookie.partition(";")[0]}).status_code == 200
    assert guarded.get("/v1/models", headers={"cookie": "mnist-serve-8001=secret"}).status_code == 401
    assert "set-cookie" not in guarded.get("/?token=wrong").headers


@pytest.mark.parametrize(("host", "status"), [("192.168.0.7:8000", 200), ("localhost", 200), ("evil.example", 403)])
def test_other_machines_use_an_address_or_the_own_name(guarded: Any, host: str, status: int) -> None:
    headers = {"host": host, "authorization": "Bearer secret"}
    assert guarded.get("/v1/models", headers=headers).status_code == status


def test_on_this_machine_there_is_no_token(client: Any) -> None:
    response = client.get("/?token=x")
    assert response.status_code == 200 and "set-cookie" not in response.headers


# --- uploads ---


def test_large_uploads_are_refused_before_they_are_read(connect: Any) -> None:
    client, sent = connect(limits=Limits(upload_bytes=1000)), []

    async def body() -> AsyncIterator[bytes]:
        for number in range(100):
            sent.append(number)
            yield 500 * b"x"

    for headers in ({"content-type": "image/png"}, {"content-type": "multipart/form-data; boundary=b"}):
        sent.clear()
        response = client.post("/v1/read", content=body(), headers=headers)
        assert response.status_code in (413, 400) and len(sent) <= 3
    response = client.post("/v1/read", content=1001 * b"x")
    assert response.status_code == 413
    assert error_of(response) == "A request may have 0.001 MB at most. Send fewer or smaller pictures."
    assert client.post("/v1/read", content=1000 * b"x").status_code == 200


def test_uploads_together_are_limited_in_memory(connect: Any) -> None:
    client = connect(limits=Limits(buffer_bytes=1000))
    for _ in range(2):  # what a request held is free after it
        assert client.post("/v1/read", content=900 * b"x").status_code == 200
    response = client.post("/v1/read", content=1001 * b"x")
    assert response.status_code == 429 and response.headers["retry-after"] == "1"


def test_slow_uploads_end(connect: Any) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.Event().wait()

    response = connect(limits=Limits(upload_seconds=0.05)).post("/v1/read", content=body())
    assert response.status_code == 408 and "longer than 0.05 seconds" in error_of(response)


def test_bugs_are_answered_without_a_traceback(
    client: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*arguments: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(read, "_read", fail)
    response = client.post("/v1/read", content=SEVEN)
    assert response.status_code == 500 and "This is a bug" in error_of(response)
    (record,) = caplog.records
    assert record.getMessage() == "POST /v1/read: ZeroDivisionError('a bug')" and not record.exc_info
