"""Tables of images: CSV files, such as Kaggle's MNIST, and Keras's `mnist.npz`."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from hashlib import blake2b
from itertools import chain, islice
from lzma import LZMAError
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.config.classes import DIGITS
from mnist_trainer.config.schema import Data
from mnist_trainer.data.paths import DamagedError, data_errors
from mnist_trainer.errors import DataError, one_line
from mnist_trainer.files import is_folder, user_path

if TYPE_CHECKING:  # torch is imported only where data sets are made: mnist-predict reads tables without it
    from mnist_trainer.data.image_dataset import ImageDataset, Part

Table = tuple[NDArray[np.uint8], NDArray[np.int64] | None]
"""Images [N, 28, 28] and labels [N]; None where the table has no labels."""

ADVICE = "Replace it with an intact copy, or name another table of images of 28 × 28 pixels."

MAX_IMAGES, PIXELS = 240_000, 28 * 28

ROWS = 4096
"""Rows of a CSV file that are parsed at once."""

MAX_LINE_LENGTH = 1 << 15
"""Maximum number of characters in a line: enough for 785 numbers with many decimals."""

LABEL_NAMES = {"label", "labels", "class", "digit", "target", "y"}
"""Names of the label column in a header. Without a header it is the first column, or, if that is constant, the last."""


def table_of(data: Data) -> Path | None:
    """Return the CSV or .npz file that `data` names, else None."""
    path = user_path(data.path or "")
    return path if data.is_table and not is_folder(path) else None


def load_table(path: Path, part: Part) -> ImageDataset:
    """Return the images of `part` in the table at `path`, in their order. Raises DataError for a damaged file.

    A CSV file has no test set, so about a fifth of its images are chosen by a hash of their pixels.
    """
    images, labels, tests = _parts_of(path)
    chosen = tests == (part == "test")
    if not chosen.any():
        raise DataError(f"{path}: none of its {len(images):,} images belongs to the {part} set; add more images.")
    return _dataset(images[chosen], labels[chosen])


def load_unseen_table(path: Path, trained: Sequence[Data]) -> tuple[ImageDataset, str]:
    """Return the images of a table on which models trained on `trained` can be tested, and a description of them.

    These are all images of a CSV file if none of the models was trained on it, else the table's test part.
    """
    known = {user_path(each.path).resolve() for each in trained if each.path is not None}
    if path.suffix.lower() == ".npz" or path.resolve() in known:
        test = load_table(path, "test")
        return test, f"{len(test.labels):,} of {len(_parts_of(path)[1]):,} images in {path}, its test part"
    images, labels, _ = _parts_of(path)
    return _dataset(images, labels), f"all {len(labels):,} images in {path}"


def _dataset(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> ImageDataset:
    import torch

    from mnist_trainer.data.image_dataset import ImageDataset

    return ImageDataset(torch.from_numpy(images), torch.from_numpy(labels), torch.arange(len(labels)), DIGITS)


def _parts_of(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.bool_]]:
    """Return all images and labels of a table, and which of them are the test part."""
    with data_errors(path, ADVICE):
        if not path.is_file():
            raise DataError(f"data.path: there is no file {str(path)!r} (the current folder is {Path.cwd()}).")
        state = path.stat()
        return _parts_once(path.absolute(), state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=1)  # a training reads one file for its training images, for its test images, and to check it
def _parts_once(path: Path, size: int, time: int) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.bool_]]:
    """Read the table at `path`; its size and time are parameters, so that a changed file is read again."""
    if path.suffix.lower() == ".npz":
        (train, train_labels), (test, test_labels) = _read_npz(path)
        tests = np.arange(len(train) + len(test)) >= len(train)
        return np.concatenate((train, test)), np.concatenate((train_labels, test_labels)), tests
    from mnist_trainer.data.folder import TEST_SHARE

    images, labels = _read_csv(path)
    if labels is None:
        advice = "Predict their labels with mnist-predict FILE.csv --out FILE."
        raise DataError(f"{path} has 784 columns: images without labels, which can't train or test a model. {advice}")
    hashes = (int.from_bytes(blake2b(image.data, digest_size=8).digest(), "big") for image in images)
    return images, labels, np.array([number % TEST_SHARE == 0 for number in hashes])


def read_csv(path: Path) -> Table:
    """Return the content of the CSV file at `path`, which has 784 columns of pixels, and perhaps one of labels.

    Raises DataError for anything else.
    """
    with data_errors(path, ADVICE):
        return _read_csv(path)


def _read_csv(path: Path) -> Table:
    """Return the content of a CSV file. Raises DamagedError and OSError."""
    try:
        opened = gzip.open if path.suffix.lower() == ".gz" else open
        with opened(path, "rt", encoding="utf-8-sig", errors="replace") as file:
            parts = [*_chunks(file)]
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DamagedError(f"it cannot be decompressed ({error})") from None
    images = np.concatenate([images for images, _ in parts])
    labels = [labels for _, labels in parts if labels is not None]
    return images, np.concatenate(labels) if labels else None


def _chunks(file: TextIO) -> Iterator[Table]:
    """Yield the content of a CSV file, `ROWS` rows at a time."""
    rows = _numbered(file)
    first = next(rows, None)
    if first is None:
        raise DamagedError("it is empty")
    separator = next((sign for sign in ",;\t" if sign in first[1]), ",")
    cells = [cell.strip(" \"'\r\n").casefold() for cell in first[1].split(separator)]
    default = 0 if len(cells) == PIXELS + 1 else None
    label = next((at for at, cell in enumerate(cells) if cell in LABEL_NAMES), default)
    if len(cells) != PIXELS + (label is not None):
        raise DamagedError(
            f"line {first[0]} has {len(cells):,} columns; it needs 784 pixels (28 × 28), and one more for a label"
        )
    has_header = not any(map(_is_number, cells))
    if not has_header:
        rows = chain([first], rows)
    count = 0
    while batch := [*islice(rows, ROWS)]:
        count += len(batch)
        if count > MAX_IMAGES:
            raise DamagedError(f"it has more than {MAX_IMAGES:,} rows")
        table, row_names = _numbers(batch, separator, len(cells)), [f"line {number}" for number, _ in batch]
        if label == 0 and not has_header and count == len(batch) and np.ptp(table[:, 0]) == 0 < np.ptp(table[:, -1]):
            label = PIXELS  # the first column is a corner of the images, the last one their label
        if label is None:
            yield _images(table, row_names), None
        else:
            yield _images(np.delete(table, label, axis=1), row_names), _labels(table[:, label], row_names)
    if not count:
        raise DamagedError("it has a header but no rows")


def _numbered(file: TextIO) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not empty, with their line numbers."""
    empty = 0
    for number, line in enumerate(iter(partial(file.readline, MAX_LINE_LENGTH), ""), 1):
        if line.strip():
            yield number, line
        elif (empty := empty + 1) > ROWS:  # a small .gz file may contain any number of them
            raise DamagedError(f"it has more than {ROWS:,} empty lines")


