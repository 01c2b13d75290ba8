"""Where a download lies until it is whole: beside its place, kept from try to try, and one process at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from time import sleep

from mnist_trainer.files import is_same_file, try_lock

AGAIN = 0.5
"""Seconds between two looks whether the other process is done."""


@contextmanager
def partial_of(target: Path, waiting: Callable[[], None]) -> Iterator[Path]:
    """The file beside `target` for what was received of it, which may hold something already. An empty one is removed
    after the block, any other one is kept for the next time.

    Only one process is inside; the others wait, and tell it by `waiting`. Where the file system knows no locks, each
    has a file of its own, which goes with it. Raises OSError when nothing can be written there.
    """
    partial, lock = (target.with_name(f".{target.name}.{ending}") for ending in ("partial", "lock"))
    for path in (partial, lock):
        if path.is_symlink() or (path.exists() and not path.is_file()):  # nothing of ours: it may lead anywhere
            path.unlink()
    with _opened(lock, waiting) as is_alone:
        if not is_alone:
            partial = target.with_name(f".{target.name}.{os.getpid()}-{token_hex(4)}.partial")
        try:
            partial.touch()
            yield partial
        except OSError:  # a full disk is not to be filled with what nobody can use
            partial.unlink(missing_ok=True)
            raise
        finally:
            with suppress(OSError):
                if not is_alone or not partial.stat().st_size:
                    partial.unlink()


@contextmanager
def _opened(lock: Path, waiting: Callable[[], None]) -> Iterator[bool]:
    """Whether the file system gave the lock, once no other process has it. The system takes it back from the dead."""
    while True:
        with lock.open("ab") as stream:
            taken = try_lock(stream)
            if taken is not False and is_same_file(stream, lock):
                try:
                    yield taken is not None
                finally:
                    with suppress(OSError):  # Windows keeps what is open
                        lock.unlink()
                return
        waiting()
        sleep(AGAIN)
