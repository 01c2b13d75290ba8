from __future__ import annotations

from collections.abc import Callable

import pytest

from mnist_trainer.config.load import load_config
from mnist_trainer.errors import ConfigError

Told = Callable[..., list[str]]

OPTIMIZERS = "gradient_descent, sgd, adam, adamw, rmsprop, adagrad"
ARCHITECTURES = "neuron, mlp, ciresan_mlp, cnn, lenet5, vgg, residual, layers"
LAYERS = "linear, conv, pool, flatten, batch_norm, layer_norm, dropout, activation, maxout, residual, squeeze_excite"

MANY = """\
name: my run
device: tpu
lr: 0.1
data:
  name: mnst
  batch_size: '64'
  validation: 1.5
  normalize: off
model:
  architecture: mlp
  hiden: [64]
  activation: {name: leaky_relu, slope: 2}
  dropout: 1
loss: mse_los
optimizer: {name: adam, lr: 0, momentum: 0.9}
schedule: [cosine]
training:
  epochs: 5.0
  early_stopping: 5
seed: 1
seed: 2
"""


def test_many_mistakes_are_told_at_once_each_at_its_place(config_errors: Told) -> None:
    assert config_errors(MANY, "threads=0", "report", "report.plots=1") == [
        "c.yaml:1:7  name: 'my run' is not possible here (name of the run and its folder: letters, digits and _ . + -)",
        "c.yaml:2:9  device: 'tpu' is not possible here (cpu, cuda, cuda:1 or mps; auto takes a GPU if there is one)",
        "c.yaml:3:1  lr: unknown key; it belongs under 'optimizer'",
        "c.yaml:5:9  data.name: unknown name 'mnst'; did you mean 'mnist'? "
        "Known: mnist, fashion-mnist, kmnist, emnist-digits, qmnist, usps, mnist-c, digits, folder",
        "c.yaml:6:15  data.batch_size: expected a whole number or 'auto', got text '64'; write 64 without quotes",
        "c.yaml:7:15  data.validation: expected a whole number or a number less than 1, got 1.5",
        "c.yaml:8:14  data.normalize: off is false for some programs and text for others; write false, or quote it; "
        "null switches a part off",
        "c.yaml:11:3  model.hiden: unknown key; did you mean 'hidden'?",
        "c.yaml:12:41  model.activation.slope: must be less than 1, got 2",
        "c.yaml:13:12  model.dropout: must be less than 1, got 1",
        "c.yaml:14:7  loss.name: unknown name 'mse_los'; did you mean 'mse'? "
        "Known: cross_entropy, nll, bce, mse, sse, absolute",
        "c.yaml:15:29  optimizer.lr: must be greater than 0, got 0",
        "c.yaml:15:32  optimizer.momentum: unknown key here; it belongs to sgd, rmsprop",
        "c.yaml:16:11  schedule: expected a name or a mapping (key: value), got a list",
        "c.yaml:18:11  training.epochs: expected a whole number, got 5.0; write 5",
        "c.yaml:19:19  training.early_stopping: expected a mapping (key: value), got 5",
        "c.yaml:21:1  seed: repeated key; the first is at 20:1; keep one of them",
        "override 1  threads: must be greater than 0, got 0",
        "override 2  no '=' in 'report'; write key=value, as in optimizer.lr=0.01",
        "override 3  report.plots: expected true or false, got 1",
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("sed: 1", "2:1  sed: unknown key; did you mean 'seed'?"),
        ("learning_rate: 1", "2:1  learning_rate: unknown key; 'lr' belongs under 'optimizer'"),
        ("optimizer.lr: 1", "2:1  optimizer.lr: unknown key; 'lr' belongs under 'optimizer'"),
        ("data: {seed: 1}", "2:8  data.seed: unknown key; it belongs at the top"),
        (
            "training: {patience: 1}",
            "2:12  training.patience: unknown key; it belongs under 'schedule' or under 'training.early_stopping'",
        ),
        ("optimizer: {name: adam, Beta: 1}", "2:25  optimizer.Beta: unknown key; did you mean 'betas'?"),
        (
            "report: {zzz: 1}",
            "2:10  report.zzz: unknown key; known keys: test, plots, weights_by_epoch, format, tensorboard, gallery",
        ),
        (
            'report: {"a\\nb": 1}',
            "2:10  report.a\\nb: unknown key; known keys: test, plots, weights_by_epoch, format, tensorboard, gallery",
        ),
        (
            "optimizer: {name: adam, eps: 1, every: 2}",
            "2:33  optimizer.every: unknown key; it belongs under 'schedule'",
        ),
    ],
)
def test_unknown_keys(config_errors: Told, line: str, message: str) -> None:
    assert config_errors(f"model: {{architecture: mlp}}\n{line}\n") == [f"c.yaml:{message}"]


