"""Files of published data sets, one at a time: compressed or not, whole, damaged or hostile, on a disk or a server."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import os
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from mnist_trainer.data import datasets
from mnist_trainer.data.datasets import (
    PUBLISHED,
    Published,
    PublishedName,
    find,
    parse_idx,
    parse_usps,
    read_file,
)
from mnist_trainer.data.paths import DamagedError, data_errors
from mnist_trainer.errors import DataError
from tests.data.conftest import Handler, md5

CONTENT = b"content" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PACKED = gzip.compress(CONTENT)
ADVICE = "Delete it, and it is downloaded again; or replace it with an intact copy."


@pytest.fixture(autouse=True)
def published(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data sets of one file: `mnist` known by the hash of its content, the others by that of the archive `PACKED`."""
    monkeypatch.setattr(datasets, "MAX_BYTES", 7000)
    monkeypatch.setattr(datasets, "MAX_ARCHIVE_BYTES", 72_536)
    monkeypatch.setitem(PUBLISHED, "mnist", Published("a", ("file",), (), sha256={"file": SHA256}))
    monkeypatch.setitem(PUBLISHED, "kmnist", Published("b", ("file",), ()))
    monkeypatch.setitem(PUBLISHED, "emnist-digits", Published("c", ("file",), (), archive="gzip.zip"))
    monkeypatch.setattr(datasets, "resources", lambda _: {"file.gz": ([], md5(PACKED))})


def read(path: Path, name: PublishedName = "mnist") -> bytes:
    with data_errors(path):
        content = read_file(name, "file", path)
    assert content.flags.writeable
    return content.tobytes()


