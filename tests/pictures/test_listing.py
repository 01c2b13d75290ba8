"""What a folder of pictures holds: `mnist_trainer/pictures/listing.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnist_trainer.errors import DataError
from mnist_trainer.pictures.listing import list_pictures


def fill(folder: Path, *names: str) -> Path:
    """Empty files of these names; one that ends in / is a folder."""
    for name in names:
        if name.endswith("/"):
            (folder / name).mkdir(parents=True)
        else:
            (folder / name).touch()
    return folder


def test_pictures_come_in_the_order_that_people_expect(tmp_path: Path) -> None:
    fill(tmp_path, "a10.png", "a9.png", "A1.png", "10.jpg", "9.jpg", "a9b2.png", "a9b10.png", "é.png")
    names = [path.name for path in list_pictures(tmp_path).pictures]
    assert names == ["9.jpg", "10.jpg", "A1.png", "a9.png", "a9b2.png", "a9b10.png", "a10.png", "é.png"]


def test_hidden_files_are_no_pictures(tmp_path: Path) -> None:
    fill(tmp_path, ".DS_Store", "._7.png", "Thumbs.db", "desktop.ini", "7.png", ".hidden/")
    listing = list_pictures(tmp_path)
    assert [path.name for path in listing.pictures] == ["7.png"]
    assert listing.notes(tmp_path) == []


def test_what_may_be_a_picture_is_tried(tmp_path: Path) -> None:
    names = ["a.JPG", "b.heic", "c", "d.tif", "e.scan"]
    assert [path.name for path in list_pictures(fill(tmp_path, *names)).pictures] == names


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    fill(tmp_path, "7.png", "a.txt", "b.CSV", "c.toml", "d.npz", "README.md", "one/", "two/")
    assert list_pictures(tmp_path).notes(tmp_path) == [
        f"{tmp_path}: left out files that are not pictures, by their names: a.txt, b.CSV, c.toml and 2 more",
        f"{tmp_path}: left out its 2 sub-folders; name them too: {tmp_path / '*'}",
    ]


def test_a_folder_without_pictures_says_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        list_pictures(tmp_path)
    assert str(caught.value) == f"{tmp_path} holds no picture."
    fill(tmp_path, "class 1/")
    with pytest.raises(DataError) as caught:
        list_pictures(tmp_path)
    note = f"{tmp_path}: left out its sub-folder; name it too: {tmp_path / 'class 1'}"
    assert str(caught.value) == f"{tmp_path} holds no picture.\n{note}"


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone can't be read: No such file or directory\."):
        list_pictures(tmp_path / "gone")
