"""The layout of a folder of pictures: which sub-folders are parts of the data set, and which are classes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mnist_trainer.config.classes import class_positions, nfc, normalized_name
from mnist_trainer.config.schema import Data
from mnist_trainer.data.dataset import Part
from mnist_trainer.errors import DataError
from mnist_trainer.files import is_folder, user_path
from mnist_trainer.pictures.listing import has_picture_name, is_hidden, is_ignored_folder

PARTS: dict[str, Part] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
PART_FOLDERS: dict[Part, str] = {"train": "train/", "validation": "val/", "test": "test/"}

MAX_SHOWN = 3
"""Files or folders named in one message."""


@dataclass(frozen=True)
class Layout:
    """Which folders hold the pictures, each with a sub-folder for each of the `classes`."""

    train: Path
    validation: Path | None
    test: Path | None
    """Without one, `train` holds the test pictures too."""
    classes: tuple[str, ...]


class Evaluated(NamedTuple):
    """The folders whose pictures can test a model that was not trained on them, and the names of their classes."""

    folders: tuple[Path, ...]
    classes: tuple[str, ...]


def layout_of(data: Data) -> Layout:
    """Return the layout of the folder `data.path`: training, validation and test folders, or folders of classes.

    Raises DataError if it is neither.
    """
    path = root_of(data)
    try:
        parts = _parts(path)
        if not parts:
            return Layout(path, None, None, _classes(path))
        if "train" not in parts:
            names = " and ".join(sorted(folder.name for folder in parts.values()))
            raise DataError(f"{path} has {names}, but no train/ with a sub-folder a class.")
        classes = _classes(parts["train"])
        for part in ("validation", "test"):
            if part in parts:
                _require_known(parts[part], parts["train"], classes)
        return Layout(parts["train"], parts.get("validation"), parts.get("test"), classes)
    except OSError as error:  # a name too long, a folder that may not be looked into
        raise _read_error(path, error) from None


def evaluated_folders(data: Data) -> Evaluated:
    """Return the test folder in `data.path`; without one, all folders of pictures. One class is enough.

    Raises DataError when there is none.
    """
    path = root_of(data)
    try:
        parts = _parts(path)
        folders = (path,) if not parts else (parts["test"],) if "test" in parts else tuple(parts.values())
        names = {name for folder in folders for name in _classes(folder, least=1)}
        return Evaluated(folders, _in_order(names))
    except OSError as error:
        raise _read_error(path, error) from None


def root_of(data: Data) -> Path:
    """The folder `data.path`. Raises DataError when there is none."""
    path = user_path(data.path or "")
    try:
        if data.path is not None and path.is_dir():
            return path
        if data.path is not None and path.exists():
            raise DataError(
                f"data.path: {path} is a file; it has to name a folder of pictures, or a .csv or .npz file."
            )
    except OSError as error:
        raise _read_error(path, error) from None
    raise DataError(f"data.path: there is no folder {str(path)!r} (seen from {Path.cwd()}).")


def _read_error(path: Path, error: OSError) -> DataError:
    return DataError(f"data.path: {path} can't be read: {error.strerror or error}.")


def sub_folders(path: Path) -> list[Path]:
    """The sub-folders of `path` in the order of their names, without those that hold no pictures of a class."""
    with os.scandir(path) as entries:
        found = [Path(entry.path) for entry in entries if entry.is_symlink() or entry.is_dir()]
    return [folder for folder in sorted(found) if is_folder(folder) and not is_ignored_folder(folder)]


def _parts(path: Path) -> dict[Part, Path]:
    """Return the folders of the parts of a data set in `path`; none if its sub-folders are classes."""
    folders = sub_folders(path)
    named = [(part, folder) for folder in folders if (part := part_of(folder.name))]
    others = [folder for folder in folders if part_of(folder.name) is None]
    parts = dict(named)
    if others and "train" not in parts and not any(sub_folders(folder) for _, folder in named):
        return {}  # classes that are called so, as valid and invalid
    for part, folder in named:
        if parts[part] != folder:
            raise DataError(f"{folder} and {parts[part]} are both the {part} set. Put them together, or rename one.")
    if named and others:
        raise DataError(
            f"{others[0]} would not be read: beside {named[0][1].name}/ there can only be "
            f"{' and '.join(PART_FOLDERS[part] for part in PART_FOLDERS if part != named[0][0])}."
        )
    return {part: parts[part] for part in PART_FOLDERS if part in parts}


def part_of(name: str) -> Part | None:
    """Return the part of a data set that a folder of this name usually holds: `Train`, `trainingSet`, `test_images`."""
    letters = re.sub(r"[\W_]", "", name.casefold())
    return PARTS.get(re.sub(r"(?<=.)(set|data|images|imgs|pictures)$", "", letters))


def _require_known(folder: Path, train: Path, classes: Sequence[str]) -> None:
    names = [each.name for each in sub_folders(folder)]
    for name, position in zip(names, class_positions(names, classes), strict=True):
        if position is None:
            raise DataError(f"{folder / name} is a class that {train} does not have.")


def _classes(path: Path, least: int = 2) -> tuple[str, ...]:
    """The names of the sub-folders: by value if all are numbers, else by the alphabet."""
    folders = sub_folders(path)
    _refuse_parts(path, folders)
    names = {nfc(folder.name) for folder in folders}
    if len(names) < least:
        wanted = "two sub-folders or more, one a class with its pictures" if least > 1 else "a sub-folder a class"
        raise DataError(f"{path} needs {wanted}; it has {len(names)}.{_file_hint(path)}")
    if odd := next((name for name in sorted(names) if not name.isprintable()), None):
        raise DataError(
            f"{path / odd}: a folder's name is that of its class, and this one can't be printed; rename it."
        )
    return _in_order(names)


def _file_hint(path: Path) -> str:
    """Return how to name the data set if `path` holds a table of images or MNIST's own files."""
    files = sorted(each.name for each in path.iterdir() if each.is_file())
    if idx := next((name for name in files if re.search(r"[.-]idx\d-ubyte", name)), None):
        return f" It holds {idx}: if that is MNIST, write data.name=mnist data.root={path}"
    tables = [name for name in files if Data(name="folder", path=name).is_table]
    return f" To train with a table of images: data.path={path / max(tables, key=_is_train)}" if tables else ""