def test_a_misspelled_key_is_not_missing_as_well(config_errors: Told) -> None:
    assert config_errors("modle: {architecture: mlp}\n") == ["c.yaml:1:1  modle: unknown key; did you mean 'model'?"]
    assert config_errors("model: {architecure: mlp}\n") == [
        "c.yaml:1:9  model.architecure: unknown key; did you mean 'architecture'?"
    ]


@pytest.mark.parametrize(
    ("line", "messages"),
    [
        ("optimizer: {nam: adam, lr: -1}", ["13  optimizer.nam: unknown key; did you mean 'name'?",
         "28  optimizer.lr: must be greater than 0, got -1"]),
        ("optimizer: {Nam: adam, momentum: 1}", ["13  optimizer.Nam: unknown key; did you mean 'name'?",
         "24  optimizer.momentum: unknown key here; it belongs to sgd, rmsprop"]),
        ("optimizer: {name: adm, lr: -1}", ["19  optimizer.name: unknown name 'adm'; did you mean 'adam'? "
         f"Known: {OPTIMIZERS}", "28  optimizer.lr: must be greater than 0, got -1"]),
        ("optimizer: {nam: adm, lr: -1}", ["13  optimizer.nam: unknown key; did you mean 'name'?",
         "18  optimizer.name: unknown name 'adm'; did you mean 'adam'? "
         f"Known: {OPTIMIZERS}", "27  optimizer.lr: must be greater than 0, got -1"]),
        ("schedule: {nme: step, every: 0}", ["12  schedule.nme: unknown key; did you mean 'name'?",
         "30  schedule.every: must be greater than 0, got 0"]),
        ("loss: {name: msee, reduction: means, penalties: [{true: 1}]}", ["14  loss.name: unknown name 'msee'; "
         "did you mean 'mse'? Known: cross_entropy, nll, bce, mse, sse, absolute",
         "31  loss.reduction: unknown name 'means'; did you mean 'mean'? Known: mean, sum, per_example",
         "50  loss.penalties.0.predicted: missing (the wrong class whose probability costs extra)"]),
        ("optimizer: {nam: 5, lr: -1}", ["13  optimizer.nam: unknown key; did you mean 'name'?"]),
    ],
)  # fmt: skip
def test_a_misspelled_name_does_not_hide_what_else_is_wrong(
    config_errors: Told, line: str, messages: list[str]
) -> None:
    assert config_errors(f"model: {{architecture: mlp}}\n{line}\n") == [f"c.yaml:2:{message}" for message in messages]


