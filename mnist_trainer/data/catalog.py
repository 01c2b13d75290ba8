"""Data sets by name."""

from __future__ import annotations

from typing import assert_never

from mnist_trainer.config.classes import DIGITS, format_classes, label_of
from mnist_trainer.config.schema import Data
from mnist_trainer.data import published
from mnist_trainer.data.bundled import load_digits
from mnist_trainer.data.dataset import LabeledImages, Part
from mnist_trainer.data.download import Progress
from mnist_trainer.data.folder import load_folder
from mnist_trainer.data.layout import evaluated_folders, layout_of
from mnist_trainer.data.places import cache_dirs, data_root
from mnist_trainer.data.published import load_published
from mnist_trainer.data.registry import PUBLISHED
from mnist_trainer.data.tables import load_table, table_of
from mnist_trainer.errors import DataError

__all__ = [
    "DataSet",
    "Part",
    "all_classes",
    "binary_label",
    "class_names",
    "has_validation",
    "load",
    "missing_files",
    "with_binary",
]


def load(data: Data, part: Part, progress: Progress | None = None) -> LabeledImages:
    """The whole part of the data set that `data` names, before `limit`, `validation` and `binary`.

    Files that are missing are downloaded; `progress` is told how far. Raises DataError when they cannot be had or are
    damaged, StorageError when they cannot be written anywhere.
    """
    if part == "validation" and not has_validation(data):
        raise DataError(f"{data.name} brings no validation images of its own; they are split from its training images.")
    match data.name:
        case "digits":
            return load_digits(part)
        case "folder" if table := table_of(data):
            return load_table(table, part)
        case "folder":
            return load_folder(layout_of(data), part, cache_dirs(data_root(data), "folder"), progress)
        case "mnist" | "fashion-mnist" | "kmnist" | "emnist-digits" | "qmnist" | "usps":
            return load_published(data.name, data_root(data), part, progress)
        case _:
            assert_never(data.name)


def missing_files(data: Data, part: Part) -> list[str]:
    """Return the files that `load` would download. Raises DataError like `data_root`."""
    if data.name == "digits" or data.name == "folder":  # noqa: PLR1714 - mypy understands this one
        return []
    return published.missing_files(data.name, data_root(data), part)


def has_validation(data: Data) -> bool:
    """Whether the data set brings validation images of its own: only a folder with `val/` does."""
    return data.name == "folder" and table_of(data) is None and layout_of(data).validation is not None


def class_names(data: Data) -> tuple[str, ...]:
    """The names of the classes, after `binary`, without loading an image. Raises DataError like `load`."""
    return with_binary(data, all_classes(data))


def all_classes(data: Data, part: str = "train") -> tuple[str, ...]:
    """Return the names before `binary`. The `test` part of a folder may have fewer, and be all that there is."""
    match data.name:
        case "digits":
            return DIGITS
        case "folder" if table := table_of(data):
            return load_table(table, "train").classes
        case "folder":
            return evaluated_folders(data).classes if part == "test" else layout_of(data).classes
        case _:
            return PUBLISHED[data.name].classes


def with_binary(data: Data, classes: tuple[str, ...]) -> tuple[str, ...]:
    """`classes`, or with `data.binary` its two answers: `("not 7", "7")`. Raises DataError for a class there is not."""
    if data.binary is None:
        return classes
    name = classes[binary_label(data, classes)]
    return (f"not {name}", name)


def binary_label(data: Data, classes: tuple[str, ...]) -> int:
    """Return the label of the class that `data.binary` names. Raises DataError if there is no such class."""
    label = None if data.binary is None else label_of(data.binary, classes, data)
    if label is None:
        raise DataError(
            f"data.binary is {data.binary}, and {data.name} has the classes {format_classes(classes, data)}."
        )
    return label
