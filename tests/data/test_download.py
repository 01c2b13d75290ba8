from __future__ import annotations

import re
import shutil
import ssl
import subprocess
import sys
import time
from email.utils import formatdate
from functools import partial
from itertools import count
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from mnist_trainer.data import download as downloading
from mnist_trainer.data import mirror
from mnist_trainer.data.download import UnreachableError, download, fetch
from mnist_trainer.data.paths import DamagedError

CONTENT = bytes(range(256)) * 3000
MOST = 800_000
HALF = len(CONTENT) // 2


def quiet(*_: object) -> None:
    pass


def check(path: Path) -> None:
    if path.read_bytes() != CONTENT:
        raise DamagedError("it is another file")


def got(path: Path, *urls: str, **options: Any) -> str:
    url = fetch(urls, path, check, MOST, options.get("progress", quiet))
    assert path.read_bytes() == CONTENT
    return url


def failed(path: Path, *urls: str, **options: Any) -> UnreachableError:
    with pytest.raises(UnreachableError) as caught:
        fetch(urls, path, check, options.get("most", MOST), quiet)
    return caught.value


def cut(handler: Any) -> None:
    """Promises all, gives the first half of it (of what was asked for), and hangs up."""
    handler.send(CONTENT[:HALF], Content_Length=str(len(CONTENT)))


# --- several mirrors ---


def test_first_mirror_that_has_the_file_wins(server: Any, tmp_path: Path, pauses: list[float]) -> None:
    server.files = {"true/a.gz": CONTENT}
    urls = [server.url + "gone/a.gz", server.url + "true/a.gz", server.url + "never/a.gz"]
    assert got(tmp_path / "a", *urls) == urls[1]
    assert server.requests == ["gone/a.gz", "true/a.gz"] and pauses == []


def test_a_mirror_with_other_content_is_passed_over(server: Any, tmp_path: Path) -> None:
    server.files = {"bad/a": b"another" + CONTENT, "good/a": CONTENT}
    assert got(tmp_path / "a", server.url + "bad/a", server.url + "good/a").endswith("good/a")


def test_each_mirror_is_named_with_its_reason(server: Any, tmp_path: Path, pauses: list[float]) -> None:
    def answer(handler: Any) -> None:
        match handler.path:
            case "/cut/a":
                cut(handler)
            case "/bad/a":
                handler.send(b"else")
            case _:
                handler.send_error(404)

    server.answer = answer
    error = failed(tmp_path / "a", *(server.url + name for name in ("gone/a", "cut/a", "bad/a")))
    assert str(error) == (
        f"{server.host}: HTTP 404 Not Found; {server.host}: the connection ended after 384,000 of 768,000 bytes; "
        f"{server.host}: it is another file"
    )


def test_progress_is_told(server: Any, tmp_path: Path) -> None:
    server.files = {"x/a.gz": CONTENT}
    told: list[tuple[str, int, int | None]] = []
    got(tmp_path / "a", server.url + "x/a.gz", progress=lambda *step: told.append(step))
    assert [name for name, _, _ in told] == ["downloading a.gz"] * len(told)
    assert [done for _, done, _ in told] == sorted({done for _, done, _ in told})
    assert told[-1][1:] == (len(CONTENT), len(CONTENT)) and len(told) > 1


# --- again, with growing pauses ---


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_a_busy_server_is_asked_again(status: int, server: Any, tmp_path: Path, pauses: list[float]) -> None:
    server.answer = lambda handler: (
        handler.send_error(status) if len(server.requests) < 3 else handler.send_from(CONTENT)
    )
    told: list[str] = []
    got(tmp_path / "a", server.url + "a", progress=lambda what, *_: told.append(what))
    assert len(pauses) == 2 and 1 <= pauses[0] <= 1.5 and 3 <= pauses[1] <= 4.5
    assert re.fullmatch(rf"waiting to ask again: {server.host} \(HTTP {status} [\w ]+\)", told[0])


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_taken_at_its_word(status: int, server: Any, tmp_path: Path, pauses: list[float]) -> None:
    server.answer = lambda handler: handler.send_error(status, "\x1b[2J words of the server")
    error = failed(tmp_path / "a", server.url + "a")
    assert re.fullmatch(rf"{server.host}: HTTP {status} [A-Z][\w ]+", str(error))
    assert len(server.requests) == 1 and pauses == []


def test_a_server_that_stays_busy_is_given_up(server: Any, tmp_path: Path, pauses: list[float]) -> None:
    server.answer = lambda handler: handler.send_error(503)
    assert str(failed(tmp_path / "a", server.url + "a")) == f"{server.host}: HTTP 503 Service Unavailable"
    assert len(server.requests) == 4 and len(pauses) == 3


