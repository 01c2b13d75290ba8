"""Where data sets lie, and how a file gets there whole."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

from mnist_trainer.config.schema import Data
from mnist_trainer.errors import DataError, StorageError

ROOT_VARIABLE = "MNIST_TRAINER_DATA"


def data_root(data: Data) -> Path:
    """The folder that holds data sets as torchvision lays them out: `data.root`, else MNIST_TRAINER_DATA, else the
    user's cache folder. It need not exist. Raises DataError when a file has its name."""
    named = data.root or os.environ.get(ROOT_VARIABLE)
    root = Path(named).expanduser() if named else user_cache()
    if root.is_file():
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


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # a user without a home, as in some containers
        return Path(tempfile.gettempdir())


def homes(root: Path, folder: str) -> tuple[Path, ...]:
    """The folders where files of one data set may lie, in order: under `root`, then under the user's cache folder,
    which takes what a read-only `root` cannot."""
    return tuple(dict.fromkeys((root / folder, user_cache() / folder)))


def place(folders: Sequence[Path], name: str, write: Callable[[Path], None]) -> Path:
    """The path of the new file `name`, filled by `write`, in the first of `folders` that takes it.

    Raises StorageError when none does. What `write` raises passes through, but for an OSError: that folder is passed
    over.
    """
    refusals = []
    for folder in folders:
        try:
            with beside(folder / name) as path:
                write(path)
        except OSError as error:
            refusals.append(f"{folder}: {error.strerror or error}")
        else:
            return folder / name
    advice = f"Name a folder that can be written with data.root or {ROOT_VARIABLE}."
    raise StorageError(f"{name} cannot be written ({'; '.join(refusals)}). {advice}")


@contextmanager
def beside(target: Path) -> Iterator[Path]:
    """A path next to `target` to write to. After the block the file is moved to `target` in one step, so that nobody
    ever sees half of it there and two processes may write it at once; if the block raises, it is removed, and so are
    the folders that were made for it."""
    made = [folder for folder in target.parents if not folder.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    path = target.with_name(f".{target.name}.{os.getpid()}-{token_hex(4)}.part")
    try:
        yield path
        with path.open("rb+") as file:
            os.fsync(file.fileno())
        _move(path, target)
    except BaseException:
        path.unlink(missing_ok=True)
        with suppress(OSError):  # another process may have put something there
            for folder in made:
                folder.rmdir()
        raise
    path.unlink(missing_ok=True)


def _move(path: Path, target: Path) -> None:
    try:
        path.replace(target)
    except PermissionError:
        # Windows refuses while another process reads the target: then that process has just placed its own copy.
        if not target.exists():
            raise
