"""What is evaluated, on which data: `mnist_trainer/pipeline/evaluate.py`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mnist_trainer import Run, evaluate, train
from mnist_trainer.errors import CheckpointError, ConfigError, UsageError
from mnist_trainer.pipeline.evaluate import calibrate, compare
from mnist_trainer.storage.checkpoint import load_checkpoint, save_checkpoint
from mnist_trainer.storage.run_folder import check_output_file


@pytest.mark.parametrize("name", ["best.pt", "last.pt", "run.json", "metrics.csv", "config.yaml", "log.txt"])
def test_no_file_of_a_run_is_written_over(fake_run: Callable[..., Path], name: str) -> None:
    run = fake_run("runs/other")
    with pytest.raises(UsageError, match="belongs to the run in that folder, and is not overwritten"):
        check_output_file(run / name, [])


def test_another_file_can_be_written_anywhere(fake_run: Callable[..., Path], here: Path) -> None:
    for file in (fake_run("runs/other") / "calm.pt", here / "best.pt", here / "nowhere" / "best.pt"):
        check_output_file(file, [])


def test_a_split_that_is_told_in_other_words_is_the_same(tiny: dict[str, Any], here: Path) -> None:
    # Of the bundled digits a tenth validates by default: 20 of 200.
    one, other = (train(tiny, f"data.validation={count}", run_dir=here / count).folder for count in ("null", "20"))
    assert evaluate([one, other], split="validation").count == 20
    assert compare(one, other, split="validation").first.evaluation.count == 20
    third = train(tiny, "data.validation=21").folder
    with pytest.raises(CheckpointError, match=r"not have the same validation images: data\.validation is None for"):
        evaluate([one, third], split="validation")


@pytest.fixture
def grown(tiny: dict[str, Any], here: Path, pictures: Callable[[Path, dict[str, int]], None]) -> Path:
    """A model trained on a folder of 150 pictures, to which one more was added since."""
    pictures(here / "mine" / "train", {str(digit): digit for digit in range(10)})
    pictures(here / "mine" / "test", {str(digit): digit for digit in range(10)})
    data = {"name": "folder", "path": str(here / "mine"), "validation": 20}
    run = train({**tiny, "data": data}, run_dir=here / "run").folder
    assert evaluate(run, split="validation").count == 20
    shutil.copy(here / "mine" / "train" / "3" / "0.png", here / "mine" / "train" / "3" / "more.png")
    return run


def test_pictures_that_came_later_let_no_training_image_validate(grown: Path) -> None:
    message = (
        f"The images of folder have changed since {grown / 'best.pt'} was trained: 130 trained it and 20 validated it, "
        "and now these are 131 and 20. It may have been trained with images of the validation set; evaluate "
        "it on --split test."
    )
    for ask in (lambda: evaluate(grown, split="validation"), lambda: calibrate(grown)):
        with pytest.raises(CheckpointError) as caught:
            ask()
        assert str(caught.value) == message
    assert evaluate(grown).count == 150


def test_other_images_than_those_of_the_training_can_change(grown: Path, digits_run: Run, here: Path) -> None:
    path = f"data.path={here / 'mine'}"
    assert evaluate(digits_run.folder, "data.name=folder", path, split="validation").count == 100


def test_a_file_that_does_not_say_how_many_images_it_saw_is_believed(grown: Path, here: Path) -> None:
    whole = load_checkpoint(grown / "best.pt")
    assert whole.only.split_counts == (130, 20)
    save_checkpoint(here / "old.pt", replace(whole, members=(replace(whole.only, split_counts=None),)))
    assert evaluate(here / "old.pt", split="validation").count == 20


@pytest.mark.parametrize("change", ["data.augment.rotate=30", "data.augment={rotate: 30}", "data.batch_size=5"])
def test_what_only_training_uses_is_refused(digits_run: Run, change: str) -> None:
    with pytest.raises(ConfigError, match=r"override 1  data\.\S+: can't be changed in evaluation"):
        evaluate(digits_run.folder, change)
