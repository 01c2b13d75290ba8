"""Valid configs that cannot mean what they say: `mnist_trainer/config/checks.py`."""

from __future__ import annotations

import re
from math import e, log
from typing import Any

import pytest

from mnist_trainer.config.checks import Finding, find_problems, find_warnings
from mnist_trainer.config.load import load_config
from mnist_trainer.config.schema import Config, Plateau, StepDecay
from mnist_trainer.training.optim import PlateauState, lr_multiplier


def found(**sections: Any) -> list[Finding]:
    config = Config.model_validate({"model": {"architecture": "mlp"}, **sections})
    assert find_problems(config) == []
    return find_warnings(config)


def advised(text: str) -> list[str]:
    """What a text tells to write: `key=value`, several behind each other where they go together."""
    return re.findall(r"[a-z_.]+=[^\s,;)]+(?: [a-z_.]+=[^\s,;)]+)*", text)


def mlp(**settings: Any) -> dict[str, Any]:
    return {"architecture": "mlp", **settings}


def layered(*layers: Any) -> dict[str, Any]:
    return {"architecture": "layers", "layers": ["flatten", *layers]}


def neuron(output: str) -> dict[str, Any]:
    return {"model": {"architecture": "neuron", "output": output}, "data": {"binary": 7}, "loss": "bce"}


NEURON_RANGE = (
    "bce needs outputs between 0 and 1; values of {} outside are clipped and have no gradient. Use model.output=sigmoid"
)


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"model": {"architecture": "cnn"}},
        {"model": {"architecture": "lenet5"}},
        {"model": {"architecture": "vgg", "squeeze_excite": 8}},
        {"model": {"architecture": "residual", "squeeze_excite": 8}},
        {"model": {"architecture": "ciresan_mlp"}},
        neuron("identity"),
        neuron("sigmoid"),
        {**neuron("tanh"), "loss": "mse"},
        {"model": mlp(output="softmax"), "loss": "mse"},
        {"model": mlp(output="sigmoid"), "loss": "bce"},
        {"model": mlp(output="log_softmax"), "loss": "nll"},
        {"model": mlp(hidden=[], activation="identity")},
        {"model": mlp(hidden=[], init="zeros")},
        {"model": mlp(init={"constant": 0.5}, init_from="runs/a")},
        {"model": layered({"linear": 10}, {"activation": "leaky_relu"}), "loss": "bce"},
        {"model": layered({"linear": 10}, {"activation": "relu"})},
        {"model": layered({"linear": 10}, {"activation": "tanh"}), "loss": "mse"},
        {
            "model": layered(
                {"linear": 16}, {"residual": ["batch_norm", {"activation": "relu"}, {"linear": 16}]}, {"linear": 10}
            )
        },
        {"loss": {"name": "mse", "reduction": "sum"}, "optimizer": {"name": "sgd", "lr": 0.001}},
        {"loss": {"name": "mse", "reduction": "sum"}, "optimizer": "adam"},
        {"training": {"epochs": 7, "early_stopping": {"patience": 5}}},
        {"training": {"max_minutes": 5}},
        {"training": {"stop": {"train_loss": 0.1, "gradient_norm": 0.1}}},
        {"data": {"augment": {"clean_last": 2}}},
        {"data": {"augment": {"clean_last": 2}}, "loss": {"name": "mse"}},
        {
            "data": {"augment": {"clean_last": 2}},
            "loss": {"name": "cross_entropy", "label_smoothing": 0.1},
            "training": {"early_stopping": {"monitor": "val_accuracy"}},
        },
    ],
)
def test_what_means_what_it_says_is_not_warned_of(sections: dict[str, Any]) -> None:
    assert found(**sections) == []


