"""Other people's words and short forms: what is meant stands in the resolved config."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from mnist_trainer.config import model as cfg
from mnist_trainer.config.fields import canonical, literal_values
from mnist_trainer.config.load import dump_config, load_config
from mnist_trainer.config.messages import sections_in

MLP = {"model": {"architecture": "mlp"}}
LAYERS = {"model": {"architecture": "layers", "layers": ["flatten", {"linear": "classes"}]}}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("loss=CrossEntropyLoss", "loss=cross_entropy"),
        ("loss=crossentropy", "loss=cross_entropy"),
        ("loss=categorical_crossentropy", "loss=cross_entropy"),
        ("loss=binary_crossentropy", "loss=bce"),
        ("loss=mae", "loss=absolute"),
        ("loss=L1Loss", "loss=absolute"),
        ("loss=l2", "loss=mse"),
        ("loss={name: MSE, reduction: Per-Example}", "loss={name: mse, reduction: per_example}"),
        ("optimizer=SGD", "optimizer=sgd"),
        ("optimizer=AdamW", "optimizer=adamw"),
        ("optimizer.name=RMSprop", "optimizer.name=rmsprop"),
        ("schedule=OneCycle", "schedule=one_cycle"),
        ("model=MLP", "model=mlp"),
        ("model=LeNet-5", "model=lenet5"),
        ("model={architecture: CNN}", "model=cnn"),
        ("model.activation=ReLU", "model.activation=relu"),
        ("model.activation=silu", "model.activation=swish"),
        ("model.activation=linear", "model.activation=identity"),
        ("model.activation=LeakyReLU", "model.activation=leaky_relu"),
        ("model.output=Softmax", "model.output=softmax"),
        ("model.output=linear", "model.output=none"),
        ("model.init=he", "model.init=kaiming"),
        ("model.init=glorot_uniform", "model.init=xavier"),
        ("model.init=xavier_uniform", "model.init=xavier"),
        ("model.init={Normal: 0.1}", "model.init={normal: 0.1}"),
        ("model.hidden=64,64", "model.hidden=[64,64]"),
        ("model.hidden=64 32", "model.hidden=[64,32]"),
        ("model.hidden='64, 32'", "model.hidden=[64,32]"),
        ("model.hidden=64", "model.hidden=[64]"),
        ("optimizer.betas=0.8,0.99", "optimizer.betas=[0.8,0.99]"),
        ("data=digits", "data.name=digits"),
        ("data=Fashion_MNIST", "data.name=fashion-mnist"),
        ("data=fashion", "data.name=fashion-mnist"),
        ("data.name=emnist", "data.name=emnist-digits"),
        ("data.augment=false", "data.augment=null"),
        ("data.augment.elastic=true", "data.augment.elastic={}"),
        ("data.augment={halve_for: 7}", "data.augment={halve_for: [7]}"),
        ("training.early_stopping=true", "training.early_stopping={}"),
        ("training.early_stopping=false", "training.early_stopping=null"),
        ("training.early_stopping.monitor=val_acc", "training.early_stopping.monitor=val_accuracy"),
        ("precision=bf16", "precision=bfloat16"),
        ("precision=FP32", "precision=float32"),
        ("device=CUDA", "device=cuda"),
        ("device=cuda0", "device=cuda:0"),
        ("device=CPU", "device=cpu"),
        ("device=mps:0", "device=mps"),
    ],
)
def test_what_is_meant_is_taken(written: str, meant: str) -> None:
    base = {"model": {"architecture": "mlp", "init": {"uniform": 0.1}}}
    assert dump_config(load_config(base, [written])) == dump_config(load_config(base, [meant]))


@pytest.mark.parametrize(("platform", "name"), [("linux", "cuda"), ("win32", "cuda"), ("darwin", "mps")])
def test_a_gpu_is_the_one_of_the_platform(platform: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    assert [load_config(MLP, [f"device={word}"]).device for word in ("gpu", "GPU")] == [name, name]


def test_a_gpu_may_have_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    assert load_config(MLP, ["device=gpu:1"]).device == "cuda:1"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("relu", {"activation": "relu"}),
        ("SiLU", {"activation": "swish"}),
        ("leaky_relu", {"activation": "leaky_relu"}),
        ("Flatten", "flatten"),
        ("BatchNorm2d", "batch_norm"),
        ({"dense": 64}, {"linear": 64}),
        ({"Conv2D": 8}, {"conv": 8}),
        ({"maxpool": 2}, {"pool": 2}),
        ({"activation": "Tanh"}, {"activation": "tanh"}),
        ({"type": "Linear", "units": 3}, {"linear": 3}),
        ({"residual": ["tanh"]}, {"residual": [{"activation": "tanh"}]}),
    ],
)
def test_layers_in_other_words(written: Any, meant: Any) -> None:
    conv = [{"conv": 4}, written, "flatten", {"linear": "classes"}]
    flat = ["flatten", {"linear": 784}, written, {"linear": "classes"}]
    is_flat = isinstance(written, dict) and ("dense" in written or "type" in written)
    for_pictures = flat if is_flat else conv
    others = [meant if layer is written else layer for layer in for_pictures]
    if written == "Flatten":
        for_pictures, others = [written, {"linear": "classes"}], [meant, {"linear": "classes"}]
    layered = [{"model": {"architecture": "layers", "layers": layers}} for layers in (for_pictures, others)]
    assert load_config(layered[0]) == load_config(layered[1])


def test_an_override_goes_into_a_short_form() -> None:
    config = load_config({"model": "mlp", "data": "digits", "optimizer": "Adam"}, ["model.hidden=5", "data.limit=3"])
    assert (config.model.architecture, config.data.name, config.data.limit) == ("mlp", "digits", 3)
    layered = load_config({"model": {"architecture": "layers", "layers": ["flatten", {"dense": 64}, {"dense": 10}]}},
                          ["model.layers.1.bias=false"])  # fmt: skip
    assert "bias: false" in dump_config(layered)


@pytest.mark.parametrize("word", ["", "loss", "x" * 10_000, 5, None, "_", "sgdd"])
def test_what_is_no_other_word_stays(word: object) -> None:
    assert canonical(word, ("sgd", "mse", "none")) == word


def test_a_key_is_never_a_name_so_that_short_forms_are_unambiguous() -> None:
    for union, key in ((cfg.Initialization, "name"), (cfg.WrittenLayer, "type")):
        sections = sections_in(union)
        names = {name for section in sections for name in literal_values(section, key)}
        assert len(names) > 5
        assert not names & {field for section in sections for field in section.model_fields}


def test_overrides_reach_the_other_keys_of_a_short_form() -> None:
    neuron = {"model": {"architecture": "neuron"}, "data": {"binary": 7}, "loss": "bce"}
    whole = load_config({**neuron, "model": {"architecture": "neuron", "init": {"constant": 0.5, "bias": 0.25}}})
    assert load_config(neuron, ["model.init.constant=0.5", "model.init.bias=0.25"]) == whole
    assert load_config(neuron, ["model.init={bias: 0.25, constant: 0.5}"]) == whole
    assert load_config(load_config(neuron, ["model.init={constant: 0.5}"]), ["model.init.bias=0.25"]) == whole
