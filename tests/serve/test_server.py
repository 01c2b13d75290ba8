"""The server on a port: slow clients, hostile requests, and its end."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any
from zlib import compress

import pytest

pytest.importorskip("fastapi", reason="needs the extra [serve]")

import uvicorn
from fastapi.responses import Response, StreamingResponse
from PIL import Image
from uvicorn.server import ServerState

from mnist_trainer.errors import UsageError
from mnist_trainer.serve import server

SAMPLES = Path(__file__).parents[1] / "pictures" / "samples"
SEVEN, SMALL = ((SAMPLES / name).read_bytes() for name in ("7_drawing.png", "7_small.jpg"))

HOST = b"Host: 127.0.0.1\r\n"


# --- slow clients ---


async def answer(app: Any, sent: bytes, keep_alive: int = 600) -> bytes:
    """Return what a server answers to a client that sends nothing more, until it closes the connection."""
    config = uvicorn.Config(app, http=server.ImpatientProtocol, ws="none", timeout_keep_alive=keep_alive)
    config.load()
    loop = asyncio.get_running_loop()
    async with await loop.create_server(
        lambda: server.ImpatientProtocol(config, ServerState(), {}), "127.0.0.1", 0
    ) as listener:
        reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
        writer.write(sent)
        received = await reader.read()
        writer.close()
    return received


async def slow_app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await asyncio.sleep(0.2)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})


ONE = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"


ENDLESS = b"POST / HTTP/1.1\r\nContent-Length: 1000\r\n" + HOST + b"\r\nx"


@pytest.mark.parametrize("sent", [b"", b"GET", ONE[:-2], ONE + b"GET / ", ENDLESS])
def test_connections_without_a_complete_request_are_closed(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.01)
    received = asyncio.run(answer(slow_app, sent))  # returns before the connection would be closed as an idle one
    assert received.count(b"HTTP/1.1 204 ") == (sent[:-6] == ONE or sent == ENDLESS)


def test_slow_answers_are_awaited_and_idle_connections_closed_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.01)
    received = asyncio.run(answer(slow_app, ONE, keep_alive=1))
    assert received.startswith(b"HTTP/1.1 204 ")


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield bytes(100_000)
        await asyncio.sleep(0)


@pytest.mark.parametrize("app", [Response(bytes(50_000_000)), StreamingResponse(endless())])
def test_a_client_that_never_reads_its_answer_is_left(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer would stay in memory; uvicorn's own timers close the connection only after what is unread."""
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.01)

    async def main() -> None:
        state, loop = ServerState(), asyncio.get_running_loop()
        config = uvicorn.Config(app, http=server.ImpatientProtocol, ws="none", lifespan="off", timeout_keep_alive=0)
        listener = await loop.create_server(lambda: server.ImpatientProtocol(config, state, {}), "127.0.0.1", 0)
        async with listener, asyncio.timeout(60):
            _, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
            writer.write(ONE)
            while not state.total_requests and not state.tasks:
                await asyncio.sleep(0.001)
            while state.connections or state.tasks:
                await asyncio.sleep(0.001)
            writer.close()

    asyncio.run(main())


# --- ports ---


def test_a_port_in_use_is_told_in_one_line() -> None:
    with server.bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(UsageError) as error:
            server.bind("127.0.0.1", port)
    assert str(error.value) == (
        f"Port {port} of 127.0.0.1 is in use, maybe by another mnist-serve. Choose another one with --port."
    )
    with server.bind("127.0.0.1", port):  # free at once after a server has ended
        pass


def test_answers_are_sent_at_once() -> None:
    with server.bind("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs IPv6")
def test_all_addresses_of_ipv6_are_those_of_ipv4_as_well() -> None:
    """mnist-serve prints the address in IPv4."""
    with server.bind("::", 0) as listener:
        socket.create_connection(("127.0.0.1", listener.getsockname()[1])).close()


def test_an_address_of_another_machine_is_refused() -> None:
    for host in ("192.0.2.1", "no.such.name.invalid"):
        with pytest.raises(UsageError, match=f"{re.escape(host)}, port 0, can't be opened: "):
            server.bind(host, 0)


# --- whole processes ---

Address = tuple[str, int]


