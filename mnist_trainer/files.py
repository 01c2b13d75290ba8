"""Atomic writes and folder locks. The package writes files only with the functions of this module.

A file is written under a temporary name in the same folder, flushed, and renamed, so that a reader sees the old file or
the new one. Only `metrics.csv` and `log.txt` are appended to. A folder is locked by the operating system's lock on the
file `.lock` in it, which names the process that holds the lock.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from secrets import token_hex
from time import sleep
from typing import IO, NoReturn

from mnist_trainer.errors import CheckpointError, StorageError, one_line

WINDOWS = os.name == "nt"

CSV_ENDINGS = (".csv", ".csv.gz")
"""File name endings of tables of images."""

TEMPORARY_FILES = ".*.????????.part"
"""Pattern of the names of temporary files."""

RETRY_DELAYS = (0.05, 0.1, 0.2, 0.4)
"""Seconds between attempts to replace a file on Windows, which refuses while another process reads it."""

UNSUPPORTED = {errno.ENOLCK, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
"""Errors of file systems that cannot lock a file or flush a folder."""

LOCK_OFFSET = 1 << 30
"""The byte that is locked on Windows, far beyond the end of the file, because a locked byte can't be read."""

ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "Free some disk space, or choose another folder"),
    errno.EFBIG: "Raise the limit on the size of files (ulimit -f), or choose a folder that can be written",
    errno.EMFILE: "Raise the limit on open files (ulimit -n), and try again",
    errno.ENFILE: "Close other programs, and try again",
    errno.EIO: "The disk or its connection fails: choose a folder on another disk",
    errno.ENAMETOOLONG: "Choose a shorter name",
    errno.EISDIR: "It is a folder: name a file",
}

_open_locks: set[IO[bytes]] = set()


# --- files ---


