"""Where data sets lie, and which of these folders takes a new file.

Damaged files: found by code that sees only content, told with the file's path and with what to do.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import time
from typing import TYPE_CHECKING

from mnist_trainer.errors import DataError, StorageError
from mnist_trainer.files import atomic_write, created_parents, is_folder, remove_file, user_path

if TYPE_CHECKING:
    from mnist_trainer.config.schema import Data

ABANDONED_SECONDS = 2 * 24 * 3600
"""Seconds after which nobody writes to a file any more."""

ROOT_VARIABLE = "MNIST_TRAINER_DATA"


def data_root(data: Data) -> Path:
    """The folder that holds data sets as torchvision lays them out: `data.root`, else MNIST_TRAINER_DATA, else the
    user's cache folder. It need not exist. Raises DataError when a file has its name."""
    named = data.root or os.environ.get(ROOT_VARIABLE)
    root = user_path(named) if named else user_cache()
    if os.path.lexists(root) and not is_folder(root):
        raise DataError(f"{root} is a file; data.root (or {ROOT_VARIABLE}) has to name a folder.")
    return root


def user_cache() -> Path:
    """This program's folder for files that can be made again, where the system wants it."""
    match sys.platform:
        case "win32":
            parent = os.environ.get("LOCALAPPDATA") or _home() / "AppData" / "Local"
        case "darwin":
            parent = _home() / "Library" / "Caches"
        case _:
            parent = os.environ.get("XDG_CACHE_HOME") or _home() / ".cache"
    return Path(parent) / "mnist_trainer"


CACHE_VARIABLES = {"MPLCONFIGDIR": "matplotlib", "TORCHINDUCTOR_CACHE_DIR": "torch"}
"""Whose caches are where these variables say."""


def set_cache_variables() -> None:
    """Gives matplotlib's list of fonts and torch's compiled code a place in this program's cache folder, where that can
    be written and the user has named no other. To be called before either is imported, by commands alone: a program
    that only uses this package has its own ways."""
    cache = user_cache()
    there = next(folder for folder in (cache, *cache.parents) if folder.exists())
    if there.is_dir() and os.access(there, os.W_OK):
        for variable, folder in CACHE_VARIABLES.items():
            os.environ.setdefault(variable, str(cache / folder))


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # a user without a home, as in some containers
        return Path(tempfile.gettempdir())


def cache_dirs(root: Path, folder: str) -> tuple[Path, ...]:
    """The folders where files of one data set may lie, in order: under `root`, then under the user's cache folder,
    which takes what a read-only `root` cannot."""
    return tuple(dict.fromkeys((root / folder, user_cache() / folder)))


def write_to_first(folders: Sequence[Path], name: str, write: Callable[[Path], None]) -> Path:
    """The path of the new file `name`, filled by `write`, in the first of `folders` that takes it.

    Raises StorageError when none does. What `write` raises passes through, but for an OSError: that folder is passed
    over.
    """
    refusals = []
    for folder in folders:
        try:
            with created_parents(folder / name), atomic_write(folder / name, keep_existing=True) as path:
                _remove_abandoned(folder / name)
                write(path)
        except OSError as error:
            refusals.append(f"{folder}: {error.strerror or error}")
        else:
            return folder / name
    advice = f"Name a folder that can be written with data.root or {ROOT_VARIABLE}."
    raise StorageError(f"{name} cannot be written ({'; '.join(refusals)}). {advice}")


def _remove_abandoned(target: Path) -> None:
    """Removes what processes that were killed left beside `target` days ago."""
    with suppress(OSError, StorageError):
        for left in target.parent.glob(f".{target.name}.*.part"):
            if time() - left.lstat().st_mtime > ABANDONED_SECONDS:
                remove_file(left)


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