def test_another_mirror_is_asked_before_the_same_one_again(server: Any, tmp_path: Path, pauses: list[float]) -> None:
    server.answer = lambda handler: handler.send_error(503) if handler.path == "/busy" else handler.send(CONTENT)
    assert got(tmp_path / "a", server.url + "busy", server.url + "free").endswith("free")
    assert pauses == []


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_respected(
    as_date: bool, server: Any, tmp_path: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "time", lambda: 1e9)
    wish = formatdate(1e9 + 40, usegmt=True) if as_date else "40"
    server.answer = lambda handler: (
        handler.send(b"", 503, Retry_After=wish) if len(server.requests) == 1 else handler.send(CONTENT)
    )
    got(tmp_path / "a", server.url + "a")
    assert len(pauses) == 1 and 40 <= pauses[0] <= 60  # by chance, so that not all ask again at once


def test_retry_after_is_respected_within_bounds(server: Any, tmp_path: Path, pauses: list[float]) -> None:
    server.answer = lambda handler: handler.send(b"", 503, Retry_After="3600")
    assert str(failed(tmp_path / "a", server.url + "a")).endswith("and it wants to be asked again in 3,600 seconds")
    assert len(server.requests) == 1 and pauses == []


def test_a_senseless_retry_after_is_none(server: Any, tmp_path: Path, pauses: list[float]) -> None:
    server.answer = lambda handler: handler.send(b"", 503, Retry_After="later " + "9" * 5000)
    failed(tmp_path / "a", server.url + "a")
    assert max(pauses) <= 13.5


# --- going on where it was cut ---


def test_a_cut_file_goes_on(server: Any, tmp_path: Path, pauses: list[float]) -> None:
    server.answer = lambda handler: cut(handler) if len(server.requests) == 1 else handler.send_from(CONTENT)
    told: list[tuple[int, int | None]] = []
    got(tmp_path / "a", server.url + "a", progress=lambda _, *step: told.append(step))
    assert server.ranges == [None, f"bytes={HALF}-"] and len(pauses) == 1
    assert told[-1] == (len(CONTENT), len(CONTENT))


def test_another_mirror_goes_on(server: Any, tmp_path: Path) -> None:
    server.answer = lambda handler: cut(handler) if handler.path == "/one" else handler.send_from(CONTENT)
    got(tmp_path / "a", server.url + "one", server.url + "two")
    assert server.ranges == [None, f"bytes={HALF}-"]


def test_a_server_that_knows_no_range_begins_anew(server: Any, tmp_path: Path, pauses: list[float]) -> None:
    server.answer = lambda handler: cut(handler) if len(server.requests) == 1 else handler.send(CONTENT)
    got(tmp_path / "a", server.url + "a")
    assert server.ranges == [None, f"bytes={HALF}-"]


