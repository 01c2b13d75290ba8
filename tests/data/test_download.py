from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest

from mnist_trainer.data import download
from mnist_trainer.data.damage import DamagedError
from mnist_trainer.data.download import UnreachableError, fetch

CONTENT = bytes(range(256)) * 3000


def accept(_: Path) -> None:
    pass


def only_the_true_one(path: Path) -> None:
    if path.read_bytes() != CONTENT:
        raise DamagedError("it is another file")


def test_first_mirror_that_has_the_file_wins(server: Any, tmp_path: Path) -> None:
    server.files = {"true/a.gz": CONTENT}
    urls = [server.url + "gone/a.gz", server.url + "true/a.gz", server.url + "never/a.gz"]
    assert fetch(urls, tmp_path / "a", accept) == urls[1]
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert server.requests == ["gone/a.gz", "true/a.gz"]


def test_a_mirror_with_other_content_is_passed_over(server: Any, tmp_path: Path) -> None:
    server.files = {"bad/a": b"<html>log in first</html>" + CONTENT, "good/a": CONTENT}
    assert fetch([server.url + "bad/a", server.url + "good/a"], tmp_path / "a", only_the_true_one).endswith("good/a")
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_each_mirror_is_named_with_its_reason(server: Any, tmp_path: Path) -> None:
    server.files = {"cut/a": CONTENT, "bad/a": b"else"}
    server.cut = {"cut/a": 1000}
    urls = [server.url + "gone/a", server.url + "cut/a", server.url + "bad/a"]
    with pytest.raises(UnreachableError) as caught:
        fetch(urls, tmp_path / "a", only_the_true_one)
    host = server.url.removeprefix("http://").rstrip("/")
    assert str(caught.value) == (
        f"{host}: HTTP 404 Not Found; {host}: the connection ended after 1,000 of 768,000 bytes; "
        f"{host}: it is another file"
    )


def test_no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unreachable(*_: object, timeout: float) -> None:
        assert timeout == download.TIMEOUT
        raise URLError(OSError(-2, "Name or service not known"))

    monkeypatch.setattr(download, "urlopen", unreachable)
    with pytest.raises(UnreachableError, match=r"^example\.org: Name or service not known$"):
        fetch(["http://example.org/a"], tmp_path / "a", accept)


def test_a_connection_that_dies(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files = {"a": CONTENT}
    opened = download._opened

    def dying(url: str) -> Any:
        response = opened(url)
        monkeypatch.setattr(response, "read", raising(TimeoutError("timed out")))
        return response

    monkeypatch.setattr(download, "_opened", dying)
    with pytest.raises(UnreachableError, match=r"timed out$"):
        fetch([server.url + "a"], tmp_path / "a", accept)


def test_a_full_disk_is_not_taken_for_the_network(server: Any, tmp_path: Path) -> None:
    server.files = {"a": CONTENT}
    with pytest.raises(FileNotFoundError):
        fetch([server.url + "a"], tmp_path / "missing" / "a", accept)


def test_progress_is_told(server: Any, tmp_path: Path) -> None:
    server.files = {"x/a.gz": CONTENT}
    told: list[tuple[str, int, int | None]] = []
    fetch([server.url + "x/a.gz"], tmp_path / "a", accept, lambda *step: told.append(step))
    assert [name for name, _, _ in told] == ["downloading a.gz"] * len(told)
    assert [done for _, done, _ in told] == sorted({done for _, done, _ in told})
    assert told[-1][1:] == (len(CONTENT), len(CONTENT)) and len(told) > 1


def raising(error: Exception) -> Any:
    def read(*_: object) -> bytes:
        raise error

    return read
