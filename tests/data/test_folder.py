from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from mnist_trainer.config.schema import Data
from mnist_trainer.data import folder, image_dataset
from mnist_trainer.data.identity import identify
from mnist_trainer.data.image_dataset import Part
from mnist_trainer.data.loaders import class_names, has_validation, load, load_splits, load_test, load_together
from mnist_trainer.errors import DataError


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are text files here: the grey level to fill 28×28 with; `blank` stands for one without ink."""

    def read(path: Path) -> np.ndarray | None:
        text = path.read_text()
        if text == "blank":
            return None
        if not text.isdecimal():
            raise DataError(f"{path} is no picture.")
        return np.full((28, 28), int(text), np.uint8)

    monkeypatch.setattr("mnist_trainer.pictures.read.read_single", read)


def fill(root: Path, files: dict[str, object]) -> Data:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(content))
    return Data(name="folder", path=str(root))


def is_test(name: str) -> bool:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big") % 5 == 0


TO_TEST = next(name for name in map(str, range(100)) if is_test(name))
TO_TRAIN = next(name for name in map(str, range(100)) if not is_test(name))


def greys(images: torch.Tensor) -> list[int]:
    return images[:, 0, 0].tolist()


@pytest.mark.usefixtures("fake")
class TestLayouts:
    def test_train_val_and_test(self, tmp_path: Path) -> None:
        names = ["train/cat/b.png", "train/cat/a.png", "train/ant/c.png", "val/cat/d.png", "test/ant/e.png"]
        data = fill(tmp_path, {name: number for number, name in enumerate(names)})
        assert class_names(data) == ("ant", "cat") and has_validation(data)
        splits = load_splits(data)
        assert splits.validation is not None and splits.classes == ("ant", "cat")
        assert greys(splits.train.images) == [2, 1, 0] and splits.train.labels.tolist() == [0, 1, 1]
        assert greys(splits.validation.images) == [3] and splits.validation.labels.tolist() == [1]
        test = load_test(data)
        assert greys(test.images) == [4] and test.labels.tolist() == [0]
        assert splits.train.indices.tolist() == [0, 1, 2]

    def test_validation_zero_leaves_val_alone(self, tmp_path: Path) -> None:
        data = fill(tmp_path, {"train/0/a": 1, "train/1/b": 2, "val/0/c": "broken"})
        assert load_splits(data.model_copy(update={"validation": 0})).validation is None

    def test_classes_at_once_split_by_the_hash_of_names(self, tmp_path: Path) -> None:
        files = {f"{label}/{number:03}.png": number for label in "ab" for number in range(100)}
        data = fill(tmp_path, files)
        train, test = load(data, "train"), load(data, "test")
        expected = [number for number in range(100) if is_test(f"{number:03}.png")]
        assert greys(test.images) == expected * 2 and 10 <= len(expected) <= 30
        assert greys(train.images) == [number for number in range(100) if number not in expected] * 2
        assert test.labels.tolist() == [0] * len(expected) + [1] * len(expected)
        assert not has_validation(data)

    def test_a_new_picture_moves_no_other(self, tmp_path: Path) -> None:
        data = fill(tmp_path, {f"{label}/{number}.png": number for label in "ab" for number in range(40)})
        before = {part: greys(load(data, part).images) for part in ("train", "test")}
        fill(tmp_path, {f"a/new{number}.png": 200 for number in range(20)})
        for part in ("train", "test"):
            assert [grey for grey in greys(load(data, part).images) if grey != 200] == before[part]

    def test_train_without_test_is_split_by_the_hash(self, tmp_path: Path) -> None:
        data = fill(tmp_path, {f"train/{label}/{number}": number for label in "ab" for number in range(40)})
        train, test = load(data, "train"), load(data, "test")
        assert len(train.labels) + len(test.labels) == 80 and len(test.labels) == 2 * sum(
            map(is_test, map(str, range(40)))
        )

    def test_numbers_are_ordered_by_value_and_hidden_files_are_no_pictures(self, tmp_path: Path) -> None:
        files: dict[str, object] = {f"train/{label}/deep/x.png": label for label in (10, 9, 0)}
        files |= {
            "train/.git/x": "",
            "train/0/.DS_Store": "",
            "train/0/.small/x.png": "",
            "train/9/Thumbs.db": "",
            "train/notes.txt": "",
        }
        data = fill(tmp_path, files | {"test/10/y.png": 7})
        assert class_names(data) == ("0", "9", "10")
        assert class_names(data.model_copy(update={"binary": 9})) == ("not 9", "9")
        assert greys(load(data, "train").images) == [0, 9, 10]
        assert load(data, "test").labels.tolist() == [2]


@pytest.fixture
def kept(fake: None, monkeypatch: pytest.MonkeyPatch, cache: Path) -> Path:
    """Where folders of any size are kept."""
    monkeypatch.setattr("mnist_trainer.data.cache.MIN_CACHED", 1)
    return cache / "folder"


def reading(data: Data, part: Part, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The pictures that are opened to load `part`."""
    from mnist_trainer.pictures import read as reader

    opened, read = [], reader.read_single
    monkeypatch.setattr(reader, "read_single", lambda path: opened.append(path.name) or read(path))
    load(data, part)
    monkeypatch.setattr(reader, "read_single", read)
    return opened