EACH: list[tuple[dict[str, Any], tuple[str | int, ...], str]] = [
    (
        {"model": mlp(output="softmax")},
        ("model", "output"),
        "cross_entropy applies a softmax itself; on outputs between 0 and 1 it can't fall below "
        "ln(e + 9) − 1 = 1.461, and its gradients are small. Use model.output=none",
    ),
    (
        {"model": mlp(output="sigmoid"), "data": {"binary": 7}},
        ("model", "output"),
        "cross_entropy applies a softmax itself; on outputs between 0 and 1 it can't fall below "
        "ln(e + 1) − 1 = 0.313, and its gradients are small. Use model.output=none",
    ),
    (
        {"model": mlp(output="log_softmax")},
        ("model", "output"),
        "cross_entropy applies log_softmax itself; twice does no harm, but you probably mean loss=nll",
    ),
    (
        {"model": mlp(output="log_softmax"), "loss": "absolute"},
        ("model", "output"),
        "log_softmax is never above 0, so it can't reach the target 1. "
        "Use model.output=softmax or model.output=sigmoid",
    ),
    (neuron("tanh"), ("model", "output"), NEURON_RANGE.format("tanh")),
    (neuron("relu"), ("model", "output"), NEURON_RANGE.format("relu")),
    (
        {"model": layered({"linear": 10}, {"activation": "relu"}), "loss": "bce"},
        ("model", "layers", 2),
        "bce needs outputs without limits, and relu keeps them in a range: it can't reach the target. Leave it out",
    ),
    (
        {"model": layered({"linear": 10}, {"activation": "tanh"})},
        ("model", "layers", 2),
        "cross_entropy needs outputs without limits, and tanh keeps them in a range: "
        "it can't reach the target. Leave it out",
    ),
    (
        {"model": mlp(activation="step")},
        ("model",),
        "step has no gradient: the layers before it will not learn",
    ),
    (
        {"model": mlp(hidden=[64, 64], activation="identity")},
        ("model",),
        "3 linear layers without an activation between them are one linear layer",
    ),
    (
        {"model": mlp(hidden=[64, 64], activation="identity", residual=True)},
        ("model",),
        "3 linear layers without an activation between them are one linear layer",
    ),
    (
        {"model": layered({"linear": 16}, "batch_norm", {"activation": "identity"}, "dropout", {"linear": 10})},
        ("model",),
        "2 linear layers without an activation between them are one linear layer",
    ),
    (
        {"model": layered({"residual": [{"linear": 9}, {"linear": 784}, {"activation": "relu"}]}, {"linear": 10})},
        ("model",),
        "2 linear layers without an activation between them are one linear layer",
    ),
    (
        {"model": {"architecture": "cnn", "channels": [4, 4], "pool": 1, "activation": "identity", "hidden": []}},
        ("model",),
        "3 linear layers without an activation between them are one linear layer",
    ),
    (
        {"model": mlp(init={"constant": 0.5})},
        ("model", "init"),
        "with equal weights all units of a hidden layer stay equal: it learns like one unit",
    ),
    (
        {"model": {"architecture": "residual", "channels": [4], "activation": "identity", "pooling": "max"}},
        ("model",),
        "3 linear layers without an activation between them are one linear layer",
    ),
    (
        {
            "model": {
                "architecture": "layers",
                "layers": ["squeeze_excite", "flatten", {"linear": 10}],
                "init": "zeros",
            }
        },
        ("model", "init"),
        "with equal weights all units of a hidden layer stay equal: it learns like one unit",
    ),
    (
        {"model": {"architecture": "cnn", "init": "zeros"}},
        ("model", "init"),
        "with equal weights all units of a hidden layer stay equal: it learns like one unit",
    ),
    (
        {"loss": "sse", "optimizer": {"name": "sgd", "lr": 0.1}, "data": {"batch_size": 100}},
        ("optimizer", "lr"),
        "the gradient of a sum grows with the batch, and this learning rate suits a mean: "
        "try optimizer.lr=0.001 (or loss.name=mse loss.reduction=mean)",
    ),
    (
        {
            "loss": "sse",
            "optimizer": {"name": "sgd", "lr": 0.008},
            "data": {"batch_size": 100},
            "training": {"accumulate": 2},
        },
        ("optimizer", "lr"),
        "the gradient of a sum grows with the batch, and this learning rate suits a mean: "
        "try optimizer.lr=4e-05 (or loss.name=mse loss.reduction=mean)",
    ),
    (
        {"loss": {"name": "bce", "reduction": "sum"}, "optimizer": "gradient_descent"},
        ("optimizer", "lr"),
        "the gradient of a sum grows with the batch, and this learning rate suits a mean: "
        "try optimizer.lr=0.0001 (or loss.name=bce loss.reduction=mean)",
    ),
    (
        {"model": mlp(batch_norm=True), "optimizer": "gradient_descent"},
        ("model",),
        "gradient_descent accumulates over chunks, and batch norm takes its statistics from each chunk",
    ),
    (
        {"training": {"epochs": 5, "early_stopping": {"patience": 5}}},
        ("training", "early_stopping"),
        "patience 5 is not over before the last epoch, 5: it will never stop early",
    ),
    (
        {"training": {"epochs": 4, "max_minutes": 5}, "schedule": "one_cycle"},
        ("training", "max_minutes"),
        "one_cycle is planned for all 4 epochs; an earlier stop leaves the learning rate high",
    ),
    (
        {"training": {"epochs": 4, "stop": {"train_loss": 0.1}}, "schedule": "cosine"},
        ("training", "stop"),
        "cosine is planned for all 4 epochs; an earlier stop leaves the learning rate high",
    ),
    (
        {"training": {"epochs": 1, "stop": {"gradient_norm": 0.1}}},
        ("training", "stop"),
        "it acts after an epoch, and there is only one: it will never stop early",
    ),
    (
        {"training": {"epochs": 4, "max_minutes": 5}, "schedule": "linear"},
        ("training", "max_minutes"),
        "linear is planned for all 4 epochs; an earlier stop leaves the learning rate high",
    ),
    (
        {
            "data": {"augment": {"clean_last": 2}},
            "loss": {"name": "cross_entropy", "label_smoothing": 0.1},
        },
        ("data", "augment", "clean_last"),
        "with label smoothing the validation loss rises in clean epochs, so that none of them may be kept: "
        "set training.early_stopping.monitor=val_accuracy",
    ),
    (
        {"schedule": "step"},
        ("schedule", "every"),
        "the first reduction comes after 10 epochs, and training.epochs is 10: the learning rate never falls. "
        "Try schedule.every=3",
    ),
    (
        {"schedule": {"name": "step", "every": 3}, "training": {"epochs": 2}},
        ("schedule", "every"),
        "the first reduction comes after 3 epochs, and training.epochs is 2: the learning rate never falls. "
        "Try schedule.every=1",
    ),
    (
        {"schedule": "exponential", "training": {"epochs": 1}},
        ("schedule", "name"),
        "exponential acts between epochs, and there is only one: the learning rate never falls. Use schedule=linear",
    ),
    (
        {"schedule": {"name": "exponential", "gamma": 1}},
        ("schedule", "gamma"),
        "with gamma 1 the learning rate never falls. Use schedule=constant, or schedule.gamma=0.5",
    ),
    (
        {"schedule": {"name": "cosine", "final": 1}},
        ("schedule", "final"),
        "with final 1 the learning rate never falls. Use schedule=constant, or schedule.final=0",
    ),
    (
        {"training": {"keep": "last", "early_stopping": {"patience": 3}}},
        ("training", "keep"),
        "after early stopping the last epoch is 3 epochs past the best. Use training.keep=best",
    ),
    (
        {"schedule": "plateau", "training": {"epochs": 4}},
        ("schedule", "patience"),
        "patience 2 is not over before the last epoch, 4: the learning rate never falls. Try schedule.patience=0",
    ),
    (
        {"schedule": "plateau", "training": {"epochs": 2}},
        ("schedule", "patience"),
        "patience 2 is not over before the last epoch, 2: the learning rate never falls. Use schedule=linear",
    ),
    (
        {"schedule": "plateau", "training": {"epochs": 20, "early_stopping": {"patience": 3}}},
        ("schedule", "patience"),
        "early stopping with patience 3 ends the training before the first reduction: the learning rate never falls. "
        "Try training.early_stopping.patience=4",
    ),
]


