from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from mnist_trainer.config.schema import Data, DataName
from mnist_trainer.data.datasets import PUBLISHED
from mnist_trainer.data.loaders import class_names, has_validation, load
from mnist_trainer.errors import DataError

BUILT_IN = [name for name in get_args(DataName) if name != "folder"]


def test_every_name_of_the_config_is_known() -> None:
    assert set(BUILT_IN) == {*PUBLISHED, "digits"}


@pytest.mark.parametrize("name", BUILT_IN)
def test_class_names_need_no_files(name: str) -> None:
    data = Data(name=name, root="nowhere")
    names = class_names(data)
    assert len(names) == len(set(names)) == 10
    assert class_names(data.model_copy(update={"binary": 7})) == (f"not {names[7]}", names[7])
    assert not has_validation(data)
    assert not Path("nowhere").exists()


def test_fashion_has_words_and_the_rest_digits() -> None:
    assert class_names(Data(name="fashion-mnist"))[7:] == ("Sneaker", "Bag", "Ankle boot")
    assert class_names(Data(name="usps")) == tuple("0123456789")


def test_binary_names_the_classes_there_are() -> None:
    with pytest.raises(DataError) as caught:
        class_names(Data(name="kmnist", binary=11))
    assert str(caught.value) == (
        "data.binary is 11, and kmnist has the classes o, ki, su, tsu, na, ha, ma, ya, re, wo (0 to 9)."
    )


def test_only_a_folder_has_validation_images_of_its_own() -> None:
    with pytest.raises(DataError) as caught:
        load(Data(name="mnist", root="nowhere"), "validation")
    assert str(caught.value) == "mnist brings no validation images of its own; they are split from its training images."


def test_load_ignores_limit_and_binary(make: Callable[..., Any], tmp_path: Path) -> None:
    made = make("mnist")
    made.put(tmp_path)
    whole = load(Data(root=str(tmp_path), limit=1, binary=3, validation=5), "train")
    assert whole.labels.tolist() == made.labels["train"].tolist()
    assert whole.classes == tuple("0123456789")
