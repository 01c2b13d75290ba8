"""Keys that contradict each other: `mnist_trainer/config/checks.py`."""

from __future__ import annotations

from typing import Any

import pytest

from mnist_trainer.config.checks import Finding, find_problems
from mnist_trainer.config.schema import Config


def found(classes: tuple[str, ...] | None = None, **sections: Any) -> list[Finding]:
    return find_problems(Config.model_validate({"model": {"architecture": "mlp"}, **sections}), classes)


def layered(*layers: Any, **settings: Any) -> dict[str, Any]:
    return {"architecture": "layers", "layers": list(layers), **settings}


NEURON = {"architecture": "neuron"}
YES_OR_NO = {"binary": 7}


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"model": {"architecture": "cnn"}},
        {"model": NEURON, "data": YES_OR_NO, "loss": "bce"},
        {"data": YES_OR_NO},
        {"data": YES_OR_NO, "loss": {"name": "bce", "class_weights": [1, 5]}},
        {"data": YES_OR_NO, "model": layered("flatten", {"linear": 2})},
        {"data": YES_OR_NO, "model": layered("flatten", {"linear": 1}), "loss": "mse"},
        {"model": {"architecture": "mlp", "output": "log_softmax"}, "loss": "nll"},
        {"loss": {"name": "cross_entropy", "penalties": [{"true": 7, "predicted": 2}]}},
        {"data": {"name": "folder", "path": "pictures"}, "loss": {"name": "mse", "class_weights": [1, 2, 3]}},
        {"data": {"name": "folder", "path": "pictures"}, "model": layered("flatten", {"linear": 26})},
        {"data": {"validation": 0}},
        {"data": {"fold": "5/5", "split": "writers"}, "training": {"refit": True}},
        {"optimizer": {"name": "sgd", "momentum": 0.9, "nesterov": True}},
        {"model": {"architecture": "mlp", "init_from": "runs/a", "freeze": 1}},
        {"training": {"accumulate": 4}},
        {"training": {"refit": True, "early_stopping": {"patience": 2}}, "schedule": "one_cycle"},
        {"data": {"augment": {"halve_for": [1, 7], "clean_last": 9}}},
        {"data": {"name": "folder", "path": "pictures", "augment": {"halve_for": [25]}}},
        {"data": {"simulate": {"photographs": 1, "non_digits": 0.4}}, "training": {"mixup": 0.2, "refit": True}},
        {
            "data": {"simulate": {"photographs": 0.5}},
            "loss": {"name": "mse", "penalties": [{"true": 7, "predicted": 2}]},
        },
        {"data": {"simulate": {"non_digits": 0.5}}, "loss": {"name": "cross_entropy", "label_smoothing": 0.1}},
        {"data": {"name": "kmnist", "simulate": {"photographs": 0}}},
    ],
)
def test_what_fits_together_is_not_complained_about(sections: dict[str, Any]) -> None:
    assert found(**sections) == []


