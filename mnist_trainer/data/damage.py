"""Damaged files: found by code that sees only content, told with the file's path and with what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mnist_trainer.errors import DataError


class DamagedError(Exception):
    """Content that is not what it should be; the text is the reason, without a path."""


REPLACE = "Delete it, then it is downloaded anew; or put a whole copy in its place."


@contextmanager
def locate_damage(path: Path, advice: str = REPLACE) -> Iterator[None]:
    """Turns damage found inside the block, and a file that cannot be read, into a DataError that names `path`."""
    try:
        yield
    except DamagedError as error:
        raise DataError(f"{path} is damaged: {error}. {advice}") from None
    except OSError as error:
        raise DataError(f"{error.filename or path} cannot be read: {error.strerror or error}.") from None
