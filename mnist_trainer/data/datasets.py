"""Find, download, check and decode the published data sets: MNIST and its relatives.

URLs and MD5 hashes come from torchvision's dataset classes. torchvision is only imported when one of them is needed,
because the import takes longer than reading MNIST.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from errno import EDQUOT, ENOSPC
from functools import partial
from http.client import HTTPException
from io import BufferedReader, BytesIO
from math import prod
from pathlib import Path
from typing import Any, Literal
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
    data_errors,
    write_to_first,
)
from mnist_trainer.errors import DataError, one_line

PublishedName = Literal["mnist", "fashion-mnist", "kmnist", "emnist-digits", "qmnist", "usps"]

MAX_BYTES = 240_000 * 28 * 28 + 16
"""Size of the largest decompressed file: EMNIST's training images."""
MAX_ARCHIVE_BYTES = 600_000_000
"""Maximum size of an archive. EMNIST's has 562 MB."""
TIMEOUT = 30.0
"""Timeout of network operations in seconds."""

WRONG_SET = (
    "Replace it with an intact copy. If it belongs to Fashion-MNIST or KMNIST, whose files have the same names, use "
    "data.name=fashion-mnist or kmnist, and a data.root that contains them in FashionMNIST/raw or KMNIST/raw."
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
    """Format of the name of an archive on servers. A .zip contains `gzip/<name>.gz`."""
    sha256: Mapping[str, str] = field(default_factory=dict)
    """Hashes of uncompressed files. With them, archives are not checked by MD5, and may have been recompressed."""

    def files(self, part: Part) -> tuple[str, ...]:
        """Return the files of `part`."""
        return self.test if part == "test" else self.train

    @property
    def archives(self) -> list[str]:
        """All archives without duplicates."""
        return list(dict.fromkeys(map(self.archive.format, (*self.train, *self.test))))

    def folders(self, root: Path) -> tuple[Path, ...]:
        """Return the folders that may contain the files: the cache folders, and `root` itself and below.

        Several data sets have files of the same names. Without a hash, the folder must be named after the data set.
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

MNIST_TEST_COUNT = 10_000
"""Number of images of MNIST's test set, with which QMNIST's test file begins."""

DOUBTED_TEST_LABELS = (947, 1621, 1901, 2130, 2462, 2597, 2654, 3520, 3558, 5937, 6651, 6783, 8527, 9679, 9729)
"""The images of MNIST's test set, from 0, whose label fewer than three of five human validators confirmed, of the 100
that confident learning doubted (Northcutt, Athalye & Mueller 2021, arXiv 2103.14749: 15 errors; the votes are in
https://github.com/cleanlab/label-errors, mturk/mnist_mturk.json)."""

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
    """Return a part of the data set `name` from the files under `root`; missing files are downloaded.

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
    with data_errors(paths[0]):
        fingerprint = file_fingerprint(paths)
    decoded = load_cached(targets, cache_name, fingerprint) if compressed else None
    if decoded is None or not _are_classes(decoded[1]):
        decoded = _decode(name, paths, advice, part)
        if compressed:
            save_cache(targets, cache_name, fingerprint, decoded)
    images, labels = as_images(decoded[0]), torch.from_numpy(decoded[1])
    return ImageDataset(images, labels, torch.arange(len(labels)), published.classes)


def load_label_table(
    part: Part, root: Path, progress: Progress | None = None, *, download: bool = False
) -> torch.Tensor | None:
    """Return QMNIST's label file of `part`, int64 [60000, 8]: class, series (HSF), writer, … of each image.

    Its rows are also those of MNIST (https://github.com/facebookresearch/qmnist). Returns None if the file is missing
    and not to be downloaded. Raises DataError like `load_published`.
    """
    published = PUBLISHED["qmnist"]
    file, own = published.files(part)[1], cache_dirs(root, published.folder)
    path = find(published, file, published.folders(root))
    if path is None:
        if not download:
            return None
        path = _download("qmnist", file, own, progress)
    with data_errors(path):
        table = parse_idx(read_file("qmnist", file, path))
        if table.ndim != 2 or table.shape[1] < 3:
            raise DamagedError(f"it contains {_describe(table)}, not a label, a series and a writer for each image")
    return torch.from_numpy(table.astype(np.int64))


def missing_archives(name: PublishedName, root: Path, part: Part, *, labels_only: bool = False) -> list[str]:
    """Return the archives that `load_published` would download, or `load_label_table` with `labels_only`."""
    published = PUBLISHED[name]
    folders, files = published.folders(root), published.files(part)
    missing = (file for file in files[labels_only:] if find(published, file, folders) is None)
    return list(dict.fromkeys(map(published.archive.format, missing)))


def find(published: Published, file: str, folders: Sequence[Path]) -> Path | None:
    """Return the path of `file` in one of `folders`, preferably in the form with a known hash; None if it is missing.

    Its name may have a dot before `idx`, as in the original publication. It may be in a folder of the same name, as in
    Kaggle's download, or in `gzip/`, as in EMNIST's archive.
    """
    raw = (file, file.replace("-idx", ".idx"))
    packed = (published.archive.format(file), *(f"{name}.gz" for name in raw))
    names = (*raw, *packed) if published.sha256 else (*packed, *raw)
    paths = (folder / inner / name for folder in folders for inner in ("", *raw, "gzip") for name in names)
    return next((path for path in paths if path.is_file()), None)


# --- MNIST-C ---


def mnist_c_folders(root: Path) -> dict[str, Path]:
    """Return the folders of MNIST-C's corruptions below `root` or the cache folder, in alphabetical order."""
    folders = (folder for parent in reversed(cache_dirs(root, "mnist_c")) for folder in parent.glob("*"))
    found = {folder.name: folder for folder in folders if (folder / "test_images.npy").is_file()}
    return dict(sorted(found.items()))


def load_mnist_c(root: Path, part: Part, corruption: str | None = None) -> ImageDataset:
    """Return MNIST's test images with one `corruption`, or with each of them in turn (Mu & Gilmer, arXiv 1906.02337).

    MNIST-C has also the images as they are, as the corruption `identity`, which is read only by its name.
    Raises DataError for another part, for an unknown corruption, and for missing or damaged files.
    """
    if part != "test":
        raise DataError("mnist-c is made for tests alone: evaluate a trained model with data.name=mnist-c.")
    found = mnist_c_folders(root)
    if not found:
        raise DataError(
            f"There is no MNIST-C in {root / 'mnist_c'}. Unpack mnist_c.zip from https://zenodo.org/record/3239543 in "
            f"{root}, or name another data root with data.root or {ROOT_VARIABLE}."
        )
    if corruption is not None and corruption not in found:
        raise DataError(f"data.path: MNIST-C has no corruption {one_line(corruption)}. It has {', '.join(found)}.")
    wanted = [name for name in found if name != "identity"] if corruption is None else [corruption]
    parts = [_read_mnist_c(found[name]) for name in wanted or found]
    images, labels = (torch.from_numpy(np.concatenate(each)) for each in zip(*parts, strict=True))
    return ImageDataset(images, labels, torch.arange(len(labels)), DIGITS)


def _read_mnist_c(folder: Path) -> Decoded:
    """Return the test images in a folder of MNIST-C: arrays of NumPy, uint8 [N, 28, 28, 1], and labels [N]."""
    arrays = []
    for name in ("test_images.npy", "test_labels.npy"):
        with data_errors(folder / name, "Replace it with an intact copy."):
            try:
                arrays.append(np.load(folder / name, allow_pickle=False, mmap_mode="r"))
            except (ValueError, EOFError) as error:
                raise DamagedError(f"it is no array of numbers of NumPy ({one_line(str(error), 80)})") from None
    images, labels = arrays
    with data_errors(folder, "Replace its files with intact copies."):
        fits = images.dtype == np.uint8 and images.shape in ((len(labels), 28, 28, 1), (len(labels), 28, 28))
        if not (fits and labels.ndim == 1 and labels.dtype.kind in "iu" and len(labels) and _are_classes(labels)):
            described = f"{_describe(images)} and {_describe(labels)}"
            raise DamagedError(f"its files contain {described}, not N images of 28 × 28 uint8 and N labels from 0 to 9")
    return np.array(images.reshape(-1, 28, 28)), labels.astype(np.int64)


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

    Raises DataError if no server delivers the file, which says where to put the files by hand.
    """
    archive = PUBLISHED[name].archive.format(file)
    urls, md5 = resources(name)[archive]

    def write(path: Path) -> None:
        """Download into `path` from the first server that delivers the file."""
        path.touch()  # an unwritable folder fails here, not as a network error
        failures = []
        for url in urls:
            try:
                return _fetch(url, md5, path, partial(progress, f"downloading {archive}") if progress else None)
            except (OSError, HTTPException, ValueError, DamagedError) as error:
                if isinstance(error, OSError) and error.errno in (ENOSPC, EDQUOT):
                    raise  # `write_to_first` tries the next folder
                failures.append(f"{urlsplit(url).netloc}: {one_line(str(error) or type(error).__name__, 200)}")
        *others, last = PUBLISHED[name].archives
        listed = f"{', '.join(others)} and {last}" if others else last
        raise DataError(
            f"{name} is not complete in {folders[0]}, and {archive} could not be downloaded ({'; '.join(failures)}). "
            f"Behind a proxy, name it in HTTPS_PROXY and HTTP_PROXY; where a network requires a login, log in with a "
            f"browser. Without a network, put {listed} there, compressed or not (from {urls[0].removesuffix(archive)}),"
            f" or name another data root with data.root or {ROOT_VARIABLE}. data.name=digits needs no download."
        )

    return write_to_first(folders, archive, write)


def _fetch(url: str, md5: str, path: Path, report: Callable[[int, int | None], None] | None) -> None:
    """Download `url` to `path` and check its MD5. Raises OSError, HTTPException, DamagedError."""
    digest = hashlib.md5(usedforsecurity=False)
    request = Request(url, headers={"User-Agent": "mnist-trainer"})  # some servers refuse urllib's own name
    with urlopen(request, timeout=TIMEOUT) as response, path.open("wb") as file:
        while (chunk := response.read(1 << 16)) and file.tell() <= MAX_ARCHIVE_BYTES:
            file.write(chunk)
            digest.update(chunk)
            if report is not None:
                report(file.tell(), None if response.length is None else file.tell() + response.length)
        if digest.hexdigest() != md5:
            is_page = response.headers.get_content_type() == "text/html"
            found = "a web page" if is_page else f"{file.tell():,} bytes with another MD5"
            raise DamagedError(f"it sent {found} instead of the file")


# --- decoding ---


def _decode(name: PublishedName, paths: Sequence[Path], advice: str, part: Part) -> Decoded:
    """Return the images and labels in the files at `paths`. Raises DataError for a damaged file."""
    files = PUBLISHED[name].files(part)
    with data_errors(paths[0], advice):
        content = read_file(name, files[0], paths[0])
        if name == "usps":
            small, labels = parse_usps(content)
            return to_mnist(small), labels
        images = parse_idx(content)
        if images.dtype != np.uint8 or images.shape[1:] != (28, 28) or not len(images):
            raise DamagedError(f"it contains {_describe(images)}, not images of 28 × 28 uint8")
    with data_errors(paths[1], advice):
        labels = parse_idx(read_file(name, files[1], paths[1]))
        labels = labels[:, 0] if labels.ndim == 2 else labels  # QMNIST has more columns; the class comes first
        if labels.ndim != 1:
            raise DamagedError(f"it contains {_describe(labels)}, not one label for each image")
        if not _are_classes(labels):
            raise DamagedError(f"it has labels from {labels.min()} to {labels.max()}, not from 0 to 9")
        if len(labels) != len(images):
            raise DamagedError(f"it has {len(labels):,} labels, and {paths[0].name} has {len(images):,} images")
    if name == "emnist-digits":  # its images are transposed
        images = np.ascontiguousarray(images.transpose(0, 2, 1))
    return images, labels.astype(np.int64)


def read_file(name: PublishedName, file: str, path: Path) -> NDArray[np.uint8]:
    """Return the uncompressed content [n] of `file`, which is at `path`, as a writable array.

    Raises DamagedError if it differs from the published file: MNIST's files have a SHA-256, archives an MD5.
    """
    published = PUBLISHED[name]
    archive, sha256 = published.archive.format(file), published.sha256.get(file)
    size, limit = path.stat().st_size, MAX_ARCHIVE_BYTES if path.name == archive else MAX_BYTES
    if size > limit:
        raise DamagedError(f"it has {size:,} bytes, and a published file has at most {limit:,}")
    with path.open("rb") as stream:
        if sha256 is None and path.name == archive:
            md5 = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
            if md5 != (expected := resources(name)[archive][1]):
                raise DamagedError(f"its MD5 is {md5}, not {expected} ({size:,} bytes)")
            stream.seek(0)
        content = _uncompressed(stream, path, file)
    if sha256 is not None and (found := hashlib.sha256(content.data).hexdigest()) != sha256:
        raise DamagedError(f"the SHA-256 of its content is {found}, not {sha256} ({len(content):,} bytes)")
    return content


def _uncompressed(stream: BufferedReader, path: Path, file: str) -> NDArray[np.uint8]:
    """Return the content of the file at `path`, which is open as `stream`; archives may contain `MAX_BYTES` at most."""
    # By the first bytes, not by the name: browsers may decompress a .gz and keep its name.
    start = stream.peek(4)
    try:
        # A .zip is opened only if its MD5 has been checked. One member is read; nothing is written to the paths in it.
        if start.startswith(b"PK\3\4") and path.name == "gzip.zip":
            with ZipFile(stream) as archive, archive.open(f"gzip/{file}.gz") as member:
                content = gzip.GzipFile(fileobj=member).read(MAX_BYTES + 1)
        elif start.startswith(b"\x1f\x8b"):
            content = gzip.GzipFile(fileobj=stream).read(MAX_BYTES + 1)
        elif start.startswith(b"BZh"):
            content = bz2.BZ2File(stream).read(MAX_BYTES + 1)
        else:
            return np.fromfile(path, np.uint8)
    except KeyError:
        raise DamagedError(f"it contains no gzip/{file}.gz") from None
    except (EOFError, ValueError, RuntimeError, zlib.error, BadZipFile, gzip.BadGzipFile) as error:
        raise DamagedError(f"it cannot be decompressed ({error})") from None
    if len(content) > MAX_BYTES:
        raise DamagedError(f"decompressed, it has more than {MAX_BYTES:,} bytes, the maximum of a published file")
    return np.frombuffer(bytearray(content), np.uint8)


IDX_TYPES: dict[int, np.dtype[Any]] = {0x08: np.dtype(np.uint8), 0x0C: np.dtype(">i4")}
MAX_SIDE = 1_000_000
"""Maximum size of a dimension of an IDX file."""


def parse_idx(content: NDArray[np.uint8]) -> NDArray[Any]:
    """Return the array in an IDX file with the bytes `content` [n] as a view: uint8 or big-endian int32.

    The header (http://yann.lecun.com/exdb/mnist/): two zero bytes, a type code, the number of dimensions, then each
    dimension as a big-endian int32. Raises DamagedError for anything else.
    """
    start = content[:4].tobytes()
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in IDX_TYPES or not 1 <= start[3] <= 3:
        found = start.hex(" ") or "nothing"
        raise DamagedError(f"it is not an IDX file (which starts with 00 00 08 03 or similar; this one with {found})")
    begin, dtype = 4 + 4 * start[3], IDX_TYPES[start[2]]
    shape = np.frombuffer(content[4:begin].tobytes().ljust(begin - 4, b"\0"), ">u4").tolist()
    expected = begin + prod(shape) * dtype.itemsize
    if len(content) != expected or max(shape) > MAX_SIDE:
        sizes = " × ".join(f"{size:,}" for size in shape)
        raise DamagedError(
            f"according to its header it has {sizes} values, {expected:,} bytes in all, but it has {len(content):,}"
        )
    return content[begin:].view(dtype).reshape(shape)


USPS_SIDE = 16


def parse_usps(content: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return images [N, 16, 16] from 0 (paper) to 1 (ink) and labels [N] from 0 to 9 of the text file of USPS.

    A line is `label 1:value 2:value … 256:value`, with a label from 1 to 10, and values from -1 to 1
    (https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass.html#usps). Raises DamagedError otherwise.
    torchvision's reader rounds down to 256 grey levels; here the fractions are kept until the image is enlarged.
    """
    if not len(content):
        raise DamagedError("it is empty")
    # Without the colons, a line is a label and 256 pairs of a position and its value.
    text = BytesIO(content.tobytes().replace(b":", b" "))
    try:
        table = np.loadtxt(text, dtype=np.float32, comments=None, encoding="latin1", ndmin=2)
    except ValueError as error:
        raise DamagedError(f"it is not a text with a label and 256 numbered values in each line ({error})") from None
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