@pytest.mark.parametrize(("sections", "path", "message"), EACH)
def test_each_warning_has_its_reason(sections: dict[str, Any], path: tuple[str | int, ...], message: str) -> None:
    assert found(**sections) == [(path, message)]


@pytest.mark.parametrize(("sections", "path", "message"), EACH)
def test_what_a_warning_advises_is_a_config_without_that_warning(
    sections: dict[str, Any], path: tuple[str | int, ...], message: str
) -> None:
    for advice in advised(message):
        config = load_config({"model": {"architecture": "mlp"}, **sections}, advice.split())
        assert path not in [on_warning for on_warning, _ in find_warnings(config)]


@pytest.mark.parametrize(("epochs", "falls"), [(10, 0), (11, 1)])
def test_a_step_schedule_falls_where_it_is_not_warned_of(epochs: int, falls: int) -> None:
    factors = {lr_multiplier(StepDecay(), step, 5, epochs) for step in range(5 * epochs)}
    assert len(factors) == 1 + falls
    assert len(found(schedule="step", training={"epochs": epochs})) == 1 - falls


@pytest.mark.parametrize(("epochs", "falls"), [(4, 0), (5, 1)])
def test_a_plateau_falls_where_it_is_not_warned_of(epochs: int, falls: int) -> None:
    state, factors = PlateauState(), []
    for _ in range(epochs):
        factors.append(state.factor)
        state.update(Plateau(), 1.0)
    assert len(set(factors)) == 1 + falls
    assert len(found(schedule="plateau", training={"epochs": epochs})) == 1 - falls


def test_the_bound_it_names_is_the_smallest_loss() -> None:
    """The best that outputs between 0 and 1 can do is 1 for the right class and 0 for the other nine."""
    best = -log(e**1 / (e**1 + 9 * e**0))
    ((_, message),) = found(model=mlp(output="softmax"))
    assert f"= {best:.3f}," in message