class Process:
    """A server in a process of its own."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "mnist_trainer", "serve", "--port", "0"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self.process: subprocess.Popen[str] = subprocess.Popen(command, cwd=folder, **pipes)
        assert self.process.stdout is not None
        found = re.fullmatch(r"http://(.+):(\d+)/\n", self.process.stdout.readline())
        assert found, self.process.communicate()
        self.address: Address = found[1], int(found[2])

    def send(self, request: bytes, is_complete: bool = True) -> bytes:
        """Return all that the server answers until it closes the connection; a client that is cut goes away first."""
        with socket.create_connection(self.address, timeout=120) as connection, suppress(ConnectionError):
            connection.sendall(request)
            if not is_complete:
                connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b""))
        return b""  # reset: it closed the connection without reading all that was sent

    def stop(self) -> tuple[int, str, str]:
        """Press Ctrl-C, and return the exit code and what was printed."""
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=120)
        return self.process.returncode, out, err


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    started = Process(tmp_path)
    yield started
    started.process.kill()
    started.process.communicate()


def post(body: bytes, kind: str = "image/png", length: int | None = None, path: str = "/v1/read") -> bytes:
    size = len(body) if length is None else length
    head = f"POST {path} HTTP/1.1\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\nConnection: close\r\n"
    return head.encode() + HOST + b"\r\n" + body


@pytest.mark.slow
def test_ctrl_c_ends_the_server_although_clients_are_connected(process: Process) -> None:
    with socket.create_connection(process.address), socket.create_connection(process.address) as upload:
        upload.sendall(post(b"x", length=1000))
        assert b'"text": "7"' in process.send(post(SEVEN))
        code, out, err = process.stop()
    assert (code, err) == (0, "") and out.endswith("Stopped.\n")


@pytest.mark.slow
def test_the_clients_of_the_documentation_work(process: Process, tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    for name in ("picture.png", "scans/1.png"):
        (tmp_path / name).write_bytes(SEVEN)
    page = (Path(__file__).parents[2] / "docs" / "serve.md").read_text(encoding="utf-8")
    page = page.replace("127.0.0.1:8000", f"{process.address[0]}:{process.address[1]}")
    (python,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert completed([sys.executable, "-c", python], tmp_path) == "['7']\n"
    commands = re.findall(r"^curl .*$", page, flags=re.MULTILINE)
    if shutil.which("curl") is None:
        pytest.skip("curl is not on this machine")
    one, two, models = (json.loads(completed(["bash", "-c", f"{command} -s"], tmp_path)) for command in commands)
    assert [each["text"] for each in one["predictions"]] == ["7"]
    assert [each["path"] for each in two["predictions"]] == ["picture.png", "1.png"]
    assert models["models"][0]["name"] == "bundled"


def completed(command: list[str], folder: Path) -> str:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def hostile_requests(count: int) -> Iterator[tuple[bytes, bool]]:
    """Yield requests that no honest client sends, the same ones each time, and whether they are complete."""
    random = Random(0)
    form = "multipart/form-data; boundary=b"
    complete: list[Callable[[], bytes]] = [
        lambda: post(SEVEN[: random.randrange(1, len(SEVEN))]),
        lambda: post(random.randbytes(random.randrange(1, 5000))),
        lambda: post(damaged(SEVEN, random)),
        lambda: post(damaged(SMALL, random)),
        lambda: post(bomb(random)),
        lambda: post(random.randbytes(300), form),
        lambda: post(b"--b\r\n" * random.randrange(500), form),
        lambda: post(SEVEN, random.choice(["application/json", "text/html", "multipart/mixed", "image/svg+xml"])),
        lambda: post(json.dumps({"yaml": "x" * random.randrange(5000)}).encode(), path="/v1/configs/check"),
        lambda: post(b"[" * 50_000, "application/json", path="/v1/configs/check"),
        lambda: post(SEVEN, path=random.choice(["/v1/read?model=run:../..", "/v1/read?expect=%00", "/../../x"])),
        lambda: post(SEVEN).replace(b"127.0.0.1", random.choice([b"evil.example", b"127.0.0.1:x", b"[::1"])),
        lambda: b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n",
        lambda: b"PUT /v1/runs/x HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n",
    ]
    cut: list[Callable[[], bytes]] = [
        lambda: post(SEVEN[:50], length=random.choice([51, 10**6, 10**12])),
        lambda: post(SEVEN, "\0"),
        lambda: b"POST /v1/read HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + HOST + b"\r\nZZ\r\n" + SEVEN,
        lambda: b"GET / HTTP/1.1\r\nX: " + b"y" * random.randrange(200_000),
        lambda: random.randbytes(500),
        lambda: b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n" + HOST + b"\r\n",
        lambda: b"",
    ]
    kinds = [*((kind, True) for kind in complete), *((kind, False) for kind in cut)]
    for number in range(count):
        make, is_complete = kinds[number % len(kinds)]
        yield make(), is_complete


def damaged(content: bytes, random: Random) -> bytes:
    changed = bytearray(content)
    for _ in range(random.randrange(1, 20)):
        changed[random.randrange(len(changed))] = random.randrange(256)
    return bytes(changed)


def bomb(random: Random) -> bytes:
    """A small PNG of many pixels; some say that they are larger than they are."""
    side = random.choice([3000, 13_000, 60_000])
    stream = BytesIO()
    Image.new("1", (8, 8)).save(stream, "png")
    head = stream.getvalue()[:16] + side.to_bytes(4, "big") * 2 + stream.getvalue()[24:]
    return head.replace(b"IDAT", b"IDAT" + compress(bytes(10**6)))


@pytest.mark.slow
def test_500_hostile_requests_leave_the_server_well(process: Process) -> None:
    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda each: (process.send(*each), each[1]), hostile_requests(500)))
    for answer, is_complete in answers:
        head, _, body = answer.partition(b"\r\n\r\n")
        assert answer or not is_complete
        if head.startswith(b"HTTP/1.1 200"):
            assert b"application/json" not in head or {"predictions", "errors"} & set(json.loads(body))
        elif answer:
            assert head[9:10] == b"4", head
            assert b"application/json" not in head or list(json.loads(body)) == ["error"]
    assert b'"text": "7"' in process.send(post(SEVEN))
    code, _, err = process.stop()
    assert (code, err) == (0, "")
