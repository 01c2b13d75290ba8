"""What the arguments of `mnist-predict` stand for: pictures in files, all pictures in a folder, one from a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray
from PIL.Image import Image

from mnist_trainer.errors import DataError, UsageError
from mnist_trainer.pictures.listing import list_pictures


class Source(NamedTuple):
    """A picture, and the `path` of its answer: a file, its content, an image in memory, or why it can't be read."""

    path: str | None
    picture: Path | BytesIO | Image | NDArray[Any] | DataError


def sources_of(places: Iterable[str]) -> tuple[list[Source], list[str]]:
    """The pictures that `places` stand for, in their order, and notes of what was left out of folders.

    A folder stands for the pictures in it, but not for those in its sub-folders; `-` for the picture that comes in by
    stdin. Raises `UsageError` if that is a terminal.
    """
    sources: list[Source] = []
    notes: list[str] = []
    for place in places:
        if place == "-":
            sources.append(Source(place, _from_stdin()))
        elif place and _is_folder(Path(place)):
            found, more = _in_folder(Path(place))
            sources += found
            notes += more
        else:
            sources.append(Source(place, Path(place)))
    return sources, notes


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # what is wrong with such a name is told when it is opened
        return False


def _in_folder(folder: Path) -> tuple[list[Source], list[str]]:
    try:
        listing = list_pictures(folder)
    except DataError as error:
        return [Source(str(folder), error)], []
    return [Source(str(path), path) for path in listing.pictures], listing.notes(folder)


def _from_stdin() -> BytesIO | DataError:
    if sys.stdin.isatty():
        raise UsageError("- takes a picture from another command, as in: cat photo.jpg | mnist-predict -")
    content = sys.stdin.buffer.read()
    return BytesIO(content) if content else DataError("-: no picture came in by stdin.")