@pytest.mark.parametrize(
    ("sections", "path", "message"),
    [
        (
            {"data": {"augment": {"halve_for": [1, 10]}}},
            ("data", "augment", "halve_for", 1),
            "there is no class 10: they are 0 to 9",
        ),
        (
            {"data": {"binary": 7, "augment": {"halve_for": [7]}}},
            ("data", "augment", "halve_for", 0),
            "there is no class 7: they are 0 to 1 (with data.binary 0 is no, 1 is yes)",
        ),
        (
            {"data": {"augment": {"clean_last": 5}}, "training": {"epochs": 5}},
            ("data", "augment", "clean_last"),
            "no epoch with augmentation is left: training.epochs is 5",
        ),
        (
            {"data": {"validation": 0}, "training": {"refit": True}},
            ("training", "refit"),
            "there are no validation images to add: data.validation is 0",
        ),
        (
            {"schedule": "plateau", "training": {"refit": True}},
            ("training", "refit"),
            "plateau needs validation images, and the second fit has none; use another schedule",
        ),
        (
            {"training": {"refit": True, "max_minutes": 5}},
            ("training", "refit"),
            "the second fit has a fixed number of epochs, so max_minutes can't apply; set training.epochs",
        ),
        (
            {"data": {"name": "folder"}},
            ("data", "path"),
            "missing: data.name 'folder' needs the path of the pictures",
        ),
        (
            {"data": {"name": "usps", "path": "here"}},
            ("data", "path"),
            "only data.name 'folder' has a path; 'usps' is found under data.root",
        ),
        ({"data": {"fold": "4/3"}}, ("data", "fold"), "k/K needs 2 parts or more, and k from 1 to K; got 4/3"),
        ({"data": {"fold": "1/1"}}, ("data", "fold"), "k/K needs 2 parts or more, and k from 1 to K; got 1/1"),
        (
            {"data": {"fold": "1/5", "validation": 0}},
            ("data", "fold"),
            "decides how many images validate: leave out data.validation, or set it to null",
        ),
        (
            {"data": {"name": "digits", "split": "writers"}},
            ("data", "split"),
            "the writers are known of mnist and qmnist alone, not of digits",
        ),
        ({"data": {"binary": 10}}, ("data", "binary"), "there is no class 10: the classes are 0 to 9"),
        (
            {"model": NEURON, "loss": "bce"},
            ("model", "architecture"),
            "a single neuron is for yes/no tasks: set data.binary to the class to recognize "
            "(one neuron for each class: mlp with hidden: [])",
        ),
        (
            {"model": NEURON, "data": YES_OR_NO},
            ("loss", "name"),
            "a single neuron has one output and cross_entropy needs one per class; use bce",
        ),
        (
            {"loss": "nll"},
            ("loss", "name"),
            "nll needs model.output: log_softmax, not none; or use cross_entropy",
        ),
        (
            {"loss": "bce", "model": {"architecture": "mlp", "output": "log_softmax"}},
            ("loss", "name"),
            "bce needs outputs from 0 to 1, and log_softmax gives none above 0; use nll",
        ),
        (
            {"loss": "bce", "model": {"architecture": "mlp", "output": "softmax"}, "data": YES_OR_NO},
            ("model", "output"),
            "softmax of a single output is constant; use sigmoid or none",
        ),
        (
            {"loss": {"name": "mse", "class_weights": [1, 2]}},
            ("loss", "class_weights"),
            "needs 10 numbers, one per class, got 2",
        ),
        (
            {"loss": {"name": "cross_entropy", "class_weights": [1] * 10}, "data": YES_OR_NO},
            ("loss", "class_weights"),
            "needs 2 numbers, one per class, got 10",
        ),
        (
            {"loss": {"name": "mse", "class_weights": [0] * 10}},
            ("loss", "class_weights"),
            "all zero: nothing would be learned",
        ),
        (
            {"loss": {"name": "mse", "penalties": [{"true": 7, "predicted": 2}, {"true": 12, "predicted": 2}]}},
            ("loss", "penalties", 1, "true"),
            "there is no class 12: they are 0 to 9",
        ),
        (
            {"loss": {"name": "bce", "penalties": [{"true": 1, "predicted": 2}]}, "data": YES_OR_NO},
            ("loss", "penalties", 0, "predicted"),
            "there is no class 2: they are 0 to 1 (with data.binary 0 is no, 1 is yes)",
        ),
        (
            {"loss": {"name": "mse", "penalties": [{"true": 4, "predicted": 4}]}},
            ("loss", "penalties", 0, "predicted"),
            "4 is the same class as 4",
        ),
        (
            {"optimizer": {"name": "sgd", "nesterov": True}},
            ("optimizer", "nesterov"),
            "needs momentum > 0, and momentum is 0",
        ),
        (
            {"optimizer": "gradient_descent", "training": {"accumulate": 2}},
            ("training", "accumulate"),
            "gradient_descent already makes one step of all batches; leave it out",
        ),
        (
            {"data": {"validation": 0}, "training": {"early_stopping": {}}},
            ("training", "early_stopping"),
            "needs validation images, and data.validation is 0",
        ),
        (
            {"training": {"stop": {}}},
            ("training", "stop"),
            "needs gradient_norm or train_loss, as in {train_loss: 0.01}",
        ),
        (
            {"data": {"validation": 0.0}, "schedule": "plateau"},
            ("schedule", "name"),
            "plateau needs validation images, and data.validation is 0",
        ),
        (
            {"model": {"architecture": "mlp", "freeze": 1}},
            ("model", "freeze"),
            "without model.init_from it would freeze random weights",
        ),
        (
            {"model": {"architecture": "cnn", "channels": [4] * 5}},
            ("model", "pool"),
            "a window of 2 does not fit into the picture 4×1×1",
        ),
        (
            {"model": layered("flatten", {"residual": ["batch_norm", {"conv": 4}]}, {"linear": "classes"})},
            ("model", "layers", 1, "layers", 1),
            "conv needs a picture, got a row of 784 numbers",
        ),
        (
            {"model": layered("flatten", {"linear": 9})},
            ("model", "layers", 1),
            "the last layer outputs 9, but 10 is needed: end with linear: classes",
        ),
        (
            {"model": layered({"conv": 4})},
            ("model", "layers", 0),
            "the last layer outputs 4×28×28, but 10 is needed: end with linear: classes",
        ),
        (
            {"model": layered("flatten", {"linear": 10}), "data": YES_OR_NO},
            ("model", "layers", 1),
            "the last layer outputs 10, but 2 is needed: end with linear: classes",
        ),
        (
            {"model": layered("flatten", {"linear": 2}), "data": YES_OR_NO, "loss": "bce"},
            ("model", "layers", 1),
            "the last layer outputs 2, but 1 is needed: end with linear: classes",
        ),
        (
            {"model": layered({"conv": 4}), "data": {"name": "folder", "path": "pictures"}},
            ("model", "layers", 0),
            "the last layer outputs 4×28×28, but 10 is needed: end with linear: classes",
        ),
    ],
)
def test_one_mistake_one_finding(sections: dict[str, Any], path: tuple[str | int, ...], message: str) -> None:
    assert found(**sections) == [(path, message)]


