"""Pictures of one's own: a sub-folder for each class, named after it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import assert_never

import numpy as np
import torch
from numpy.typing import NDArray

from mnist_trainer.config.classes import class_positions
from mnist_trainer.config.schema import Data
from mnist_trainer.data.dataset import LabeledImages, Part
from mnist_trainer.data.decoded import IMAGE, MIN_CACHED, code_fingerprint, load_or_make
from mnist_trainer.data.download import Progress
from mnist_trainer.data.layout import Layout, evaluated_folders, layout_of, sub_folders
from mnist_trainer.data.mapped import as_images
from mnist_trainer.errors import DataError
from mnist_trainer.files import user_path
from mnist_trainer.pictures.listing import has_picture_name, is_hidden, is_ignored_folder

TEST_SHARE = 5
"""Without `test/`, about every fifth picture tests."""

CHUNK_SIZE = 200
"""Pictures that are read before it is told how far."""

MAX_PROBLEMS = 10
"""Unusable pictures named in one message."""


def load_folder(
    layout: Layout, part: Part, cache_dirs: Sequence[Path], progress: Progress | None = None
) -> LabeledImages:
    """The pictures of `part` as MNIST-like images, class by class, in the order of their names.

    Many are read once, and kept in one of `cache_dirs` for the next start. Raises DataError that names the pictures
    which
    cannot be used, or the class that has none to train with.
    """
    paths, labels = _pictures(layout, part)
    _require(layout, part, set(labels.tolist()))
    return _load(paths, labels, layout.classes, f"{_named(_folder(layout, part))}-{part}", cache_dirs, progress)


def load_unseen_pictures(
    data: Data, trained: Sequence[Data], cache_dirs: Sequence[Path], progress: Progress | None = None
) -> tuple[LabeledImages, str]:
    """Return the pictures in `data.path` that can test models trained on `trained`, and a phrase that describes them.

    They are those of the test folder, else all, without the pictures that a model was trained with. Raises DataError if
    none is left.
    """
    folders, classes = evaluated_folders(data)
    paths, labels = _listed(folders, classes)
    seen = {os.path.realpath(path) for each in trained for path in _seen(each, folders)}
    unseen = [not seen or os.path.realpath(path) not in seen for path in paths]
    where = " and ".join(map(str, folders))
    if not paths:
        raise DataError(f"{where} holds no picture of a class.")
    if not any(unseen):
        raise DataError(
            f"The model was trained with all {len(paths):,} pictures in {where}, so none is left to test it on. "
            "Name other pictures, or measure it on these with --split train."
        )
    left = sum(unseen)
    which = f"all {left:,} pictures in {where}"
    if left < len(paths):
        which = f"{left:,} of {len(paths):,} pictures in {where}, those that training did not use"
    chosen = [path for path, is_unseen in zip(paths, unseen, strict=True) if is_unseen]
    name = f"{_named(folders[0])}-test"
    return _load(chosen, labels[np.array(unseen)], classes, name, cache_dirs, progress), which


def _seen(trained: Data, folders: Sequence[Path]) -> list[str]:
    """Return the pictures that a model trained on `trained` has seen; none if `folders` are elsewhere."""
    if trained.name != "folder" or trained.path is None:
        return []
    root = user_path(trained.path).resolve()
    if not any(each.is_relative_to(root) or root.is_relative_to(each) for each in (path.resolve() for path in folders)):
        return []
    with suppress(DataError):  # its training pictures are gone
        layout = layout_of(trained)
        parts: tuple[Part, ...] = ("train",) if layout.validation is None else ("train", "validation")
        return [path for part in parts for path in _pictures(layout, part)[0]]
    return []


def _load(
    paths: list[str],
    labels: NDArray[np.int64],
    classes: tuple[str, ...],
    name: str,
    cache_dirs: Sequence[Path],
    progress: Progress | None,
) -> LabeledImages:
    """Load the pictures in `paths`; many are kept in a file `name`."""
    if len(paths) < MIN_CACHED:
        images = np.concatenate([*_read(paths, None)])
    else:
        chunks = partial(_read, paths, progress)
        images, labels = load_or_make(cache_dirs, f"{name}.decoded", _fingerprint(paths, labels), chunks, labels)
    return LabeledImages(as_images(images), torch.from_numpy(labels), classes)


def _named(folder: Path) -> str:
    return blake2b(os.fsencode(folder.resolve()), digest_size=8).hexdigest()


def _fingerprint(paths: list[str], labels: NDArray[np.int64]) -> str:
    """Another one once a picture was changed, came or went, or is read in another way."""
    pictures = blake2b(labels.data)
    for path in map(Path, paths):
        try:
            there = path.stat()
        except OSError as error:
            raise _unreadable(error) from None
        pictures.update(b"%s %d %d\n" % (os.fsencode(path.name), there.st_size, there.st_mtime_ns))
    return f"{pictures.hexdigest()} {code_fingerprint()}"


def _unreadable(error: OSError) -> DataError:
    return DataError(f"{error.filename} can't be read: {error.strerror or error}.")


def _require(layout: Layout, part: Part, labels: set[int]) -> None:
    hint = " Each picture has to lie in a sub-folder named after its class."
    if layout.test is None and part != "validation":
        hint = " Every fifth picture, by its name, is a test picture: add some, or sort them into train/ and test/."
    lacking = [name for label, name in enumerate(layout.classes) if label not in labels]
    if part == "train" and lacking:
        hint = hint * (layout.test is None) + " If it is no class, move it away."
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
    """The path of each picture of `part`, and its label."""
    shared = layout.test is None and part != "validation"
    wanted = (lambda path: _in_test(Path(path)) == (part == "test")) if shared else None
    return _listed([_folder(layout, part)], layout.classes, wanted)


def _listed(
    folders: Sequence[Path], classes: Sequence[str], wanted: Callable[[str], bool] | None = None
) -> tuple[list[str], NDArray[np.int64]]:
    """Return the paths of the pictures of `classes` in `folders` that are `wanted`, class by class, and their labels.

    There may be millions: strings take a quarter of the memory that Paths take.
    """
    try:
        inner = [each for folder in folders for each in sub_folders(folder)]
        positions = class_positions([folder.name for folder in inner], classes)
        paths: list[str] = []
        counts = []
        for label in range(len(classes)):
            own = (folder for folder, position in zip(inner, positions, strict=True) if position == label)
            found = sorted(
                (path for folder in own for path in _files_in(folder)), key=lambda path: path.replace(os.sep, "/")
            )
            paths += found if wanted is None else filter(wanted, found)
            counts.append(len(paths))
    except OSError as error:
        raise _unreadable(error) from None
    return paths, np.repeat(np.arange(len(counts), dtype=np.int64), np.diff(counts, prepend=0))


def _files_in(folder: Path) -> Iterator[str]:
    """Yield the files below `folder` that may be pictures by their names; a link to a folder is not followed."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_hidden(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                if not is_ignored_folder(Path(entry.path)):
                    yield from _files_in(Path(entry.path))
            elif has_picture_name(entry.name) and (
                Path(entry.path).is_file() if entry.is_symlink() else entry.is_file()
            ):
                yield entry.path  # of a link in a ring only a Path says that it is none


def _in_test(path: Path) -> bool:
    # By its name alone, so that a picture stays where it is when others come or the folder is moved.
    return int.from_bytes(blake2b(os.fsencode(path.name), digest_size=8).digest(), "big") % TEST_SHARE == 0


def _read(paths: list[str], progress: Progress | None) -> Iterator[NDArray[np.uint8]]:
    """The one digit of each picture, some pictures at a time, [n, 28, 28]."""
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
                problems.append(f"{path} holds {NO_INK}")
            else:
                images.append(image)
        if not problems:
            yield np.stack(images)
        if progress is not None:
            progress("reading pictures", min(start + CHUNK_SIZE, len(paths)) * IMAGE, len(paths) * IMAGE)
    if problems:
        raise DataError(_format_problems(problems, len(paths)))


def _format_problems(problems: list[str], count: int) -> str:
    more = [f"and {len(problems) - MAX_PROBLEMS} more"] if len(problems) > MAX_PROBLEMS else []
    head = f"{len(problems)} of {count} pictures cannot be used; mend or remove them:"
    return "\n  ".join([head, *problems[:MAX_PROBLEMS], *more])