def read_zip(path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The file in an archive whose MD5 is right."""
    monkeypatch.setattr(datasets, "resources", lambda _: {"gzip.zip": ([], md5(path.read_bytes()))})
    return read(path, "emnist-digits")


def refusal(ask: Callable[[], object]) -> str:
    with pytest.raises((DataError, DamagedError)) as caught:
        ask()
    return str(caught.value)


def test_every_packing_is_read(tmp_path: Path) -> None:
    for name, packed in {"file": CONTENT, "file.gz": gzip.compress(CONTENT, 1), "x": bz2.compress(CONTENT)}.items():
        (tmp_path / name).write_bytes(packed)
        assert read(tmp_path / name) == CONTENT


def test_a_gz_that_a_browser_unpacked_is_read(tmp_path: Path) -> None:
    (tmp_path / "file.gz").write_bytes(CONTENT)
    assert read(tmp_path / "file.gz") == CONTENT


def test_the_form_that_is_checked_best_is_found_first(tmp_path: Path) -> None:
    first, second = folders = tmp_path / "first", tmp_path / "second"
    for folder in folders:
        folder.mkdir()
        for name in ("file", "file.gz"):
            (folder / name).touch()
    by_content, by_archive = PUBLISHED["mnist"], PUBLISHED["kmnist"]
    assert find(by_content, "file", folders) == first / "file"
    assert find(by_archive, "file", folders) == first / "file.gz"
    (first / "file").unlink()
    assert find(by_content, "file", folders) == first / "file.gz"
    (first / "file.gz").unlink()
    assert find(by_archive, "file", folders) == second / "file.gz"
    assert find(by_archive, "other", folders) is None


def test_changed_content_is_named_with_what_to_do(tmp_path: Path) -> None:
    path, changed = tmp_path / "file", CONTENT[:-1] + b"T"
    path.write_bytes(changed)
    assert refusal(lambda: read(path)) == (
        f"{path} is damaged: the SHA-256 of its content is {hashlib.sha256(changed).hexdigest()}, "
        f"not {SHA256} (7,000 bytes). {ADVICE}"
    )


def test_a_changed_archive_is_named_with_what_to_do(tmp_path: Path) -> None:
    path, changed = tmp_path / "file.gz", PACKED + b"\0"
    path.write_bytes(changed)
    assert refusal(lambda: read(path, "kmnist")) == (
        f"{path} is damaged: its MD5 is {md5(changed)}, not {md5(PACKED)} ({len(changed)} bytes). {ADVICE}"
    )


@pytest.mark.parametrize("cut", [5, 20, len(PACKED) - 3])
def test_a_truncated_archive_is_named(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "file.gz"
    path.write_bytes(PACKED[:cut])
    with pytest.raises(DataError, match=r"file\.gz is damaged: it cannot be decompressed \(.+\)\. Delete it, "):
        read(path)


def test_a_broken_zip_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "gzip.zip"
    path.write_bytes(b"PK\3\4 and no more")
    message = refusal(lambda: read_zip(path, monkeypatch))
    assert message == f"{path} is damaged: it cannot be decompressed (File is not a zip file). {ADVICE}"


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    message = refusal(lambda: read(tmp_path / "file"))
    assert message == f"{tmp_path / 'file'} can't be read: No such file or directory."


# --- hostile archives ---


@contextmanager
def at_most(megabytes: int) -> Iterator[None]:
    """Of memory, inside."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < megabytes * 1e6
    finally:
        tracemalloc.stop()


BOMB = bytes(30_000_000)


@pytest.fixture(scope="module")
def bombs() -> dict[str, bytes]:
    return {"gz": gzip.compress(BOMB, 1), "bz2": bz2.compress(BOMB, 1)}


@pytest.mark.parametrize("kind", ["gz", "bz2"])
def test_a_bomb_is_refused_before_it_takes_memory(
    kind: str, bombs: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.gz"
    path.write_bytes(bombs[kind])
    monkeypatch.setattr(datasets, "MAX_ARCHIVE_BYTES", 1_000_000)
    with at_most(10):
        message = refusal(lambda: read(path))
    reason = "decompressed, it has more than 7,000 bytes, the maximum of a published file"
    assert message == f"{path} is damaged: {reason}. {ADVICE}"


@pytest.mark.parametrize("method", [ZIP_STORED, ZIP_DEFLATED])
def test_a_zip_with_a_bomb_in_it_is_refused(
    method: int, bombs: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "gzip.zip"
    with ZipFile(path, "w", method) as archive:
        archive.writestr("gzip/file.gz", bombs["gz"])
    monkeypatch.setattr(datasets, "MAX_ARCHIVE_BYTES", 1_000_000)
    with at_most(10):
        message = refusal(lambda: read_zip(path, monkeypatch))
    assert "gzip.zip is damaged: decompressed, it has more than 7,000 bytes" in message


def test_a_gz_in_many_parts_is_bounded_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "file.gz").write_bytes(gzip.compress(bytes(6000)) * 1000)
    assert "decompressed, it has more than 7,000 bytes" in refusal(lambda: read(tmp_path / "file.gz"))


@pytest.mark.parametrize("name", ["file", "file.gz"])
def test_a_file_of_terabytes_is_not_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with path.open("wb") as file:
        file.truncate(1 << 40)
    most = "72,536" if name.endswith(".gz") else "7,000"
    with at_most(1):
        message = refusal(lambda: read(path, "kmnist"))
    assert message == (
        f"{path} is damaged: it has 1,099,511,627,776 bytes, and a published file has at most {most}. {ADVICE}"
    )


def test_paths_in_a_zip_lead_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "deep" / "data"
    folder.mkdir(parents=True)
    with ZipFile(folder / "gzip.zip", "w") as archive:
        for name in ("../../out", "/tmp/out", "gzip/../../out", "gzip/file.gz"):
            archive.writestr(name, PACKED)
    assert read_zip(folder / "gzip.zip", monkeypatch) == CONTENT
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [folder / "gzip.zip"]


def test_a_name_that_leads_out_is_not_the_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ZipFile(tmp_path / "gzip.zip", "w") as archive:
        archive.writestr("gzip/../gzip/file.gz", PACKED)
    assert "it contains no gzip/file.gz." in refusal(lambda: read_zip(tmp_path / "gzip.zip", monkeypatch))


def test_a_zip_is_opened_only_where_one_was_published(tmp_path: Path) -> None:
    with ZipFile(tmp_path / "file.gz", "w") as archive:
        archive.writestr("gzip/file.gz", PACKED)
    assert "the SHA-256 of its content is" in refusal(lambda: read(tmp_path / "file.gz"))


def test_a_wrong_zip_is_told_by_its_hash_before_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gzip.zip").write_bytes(b"PK\3\4")
    monkeypatch.setattr(datasets, "ZipFile", None)
    monkeypatch.setattr(datasets, "resources", lambda _: {"gzip.zip": ([], "other")})
    with pytest.raises(DataError, match=r"its MD5 is \w+, not other \(4 bytes\)"):
        read(tmp_path / "gzip.zip", "emnist-digits")


@pytest.mark.parametrize(("place", "value"), [(6, 1), (8, 99)])  # locked with a password; packed in an unknown way
def test_a_zip_member_that_cannot_be_opened(
    place: int, value: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "gzip.zip"
    with ZipFile(path, "w") as archive:
        archive.writestr("gzip/file.gz", PACKED)
    content = bytearray(path.read_bytes())
    content[place] = content[content.index(b"PK\1\2") + place + 2] = value
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"gzip\.zip is damaged: it cannot be decompressed \(.+\)"):
        read_zip(path, monkeypatch)


# --- the formats ---


def written(array: np.ndarray, code: int) -> np.ndarray:
    header = bytes([0, 0, code, array.ndim]) + np.array(array.shape, ">i4").tobytes()
    return np.frombuffer(bytearray(header + array.tobytes()), np.uint8)


SHAPES = array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=5)


@given(arrays(np.uint8, SHAPES))
def test_bytes_come_back_as_a_view(array: np.ndarray) -> None:
    content = written(array, 0x08)
    parsed = parse_idx(content)
    assert np.array_equal(parsed, array) and parsed.dtype == np.uint8
    assert parsed.size == 0 or np.shares_memory(parsed, content)


@given(arrays(np.dtype(">i4"), SHAPES))
def test_big_endian_integers_come_back(array: np.ndarray) -> None:
    assert np.array_equal(parse_idx(written(array, 0x0C)), array)


@given(arrays(np.uint8, SHAPES), st.data())
def test_a_file_that_is_cut_off_anywhere_is_damaged(array: np.ndarray, data: st.DataObject) -> None:
    content = written(array, 0x08)
    length = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(DamagedError):
        parse_idx(content[:length])


@given(st.binary(max_size=60).map(lambda rest: b"\0\0\x08" + rest))
def test_any_header_is_read_or_damaged(content: bytes) -> None:
    try:
        parse_idx(np.frombuffer(content, np.uint8))
    except DamagedError:
        return


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is not an IDX file (which starts with 00 00 08 03 or similar; this one with nothing)"),
        (b"<htm", "it is not an IDX file (which starts with 00 00 08 03 or similar; this one with 3c 68 74 6d)"),
        (b"\0\0\x08\0", "it is not an IDX file (which starts with 00 00 08 03 or similar; this one with 00 00 08 00)"),
        (b"\0\0\x0d\1", "it is not an IDX file (which starts with 00 00 08 03 or similar; this one with 00 00 0d 01)"),
        (b"\0\0\x08\1\0\0\7\xd0abc", "according to its header it has 2,000 values, 2,008 bytes in all, but it has 11"),
        (
            b"\0\0\x08\2\0\0\0\1\0\0\0\1ab",
            "according to its header it has 1 × 1 values, 13 bytes in all, but it has 14",
        ),
    ],
)
def test_damage_of_idx_is_explained(content: bytes, reason: str) -> None:
    assert refusal(lambda: parse_idx(np.frombuffer(content, np.uint8))) == reason