def _is_train(name: str) -> bool:
    return "train" in name.casefold()


def _in_order(names: set[str]) -> tuple[str, ...]:
    return tuple(sorted(sorted(names), key=int) if all(name.isdecimal() for name in names) else sorted(names))


def _refuse_parts(path: Path, folders: Sequence[Path]) -> None:
    """Raise DataError if the sub-folders of `path` are no classes: all hold the same sub-folders and no picture."""
    if not folders or any(map(_has_picture, folders)):
        return
    shared = sorted(set.intersection(*({nfc(each.name) for each in sub_folders(folder)} for folder in folders)))
    if len(shared) < 2 or (_are_digits(folder.name for folder in folders) and not _are_digits(shared)):
        return  # in the folder of each digit a sub-folder for each writer
    names = ", ".join(f"{folder.name}/" for folder in folders[:MAX_SHOWN])
    held = f"{', '.join(shared[:MAX_SHOWN])}{' …' if len(shared) > MAX_SHOWN else ''}, and no picture"
    if len(folders) == 1:
        raise DataError(f"{path} has only {names} with the sub-folders {held}. Name that: data.path={folders[0]}")
    raise DataError(
        f"{path} has {names}{' …' if len(folders) > MAX_SHOWN else ''} that all hold the sub-folders {held}: they are no "
        f"classes. Rename them to train/, val/ and test/, or name one of them: data.path={folders[0]}"
    )


def _are_digits(names: Iterable[str]) -> bool:
    return all(normalized_name(name).isdecimal() for name in names)


def _has_picture(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        files = (entry.name for entry in entries if not entry.is_dir(follow_symlinks=False))
        return any(has_picture_name(name) and not is_hidden(name) for name in files)


def notes(data: Data) -> list[str]:
    """Return a sentence on what is ignored in the folder `data.path`, apart from hidden files; empty if nothing is."""
    path = user_path(data.path or "")
    if data.name != "folder" or not is_folder(path):
        return []
    try:
        classes = {folder for part in (_parts(path) or {"train": path}).values() for folder in sub_folders(part)}
        passed = sorted(_passed_over(path, classes, False))
        found = [str(each.relative_to(path)) + "/" * each.is_dir() for each in passed]
    except OSError as error:
        raise _read_error(path, error) from None
    if not found:
        return []
    names = ", ".join(found[:MAX_SHOWN]) + (f" and {len(found) - MAX_SHOWN:,} more" if len(found) > MAX_SHOWN else "")
    return [f"{path}: ignored, as no pictures of a class: {names}"]


def _passed_over(folder: Path, classes: set[Path], is_class: bool) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        for entry in entries:
            path = Path(entry.path)
            if is_hidden(entry.name):
                continue
            if entry.is_dir(follow_symlinks=path in classes):
                if is_ignored_folder(path):
                    yield path
                else:
                    yield from _passed_over(path, classes, is_class or path in classes)
            elif not is_class or not has_picture_name(entry.name):
                yield path
