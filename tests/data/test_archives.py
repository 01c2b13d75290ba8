from __future__ import annotations

import bz2
import gzip
import hashlib
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import pytest

from mnist_trainer.data.archives import check_download, content_of, find
from mnist_trainer.data.paths import DamagedError
from mnist_trainer.data.registry import PUBLISHED, RawFile
from mnist_trainer.errors import DataError

CONTENT = b"content" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PACKED = gzip.compress(CONTENT)
MD5 = hashlib.md5(PACKED).hexdigest()
ADVICE = "Delete it, then it is downloaded anew; or put a whole copy in its place."


def by_content() -> RawFile:
    return RawFile("file", "file.gz", "", 7000, SHA256)


def by_archive() -> RawFile:
    return RawFile("file", "file.gz", MD5, 7000)


def test_every_packing_is_read(tmp_path: Path) -> None:
    for name, packed in {"file": CONTENT, "file.gz": gzip.compress(CONTENT, 1), "x": bz2.compress(CONTENT)}.items():
        (tmp_path / name).write_bytes(packed)
        content = content_of(tmp_path / name, by_content())
        assert content.tobytes() == CONTENT and content.flags.writeable


def test_a_gz_that_a_browser_unpacked_is_read(tmp_path: Path) -> None:
    (tmp_path / "file.gz").write_bytes(CONTENT)
    assert content_of(tmp_path / "file.gz", by_content()).tobytes() == CONTENT


