"""One file of a data set, packed or not: its content, checked against what was published."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import zlib
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.data.damage import DamagedError, naming
from mnist_trainer.data.registry import RawFile

Content = NDArray[np.uint8]
"""The bytes of a file, [n]; its own memory, so that tensors may share it."""


def find(file: RawFile, homes: tuple[Path, ...]) -> Path | None:
    """Where `file` lies in one of `homes`, in the form that is checked best: by the hash of its content where that is
    published, else as the archive whose hash is. None where it does not lie at all."""
    packed = (file.archive, f"{file.name}.gz", file.name)
    names = (file.name, file.archive) if file.sha256 else packed
    return next((home / name for home in homes for name in names if (home / name).is_file()), None)


def content_of(path: Path, file: RawFile) -> Content:
    """The unpacked content of `file`, which lies at `path`. Raises DataError when it is not what was published."""
    with naming(path):
        if file.sha256 is None and path.name == file.archive:
            _check_archive(path, file)
        content = _unpack(path, file.name)
        _check_content(content, file)
        return content


def check_download(path: Path, file: RawFile) -> None:
    """Raises DamagedError when the archive at `path`, just downloaded, does not hold what was published."""
    if file.sha256 is None:
        _check_archive(path, file)
    else:
        _check_content(_unpack(path, file.name), file)


def _check_archive(path: Path, file: RawFile) -> None:
    with path.open("rb") as archive:
        md5 = hashlib.file_digest(archive, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if md5 != file.md5:
        raise DamagedError(f"its MD5 is {md5}, not {file.md5} ({path.stat().st_size:,} bytes)")


def _check_content(content: Content, file: RawFile) -> None:
    if file.sha256 is not None and (sha256 := hashlib.sha256(content.data).hexdigest()) != file.sha256:
        raise DamagedError(f"the SHA-256 of its content is {sha256}, not {file.sha256} ({len(content):,} bytes)")


def _unpack(path: Path, member: str) -> Content:
    # By the first bytes, not by the name: browsers unpack a .gz on the way and leave the name as it was.
    with path.open("rb") as file:
        start = file.read(4)
    try:
        if start.startswith(b"PK\x03\x04"):
            with ZipFile(path) as archive:
                return _owned(gzip.decompress(archive.read(f"gzip/{member}.gz")))
        if start.startswith(b"\x1f\x8b"):
            return _owned(gzip.decompress(path.read_bytes()))
        if start.startswith(b"BZh"):
            return _owned(bz2.decompress(path.read_bytes()))
    except KeyError:
        raise DamagedError(f"it holds no gzip/{member}.gz") from None
    except (EOFError, ValueError, zlib.error, BadZipFile, gzip.BadGzipFile) as error:
        raise DamagedError(f"it cannot be unpacked ({error})") from None
    return np.fromfile(path, np.uint8)


def _owned(unpacked: bytes) -> Content:
    return np.frombuffer(bytearray(unpacked), np.uint8)
