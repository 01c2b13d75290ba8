"""A published data set: its files found or fetched, checked, decoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, assert_never

import numpy as np
import torch
from numpy.typing import NDArray

from mnist_trainer.data import idx, usps
from mnist_trainer.data.archives import Content, check_download, content_of, find
from mnist_trainer.data.cache import Decoded, file_fingerprint, load_cached, save_cache
from mnist_trainer.data.digits import to_mnist
from mnist_trainer.data.download import Progress, UnreachableError, download
from mnist_trainer.data.image_dataset import LabeledImages, Part, as_images
from mnist_trainer.data.paths import REPLACE, ROOT_VARIABLE, DamagedError, cache_dirs, locate_damage
from mnist_trainer.data.registry import MOST_IMAGES, PUBLISHED, Published, PublishedName, RawFile
from mnist_trainer.errors import DataError

FOREIGN = (
    "Put a whole copy in its place. If it belongs to Fashion-MNIST or KMNIST, whose files have the same names: take "
    "data.name=fashion-mnist or kmnist, and a data.root in which they lie under FashionMNIST/raw or KMNIST/raw."
)
"""Advice for a damaged file that may be one of another data set."""


def load_published(name: PublishedName, root: Path, part: Part, progress: Progress | None = None) -> LabeledImages:
    """The part of the data set `name` under `root`, downloaded where it is missing. Only that part's files are read.

    Raises DataError for a file that is damaged or can be had nowhere, StorageError when nothing can be written.
    """
    published = PUBLISHED[name]
    own, folders = cache_dirs(root, published.folder), _folders(published, root)
    begun = (folder for folder in folders if any(find(file, (folder,)) for file in published.all_files))
    places = tuple(dict.fromkeys((*begun, *own)))  # new files lie beside those that are there
    files = published.files(part)
    paths = [find(file, folders) or _download(name, file, places, progress) for file in files]
    advice = REPLACE if any(paths[0].is_relative_to(home) for home in own) else FOREIGN
    decode = partial(_decode, name, paths, files, advice)
    if any(path.name.endswith((".gz", ".zip", ".bz2")) for path in paths):
        images, labels = _decode_once(f"{name}-{part}.decoded", paths, places, decode)
    else:
        images, labels = decode()
    return LabeledImages(as_images(images), torch.from_numpy(labels), published.classes)


def missing_files(name: PublishedName, root: Path, part: Part) -> list[str]:
    """Return the archives that `load_published` would download."""
    published = PUBLISHED[name]
    folders = _folders(published, root)
    return [file.archive for file in published.files(part) if find(file, folders) is None]


def _folders(published: Published, root: Path) -> tuple[Path, ...]:
    """Return the folders in which its files may be, in order."""
    return (*cache_dirs(root, published.folder), *published.folders(root))


def _decode_once(kept: str, paths: Sequence[Path], places: tuple[Path, ...], decode: Callable[[], Decoded]) -> Decoded:
    with locate_damage(paths[0]):
        fingerprint = file_fingerprint(paths)
    decoded = load_cached(places, kept, fingerprint, MOST_IMAGES)
    if decoded is None or not _are_classes(decoded[1]):
        decoded = decode()
        save_cache(places, kept, fingerprint, decoded)
    return decoded


def _download(name: PublishedName, file: RawFile, places: tuple[Path, ...], progress: Progress | None) -> Path:
    published = PUBLISHED[name]
    urls = [mirror + file.archive for mirror in published.mirrors]
    try:
        return download(
            urls, places, lambda path: check_download(path, file), file.most_packed, progress or (lambda *_: None)
        )
    except UnreachableError as error:
        raise DataError(_how_to_get(name, published, file, places[0], error)) from None


def _how_to_get(name: str, published: Published, file: RawFile, home: Path, error: UnreachableError) -> str:
    *most, last = published.archives()
    archives = f"{', '.join(most)} and {last}" if most else last
    return " ".join(
        (
            f"{name} is not complete in {home}, and {file.archive} could not be downloaded ({error}).",
            *error.remedies,
            f"Without a network, put {archives} there, packed or unpacked (to be had at {published.mirrors[0]}), "
            f"or name another data root with data.root or {ROOT_VARIABLE}. data.name=digits needs no download.",
        )
    )


def _decode(name: PublishedName, paths: Sequence[Path], files: Sequence[RawFile], advice: str) -> Decoded:
    contents = [content_of(path, file, advice) for path, file in zip(paths, files, strict=True)]
    match name:
        case "mnist" | "fashion-mnist" | "kmnist" | "qmnist":
            return _pair(paths, contents)
        case "emnist-digits":
            images, labels = _pair(paths, contents)
            # Its files hold the pictures mirrored at the diagonal.
            return np.ascontiguousarray(images.transpose(0, 2, 1)), labels
        case "usps":
            with locate_damage(paths[0]):
                small, labels = usps.parse(contents[0])
                return to_mnist(small), labels
        case _:
            assert_never(name)


def _pair(paths: Sequence[Path], contents: Sequence[Content]) -> Decoded:
    with locate_damage(paths[0]):
        images = _images(contents[0])
    with locate_damage(paths[1]):
        labels = _labels(contents[1])
        if len(labels) != len(images):
            raise DamagedError(f"it has {len(labels):,} labels, and {paths[0].name} has {len(images):,} images")
    return images, labels


def _images(content: Content) -> NDArray[np.uint8]:
    images = idx.parse(content)
    if images.dtype != np.uint8 or images.shape[1:] != (28, 28) or not len(images):
        raise DamagedError(f"it holds {_form(images)}, not images of 28 × 28 uint8")
    return images


def _labels(content: Content) -> NDArray[np.int64]:
    labels = idx.parse(content)
    if labels.ndim == 2:
        labels = labels[:, 0]  # QMNIST tells more of each digit; its class comes first
    if labels.ndim != 1:
        raise DamagedError(f"it holds {_form(labels)}, not one label an image")
    if not _are_classes(labels):
        raise DamagedError(f"it has labels from {labels.min()} to {labels.max()}, not from 0 to 9")
    return labels.astype(np.int64)


def _are_classes(labels: NDArray[Any]) -> bool:
    return bool(labels.min(initial=0) >= 0 and labels.max(initial=0) <= 9)


def _form(array: NDArray[Any]) -> str:
    return f"{' × '.join(f'{size:,}' for size in array.shape)} {array.dtype.name}"
