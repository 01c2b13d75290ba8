"""The published data sets: which files they have, where servers keep them, and how a whole file is known.

MD5s and folders are those that torchvision records (torchvision/datasets/mnist.py and usps.py), so that a folder made
by torchvision can be used, and the other way round. Only of MNIST a hash of the unpacked content is known here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mnist_trainer.config.classes import DIGITS, FASHION_ITEMS, KUZUSHIJI
from mnist_trainer.data.image_dataset import Part

PublishedName = Literal["mnist", "fashion-mnist", "kmnist", "emnist-digits", "qmnist", "usps"]

MOST_IMAGES = 240_000
"""Of one part: EMNIST's training digits."""
PIXELS, LABEL, QMNIST_LABEL = 28 * 28, 1, 8 * 4
"""Bytes an image, a label, a row of QMNIST's labels."""
MOST_OF_ZIP = 600_000_000
"""Of EMNIST's archive, which has 536 MiB."""
PACKING = 1 << 16
"""More than packing ever adds to what can't be made smaller."""


@dataclass(frozen=True)
class RawFile:
    """One file of a data set, packed or not."""

    name: str
    """Unpacked."""
    archive: str
    """As servers keep it; a .zip has `gzip/<name>.gz` inside."""
    md5: str
    """Of the archive."""
    most: int
    """Bytes it has unpacked, at most: more is never read, whatever an archive holds."""
    sha256: str | None = None
    """Of the unpacked content. Where it is known, it alone counts: an archive may then have been packed anew."""

    @property
    def most_packed(self) -> int:
        """Bytes of its archive, at most; a .zip has other files beside it."""
        return MOST_OF_ZIP if self.archive.endswith(".zip") else self.most + PACKING


@dataclass(frozen=True)
class Published:
    """One data set on servers."""

    folder: str
    """Under the root, as torchvision has it."""
    mirrors: tuple[str, ...]
    """URLs in front of an archive's name."""
    train: tuple[RawFile, ...]
    test: tuple[RawFile, ...]
    classes: tuple[str, ...] = DIGITS

    @property
    def all_files(self) -> tuple[RawFile, ...]:
        """Those of both parts."""
        return (*self.train, *self.test)

    def files(self, part: Part) -> tuple[RawFile, ...]:
        """What `part` is made of: images and labels, or one file with both."""
        return self.test if part == "test" else self.train

    def folders(self, root: Path) -> tuple[Path, ...]:
        """Return further folders that may hold the files: `root` may be the data set's own folder, or its parent.

        Several data sets have files of the same names. Without a hash, the folder must be named after the data set.
        """
        top = Path(self.folder).parent
        near = (root / top, root / "raw", root)
        if all(file.sha256 or not file.name.startswith(("train-", "t10k-")) for file in self.all_files):
            return near
        return tuple(folder for folder in near if top.name in folder.absolute().parts[-2:])

    def archives(self) -> tuple[str, ...]:
        """All archives, each once."""
        return tuple(dict.fromkeys(file.archive for file in self.all_files))


def _most(name: str, count: int) -> int:
    """Bytes of an IDX file with `count` images or labels; its header has 16 at most."""
    return 16 + count * (PIXELS if "images" in name else QMNIST_LABEL if name.endswith("-int") else LABEL)


def _gzip(name: str, md5: str, sha256: str | None = None) -> RawFile:
    return RawFile(name, f"{name}.gz", md5, _most(name, 60_000), sha256)


def _emnist(name: str) -> RawFile:
    return RawFile(name, "gzip.zip", "58c8d27c78d21e728a6bc7b3cc06412e", _most(name, MOST_IMAGES))


def _usps(name: str, md5: str) -> RawFile:
    # 7,291 lines of 256 numbers; written with eight decimals they have 30 MB.
    return RawFile(name, f"{name}.bz2", md5, most=64_000_000)


def _idx(folder: str, mirrors: tuple[str, ...], md5s: tuple[str, str, str, str], classes: tuple[str, ...]) -> Published:
    names = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
    files = tuple(_gzip(name, md5) for name, md5 in zip(names, md5s, strict=True))
    return Published(folder, mirrors, files[:2], files[2:], classes)


MNIST = Published(
    folder="MNIST/raw",
    # The second is the copy of the Common Visual Data Foundation. The original site no longer gives the files.
    mirrors=("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
    train=(
        _gzip(
            "train-images-idx3-ubyte",
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        _gzip(
            "train-labels-idx1-ubyte",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
    ),
    test=(
        _gzip(
            "t10k-images-idx3-ubyte",
            "9fb629c4189551a2d022fa330f9573f3",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        _gzip(
            "t10k-labels-idx1-ubyte",
            "ec29112dd5afa0611ce80d1b7f02629c",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
)

FASHION = _idx(
    "FashionMNIST/raw",
    (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    ),
    (
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79",
        "bb300cfdad3c16e7a12a480ee83cd310",
    ),
    FASHION_ITEMS,
)

KMNIST = _idx(
    "KMNIST/raw",
    # One server, by two ways.
    ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/", "https://codh.rois.ac.jp/kmnist/dataset/kmnist/"),
    (
        "bdb82020997e1d708af4cf47b453dcf7",
        "e144d726b3acfaa3e44228e80efcd344",
        "5c965bf0a639b31b8f53240b1b52f4d7",
        "7320c461ea6c1c855c0b718fb2a4b134",
    ),
    KUZUSHIJI,
)

EMNIST_DIGITS = Published(
    folder="EMNIST/raw",
    mirrors=("https://biometrics.nist.gov/cs_links/EMNIST/", "https://www.itl.nist.gov/iaui/vip/cs_links/EMNIST/"),
    train=(
        _emnist("emnist-digits-train-images-idx3-ubyte"),
        _emnist("emnist-digits-train-labels-idx1-ubyte"),
    ),
    test=(
        _emnist("emnist-digits-test-images-idx3-ubyte"),
        _emnist("emnist-digits-test-labels-idx1-ubyte"),
    ),
)

QMNIST = Published(
    folder="QMNIST/raw",
    mirrors=(
        "https://raw.githubusercontent.com/facebookresearch/qmnist/master/",
        "https://github.com/facebookresearch/qmnist/raw/main/",
    ),
    train=(
        _gzip("qmnist-train-images-idx3-ubyte", "ed72d4157d28c017586c42bc6afe6370"),
        _gzip("qmnist-train-labels-idx2-int", "0058f8dd561b90ffdd0f734c6a30e5e4"),
    ),
    test=(
        _gzip("qmnist-test-images-idx3-ubyte", "1394631089c404de565df7b7aeaf9412"),
        _gzip("qmnist-test-labels-idx2-int", "5b5b05890a5e13444e108efe57b788aa"),
    ),
)

USPS = Published(
    folder=".",
    # No other server is known that keeps these very archives.
    mirrors=("https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass/",),
    train=(_usps("usps", "ec16c51db3855ca6c91edd34d0e9b197"),),
    test=(_usps("usps.t", "8ea070ee2aca1ac39742fdd1ef5ed118"),),
)

PUBLISHED: dict[PublishedName, Published] = {
    "mnist": MNIST,
    "fashion-mnist": FASHION,
    "kmnist": KMNIST,
    "emnist-digits": EMNIST_DIGITS,
    "qmnist": QMNIST,
    "usps": USPS,
}
