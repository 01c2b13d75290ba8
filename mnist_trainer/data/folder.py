"""Pictures of one's own: a sub-folder for each class, named after it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import assert_never

import numpy as np
import torch
from numpy.typing import NDArray

from mnist_trainer.config.schema import Data
from mnist_trainer.data.dataset import DataSet, Part
from mnist_trainer.data.decoded import IMAGE, KEPT, make_once, program
from mnist_trainer.data.download import Progress
from mnist_trainer.data.mapped import images_of
from mnist_trainer.errors import DataError
from mnist_trainer.pictures.listing import is_hidden

TEST_SHARE = 5
"""Without `test/`, about every fifth picture tests."""

PIECE = 200
"""Pictures that are read before it is told how far."""

LISTED = 10
"""Unusable pictures named in one message."""


@dataclass(frozen=True)
class Layout:
    """Which folders hold the pictures, each with a sub-folder a class."""

    train: Path
    validation: Path | None
    test: Path | None
    """Without one, `train` holds the test pictures too."""
    classes: tuple[str, ...]


def layout_of(data: Data) -> Layout:
    """How the folder `data.path` is laid out: `train/`, `val/` and `test/`, or classes at once.

    Raises DataError when it is neither.
    """
    path = Path(data.path or "").expanduser()
    try:
        return _layout_in(path, data.path is not None and path.is_dir())
    except OSError as error:  # a name too long, a folder that may not be looked into
        raise DataError(f"data.path: {path} can't be read: {error.strerror or error}.") from None


def _layout_in(path: Path, is_folder: bool) -> Layout:
    if not is_folder:
        raise DataError(f"data.path: there is no folder {str(path)!r} (seen from {Path.cwd()}).")
    parts = {name: path / name for name in _sub_folders(path)}
    if not parts.keys() & {"train", "val", "test"}:
        return Layout(path, None, None, _classes(path))
    if "train" not in parts:
        raise DataError(f"{path} has {' and '.join(sorted(parts))}, but no train/ with a sub-folder a class.")
    if unknown := sorted(parts.keys() - {"train", "val", "test"}):
        raise DataError(f"{path / unknown[0]} would not be read: beside train/ there can only be val/ and test/.")
    classes = _classes(parts["train"])
    for folder in (parts[name] for name in ("val", "test") if name in parts):
        if unseen := sorted(set(_sub_folders(folder)) - set(classes)):
            raise DataError(f"{folder / unseen[0]} is a class that {parts['train']} does not have.")
    return Layout(parts["train"], parts.get("val"), parts.get("test"), classes)


def load_folder(layout: Layout, part: Part, homes: Sequence[Path], progress: Progress | None = None) -> DataSet:
    """The pictures of `part` as MNIST-like images, class by class, in the order of their names.

    Many are read once, and kept in one of `homes` for the next start. Raises DataError that names the pictures which
    cannot be used, or the class that has none to train with.
    """
    paths, labels = _pictures(layout, part)
    _require(layout, part, set(labels.tolist()))
    if len(paths) < KEPT:
        images = np.concatenate([*_read(paths, None)])
    else:
        folder = os.fsencode(_folder(layout, part).resolve())
        name = f"{blake2b(folder, digest_size=8).hexdigest()}-{part}.decoded"
        images, labels = make_once(homes, name, _mark(paths, labels), lambda: _read(paths, progress), labels)
    return DataSet(images_of(images), torch.from_numpy(labels), layout.classes)


def _mark(paths: list[str], labels: NDArray[np.int64]) -> str:
    """Another one once a picture was changed, came or went, or is read in another way."""
    pictures = blake2b(labels.data)
    for path in map(Path, paths):
        try:
            there = path.stat()
        except OSError as error:
            raise _unreadable(error) from None
        pictures.update(b"%s %d %d\n" % (os.fsencode(path.name), there.st_size, there.st_mtime_ns))
    return f"{pictures.hexdigest()} {program()}"


def _unreadable(error: OSError) -> DataError:
    return DataError(f"{error.filename} can't be read: {error.strerror or error}.")


def _require(layout: Layout, part: Part, labels: set[int]) -> None:
    hint = ""
    if layout.test is None and part != "validation":
        hint = " Every fifth picture, by its name, is a test picture: add some, or sort them into train/ and test/."
    lacking = [name for label, name in enumerate(layout.classes) if label not in labels]
    if part == "train" and lacking:
        raise DataError(f"{layout.train / lacking[0]} has no picture to train with.{hint}")
    if not labels:
        raise DataError(f"{_folder(layout, part)} has no picture for the {part} set.{hint}")


def _folder(layout: Layout, part: Part) -> Path:
    match part:
        case "train":
            return layout.train
        case "validation":
            assert layout.validation is not None
            return layout.validation
        case "test":
            return layout.test or layout.train
        case _:
            assert_never(part)


def _pictures(layout: Layout, part: Part) -> tuple[list[str], NDArray[np.int64]]:
    """The path of each picture of `part`, and its label. There may be millions: strings take a quarter of Paths."""
    folder, paths, counts = _folder(layout, part), [], []
    for name in layout.classes:
        try:
            found = sorted(_files_in(folder / name), key=lambda path: path.replace(os.sep, "/"))
        except OSError as error:
            raise _unreadable(error) from None
        if layout.test is None and part != "validation":
            found = [path for path in found if _in_test(Path(path)) == (part == "test")]
        paths += found
        counts.append(len(found))
    return paths, np.repeat(np.arange(len(counts), dtype=np.int64), counts)


def _files_in(folder: Path) -> Iterator[str]:
    """All files below `folder` that are not hidden; a link to a folder is not followed."""
    if not folder.is_dir():  # a class that this part does not have
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_hidden(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _files_in(Path(entry.path))
            elif Path(entry.path).is_file() if entry.is_symlink() else entry.is_file():
                yield entry.path  # of a link in a ring only a Path says that it is none


def _in_test(path: Path) -> bool:
    # By its name alone, so that a picture stays where it is when others come or the folder is moved.
    return int.from_bytes(blake2b(os.fsencode(path.name), digest_size=8).digest(), "big") % TEST_SHARE == 0


def _sub_folders(path: Path) -> list[str]:
    return [entry.name for entry in path.iterdir() if entry.is_dir() and not is_hidden(entry.name)]


def _classes(path: Path) -> tuple[str, ...]:
    """The names of the sub-folders: by value if all are numbers, else by the alphabet."""
    names = sorted(_sub_folders(path))
    if len(names) < 2:
        raise DataError(f"{path} needs two sub-folders or more, one a class with its pictures; it has {len(names)}.")
    if odd := next((name for name in names if not name.isprintable()), None):
        raise DataError(
            f"{path / odd}: a folder's name is that of its class, and this one can't be printed; rename it."
        )
    return tuple(sorted(names, key=int) if all(name.isdecimal() for name in names) else names)


def _read(paths: list[str], progress: Progress | None) -> Iterator[NDArray[np.uint8]]:
    """The one digit of each picture, some pictures at a time, [n, 28, 28]."""
    from mnist_trainer.pictures.digits import NO_INK, read_single

    problems: list[str] = []
    for start in range(0, len(paths), PIECE):
        images = []
        for path in paths[start : start + PIECE]:
            try:
                image = read_single(Path(path))
            except DataError as error:
                problems.append(str(error))
                continue
            if image is None:
                problems.append(f"{path} holds {NO_INK}")
            else:
                images.append(image)
        if not problems:
            yield np.stack(images)
        if progress is not None:
            progress("reading pictures", min(start + PIECE, len(paths)) * IMAGE, len(paths) * IMAGE)
    if problems:
        raise DataError(_told(problems, len(paths)))


def _told(problems: list[str], count: int) -> str:
    more = [f"and {len(problems) - LISTED} more"] if len(problems) > LISTED else []
    head = f"{len(problems)} of {count} pictures cannot be used; mend or remove them:"
    return "\n  ".join([head, *problems[:LISTED], *more])
