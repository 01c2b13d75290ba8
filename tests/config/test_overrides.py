from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mnist_trainer.config.load import load_config
from mnist_trainer.errors import UsageError

Told = Callable[..., list[str]]
BASE = {
    "model": {"architecture": "mlp", "hidden": [64, 32], "activation": "relu"},
    "optimizer": "adam",
    "training": {"early_stopping": None},
}
LAYERS = {"model": {"architecture": "layers", "layers": ["flatten", {"linear": 64}, {"linear": "classes"}]}}


def reach(value: Any, path: str) -> Any:
    for key in path.split("."):
        value = value[int(key)] if key.isdecimal() else getattr(value, key)
    return value


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("seed=7", "seed", 7),
        (" seed = 7 ", "seed", 7),
        ("optimizer.lr=1e-2", "optimizer.lr", 0.01),
        ("optimizer.lr=1e-2", "optimizer.name", "adam"),
        ("optimizer={name: sgd, momentum: 0.9}", "optimizer.momentum", 0.9),
        ("optimizer=sgd", "optimizer.name", "sgd"),
        ("model.hidden=[128,64]", "model.hidden", (128, 64)),
        ("model.hidden.1=5", "model.hidden", (64, 5)),
        ("model.hidden=7", "model.hidden", (7,)),
        ("model.activation.name=tanh", "model.activation.name", "tanh"),
        ("model.init.constant=0.5", "model.init.value", 0.5),
        ("training.early_stopping.patience=3", "training.early_stopping.patience", 3),
        ("data.validation=0.1", "data.validation", 0.1),
        ("data.root=null", "data.root", None),
        ("data.root=a=b", "data.root", "a=b"),
        ("schedule.warmup=0.1", "schedule.name", "constant"),
        ("data.path=my digits #2", "data.path", "my digits #2"),
        ("data.path=#2", "data.path", "#2"),
        ("data.path=2024", "data.path", "2024"),
        ("data.path=2024-05-01", "data.path", "2024-05-01"),
        ("data.path=on", "data.path", "on"),
        ("data.path=True", "data.path", "True"),
        ("data.path=~", "data.path", "~"),
        ("data.path=~/a: b, [c]", "data.path", "~/a: b, [c]"),
        (r"data.path=C:\Users\new", "data.path", r"C:\Users\new"),
        (r'data.path="C:\Users\new"', "data.path", r"C:\Users\new"),
        ("data.path='it''s # null'", "data.path", "it's # null"),
        ("data.path='null'", "data.path", "null"),
        ("data.root=1e3", "data.root", "1e3"),
        ("model.init_from=007", "model.init_from", "007"),
        ("name=007", "name", "007"),
        ("name=null", "name", "null"),
        ("name=yes", "name", "yes"),
    ],
)
def test_an_override_goes_where_its_key_says(override: str, path: str, value: object) -> None:
    assert reach(load_config({**BASE, "data": {"name": "folder", "path": "."}}, [override]), path) == value


@pytest.mark.parametrize(
    ("changes", "overrides"),
    [
        ({"training": {"epochs": 3}, "seed": 1}, ["training.epochs=3", "seed=1"]),
        ({"optimizer": {"lr": 0.1}}, ["optimizer.lr=0.1"]),
        ({"optimizer": {"name": "sgd", "momentum": 0.5}}, ["optimizer={name: sgd, momentum: 0.5}"]),
        ({"optimizer.lr": 0.1}, ["optimizer.lr=0.1"]),
        ({"model": {"hidden": {"layers": 2, "units": 4}}}, ["model.hidden={layers: 2, units: 4}"]),
        ({"model": {"hidden": (4, 4), "init": {"constant": 0.5}}}, ["model.hidden=[4,4]", "model.init.constant=0.5"]),
        ({"data": {"name": "folder", "path": Path("2024")}}, ["data={name: folder, path: '2024'}"]),
        ({"data": {"root": Path("null")}}, ["data.root='null'"]),
        ({"data": {"root": None, "augment": {"rotate": 5}}}, ["data.root=null", "data.augment.rotate=5"]),
    ],
)
def test_a_mapping_changes_what_it_names(changes: dict[str, Any], overrides: list[str]) -> None:
    assert load_config(BASE, [changes]) == load_config(BASE, changes) == load_config(BASE, overrides)