def test_the_same_in_a_model_and_its_layers(config_errors: Told) -> None:
    assert config_errors("model: {architecure: mlp, dropout: 2, init: {nam: normal, std: 0}}\n") == [
        "c.yaml:1:9  model.architecure: unknown key; did you mean 'architecture'?",
        "c.yaml:1:36  model.dropout: must be less than 1, got 2",
        "c.yaml:1:46  model.init.nam: unknown key; did you mean 'name'?",
        "c.yaml:1:64  model.init.std: must be greater than 0, got 0",
    ]
    layers = "[{residual: [{typ: conv, channels: 0}]}, {type: linea, units: 0}]"
    assert config_errors(f"model: {{architecture: layers, layers: {layers}}}\n") == [
        "c.yaml:1:53  model.layers.0.layers.0.typ: unknown key; did you mean 'type'?",
        "c.yaml:1:74  model.layers.0.layers.0.channels: must be greater than 0, got 0",
        f"c.yaml:1:87  model.layers.1.type: unknown name 'linea'; did you mean 'linear'? Known: {LAYERS}",
        "c.yaml:1:101  model.layers.1.units: expected a number greater than 0 or 'classes', got 0",
    ]
    assert config_errors("model: mlp\n", "optimizer={nam: adam, lr: -1}") == [
        "override 1  optimizer.nam: unknown key; did you mean 'name'?",
        "override 1  optimizer.lr: must be greater than 0, got -1",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 0", "1:1  model: missing (the network); choose its architecture: " + ARCHITECTURES),
        ("model:", "1:7  model: expected a name or a mapping (key: value), got null"),
        ("model: mpl", "1:8  model.architecture: unknown name 'mpl'; did you mean 'mlp'? Known: " + ARCHITECTURES),
        ("model: {hidden: 3}", "1:9  model.architecture: missing; choose one: " + ARCHITECTURES),
        ("model: {architecture: mpl}", "1:23  model.architecture: unknown name 'mpl'; did you mean 'mlp'? "
         "Known: " + ARCHITECTURES),
        ("model: {architecture: 5}", "1:23  model.architecture: unknown name 5; known: " + ARCHITECTURES),
        ("model: {architecture: vgg, channels: [8, 8, 8, 8, 8]}",
         "1:38  model.channels: takes 4 or fewer items, got 5"),
        ("model: {architecture: residual, activation: maxout}", "1:45  model.activation: "
         "maxout reduces the channels, but a residual block needs as many as its input has"),
        ("model: {architecture: residual, convolutions: 2}",
         "1:33  model.convolutions: unknown key here; it belongs to vgg"),
        ("model: {architecture: layers, layers: [{squeeze_excite: 0}]}",
         "1:57  model.layers.0.reduction: must be greater than 0, got 0"),
    ],
)  # fmt: skip
def test_the_model(config_errors: Told, text: str, message: str) -> None:
    assert config_errors(text + "\n") == [f"c.yaml:{message}"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("seed: -1", "2:7  seed: must be at least 0, got -1"),
        ("seed: true", "2:7  seed: expected a whole number, got true"),
        ("seed:", "2:6  seed: expected a whole number, got null; leave the key out for its default"),
        ("threads: 1_000", "2:10  threads: expected a whole number, got text '1_000'; write 1000 without quotes"),
        ("optimizer: {name: sgd, lr: '0,001'}", "2:28  optimizer.lr: expected a number, got text '0,001'; write 0.001"),
        ("optimizer: {name: sgd, lr: '1,5'}", "2:28  optimizer.lr: expected a number, got text '1,5'; write 1.5"),
        ("threads: [1]", "2:10  threads: expected a whole number, got a list"),
        ("name: 5", "2:7  name: expected text, got 5; put it in quotes"),
        ("deterministic: 'true'", "2:16  deterministic: expected true or false, got text 'true'; "
         "write true without quotes"),
        ("precision: bfloat", "2:12  precision: unknown name 'bfloat'; did you mean 'bfloat16'? "
         "Known: auto, float32, bfloat16, float16"),
        ("precision: 16", "2:12  precision: unknown name 16; known: auto, float32, bfloat16, float16"),
        ("training: 5", "2:11  training: expected a mapping (key: value), got 5"),
        ("training: {max_minutes: .inf}", "2:25  training.max_minutes: expected a finite number, got inf"),
        ("training: {ema: .nan}", "2:17  training.ema: expected a finite number, got nan"),
        ("data: {validation: x}", "2:20  data.validation: expected a number, got text 'x'"),
        ("data: {validation: -1}", "2:20  data.validation: must be at least 0, got -1"),
        ("optimizer: Adamm", f"2:12  optimizer.name: unknown name 'Adamm'; did you mean 'adam'? Known: {OPTIMIZERS}"),
        ("optimizer: {lr: 1}", f"2:13  optimizer.name: missing; choose one: {OPTIMIZERS}"),
        ("optimizer: {lr: 1, eps: 1}", f"2:1  optimizer.name: missing; choose one: {OPTIMIZERS}"),
        ("optimizer: 5", "2:12  optimizer: expected a name or a mapping (key: value), got 5"),
        ("optimizer: {name: adam, betas: [0.9]}", "2:32  optimizer.betas: needs 2 or more items, got 1"),
        ("optimizer: {name: adam, betas: [0, 0, 0]}", "2:32  optimizer.betas: takes 2 or fewer items, got 3"),
        ("optimizer: {name: adam, betas: [0.9, 1]}", "2:38  optimizer.betas.1: must be less than 1, got 1"),
        ("optimizer: {name: adam, betas: 0.9}", "2:32  optimizer.betas: needs 2 or more items, got 1"),
        ("data: {augment: true}", "2:17  data.augment: expected a mapping (key: value), got true; "
         "its keys are rotate, shear, scale …"),
        ("training: {early_stopping: None}", "2:28  training.early_stopping: expected a mapping (key: value), "
         "got text 'None'; null switches it off"),
        ("data: {limit: false}", "2:15  data.limit: expected a whole number, got false; null switches it off"),
        ("data: mnst", "2:7  data.name: unknown name 'mnst'; did you mean 'mnist'? "
         "Known: mnist, fashion-mnist, kmnist, emnist-digits, qmnist, usps, mnist-c, digits, folder"),
        ("device: cuda-1", "2:9  device: 'cuda-1' is not possible here "
         "(cpu, cuda, cuda:1 or mps; auto takes a GPU if there is one)"),
        ("data: {binary: -1}", "2:16  data.binary: expected a number at least 0 or text, got -1"),
        ("data: {binary: 7.0}", "2:16  data.binary: expected a whole number or text, got 7.0; write 7"),
        ("loss: {name: mse, class_weights: {7: x}}", "2:34  loss.class_weights: expected a number, got text 'x'"),
        ("loss: {name: mse, class_weights: {7: -1}}", "2:34  loss.class_weights: must be at least 0, got -1"),
        ("loss: {name: mse, class_weights: [1, x]}", "2:38  loss.class_weights.1: expected a number, got text 'x'"),
        ("loss: {name: mse, class_weights: x}", "2:34  loss.class_weights: expected a list, got text 'x'"),
        ("schedule: {name: step, gamma: 2}", "2:31  schedule.gamma: must be at most 1, got 2"),
        ("loss: {name: sse, reduction: mean}", "2:7  loss: sse is mse with reduction: sum; for mean write mse"),
        ("loss: {name: mse, penalties: [{true: 7}]}", "2:31  loss.penalties.0.predicted: missing "
         "(the wrong class whose probability costs extra)"),
        (f"name: {'x' * 200}", f"2:7  name: '{'x' * 40}…' is not possible here "
         "(name of the run and its folder: letters, digits and _ . + -)"),
    ],
)  # fmt: skip
def test_values(config_errors: Told, line: str, message: str) -> None:
    assert config_errors(f"model: {{architecture: mlp}}\n{line}\n") == [f"c.yaml:{message}"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("hidden: -1", "3:11  model.hidden: must be greater than 0, got -1"),
        ("hidden: [64, -1]", "3:16  model.hidden.1: must be greater than 0, got -1"),
        ("hidden: [64, 6.5]", "3:16  model.hidden.1: expected a whole number, got 6.5"),
        ("hidden: {layers: 3}", "3:3  model.hidden.units: missing (units of each hidden layer)"),
        ("hidden: {layers: 3, units: 0}", "3:30  model.hidden.units: must be greater than 0, got 0"),
        ("hidden: abc", "3:11  model.hidden: expected a list, got text 'abc'"),
        ("activation: ReLu7", "3:15  model.activation.name: unknown name 'ReLu7'; did you mean 'relu'? Known: "
         "identity, step, tanh, scaled_tanh, relu, selu, gelu, swish, mish, relu6, sigmoid, leaky_relu, alrelu, prelu, "
         "rrelu, elu, softplus, maxout"),
        ("activation: {name: rrelu, lower: 0.5, upper: 0.25}",
         "3:15  model.activation: lower (0.5) must not be above upper (0.25)"),
        ("init: {constnat: 1}", "3:10  model.init.name: unknown name 'constnat'; did you mean 'constant'? "
         "Known: default, xavier, kaiming, zeros, normal, uniform, constant"),
        ("init: he_normal", "3:9  model.init.name: unknown name 'he_normal'; did you mean 'kaiming'? "
         "Known: default, xavier, kaiming, zeros, normal, uniform, constant"),
        ("init: {normal: 0}", "3:18  model.init.std: must be greater than 0, got 0"),
        ("channels: [3]", "3:3  model.channels: unknown key here; it belongs to cnn, vgg, residual"),
    ],
)  # fmt: skip
def test_values_of_an_mlp(config_errors: Told, keys: str, message: str) -> None:
    assert config_errors(f"model:\n  architecture: mlp\n  {keys}\n") == [f"c.yaml:{message}"]


