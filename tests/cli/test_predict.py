from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mnist_trainer import Run, predict
from mnist_trainer.data.bundled import load_digits

Command = Callable[..., Any]


@pytest.fixture
def pictures(here: Path) -> list[str]:
    """A 7 and a 3 as pictures in the present folder."""
    digits = load_digits("test")
    for digit in (7, 3):
        Image.fromarray(digits.images[digits.labels == digit][0].numpy()).save(f"{digit}.png")
    return ["7.png", "3.png"]


def test_it_prints_digit_probability_and_model(command: Command, digits_run: Run, pictures: list[str]) -> None:
    done = command("predict", *pictures, "--checkpoint", digits_run.folder)
    found = predict(pictures, digits_run.folder)
    assert [prediction.text for prediction in found] == ["7", "3"]
    lines = [f"{entry.path}: {entry.text}  ({100 * (entry.confidence or 0):.1f} %)" for entry in found]
    assert done == (0, "\n".join([*lines, f"model: {digits_run.folder / 'best.pt'}"]) + "\n", "")


def test_without_a_checkpoint_the_latest_run_answers(
    command: Command, digits_run: Run, pictures: list[str], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    none = command("predict", "7.png")
    message = "There is no finished run under runs. Train one (mnist-train --config quickstart) or name a checkpoint."
    assert none == (4, "", f"{message}\n")
    monkeypatch.chdir(digits_run.folder.parents[1])
    done = command("predict", here / "7.png")
    assert done.out.splitlines()[-1] == f"model: {Path('runs/shared/best.pt')}"


def test_the_shape_of_the_json(command: Command, digits_run: Run, pictures: list[str]) -> None:
    done = command("predict", *pictures, "--checkpoint", digits_run.folder, "--json")
    assert (done.code, done.err, done.out.count("\n")) == (0, "", 1)
    first, second = json.loads(done.out)
    (digit,) = first.pop("digits")
    assert first == {
        "path": "7.png",
        "text": "7",
        "confidence": digit["confidence"],
        "refused": False,
        "reason": None,
        "error": None,
    }
    assert list(digit) == ["digit", "confidence", "probabilities", "box", "refused", "reason"]
    assert (digit["digit"], digit["refused"], digit["reason"]) == (7, False, None)
    assert max(digit["probabilities"]) == digit["probabilities"][7] == digit["confidence"]
    assert len(digit["probabilities"]) == 10
    assert len(digit["box"]) == 4
    assert second["text"] == "3"
    assert list(second) == ["path", "text", "digits", "confidence", "refused", "reason", "error"]


def test_a_picture_that_cannot_be_read_does_not_stop_the_others(
    command: Command, digits_run: Run, pictures: list[str]
) -> None:
    arguments = ["predict", "lost.png", *pictures, "tiny.yaml", "--checkpoint", digits_run.folder]
    done = command(*arguments)
    assert done.code == 3
    assert [line.split("  ")[0] for line in done.out.splitlines()][:2] == ["7.png: 7", "3.png: 3"]
    assert done.err.splitlines() == [
        "lost.png is not there. Check the spelling and the folder.",
        "tiny.yaml is no picture in a known format. Save it as PNG or JPEG.",
    ]
    done = command(*arguments, "--json")
    assert (done.code, done.err) == (3, "")
    lost, seven, three, text = json.loads(done.out)
    assert lost == {
        "path": "lost.png",
        "text": "",
        "digits": [],
        "confidence": None,
        "refused": False,
        "reason": None,
        "error": "lost.png is not there. Check the spelling and the folder.",
    }
    assert (seven["text"], three["text"], text["text"]) == ("7", "3", "")
