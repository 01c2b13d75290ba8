"""A folder of the user's own pictures: a sub-folder for each part of the data set, in it one for each class."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mnist_trainer.config.classes import class_positions, format_classes, nfc, normalized_name
from mnist_trainer.config.schema import Data
from mnist_trainer.data.cache import IMAGE_BYTES, code_fingerprint, load_or_make
from mnist_trainer.data.image_dataset import ImageDataset, Part, as_images
from mnist_trainer.data.paths import Progress, data_errors
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
"""Maximum number of files or folders that a message lists."""


@dataclass(frozen=True)
class Layout:
    """The folders of the pictures of each part, each with a sub-folder for each of the `classes`."""

    folders: dict[Part, Path]
    """Without `test`, the folder of `train` also contains the test pictures. Without `validation`, they are split from
    the training pictures."""
    classes: tuple[str, ...]

    def folder(self, part: Part) -> Path:
        """Return the folder with the pictures of `part`."""
        return self.folders.get(part, self.folders["train"])

    def is_split(self, part: Part) -> bool:
        """Return whether training and test pictures are in one folder, and `part` is one of them."""
        return "test" not in self.folders and part != "validation"


def layout_of(data: Data) -> Layout:
    """Return the layout of the folder `data.path`: training, validation and test folders, or folders of classes.

    Raises DataError if it is neither.
    """
    path = _root(data)
    with data_errors(path):
        parts = _parts(path)
        if not parts:
            return Layout({"train": path}, _classes(path))
        if "train" not in parts:
            names = " and ".join(sorted(folder.name for folder in parts.values()))
            raise DataError(f"{path} has {names}, but no train/ with a sub-folder for each class.")
        classes = _classes(parts["train"])
        for folder in parts.values():
            names_in = [each.name for each in sub_folders(folder)]
            for name, position in zip(names_in, class_positions(names_in, classes), strict=True):
                if position is None:
                    raise DataError(f"{folder / name} is a class that {parts['train']} does not have.")
        return Layout(parts, classes)


def evaluated_folders(data: Data) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Return the test folder in `data.path`, else all folders of pictures, and the names of the classes.

    One class is enough. Raises DataError if there is none.
    """
    path = _root(data)
    with data_errors(path):
        parts = _parts(path)
        folders = (path,) if not parts else (parts["test"],) if "test" in parts else tuple(parts.values())
        return folders, _in_order({name for folder in folders for name in _classes(folder, least=1)})


def _root(data: Data) -> Path:
    """Return the folder `data.path`. Raises DataError if there is none."""
    path = user_path(data.path or "")
    with data_errors(path):
        if data.path is not None and path.is_dir():
            return path
        if data.path is not None and path.exists():
            kinds = "a folder of pictures, or a .csv or .npz file"
            raise DataError(f"data.path: {path} is a file; it must name {kinds}.")
    raise DataError(f"data.path: there is no folder {str(path)!r} (the current folder is {Path.cwd()}).")


def sub_folders(path: Path) -> list[Path]:
    """Return the sub-folders of `path`, sorted by name, without those of the system and of this program."""
    with os.scandir(path) as entries:
        found = [Path(entry.path) for entry in entries if entry.is_symlink() or entry.is_dir()]
    return [folder for folder in sorted(found) if is_folder(folder) and not is_ignored_folder(folder)]


def _parts(path: Path) -> dict[Part, Path]:
    """Return the folder of each part of a data set in `path`; an empty dict if its sub-folders are classes."""
    folders = sub_folders(path)
    named = [(part, folder) for folder in folders if (part := part_of(folder.name))]
    others = [folder for folder in folders if part_of(folder.name) is None]
    parts = dict(named)
    if others and "train" not in parts and not any(sub_folders(folder) for _, folder in named):
        return {}  # these are classes, such as valid and invalid
    for part, folder in named:
        if parts[part] != folder:
            raise DataError(f"{folder} and {parts[part]} are both the {part} set. Merge them, or rename one.")
    if named and others:
        allowed = " and ".join(PART_FOLDERS[part] for part in PART_FOLDERS if part != named[0][0])
        raise DataError(f"{others[0]} would not be read: next to {named[0][1].name}/ there can only be {allowed}.")
    return {part: parts[part] for part in PART_FOLDERS if part in parts}


def part_of(name: str) -> Part | None:
    """Return the part of a data set that a folder of this name usually holds: `Train`, `trainingSet`, `test_images`."""
    letters = re.sub(r"[\W_]", "", name.casefold())
    return PARTS.get(re.sub(r"(?<=.)(set|data|images|imgs|pictures)$", "", letters))


