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


class InputImage(NamedTuple):
    """A picture, and the `path` of its answer: a file, its content, an image in memory, or why it can't be read."""

    path: str | None
    picture: Path | BytesIO | Image | NDArray[Any] | DataError


def expand_inputs(arguments: Iterable[str]) -> tuple[list[InputImage], list[str]]:
    """The pictures that `arguments` stand for, in their order, and notes of what was left out of folders.

    A folder stands for the pictures in it, but not for those in its sub-folders; `-` for the picture that comes in by
    stdin. Raises `UsageError` if that is a terminal.
    """
    sources: list[InputImage] = []
    notes: list[str] = []
    for argument in arguments:
        if argument == "-":
            sources.append(InputImage(argument, _from_stdin()))
        elif argument and _is_folder(Path(argument)):
            found, more = _in_folder(Path(argument))
            sources += found
            notes += more
        else:
            sources.append(InputImage(argument, Path(argument)))
    return sources, notes


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # what is wrong with such a name is told when it is opened
        return False


def _in_folder(folder: Path) -> tuple[list[InputImage], list[str]]:
    try:
        listing = list_pictures(folder)
    except DataError as error:
        return [InputImage(str(folder), error)], []
    return [InputImage(str(path), path) for path in listing.pictures], listing.notes(folder)


def _from_stdin() -> BytesIO | DataError:
    if sys.stdin.isatty():
        raise UsageError("- takes a picture from another command, as in: cat photo.jpg | mnist-predict -")
    content = sys.stdin.buffer.read()
    return BytesIO(content) if content else DataError("-: no picture came in by stdin.")