def test_layers_in_their_short_and_full_forms(config_errors: Told) -> None:
    text = """\
model:
  architecture: layers
  layers:
    - liner
    - {liner: 4}
    - linear
    - linear: -3
    - {linear: 3, units: 4}
    - {type: linear, units: clases}
    - residual:
      - conv: 3.5
      - {conv: {channels: 8, kernel: 0}}
    - {activation: {name: leaky_relu, slope: 1}}
    - {linear: off}
    - 5
    - {type: linear, unit: 5}
    - softmax
"""
    path = "model.layers."
    assert config_errors(text) == [
        f"c.yaml:4:7  {path}0.type: unknown name 'liner'; did you mean 'linear'? Known: {LAYERS}",
        f"c.yaml:5:8  {path}1.type: unknown name 'liner'; did you mean 'linear'? Known: {LAYERS}",
        f"c.yaml:6:7  {path}2.units: missing (number of outputs; `classes` for one for each class of the data)",
        f"c.yaml:7:15  {path}3.units: expected a number greater than 0 or 'classes', got -3",
        f"c.yaml:8:8  {path}4.type: missing; write 'type: linear' with its other keys",
        f"c.yaml:9:29  {path}5.units: expected a whole number or 'classes', got text 'clases'; did you mean 'classes'?",
        f"c.yaml:11:15  {path}6.layers.0.channels: expected a whole number, got 3.5",
        f"c.yaml:12:38  {path}6.layers.1.kernel: must be greater than 0, got 0",
        f"c.yaml:13:46  {path}7.function.slope: must be less than 1, got 1",
        f"c.yaml:14:16  {path}8.linear: off is false for some programs and text for others; write false, or quote it; "
        "null switches a part off",
        f"c.yaml:15:7  {path}9: expected a name or a mapping (key: value), got 5",
        f"c.yaml:16:22  {path}10.unit: unknown key; did you mean 'units'?",
        f"c.yaml:17:7  {path}11.type: not a layer, but the output of a model: write output: softmax next to layers; "
        "cross_entropy needs none",
    ]


