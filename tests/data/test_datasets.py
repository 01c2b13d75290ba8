from __future__ import annotations

import gzip
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import torch

from mnist_trainer.config.schema import Data
from mnist_trainer.data import cache, datasets, loaders, paths
from mnist_trainer.data.datasets import PUBLISHED
from mnist_trainer.data.digits import to_mnist
from mnist_trainer.data.loaders import load, load_split
from mnist_trainer.errors import DataError, StorageError, UsageError
from tests.data.conftest import idx_bytes, md5

PAIRS = ["mnist", "fashion-mnist", "kmnist", "emnist-digits", "qmnist"]
ALL = [*PAIRS, "usps"]
ADVICE = "Delete it, and it is downloaded again; or replace it with an intact copy."


def read(made: Any, root: Path, part: str) -> None:
    """Loads one part and compares it with what was made."""
    loaded = load(Data(name=made.name, root=str(root)), part)
    expected = torch.from_numpy(made.images[part])
    if made.name == "usps":
        expected = torch.from_numpy(to_mnist(made.images[part][:, 6:22, 6:22].astype(np.float32) / 255))
        assert (loaded.images.int() - expected.int()).abs().max() <= 1  # the text has four decimals
    else:
        assert torch.equal(loaded.images, expected)
    assert loaded.images.dtype == torch.uint8 and loaded.labels.dtype == torch.int64
    assert loaded.labels.tolist() == made.labels[part].tolist()
    assert len(loaded.classes) == 10


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("form", ["packed", "raw", "both"])
def test_files_that_lie_there_are_read(name: str, form: str, make: Callable[..., Any], tmp_path: Path) -> None:
    made = make(name)
    made.put(tmp_path, packed=form != "raw", raw=form != "packed")
    for part in ("train", "test"):
        read(made, tmp_path, part)


@pytest.mark.parametrize("name", ALL)
def test_missing_files_are_downloaded(name: str, make: Callable[..., Any], server: Any, tmp_path: Path) -> None:
    made = make(name, (server.url + "gone/", server.url))
    server.files = made.packed
    told: list[str] = []
    loaded = load(Data(name=name, root=str(tmp_path)), "test", lambda file, *_: told.append(file))
    assert loaded.labels.tolist() == made.labels["test"].tolist()
    wanted = {made.published.archive.format(file) for file in made.published.test}
    assert set(told) == {f"downloading {archive}" for archive in wanted}
    folder = tmp_path / made.published.folder
    assert names(folder) - {"user"} == {*wanted, f"{name}-test.npy"}
    before = len(server.requests)
    read(made, tmp_path, "test")
    assert len(server.requests) == before


