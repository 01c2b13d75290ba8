from __future__ import annotations

import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mnist_trainer.config.load import load_config
from mnist_trainer.config.schema import Data
from mnist_trainer.data import tables
from mnist_trainer.data.loaders import class_names, load, load_real, load_splits, load_test
from mnist_trainer.data.tables import read_csv
from mnist_trainer.errors import ConfigError, DataError

COUNT = 60
IMAGES = np.random.default_rng(1).integers(0, 256, (COUNT, 784), np.uint8)
LABELS = np.arange(COUNT) % 10
HEADER = ["label", *(f"pixel{number}" for number in range(784))]


def write_csv(path: Path, table: NDArray[Any], header: list[str] | None = None, separator: str = ",") -> Path:
    rows = [header] if header else []
    rows += [[str(value) for value in row] for row in table.tolist()]
    path.write_text("".join(f"{separator.join(row)}\n" for row in rows), encoding="utf-8")
    return path


def labelled() -> NDArray[np.int64]:
    return np.column_stack((LABELS, IMAGES))


def data_of(path: Path, **keys: Any) -> Data:
    return Data(name="folder", path=str(path), **keys)


def rows_of(path: Path) -> set[tuple[str, bytes, int]]:
    """The part, the pixels and the label of every image."""
    return {
        (part, image.numpy().tobytes(), int(label))
        for part in ("train", "test")
        for whole in [load(data_of(path), part)]
        for image, label in zip(whole.images, whole.labels, strict=True)
    }


def test_a_csv_of_kaggle_is_read(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "train.csv", labelled(), HEADER)
    train, test = load(data_of(path), "train"), load(data_of(path), "test")
    assert train.classes == class_names(data_of(path)) == tuple("0123456789")
    assert train.images.dtype == torch.uint8 and train.images.shape[1:] == (28, 28)
    assert train.labels.dtype == torch.int64
    assert 3 <= len(test.labels) <= 21 and len(train.labels) + len(test.labels) == COUNT
    pixels = {image.tobytes(): int(label) for image, label in zip(IMAGES, LABELS, strict=True)}
    assert {image: label for _, image, label in rows_of(path)} == pixels


@pytest.mark.parametrize(
    "form",
    ["no header", "CRLF", "semicolons", "quoted", "BOM", "packed", "label last", "label last, no header", "decimals"],
)
def test_usual_forms_of_a_csv_are_read_alike(form: str, tmp_path: Path) -> None:
    images = IMAGES * (np.arange(784) > 0)  # corners are blank, as MNIST's are
    table = np.column_stack((LABELS, images))
    kaggle = write_csv(tmp_path / "train.csv", table, HEADER)
    text, path = kaggle.read_text(), tmp_path / "other.csv"
    match form:
        case "no header":
            write_csv(path, table)
        case "CRLF":
            path.write_bytes(text.replace("\n", "\r\n").encode() + b"\r\n\r\n")
        case "semicolons":
            write_csv(path, table, HEADER, ";")
        case "quoted":
            path.write_text("\n".join(",".join(f'"{cell}"' for cell in row.split(",")) for row in text.split()))
        case "BOM":
            path.write_bytes(b"\xef\xbb\xbf" + text.encode())
        case "packed":
            path = tmp_path / "TRAIN.CSV.GZ"
            path.write_bytes(gzip.compress(text.encode()))
        case "label last":
            write_csv(path, np.column_stack((images, LABELS)), [*HEADER[1:], "class"])
        case "label last, no header":
            write_csv(path, np.column_stack((images, LABELS)))
        case "decimals":
            write_csv(path, table.astype(float))
    assert rows_of(path) == rows_of(kaggle)


def test_which_images_test_does_not_depend_on_their_order(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "train.csv", labelled())
    turned = write_csv(tmp_path / "turned.csv", np.concatenate((labelled()[::-1], labelled()[:7])))
    assert rows_of(turned) == rows_of(path)


def test_rows_are_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "ROWS", 7)
    images, labels = read_csv(write_csv(tmp_path / "train.csv", labelled(), HEADER))
    assert np.array_equal(images.reshape(-1, 784), IMAGES)
    assert labels is not None and labels.tolist() == LABELS.tolist()


