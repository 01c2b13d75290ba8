"""Find, download, check and decode the published data sets: MNIST and its relatives.

URLs and MD5 hashes come from torchvision's dataset classes. torchvision is only imported for a download, because the
import takes longer than reading MNIST.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from errno import EDQUOT, ENOSPC
from http.client import HTTPException
from io import BufferedIOBase, BytesIO
from math import prod
from pathlib import Path
from shutil import copyfile
from time import sleep
from typing import IO, Any, Literal
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch
from numpy.typing import NDArray

from mnist_trainer.config.classes import DIGITS, FASHION_ITEMS, KUZUSHIJI
from mnist_trainer.data.cache import Decoded, file_fingerprint, load_cached, save_cache
from mnist_trainer.data.digits import to_mnist
from mnist_trainer.data.image_dataset import ImageDataset, Part, as_images
from mnist_trainer.data.paths import (
    REPLACE,
    ROOT_VARIABLE,
    DamagedError,
    Progress,
    cache_dirs,
    locate_damage,
    write_to_first,
)
from mnist_trainer.errors import DataError, one_line
from mnist_trainer.files import try_lock

PublishedName = Literal["mnist", "fashion-mnist", "kmnist", "emnist-digits", "qmnist", "usps"]

MAX_BYTES = 240_000 * 28 * 28 + 16
"""Maximum size of an unpacked file (EMNIST's training images), as a limit for archives."""
MAX_ARCHIVE_BYTES = 600_000_000
"""Maximum size of an archive. EMNIST's has 536 MiB."""
TIMEOUT = 30.0
"""Timeout of network operations in seconds."""
POLL_SECONDS = 0.5

WRONG_SET = (
    "Put a whole copy in its place. If it belongs to Fashion-MNIST or KMNIST, whose files have the same names: take "
    "data.name=fashion-mnist or kmnist, and a data.root in which they lie under FashionMNIST/raw or KMNIST/raw."
)
"""Advice for a damaged file that may belong to another data set."""


@dataclass(frozen=True)
class Published:
    """The files of one data set. Each part has a file of images and one of labels, or one file with both."""

    folder: str
    """The folder relative to the root, as in torchvision."""
    train: tuple[str, ...]
    """File names without the suffix of compression."""
    test: tuple[str, ...]
    classes: tuple[str, ...] = DIGITS
    archive: str = "{}.gz"
    """Format of a file's name on servers. A .zip contains `gzip/<name>.gz`."""
    sha256: Mapping[str, str] = field(default_factory=dict)
    """Hashes of uncompressed files. They replace the check of the archive's MD5, as archives may be recompressed."""

    def files(self, part: Part) -> tuple[str, ...]:
        """Return the files of `part`."""
        return self.test if part == "test" else self.train

    @property
    def archives(self) -> list[str]:
        """All archives without duplicates."""
        return list(dict.fromkeys(map(self.archive.format, (*self.train, *self.test))))

    def folders(self, root: Path) -> tuple[Path, ...]:
        """Return the folders that may contain the files: cache folders, and `root` as their own folder or its parent.

        Several data sets have files of the same names. Without a hash, the folder must have the data set's name.
        """
        top = Path(self.folder).parent
        near: tuple[Path, ...] = (root / top, root / "raw", root)
        if not self.sha256 and self.train[0].startswith("train-"):
            near = tuple(folder for folder in near if top.name in folder.absolute().parts[-2:])
        return (*cache_dirs(root, self.folder), *near)


TRAIN = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
TEST = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
MNIST_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}

