"""Keys that name a class of a folder mean the class of that name, not the one at that place."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mnist_trainer.config.load import load_config
from mnist_trainer.errors import CheckpointError, ConfigError
from mnist_trainer.pipeline.evaluate import evaluate
from mnist_trainer.pipeline.plan import plan
from mnist_trainer.pipeline.preparation import prepare
from mnist_trainer.pipeline.train import train

Pictures = Callable[[Path, dict[str, int]], None]


@pytest.fixture
def numbered(here: Path, pictures: Pictures, tiny: dict[str, Any]) -> dict[str, Any]:
    """A config of a folder with the classes 1 to 4."""
    pictures(here / "own", {str(digit): digit for digit in (1, 2, 3, 4)})
    return {**tiny, "data": {"name": "folder", "path": str(here / "own"), "validation": 8}}


def test_binary_is_the_class_of_that_name(numbered: dict[str, Any]) -> None:
    run = train(numbered, "data.binary=3", "loss=bce")
    assert run.test is not None and [each.label for each in run.test.per_class] == ["not 3", "3"]
    assert evaluate(run.folder).per_class == run.test.per_class
    whole, asked = prepare(numbered).setup, prepare(numbered, "data.binary=3").setup
    assert asked.train.labels.tolist() == (whole.train.labels == 2).long().tolist()


def test_words_are_names_too(here: Path, pictures: Pictures, tiny: dict[str, Any]) -> None:
    pictures(here / "own", {"seven": 7, "one": 1, "two": 2})
    data = {"name": "folder", "path": str(here / "own"), "validation": 6}
    loss = {"name": "cross_entropy", "class_weights": {"seven": 2}, "penalties": [{"true": "two", "predicted": "one"}]}
    state = prepare({**tiny, "data": {**data, "augment": {"rotate": 5, "halve_for": ["two", "seven"]}}, "loss": loss})
    assert state.setup.classes == ("one", "seven", "two")
    assert state.criterion.class_weights.tolist() == [1, 2, 1]
    assert state.criterion.penalties.nonzero().tolist() == [[2, 0]]
    augment = state.setup.augment_for(0)
    assert augment is not None and augment.halve_for == (2, 1)
    assert state.setup.config.loss.class_weights == {"seven": 2}
    assert prepare({**tiny, "data": {**data, "binary": "seven"}}).setup.classes == ("not seven", "seven")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.binary=0", "data.binary: there is no class 0: the classes are 1, 2, 3, 4"),
        ("loss.class_weights=1,1,1,2", "loss.class_weights: a list is for classes named 0, 1, 2 …; write "
         "{1: 1, 2: 1, 3: 1, 4: 2}"),
        ("loss.class_weights.0=2", "loss.class_weights.0: there is no class 0: they are 1, 2, 3, 4"),
    ],
)  # fmt: skip
def test_an_unknown_class_is_told_before_training(numbered: dict[str, Any], override: str, message: str) -> None:
    for ask in (train, lambda *given: plan(load_config(given[0], given[1:]))):
        with pytest.raises(ConfigError) as caught:
            ask(numbered, override)
        assert str(caught.value) == message
    assert not Path("runs").exists()


def test_weights_by_name_survive_the_run_folder(numbered: dict[str, Any]) -> None:
    run = train(numbered, "loss.class_weights={4: 2.5}")
    assert "class_weights: {'4': 2.5}" in (run.folder / "config.yaml").read_text()
    assert json.loads((run.folder / "run.json").read_text())["status"] == "finished"
    assert evaluate(run.folder).loss == run.test.loss


def test_a_yes_or_no_model_asks_for_the_same_class_of_a_folder(
    here: Path, pictures: Pictures, tiny: dict[str, Any]
) -> None:
    run = train(tiny, "data.binary=7", "loss=bce")
    pictures(here / "own", {"one": 1, "seven": 7, "two": 2})
    own = ("data.name=folder", f"data.path={here / 'own'}")
    found = evaluate(run.folder, *own)
    assert [(each.label, each.count) for each in found.per_class] == [("not 7", 30), ("7", 15)]
    assert evaluate(run.folder, *own, "data.binary=seven") == found
    with pytest.raises(CheckpointError, match="knows the classes not 7, 7, and folder has not two, two"):
        evaluate(run.folder, *own, "data.binary=2")
