"""What the arguments of `mnist-predict` stand for: `mnist_trainer/pipeline/predict.py`."""

from __future__ import annotations

import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest

from mnist_trainer.errors import DataError, UsageError
from mnist_trainer.pipeline.predict import InputImage, expand_inputs


class Terminal(TextIOWrapper):
    def isatty(self) -> bool:
        return True


def pipe(monkeypatch: pytest.MonkeyPatch, content: bytes, kind: type[TextIOWrapper] = TextIOWrapper) -> None:
    monkeypatch.setattr(sys, "stdin", kind(BytesIO(content)))


def test_files_and_folders_keep_the_order_they_are_named_in(here: Path) -> None:
    (here / "some").mkdir()
    for name in ("some/10.png", "some/9.png", "some/notes.txt", "a.png"):
        (here / name).touch()
    found, notes = expand_inputs(["b.png", "some", "a.png", "some/"])
    two = [str(Path("some/9.png")), str(Path("some/10.png"))]
    assert [source.path for source in found] == ["b.png", *two, "a.png", *two]
    assert found[0] == InputImage("b.png", Path("b.png"))
    assert notes == ["some: left out files that are not pictures, by their names: notes.txt"] * 2


def test_a_folder_without_pictures_does_not_stop_the_others(here: Path) -> None:
    (here / "empty").mkdir()
    (folder, picture), notes = expand_inputs(["empty", "a.png"])
    assert (folder.path, picture.path, notes) == ("empty", "a.png", [])
    assert isinstance(folder.picture, DataError)
    assert str(folder.picture) == "empty holds no picture."


def test_a_picture_comes_through_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe(monkeypatch, b"content")
    ((path, picture), again), _ = expand_inputs(["-", "-"])
    assert path == "-"
    assert isinstance(picture, BytesIO)
    assert picture.read() == b"content"
    assert str(again.picture) == "-: there is no picture on stdin."


def test_nobody_waits_for_a_picture_from_the_keyboard(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe(monkeypatch, b"", Terminal)
    with pytest.raises(UsageError) as caught:
        expand_inputs(["-"])
    assert str(caught.value) == "- takes a picture from another command, as in: cat photo.jpg | mnist-predict -"


@pytest.mark.parametrize("name", ["", "\0", "x" * 5000, "-7.png", "two words.png", "ü.png"])
def test_any_text_is_a_name(name: str) -> None:
    assert expand_inputs([name]) == ([InputImage(name, Path(name))], [])
