"""The pictures in a folder, by their names alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.util import find_spec
from mimetypes import MimeTypes
from pathlib import Path

from mnist_trainer.errors import DataError
from mnist_trainer.pictures.formats import EXTRA

SYSTEM_FILES = {"thumbs.db", "desktop.ini"}

PDF = "application/pdf"

OTHERS = {".md", ".npy", ".npz", ".pt", ".toml", ".yaml", ".yml"}
"""Endings that Python has no type for, or not everywhere."""


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
    """What is in `folder`, hidden files aside. Raises `DataError` if it holds no picture or can't be read."""
    try:
        entries = sorted((path for path in folder.iterdir() if not is_hidden(path.name)), key=_naturally)
        files = [path for path in entries if path.is_file()]
        folders = tuple(path for path in entries if path.is_dir())
    except OSError as error:
        raise DataError(f"{folder} can't be read: {error.strerror or error}.") from None
    types = MimeTypes()  # the ones that Python knows, not this machine's
    pictures = tuple(path for path in files if _may_be_picture(types, path))
    listing = Listing(pictures, tuple(sorted(set(files) - set(pictures), key=_naturally)), folders)
    if not pictures:
        notes = "".join(f"\n{note}" for note in listing.notes(folder))
        raise DataError(f"{folder} holds no picture.{notes}")
    return listing


def is_hidden(name: str) -> bool:
    """Whether a file or folder of that name is kept from people's eyes."""
    return name.startswith(".") or name.lower() in SYSTEM_FILES


def _naturally(path: Path) -> list[str | int]:
    """9.png before 10.png."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path.name.casefold())] + [path.name]


def _may_be_picture(types: MimeTypes, path: Path) -> bool:
    """Not if its name ends as those of texts, tables, films do; without an ending it may be anything."""
    kind, _ = types.guess_type(path.name)
    if kind == PDF:
        return find_spec("pypdfium2") is not None
    return kind.startswith("image/") if kind else path.suffix.lower() not in OTHERS
