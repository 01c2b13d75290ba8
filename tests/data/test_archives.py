from __future__ import annotations

import bz2
import gzip
import hashlib
from pathlib import Path

import pytest

from mnist_trainer.data.archives import content_of, find
from mnist_trainer.data.registry import PUBLISHED, RawFile
from mnist_trainer.errors import DataError

CONTENT = b"content" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PACKED = gzip.compress(CONTENT)
MD5 = hashlib.md5(PACKED).hexdigest()
ADVICE = "Delete it, then it is downloaded anew; or put a whole copy in its place."


def by_content() -> RawFile:
    return RawFile("file", "file.gz", "", SHA256)


def by_archive() -> RawFile:
    return RawFile("file", "file.gz", MD5)


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
    homes = (first, second)
    assert find(by_content(), homes) == first / "file"
    assert find(by_archive(), homes) == first / "file.gz"
    (first / "file").unlink()
    assert find(by_content(), homes) == first / "file.gz"
    (first / "file.gz").unlink()
    assert find(by_archive(), homes) == second / "file.gz"
    assert find(RawFile("other", "other.gz", ""), homes) is None


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
    file = RawFile("file", "gzip.zip", hashlib.md5(path.read_bytes()).hexdigest())
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
