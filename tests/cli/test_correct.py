"""`mnist-predict --correct`: a person answers in a terminal, and the digits are saved by class."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mnist_trainer import Prediction, predict
from mnist_trainer.cli.correct import Corrections
from mnist_trainer.cli.mnist_predict import NO_CORRECTIONS, NO_TERMINAL
from mnist_trainer.config.schema import Data
from mnist_trainer.data.digits import load_digits
from mnist_trainer.data.loaders import load
from mnist_trainer.inference.reading import DigitPrediction

Command = Callable[..., Any]
Answers = Callable[..., list[str]]


@pytest.fixture
def row(here: Path) -> str:
    """A row, 7 3 0, in the present folder."""
    digits = load_digits("test")
    chosen = [int((digits.labels == digit).nonzero()[0]) for digit in (7, 3, 0)]
    images = digits.gather(torch.tensor(chosen))[0].numpy()
    Image.fromarray(np.pad(np.concatenate([np.pad(image, 10) for image in images], axis=1), 20)).save("row.png")
    Image.fromarray(images[0]).save("7.png")
    return "row.png"


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """`answers("735", EOFError)` are what a person types in turn; it returns the list of prompts."""

    def prepare(*given: str | type[BaseException]) -> list[str]:
        remaining, prompts = iter(given), list[str]()

        def typed(prompt: str) -> str:
            prompts.append(prompt)
            answer = next(remaining)
            if isinstance(answer, str):
                return answer
            raise answer

        for stream in (sys.stdin, sys.stdout):
            monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
        monkeypatch.setattr("builtins.input", typed)
        return prompts

    return prepare


def saved(folder: str = "mine") -> list[str]:
    """The saved files as `3/row`, without the hash in their names."""
    return sorted(f"{path.parent.name}/{path.stem.rpartition('-')[0]}" for path in Path(folder).glob("*/*"))


def test_enter_accepts_and_the_images_are_those_that_were_read(command: Command, row: str, answers: Answers) -> None:
    prompts = answers("")
    done = command("predict", row, "--correct", "mine")
    assert (done.code, done.err, prompts) == (0, "", ["row.png [730] > "])
    assert "mine: 3 digits saved, 0 of them corrected" in done.out
    assert saved() == ["0/row", "3/row", "7/row"]
    (read,) = predict([row])
    for digit in read.digits:
        (path,) = Path("mine", str(digit.digit)).iterdir()
        assert np.asarray(Image.open(path)).tolist() == np.asarray(digit.image).tolist()


def test_training_on_the_folder_sees_the_same_images(command: Command, row: str, answers: Answers) -> None:
    answers("")
    command("predict", row, "--correct", "mine/train")
    (read,) = predict([row])
    Path("mine/test").mkdir()
    images = load(Data(name="folder", path="mine"), "train")
    assert images.classes == ("0", "3", "7")
    pixels, labels = images.gather(torch.arange(3))
    found = {images.classes[label]: image.tolist() for image, label in zip(pixels, labels.tolist(), strict=True)}
    assert found == {str(digit.digit): np.asarray(digit.image).tolist() for digit in read.digits}


def test_typed_digits_correct_and_a_dash_is_not_saved(command: Command, row: str, answers: Answers) -> None:
    answers("1 - 0")
    done = command("predict", row, "--correct", "mine")
    assert "mine: 2 digits saved, 1 of them corrected" in done.out
    assert saved() == ["0/row", "1/row"]


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("73", "3 signs needed, one for each box (730); you typed 2."),
        ("7301", "3 signs needed, one for each box (730); you typed 4."),
        ("73x", "'x' is none of 0 1 2 3 4 5 6 7 8 9, nor - (no digit), nor q (end)."),
    ],
)
def test_an_answer_that_does_not_fit_is_asked_again(
    command: Command, row: str, answers: Answers, typed: str, message: str
) -> None:
    prompts = answers(typed, "735")
    done = command("predict", row, "--correct", "mine")
    assert message in done.out
    assert (len(prompts), saved()) == (2, ["3/row", "5/row", "7/row"])


@pytest.mark.parametrize(("end", "code"), [("q", 0), (EOFError, 0), (KeyboardInterrupt, 130)])
def test_what_was_answered_stays_saved(
    command: Command, row: str, answers: Answers, end: str | type[BaseException], code: int
) -> None:
    answers("", end)
    done = command("predict", "7.png", row, "--correct", "mine")
    assert (done.code, saved()) == (code, ["7/7"])
    assert "mine: 1 digit saved" in done.out


def test_equal_images_are_saved_once_and_the_last_answer_counts(command: Command, row: str, answers: Answers) -> None:
    answers("", "")
    done = command("predict", "7.png", "7.png", "--correct", "mine")
    assert "mine: 1 digit saved, 0 of them corrected; 1 saved before" in done.out
    assert saved() == ["7/7"]
    answers("1")
    command("predict", "7.png", "--correct", "mine")
    assert saved() == ["1/7"]
    answers("-")
    command("predict", "7.png", "--correct", "mine")
    assert saved() == []


def test_what_is_refused_is_not_saved_unless_it_is_typed(command: Command, row: str, answers: Answers) -> None:
    prompts = answers("", "7")
    for expected in ([], ["7/7"]):
        command("predict", "7.png", "--min-confidence", "1", "--correct", "mine")
        assert saved() == expected
    assert prompts == ["7.png [-] > "] * 2


def test_a_digit_of_a_refused_picture_is_corrected_even_if_the_model_had_read_it(here: Path, answers: Answers) -> None:
    prompts = answers("7")
    digit = DigitPrediction(7, 0.6, (), (0, 0, 28, 28), image=np.zeros((28, 28), np.uint8))
    corrections = Corrections(Path("mine"), "0123456789")
    corrections.ask([Prediction("word.png", "", (digit,), None, refused=True)], lambda _: False)
    assert prompts == ["word.png [-] > "]
    assert corrections.summary() == "mine: 1 digit saved, 1 of them corrected"


def test_a_file_that_cannot_be_read_is_told_and_the_others_are_asked(
    command: Command, row: str, answers: Answers
) -> None:
    answers("")
    Path("no.png").write_text("no picture")
    done = command("predict", "no.png", "7.png", "--correct", "mine")
    assert (done.code, saved()) == (3, ["7/7"])
    assert "no.png" in done.err


def test_without_a_terminal_it_is_refused(command: Command, row: str) -> None:
    done = command("predict", row, "--correct", "mine")
    assert done == (2, "", f"{NO_TERMINAL}\n")
    assert not Path("mine").exists()


@pytest.mark.parametrize("option", [("--json",), ("--csv",), ("--out", "out.csv")])
def test_answers_for_programs_are_refused(
    command: Command, row: str, answers: Answers, option: tuple[str, ...]
) -> None:
    answers()
    done = command("predict", row, "--correct", "mine", *option)
    assert (done.code, done.out, done.err) == (2, "", f"{NO_CORRECTIONS}\n")


def test_a_page_is_asked_line_by_line(command: Command, row: str, answers: Answers) -> None:
    line = np.asarray(Image.open(row))
    Image.fromarray(np.concatenate([line, line])).save("page.png")
    prompts = answers("735", "q")
    command("predict", "page.png", "--correct", "mine")
    assert prompts == ["page.png, line 1 [730] > ", "page.png, line 2 [730] > "]
    assert saved() == ["3/page", "5/page", "7/page"]


def test_a_model_of_other_classes_is_refused(command: Command, row: str, answers: Answers) -> None:
    config = ["data.limit=20", "data.binary=7", "training.epochs=1", "report.plots=false", "--run-dir", "run"]
    command("train", "--config", "tiny.yaml", *config)
    answers()
    done = command("predict", row, "--checkpoint", "run", "--correct", "mine")
    assert (done.code, Path("mine").exists()) == (2, False)
    assert "--correct corrects digits, but the classes of this model are not 7, 7." in done.err


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_in_a_terminal(row: str) -> None:
    parent, child = os.openpty()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    arguments = [sys.executable, "-m", "mnist_trainer", "predict", "row.png", "--correct", "mine"]
    running = subprocess.Popen(arguments, stdin=child, stdout=child, stderr=child, env=environment)
    os.close(child)
    shown = b""
    while b"row.png [730] > " not in shown:
        shown += os.read(parent, 4096)
    os.write(parent, b"735\n")
    while b"3 digits saved, 1 of them corrected" not in shown:
        shown += os.read(parent, 4096)
    assert running.wait(timeout=60) == 0
    os.close(parent)
    assert saved() == ["3/row", "5/row", "7/row"]
