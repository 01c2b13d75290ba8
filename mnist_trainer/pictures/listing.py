"""The pictures in a folder, by their names alone."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from mimetypes import MimeTypes
from pathlib import Path, PurePath

from mnist_trainer.errors import DataError
from mnist_trainer.pictures.open import EXTRA

SYSTEM_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"}

SYSTEM_FOLDERS = {
    *("@eadir", "@recycle", "@tmp", "#recycle", "#snapshot", "lost+found", "__pycache__"),
    *("__macosx", "network trash folder", "temporary items"),
    *("$recycle.bin", "recycler", "system volume information", "found.000"),
}
"""What network storage and Python, macOS, and Windows add to folders, in lower case."""

_ENDINGS = (
    "7z bak cfg crdownload db docx identifier ini ipynb jsonl lnk log md npy npz ods odt parquet part pkl pt rar tmp "
    "toml url xcf xlsx yaml yml"
)
OTHER_SUFFIXES = {f".{ending}" for ending in _ENDINGS.split()}
"""Endings that Python has no type for, or not everywhere."""

TEXT_NAMES = {"readme", "license", "licence", "makefile"}
"""Usual names of texts without an ending."""

RUN_FILES = ("run.json", "best.pt", "last.pt", "predictions.csv")
"""Each of them marks the folder of a run, or that of `mnist-eval --out`."""

STEPS_IMAGE = re.compile(r".+-steps(-\d+)?\.png")
"""The names of the pictures that `mnist-predict --save-steps` writes."""

OTHER_RUN_FILES = ("config.yaml", "metrics.csv", ".lock")
"""Each of them marks the folder of a run if there is no picture beside it."""


@dataclass(frozen=True)
class Listing:
    """What is in a folder: `pictures` in natural order, `others` that are something else by their names, `folders`."""

    pictures: tuple[Path, ...]
    others: tuple[Path, ...]
    folders: tuple[Path, ...]

    def notes(self, folder: Path) -> list[str]:
        """What was left out, in words."""
        notes = []
        if self.others:
            names = ", ".join(path.name for path in self.others[:3])
            more = f" and {len(self.others) - 3} more" if len(self.others) > 3 else ""
            notes.append(f"{folder}: left out what is no picture by its name: {names}{more}")
            if any(path.suffix.lower() == ".pdf" for path in self.others):
                notes.append(f"{folder}: to read PDF, too: {EXTRA}")
        if len(self.folders) == 1:
            notes.append(f"{folder}: left out its sub-folder; name it too: {self.folders[0]}")
        elif self.folders:
            notes.append(f"{folder}: left out its {len(self.folders)} sub-folders; name them too: {folder / '*'}")
        return notes


def list_pictures(folder: Path) -> Listing:
    """What is in `folder`, without hidden files, and folders of the system or of runs.

    Raises `DataError` if it holds no picture or can't be read.
    """
    try:
        entries = sorted((path for path in folder.iterdir() if not is_hidden(path.name)), key=_natural_order)
        files = [path for path in entries if path.is_file()]
        folders = tuple(path for path in entries if path.is_dir() and not is_ignored_folder(path))
    except OSError as error:
        raise DataError(f"{folder} can't be read: {error.strerror or error}.") from None
    pictures = tuple(path for path in files if has_picture_name(path.name))
    listing = Listing(pictures, tuple(sorted(set(files) - set(pictures), key=_natural_order)), folders)
    if not pictures:
        notes = "".join(f"\n{note}" for note in listing.notes(folder))
        raise DataError(f"{folder} holds no picture.{notes}")
    return listing


def is_hidden(name: str) -> bool:
    """Whether a file or folder of that name is kept from people's eyes."""
    return name.startswith((".", "~$")) or name.lower() in SYSTEM_FILES


def is_ignored_folder(folder: Path) -> bool:
    """Return whether a folder holds no pictures of a class: it was made by the system, or by this program."""
    return is_hidden(folder.name) or folder.name.lower() in SYSTEM_FOLDERS or contains_runs(folder)


def contains_runs(folder: Path) -> bool:
    """Return whether a folder holds what this program writes, or nothing but such folders; false if it can't be read.

    `runs/` may also hold other files, such as plots that compare runs.
    """
    if any(os.path.lexists(folder / name) for name in RUN_FILES):
        return True
    is_run = any(os.path.lexists(folder / name) for name in OTHER_RUN_FILES)
    is_usual = folder.name == "runs"
    folders: list[Path] = []
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(Path(entry.path))
            elif STEPS_IMAGE.fullmatch(entry.name):
                is_run = True
            elif not is_usual and not is_hidden(entry.name) and has_picture_name(entry.name):
                return False
        begun = [path for path in folders if any(path.iterdir())]  # another process may just have made an empty one
        return is_run or (bool(begun) and (any if is_usual else all)(map(contains_runs, begun)))
    return False


def has_picture_name(name: str) -> bool:
    """Return whether a file may be a picture by its name. Names of texts, tables and films are not."""
    ending = PurePath(name).suffix.lower()
    if ending == ".pdf":
        return find_spec("pypdfium2") is not None
    return _is_of_picture(ending) and name.lower() not in TEXT_NAMES


@cache
def _is_of_picture(ending: str) -> bool:
    kind, encoding = MimeTypes().guess_type(f"x{ending}")  # the types that Python knows, not this machine's
    return kind.startswith("image/") if kind else encoding is None and ending not in OTHER_SUFFIXES


def _natural_order(path: Path) -> list[str | int]:
    """9.png before 10.png."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path.name.casefold())] + [path.name]
