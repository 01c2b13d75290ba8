"""The only door for writing: a file is written beside its place, flushed, and moved into it.

A reader sees the old file or the new one, never half of one. Only `metrics.csv` and `log.txt` grow by appending.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from mnist_trainer.errors import StorageError


def write_file(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Makes `path` hold what `write` puts into the stream it is given. Raises `StorageError`; then no trace is left."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(path)
        _flush_folder(path.parent)
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as a RuntimeError
        raise storage_error(path, error) from error
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Makes `path` hold `content`."""
    write_file(path, lambda stream: stream.write(content))


def write_text(path: Path, text: str) -> None:
    """Makes `path` hold `text` as UTF-8, with line feeds on every system."""
    write_bytes(path, text.encode())


def append_line(path: Path, line: str) -> None:
    """Adds `line` to the end of `path` in one write."""
    try:
        with path.open("ab") as stream:
            stream.write(f"{line}\n".encode())
    except OSError as error:
        raise storage_error(path, error) from error


def drop_torn_line(path: Path) -> None:
    """Takes from the file `path` what stands behind its last line feed: a line that was half-written."""
    try:
        content = path.read_bytes()
        if not content.endswith(b"\n"):
            os.truncate(path, content.rfind(b"\n") + 1)
    except OSError as error:
        raise storage_error(path, error) from error


def make_folder(path: Path, exist_ok: bool = True) -> None:
    """Makes the folder `path` and those above it. Raises `FileExistsError` if it is there and `exist_ok` is false."""
    try:
        path.mkdir(parents=True, exist_ok=exist_ok)
    except FileExistsError:
        if path.is_dir():
            raise
        raise StorageError(f"{path}: a file stands where a folder is needed. Choose another place.") from None
    except OSError as error:
        raise storage_error(path, error) from error


def remove_file(path: Path) -> None:
    """Removes the file `path`, if it is there. Raises `StorageError`."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(path, error) from error


def remove_folder(path: Path) -> None:
    """Removes the folder `path` with all that is in it, if it is there. Raises `StorageError`."""
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise storage_error(path, error) from error


@contextmanager
def held(folder: Path, *, take_over: bool = False) -> Iterator[None]:
    """Inside it no other process holds the folder; the system lets go of it when this one ends, however it ends.

    Raises `StorageError` if another process holds it.
    """
    path = folder / ".lock"
    try:
        stream = path.open("ab")
    except OSError as error:
        raise storage_error(path, error) from error
    with stream:
        try:
            if sys.platform == "win32":
                import msvcrt

                msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StorageError(f"{folder} is in use by another process. Wait for its end, or take another.") from None
        yield


def storage_error(path: Path, error: Exception) -> StorageError:
    """What to tell a person when `path` could not be written."""
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    full = not isinstance(error, OSError) or error.errno in (errno.ENOSPC, errno.EDQUOT)
    advice = "Make room there, or choose" if full else "Choose"
    return StorageError(f"{path} can't be written: {reason}. {advice} a folder that can be written.")


def _flush_folder(folder: Path) -> None:
    """Makes a move durable; systems that cannot open folders (Windows) do without."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