def test_the_lost_digits_are_those_behind_mnists_own(
    make: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert loaders.MNIST_TEST_COUNT == 10_000
    monkeypatch.setattr(loaders, "MNIST_TEST_COUNT", 4)
    made = make("qmnist")
    made.put(tmp_path)
    data = Data(name="qmnist", root=str(tmp_path))
    lost = load_split(data, "test50k")
    assert torch.equal(lost.images, torch.from_numpy(made.images["test"][4:]))
    assert lost.labels.tolist() == made.labels["test"][4:].tolist()
    assert lost.indices.tolist() == [4, 5, 6]
    assert len(load_split(data, "test")) == 7
    fives = load_split(data.model_copy(update={"binary": 5}), "test50k")
    assert fives.labels.tolist() == (made.labels["test"][4:] == 5).astype(int).tolist()


def test_the_lost_digits_fall_into_two_parts(
    make: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loaders, "MNIST_TEST_COUNT", 2)
    made = make("qmnist")
    folder, data = made.put(tmp_path), Data(name="qmnist", root=str(tmp_path))
    assert load_split(data, "hsf04").indices.tolist() == [2, 3, 5, 6]  # of series 4, 0, 4 and 0
    found = load_split(data, "hsf1")
    assert found.indices.tolist() == [4] and torch.equal(found.images, torch.from_numpy(made.images["test"][4:5]))
    with pytest.raises(UsageError, match=r"hsf1, a part of the lost test images, is a split of qmnist"):
        load_split(Data(name="digits"), "hsf1")
    for path in folder.glob("qmnist-test-labels*"):
        path.unlink()
    (folder / made.published.test[1]).write_bytes(idx_bytes(made.labels["test"]))
    assert len(load_split(data, "test50k")) == 5
    with pytest.raises(DataError, match="not a label, a series and a writer for each image"):
        load_split(data, "hsf1")


def put_mnist_c(root: Path, name: str, images: Any, labels: Any) -> None:
    """A corruption in the format of MNIST-C."""
    folder = root / "mnist_c" / name
    folder.mkdir(parents=True)
    np.save(folder / "test_images.npy", images)
    np.save(folder / "test_labels.npy", labels)


def test_mnist_c_is_read_by_corruption_or_whole(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 28, 28, 1), np.uint8)
    for name, own in zip(("zigzag", "fog", "identity"), images, strict=True):
        put_mnist_c(tmp_path, name, own, np.array([7, 0, 9]))
    data = Data(name="mnist-c", root=str(tmp_path))
    whole, fog = load_split(data, "test"), load_split(data.model_copy(update={"path": "fog"}), "test")
    assert torch.equal(fog.images, torch.from_numpy(images[1, ..., 0])) and fog.labels.tolist() == [7, 0, 9]
    assert torch.equal(whole.images, torch.from_numpy(images[[1, 0], ..., 0].reshape(6, 28, 28)))
    assert whole.labels.tolist() == [7, 0, 9] * 2  # without the images as they are
    plain = load_split(data.model_copy(update={"path": "identity"}), "test")
    assert torch.equal(plain.images, torch.from_numpy(images[2, ..., 0]))
    with pytest.raises(DataError, match=r"has no corruption snow\. It has fog, identity, zigzag\."):
        load_split(data.model_copy(update={"path": "snow"}), "test")
    with pytest.raises(DataError, match="mnist-c is made for tests alone"):
        load(data, "train")


def test_a_missing_or_damaged_mnist_c_is_told(tmp_path: Path) -> None:
    data = Data(name="mnist-c", root=str(tmp_path))
    with pytest.raises(DataError, match=r"There is no MNIST-C in .*mnist_c\. Unpack mnist_c\.zip from https"):
        load_split(data, "test")
    put_mnist_c(tmp_path, "fog", np.zeros((3, 28, 28, 1)), np.array([0, 1, 2]))
    with pytest.raises(DataError, match="its files contain 3 × 28 × 28 × 1 float64 and 3 int64, not N images"):
        load_split(data, "test")
    (tmp_path / "mnist_c" / "fog" / "test_labels.npy").write_bytes(b"")
    with pytest.raises(DataError, match=r"test_labels\.npy is damaged: it is no array of numbers of NumPy"):
        load_split(data, "test")


def test_the_lost_digits_are_told_where_there_are_none(make: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is a split of qmnist \(data\.name=qmnist\), not of mnist"):
        load_split(Data(name="mnist", root=str(tmp_path)), "test50k")
    make("qmnist").put(tmp_path)
    with pytest.raises(DataError, match="qmnist's test file has 7 images; test50k are those after the first 10,000"):
        load_split(Data(name="qmnist", root=str(tmp_path)), "test50k")


def test_torchvision_reads_what_was_downloaded(make: Callable[..., Any], server: Any, tmp_path: Path) -> None:
    from torchvision.datasets import MNIST

    made = make("mnist", (server.url,))
    server.files = made.packed
    for part in ("train", "test"):
        read(made, tmp_path, part)
    resources = [(archive, md5(content)) for archive, content in made.packed.items()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MNIST, "mirrors", [])
        patch.setattr(MNIST, "resources", resources)
        for name, content in made.raw.items():
            (tmp_path / "MNIST" / "raw" / name).write_bytes(content)
        reference = MNIST(str(tmp_path), train=False)
    assert torch.equal(reference.data, torch.from_numpy(made.images["test"]))


@pytest.mark.parametrize("name", ["fashion-mnist", "emnist-digits", "usps"])
def test_decoded_images_are_kept(
    name: str, make: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make(name)
    folder = made.put(tmp_path)
    read(made, tmp_path, "train")

    def never(*_: object) -> None:
        raise AssertionError("unpacked again")

    with monkeypatch.context() as patch:
        patch.setattr(datasets, "read_file", never)
        read(made, tmp_path, "train")
        archive = folder / made.published.archives[0]
        os.utime(archive, ns=(0, 12345))
        with pytest.raises(AssertionError, match="unpacked again"):
            read(made, tmp_path, "train")
    read(made, tmp_path, "train")
    with monkeypatch.context() as patch:
        patch.setattr(datasets, "read_file", never)
        read(made, tmp_path, "train")


def test_a_damaged_file_of_decoded_images_is_made_again(make: Callable[..., Any], tmp_path: Path) -> None:
    made = make("fashion-mnist")
    folder = made.put(tmp_path)
    read(made, tmp_path, "train")
    kept = folder / "fashion-mnist-train.npy"
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-2000])
    read(made, tmp_path, "train")
    assert kept.read_bytes() == whole


