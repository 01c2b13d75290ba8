from __future__ import annotations

from typing import Any

import pytest

from mnist_trainer.config.classes import label_of, with_labels
from mnist_trainer.config.load import load_config
from mnist_trainer.config.schema import Config, Data

FOLDER = Data(name="folder", path="pictures")


@pytest.mark.parametrize(
    ("name", "classes", "label"),
    [
        (7, tuple("123456789"), 6),
        ("7", tuple("123456789"), 6),
        (0, tuple("123456789"), None),
        (7, ("06", "07", "08"), 1),
        ("07", ("7", "8"), 0),
        (7, ("07", "7"), 1),
        ("07", ("07", "7"), 0),
        ("007", ("07", "7"), None),
        ("seven", ("eight", "seven"), 1),
        (1, ("eight", "seven"), None),
        (7, ("eight", "seven"), 1),
        ("Seven", ("eight", "seven"), 1),
        ("SIEBEN", ("6", "7"), 1),
        ("f\u00fcnf", ("fu\u0308nf", "vier"), 0),
        ("fu\u0308nf", ("f\u00fcnf", "vier"), 0),
        ("9" * 5000, ("1", "2"), None),
    ],
)
def test_a_class_of_a_folder_goes_by_its_name(name: int | str, classes: tuple[str, ...], label: int | None) -> None:
    assert label_of(name, classes, FOLDER) == label


def test_a_published_class_goes_by_its_label_too() -> None:
    classes = ("T-shirt/top", "Trouser")
    assert [label_of(name, classes, Data(name="fashion-mnist")) for name in (1, "1", "Trouser", 2)] == [1, 1, 1, None]


def config(**sections: Any) -> Config:
    return load_config({"model": {"architecture": "mlp"}, **sections})


def test_names_become_labels() -> None:
    found = with_labels(
        config(
            data={"name": "folder", "path": "x", "augment": {"halve_for": [7, "9"]}},
            loss={"name": "mse", "class_weights": {7: 2.5}, "penalties": [{"true": 9, "predicted": "8"}]},
        ),
        ("7", "8", "9"),
    )
    assert found.data.augment is not None and found.data.augment.halve_for == (0, 2)
    assert found.loss.class_weights == (2.5, 1, 1)
    assert (found.loss.penalties[0].true, found.loss.penalties[0].predicted) == (2, 1)


def test_the_ten_digits_are_their_own_labels() -> None:
    made = config(
        data={"augment": {"halve_for": [1, 7]}},
        loss={"name": "mse", "class_weights": [*range(10)], "penalties": [{"true": 7, "predicted": 2}]},
    )
    assert with_labels(made, tuple("0123456789")) == made


def test_a_yes_or_no_task_has_the_classes_0_and_1() -> None:
    made = config(data={"binary": 7}, loss={"name": "bce", "penalties": [{"true": 1, "predicted": 0}]})
    assert with_labels(made, ("not 7", "7")) == made
