"""Decoded data sets kept in a file, so that later starts need not unpack anything.

Such a file can always be made again: one that is stale, damaged or missing is no error.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from struct import error as StructError
from zipfile import BadZipFile, ZipFile, ZipInfo
from zlib import error as ZlibError

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.data.places import place
from mnist_trainer.errors import StorageError

FORMAT = 1
"""To be counted up when decoding gives something else than before."""

Decoded = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Images [N, 28, 28] and labels [N]."""


def fingerprint(paths: Sequence[Path]) -> str:
    """What is noted with decoded data of the files `paths`; another once one of them was changed or replaced."""
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return json.dumps([FORMAT, stats])


def recall(homes: Sequence[Path], name: str, mark: str) -> Decoded | None:
    """What was kept as `name` in one of `homes` with the fingerprint `mark`; None when nothing whole was."""
    for home in homes:
        try:
            # A ZIP without compression: as fast as a plain file, and reading a member verifies its checksum.
            with ZipFile(home / name) as kept:
                if kept.read("fingerprint").decode() == mark:
                    images = np.frombuffer(bytearray(kept.read("images")), np.uint8)
                    return images.reshape(-1, 28, 28), np.frombuffer(bytearray(kept.read("labels")), np.int64)
        except (OSError, EOFError, ValueError, KeyError, RuntimeError, BadZipFile, StructError, ZlibError):
            continue
    return None


def keep(homes: Sequence[Path], name: str, mark: str, decoded: Decoded) -> None:
    """Keeps `decoded` in the first of `homes` that takes it; does nothing where none does."""
    images, labels = decoded

    def write(path: Path) -> None:
        with ZipFile(path, "w") as kept:
            for member, content in (("fingerprint", mark), ("images", images.tobytes()), ("labels", labels.tobytes())):
                kept.writestr(ZipInfo(member), content)

    try:
        place(homes, name, write)
    except StorageError:
        return
