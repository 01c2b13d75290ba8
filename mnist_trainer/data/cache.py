"""Decoded data sets kept in a file, so that later starts need not unpack anything, and large ones need no memory.

Such a file can always be made again: one that is stale, damaged, foreign or missing is no error. It has a line with the
fingerprint, the CRC-32 of the rest (4 bytes), the images, the labels; numbers are little-endian.
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
from itertools import chain
from pathlib import Path
from shutil import disk_usage
from typing import IO

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.data.image_dataset import too_large
from mnist_trainer.data.paths import write_to_first
from mnist_trainer.errors import StorageError

FORMAT = 2
"""To be counted up when decoding gives something else than before, or the file is laid out in another way."""
IMAGE, LABEL, CRC = 28 * 28, 8, 4
"""Bytes of each."""
MIN_CACHED = 1000
"""Smaller sets that are made from pictures are not kept: they are soon made."""

Decoded = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Images [N, 28, 28] and labels [N]. Of too many for the memory the images are a mapped file, and cannot
be written."""
Chunks = Callable[[], Iterable[NDArray[np.uint8]]]
"""Makes the images [n, 28, 28] of one piece after the other, from the first one on whenever it is called."""


def file_fingerprint(paths: Sequence[Path]) -> str:
    """What is noted with decoded data of the files `paths`; another once one of them was changed or replaced. Raises
    OSError for a file that is gone."""
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return json.dumps([FORMAT, stats])


def code_fingerprint() -> str:
    """Another one as soon as anything that draws or reads pictures has changed."""
    import cv2
    import PIL

    from mnist_trainer.pictures import listing

    package = Path(listing.__file__).parents[1]
    code = (path for stage in ("pictures", "simulator") for path in (package / stage).rglob("*.py"))
    content = blake2b(b"".join(path.read_bytes() for path in sorted(code))).hexdigest()
    return f"{FORMAT} {content} {np.__version__} {cv2.__version__} {PIL.__version__}"


def load_cached(cache_dirs: Sequence[Path], name: str, fingerprint: str, most: int) -> Decoded | None:
    """What was kept as `name` in one of `cache_dirs` with the fingerprint `fingerprint`; None when nothing whole was,
    or more than
    `most` images."""
    for home in cache_dirs:
        try:
            if not (home / name).is_file():
                continue  # opening a pipe would wait for ever
            with (home / name).open("rb") as file:
                if (decoded := _read(file, f"{fingerprint}\n".encode(), most)) is not None:
                    return decoded
        except (OSError, ValueError):  # the second, if it became shorter while it was to be mapped
            continue
    return None


def _read(file: IO[bytes], fingerprint: bytes, most: int) -> Decoded | None:
    """The sizes follow from the file's own, which is looked at before anything is read."""
    count, rest = divmod(os.fstat(file.fileno()).st_size - len(fingerprint) - CRC, IMAGE + LABEL)
    if rest or count > most or file.read(len(fingerprint)) != fingerprint:
        return None
    crc = int.from_bytes(file.read(CRC), "little")
    content = (_mapped if too_large(count * IMAGE) else _in_memory)(file, count * (IMAGE + LABEL), crc)
    if content is None:
        return None
    return content[: count * IMAGE].reshape(-1, 28, 28), content[count * IMAGE :].view("<i8").astype(np.int64)


def _in_memory(file: IO[bytes], size: int, crc: int) -> NDArray[np.uint8] | None:
    content = np.empty(size, np.uint8)
    whole = file.readinto(content.data) == size  # type: ignore[attr-defined]
    return content if whole and zlib.crc32(content.data) == crc else None


def _mapped(file: IO[bytes], size: int, crc: int) -> NDArray[np.uint8] | None:
    view = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    content = np.frombuffer(view, np.uint8, size, file.tell())
    if zlib.crc32(content.data) != crc:
        return None
    if hasattr(view, "madvise"):
        # Batches come from all over the file: a system that reads on from each image would read it many times over.
        view.madvise(mmap.MADV_RANDOM)
    return content


def save_cache(cache_dirs: Sequence[Path], name: str, fingerprint: str, decoded: Decoded) -> None:
    """Keeps `decoded` in the first of `cache_dirs` that takes it; does nothing where none does."""
    _write_cache(cache_dirs, name, fingerprint, lambda: decoded[:1], decoded[1])


def load_or_make(
    cache_dirs: Sequence[Path], name: str, fingerprint: str, chunks: Chunks, labels: NDArray[np.int64]
) -> Decoded:
    """What was kept as `name` with the fingerprint `fingerprint`, which stands for `labels` [N] too; else what
    `chunks` makes.

    That goes to the file piece by piece, so that more can be made than there is memory. Only where no file can be
    written it is made in memory.
    """
    if (found := load_cached(cache_dirs, name, fingerprint, len(labels))) is None:
        _write_cache(cache_dirs, name, fingerprint, chunks, labels)
        found = load_cached(cache_dirs, name, fingerprint, len(labels))
    return found or (np.concatenate([*chunks()]), labels)


def _write_cache(
    cache_dirs: Sequence[Path], name: str, fingerprint: str, chunks: Chunks, labels: NDArray[np.int64]
) -> None:
    head, end = f"{fingerprint}\n".encode(), labels.astype("<i8").tobytes()

    def write(path: Path) -> None:
        if disk_usage(path.parent).free < len(labels) * (IMAGE + LABEL):  # known before hours of work, not after them
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        crc = 0
        with path.open("wb") as file:
            file.write(head + bytes(CRC))
            for content in chain((piece.tobytes() for piece in chunks()), (end,)):
                crc = zlib.crc32(content, crc)
                file.write(content)
            file.seek(len(head))
            file.write(crc.to_bytes(CRC, "little"))

    with suppress(StorageError):
        write_to_first(cache_dirs, name, write)