def test_a_csv_may_have_no_labels_but_not_to_learn_from(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "test.csv", IMAGES, HEADER[1:])
    images, labels = read_csv(path)
    assert labels is None and np.array_equal(images.reshape(-1, 784), IMAGES)
    with pytest.raises(DataError, match=r"test\.csv has 784 columns: images without labels"):
        load(data_of(path), "train")


def keras(**changes: Any) -> dict[str, Any]:
    """The arrays of a small `mnist.npz`."""
    images = IMAGES.reshape(-1, 28, 28)
    whole = {"x_train": images[:40], "y_train": LABELS[:40], "x_test": images[40:], "y_test": LABELS[40:]}
    return {name: array for name, array in {**whole, **changes}.items() if array is not None}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("flat", [False, True])
def test_the_npz_of_keras_is_read(save: Callable[..., None], flat: bool, tmp_path: Path) -> None:
    shape = (-1, 784) if flat else (-1, 28, 28, 1)
    arrays = {
        name: array.reshape(shape) if name[0] == "x" else array.astype(np.uint8) for name, array in keras().items()
    }
    save(tmp_path / "mnist.npz", **arrays)
    for part, chosen in (("train", slice(40)), ("test", slice(40, COUNT))):
        read = load(data_of(tmp_path / "mnist.npz"), part)
        assert np.array_equal(read.images.numpy(), IMAGES.reshape(-1, 28, 28)[chosen])
        assert read.labels.tolist() == LABELS[chosen].tolist()


def broken_tables() -> dict[str, tuple[NDArray[Any], str]]:
    table = labelled()
    other_pixel, other_label, half = table.copy(), table.copy(), table / 255
    other_pixel[3, 5], other_label[4, 0] = 256, 10
    half[:, 0] = LABELS
    return {
        "pixel": (other_pixel, "line 4 has the pixel 256, not a whole number from 0 to 255"),
        "label": (other_label, "line 5 has the label 10, not a whole number from 0 to 9"),
        "negative": (-table, "line 1 has the pixel -"),
        "fractions": (half, "line 1 has the pixel 0."),
        "not finite": (np.where(table == table[0, 3], np.inf, table * 1.0), "line 1 has the pixel inf"),
        "columns": (
            table[:, :100],
            "line 1 has 100 columns; it needs 784 pixels (28 × 28), and one more for a label",
        ),
    }


@pytest.mark.parametrize("what", broken_tables())
def test_a_csv_of_something_else_is_told(what: str, tmp_path: Path) -> None:
    table, reason = broken_tables()[what]
    path = write_csv(tmp_path / "train.csv", table)
    with pytest.raises(DataError) as caught:
        load(data_of(path), "train")
    assert f"{path} is damaged: {reason}" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"\n\n", "it is empty"),
        (",".join(HEADER).encode() + b"\n", "it has a header but no rows"),
        (b"1," * 784 + b"1\n1,2,3\n", "line 2 has 3 columns, not 785"),
        (b"1," * 784 + b"1\n" + b"1," * 784 + b"x\n", "line 2 has 'x', which is not a number"),
        (b"1," * 1_000_000, "line 1 has 16,385 columns"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "line 1 has 1 columns"),
    ],
)
def test_a_damaged_csv_is_told(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        load(data_of(path), "test")
    assert f"{path} is damaged: {reason}" in str(caught.value)


def test_empty_lines_without_end_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "ROWS", 8)
    (tmp_path / "train.csv").write_text("\n" * 9)
    with pytest.raises(DataError, match="is damaged: it has more than 8 empty lines"):
        load(data_of(tmp_path / "train.csv"), "train")


