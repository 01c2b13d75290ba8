from __future__ import annotations

from importlib.metadata import PackageNotFoundError

import pytest

import mnist_trainer
from mnist_trainer.config.checks import find_warnings
from mnist_trainer.config.load import dump_config, load_config
from mnist_trainer.config.shipped import package_version, shipped, shipped_path

NAMES = [
    "quickstart",
    "neuron",
    "regression",
    "lecture",
    "lecture-softmax",
    "lecture-log-softmax",
    "gradient-descent",
    "sgd-momentum",
    "custom-error",
    "maxout",
    "early-stopping",
    "mlp",
    "cnn",
    "fast",
    "fashion",
    "mlp-deformed",
    "cnn-deformed",
    "bundled",
    "bundled-rows",
]


def test_all_are_there_in_the_order_of_a_lesson_each_with_a_phrase() -> None:
    assert list(shipped()) == NAMES
    assert {path.stem for path in shipped_path("mlp").parent.glob("*.yaml")} == set(NAMES)
    for phrase in shipped().values():
        assert 20 < len(phrase) < 110
        assert not phrase.startswith("#")


@pytest.mark.parametrize("name", NAMES)
def test_each_loads_under_its_own_name_and_survives_being_written(name: str) -> None:
    config = load_config(name)
    assert config.name == name
    path = shipped_path(name)
    assert path.read_text(encoding="utf-8").startswith("# yaml-language-server: $schema=schema.json\n# ")
    assert load_config(path) == config
    assert f"name: {name}\n" in dump_config(config)


def test_only_the_one_that_shall_show_it_warns() -> None:
    assert [name for name in NAMES if find_warnings(load_config(name))] == ["lecture-softmax"]


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(KeyError):
        shipped_path("../mlp")


def test_the_version_is_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: f"1.2.3 of {name}")
    assert package_version() == mnist_trainer.__version__ == "1.2.3 of mnist-trainer"

    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", missing)
    assert package_version() == mnist_trainer.__version__ == "unknown"
