from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import ValidationError

from mnist_trainer.config.load import load_config
from mnist_trainer.config.schema import Config
from mnist_trainer.errors import ConfigError


def config(**sections: Any) -> Config:
    return Config.model_validate({"model": {"architecture": "mlp"}, **sections})


def model(**keys: Any) -> Mapping[str, Any]:
    return Config.model_validate({"model": keys}).model.model_dump()


def test_the_defaults() -> None:
    plain = config()
    assert plain.model_dump(exclude={"model", "report", "training"}) == {
        "name": "run",
        "seed": 0,
        "device": "auto",
        "precision": "auto",
        "deterministic": False,
        "threads": None,
        "data": {
            "name": "mnist",
            "path": None,
            "root": None,
            "batch_size": 128,
            "validation": None,
            "fold": None,
            "split": "stratified",
            "split_seed": 0,
            "normalize": "mean_std",
            "limit": None,
            "binary": None,
            "augment": None,
            "simulate": {"photographs": 0.0, "non_digits": 0.0, "rows": 0.0},
            "extra": None,
        },
        "loss": {
            "name": "cross_entropy",
            "reduction": "mean",
            "class_weights": None,
            "penalties": (),
            "smooth_weights": 0.0,
            "label_smoothing": 0.0,
        },
        "optimizer": {"name": "adam", "weight_decay": 0.0, "lr": 0.001, "betas": (0.9, 0.999), "eps": 1e-8},
        "schedule": {"name": "constant", "warmup": 0.0},
    }


@pytest.mark.parametrize(
    ("short", "widths"), [(64, (64,)), ([64, 32], (64, 32)), ({"layers": 3, "units": 8}, (8, 8, 8)), ([], ())]
)
def test_hidden_has_three_forms(short: Any, widths: tuple[int, ...]) -> None:
    assert model(architecture="mlp", hidden=short)["hidden"] == widths


@pytest.mark.parametrize(
    ("section", "short", "full"),
    [
        ("loss", "mse", {"name": "mse"}),
        ("loss", "sse", {"name": "mse", "reduction": "sum"}),
        ("loss", {"name": "sse", "reduction": "sum"}, {"name": "mse", "reduction": "sum"}),
        ("optimizer", "sgd", {"name": "sgd"}),
        ("schedule", "cosine", {"name": "cosine"}),
    ],
)
def test_a_bare_name_stands_for_the_mapping(section: str, short: Any, full: Any) -> None:
    assert config(**{section: short}) == config(**{section: full})


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("xavier", {"name": "xavier"}),
        ({"constant": 0.5}, {"name": "constant", "value": 0.5}),
        ({"constant": 0.5, "bias": 0.25}, {"name": "constant", "value": 0.5, "bias": 0.25}),
        ({"bias": 0.25, "constant": 0.5}, {"name": "constant", "value": 0.5, "bias": 0.25}),
        ({"normal": 0.1}, {"name": "normal", "std": 0.1}),
        ({"uniform": {"bound": 0.1}}, {"name": "uniform", "bound": 0.1}),
    ],
)
def test_short_forms_of_init(short: Any, full: Any) -> None:
    assert model(architecture="mlp", init=short) == model(architecture="mlp", init=full)


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("flatten", {"type": "flatten"}),
        ({"linear": "classes"}, {"type": "linear", "units": "classes"}),
        ({"linear": {"units": 3, "bias": False}}, {"type": "linear", "units": 3, "bias": False}),
        ({"dense": 3, "bias": False}, {"type": "linear", "units": 3, "bias": False}),
        ({"conv": 8, "kernel": 5}, {"type": "conv", "channels": 8, "kernel": 5}),
        ({"kernel": 5, "Conv2d": 8}, {"type": "conv", "channels": 8, "kernel": 5}),
        ({"conv": 8}, {"type": "conv", "channels": 8}),
        ({"pool": "global"}, {"type": "pool", "size": "global"}),
        ({"dropout": 0.1}, {"type": "dropout", "rate": 0.1}),
        ({"activation": "relu"}, {"type": "activation", "function": {"name": "relu"}}),
        (
            {"activation": {"name": "leaky_relu", "slope": 0.1}},
            {"type": "activation", "function": {"name": "leaky_relu", "slope": 0.1}},
        ),
        ({"activation": {"function": "relu"}}, {"type": "activation", "function": {"name": "relu"}}),
        ("squeeze_excite", {"type": "squeeze_excite", "reduction": 16}),
        ({"squeeze_excite": 8}, {"type": "squeeze_excite", "reduction": 8}),
        ({"residual": ["batch_norm"]}, {"type": "residual", "layers": [{"type": "batch_norm"}]}),
    ],
)
def test_short_forms_of_layers(short: Any, full: Any) -> None:
    assert model(architecture="layers", layers=[short]) == model(architecture="layers", layers=[full])


def test_nothing_is_converted_in_silence_and_nothing_unknown_is_taken() -> None:
    for sections in ({"seed": "1"}, {"seed": 1.0}, {"seed": True}, {"deterministic": 1}, {"sed": 1}):
        with pytest.raises(ValidationError):
            config(**sections)


def test_a_config_can_not_be_changed() -> None:
    with pytest.raises(ValidationError):
        config().seed = 1  # type: ignore[misc]


def test_whole_numbers_and_fractions_stay_what_they_are() -> None:
    assert (config(data={"validation": 1}).data.validation, type(config(data={"validation": 0.0}).data.validation)) == (
        1,
        float,
    )


@pytest.mark.parametrize("name", ["x" * 101, "a/b", "-a", "a\n", ""])
def test_a_name_that_no_folder_should_have_is_told_in_one_way(name: str) -> None:
    assert load_config({"model": {"architecture": "mlp"}, "name": "é" * 100}).name == "é" * 100
    with pytest.raises(ConfigError) as caught:
        load_config({"model": {"architecture": "mlp"}, "name": name})
    (problem,) = caught.value.problems
    assert problem.message.endswith(
        "is not possible here (name of the run and its folder: letters, digits and _ . + -)"
    )


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("emnist", "emnist-digits"),
        ("EMNIST", "emnist-digits"),
        ("emnist_digits", "emnist-digits"),
        ("fashion", "fashion-mnist"),
        ("fashion_mnist", "fashion-mnist"),
        ("FashionMNIST", "fashion-mnist"),
        ("k-mnist", "kmnist"),
        ("MNIST", "mnist"),
        ("Q-MNIST", "qmnist"),
        ("USPS", "usps"),
        ("Digits", "digits"),
    ],
)
def test_usual_spellings_of_data_sets_are_taken(written: str, name: str) -> None:
    read = load_config({"model": {"architecture": "mlp"}}, [f"data.name={written}"])
    assert read.data.name == name
    assert load_config("quickstart", [f"data.name={written}"]).data.name == name


def test_other_names_of_data_sets_are_still_refused() -> None:
    for name in ("mnst", "emnist-letters", 3):
        with pytest.raises(ConfigError, match=r"data\.name"):
            load_config({"data": {"name": name}, "model": {"architecture": "mlp"}})