PUBLISHED: dict[PublishedName, Published] = {
    "mnist": Published("MNIST/raw", TRAIN, TEST, sha256=MNIST_SHA256),
    "fashion-mnist": Published("FashionMNIST/raw", TRAIN, TEST, FASHION_ITEMS),
    "kmnist": Published("KMNIST/raw", TRAIN, TEST, KUZUSHIJI),
    "emnist-digits": Published(
        "EMNIST/raw",
        ("emnist-digits-train-images-idx3-ubyte", "emnist-digits-train-labels-idx1-ubyte"),
        ("emnist-digits-test-images-idx3-ubyte", "emnist-digits-test-labels-idx1-ubyte"),
        archive="gzip.zip",
    ),
    "qmnist": Published(
        "QMNIST/raw",
        ("qmnist-train-images-idx3-ubyte", "qmnist-train-labels-idx2-int"),
        ("qmnist-test-images-idx3-ubyte", "qmnist-test-labels-idx2-int"),
    ),
    "usps": Published(".", ("usps",), ("usps.t",), archive="{}.bz2"),
}


def load_published(name: PublishedName, root: Path, part: Part, progress: Progress | None = None) -> ImageDataset:
    """Return a part of the data set `name` under `root`, and download missing files.

    Only files of that part are read. Raises DataError for a damaged or unavailable file, and StorageError if no folder
    is writable.
    """
    published = PUBLISHED[name]
    own, folders = cache_dirs(root, published.folder), published.folders(root)
    everything = (*published.train, *published.test)
    existing = (folder for folder in folders if any(find(published, file, (folder,)) for file in everything))
    targets = tuple(dict.fromkeys((*existing, *own)))  # new files go next to existing ones
    files = published.files(part)
    paths = [find(published, file, folders) or _download(name, file, targets, progress) for file in files]
    advice = REPLACE if any(paths[0].is_relative_to(folder) for folder in own) else WRONG_SET
    compressed, cache_name = any(path.suffix in (".gz", ".zip", ".bz2") for path in paths), f"{name}-{part}.npy"
    with locate_damage(paths[0]):
        fingerprint = file_fingerprint(paths)
    decoded = load_cached(targets, cache_name, fingerprint) if compressed else None
    if decoded is None or not _are_classes(decoded[1]):
        decoded = _decode(name, paths, advice, part)
        if compressed:
            save_cache(targets, cache_name, fingerprint, decoded)
    images, labels = as_images(decoded[0]), torch.from_numpy(decoded[1])
    return ImageDataset(images, labels, torch.arange(len(labels)), published.classes)


def missing_archives(name: PublishedName, root: Path, part: Part) -> list[str]:
    """Return the archives that `load_published` would download."""
    published = PUBLISHED[name]
    folders = published.folders(root)
    missing = (file for file in published.files(part) if find(published, file, folders) is None)
    return list(dict.fromkeys(map(published.archive.format, missing)))


def find(published: Published, file: str, folders: Sequence[Path]) -> Path | None:
    """Return the path of `file` in one of `folders`, uncompressed first where its hash is known; None if it is missing.

    Its name may have a dot before `idx`, as in the original publication. It may be in a folder of the same name, as in
    Kaggle's download, or in `gzip/`, as in EMNIST's archive.
    """
    raw = (file, file.replace("-idx", ".idx"))
    packed = (published.archive.format(file), *(f"{name}.gz" for name in raw))
    names = (*raw, *packed) if published.sha256 else (*packed, *raw)
    paths = (folder / inner / name for folder in folders for inner in ("", *raw, "gzip") for name in names)
    return next((path for path in paths if path.is_file()), None)


# --- downloading ---


def resources(name: PublishedName) -> dict[str, tuple[list[str], str]]:
    """Return the URLs and the MD5 of each archive of a data set, as torchvision records them."""
    from torchvision import datasets

    match name:
        case "emnist-digits":
            return {"gzip.zip": ([datasets.EMNIST.url], datasets.EMNIST.md5)}
        case "usps":
            return {archive: ([url], md5) for url, archive, md5 in datasets.USPS.split_list.values()}
        case "qmnist":
            pairs = (pair for part in ("train", "test") for pair in datasets.QMNIST.resources[part])
            return {url.rpartition("/")[2]: ([url], md5) for url, md5 in pairs}
        case _:
            dataset = getattr(datasets, Path(PUBLISHED[name].folder).parent.name)
            return {archive: ([url + archive for url in dataset.mirrors], md5) for archive, md5 in dataset.resources}