def _numbers(lines: Sequence[tuple[int, str]], separator: str, columns: int) -> NDArray[np.float32]:
    """Return the values of numbered lines, [n, columns]. Raises DamagedError with the first wrong line."""
    try:
        table = np.loadtxt([line for _, line in lines], np.float32, comments=None, delimiter=separator, quotechar='"')
        return table.reshape(len(lines), columns)
    except ValueError as error:
        for number, line in lines:
            cells = line.split(separator)
            if len(cells) != columns:
                raise DamagedError(f"line {number:,} has {len(cells):,} columns, not {columns}") from None
            for cell in cells:
                if not _is_number(cell.strip(' "\r\n')):
                    raise DamagedError(f"line {number:,} has {cell.strip()[:20]!r}, which is not a number") from None
        raise DamagedError(f"from line {lines[0][0]:,} on it is not a table ({one_line(str(error), 80)})") from None


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _read_npz(path: Path) -> list[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    """Return the images and labels of the training set, and those of the test set."""
    try:
        with ZipFile(path) as archive:
            return [_pair(archive, part) for part in ("train", "test")]
    except (BadZipFile, EOFError, ValueError, OverflowError, RuntimeError, MemoryError, zlib.error, LZMAError) as error:
        raise DamagedError(f"it cannot be read ({one_line(str(error), 80)})") from None


def _pair(archive: ZipFile, part: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the images and labels of `part` (`train` or `test`)."""
    images, labels = _array(archive, f"x_{part}"), _array(archive, f"y_{part}")
    if images.ndim < 2 or prod(images.shape[1:]) != PIXELS or not len(images):
        raise DamagedError(f"x_{part} has the shape {images.shape}, not (N, 28, 28)")
    if labels.size != len(labels) or len(labels) != len(images):
        raise DamagedError(f"y_{part} has the shape {labels.shape}, and x_{part} has {len(images):,} images")
    images, labels = images.reshape(len(images), PIXELS), labels.reshape(-1)
    return _images(images, f"x_{part}"), _labels(labels, f"y_{part}")


def _array(archive: ZipFile, name: str) -> NDArray[Any]:
    """Return an array of numbers. Raises DamagedError for another one, and ValueError or MemoryError for damage."""
    if f"{name}.npy" not in archive.namelist():
        raise DamagedError(f"it contains no array {name}; x_train, y_train, x_test and y_test are needed")
    if archive.getinfo(f"{name}.npy").file_size > MAX_IMAGES * PIXELS:
        raise DamagedError(f"{name} has more bytes than {MAX_IMAGES:,} images")
    with archive.open(f"{name}.npy") as stream:
        array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
    if array.dtype.kind not in "uif":
        raise DamagedError(f"{name} contains {array.dtype}, not numbers")
    return array


def _images(table: NDArray[Any], rows: Sequence[str] | str) -> NDArray[np.uint8]:
    return _whole_numbers(table, 255, rows).astype(np.uint8).reshape(-1, 28, 28)


def _labels(table: NDArray[Any], rows: Sequence[str] | str) -> NDArray[np.int64]:
    return _whole_numbers(table[:, None], 9, rows)[:, 0].astype(np.int64)


def _whole_numbers(table: NDArray[Any], largest: int, rows: Sequence[str] | str) -> NDArray[Any]:
    """Return `table` [n, k] if all its values are whole numbers from 0 to `largest`.

    `rows` are the names of the rows for errors, or one name for all.
    """
    if table.dtype == np.uint8 and largest == 255:
        return table
    with np.errstate(invalid="ignore"):  # infinity has no remainder
        valid = (table >= 0) & (table <= largest) & (table % 1 == 0)
    if valid.all():
        return table
    row, column = np.argwhere(~valid)[0]
    name, kind = rows if isinstance(rows, str) else rows[row], "pixel" if largest > 9 else "label"
    raise DamagedError(f"{name} has the {kind} {table[row, column]:g}, not a whole number from 0 to {largest}")
