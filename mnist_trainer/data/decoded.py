"""Decoded data sets kept in a file, so that later starts need not unpack anything.

Such a file can always be made again: one that is stale, damaged, foreign or missing is no error. It has a line with the
fingerprint, the CRC-32 of the rest (4 bytes), the images, the labels; numbers are little-endian.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.data.places import place
from mnist_trainer.errors import StorageError

FORMAT = 2
"""To be counted up when decoding gives something else than before, or the file is laid out in another way."""
IMAGE, LABEL, CRC = 28 * 28, 8, 4
"""Bytes of each."""

Decoded = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Images [N, 28, 28] and labels [N]."""


def fingerprint(paths: Sequence[Path]) -> str:
    """What is noted with decoded data of the files `paths`; another once one of them was changed or replaced. Raises
    OSError for a file that is gone."""
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return json.dumps([FORMAT, stats])


def recall(homes: Sequence[Path], name: str, mark: str, most: int) -> Decoded | None:
    """What was kept as `name` in one of `homes` with the fingerprint `mark`; None when nothing whole was, or more than
    `most` images."""
    for home in homes:
        try:
            if not (home / name).is_file():
                continue  # opening a pipe would wait for ever
            with (home / name).open("rb") as file:
                if (decoded := _read(file, f"{mark}\n".encode(), most)) is not None:
                    return decoded
        except OSError:
            continue
    return None


def _read(file: IO[bytes], mark: bytes, most: int) -> Decoded | None:
    """The sizes follow from the file's own, which is looked at before anything is read."""
    count, rest = divmod(os.fstat(file.fileno()).st_size - len(mark) - CRC, IMAGE + LABEL)
    if rest or count > most or file.read(len(mark)) != mark:
        return None
    crc = int.from_bytes(file.read(CRC), "little")
    content = np.empty(count * (IMAGE + LABEL), np.uint8)
    if file.readinto(content.data) != len(content) or zlib.crc32(content.data) != crc:  # type: ignore[attr-defined]
        return None
    return content[: count * IMAGE].reshape(-1, 28, 28), content[count * IMAGE :].view("<i8").astype(np.int64)


def keep(homes: Sequence[Path], name: str, mark: str, decoded: Decoded) -> None:
    """Keeps `decoded` in the first of `homes` that takes it; does nothing where none does."""
    images, labels = decoded[0].tobytes(), decoded[1].astype("<i8").tobytes()
    crc = zlib.crc32(labels, zlib.crc32(images))

    def write(path: Path) -> None:
        with path.open("wb") as file:
            file.writelines((f"{mark}\n".encode(), crc.to_bytes(CRC, "little"), images, labels))

    try:
        place(homes, name, write)
    except StorageError:
        return