def _download(name: PublishedName, file: str, folders: Sequence[Path], progress: Progress | None) -> Path:
    """Download the archive of `file` into the first writable folder of `folders` and return its path.

    Only one process downloads; others wait for it. Raises DataError if no server delivers the file.
    """
    archive, report = PUBLISHED[name].archive.format(file), progress or (lambda *_: None)

    def write(path: Path) -> None:
        target = path.with_name(archive)
        with _one_at_a_time(target, report):
            if target.is_file():  # another process has downloaded it
                copyfile(target, path)
            else:
                path.touch()  # an unwritable folder fails here, not as a network error
                _fetch_any(name, archive, path, folders[0], report)

    return write_to_first(folders, archive, write)


@contextmanager
def _one_at_a_time(target: Path, report: Progress) -> Iterator[None]:
    """Lock the download of `target` within a context, if the file system supports locks. Raises OSError."""
    lock = target.with_name(f".{target.name}.lock")
    with lock.open("ab") as stream:
        while try_lock(stream) is False:
            report(f"waiting for another process to download {target.name}", 0, None)
            sleep(POLL_SECONDS)
        try:
            yield
        finally:
            with suppress(OSError):  # Windows does not delete open files
                lock.unlink()


def _fetch_any(name: PublishedName, archive: str, path: Path, folder: Path, report: Progress) -> None:
    """Write `archive` from the first server that has it to `path`.

    Raises DataError when none has, which says where to put the files by hand, and OSError when the disk is full.
    """
    failures = []
    urls, md5 = resources(name)[archive]
    for url in urls:
        try:
            return _fetch(url, md5, path, lambda done, total: report(f"downloading {archive}", done, total))
        except (OSError, HTTPException, ValueError, DamagedError) as error:
            if isinstance(error, OSError) and error.errno in (ENOSPC, EDQUOT):
                raise
            cause = getattr(error, "reason", error)  # the error that a URLError wraps
            reason = f"HTTP {error.code}" if isinstance(error, HTTPError) else getattr(cause, "strerror", None) or cause
            failures.append(f"{urlsplit(url).netloc}: {one_line(str(reason) or type(error).__name__, 200)}")
    *others, last = PUBLISHED[name].archives
    listed = f"{', '.join(others)} and {last}" if others else last
    raise DataError(
        f"{name} is not complete in {folder}, and {archive} could not be downloaded ({'; '.join(failures)}). Behind a "
        f"proxy, name it in HTTPS_PROXY and HTTP_PROXY; where a network wants a log-in, do that in a browser. Without "
        f"a network, put {listed} there, compressed or not (to be had at {urls[0].removesuffix(archive)}), or name "
        f"another data root with data.root or {ROOT_VARIABLE}. data.name=digits needs no download."
    )


def _fetch(url: str, md5: str, path: Path, report: Callable[[int, int | None], None]) -> None:
    """Write what `url` gives to `path`, and check it. Raises OSError, HTTPException, DamagedError."""
    digest = hashlib.md5(usedforsecurity=False)
    request = Request(url, headers={"User-Agent": "mnist-trainer"})  # some servers refuse urllib's own name
    with urlopen(request, timeout=TIMEOUT) as response, path.open("wb") as file:
        while (chunk := response.read(1 << 16)) and file.tell() <= MAX_ARCHIVE_BYTES:
            file.write(chunk)
            digest.update(chunk)
            report(file.tell(), None if response.length is None else file.tell() + response.length)
        if digest.hexdigest() != md5:
            is_page = response.headers.get_content_type() == "text/html"
            found = "a web page" if is_page else f"{file.tell():,} bytes with another MD5"
            raise DamagedError(f"it sent {found} instead of the file")


# --- decoding ---


