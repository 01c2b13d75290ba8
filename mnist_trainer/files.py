"""Who works in a folder: a file `.lock` in it that the system locks, and that says whose it is.

The only door for writing: a file is written beside its place, flushed, and moved into it.

A reader sees the old file or the new one, never half of one. Only `metrics.csv` and `log.txt` grow by appending.
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

from mnist_trainer.errors import StorageError

LOCKS_UNSUPPORTED = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
"""What file systems answer that know no locks."""

LOCK_OFFSET = 1 << 30
"""The byte that Windows locks: it lets nobody read what is locked, so it lies far behind the end."""

_open_locks: set[IO[bytes]] = set()


class FolderLock:
    """Holds the folder until `release`, or until this process ends. Children do not inherit it.

    Raises `StorageError` if another process holds it, `OSError` if it can't be written.
    """

    def __init__(self, folder: Path, steal_lock: bool) -> None:
        self.folder, self.path, self.owner = folder, folder / ".lock", os.getpid()
        while not self._acquire(steal_lock):
            pass
        _open_locks.add(self.stream)

    def release(self) -> None:
        """Removes the file, if it still is this one's."""
        _open_locks.discard(self.stream)
        if os.name == "nt":  # which removes no file that is open
            self.stream.close()
        with suppress(OSError):
            if os.getpid() == self.owner and (self.stream.closed or is_same_file(self.stream, self.path)):
                self.path.unlink()
        self.stream.close()

    def _acquire(self, steal_lock: bool) -> bool:
        """Whether the lock is held now; false if the file was replaced meanwhile. Raises as the class."""
        self.stream = open(self.path, "ab+", opener=open_regular)  # noqa: SIM115
        try:
            taken, holder = try_lock(self.stream), _read_holder(self.stream)
            elsewhere = holder.get("host") not in (None, socket.gethostname())
            if elsewhere and steal_lock and not taken:  # a network's server may hold it for a process that is dead
                self.path.unlink(missing_ok=True)
            if elsewhere and not steal_lock:
                self._raise_in_use(holder, " If that process is dead, take the folder over with --take-over.")
            if taken is False and not elsewhere:
                self._raise_in_use(holder)
            if taken is None and not elsewhere and _is_alive(holder.get("pid")):
                self._raise_in_use(holder)
            if taken is False or not is_same_file(self.stream, self.path):
                self.stream.close()
                return False
            self._write_holder()
        except BaseException:
            self.stream.close()
            raise
        return True

    def _write_holder(self) -> None:
        started = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        text = json.dumps({"host": socket.gethostname(), "pid": self.owner, "started": started})
        self.stream.truncate(0)
        self.stream.write(f"{text}\n".encode())
        self.stream.flush()

    def _raise_in_use(self, holder: dict[str, object], advice: str = "") -> NoReturn:
        who = "another process"
        if holder:
            pid, host, started = (_short(holder.get(key)) for key in ("pid", "host", "started"))
            who = f"process {pid} on {host}, since {started}"
        raise StorageError(f"{self.folder} is in use by {who}. Wait for its end, or take another folder.{advice}")


def is_locked(folder: Path) -> bool:
    """Whether a process holds the folder, as far as its `.lock` says and this host can tell."""
    try:
        with open(folder / ".lock", "rb", opener=open_regular) as stream:
            holder = _read_holder(stream)
            if holder.get("host") != socket.gethostname():
                return True
            # The number of a dead process may be another's by now, or its parent has not taken note of its end.
            return _is_alive(holder.get("pid")) and not try_lock(stream, shared=True)
    except FileNotFoundError:
        return False
    except OSError:
        return True


def open_regular(path: str, flags: int) -> int:
    """An opener for regular files alone: a folder from a stranger may hold a link to a file of the user's, or a pipe.

    Raises OSError.
    """
    alone = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags | alone, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file")
    return descriptor


def _read_holder(stream: IO[bytes]) -> dict[str, object]:
    """What the file says; empty where it says nothing."""
    stream.seek(0)
    try:
        holder = json.loads(stream.read(4096))
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def is_same_file(stream: IO[bytes], path: Path) -> bool:
    """Whether the file that is open is the one at `path`: whoever had the lock before removed it at the end."""
    try:
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except FileNotFoundError:
        return False


def try_lock(stream: IO[bytes], shared: bool = False) -> bool | None:
    """Whether the system locked the file for us, or for us and other readers; None where it knows no locks."""
    try:
        if sys.platform == "win32":
            import msvcrt

            stream.seek(LOCK_OFFSET)
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(stream, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in LOCKS_UNSUPPORTED:
            return None
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK):
            return False
        raise
    return True


def _short(value: object) -> str:
    return "".join(char if char.isprintable() else "?" for char in str(value)[:60])


def _is_alive(pid: object) -> bool:
    """Whether a process of this host has the number; one of another user counts."""
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
    """In a forked child: the lock stays with the parent, and does not outlive it here."""
    for stream in _open_locks:
        with suppress(OSError):
            stream.close()
    _open_locks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)


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