def _classes(path: Path, least: int = 2) -> tuple[str, ...]:
    """Return the names of the sub-folders in order. Raises DataError if they are fewer than `least`, or no classes."""
    folders = sub_folders(path)
    _refuse_parts(path, folders)
    names = {nfc(folder.name) for folder in folders}
    if len(names) < least:
        wanted = "two or more sub-folders, one for each class" if least > 1 else "a sub-folder for each class"
        raise DataError(f"{path} needs {wanted}; it has {len(names)}.{_file_hint(path)}")
    if odd := next((name for name in sorted(names) if not name.isprintable()), None):
        raise DataError(f"{path / odd}: the name of a class must be printable; rename the folder.")
    return _in_order(names)


def _file_hint(path: Path) -> str:
    """Return advice for a folder that contains a table of images, or MNIST's own files."""
    files = sorted(each.name for each in path.iterdir() if each.is_file())
    if idx := next((name for name in files if re.search(r"[.-]idx\d-ubyte", name)), None):
        return f" It contains {idx}: if that is MNIST, write data.name=mnist data.root={path}"
    tables = [name for name in files if Data(name="folder", path=name).is_table]
    best = max(tables, key=lambda name: "train" in name.casefold(), default=None)
    return f" To train with a table of images: data.path={path / best}" if best else ""


def _in_order(names: set[str]) -> tuple[str, ...]:
    """Return `names` sorted by value if all are numbers, else alphabetically."""
    return tuple(sorted(sorted(names), key=int) if all(name.isdecimal() for name in names) else sorted(names))


def _refuse_parts(path: Path, folders: Sequence[Path]) -> None:
    """Raise DataError if the sub-folders of `path` aren't classes: all contain the same sub-folders and no picture."""
    if not folders or any(map(_has_picture, folders)):
        return
    shared = sorted(set.intersection(*({nfc(each.name) for each in sub_folders(folder)} for folder in folders)))
    if len(shared) < 2 or (_are_digits([folder.name for folder in folders]) and not _are_digits(shared)):
        return  # the folder of each digit has a sub-folder for each writer
    names = ", ".join(f"{folder.name}/" for folder in folders[:MAX_SHOWN]) + " …" * (len(folders) > MAX_SHOWN)
    inner = ", ".join(shared[:MAX_SHOWN]) + " …" * (len(shared) > MAX_SHOWN) + ", and no picture"
    if len(folders) == 1:
        raise DataError(f"{path} has only {names} with the sub-folders {inner}. Write data.path={folders[0]}")
    raise DataError(
        f"{path} has {names} that all contain the sub-folders {inner}: they are not classes. "
        f"Rename them to train/, val/ and test/, or write data.path={folders[0]}"
    )


def _are_digits(names: Sequence[str]) -> bool:
    return all(normalized_name(name).isdecimal() for name in names)