def _decode(name: PublishedName, paths: Sequence[Path], advice: str, part: Part) -> Decoded:
    """Return the images and labels in the files at `paths`. Raises DataError for a damaged file."""
    files = PUBLISHED[name].files(part)
    if name == "usps":
        with locate_damage(paths[0], advice):
            small, labels = parse_usps(read_file(name, files[0], paths[0]))
            return to_mnist(small), labels
    with locate_damage(paths[0], advice):
        images = parse_idx(read_file(name, files[0], paths[0]))
        if images.dtype != np.uint8 or images.shape[1:] != (28, 28) or not len(images):
            raise DamagedError(f"it holds {_describe(images)}, not images of 28 × 28 uint8")
    with locate_damage(paths[1], advice):
        labels = parse_idx(read_file(name, files[1], paths[1]))
        labels = labels[:, 0] if labels.ndim == 2 else labels  # QMNIST has more columns; the class comes first
        if labels.ndim != 1:
            raise DamagedError(f"it holds {_describe(labels)}, not one label an image")
        if not _are_classes(labels):
            raise DamagedError(f"it has labels from {labels.min()} to {labels.max()}, not from 0 to 9")
        if len(labels) != len(images):
            raise DamagedError(f"it has {len(labels):,} labels, and {paths[0].name} has {len(images):,} images")
    if name == "emnist-digits":  # its files hold the images mirrored at the diagonal
        images = np.ascontiguousarray(images.transpose(0, 2, 1))
    return images, labels.astype(np.int64)


def read_file(name: PublishedName, file: str, path: Path) -> NDArray[np.uint8]:
    """Return the uncompressed bytes [n] of `file`, which is at `path`, in memory of their own.

    Raises DamagedError when they are not what was published: MNIST's files have a SHA-256, archives an MD5.
    """
    published = PUBLISHED[name]
    archive, sha256 = published.archive.format(file), published.sha256.get(file)
    with path.open("rb") as stream:
        if sha256 is None and path.name == archive:
            _check_size(path, MAX_ARCHIVE_BYTES)
            digest = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False))
            md5, expected = digest.hexdigest(), resources(name)[archive][1]
            if md5 != expected:
                raise DamagedError(f"its MD5 is {md5}, not {expected} ({path.stat().st_size:,} bytes)")
            stream.seek(0)
        content = _uncompressed(stream, path, file)
    if sha256 is not None and (found := hashlib.sha256(content.data).hexdigest()) != sha256:
        raise DamagedError(f"the SHA-256 of its content is {found}, not {sha256} ({len(content):,} bytes)")
    return content


def _uncompressed(stream: IO[bytes], path: Path, file: str) -> NDArray[np.uint8]:
    """Return the content of the file at `path`, which `stream` has opened, at most `MAX_BYTES`."""
    # By the first bytes, not by the name: browsers unpack a .gz on the way and leave the name as it was.
    start = stream.read(4)
    stream.seek(0)
    try:
        # zipfile trusts the list of members, so only a .zip is opened whose MD5 was checked. Nothing is unpacked to a
        # path that it names: one member is read, into memory.
        if start == b"PK\3\4" and path.name == "gzip.zip":
            with ZipFile(stream) as archive, archive.open(f"gzip/{file}.gz") as member:
                return _read_bounded(gzip.GzipFile(fileobj=member))
        if start.startswith(b"\x1f\x8b"):
            return _read_bounded(gzip.GzipFile(fileobj=stream))
        if start.startswith(b"BZh"):
            return _read_bounded(bz2.BZ2File(stream))
    except KeyError:
        raise DamagedError(f"it holds no gzip/{file}.gz") from None
    except (EOFError, ValueError, RuntimeError, zlib.error, BadZipFile, gzip.BadGzipFile) as error:
        raise DamagedError(f"it cannot be unpacked ({error})") from None
    _check_size(path, MAX_BYTES)
    return np.fromfile(stream, np.uint8)