def user_path(path: str | os.PathLike[str]) -> Path:
    """Return `path` with a `~` at its beginning expanded, as in a shell."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path.expanduser raises where there is no such user


def write_file(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write `path` atomically: `write` is called with a stream. Raises `StorageError`; then no file is left."""
    try:
        with atomic_write(path) as temporary, temporary.open("w+b") as stream:
            write(stream)
    except (OSError, RuntimeError) as error:
        # After a failed write, torch.save raises a RuntimeError when it closes the file; its context is the cause.
        first = error.__context__ if isinstance(error, RuntimeError) else None
        raise storage_error(path, first if isinstance(first, OSError) else error) from error


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`. Raises `StorageError`."""
    write_file(path, lambda stream: stream.write(content))


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, with line feeds on every system. Raises `StorageError`."""
    write_bytes(path, text.encode())


@contextmanager
def atomic_write(target: Path, keep_existing: bool = False) -> Iterator[Path]:
    """Yield a temporary path in the folder of `target`; after the block, flush the file and rename it to `target`.

    If the block or the renaming raises, the temporary file is removed. Windows refuses to rename while another process
    reads `target`; with `keep_existing`, the existing `target` then stays without an error.
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
    """Rename `temporary` to `target`, with several attempts on Windows."""
    for delay in RETRY_DELAYS:
        try:
            temporary.replace(target)
        except PermissionError:
            if not WINDOWS:
                raise
            if keep_existing and target.exists():
                return
            sleep(delay)
        else:
            return
    temporary.replace(target)


def _flush_folder(folder: Path) -> None:
    """Flush `folder`, so that new and renamed files in it survive a power failure. Windows has no such call."""
    if WINDOWS:
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
    finally:
        os.close(descriptor)


def append_line(path: Path, line: str) -> None:
    """Append `line` to `path`. Raises `StorageError`; then the file is truncated to its former length."""
    with storage_errors(path), open(path, "ab", buffering=0, opener=open_regular) as stream:
        before = stream.seek(0, os.SEEK_END)
        try:
            rest = f"{line}\n".encode()
            while rest:  # a write to a nearly full disk may be partial
                rest = rest[stream.write(rest) :]
        except BaseException:
            with suppress(OSError):
                stream.truncate(before)
            raise


def truncate_torn_line(path: Path) -> None:
    """Remove a half-written last line from `path`: what follows its last line feed. Raises `StorageError`."""
    with storage_errors(path), open(path, "rb+", opener=open_regular) as stream:
        stream.truncate(stream.read().rfind(b"\n") + 1)


def remove_file(path: Path) -> None:
    """Remove the file `path`, if it exists. Raises `StorageError`."""
    with storage_errors(path):
        path.unlink(missing_ok=True)


def open_regular(path: str, flags: int) -> int:
    """Open a regular file; an `opener` for `open`. Raises OSError for pipes, devices and links.

    A folder from another person may contain a pipe, or a link to one of the user's files.
    """
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file")
    return descriptor


def storage_error(path: Path, error: Exception) -> StorageError:
    """Return the error to raise when `path` could not be written."""
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    number = (error.errno if isinstance(error, OSError) else errno.ENOSPC) or 0
    advice = ADVICE.get(number, "Choose a folder that can be written")
    return StorageError(f"{path} can't be written: {reason}. {advice}.")


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Convert an OSError inside the block into a `StorageError` about `path`."""
    try:
        yield
    except OSError as error:
        raise storage_error(path, error) from error


# --- folders ---


def make_folder(path: Path, exist_ok: bool = True) -> None:
    """Create the folder `path` and its parents.

    Raises `StorageError`, and `FileExistsError` if it exists and `exist_ok` is false.
    """
    if exist_ok and is_folder(path):
        return
    try:
        for missing in reversed(_missing(path.parent)):
            missing.mkdir(exist_ok=True)
            _flush_folder(missing.parent)
        path.mkdir(exist_ok=exist_ok)
        _flush_folder(path.parent)
    except OSError as error:
        if isinstance(error, FileExistsError) and is_folder(path):
            raise
        raise _folder_error(path, error) from error


def is_folder(path: Path) -> bool:
    """Return whether `path` is a folder or a link to one; False if there is no permission to see it."""
    return os.path.isdir(path)  # noqa: PTH112 - Path.is_dir raises without the permission


@contextmanager
def created_parents(path: Path) -> Iterator[None]:
    """Create the parents of `path`; if the block raises, remove those that were created."""
    created = _missing(path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with suppress(OSError):  # another process may have created a file in it
            for folder in created:
                folder.rmdir()
        raise


def _missing(folder: Path) -> list[Path]:
    """Return `folder` and its parents that don't exist, the deepest first."""
    return [each for each in (folder, *folder.parents) if not os.path.lexists(each)]


def remove_folder(path: Path) -> None:
    """Remove the folder `path` with everything in it, if it exists. Raises `StorageError`."""
    with storage_errors(path), suppress(FileNotFoundError):
        shutil.rmtree(path)


def _folder_error(path: Path, error: OSError) -> StorageError:
    """Return the error to raise when the folder `path` could not be created; it names a file in its place."""
    found = next((each for each in (path, *path.parents) if os.path.lexists(each)), Path())
    if is_folder(found):
        return storage_error(path, error)
    kind = "a broken link" if found.is_symlink() else "a file"
    return StorageError(f"{found}: {kind} is where a folder is needed. Choose another path.")


# --- locks ---


@contextmanager
def folder_lock(folder: Path, *, steal_lock: bool = False) -> Iterator[None]:
    """Lock the folder for this process. Temporary files that a killed process left in it are removed.

    The lock is released when the process ends; forked children do not inherit it. A stale lock of a dead process on
    the same host is replaced. Raises `StorageError` with the process that holds the lock. With `steal_lock`, the lock
    of a process on another host, which may be dead, is replaced.
    """
    path, owner = folder / ".lock", os.getpid()
    with storage_errors(path):
        while (stream := _acquire(folder, steal_lock)) is None:
            pass
    _open_locks.add(stream)
    try:
        for temporary in (*folder.glob(TEMPORARY_FILES), *folder.glob(f"*/{TEMPORARY_FILES}")):
            with suppress(OSError):
                temporary.unlink()
        yield
    finally:
        _open_locks.discard(stream)
        if WINDOWS:  # an open file can't be removed there
            stream.close()
        with suppress(OSError):
            if os.getpid() == owner and (stream.closed or is_same_file(stream, path)):
                path.unlink()
        stream.close()


def _acquire(folder: Path, steal_lock: bool) -> IO[bytes] | None:
    """Return the locked file; None if another process replaced it meanwhile. Raises `StorageError` and OSError."""
    path = folder / ".lock"
    stream = open(path, "ab+", opener=open_regular)  # noqa: SIM115
    try:
        acquired, holder = try_lock(stream), _read_holder(stream)
        if holder.get("host") in (None, socket.gethostname()):
            if acquired is False or (acquired is None and is_alive(holder.get("pid"))):
                _raise_in_use(folder, holder)
        elif not steal_lock:
            _raise_in_use(folder, holder, " If that process is dead, replace its lock with --take-over.")
        elif not acquired:  # the file server may hold the lock for a process that is dead
            path.unlink(missing_ok=True)
        if acquired is not False and is_same_file(stream, path):
            started = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
            text = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "started": started})
            stream.truncate(0)
            stream.write(f"{text}\n".encode())
            stream.flush()
            return stream
    except BaseException:
        stream.close()
        raise
    stream.close()
    return None


def _raise_in_use(folder: Path, holder: dict[str, object], advice: str = "") -> NoReturn:
    """Raise the `StorageError` that names the process with the lock."""
    who = "another process"
    if holder:
        pid, host, started = (one_line(str(holder.get(key)), 60) for key in ("pid", "host", "started"))
        who = f"process {pid} on {host}, since {started}"
    raise StorageError(f"{folder} is in use by {who}. Wait until it ends, or use another folder.{advice}")


def is_locked(folder: Path) -> bool:
    """Return whether a process holds the lock of the folder. A `.lock` of another host always counts as held."""
    try:
        with open(folder / ".lock", "rb", opener=open_regular) as stream:
            holder = _read_holder(stream)
            return holder.get("host") != socket.gethostname() or _is_held(stream, holder)
    except FileNotFoundError:
        return False
    except OSError:
        return True


def lock_holder(folder: Path) -> int | None:
    """Return the ID of the process on this host that holds the lock of the folder; None if there is none."""
    try:
        with open(folder / ".lock", "rb", opener=open_regular) as stream:
            holder = _read_holder(stream)
            pid = holder.get("pid")
            is_here = holder.get("host") == socket.gethostname() and _is_held(stream, holder)
            return pid if is_here and isinstance(pid, int) else None
    except OSError:
        return None


def _is_held(stream: IO[bytes], holder: dict[str, object]) -> bool:
    """Return whether a process of this host holds the lock in the open file.

    The process ID of a dead process may have been reused, or the process may be a zombie.
    """
    return is_alive(holder.get("pid")) and not try_lock(stream, shared=True)


def _read_holder(stream: IO[bytes]) -> dict[str, object]:
    """Return host, pid and start time of the process that holds the lock; empty if the file has none."""
    stream.seek(0)
    try:
        holder = json.loads(stream.read(4096))
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def is_same_file(stream: IO[bytes], path: Path) -> bool:
    """Return whether the open file is still the one at `path`; another process may have replaced it."""
    try:
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except FileNotFoundError:
        return False


def try_lock(stream: IO[bytes], shared: bool = False) -> bool | None:
    """Lock the file, exclusively or `shared`. Return whether that worked; None if the file system has no locks."""
    try:
        if sys.platform == "win32":
            import msvcrt

            stream.seek(LOCK_OFFSET)
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(stream, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in UNSUPPORTED:
            return None
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK):
            return False
        raise
    return True


def is_alive(pid: object) -> bool:
    """Return whether this host has a process with this ID, of any user."""
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _close_in_child() -> None:
    """Close the lock files in a forked child: the locks belong to the parent."""
    for stream in _open_locks:
        with suppress(OSError):
            stream.close()
    _open_locks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)


def open_model_file(path: Path) -> IO[bytes]:
    """Open a regular file. Raises `CheckpointError`."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for a writer
            raise CheckpointError(f"{path} is no file, but a folder, a pipe or a device.")
        return path.open("rb")
    except FileNotFoundError:
        reason = "it is a link to a file that is not there" if path.is_symlink() else "there is no such file"
        raise CheckpointError(f"{path}: {reason}.") from None
    except OSError as error:
        raise CheckpointError(f"{path} can't be read: {error.strerror}.") from error