def test_short_forms_with_other_keys(config_errors: Told) -> None:
    text = """\
model:
  architecture: layers
  init: {bias: x, constant: z}
  layers:
    - {linear: -3, bias: 5}
    - {bias: true, Dense: abc}
    - {conv: 4, kernal: 3}
    - {conv: 4, linear: 3}
    - {conv: {channels: 4}, kernel: 3}
    - residual:
      - {kernel: 3, conv: 3.5}
"""
    assert config_errors(text) == [
        "c.yaml:3:16  model.init.bias: expected a number, got text 'x'",
        "c.yaml:3:29  model.init.value: expected a number, got text 'z'",
        "c.yaml:5:16  model.layers.0.units: expected a number greater than 0 or 'classes', got -3",
        "c.yaml:5:26  model.layers.0.bias: expected true or false, got 5",
        "c.yaml:6:27  model.layers.1.units: expected a whole number or 'classes', got text 'abc'",
        "c.yaml:7:17  model.layers.2.kernal: unknown key; did you mean 'kernel'?",
        "c.yaml:8:7  model.layers.3.type: missing; 'conv' and 'linear' are names; choose one",
        "c.yaml:9:14  model.layers.4.channels: expected a whole number, got a mapping",
        "c.yaml:11:27  model.layers.5.layers.0.channels: expected a whole number, got 3.5",
    ]


def test_many_wrong_items_are_all_found_and_the_first_are_told() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config({"model": {"architecture": "mlp", "hidden": ["x"] * 3000}})
    assert len(caught.value.problems) == 3000
    assert caught.value.problems[-1].path == "model.hidden.2999"
    *lines, last = str(caught.value).split("\n")
    assert len(lines) == 30 and lines[-1].endswith("model.hidden.29: expected a whole number, got text 'x'")
    assert last == "There are 2,970 more; fix these first."