def _read_bounded(stream: BufferedIOBase) -> NDArray[np.uint8]:
    content = stream.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise DamagedError(f"it unpacks to more than the {MAX_BYTES:,} bytes that a published file has at most")
    return np.frombuffer(bytearray(content), np.uint8)


def _check_size(path: Path, max_bytes: int) -> None:
    """Before anything of that size is read."""
    if (size := path.stat().st_size) > max_bytes:
        raise DamagedError(f"it has {size:,} bytes, and a published file has {max_bytes:,} at most")


IDX_TYPES: dict[int, np.dtype[Any]] = {0x08: np.dtype(np.uint8), 0x0C: np.dtype(">i4")}


def parse_idx(content: NDArray[np.uint8]) -> NDArray[Any]:
    """Return the array in the bytes `content` [n] of an IDX file: a view of them, uint8 or big-endian int32.

    The header (http://yann.lecun.com/exdb/mnist/): two zero bytes, a type code, the number of dimensions, then each
    dimension as a big-endian int32. Raises DamagedError when `content` is not exactly that.
    """
    start = content[:4].tobytes()
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in IDX_TYPES or not 1 <= start[3] <= 8:
        found = start.hex(" ") or "nothing"
        raise DamagedError(f"it is no IDX file (that begins with 00 00 08 03 or the like, this one with {found})")
    begin, dtype = 4 + 4 * start[3], IDX_TYPES[start[2]]
    header = content[4:begin].tobytes().ljust(begin - 4, b"\0")
    shape = np.frombuffer(header, ">u4").tolist()
    expected = begin + prod(shape) * dtype.itemsize
    if len(content) != expected:
        sizes = " × ".join(f"{size:,}" for size in shape)
        raise DamagedError(f"its header says {sizes} values, {expected:,} bytes in all, but it has {len(content):,}")
    try:
        return content[begin:].view(dtype).reshape(shape)
    except ValueError as error:  # one side is 0, and the others are more than there can be
        raise DamagedError(f"its header says {' × '.join(map(str, shape))} values ({error})") from None


USPS_SIDE = 16


def parse_usps(content: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return images [N, 16, 16] from 0 (paper) to 1 (ink) and labels [N] from 0 to 9 of the text of USPS.

    A line is `label 1:value 2:value … 256:value`, label from 1 to 10, values from -1 to 1, all of them written out
    (https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass.html#usps). Raises DamagedError otherwise.
    torchvision's reader rounds down to 256 grey levels; here the fractions are kept until the image is enlarged.
    """
    if not len(content):
        raise DamagedError("it is empty")
    # Without the colons a line is the label, then 256 times a position and its value.
    text = BytesIO(content.tobytes().replace(b":", b" "))
    try:
        table = np.loadtxt(text, dtype=np.float32, comments=None, encoding="latin1", ndmin=2)
    except ValueError as error:
        raise DamagedError(f"it is no text with a label and 256 numbered values a line ({error})") from None
    if table.shape[1] != 1 + 2 * USPS_SIDE**2 or (table[:, 1::2] != np.arange(1, USPS_SIDE**2 + 1)).any():
        raise DamagedError("its lines do not have values numbered from 1 to 256")
    labels, values = table[:, 0], table[:, 2::2]
    if not (np.abs(values) <= 1).all() or not np.isin(labels, range(1, 11)).all():
        raise DamagedError("it has values that are not from -1 to 1, or labels that are not from 1 to 10")
    images = (values.reshape(-1, USPS_SIDE, USPS_SIDE) + 1) / 2
    return images.astype(np.float32), labels.astype(np.int64) - 1


def _are_classes(labels: NDArray[Any]) -> bool:
    return bool(labels.min(initial=0) >= 0 and labels.max(initial=0) <= 9)


def _describe(array: NDArray[Any]) -> str:
    return f"{' × '.join(f'{size:,}' for size in array.shape)} {array.dtype.name}"
