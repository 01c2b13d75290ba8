"""List the pictures in a folder by their file names, without opening them."""

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
"""Folders that network storage, Python, macOS and Windows create, in lower case."""

OTHER_SUFFIXES = (
    "7z bak cfg crdownload db docx identifier ini ipynb jsonl lnk log md npy npz ods odt parquet part pkl pt rar tmp "
    "toml url xcf xlsx yaml yml"
)
"""Suffixes of other files whose type `mimetypes` does not know on every platform."""

TEXT_NAMES = {"readme", "license", "licence", "makefile"}
"""Common names of text files without a suffix."""

RUN_FILES = ("run.json", "best.pt", "last.pt", "predictions.csv")
"""Any of these files marks a run folder or the output of `mnist-eval --out`."""

OTHER_RUN_FILES = ("config.yaml", "metrics.csv", ".lock")
"""Any of these files marks a run folder that contains no picture."""

STEPS_IMAGE = re.compile(r".+-steps(-\d+)?\.png")
"""The names of the pictures that `mnist-predict --save-steps` writes."""


@dataclass(frozen=True)
class Listing:
    """The content of a folder in natural order: `pictures`, `others` (not pictures by name), `folders`."""

    pictures: tuple[Path, ...]
    others: tuple[Path, ...]
    folders: tuple[Path, ...]

    def notes(self, folder: Path) -> list[str]:
        """Return a sentence for each kind of entry that is left out."""
        notes = []
        if self.others:
            names = ", ".join(path.name for path in self.others[:3])
            more = f" and {len(self.others) - 3} more" if len(self.others) > 3 else ""
            notes.append(f"{folder}: left out files that are not pictures, by their names: {names}{more}")
            if any(path.suffix.lower() == ".pdf" for path in self.others):
                notes.append(f"{folder}: to read PDF, too: {EXTRA}")
        if len(self.folders) == 1:
            notes.append(f"{folder}: left out its sub-folder; name it too: {self.folders[0]}")
        elif self.folders:
            notes.append(f"{folder}: left out its {len(self.folders)} sub-folders; name them too: {folder / '*'}")
        return notes


def list_pictures(folder: Path) -> Listing:
    """Return the content of `folder` without hidden files, system folders and run folders.

    Raises `DataError` if it holds no picture or can't be read.
    """
    try:
        entries = sorted((path for path in folder.iterdir() if not is_hidden(path.name)), key=_natural_order)
        files = [path for path in entries if path.is_file()]
        folders = tuple(path for path in entries if path.is_dir() and not is_ignored_folder(path))
    except OSError as error:
        raise DataError(f"{folder} can't be read: {error.strerror or error}.") from None
    pictures = tuple(path for path in files if has_picture_name(path.name))
    others = tuple(path for path in files if not has_picture_name(path.name))
    listing = Listing(pictures, others, folders)
    if not pictures:
        notes = "".join(f"\n{note}" for note in listing.notes(folder))
        raise DataError(f"{folder} holds no picture.{notes}")
    return listing


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of that name is hidden from users."""
    return name.startswith((".", "~$")) or name.lower() in SYSTEM_FILES


def is_ignored_folder(folder: Path) -> bool:
    """Return whether a folder was created by the system or by this program, so that it is not a class."""
    return is_hidden(folder.name) or folder.name.lower() in SYSTEM_FOLDERS or contains_runs(folder)


def contains_runs(folder: Path) -> bool:
    """Return whether a folder is a run folder or contains only run folders. Returns False if it can't be read.

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
        started = [path for path in folders if any(path.iterdir())]  # another process may just have made an empty one
        return is_run or (bool(started) and (any if is_usual else all)(map(contains_runs, started)))
    return False


def has_picture_name(name: str) -> bool:
    """Return whether a file name may belong to a picture. Texts, tables and videos are excluded."""
    suffix = PurePath(name).suffix.lower()
    if suffix == ".pdf":
        return find_spec("pypdfium2") is not None
    return _has_picture_suffix(suffix) and name.lower() not in TEXT_NAMES


@cache
def _has_picture_suffix(suffix: str) -> bool:
    kind, encoding = MimeTypes().guess_type(f"x{suffix}")  # the types that Python knows, the same on every machine
    return kind.startswith("image/") if kind else encoding is None and suffix[1:] not in OTHER_SUFFIXES.split()


def _natural_order(path: Path) -> list[str | int]:
    """Return the sort key of natural order: 9.png before 10.png."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path.name.casefold())] + [path.name]