@pytest.mark.parametrize("knows_range", [True, False])
def test_a_file_that_changed_in_between_begins_anew(knows_range: bool, server: Any, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old" * 1000)
    server.answer = lambda handler: handler.send_from(CONTENT) if knows_range else handler.send(CONTENT)
    got(tmp_path / "a", server.url + "a")
    assert server.ranges == ["bytes=3000-", None][: 2 if knows_range else 1]


def test_a_file_with_more_than_the_server_has_begins_anew(server: Any, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(CONTENT + b"more")
    server.answer = lambda handler: handler.send_from(CONTENT)
    got(tmp_path / "a", server.url + "a")
    assert server.ranges == [f"bytes={len(CONTENT) + 4}-", None]


def test_a_file_that_is_whole_needs_no_server(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(CONTENT)
    got(tmp_path / "a", "http://127.0.0.1:9/a")


@pytest.mark.parametrize("range_", ["bytes 7-99/100", "bytes */100", "nonsense", "bytes " + "9" * 5000 + "-1/1"])
def test_another_part_than_the_one_asked_for(range_: str, server: Any, tmp_path: Path, pauses: list[float]) -> None:
    (tmp_path / "a").write_bytes(CONTENT[:HALF])
    server.answer = lambda handler: (
        handler.send(b"x", 206, Content_Range=range_) if "Range" in handler.headers else handler.send(CONTENT)
    )
    got(tmp_path / "a", server.url + "a")
    assert len(server.requests) == 2


def test_what_came_is_kept_for_the_next_time(server: Any, tmp_path: Path, pauses: list[float]) -> None:
    server.answer = lambda handler: cut(handler) if "Range" not in handler.headers else handler.send_error(503)
    failed(tmp_path / "a", server.url + "a")
    assert (tmp_path / "a").read_bytes() == CONTENT[:HALF]
    server.answer = lambda handler: handler.send_from(CONTENT)
    got(tmp_path / "a", server.url + "a")
    assert server.ranges[-1] == f"bytes={HALF}-"


# --- bad servers ---


def test_a_server_that_announces_too_much_is_not_listened_to(server: Any, tmp_path: Path) -> None:
    server.answer = lambda handler: handler.send(b"", Content_Length="5000000000")
    error = failed(tmp_path / "a", server.url + "a")
    assert str(error) == f"{server.host}: it announces 5,000,000,000 bytes, and the file has 800,000 at most"
    assert (tmp_path / "a").stat().st_size == 0


def test_a_server_that_never_ends_is_left(server: Any, tmp_path: Path, pauses: list[float]) -> None:
    def endless(handler: Any) -> None:
        handler.send(b"", Content_Length="")
        while True:
            handler.wfile.write(bytes(10_000))

    server.answer = endless
    error = failed(tmp_path / "a", server.url + "a", most=50_000)
    assert str(error) == f"{server.host}: it sends more than the 50,000 bytes that the file has at most"
    assert (tmp_path / "a").stat().st_size == 0 and len(server.requests) == 1


def test_more_promised_than_there_is(server: Any, tmp_path: Path, pauses: list[float]) -> None:
    server.answer = lambda handler: handler.send(CONTENT, Content_Length=str(len(CONTENT) + 10))
    got(tmp_path / "a", server.url + "a")
    assert len(server.requests) == 1


def test_less_promised_than_there_is(server: Any, tmp_path: Path, pauses: list[float]) -> None:
    server.answer = lambda handler: handler.send(CONTENT, Content_Length=str(len(CONTENT) - 10))
    assert str(failed(tmp_path / "a", server.url + "a")) == f"{server.host}: it is another file"
    assert pauses == [] and (tmp_path / "a").stat().st_size == 0


def test_no_length_promised(server: Any, tmp_path: Path) -> None:
    server.answer = lambda handler: handler.send(CONTENT, Content_Length="")
    got(tmp_path / "a", server.url + "a")


def test_redirects_are_followed(server: Any, tmp_path: Path) -> None:
    server.answer = lambda handler: (
        handler.send(b"", 302, Location="/b") if handler.path == "/a" else handler.send(CONTENT)
    )
    got(tmp_path / "a", server.url + "a")


@pytest.mark.parametrize("target", ["/a", "{}x", "file:///etc/passwd", "ftp://127.0.0.1/a", ""])
def test_redirects_end(target: str, server: Any, tmp_path: Path) -> None:
    server.answer = lambda handler: handler.send(b"", 302, Location=target.format(handler.path))
    error = failed(tmp_path / "a", server.url + "a")
    assert str(error) == f"{server.host}: HTTP 302 Found, and its redirects lead nowhere"
    assert len(server.requests) <= 12


def test_a_redirect_is_not_read(server: Any, tmp_path: Path) -> None:
    def endless(handler: Any) -> None:
        if handler.path == "/b":
            handler.send(CONTENT)
            return
        handler.send(b"", 302, Location="/b", Content_Length="")
        while True:
            handler.wfile.write(bytes(100_000))

    server.answer = endless
    got(tmp_path / "a", server.url + "a")


@pytest.mark.parametrize(
    ("kind", "page"),
    [("text/html; charset=utf-8", b"Please log in"), ("application/gzip", b"\n<!DOCTYPE html><html>Log in</html>")],
)
def test_a_web_page_is_not_taken_for_the_file(kind: str, page: bytes, server: Any, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(CONTENT[:HALF])
    server.answer = lambda handler: handler.send(page, Content_Type=kind)
    error = failed(tmp_path / "a", server.url + "a")
    assert str(error) == f"{server.host}: it sent a web page instead of the file"
    assert error.remedies == ("Where a network or its proxy wants a log-in first, do that in a browser.",)
    assert (tmp_path / "a").read_bytes() == CONTENT[:HALF]  # what was there is as good as before


@pytest.mark.parametrize("when", ["before", "between"])
def test_a_server_that_stalls(
    when: str, server: Any, tmp_path: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "TIMEOUT", 0.1)

    def wait_longer(seconds: float) -> None:  # a busy machine may need it
        pauses.append(seconds)
        monkeypatch.setattr(mirror, "TIMEOUT", 10 * mirror.TIMEOUT)

    monkeypatch.setattr(downloading, "sleep", wait_longer)

    def stall(handler: Any) -> None:
        if server.ranges[-1] is not None if when == "between" else len(server.requests) > 1:
            handler.send_from(CONTENT)
            return
        if when == "between":
            handler.send(CONTENT[:HALF], Content_Length=str(len(CONTENT)))
        handler.rfile.read(1)  # until the client hangs up

    server.answer = stall
    got(tmp_path / "a", server.url + "a")
    *tries, last = server.ranges
    assert set(tries) == {None} and (last is not None) == (when == "between") and len(pauses) == len(tries)


def test_a_server_that_drips(server: Any, tmp_path: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "monotonic", partial(next, count(0, 10.0)))  # ten seconds a byte

    def drip(handler: Any) -> None:
        handler.send(b"", Content_Length=str(len(CONTENT)))
        while True:
            handler.wfile.write(b"x")
            time.sleep(0.01)

    server.answer = drip
    assert re.fullmatch(r".*: it sent [\d,]+ bytes in \d+ seconds", str(failed(tmp_path / "a", server.url + "a")))


@pytest.mark.parametrize("answer", [b"", b"\x1b[2J hello\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000])
def test_a_server_that_speaks_something_else(answer: bytes, server: Any, tmp_path: Path, pauses: list[float]) -> None:
    server.answer = lambda handler: handler.wfile.write(answer)
    reason = str(failed(tmp_path / "a", server.url + "a")).removeprefix(f"{server.host}: ")
    assert re.fullmatch(r"its answer is cut or no proper HTTP \(\w+\)|Remote end closed connection .*", reason)


def test_a_chunked_answer_that_is_cut(server: Any, tmp_path: Path, pauses: list[float]) -> None:
    server.answer = lambda handler: handler.send(b"ff\r\nxyz", Content_Length="", Transfer_Encoding="chunked")
    assert str(failed(tmp_path / "a", server.url + "a")).endswith(
        "its answer is cut or no proper HTTP (IncompleteRead)"
    )


# --- the network, proxies and certificates ---


def test_nobody_listens(tmp_path: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    error = failed(tmp_path / "a", "http://127.0.0.1:9/a")
    assert str(error) == "127.0.0.1:9: Connection refused"
    assert error.remedies == ("Behind a proxy, name it in HTTPS_PROXY and HTTP_PROXY.",) and len(pauses) == 3


def test_a_name_that_is_not_known_simulated(
    tmp_path: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object) -> None:
        raise mirror.socket.gaierror(mirror.socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr("socket.getaddrinfo", unknown)
    error = failed(tmp_path / "a", "https://example.org/a")
    assert str(error) == "example.org: Name or service not known" and pauses == []
    assert error.remedies == ("Behind a proxy, name it in HTTPS_PROXY and HTTP_PROXY.",)


def test_the_proxy_of_the_environment_is_used(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy")
    monkeypatch.setenv("http_proxy", server.url)
    server.answer = lambda handler: handler.send(CONTENT)
    got(tmp_path / "a", "http://example.invalid/a")
    assert server.requests == ["http://example.invalid/a"]


@pytest.mark.parametrize("proxy", ["http://me:secret@127.0.0.1:9/", "127.0.0.1:9", "http://127.0.0.1:nonsense"])
def test_a_proxy_that_fails_is_named(
    proxy: str, tmp_path: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("https_proxy", proxy)
    error = failed(tmp_path / "a", "https://example.invalid/a")
    assert re.fullmatch(r"example\.invalid: .*, through the proxy 127\.0\.0\.1:(9|nonsense)", str(error))
    assert "secret" not in str(error)
    assert error.remedies == ("Correct HTTPS_PROXY, or unset it.",)


def test_certificates_come_from_the_environment(
    server: Any, tmp_path: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl, which makes a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=here"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.http.socket = context.wrap_socket(server.http.socket, server_side=True)
    server.files = {"a": CONTENT}
    url = server.url.replace("http:", "https:") + "a"
    monkeypatch.setenv("no_proxy", "*")
    error = failed(tmp_path / "a", url)
    assert str(error) == f"{server.host}: its certificate cannot be verified (self-signed certificate)"
    assert len(error.remedies) == 1 and "SSL_CERT_FILE" in error.remedies[0] and "certifi" in error.remedies[0]
    assert pauses == []
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    got(tmp_path / "a", url)


# --- where it lies meanwhile ---


def into(folder: Path, url: str, *, progress: Any = quiet) -> Path:
    return download([url], [folder], check, MOST, progress)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_ctrl_c_keeps_what_came_and_the_next_time_goes_on(server: Any, tmp_path: Path) -> None:
    def stop(what: str, done: int, total: int | None) -> None:
        if done > HALF:
            raise KeyboardInterrupt

    server.answer = lambda handler: handler.send_from(CONTENT)
    with pytest.raises(KeyboardInterrupt):
        into(tmp_path / "new", server.url + "a.gz", progress=stop)
    assert names(tmp_path / "new") == [".a.gz.partial"]
    begun = (tmp_path / "new" / ".a.gz.partial").read_bytes()
    assert CONTENT.startswith(begun) and len(begun) > HALF
    assert into(tmp_path / "new", server.url + "a.gz").read_bytes() == CONTENT
    assert names(tmp_path / "new") == ["a.gz"] and server.ranges[-1] == f"bytes={len(begun)}-"


def test_nothing_is_left_of_a_download_of_nothing(server: Any, tmp_path: Path) -> None:
    with pytest.raises(UnreachableError):
        into(tmp_path / "new", server.url + "a.gz")
    assert names(tmp_path) == []


def test_a_full_disk_is_not_taken_for_the_network(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(partial: Path, *_: object) -> str:
        partial.write_bytes(CONTENT[:HALF])
        raise OSError(28, "No space left on device")

    with pytest.raises(FileNotFoundError):
        fetch([server.url + "a"], tmp_path / "missing" / "a", check, MOST, quiet)
    whole = downloading._receive
    server.files = {"a": CONTENT}
    monkeypatch.setattr(
        downloading, "_receive", lambda partial, *rest: (full if "first" in partial.parts else whole)(partial, *rest)
    )
    path = download([server.url + "a"], [tmp_path / "first", tmp_path / "second"], check, MOST, quiet)
    assert path == tmp_path / "second" / "a" and not (tmp_path / "first").exists()


def test_a_link_in_the_place_of_the_partial_file_is_not_followed(server: Any, tmp_path: Path) -> None:
    server.files = {"a.gz": CONTENT}
    precious = tmp_path / "precious"
    precious.write_bytes(b"mine")
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / ".a.gz.partial").symlink_to(precious)
    (folder / ".a.gz.lock").symlink_to(tmp_path / "made")
    assert into(folder, server.url + "a.gz").read_bytes() == CONTENT
    assert precious.read_bytes() == b"mine" and names(folder) == ["a.gz"] and not (tmp_path / "made").exists()


def test_without_locks_each_has_its_own_partial_file_simulated(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mnist_trainer.data.partial.try_lock", lambda _: None)
    server.answer = cut
    monkeypatch.setattr(downloading, "PAUSES", ())
    with pytest.raises(UnreachableError):
        into(tmp_path / "new", server.url + "a.gz")
    assert names(tmp_path) == []


def test_a_lock_that_its_owner_has_just_removed_is_none_simulated(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def late(_: object) -> bool:
        nonlocal calls
        calls += 1
        if calls == 1:
            (tmp_path / ".a.gz.lock").unlink()
        return True

    monkeypatch.setattr("mnist_trainer.data.partial.try_lock", late)
    monkeypatch.setattr("mnist_trainer.data.partial.AGAIN", 0)
    server.files = {"a.gz": CONTENT}
    into(tmp_path, server.url + "a.gz")
    assert calls == 2


ELSEWHERE = """
import sys
from pathlib import Path
from mnist_trainer.data.download import download
download([sys.argv[2]], [Path(sys.argv[1])], lambda path: None, int(sys.argv[3]), lambda *_: None)
"""


@pytest.mark.parametrize("killed", [False, True])
def test_a_second_process_waits_and_takes_over_from_a_dead_one(killed: bool, server: Any, tmp_path: Path) -> None:
    """The first is stopped in the middle of its download; then it goes on, or is killed."""
    started, goes_on, waits = Event(), Event(), Event()

    def answer(handler: Any) -> None:
        if len(server.requests) > 1:
            handler.send_from(CONTENT)
            return
        handler.send(CONTENT[:HALF], Content_Length=str(len(CONTENT)))
        started.set()
        goes_on.wait(600)
        handler.wfile.write(CONTENT[HALF:])

    server.answer = answer
    first = subprocess.Popen([sys.executable, "-c", ELSEWHERE, str(tmp_path), server.url + "a", str(MOST)])
    assert started.wait(600)
    second = Thread(target=into, args=(tmp_path, server.url + "a"), kwargs={"progress": lambda *_: waits.set()})
    second.start()
    assert waits.wait(600)
    if killed:
        first.kill()
    goes_on.set()
    first.wait(600)
    second.join(600)
    assert (tmp_path / "a").read_bytes() == CONTENT and names(tmp_path) == ["a"]
    assert len(server.requests) == 1 + killed