def test_the_form_that_is_checked_best_is_found_first(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        for name in ("file", "file.gz"):
            (folder / name).touch()
    cache_dirs = (first, second)
    assert find(by_content(), cache_dirs) == first / "file"
    assert find(by_archive(), cache_dirs) == first / "file.gz"
    (first / "file").unlink()
    assert find(by_content(), cache_dirs) == first / "file.gz"
    (first / "file.gz").unlink()
    assert find(by_archive(), cache_dirs) == second / "file.gz"
    assert find(RawFile("other", "other.gz", "", 0), cache_dirs) is None


def test_changed_content_is_named_with_what_to_do(tmp_path: Path) -> None:
    path, changed = tmp_path / "file", CONTENT[:-1] + b"T"
    path.write_bytes(changed)
    with pytest.raises(DataError) as caught:
        content_of(path, by_content())
    assert str(caught.value) == (
        f"{path} is damaged: the SHA-256 of its content is {hashlib.sha256(changed).hexdigest()}, "
        f"not {SHA256} (7,000 bytes). {ADVICE}"
    )


def test_a_changed_archive_is_named_with_what_to_do(tmp_path: Path) -> None:
    path, changed = tmp_path / "file.gz", PACKED + b"\0"
    path.write_bytes(changed)
    with pytest.raises(DataError) as caught:
        content_of(path, by_archive())
    assert str(caught.value) == (
        f"{path} is damaged: its MD5 is {hashlib.md5(changed).hexdigest()}, not {MD5} ({len(changed)} bytes). {ADVICE}"
    )


@pytest.mark.parametrize("cut", [5, 20, len(PACKED) - 3])
def test_a_truncated_archive_is_named(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "file.gz"
    path.write_bytes(PACKED[:cut])
    with pytest.raises(DataError, match=r"file\.gz is damaged: it cannot be unpacked \(.+\)\. Delete it, "):
        content_of(path, by_content())


def test_a_broken_zip_is_named(tmp_path: Path) -> None:
    path = tmp_path / "gzip.zip"
    path.write_bytes(b"PK\3\4 and no more")
    file = RawFile("file", "gzip.zip", hashlib.md5(path.read_bytes()).hexdigest(), 7000)
    with pytest.raises(DataError) as caught:
        content_of(path, file)
    assert str(caught.value) == f"{path} is damaged: it cannot be unpacked (File is not a zip file). {ADVICE}"


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        content_of(tmp_path / "file", by_content())
    assert str(caught.value) == f"{tmp_path / 'file'} cannot be read: No such file or directory."


def test_every_published_file_has_its_hash() -> None:
    files = [file for published in PUBLISHED.values() for file in (*published.train, *published.test)]
    assert len(files) == 22
    assert all(len(bytes.fromhex(file.md5)) == 16 for file in files)
    assert [len(bytes.fromhex(file.sha256)) for file in files if file.sha256] == [32] * 4
    assert all(url.endswith("/") for published in PUBLISHED.values() for url in published.mirrors)


def test_hashes_and_places_are_those_of_torchvision() -> None:
    from torchvision.datasets import EMNIST, KMNIST, MNIST, QMNIST, USPS, FashionMNIST

    for name, reference in {"mnist": MNIST, "fashion-mnist": FashionMNIST, "kmnist": KMNIST}.items():
        published = PUBLISHED[name]
        assert [(file.archive, file.md5) for file in (*published.train, *published.test)] == reference.resources
        assert published.mirrors[0] == reference.mirrors[0]
        assert published.folder == f"{reference.__name__}/raw"
    emnist, qmnist, usps = PUBLISHED["emnist-digits"], PUBLISHED["qmnist"], PUBLISHED["usps"]
    assert {(emnist.mirrors[0] + file.archive, file.md5) for file in emnist.train} == {(EMNIST.url, EMNIST.md5)}
    for part, files in (("train", qmnist.train), ("test", qmnist.test)):
        assert [(qmnist.mirrors[0] + file.archive, file.md5) for file in files] == QMNIST.resources[part]
    for part, (file,) in (("train", usps.train), ("test", usps.test)):
        assert [usps.mirrors[0] + file.archive, file.archive, file.md5] == USPS.split_list[part]


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
def test_a_bomb_is_refused_before_it_takes_memory(kind: str, bombs: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "file.gz"
    path.write_bytes(bombs[kind])
    reason = "it unpacks to more than the 7,000 bytes that the published file has at most"
    with at_most(10), pytest.raises(DataError) as caught:
        content_of(path, by_content())
    assert str(caught.value) == f"{path} is damaged: {reason}. {ADVICE}"
    with at_most(10), pytest.raises(DamagedError, match=reason):
        check_download(path, by_content())


@pytest.mark.parametrize("method", [ZIP_STORED, ZIP_DEFLATED])
def test_a_zip_with_a_bomb_in_it_is_refused(method: int, bombs: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "gzip.zip"
    with ZipFile(path, "w", method) as archive:
        archive.writestr("gzip/file.gz", bombs["gz"])
    with at_most(10), pytest.raises(DataError, match=r"gzip\.zip is damaged: it unpacks to more than the 7,000 bytes"):
        content_of(path, in_zip(path))


def test_a_gz_in_many_parts_is_bounded_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "file.gz").write_bytes(gzip.compress(bytes(6000)) * 1000)
    with pytest.raises(DataError, match="it unpacks to more than the 7,000 bytes"):
        content_of(tmp_path / "file.gz", by_content())


@pytest.mark.parametrize("name", ["file", "file.gz"])
def test_a_file_of_terabytes_is_not_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with path.open("wb") as file:
        file.truncate(1 << 40)
    most = "72,536" if name.endswith(".gz") else "7,000"
    with at_most(1), pytest.raises(DataError) as caught:
        content_of(path, by_archive())
    assert str(caught.value) == (
        f"{path} is damaged: it has 1,099,511,627,776 bytes, and the published file has {most} at most. {ADVICE}"
    )


def test_paths_in_a_zip_lead_nowhere(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "data"
    folder.mkdir(parents=True)
    with ZipFile(folder / "gzip.zip", "w") as archive:
        for name in ("../../out", "/tmp/out", "gzip/../../out", "gzip/file.gz"):
            archive.writestr(name, PACKED)
    assert content_of(folder / "gzip.zip", in_zip(folder / "gzip.zip")).tobytes() == CONTENT
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [folder / "gzip.zip"]


def test_a_name_that_leads_out_is_not_the_members(tmp_path: Path) -> None:
    with ZipFile(tmp_path / "gzip.zip", "w") as archive:
        archive.writestr("gzip/../gzip/file.gz", PACKED)
    with pytest.raises(DataError, match=r"it holds no gzip/file\.gz\."):
        content_of(tmp_path / "gzip.zip", in_zip(tmp_path / "gzip.zip"))


def test_a_zip_is_opened_only_where_one_was_published(tmp_path: Path) -> None:
    with ZipFile(tmp_path / "file.gz", "w") as archive:
        archive.writestr("gzip/file.gz", PACKED)
    with pytest.raises(DataError, match="the SHA-256 of its content is"):
        content_of(tmp_path / "file.gz", by_content())


def test_a_wrong_zip_is_told_by_its_hash_before_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gzip.zip").write_bytes(b"PK\3\4")
    monkeypatch.setattr("mnist_trainer.data.archives.ZipFile", None)
    with pytest.raises(DataError, match=r"its MD5 is \w+, not other \(4 bytes\)"):
        content_of(tmp_path / "gzip.zip", RawFile("file", "gzip.zip", "other", 7000))


@pytest.mark.parametrize(("place", "value"), [(6, 1), (8, 99)])  # locked with a password; packed in an unknown way
def test_a_zip_member_that_cannot_be_opened(place: int, value: int, tmp_path: Path) -> None:
    path = tmp_path / "gzip.zip"
    with ZipFile(path, "w") as archive:
        archive.writestr("gzip/file.gz", PACKED)
    content = bytearray(path.read_bytes())
    content[place] = content[content.index(b"PK\1\2") + place + 2] = value
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"gzip\.zip is damaged: it cannot be unpacked \(.+\)"):
        content_of(path, in_zip(path))


def in_zip(path: Path) -> RawFile:
    return RawFile("file", "gzip.zip", hashlib.md5(path.read_bytes()).hexdigest(), 7000)


def test_bounds_are_those_of_the_published_files() -> None:
    bounds = {file.name: file.most for published in PUBLISHED.values() for file in (*published.train, *published.test)}
    assert bounds["train-images-idx3-ubyte"] == 60_000 * 784 + 16
    assert bounds["emnist-digits-train-images-idx3-ubyte"] == 240_000 * 784 + 16
    assert 60_000 * 8 * 4 + 12 <= bounds["qmnist-test-labels-idx2-int"] < 2e6
    assert 60_008 <= bounds["train-labels-idx1-ubyte"] < 61_000
    assert all("yann.lecun.com" not in url for published in PUBLISHED.values() for url in published.mirrors)