def test_kept_labels_that_are_no_classes_are_not_believed(make: Callable[..., Any], tmp_path: Path) -> None:
    made = make("fashion-mnist")
    folder = made.put(tmp_path)
    read(made, tmp_path, "train")
    mark = cache.file_fingerprint([folder / f"{file}.gz" for file in made.published.train])
    cache.save_cache([folder], "fashion-mnist-train.npy", mark, (made.images["train"], np.full(12, 99)))
    read(made, tmp_path, "train")


def test_a_file_that_goes_while_it_is_looked_at_is_named(
    make: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make("fashion-mnist")
    path = made.put(tmp_path) / f"{made.published.train[1]}.gz"

    def gone(published: Any, file: str, folders: tuple[Path, ...]) -> Path:
        path.unlink(missing_ok=True)
        return folders[0] / f"{file}.gz"

    monkeypatch.setattr(datasets, "find", gone)
    with pytest.raises(DataError) as caught:
        load(Data(name="fashion-mnist", root=str(tmp_path)), "train")
    assert str(caught.value) == f"{path} can't be read: No such file or directory."


def test_unpacked_files_need_no_copy(make: Callable[..., Any], tmp_path: Path) -> None:
    made = make("mnist")
    folder = made.put(tmp_path, packed=False, raw=True)
    read(made, tmp_path, "train")
    assert names(folder) == set(made.raw)


@pytest.mark.parametrize("name", ALL)
def test_the_test_part_needs_no_training_files(name: str, make: Callable[..., Any], tmp_path: Path) -> None:
    made = make(name)
    folder = made.put(tmp_path, packed=False, raw=True)
    for file in made.published.train:
        (folder / file).write_bytes(b"damaged")
    read(made, tmp_path, "test")


@pytest.mark.parametrize("name", ["mnist", "usps"])
def test_in_a_read_only_folder_copies_go_to_the_users_cache(
    name: str, make: Callable[..., Any], tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, root = make(name), tmp_path / "course"
    folder = made.put(root)
    before = names(folder)
    make_read_only(root, monkeypatch)
    for part in ("train", "test"):
        read(made, root, part)
    assert names(folder) == before
    assert names(cache / made.published.folder) == {f"{name}-train.npy", f"{name}-test.npy"}
    monkeypatch.setattr(datasets, "read_file", None)
    read(made, root, "train")


def test_what_a_read_only_folder_lacks_is_downloaded_to_the_users_cache(
    make: Callable[..., Any], server: Any, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, root = make("mnist", (server.url,)), tmp_path / "course"
    server.files = made.packed
    folder = made.put(root, packed=False, raw=True)
    (folder / "train-labels-idx1-ubyte").unlink()
    make_read_only(root, monkeypatch)
    read(made, root, "train")
    assert server.requests == ["train-labels-idx1-ubyte.gz"]
    read(made, root, "train")
    assert server.requests == ["train-labels-idx1-ubyte.gz"]
    assert "train-labels-idx1-ubyte.gz" in names(cache / "MNIST" / "raw")


def test_a_root_that_cannot_be_made_is_like_a_read_only_one(
    make: Callable[..., Any], server: Any, tmp_path: Path, cache: Path
) -> None:
    made = make("mnist", (server.url,))
    server.files = made.packed
    (tmp_path / "file").touch()
    read(made, tmp_path / "file" / "under", "test")
    assert "t10k-images-idx3-ubyte.gz" in names(cache / "MNIST" / "raw")


def test_nowhere_to_write(make: Callable[..., Any], server: Any, tmp_path: Path, cache: Path) -> None:
    make("mnist", (server.url,))
    cache.parent.touch()
    with pytest.raises(StorageError) as caught:
        load(Data(root=str(cache.parent / "under")), "test")
    reason = "Not a directory"
    assert str(caught.value) == (
        f"t10k-images-idx3-ubyte.gz cannot be written ({cache.parent / 'under' / 'MNIST' / 'raw'}: {reason}; "
        f"{cache / 'MNIST' / 'raw'}: {reason}). Name a writable folder with data.root or MNIST_TRAINER_DATA."
    )
    assert server.requests == []


def test_without_a_network_the_files_and_their_place_are_named(
    make: Callable[..., Any], server: Any, tmp_path: Path
) -> None:
    make("mnist", (server.url + "one/", server.url + "two/"))
    with pytest.raises(DataError) as caught:
        load(Data(root=str(tmp_path)), "train")
    host = server.url.removeprefix("http://").rstrip("/")
    assert str(caught.value) == (
        f"mnist is not complete in {tmp_path / 'MNIST' / 'raw'}, and train-images-idx3-ubyte.gz could not be "
        f"downloaded ({host}: HTTP Error 404: Not Found; {host}: HTTP Error 404: Not Found). "
        "Behind a proxy, name it in HTTPS_PROXY and HTTP_PROXY; "
        "where a network requires a login, log in with a browser. Without a network, put train-images-idx3-ubyte.gz, "
        "train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz there, compressed or not "
        f"(from {server.url}one/), or name another data "
        "root with data.root or MNIST_TRAINER_DATA. data.name=digits needs no download."
    )
    assert not (tmp_path / "MNIST").exists()  # and nothing is left of the attempt


def test_without_a_network_a_set_of_one_archive_names_it(make: Callable[..., Any], server: Any, tmp_path: Path) -> None:
    make("emnist-digits", (server.url,))
    with pytest.raises(DataError, match=r"Without a network, put gzip\.zip there, compressed or not \(from"):
        load(Data(name="emnist-digits", root=str(tmp_path)), "test")


@pytest.mark.parametrize("name", ALL)
def test_a_wrong_download_never_reaches_its_place(
    name: str, make: Callable[..., Any], server: Any, tmp_path: Path
) -> None:
    made = make(name, (server.url,))
    server.files = {archive: content[:-9] for archive, content in made.packed.items()}
    root = tmp_path / "root"
    with pytest.raises(DataError, match="could not be downloaded"):
        load(Data(name=name, root=str(root)), "train")
    assert names(root / made.published.folder) == set()


def test_two_may_start_at_once_on_an_empty_folder(make: Callable[..., Any], server: Any, tmp_path: Path) -> None:
    made = make("mnist", (server.url,))
    both = Barrier(2)
    first = f"{made.published.train[0]}.gz"

    def answer(handler: Any) -> None:
        if handler.path == f"/{first}":
            both.wait(600)
        handler.send(made.packed[handler.path[1:]])

    server.answer = answer
    with ThreadPoolExecutor(2) as pool:
        tasks = [pool.submit(load, Data(root=str(tmp_path)), "train") for _ in range(2)]
        assert [task.result().labels.tolist() for task in tasks] == [made.labels["train"].tolist()] * 2
    archives = {"train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"}
    assert names(tmp_path / "MNIST" / "raw") == archives | {"mnist-train.npy"}


@pytest.mark.parametrize(
    ("name", "place", "content", "reason"),
    [
        (
            "fashion-mnist",
            0,
            b"\0\0\x08\3\0\0\0\x0c\0\0\0\x1c\0\0\0\x1c" + bytes(1000),
            "according to its header it has 12 × 28 × 28 values, 9,424 bytes in all, but it has 1,016",
        ),
        (
            "kmnist",
            0,
            b"\0\0\x08\3\0\0\0\1\0\0\0\2\0\0\0\2abcd",
            "it contains 1 × 2 × 2 uint8, not images of 28 × 28 uint8",
        ),
        (
            "fashion-mnist",
            1,
            b"\0\0\x08\1\0\0\0\2ab",
            "it has labels from 97 to 98, not from 0 to 9",
        ),
        (
            "fashion-mnist",
            1,
            b"\0\0\x08\1\0\0\0\2\0\1",
            "it has 2 labels, and train-images-idx3-ubyte has 12 images",
        ),
        (
            "qmnist",
            1,
            b"\0\0\x08\3\0\0\0\1\0\0\0\1\0\0\0\1\0",
            "it contains 1 × 1 × 1 uint8, not one label for each image",
        ),
        (
            "fashion-mnist",
            0,
            b"<html>",
            "it is not an IDX file (which starts with 00 00 08 03 or similar; this one with 3c 68 74 6d)",
        ),
        ("usps", 0, b"", "it is empty"),
    ],
)
def test_a_damaged_raw_file_is_named_with_what_to_do(
    name: str, place: int, content: bytes, reason: str, make: Callable[..., Any], tmp_path: Path
) -> None:
    made = make(name)
    path = made.put(tmp_path, packed=False, raw=True) / made.published.train[place]
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        load(Data(name=name, root=str(tmp_path)), "train")
    assert str(caught.value) == f"{path} is damaged: {reason}. {ADVICE}"


def test_a_zip_without_the_digits_is_named(
    make: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make("emnist-digits")
    other = made.packed["gzip.zip"].replace(b"emnist-digits-train", b"emnist-others-train")
    made.packed["gzip.zip"] = other
    folder = made.put(tmp_path)
    monkeypatch.setattr(datasets, "resources", lambda _: {"gzip.zip": ([], md5(other))})
    with pytest.raises(DataError) as caught:
        load(Data(name="emnist-digits", root=str(tmp_path)), "train")
    assert str(caught.value) == (
        f"{folder / 'gzip.zip'} is damaged: it contains no gzip/emnist-digits-train-images-idx3-ubyte.gz. {ADVICE}"
    )


def test_mnist_is_checked_also_when_it_lies_there(make: Callable[..., Any], tmp_path: Path) -> None:
    made = make("mnist")
    path = made.put(tmp_path, packed=False, raw=True) / "train-images-idx3-ubyte"
    content = bytearray(path.read_bytes())
    content[500] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte is damaged: the SHA-256 of its content is "):
        load(Data(root=str(tmp_path)), "train")


def test_emnist_stands_upright(make: Callable[..., Any], tmp_path: Path) -> None:
    made = make("emnist-digits")
    made.put(tmp_path)
    stored = np.frombuffer(made.raw["emnist-digits-test-images-idx3-ubyte"], np.uint8)[16:].reshape(-1, 28, 28)
    images = load(Data(name="emnist-digits", root=str(tmp_path)), "test").images
    assert torch.equal(images, torch.from_numpy(stored.copy()).transpose(1, 2)) and images.is_contiguous()


def test_real_mnist(mnist_root: Path) -> None:
    before = "torchvision" in sys.modules
    train, test = (load(Data(root=str(mnist_root)), part) for part in ("train", "test"))
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert torch.bincount(train.labels).tolist() == counts
    assert torch.bincount(test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert train.images.shape == (60_000, 28, 28) and test.images.shape == (10_000, 28, 28)
    assert ("torchvision" in sys.modules) == before


def make_read_only(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuses writing under `root`, also to root, whom the mode of a folder does not stop."""
    whole = paths.atomic_write

    def refusing(target: Path, keep_existing: bool = False) -> Any:
        if target.is_relative_to(root):
            raise PermissionError(13, "Permission denied")
        return whole(target, keep_existing)

    monkeypatch.setattr(paths, "atomic_write", refusing)


def spread(made: Any, folder: Path, path_of: Callable[[str], str]) -> None:
    """Puts the unpacked files of `made` under `folder`, each where `path_of` its name says."""
    for name, content in made.raw.items():
        path = folder / path_of(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def dotted(name: str) -> str:
    return name.replace("-idx", ".idx")


LAYOUTS: dict[str, Callable[[str], str]] = {
    "dots": dotted,
    "packed with dots": lambda name: f"{dotted(name)}.gz",
    "folders": lambda name: f"{name}/{name}",
    "folders and dots": lambda name: f"{name}/{dotted(name)}",
    "folders with dots": lambda name: f"{dotted(name)}/{dotted(name)}",
}


@pytest.mark.parametrize("layout", [*LAYOUTS, "plain"])
@pytest.mark.parametrize("below", ["MNIST/raw", "MNIST", "raw", "."])
def test_mnist_is_taken_in_all_usual_layouts(layout: str, below: str, make: Callable[..., Any], tmp_path: Path) -> None:
    made = make("mnist")
    spread(made, tmp_path / "data" / below, LAYOUTS.get(layout, str))
    for part in ("train", "test"):
        read(made, tmp_path / "data", part)


@pytest.mark.parametrize("name", ["fashion-mnist", "kmnist", "qmnist", "emnist-digits"])
def test_the_other_sets_are_taken_from_their_own_folder(
    name: str, make: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make(name)
    own = tmp_path / made.published.folder
    spread(made, own, lambda file: f"{file}/{dotted(file)}")
    for root in (tmp_path, own.parent, own):
        read(made, root, "test")
    monkeypatch.chdir(own)
    read(made, Path(), "train")


@pytest.mark.slow
def test_a_folder_of_fashion_mnist_is_never_taken_for_mnist(make: Callable[..., Any], tmp_path: Path) -> None:
    fashion, flat = make("fashion-mnist"), tmp_path / "flat"
    make("mnist")
    fashion.raw = {name: content[:-1] + bytes([content[-1] ^ 1]) for name, content in fashion.raw.items()}
    spread(fashion, flat, str)
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte is damaged: the SHA-256 .*data\.name=fashion-mnist"):
        load(Data(name="mnist", root=str(flat)), "train")
    for name in ("fashion-mnist", "kmnist"):  # whose files these are nobody knows here
        with pytest.raises(DataError, match=f"{name} is not complete in"):
            load(Data(name=name, root=str(flat)), "train")


@pytest.mark.parametrize("below", ["MNIST/raw", "."])
def test_a_damaged_file_is_found_in_all_layouts(below: str, make: Callable[..., Any], tmp_path: Path) -> None:
    made = make("mnist")
    spread(made, tmp_path / below, lambda name: f"{name}/{dotted(name)}")
    path = tmp_path / below / "t10k-images-idx3-ubyte" / "t10k-images.idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"t10k-images\.idx3-ubyte is damaged: the SHA-256"):
        load(Data(name="mnist", root=str(tmp_path)), "test")


def test_a_missing_file_is_downloaded_beside_the_others(make: Callable[..., Any], server: Any, tmp_path: Path) -> None:
    made = make("mnist", (server.url,))
    server.files = made.packed
    spread(made, tmp_path, dotted)
    (tmp_path / "t10k-labels.idx1-ubyte").unlink()
    read(made, tmp_path, "test")
    assert server.requests == ["t10k-labels-idx1-ubyte.gz"]
    assert (tmp_path / "t10k-labels-idx1-ubyte.gz").is_file()


def test_decoded_images_are_kept_beside_their_files(make: Callable[..., Any], tmp_path: Path) -> None:
    made = make("mnist")
    spread(made, tmp_path, lambda name: f"{name}.gz")
    read(made, tmp_path, "test")
    assert (tmp_path / "mnist-test.npy").is_file() and not (tmp_path / "MNIST").exists()
    read(made, tmp_path, "test")


def test_hashes_and_urls_are_those_of_torchvision() -> None:
    for name, published in PUBLISHED.items():
        found = datasets.resources(name)
        assert list(found) == published.archives
        for urls, digest in found.values():
            assert urls and len(bytes.fromhex(digest)) == 16
    assert datasets.resources("fashion-mnist")["train-images-idx3-ubyte.gz"][1] == "8d4fb7e6c68d591d4c3dfef9ec88bf0d"
    assert len(datasets.resources("mnist")) == 4
    assert datasets.resources("emnist-digits")["gzip.zip"][0][0].endswith("/gzip.zip")


def test_no_published_file_is_larger() -> None:
    assert datasets.MAX_BYTES == 240_000 * 784 + 16
    assert all(len(bytes.fromhex(digest)) == 32 for digest in datasets.MNIST_SHA256.values())
    assert set(datasets.MNIST_SHA256) == {*datasets.TRAIN, *datasets.TEST}