def test_half_a_packed_csv_is_told(tmp_path: Path) -> None:
    whole = gzip.compress(write_csv(tmp_path / "train.csv", labelled()).read_bytes())
    (tmp_path / "train.csv.gz").write_bytes(whole[:-10])
    with pytest.raises(DataError, match="is damaged: it cannot be decompressed"):
        load(data_of(tmp_path / "train.csv.gz"), "test")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"x_test": None}, "it contains no array x_test; x_train, y_train, x_test and y_test are needed"),
        ({"x_train": IMAGES[:40, :100]}, "x_train has the shape (40, 100), not (N, 28, 28)"),
        ({"x_train": IMAGES[:40] / 255}, "x_train has the pixel 0."),
        ({"y_train": LABELS[:39]}, "y_train has the shape (39,), and x_train has 40 images"),
        ({"y_test": np.eye(10)[LABELS[40:]]}, "y_test has the shape (20, 10), and x_test has 20 images"),
        ({"y_test": LABELS[40:] + 5}, "y_test has the label 10, not a whole number from 0 to 9"),
        (
            {"y_test": np.array([print] * 20)},
            "it cannot be read (Object arrays cannot be loaded when allow_pickle=False)",
        ),
        ({"x_test": np.zeros((0, 28, 28), np.uint8)}, "x_test has the shape (0, 28, 28)"),
    ],
)
def test_an_npz_of_something_else_is_told(changes: dict[str, Any], reason: str, tmp_path: Path) -> None:
    path = tmp_path / "mnist.npz"
    np.savez(path, **keras(**changes))
    with pytest.raises(DataError) as caught:
        load(data_of(path), "train")
    assert f"{path} is damaged: {reason}" in str(caught.value)


def test_a_damaged_npz_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mnist.npz"
    np.savez(path, **keras())
    whole = path.read_bytes()
    other_name = whole[:26] + b"\xff\xff" + whole[28:]  # zipfile's words hold 65,535 bytes of the file
    for content in (b"", b"PK\5\6" + bytes(18), whole[:-30], whole[:300] + bytes(500) + whole[800:], other_name):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"mnist\.npz is damaged: ") as caught:
            load(data_of(path), "train")
        assert len(str(caught.value)) < len(str(path)) + 250
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999, 28, 28)}"
    with zipfile.ZipFile(path, "w") as archive:  # that promises more than there is
        archive.writestr("x_train.npy", b"\x93NUMPY\1\0" + bytes([len(header), 0]) + header)
        archive.writestr("y_train.npy", b"")
    with pytest.raises(DataError, match=r"it cannot be read \(Unable to allocate .+ for an array with shape"):
        load(data_of(path), "train")
    np.savez(path, **keras())
    monkeypatch.setattr(tables, "MAX_IMAGES", 30)
    with pytest.raises(DataError, match="x_train has more bytes than 30 images"):
        load(data_of(path), "train")


def test_a_csv_of_too_many_rows_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_IMAGES", 30)
    with pytest.raises(DataError, match="is damaged: it has more than 30 rows"):
        load(data_of(write_csv(tmp_path / "train.csv", labelled())), "train")


@pytest.mark.parametrize("name", ["train.csv", "mnist.npz"])
def test_a_table_that_is_not_there_is_told(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"there is no file '.*{name}'"):
        load(data_of(tmp_path / name), "train")


def test_a_folder_may_be_named_like_a_table(tmp_path: Path) -> None:
    (tmp_path / "a.csv" / "0").mkdir(parents=True)
    with pytest.raises(DataError, match="needs two or more sub-folders"):
        load(data_of(tmp_path / "a.csv"), "train")


def test_a_changed_table_is_read_anew(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "train.csv", labelled())
    before = rows_of(path)
    write_csv(path, labelled()[:50])
    assert len(rows_of(path)) < len(before)


def test_limit_binary_and_validation_hold_for_tables(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "train.csv", labelled())
    few = load_real(data_of(path, limit=2, validation=0))
    assert few.train.labels.bincount().tolist() == [2] * 10 and few.validation is None
    sevens = data_of(path, binary=7, validation=5)
    splits, whole = load_real(sevens), load(data_of(path), "train")
    assert splits.classes == ("not 7", "7") and splits.validation is not None
    assert splits.counts == (len(whole.labels) - 5, 5)
    assert int(load_test(sevens).labels.sum()) == int((load(data_of(path), "test").labels == 7).sum())


def test_photographs_are_made_from_tables(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "train.csv", labelled())
    config = {"model": {"architecture": "mlp"}, "data": {"name": "folder", "simulate": {"photographs": 0.1}}}
    checked = load_config(config, [f"data.path={path}"])
    assert load_splits(checked.data).simulated[0] > 0
    with pytest.raises(ConfigError, match="only pictures of digits can be simulated, and 'folder' contains others"):
        load_config(config, [f"data.path={tmp_path}"])