@pytest.mark.parametrize(
    ("override", "text"),
    [
        (5, "A change of a config is 'training.epochs=3' or {'training': {'epochs': 3}}, not 5."),
        (None, "A change of a config is 'training.epochs=3' or {'training': {'epochs': 3}}, not None."),
        ({"optimizer": {"lr": object}}, "optimizer.lr can't be <class 'object'>: a config has text, numbers, lists …"),
    ],
)
def test_what_is_no_override_is_told(override: Any, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_config(BASE, [override])
    assert str(caught.value) == text


def test_of_several_for_one_key_the_last_wins_and_they_build_on_each_other() -> None:
    config = load_config(
        BASE, ["seed=1", "optimizer=sgd", "optimizer.momentum=0.5", "seed=2", "optimizer.momentum=0.9"]
    )
    assert (config.seed, reach(config, "optimizer.momentum")) == (2, 0.9)


def test_short_forms_of_layers_are_written_out_where_needed() -> None:
    config = load_config(LAYERS, ["model.layers.1.bias=false", "model.layers.2.linear=10", "model.layers.1.units=32"])
    assert reach(config, "model.layers.1.units") == 32
    assert reach(config, "model.layers.1.bias") is False
    assert reach(config, "model.layers.2.units") == 10


def test_the_source_mapping_is_left_alone() -> None:
    load_config(BASE, ["model.hidden.0=5", "optimizer.lr=0.1"])
    assert BASE["model"] == {"architecture": "mlp", "hidden": [64, 32], "activation": "relu"}
    assert BASE["optimizer"] == "adam"


@pytest.mark.parametrize(
    ("overrides", "lines"),
    [
        (["seed=1", "epochs"], ["override 2  no '=' in 'epochs'; write key=value, as in optimizer.lr=0.01"]),
        (["=1"], ["override 1  an empty key in '=1'; write key=value or section.key=value"]),
        (["model..hidden=1"], ["override 1  an empty key in 'model..hidden=1'; write key=value or section.key=value"]),
        (["seed="], ["override 1  seed: no value after '='; null switches a part off"]),
        (["model.hidden=[1"], ["override 1  model.hidden: "
         "the '[' is never closed; a list is [1, 2, 3]"]),
        (["seed=off"], ["override 1  seed: off is false for some programs and text for others; write false, "
         "or quote it; null switches a part off"]),
        (["seed=1 #2"], ["override 1  seed: expected a whole number, got text '1 #2'"]),
        (["training.ema=#2"], ["override 1  training.ema: expected a number, got text '#2'"]),
        (["name=a #2"], ["override 1  name: 'a #2' is not possible here "
         "(name of the run and its folder: letters, digits and _ . + -)"]),
        (["data={limit: 1, limit: 2}"], ["override 1  data.limit: repeated key; keep one of them"]),
        (["model.hidden.2=1"], ["override 1  model.hidden.2: no such item; its items are 0 to 1"]),
        (["model.hidden.x=1"], ["override 1  model.hidden.x: no such item; its items are 0 to 1"]),
        (["seed.x=1"], ["override 1  seed: expected a whole number, got a mapping"]),
        (["sed=1"], ["override 1  sed: unknown key; did you mean 'seed'?"]),
        (["seed=-1", "seed=-2"], ["override 2  seed: must be at least 0, got -2"]),
        (["optimizer.lrr=1"], ["override 1  optimizer.lrr: unknown key; did you mean 'lr'?"]),
        (["loss.penalties=[{true: 7}]"], ["override 1  loss.penalties.0.predicted: missing "
         "(the wrong class whose probability costs extra)"]),
    ],
)  # fmt: skip
def test_mistakes_in_overrides(config_errors: Told, overrides: list[str], lines: list[str]) -> None:
    assert config_errors("model: {architecture: mlp, hidden: [3, 3]}\nloss: mse\n", *overrides) == lines


def test_an_override_mends_what_the_schema_finds_in_the_file(config_errors: Told) -> None:
    assert config_errors("model: {architecture: mlp}\nseed: -1\n", "seed=1") == []


def test_overrides_are_checked_even_when_the_file_is_unreadable(config_errors: Told) -> None:
    assert config_errors("a: [1", "seed=off", "x") == [
        "c.yaml:1:4  the '[' is never closed; a list is [1, 2, 3]",
        "override 1  seed: off is false for some programs and text for others; write false, or quote it; "
        "null switches a part off",
        "override 2  no '=' in 'x'; write key=value, as in optimizer.lr=0.01",
    ]