class TestKeeping:
    @pytest.mark.parametrize("share", [image_dataset.MEMORY_FRACTION, 0])
    def test_pictures_are_read_once(
        self, share: float, tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = fill(tmp_path / "f", {"train/a/1": 1, "train/b/2": 2, "val/b/3": 3, "test/a/4": 4})
        monkeypatch.setattr(image_dataset, "MEMORY_FRACTION", share)
        parts: tuple[Part, ...] = ("train", "validation", "test")
        assert [reading(data, part, monkeypatch) for part in parts] == [["1", "2"], ["3"], ["4"]]
        assert [reading(data, part, monkeypatch) for part in parts] == [[], [], []]
        assert len(list(kept.iterdir())) == 3
        splits, test = load_splits(data), load_test(data)
        assert splits.validation is not None
        for dataset, expected in ((splits.train, [1, 2]), (splits.validation, [3]), (test, [4])):
            assert isinstance(dataset.images, torch.Tensor) is (share > 0)
            assert greys(dataset.gather(torch.arange(len(dataset)))[0]) == expected
        assert splits.train.labels.tolist() == [0, 1] and splits.validation.labels.tolist() == [1]

    def test_what_is_another_picture_or_class_is_noticed(
        self, tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = fill(tmp_path / "f", {"train/b/1": 1, "train/c/2": 2, "test/c/4": 4})
        assert reading(data, "train", monkeypatch) == ["1", "2"]
        fill(tmp_path / "f", {"train/c/2": 200})
        assert reading(data, "train", monkeypatch) == ["1", "2"]
        fill(tmp_path / "f", {"train/c/3": 3})
        assert reading(data, "train", monkeypatch) == ["1", "2", "3"]
        (tmp_path / "f" / "train" / "c" / "3").rename(tmp_path / "f" / "train" / "b" / "3")
        assert reading(data, "train", monkeypatch) == ["1", "3", "2"]
        (tmp_path / "f" / "train" / "c" / "2").unlink()
        fill(tmp_path / "f", {"train/c/4": 200})
        assert reading(data, "train", monkeypatch) == ["1", "3", "4"]
        assert load(data, "test").labels.tolist() == [1]
        fill(tmp_path / "f", {"train/a/5": 5})
        assert load(data, "test").labels.tolist() == [2], "the same pictures, of another class now"
        monkeypatch.setattr(folder, "code_fingerprint", lambda: "other code")
        assert reading(data, "test", monkeypatch) == ["4"]
        assert len(list(kept.iterdir())) == 2

    def test_a_folder_is_the_same_from_everywhere(
        self, tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = fill(tmp_path / "f", {"train/a/1": 1, "train/b/2": 2, "test/a/3": 3})
        load(data, "train")
        monkeypatch.chdir(tmp_path)
        assert reading(data.model_copy(update={"path": "f"}), "train", monkeypatch) == []
        other = fill(tmp_path / "g", {"train/a/1": 1, "train/b/2": 2, "test/a/3": 3})
        load(other, "train")
        assert reading(data, "train", monkeypatch) == [], "another folder has a file of its own"
        assert len(list(kept.iterdir())) == 2

    def test_unusable_pictures_are_named_and_nothing_is_kept(
        self, tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(folder, "CHUNK_SIZE", 1)
        data = fill(tmp_path / "f", {"train/a/1": "x", "train/a/2": 2, "train/b/3": "blank", "test/a/4": 4})
        assert told(lambda: load(data, "train")).startswith("2 of 3 pictures can't be used; repair or remove them:\n")
        assert not kept.exists()

    def test_a_picture_that_is_gone_meanwhile_is_named(
        self, tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = fill(tmp_path / "f", {"train/a/1": 1, "train/b/2": 2, "test/a/3": 3})

        listed = folder._pictures

        def gone(*arguments: Any) -> Any:
            pictures = listed(*arguments)
            (tmp_path / "f" / "train" / "a" / "1").unlink()
            return pictures

        monkeypatch.setattr(folder, "_pictures", gone)
        message = told(lambda: load(data, "train"))
        assert message == f"{tmp_path / 'f' / 'train' / 'a' / '1'} can't be read: No such file or directory."

    def test_a_folder_that_may_not_be_read_is_named(
        self, tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data, scandir = fill(tmp_path / "f", {"train/a/deep/1": 1, "train/b/2": 2, "test/a/3": 3}), os.scandir

        def guarded(path: Path) -> Any:
            if Path(path).name == "deep":
                raise PermissionError(13, "Permission denied", str(path))
            return scandir(path)

        monkeypatch.setattr(os, "scandir", guarded)
        message = told(lambda: load(data, "train"))
        assert message == f"{tmp_path / 'f' / 'train' / 'a' / 'deep'} can't be read: Permission denied."

    def test_how_far_it_is_told(self, tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(folder, "CHUNK_SIZE", 2)
        data = fill(tmp_path / "f", {"train/a/1": 1, "train/a/2": 2, "train/b/3": 3, "test/a/4": 4})
        news: list[tuple[str, int, int | None]] = []
        load(data, "train", lambda *each: news.append(each))
        assert news == [("reading pictures", 2 * 784, 3 * 784), ("reading pictures", 3 * 784, 3 * 784)]

    def test_few_pictures_are_not_kept(self, tmp_path: Path, fake: None, cache: Path) -> None:
        load(fill(tmp_path / "f", {"train/a/1": 1, "train/b/2": 2, "test/a/3": 3}), "train")
        assert not cache.exists()


def told(ask: Callable[[], object]) -> str:
    with pytest.raises(DataError) as caught:
        ask()
    return str(caught.value)


@pytest.mark.usefixtures("fake")
class TestMistakes:
    def test_no_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        data = Data(name="folder", path="digts")
        assert (
            told(lambda: class_names(data))
            == f"data.path: there is no folder 'digts' (the current folder is {tmp_path})."
        )

    def test_no_classes(self, tmp_path: Path) -> None:
        data = fill(tmp_path, {"7.png": 1, "only/8.png": 2})
        assert told(lambda: class_names(data)) == (
            f"{tmp_path} needs two or more sub-folders, one for each class; it has 1."
        )

    def test_a_folder_that_would_not_be_read(self, tmp_path: Path) -> None:
        data = fill(tmp_path, {"train/0/a": 1, "train/1/a": 1, "extra/0/a": 1})
        assert told(lambda: class_names(data)) == (
            f"{tmp_path / 'extra'} would not be read: next to train/ there can only be val/ and test/."
        )

    def test_parts_without_train(self, tmp_path: Path) -> None:
        data = fill(tmp_path, {"test/0/a": 1, "val/1/a": 1})
        assert told(lambda: class_names(data)) == (
            f"{tmp_path} has test and val, but no train/ with a sub-folder for each class."
        )

    def test_a_class_that_cannot_be_learned(self, tmp_path: Path) -> None:
        data = fill(tmp_path, {"train/0/a": 1, "train/1/a": 1, "test/2/a": 1})
        assert told(lambda: load(data, "train")) == (
            f"{tmp_path / 'test' / '2'} is a class that {tmp_path / 'train'} does not have."
        )

    def test_a_class_without_pictures(self, tmp_path: Path) -> None:
        data = fill(tmp_path, {"train/0/a": 1, "train/1/.hidden": 1, "test/0/a": 1})
        assert told(lambda: load(data, "train")) == (
            f"{tmp_path / 'train' / '1'} has no training pictures. If it is not a class, move it away."
        )

    def test_a_hash_that_leaves_nothing_to_test(self, tmp_path: Path) -> None:
        data = fill(tmp_path, {f"0/{TO_TRAIN}": 1, f"1/{TO_TRAIN}": 2})
        hint = "A fifth, chosen by name, are test pictures: add more pictures, or sort them into train/ and test/."
        assert told(lambda: load(data, "test")) == f"{tmp_path} has no picture for the test set. {hint}"

    def test_a_hash_that_leaves_nothing_to_train_with(self, tmp_path: Path) -> None:
        data = fill(tmp_path, {f"0/{TO_TEST}": 1, f"1/{TO_TRAIN}": 2})
        assert told(lambda: load(data, "train")).startswith(f"{tmp_path / '0'} has no training pictures. A fifth")

    def test_an_empty_val(self, tmp_path: Path) -> None:
        data = fill(tmp_path, {f"train/0/{TO_TRAIN}": 1, f"train/1/{TO_TRAIN}": 1, "val/0/.hidden": 1})
        assert told(lambda: load_splits(data)) == (
            f"{tmp_path / 'val'} has no picture for the validation set. "
            "Each picture must be in a sub-folder named after its class."
        )

    def test_all_unusable_pictures_are_named(self, tmp_path: Path) -> None:
        data = fill(tmp_path, {"train/0/a": 1, "train/0/b": "x", "train/1/c": "blank", "train/1/d": "y", "test/0/e": 1})
        folder = tmp_path / "train"
        assert told(lambda: load(data, "train")) == (
            "3 of 4 pictures can't be used; repair or remove them:\n"
            f"  {folder / '0' / 'b'} is no picture.\n"
            f"  {folder / '1' / 'c'} has no ink: nothing on it stands out from the paper\n"
            f"  {folder / '1' / 'd'} is no picture."
        )

    def test_at_most_ten_are_listed(self, tmp_path: Path) -> None:
        data = fill(
            tmp_path, {"train/0/a": 1} | {f"train/1/{number:02}": "x" for number in range(13)} | {"test/0/a": 1}
        )
        lines = told(lambda: load(data, "train")).splitlines()
        assert len(lines) == 12 and lines[0].startswith("13 of 14 pictures") and lines[-1] == "  and 3 more"


@pytest.fixture
def drawn(tmp_path: Path) -> Iterator[Data]:
    """Two strokes, dark on light: an upright one and a lying one."""
    for part, shift in (("train", 0), ("test", 15)):
        for name, box in {"lying": (10, 40, 70, 48), "upright": (40, 10, 48, 70)}.items():
            paper = Image.new("L", (120, 100), 240)
            paper.paste(20, tuple(side + shift for side in box))
            (tmp_path / part / name).mkdir(parents=True)
            paper.save(tmp_path / part / name / "a.png")
    yield Data(name="folder", path=str(tmp_path), validation=0)


def test_real_pictures_become_mnist_like(drawn: Data) -> None:
    train, test = load_splits(drawn).train, load_test(drawn)
    assert train.images.dtype == torch.uint8 and train.labels.tolist() == [0, 1]
    (lying, upright), background = train.images, train.images[:, 0, 0]
    assert background.tolist() == [0, 0]
    assert int((lying.amax(0) > 0).sum()) == int((upright.amax(1) > 0).sum()) == 20
    # Where a digit stands on its paper does not matter.
    assert torch.equal(train.images, test.images)


def test_a_broken_picture_is_named_with_its_path(drawn: Data) -> None:
    broken = Path(str(drawn.path)) / "train" / "lying" / "b.png"
    broken.write_bytes(b"no picture")
    message = told(lambda: load_splits(drawn))
    assert message.startswith("1 of 3 pictures can't be used; repair or remove them:\n  ")
    assert str(broken) in message


@pytest.mark.usefixtures("fake")
class TestExtra:
    """`data.extra`: own pictures that train together with a data set."""

    FILES: ClassVar[dict[str, object]] = {"mine/seven/a.png": 1, "mine/3/b.png": 2, "mine/3/c.png": 3}

    def data(self, tmp_path: Path, repeat: int = 2, **keys: Any) -> Data:
        fill(tmp_path, self.FILES)
        extra = {"path": str(tmp_path / "mine"), "repeat": repeat}
        return Data(name="digits", limit=10, validation=10, extra=extra, **keys)

    def test_they_follow_the_training_images_of_the_same_split(self, tmp_path: Path) -> None:
        data = self.data(tmp_path)
        with_extra, without = load_splits(data), load_splits(data.model_copy(update={"extra": None}))
        assert (with_extra.extra, without.extra) == (6, 0)
        assert with_extra.counts == without.counts == (90, 10)
        assert torch.equal(with_extra.train.images[:90], without.train.images)
        assert greys(with_extra.train.images[90:]) == [2, 3, 1, 2, 3, 1]
        assert with_extra.train.labels[90:].tolist() == [3, 3, 7] * 2
        assert with_extra.validation is not None
        assert without.validation is not None
        assert torch.equal(with_extra.validation.images, without.validation.images)

    def test_nothing_is_simulated_from_them(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("mnist_trainer.simulator.make.make_images", lambda kind, digits, *rest: digits[:, 0])
        splits = load_splits(self.data(tmp_path, simulate={"photographs": 1.0, "non_digits": 0.5}))
        assert splits.simulated == (90 + 45, 10)
        assert (splits.counts, splits.extra, len(splits.train)) == ((90, 10), 6, 90 + 135 + 6)
        assert greys(splits.train.images[-6:]) == [2, 3, 1, 2, 3, 1]

    def test_yes_and_no(self, tmp_path: Path) -> None:
        splits = load_splits(self.data(tmp_path, binary=7, repeat=1))
        assert splits.train.labels[-3:].tolist() == [0, 0, 1]

    def test_they_are_there_when_all_images_train(self, tmp_path: Path) -> None:
        fill(tmp_path / "own", {f"{part}/{name}/{part}.png": 9 for part in ("train", "val", "test") for name in "37"})
        data = self.data(tmp_path, repeat=1)
        folder = Data(name="folder", path=str(tmp_path / "own"), extra=data.extra)
        for each in (data, folder):
            splits = load_together(each)
            assert splits.validation is None
            assert greys(splits.train.images[-3:]) == [2, 3, 1]
            assert sum(splits.counts) == len(splits.train) - 3
        assert len(load_together(folder).train) == 4 + 3  # train, val, and the own ones

    @pytest.mark.parametrize(
        ("files", "words"),
        [
            ({"mine/x/a.png": 1}, ("data.extra.path: ", "mine/x is none of the classes 0 to 9.")),
            ({"mine/train/3/a.png": 1}, ("data.extra.path: ", "mine/train is none of the classes 0 to 9.")),
            ({"mine/3/readme.txt": 1}, ("data.extra.path: ", "mine contains no picture in a sub-folder of a class.")),
            ({"mine/a.png": 1}, ("data.extra.path: ", "mine contains no picture in a sub-folder of a class.")),
            ({"mine": 1}, ("data.extra.path: there is no folder",)),
            ({}, ("data.extra.path: there is no folder",)),
            ({"mine/3/a.png": "blank"}, ("a.png", "can't be used")),
        ],
    )
    def test_what_can_not_train(self, tmp_path: Path, files: dict[str, object], words: tuple[str, ...]) -> None:
        fill(tmp_path, files)
        with pytest.raises(DataError) as caught:
            load_splits(Data(name="digits", extra={"path": str(tmp_path / "mine")}))
        assert all(word in str(caught.value) for word in words)

    def test_a_changed_picture_changes_the_fingerprint(self, tmp_path: Path) -> None:
        data = self.data(tmp_path)
        first = identify(load_splits(data), "digits")
        assert identify(load_splits(data), "digits").fingerprint == first.fingerprint
        assert identify(load_splits(data.model_copy(update={"extra": None})), "digits").fingerprint != first.fingerprint
        (tmp_path / "mine/3/b.png").write_text("77")
        assert identify(load_splits(data), "digits").fingerprint != first.fingerprint
