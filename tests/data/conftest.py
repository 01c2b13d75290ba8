"""Small data sets in the formats of the real ones, and a server on this machine that has their files."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mnist_trainer.data import datasets
from mnist_trainer.data.datasets import PUBLISHED, Published, PublishedName
from mnist_trainer.data.paths import user_cache

COUNTS = {"train": 12, "test": 7}


def idx_bytes(array: NDArray[np.uint8] | NDArray[np.int32]) -> bytes:
    code = 0x08 if array.dtype == np.uint8 else 0x0C
    header = bytes([0, 0, code, array.ndim]) + np.array(array.shape, ">i4").tobytes()
    return header + (array if code == 0x08 else array.astype(">i4")).tobytes()


def usps_bytes(values: NDArray[np.float32], labels: NDArray[np.uint8]) -> bytes:
    lines = []
    for image, label in zip(values.reshape(len(values), -1), labels, strict=True):
        pixels = " ".join(f"{place}:{value:.4f}" for place, value in enumerate(image, start=1))
        lines.append(f"{label + 1} {pixels} \n")
    return "".join(lines).encode()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder, empty, whatever the system."""
    for variable in ("XDG_CACHE_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "user"))
    monkeypatch.delenv("MNIST_TRAINER_DATA", raising=False)
    return user_cache()


class Handler(BaseHTTPRequestHandler):
    """What a test's answer speaks through: `send` the file, or what a bad server does."""

    def send(self, content: bytes, status: int = 200, **headers: str) -> None:
        """`Content_Length="9"` lies about the length; `Content_Length=""` leaves it out."""
        self.send_response(status)
        for name, value in {"Content_Length": str(len(content)), **headers}.items():
            if value:
                self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@dataclass
class Server:
    """A web server with the files in `files`, or that does what `answer` does; `requests` are the paths asked for."""

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    answer: Callable[[Handler], object] | None = None
    http: Any = None

    @property
    def host(self) -> str:
        return self.url.removeprefix("http://").rstrip("/")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")

    class Asked(Handler):
        def do_GET(self) -> None:
            name = self.path.lstrip("/")
            state.requests.append(name)
            if state.answer is not None:
                state.answer(self)
            elif (content := state.files.get(name)) is None:
                self.send_error(404)
            else:
                self.send(content)

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """A client that hangs up in the middle is part of the tests."""

    with Quiet(("127.0.0.1", 0), Asked) as http:
        state = Server(f"http://127.0.0.1:{http.server_port}/", http=http)
        thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        http.shutdown()
        thread.join()


@dataclass
class Made:
    """A made-up data set that has taken the place of a published one."""

    name: PublishedName
    published: Published
    raw: dict[str, bytes]
    packed: dict[str, bytes]
    images: dict[str, NDArray[np.uint8]]
    labels: dict[str, NDArray[np.uint8]]

    def put(self, root: Path, packed: bool = True, raw: bool = False) -> Path:
        """Its files under `root`; the folder they are in."""
        folder = root / self.published.folder
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in {**(self.packed if packed else {}), **(self.raw if raw else {})}.items():
            (folder / name).write_bytes(content)
        return folder


def _contents(name: PublishedName, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> tuple[bytes, ...]:
    match name:
        case "usps":
            return (usps_bytes(images[:, 6:22, 6:22].astype(np.float32) / 127.5 - 1, labels),)
        case "emnist-digits":
            return idx_bytes(images.transpose(0, 2, 1)), idx_bytes(labels)
        case "qmnist":
            more = np.stack([labels.astype(np.int32)] + [np.full(len(labels), -5, np.int32)] * 7, 1)
            more[:, 2] = np.arange(len(labels)) // 2 + 2100  # each writer wrote two digits
            more[:, 1] = np.array([0, 1, 4])[np.arange(len(labels)) % 3]
            return idx_bytes(images), idx_bytes(more)
        case _:
            return idx_bytes(images), idx_bytes(labels)


def _pack(name: PublishedName, raw: dict[str, bytes]) -> dict[str, bytes]:
    match name:
        case "usps":
            return {f"{file}.bz2": bz2.compress(content) for file, content in raw.items()}
        case "emnist-digits":
            buffer = io.BytesIO()
            with zipfile.ZipFile(buffer, "w") as archive:
                for file, content in raw.items():
                    archive.writestr(f"gzip/{file}.gz", gzip.compress(content))
            return {"gzip.zip": buffer.getvalue()}
        case _:
            return {f"{file}.gz": gzip.compress(content) for file, content in raw.items()}


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Made]:
    """Makes a small data set in the format of the one it is named after, with mirrors at `urls`."""

    def build(name: PublishedName, urls: tuple[str, ...] = ("http://127.0.0.1:9/",)) -> Made:
        real, rng = PUBLISHED[name], np.random.default_rng(3)
        images, labels = {}, {}
        raw: dict[str, bytes] = {}
        for part, count in COUNTS.items():
            images[part] = rng.integers(0, 256, (count, 28, 28), np.uint8)
            labels[part] = (np.arange(count) % 10).astype(np.uint8)
            contents = _contents(name, images[part], labels[part])
            raw |= dict(zip(real.train if part == "train" else real.test, contents, strict=True))
        packed = _pack(name, raw)
        sha256 = {file: hashlib.sha256(raw[file]).hexdigest() for file in real.sha256}
        published = replace(real, sha256=sha256)
        monkeypatch.setitem(PUBLISHED, name, published)
        found = {archive: ([url + archive for url in urls], md5(content)) for archive, content in packed.items()}
        others = datasets.resources
        monkeypatch.setattr(datasets, "resources", lambda asked: found if asked == name else others(asked))
        return Made(name, published, raw, packed, images, labels)

    return build


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()
