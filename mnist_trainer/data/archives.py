"""One file of a data set, packed or not: its content, checked against what was published."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import zlib
from io import BufferedIOBase
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.data.paths import REPLACE, DamagedError, locate_damage
from mnist_trainer.data.registry import RawFile

Content = NDArray[np.uint8]
"""The bytes of a file, [n]; its own memory, so that tensors may share it."""


def find(file: RawFile, cache_dirs: tuple[Path, ...]) -> Path | None:
    """Where `file` lies in one of `cache_dirs`, in the form that is checked best: by the hash of its content where
    that is
    published, else as the archive whose hash is. None where it does not lie at all.

    Its name may have a dot before `idx`, as the first publication has it. It may lie in a folder of that name, as
    Kaggle's download unpacks it, or in `gzip/`, which is in EMNIST's archive.
    """
    raw = (file.name, file.name.replace("-idx", ".idx"))
    packed = (file.archive, *(f"{name}.gz" for name in raw))
    names = (*raw, *packed) if file.sha256 else (*packed, *raw)
    paths = (home / inner / name for home in cache_dirs for inner in ("", *raw, "gzip") for name in names)
    return next((path for path in paths if path.is_file()), None)


def content_of(path: Path, file: RawFile, advice: str = REPLACE) -> Content:
    """The unpacked content of `file`, which lies at `path`. Raises DataError when it is not what was published."""
    with locate_damage(path, advice):
        if file.sha256 is None and path.name == file.archive:
            _check_archive(path, file)
        content = _unpack(path, file)
        _check_content(content, file)
        return content


def check_download(path: Path, file: RawFile) -> None:
    """Raises DamagedError when the archive at `path`, just downloaded, does not hold what was published."""
    if file.sha256 is None:
        _check_archive(path, file)
    else:
        _check_content(_unpack(path, file), file)


def _check_archive(path: Path, file: RawFile) -> None:
    _check_size(path, file.most_packed)
    with path.open("rb") as archive:
        md5 = hashlib.file_digest(archive, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if md5 != file.md5:
        raise DamagedError(f"its MD5 is {md5}, not {file.md5} ({path.stat().st_size:,} bytes)")


def _check_content(content: Content, file: RawFile) -> None:
    if file.sha256 is not None and (sha256 := hashlib.sha256(content.data).hexdigest()) != file.sha256:
        raise DamagedError(f"the SHA-256 of its content is {sha256}, not {file.sha256} ({len(content):,} bytes)")


def _check_size(path: Path, most: int) -> None:
    """Before anything of that size is read."""
    if (size := path.stat().st_size) > most:
        raise DamagedError(f"it has {size:,} bytes, and the published file has {most:,} at most")


def _unpack(path: Path, file: RawFile) -> Content:
    """At most as much as the published file has: what an archive says of itself is not asked for.

    Nothing is unpacked to a path that an archive names: a member is taken by its name, and into memory."""
    # By the first bytes, not by the name: browsers unpack a .gz on the way and leave the name as it was.
    with path.open("rb") as packed:
        start = packed.read(4)
        packed.seek(0)
        try:
            # A .zip alone has a hash of the whole archive, always: zipfile trusts the list of members.
            if start.startswith(b"PK\x03\x04") and file.archive.endswith(".zip"):
                with ZipFile(packed) as archive, archive.open(f"gzip/{file.name}.gz") as member:
                    return _bounded(gzip.GzipFile(fileobj=member), file.most)
            if start.startswith(b"\x1f\x8b"):
                return _bounded(gzip.GzipFile(fileobj=packed), file.most)
            if start.startswith(b"BZh"):
                return _bounded(bz2.BZ2File(packed), file.most)
        except KeyError:
            raise DamagedError(f"it holds no gzip/{file.name}.gz") from None
        except (EOFError, ValueError, RuntimeError, zlib.error, BadZipFile, gzip.BadGzipFile) as error:
            raise DamagedError(f"it cannot be unpacked ({error})") from None
    _check_size(path, file.most)
    return np.fromfile(path, np.uint8)


def _bounded(stream: BufferedIOBase, most: int) -> Content:
    content = stream.read(most + 1)
    if len(content) > most:
        raise DamagedError(f"it unpacks to more than the {most:,} bytes that the published file has at most")
    return np.frombuffer(bytearray(content), np.uint8)
