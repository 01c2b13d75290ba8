"""Locate the folders of data sets and caches, write to the first writable one, and report damaged files."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_trainer.errors import DataError, StorageError
from mnist_trainer.files import atomic_write, created_parents, is_folder, user_path

if TYPE_CHECKING:
    from mnist_trainer.config.schema import Data

Progress = Callable[[str, int, int | None], None]
"""Callback for progress: description (`downloading train.gz`), bytes so far, total bytes (None if unknown)."""

ROOT_VARIABLE = "MNIST_TRAINER_DATA"

REPLACE = "Delete it, and it is downloaded again; or replace it with an intact copy."


def data_root(data: Data) -> Path:
    """Return the folder of data sets, in torchvision's layout: `data.root`, else MNIST_TRAINER_DATA, else the cache.

    It need not exist. Raises DataError if it is a file.
    """
    named = data.root or os.environ.get(ROOT_VARIABLE)
    root = user_path(named) if named else user_cache()
    if os.path.lexists(root) and not is_folder(root):
        raise DataError(f"{root} is a file; data.root (or {ROOT_VARIABLE}) must name a folder.")
    return root


def user_cache() -> Path:
    """Return this program's cache folder, in the system's usual location."""
    match sys.platform:
        case "win32":
            parent = os.environ.get("LOCALAPPDATA") or _home() / "AppData" / "Local"
        case "darwin":
            parent = _home() / "Library" / "Caches"
        case _:
            parent = os.environ.get("XDG_CACHE_HOME") or _home() / ".cache"
    return Path(parent) / "mnist_trainer"


CACHE_VARIABLES = {"MPLCONFIGDIR": "matplotlib", "TORCHINDUCTOR_CACHE_DIR": "torch"}
"""Environment variables that set the cache folders of matplotlib and torch."""


def set_cache_variables() -> None:
    """Set the cache folders of matplotlib (list of fonts) and torch (compiled code) to this program's cache folder.

    Does nothing if that is not writable, or if the user has set the variable. Only commands call it, before they import
    either: a library must not change the environment.
    """
    cache = user_cache()
    there = next(folder for folder in (cache, *cache.parents) if folder.exists())
    if there.is_dir() and os.access(there, os.W_OK):
        for variable, folder in CACHE_VARIABLES.items():
            os.environ.setdefault(variable, str(cache / folder))


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # some containers have users without a home folder
        return Path(tempfile.gettempdir())


def cache_dirs(root: Path, folder: str) -> tuple[Path, ...]:
    """Return the folders that may contain the files of a data set: under `root`, then under the user's cache folder.

    New files are written to the second one if `root` is read-only.
    """
    return tuple(dict.fromkeys((root / folder, user_cache() / folder)))


def write_to_first(folders: Sequence[Path], name: str, write: Callable[[Path], None]) -> Path:
    """Write the file `name` with `write` to the first writable folder of `folders`, and return its path.

    After an OSError of `write`, the next folder is tried; other errors are raised. Raises StorageError if no folder is
    writable.
    """
    refusals = []
    for folder in folders:
        try:
            with created_parents(folder / name), atomic_write(folder / name, keep_existing=True) as path:
                write(path)
        except OSError as error:
            refusals.append(f"{folder}: {error.strerror or error}")
        else:
            return folder / name
    advice = f"Name a writable folder with data.root or {ROOT_VARIABLE}."
    raise StorageError(f"{name} cannot be written ({'; '.join(refusals)}). {advice}")


class DamagedError(Exception):
    """The content of a file is invalid. The message is the reason, without the path."""


@contextmanager
def data_errors(path: Path, advice: str = REPLACE) -> Iterator[None]:
    """Convert a DamagedError or an OSError in the block into a DataError with `path`."""
    try:
        yield
    except DamagedError as error:
        raise DataError(f"{path} is damaged: {error}. {advice}") from None
    except OSError as error:
        raise DataError(f"{error.filename or path} can't be read: {error.strerror or error}.") from None
