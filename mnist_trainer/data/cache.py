"""Cache decoded data sets in files, so that later starts skip decoding and large data sets can be memory-mapped.

A stale, damaged or missing cache file is replaced without an error. It is a `.npy` file with one record (all images,
all labels), followed by the CRC-32 of the record and a hash of the fingerprint.
"""

from __future__ import annotations

import errno
import json
import mmap
import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from hashlib import blake2b
from io import BytesIO
from itertools import chain
from pathlib import Path
from shutil import disk_usage
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.data.image_dataset import too_large
from mnist_trainer.data.paths import write_to_first
from mnist_trainer.errors import StorageError

FORMAT = 3
"""Version of decoding and file layout. Increase it when either changes."""
IMAGE_BYTES = 28 * 28
MIN_CACHED = 1000
"""Minimum number of images, made from pictures or simulated, that are cached."""

Decoded = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Images [N, 28, 28] and labels [N]. Images that are too many for the memory are a read-only memory-mapped array."""
Chunks = Callable[[], Iterable[NDArray[np.uint8]]]
"""Returns an iterable of the images in chunks [n, 28, 28]. Each call starts from the beginning."""


def file_fingerprint(paths: Sequence[Path]) -> str:
    """Return the fingerprint of data decoded from `paths`, which changes when a file is changed or replaced.

    Raises OSError for a missing file.
    """
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return json.dumps([FORMAT, stats])


def code_fingerprint() -> str:
    """Return the fingerprint of the code that draws and reads pictures, and of the versions of its libraries."""
    import cv2
    import PIL

    from mnist_trainer.pictures import listing

    package = Path(listing.__file__).parents[1]
    code = (path for stage in ("pictures", "simulator") for path in (package / stage).rglob("*.py"))
    content = blake2b(b"".join(path.read_bytes() for path in sorted(code))).hexdigest()
    return f"{FORMAT} {content} {np.__version__} {cv2.__version__} {PIL.__version__}"


def load_cached(cache_dirs: Sequence[Path], name: str, fingerprint: str) -> Decoded | None:
    """Return the content of a valid cache `name` with this fingerprint in one of `cache_dirs`, else None."""
    for path in (folder / name for folder in cache_dirs):
        with suppress(OSError, ValueError):  # ValueError: the file was truncated while it was mapped
            if path.is_file():  # opening a pipe would block
                with path.open("rb") as file:
                    if (decoded := _read(file, fingerprint)) is not None:
                        return decoded
    return None


def save_cache(cache_dirs: Sequence[Path], name: str, fingerprint: str, decoded: Decoded) -> None:
    """Write `decoded` to the first writable folder of `cache_dirs`; do nothing if none is writable."""
    _write(cache_dirs, name, fingerprint, lambda: decoded[:1], decoded[1])


def load_or_make(
    cache_dirs: Sequence[Path], name: str, fingerprint: str, chunks: Chunks, labels: NDArray[np.int64]
) -> Decoded:
    """Return the content of the cache `name` with this fingerprint, else the images of `chunks`, which are cached.

    The fingerprint must cover `labels` [N]. Chunks are written one by one, so that the images may exceed the memory.
    Fewer than `MIN_CACHED` images are made in memory, and all of them if no file can be written.
    """
    found = None
    if len(labels) >= MIN_CACHED and (found := load_cached(cache_dirs, name, fingerprint)) is None:
        _write(cache_dirs, name, fingerprint, chunks, labels)
        found = load_cached(cache_dirs, name, fingerprint)
    return found or (np.concatenate([*chunks()]), labels)


def _record(count: int) -> np.dtype[Any]:
    """Return the type of a record with `count` images and labels."""
    return np.dtype([("images", "u1", (count, 28, 28)), ("labels", "<i8", (count,))])


def _header(count: int) -> bytes:
    """Return the header of a `.npy` file with one record."""
    stream = BytesIO()
    descr = np.lib.format.dtype_to_descr(_record(count))
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": ()})
    return stream.getvalue()


def _footer(crc: int, fingerprint: str) -> bytes:
    """Return the bytes after the record: its CRC-32 and a hash of the fingerprint."""
    return crc.to_bytes(4, "little") + blake2b(fingerprint.encode(), digest_size=16).digest()


def _read(file: IO[bytes], fingerprint: str) -> Decoded | None:
    """Return the content of a cache file, or None unless header, size, checksum and fingerprint are valid."""
    size, start = os.fstat(file.fileno()).st_size, file.read(10)
    header_size, footer_size = 10 + int.from_bytes(start[8:], "little"), len(_footer(0, ""))
    count, rest = divmod(size - header_size - footer_size, _record(1).itemsize)
    if rest or count < 0 or start + file.read(header_size - 10) != _header(count):
        return None
    file.seek(-footer_size, os.SEEK_END)
    footer = file.read()
    file.seek(header_size)
    if too_large(count * IMAGE_BYTES):
        view = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        content = np.frombuffer(view, np.uint8, _record(count).itemsize, header_size)
        if hasattr(view, "madvise"):
            # Batches are spread over the file: with readahead it would be read many times.
            view.madvise(mmap.MADV_RANDOM)
    else:
        content = np.fromfile(file, np.uint8, _record(count).itemsize)
    if footer != _footer(zlib.crc32(content.data), fingerprint):
        return None
    images, labels = np.split(content, [count * IMAGE_BYTES])
    return images.reshape(-1, 28, 28), labels.view("<i8").astype(np.int64)


def _write(cache_dirs: Sequence[Path], name: str, fingerprint: str, chunks: Chunks, labels: NDArray[np.int64]) -> None:
    """Write a cache file to the first writable folder, chunk by chunk; do nothing if no folder is writable."""

    def write(path: Path) -> None:
        if disk_usage(path.parent).free < _record(len(labels)).itemsize:  # fail before hours of work
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        crc = 0
        with path.open("wb") as file:
            file.write(_header(len(labels)))
            for content in chain((chunk.tobytes() for chunk in chunks()), (labels.astype("<i8").tobytes(),)):
                crc = zlib.crc32(content, crc)
                file.write(content)
            file.write(_footer(crc, fingerprint))

    with suppress(StorageError):
        write_to_first(cache_dirs, name, write)