def test_all_mistakes_are_told_at_once() -> None:
    sections = {"data": {"path": "here", "binary": 12}, "model": {"architecture": "mlp", "freeze": 1}, "loss": "nll"}
    assert [path for path, _ in found(**sections)] == [
        ("data", "path"),
        ("data", "binary"),
        ("loss", "name"),
        ("model", "freeze"),
    ]


def test_a_folder_is_judged_once_its_classes_are_known() -> None:
    folder: dict[str, Any] = {"data": {"name": "folder", "path": "pictures"}}
    weights = {"loss": {"name": "mse", "class_weights": [1, 2, 3]}}
    four = ("0", "1", "2", "3")
    assert found(**folder, **weights, classes=four) == [
        (("loss", "class_weights"), "needs 4 numbers, one per class, got 3")
    ]
    assert found(**folder, model=layered("flatten", {"linear": 3}), classes=four) == [
        (("model", "layers", 1), "the last layer outputs 3, but 4 is needed: end with linear: classes")
    ]


ONE_TO_NINE = tuple("123456789")


@pytest.mark.parametrize(
    ("classes", "sections", "path", "message"),
    [
        (ONE_TO_NINE, {"data": {"binary": 0}}, ("data", "binary"), "there is no class 0: the classes are "
         "1, 2, 3, 4, 5, 6, 7, 8, 9"),
        (ONE_TO_NINE, {"data": {"augment": {"halve_for": [9, 0]}}}, ("data", "augment", "halve_for", 1),
         "there is no class 0: they are 1, 2, 3, 4, 5, 6, 7, 8, 9"),
        (("cat", "dog"), {"data": {"binary": 1}}, ("data", "binary"), "there is no class 1: the classes are cat, dog"),
        (("7", "07"), {"data": {"binary": "007"}}, ("data", "binary"), "there is no class 007: the classes are 7, 07"),
        (("one", "two"), {"loss": {"name": "mse", "penalties": [{"true": "one", "predicted": "too"}]}},
         ("loss", "penalties", 0, "predicted"), "there is no class too: they are one, two"),
        (("07", "08"), {"loss": {"name": "mse", "penalties": [{"true": 7, "predicted": "07"}]}},
         ("loss", "penalties", 0, "predicted"), "07 is the same class as 7"),
        (("1", "2"), {"loss": {"name": "mse", "class_weights": [1, 2.5]}}, ("loss", "class_weights"),
         "a list is for classes named 0, 1, 2 …; write {1: 1, 2: 2.5}"),
        (("1", "2"), {"loss": {"name": "mse", "class_weights": {"0": 1}}}, ("loss", "class_weights", "0"),
         "there is no class 0: they are 1, 2"),
        (("1", "02"), {"loss": {"name": "mse", "class_weights": {"02": 1, "2": 2}}}, ("loss", "class_weights", "02"),
         "another name is the same class; keep one of them"),
        (("1", "2"), {"loss": {"name": "mse", "class_weights": {"1": 0, "2": 0}}}, ("loss", "class_weights"),
         "all zero: nothing would be learned"),
        (None, {"data": {"binary": "Boot"}}, ("data", "binary"), "there is no class Boot: the classes are T-shirt/top, "
         "Trouser, Pullover, Dress, Coat, Sandal, Shirt, Sneaker, Bag, Ankle boot (0 to 9)"),
    ],
)  # fmt: skip
def test_an_unknown_class_is_told_with_the_known_ones(
    classes: tuple[str, ...] | None, sections: dict[str, Any], path: tuple[Any, ...], message: str
) -> None:
    data = {"name": "folder", "path": "pictures"} if classes else {"name": "fashion-mnist"}
    data |= sections.pop("data", {})
    assert found(**sections, data=data, classes=classes) == [(path, message)]


