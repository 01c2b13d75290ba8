"""The only door for writing: a file is written beside its place, flushed, and moved into it.

A reader sees the old file or the new one, never half of one. Only `metrics.csv` and `log.txt` grow by appending.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from time import sleep
from typing import IO

from mnist_trainer.errors import StorageError
from mnist_trainer.locks import FolderLock, open_regular

WINDOWS = os.name == "nt"

TEMPORARY_FILES = ".*.????????.part"
"""What is written beside its place, until it is moved there."""

RETRY_DELAYS = (0.05, 0.1, 0.2, 0.4)
"""Seconds between attempts to replace a file on Windows, which refuses while another process reads it."""

FSYNC_UNSUPPORTED = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
"""What file systems answer that cannot flush a folder."""

ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "Make room there, or choose a folder that can be written"),
    errno.EFBIG: "Raise the limit on the size of files (ulimit -f), or choose a folder that can be written",
    errno.EMFILE: "Raise the limit on open files (ulimit -n), and try again",
    errno.ENFILE: "Close other programs, and try again",
    errno.EIO: "The disk or the way to it fails: choose a folder on another one",
    errno.ENAMETOOLONG: "Choose a shorter name",
    errno.EISDIR: "It is a folder: name a file",
}


def user_path(path: str | os.PathLike[str]) -> Path:
    """Return `path` with a `~` at its beginning expanded, as in a shell."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path.expanduser raises where there is no such user


def write_file(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Makes `path` hold what `write` puts into the stream it is given, which can be read as well.

    Raises `StorageError`; then no trace is left.
    """
    try:
        with atomic_write(path) as temporary, temporary.open("w+b") as stream:
            write(stream)
    except (OSError, RuntimeError) as error:
        # torch.save fails once more while it closes what could not be written; the first failure says why.
        first = error.__context__ if isinstance(error, RuntimeError) else None
        raise storage_error(path, first if isinstance(first, OSError) else error) from error


def write_bytes(path: Path, content: bytes) -> None:
    """Makes `path` hold `content`."""
    write_file(path, lambda stream: stream.write(content))


def write_text(path: Path, text: str) -> None:
    """Makes `path` hold `text` as UTF-8, with line feeds on every system."""
    write_bytes(path, text.encode())


@contextmanager
def atomic_write(target: Path, keep_existing: bool = False) -> Iterator[Path]:
    """A path next to `target` to write to. After the block the file is flushed and moved to `target` in one step, so
    that two processes may write it at once; if the block or the move raises (OSError), it is removed.

    Windows refuses the move while another process reads `target`; if `keep_existing`, then what it reads stays.
    """
    temporary = target.with_name(f".{target.name[:40]}.{token_hex(4)}.part")
    try:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        _replace(temporary, target, keep_existing)
        _flush_folder(target.parent)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _replace(temporary: Path, target: Path, keep_existing: bool) -> None:
    for pause in (*RETRY_DELAYS, None):
        try:
            temporary.replace(target)
        except PermissionError:
            if not WINDOWS:
                raise
            if keep_existing and target.exists():
                return
            if pause is None:
                raise
            sleep(pause)
        else:
            return


def _flush_folder(folder: Path) -> None:
    """Makes it durable that a file was moved into `folder`, or made there; Windows does without."""
    if WINDOWS:
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in FSYNC_UNSUPPORTED:
            raise
    finally:
        os.close(descriptor)


def append_line(path: Path, line: str) -> None:
    """Adds `line` to the end of `path`, which is no link.

    Raises `StorageError`; then the file is cut back to what it was, as far as the system lets.
    """
    try:
        with open(path, "ab", buffering=0, opener=open_regular) as stream:
            before = stream.seek(0, os.SEEK_END)
            try:
                rest = f"{line}\n".encode()
                while rest:  # a disk that fills up takes a part before it refuses
                    rest = rest[stream.write(rest) :]
            except BaseException:
                with suppress(OSError):
                    stream.truncate(before)
                raise
    except OSError as error:
        raise storage_error(path, error) from error


def truncate_torn_line(path: Path) -> None:
    """Takes from the file `path` what stands behind its last line feed: a line that was half-written."""
    try:
        with open(path, "rb+", opener=open_regular) as stream:
            content = stream.read()
            if not content.endswith(b"\n"):
                stream.truncate(content.rfind(b"\n") + 1)
    except OSError as error:
        raise storage_error(path, error) from error


def make_folder(path: Path, exist_ok: bool = True) -> None:
    """Makes the folder `path` and those above it. Raises `FileExistsError` if it is there and `exist_ok` is false."""
    if exist_ok and is_folder(path):
        return
    try:
        for missing in reversed(_missing(path.parent)):
            missing.mkdir(exist_ok=True)
            _flush_folder(missing.parent)
        path.mkdir(exist_ok=exist_ok)
        _flush_folder(path.parent)
    except FileExistsError as error:
        if is_folder(path):
            raise
        raise _folder_error(path, error) from None
    except OSError as error:
        raise _folder_error(path, error) from error


def is_folder(path: Path) -> bool:
    """Whether `path` is a folder, or a link to one; false where nobody can tell (no rights, a name too long)."""
    try:
        return path.is_dir()
    except OSError:
        return False


@contextmanager
def created_parents(path: Path) -> Iterator[None]:
    """Inside it the folder of `path` is there; what was made for that is removed if the block raises."""
    made = _missing(path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with suppress(OSError):  # another process may have put something there
            for folder in made:
                folder.rmdir()
        raise


def _missing(folder: Path) -> list[Path]:
    """`folder` and those above it that are not there, the deepest first."""
    return [each for each in (folder, *folder.parents) if not os.path.lexists(each)]


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
def folder_lock(folder: Path, *, steal_lock: bool = False) -> Iterator[None]:
    """Inside it no other process holds the folder; `.lock` in it says who does. It ends with the process, however that
    ends, and children do not inherit it. Half files that a killed holder left are removed.

    Raises `StorageError` that names the other holder. One on another host, which may be dead, must give way if
    `steal_lock`; a dead one on this host always does.
    """
    try:
        lock = FolderLock(folder, steal_lock)
    except OSError as error:
        raise storage_error(folder / ".lock", error) from error
    try:
        for temporary in (*folder.glob(TEMPORARY_FILES), *folder.glob(f"*/{TEMPORARY_FILES}")):
            with suppress(OSError):
                temporary.unlink()
        yield
    finally:
        lock.release()


def storage_error(path: Path, error: Exception) -> StorageError:
    """What to tell a person when `path` could not be written."""
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    number = (error.errno if isinstance(error, OSError) else errno.ENOSPC) or 0
    advice = ADVICE.get(number, "Choose a folder that can be written")
    return StorageError(f"{path} can't be written: {reason}. {advice}.")


def _folder_error(path: Path, error: OSError) -> StorageError:
    """What to tell a person when the folder `path` could not be made: what is in its way, if anything is."""
    found = next((place for place in (path, *path.parents) if os.path.lexists(place)), Path())
    if is_folder(found):
        return storage_error(path, error)
    kind = "a link that leads nowhere" if found.is_symlink() else "a file"
    return StorageError(f"{found}: {kind} stands where a folder is needed. Choose another place.")