def text_of(text: str) -> np.ndarray:
    return np.frombuffer(bytearray(text.encode()), np.uint8)


def line(label: int = 3, **places: object) -> str:
    values = [f"{place}:{places.get(f'p{place}', -1)}" for place in range(1, 257)]
    return f"{label} {' '.join(values)}"


def test_same_images_and_labels_as_torchvision(make: Callable[..., Any], tmp_path: Path) -> None:
    from torchvision.datasets import USPS

    made = make("usps")
    made.put(tmp_path)
    reference = USPS(str(tmp_path), train=True)
    images, labels = parse_usps(np.frombuffer(bytearray(made.raw["usps"]), np.uint8))
    assert images.dtype == np.float32 and images.shape == (12, 16, 16)
    # torchvision cuts off the fraction of a grey level.
    assert np.abs(images * 255 - reference.data).max() <= 1.001
    assert labels.tolist() == reference.targets


def test_values_and_labels_of_one_line() -> None:
    images, labels = parse_usps(text_of(line(10, p2=1, p17=0.5)))
    assert labels.tolist() == [9]
    assert images[0, 0, :3].tolist() == [0, 1, 0] and images[0, 1, 0] == 0.75


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is empty"),
        ("<html>\n", "it is not a text with a label and 256 numbered values in each line"),
        (line() + "\n" + line()[:-5], "it is not a text with a label and 256 numbered values in each line"),
        ("3 1:0.5 2:0.5", "its lines do not have values numbered from 1 to 256"),
        (line().replace(" 7:", " 8:"), "its lines do not have values numbered from 1 to 256"),
        (line(11), "it has values that are not from -1 to 1, or labels that are not from 1 to 10"),
        (line(p5=1.5), "it has values that are not from -1 to 1, or labels that are not from 1 to 10"),
        (line(p5="nan"), "it has values that are not from -1 to 1, or labels that are not from 1 to 10"),
    ],
)
def test_damage_of_usps_is_explained(text: str, reason: str) -> None:
    assert refusal(lambda: parse_usps(text_of(text))).startswith(reason)