NONE = ("data", "simulate", "non_digits")


@pytest.mark.parametrize(
    ("sections", "path", "message"),
    [
        ({"loss": "bce"}, NONE, "needs cross_entropy and model.output: none, not bce"),
        ({"loss": "mse"}, NONE, "needs cross_entropy and model.output: none, not mse"),
        (
            {"loss": "nll", "model": {"architecture": "mlp", "output": "log_softmax"}},
            NONE,
            "needs cross_entropy and model.output: none, not nll",
        ),
        (
            {"model": {"architecture": "mlp", "output": "softmax"}},
            NONE,
            "needs cross_entropy and model.output: none, not softmax",
        ),
        (
            {"loss": {"name": "cross_entropy", "class_weights": [1] * 10}},
            ("loss", "class_weights"),
            "do not cover non-digits",
        ),
        (
            {"loss": {"name": "cross_entropy", "penalties": [{"true": 7, "predicted": 2}]}},
            ("loss", "penalties"),
            "do not cover non-digits",
        ),
    ],
)
def test_what_cannot_learn_to_refuse_is_named(sections: dict[str, Any], path: tuple[str, ...], message: str) -> None:
    ((where, text),) = found(data={"simulate": {"non_digits": 0.4}}, **sections)
    assert where == path
    assert text.startswith(message)
    assert found(data={"simulate": {"photographs": 1}}, **sections) == []


def test_rows_need_a_loss_with_one_more_logit_as_well() -> None:
    ((where, text),) = found(data={"simulate": {"rows": 1}}, loss="mse")
    assert where == ("data", "simulate", "rows")
    assert text.startswith("needs cross_entropy")


@pytest.mark.parametrize("kind", ["photographs", "non_digits", "rows"])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"name": "fashion-mnist"}, "only pictures of digits can be simulated, and 'fashion-mnist' contains others"),
        ({"name": "kmnist"}, "only pictures of digits can be simulated, and 'kmnist' contains others"),
        ({"name": "folder", "path": "mine"}, "only pictures of digits can be simulated, and 'folder' contains others"),
        ({"binary": 7}, "needs all ten digits, but data.binary makes two classes of them"),
    ],
)
def test_only_of_the_ten_digits_pictures_are_made(kind: str, data: dict[str, Any], message: str) -> None:
    assert found(data={**data, "simulate": {kind: 0.5}}) == [(("data", "simulate"), message)]


@pytest.mark.parametrize("name", ["mnist", "qmnist", "emnist-digits", "usps", "digits"])
def test_of_every_set_of_digits_pictures_are_made(name: str) -> None:
    assert found(data={"name": name, "simulate": {"photographs": 1, "non_digits": 0.4}}) == []