def _has_picture(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        files = (entry.name for entry in entries if not entry.is_dir(follow_symlinks=False))
        return any(has_picture_name(name) and not is_hidden(name) for name in files)


def notes(data: Data) -> list[str]:
    """Return a sentence about what is ignored in the folder `data.path`, except hidden files; empty if nothing is."""
    path = user_path(data.path or "")
    if data.name != "folder" or not is_folder(path):
        return []
    with data_errors(path):
        classes = {folder for part in (_parts(path) or {"train": path}).values() for folder in sub_folders(part)}
        ignored = sorted(_ignored(path, classes, False))
        found = [str(each.relative_to(path)) + "/" * each.is_dir() for each in ignored]
    if not found:
        return []
    more = f" and {len(found) - MAX_SHOWN:,} more" if len(found) > MAX_SHOWN else ""
    return [f"{path}: ignored, because they are not pictures of a class: {', '.join(found[:MAX_SHOWN])}{more}"]


def _ignored(folder: Path, classes: set[Path], is_class: bool) -> Iterator[Path]:
    """Yield what is ignored below `folder`, which `is_class` or belongs to one, else contains the folders `classes`."""
    with os.scandir(folder) as entries:
        for entry in entries:
            path = Path(entry.path)
            if is_hidden(entry.name):
                continue
            if entry.is_dir(follow_symlinks=path in classes):
                if is_ignored_folder(path):
                    yield path
                else:
                    yield from _ignored(path, classes, is_class or path in classes)
            elif not is_class or not has_picture_name(entry.name):
                yield path


TEST_SHARE = 5
"""Without `test/`, about one picture in this number is a test picture."""

CHUNK_SIZE = 200
"""Pictures that are read between two reports of progress."""

MAX_PROBLEMS = 10
"""Maximum number of unusable pictures that a message lists."""


def load_folder(
    layout: Layout, part: Part, cache_dirs: Sequence[Path], progress: Progress | None = None
) -> ImageDataset:
    """Return the pictures of `part` as MNIST-like images, class by class, in the order of their names.

    The images of many pictures are cached in one of `cache_dirs`. Raises DataError with the pictures that cannot be
    used, or the class that has no training pictures.
    """
    paths, labels = _pictures(layout, part)
    _require(layout, part, set(labels.tolist()))
    return _load(paths, labels, layout.classes, (layout.folder(part), part), cache_dirs, progress)


def load_extra_pictures(
    data: Data, classes: tuple[str, ...], cache_dirs: Sequence[Path], progress: Progress | None = None
) -> ImageDataset:
    """Return the pictures of `data.extra`, each `repeat` times, with labels in the order of `classes`.

    Raises DataError if there is none, if one cannot be used, or if a sub-folder is none of `classes`.
    """
    assert data.extra is not None
    folder = user_path(data.extra.path)
    if not is_folder(folder):
        raise DataError(f"data.extra.path: there is no folder {str(folder)!r} (the current folder is {Path.cwd()}).")
    with data_errors(folder):
        names = [each.name for each in sub_folders(folder)]
    for name, position in zip(names, class_positions(names, classes), strict=True):
        if position is None:
            raise DataError(f"data.extra.path: {folder / name} is none of the classes {format_classes(classes, data)}.")
    paths, labels = _list_pictures([folder], classes)
    if not paths:
        raise DataError(f"data.extra.path: {folder} contains no picture in a sub-folder of a class.")
    found = _load(paths, labels, classes, (folder, "train"), cache_dirs, progress)
    return found.subset(torch.arange(len(found)).repeat(data.extra.repeat))


def load_unseen_pictures(data: Data, trained: Sequence[Data], cache_dirs: Sequence[Path]) -> tuple[ImageDataset, str]:
    """Return the pictures in `data.path` on which models trained on `trained` can be tested, and a description of them.

    These are the pictures of the test folder, else all, except those that a model was trained on. Raises DataError if
    none is left.
    """
    folders, classes = evaluated_folders(data)
    paths, labels = _list_pictures(folders, classes)
    seen = {os.path.realpath(path) for each in trained for path in (*_seen(each, folders), *_extra(each))}
    unseen = np.array([not seen or os.path.realpath(path) not in seen for path in paths], bool)
    where, count = " and ".join(map(str, folders)), int(unseen.sum())
    if not paths:
        raise DataError(f"{where} contains no picture of a class.")
    if not count:
        raise DataError(
            f"The model was trained on all {len(paths):,} pictures in {where}, so none is left to test it on. "
            "Name other pictures, or evaluate it on these with --split train."
        )
    which = f"all {count:,} pictures in {where}"
    if count < len(paths):
        which = f"{count:,} of {len(paths):,} pictures in {where}, which were not used for training"
    chosen = [path for path, is_unseen in zip(paths, unseen, strict=True) if is_unseen]
    return _load(chosen, labels[unseen], classes, (folders[0], "test"), cache_dirs, None), which


def _seen(trained: Data, folders: Sequence[Path]) -> list[str]:
    """Return the pictures that a model was trained on, with the data `trained`; none if `folders` are elsewhere."""
    if trained.name != "folder" or trained.path is None:
        return []
    root = user_path(trained.path).resolve()
    if not any(each.is_relative_to(root) or root.is_relative_to(each) for each in (path.resolve() for path in folders)):
        return []
    with suppress(DataError):  # its training pictures are gone
        layout = layout_of(trained)
        return [path for part in layout.folders if part != "test" for path in _pictures(layout, part)[0]]
    return []


def _extra(trained: Data) -> list[str]:
    """Return the pictures of `data.extra` that a model was trained on, as far as they are still there."""
    found: list[str] = []
    if trained.extra is not None:
        with suppress(OSError):
            for folder in sub_folders(user_path(trained.extra.path)):
                found += _files_in(folder)
    return found


def _load(
    paths: list[str],
    labels: NDArray[np.int64],
    classes: tuple[str, ...],
    source: tuple[Path, Part],
    cache_dirs: Sequence[Path],
    progress: Progress | None,
) -> ImageDataset:
    """Return the pictures in `paths`; the images of many are cached in a file that is named after `source`."""
    folder = blake2b(os.fsencode(source[0].resolve()), digest_size=8).hexdigest()
    name, chunks = f"{folder}-{source[1]}.npy", partial(_read, paths, progress)
    images, labels = load_or_make(cache_dirs, name, _fingerprint(paths, labels), chunks, labels)
    return ImageDataset(as_images(images), torch.from_numpy(labels), torch.arange(len(labels)), classes)


def _fingerprint(paths: list[str], labels: NDArray[np.int64]) -> str:
    """Return a fingerprint that changes when a picture is changed, added or removed, or when the code changes."""
    digest = blake2b(labels.data)
    with data_errors(Path(paths[0])):
        for path in paths:
            stat = os.stat(path)  # noqa: PTH116 - there may be millions
            digest.update(b"%s %d %d\n" % (os.fsencode(os.path.basename(path)), stat.st_size, stat.st_mtime_ns))  # noqa: PTH119
    return f"{digest.hexdigest()} {code_fingerprint()}"


def _require(layout: Layout, part: Part, labels: set[int]) -> None:
    """Raise DataError if a class has no training pictures, or if `part` has no pictures at all."""
    hint = " Each picture must be in a sub-folder named after its class."
    if layout.is_split(part):
        hint = " A fifth, chosen by name, are test pictures: add more pictures, or sort them into train/ and test/."
    lacking = [name for label, name in enumerate(layout.classes) if label not in labels]
    if part == "train" and lacking:
        hint = hint * layout.is_split(part) + " If it is not a class, move it away."
        raise DataError(f"{layout.folder(part) / lacking[0]} has no training pictures.{hint}")
    if not labels:
        raise DataError(f"{layout.folder(part)} has no picture for the {part} set.{hint}")


def _pictures(layout: Layout, part: Part) -> tuple[list[str], NDArray[np.int64]]:
    """Return the path of each picture of `part`, and its label."""
    wanted = (lambda path: _in_test(Path(path)) == (part == "test")) if layout.is_split(part) else None
    return _list_pictures([layout.folder(part)], layout.classes, wanted)


def picture_paths(data: Data) -> list[str]:
    """Return the path of each training picture of the folder `data.path`, in the order of the data set."""
    return _pictures(layout_of(data), "train")[0]


def _list_pictures(
    folders: Sequence[Path], classes: Sequence[str], wanted: Callable[[str], bool] | None = None
) -> tuple[list[str], NDArray[np.int64]]:
    """Return the paths of the pictures of `classes` in `folders` that are `wanted`, class by class, and their labels.

    Paths are strings, which take a quarter of the memory of `Path` objects: there may be millions.
    """
    paths: list[str] = []
    counts = []
    with data_errors(folders[0]):
        inner = [each for folder in folders for each in sub_folders(folder)]
        positions = class_positions([folder.name for folder in inner], classes)
        for label in range(len(classes)):
            own = (folder for folder, position in zip(inner, positions, strict=True) if position == label)
            found = (path for folder in own for path in _files_in(folder))
            paths += filter(wanted, sorted(found, key=lambda path: path.replace(os.sep, "/")))
            counts.append(len(paths))
    return paths, np.repeat(np.arange(len(counts), dtype=np.int64), np.diff(counts, prepend=0))


def _files_in(folder: Path) -> Iterator[str]:
    """Yield the files below `folder` that may be pictures by their names; links to folders are not followed."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_hidden(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                if not is_ignored_folder(Path(entry.path)):
                    yield from _files_in(Path(entry.path))
            # For a link that points to itself, only Path.is_file returns False instead of raising.
            elif has_picture_name(entry.name) and (Path(entry.path) if entry.is_symlink() else entry).is_file():
                yield entry.path


def _in_test(path: Path) -> bool:
    """Return whether a picture is a test picture, by its name alone: new pictures or a moved folder don't change it."""
    return int.from_bytes(blake2b(os.fsencode(path.name), digest_size=8).digest(), "big") % TEST_SHARE == 0


def _read(paths: list[str], progress: Progress | None) -> Iterator[NDArray[np.uint8]]:
    """Yield the single digit of each picture in chunks [n, 28, 28]. Raises DataError with all unusable pictures."""
    from mnist_trainer.pictures.read import NO_INK, read_single

    problems: list[str] = []
    for start in range(0, len(paths), CHUNK_SIZE):
        images = []
        for path in paths[start : start + CHUNK_SIZE]:
            try:
                image = read_single(Path(path))
            except DataError as error:
                problems.append(str(error))
                continue
            if image is None:
                problems.append(f"{path} has {NO_INK}")
            else:
                images.append(image)
        if not problems:
            yield np.stack(images)
        if progress is not None:
            done = min(start + CHUNK_SIZE, len(paths))
            progress("reading pictures", done * IMAGE_BYTES, len(paths) * IMAGE_BYTES)
    if problems:
        more = [f"and {len(problems) - MAX_PROBLEMS} more"] if len(problems) > MAX_PROBLEMS else []
        head = f"{len(problems)} of {len(paths)} pictures can't be used; repair or remove them:"
        raise DataError("\n  ".join([head, *problems[:MAX_PROBLEMS], *more]))
