"""Who works in a folder: a file `.lock` in it that the system locks, and that says whose it is."""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
import sys
from contextlib import suppress
from datetime import datetime
from pathlib import Path
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