# --- servers ---


@pytest.fixture
def one(tmp_path: Path, server: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    """Downloads the one file of `kmnist` from the server to `tmp_path / "new"`."""
    monkeypatch.setattr(datasets, "resources", lambda _: {"file.gz": ([f"{server.url}file.gz"], md5(PACKED))})
    return lambda: datasets._download("kmnist", "file", (tmp_path / "new",), None)


def cut_off(handler: Handler) -> None:
    handler.send(PACKED[:20], Content_Length=str(len(PACKED)))


def endless(handler: Handler) -> None:
    handler.send(bytes(1_000_000), Content_Length="")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda handler: handler.send_error(503), "HTTP Error 503"),
        (lambda handler: handler.send(PACKED[:-1]), f"it sent {len(PACKED) - 1} bytes with another MD5 instead"),
        (lambda handler: handler.send(b"<html>", Content_Type="text/html"), "it sent a web page instead of the file"),
        (lambda handler: handler.wfile.write(b"\x1b[31mno HTTP\r\n\r\n"), ""),
        (cut_off, "it sent 20 bytes with another MD5 instead"),
        (endless, "bytes with another MD5 instead"),
    ],
    ids=["busy", "damaged", "log-in page", "no HTTP", "cut off", "endless"],
)
def test_what_a_server_does_wrong_is_told_and_leaves_nothing(
    answer: Callable[[Handler], object], reason: str, one: Callable[[], Path], server: Any, tmp_path: Path
) -> None:
    server.answer = answer
    with at_most(20):
        message = refusal(one)
    assert f"file.gz could not be downloaded ({server.host}: " in message and message.isprintable()
    assert reason in message
    assert not (tmp_path / "new").exists()


def test_the_next_mirror_is_asked(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files = {"file.gz": PACKED}
    urls = [f"{server.url}gone/file.gz", "http://127.0.0.1:9/file.gz", f"{server.url}file.gz"]
    monkeypatch.setattr(datasets, "resources", lambda _: {"file.gz": (urls, md5(PACKED))})
    news: list[tuple[str, int, int | None]] = []
    path = datasets._download("kmnist", "file", (tmp_path,), lambda *each: news.append(each))
    assert path.read_bytes() == PACKED and [each.name for each in tmp_path.iterdir()] == ["file.gz"]
    assert news == [("downloading file.gz", len(PACKED), len(PACKED))]


def test_a_server_that_falls_silent_is_left(
    one: Callable[[], Path], server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "TIMEOUT", 0.2)
    stop: list[bool] = []

    def silent(handler: Handler) -> None:
        handler.send(PACKED[:20], Content_Length=str(len(PACKED)))
        handler.connection.recv(1)
        stop.append(True)

    server.answer = silent
    assert "timed out" in refusal(one)


def test_without_a_network_the_reason_is_told(one: Callable[[], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise URLError(OSError(-2, "Name or service not known"))

    monkeypatch.setattr(datasets, "urlopen", unreachable)
    assert "Name or service not known>). Behind a proxy, name it in HTTPS_PROXY and HTTP_PROXY;" in refusal(one)


def test_a_full_disk_is_no_fault_of_the_server(one: Callable[[], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(datasets, "_fetch", full)
    with pytest.raises(Exception, match=r"file\.gz cannot be written \(.*: No space left on device\)"):
        one()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_what_is_no_file_is_not_found(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "file")
    (tmp_path / "file.gz").mkdir()
    assert find(PUBLISHED["mnist"], "file", (tmp_path,)) is None
