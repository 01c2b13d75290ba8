"""From layers to modules: `mnist_trainer/model/build.py`."""

from __future__ import annotations

from math import exp, sqrt
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from mnist_trainer.config.layers import expand, infer_shapes
from mnist_trainer.config.model import AnyModel, Model
from mnist_trainer.model.build import ResidualBlock, build_model, freeze, load_matching_weights, weighted_modules

EVERY_ARCHITECTURE: list[dict[str, Any]] = [
    {"architecture": "neuron", "output": "sigmoid"},
    {"architecture": "mlp", "hidden": [64, 64, 64]},
    {"architecture": "mlp", "hidden": [32, 32], "batch_norm": True, "dropout": 0.2, "residual": True},
    {"architecture": "mlp", "hidden": [32], "activation": "maxout", "bias": False, "output": "log_softmax"},
    {"architecture": "mlp", "hidden": [32, 16], "activation": "prelu", "output": "sigmoid"},
    {"architecture": "cnn"},
    {"architecture": "cnn", "channels": [4, 8], "kernel": 4, "pool": 3, "activation": "maxout", "batch_norm": True},
    {"architecture": "ciresan_mlp", "hidden": [32, 16]},
    {"architecture": "lenet5"},
    {"architecture": "vgg", "channels": [8, 8, 4, 4], "pooling": "both", "squeeze_excite": 1, "dropout": 0.5},
    {"architecture": "vgg", "channels": [4], "convolutions": 1, "batch_norm": False, "activation": "maxout"},
    {"architecture": "residual", "channels": [4, 6, 8, 8], "blocks": 2, "squeeze_excite": 1, "output": "log_softmax"},
    {"architecture": "residual", "channels": [4, 6], "kernel": 4, "activation": "prelu"},
    {
        "architecture": "layers",
        "layers": [
            {"conv": {"channels": 4, "stride": 2, "padding": 1}},
            "layer_norm",
            {"residual": [{"conv": 4}, {"activation": "prelu"}]},
            {"pool": {"size": "global", "kind": "average"}},
            "flatten",
            {"maxout": {"units": 6, "pieces": 3}},
            {"linear": "classes"},
        ],
        "output": "softmax",
    },
]


def model(**settings: Any) -> AnyModel:
    read: TypeAdapter[AnyModel] = TypeAdapter(Model)
    return read.validate_python(settings)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def same(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


def test_the_lecture_network_has_59210_parameters() -> None:
    assert count(build_model(model(architecture="mlp", hidden=[64, 64, 64]), 10)) == 59_210


@pytest.mark.parametrize("settings", EVERY_ARCHITECTURE)
def test_the_meta_device_counts_what_shapes_counts(settings: dict[str, Any]) -> None:
    with torch.device("meta"):
        network = build_model(model(**settings), 10)
    assert all(parameter.is_meta for parameter in network.parameters())
    assert count(network) == sum(info.parameters for info in infer_shapes(expand(model(**settings)), 10))


@pytest.mark.parametrize("settings", EVERY_ARCHITECTURE)
def test_images_become_one_output_a_class(settings: dict[str, Any]) -> None:
    outputs = 1 if settings["architecture"] == "neuron" else 10
    assert build_model(model(**settings), outputs)(torch.zeros(3, 1, 28, 28)).shape == (3, outputs)


@pytest.mark.parametrize("settings", EVERY_ARCHITECTURE)
def test_the_seed_alone_decides_the_weights(settings: dict[str, Any]) -> None:
    first = build_model(model(**settings), 10, seed=3)
    torch.rand(5)
    assert same(first, build_model(model(**settings), 10, seed=3))
    assert not same(first, build_model(model(**settings), 10, seed=4))


def test_building_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    build_model(model(architecture="mlp"), 10, seed=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_an_even_kernel_keeps_the_size_as_torch_does_but_without_its_warning() -> None:
    network = build_model(model(architecture="layers", layers=[{"conv": {"channels": 2, "kernel": 4}}]), 10)
    images = torch.rand(2, 1, 9, 9)
    outputs = network(images)  # a warning would be an error here
    conv = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    with pytest.warns(UserWarning, match="even kernel"):
        expected = nn.functional.conv2d(images, conv.weight, conv.bias, padding="same")
    assert torch.allclose(outputs, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("init", "bound"),
    [
        ("default", 1 / sqrt(784)),
        ("xavier", sqrt(6 / (784 + 64))),
        ("kaiming", sqrt(2) * sqrt(3 / 784)),
        ({"uniform": 0.2}, 0.2),
    ],
)
def test_uniform_weights_fill_their_range(init: Any, bound: float) -> None:
    first = build_model(model(architecture="mlp", hidden=[64], init=init), 10)[1]
    assert isinstance(first, nn.Linear)
    assert 0.99 * bound < first.weight.abs().max() <= bound
    assert first.weight.std().item() == pytest.approx(bound / sqrt(3), rel=0.02)


def test_normal_weights_have_the_deviation_asked_for() -> None:
    first = build_model(model(architecture="mlp", hidden=[64], init={"normal": 0.3}), 10)[1]
    assert isinstance(first, nn.Linear)
    assert (first.weight.mean().item(), first.weight.std().item()) == pytest.approx((0, 0.3), abs=0.01)


@pytest.mark.parametrize("architecture", ["mlp", "cnn"])
@pytest.mark.parametrize(("init", "value"), [("zeros", 0.0), ({"constant": 0.5}, 0.5)])
def test_equal_weights_are_equal_in_every_layer(architecture: str, init: Any, value: float) -> None:
    network = build_model(model(architecture=architecture, init=init), 10)
    weights = [module.weight for module in network if isinstance(module, nn.Linear | nn.Conv2d)]
    assert len(weights) >= 2
    assert all(bool((weight == value).all()) for weight in weights)


@pytest.mark.parametrize("init", ["xavier", "kaiming", "zeros", "normal", "uniform", {"constant": 0.5}])
def test_every_init_but_torchs_own_starts_biases_at_zero(init: Any) -> None:
    network = build_model(model(architecture="cnn", init=init), 10)
    biases = [value for name, value in network.named_parameters() if name.endswith("bias")]
    assert len(biases) == 4
    assert not any(bool(bias.any()) for bias in biases)


def test_a_neuron_of_halves_is_the_sum_of_the_lecture() -> None:
    """w₁ = w₂ = ½ and the bias w₀ = ½: two inputs of 1 give ½·1 + ½·1 + ½ = 1.5, and half of it for inputs of ¼."""
    init = {"constant": 0.5, "bias": 0.5}
    neuron = build_model(model(architecture="neuron", init=init, output="none"), 1)
    images = torch.zeros(3, 1, 28, 28)
    images[0, 0, 3, 4] = images[0, 0, 9, 9] = 1
    images[1, 0, 3, 4] = images[1, 0, 9, 9] = 0.25
    assert neuron(images).flatten().tolist() == [1.5, 0.75, 0.5]


def test_a_constant_sets_the_bias_of_every_layer() -> None:
    network = build_model(model(architecture="mlp", hidden=[4], init={"constant": 0.25, "bias": -1.0}), 10)
    values = {name.rpartition(".")[2]: set(each.flatten().tolist()) for name, each in network.named_parameters()}
    assert values == {"weight": {0.25}, "bias": {-1.0}}


def test_the_default_weights_are_those_torch_draws() -> None:
    torch_made = nn.Linear(784, 10)
    ours = build_model(model(architecture="mlp", hidden=[]), 10)[1]
    assert isinstance(ours, nn.Linear)
    assert ours.bias.abs().max() <= 1 / sqrt(784) and ours.bias.any()
    assert ours.weight.abs().max().item() == pytest.approx(torch_made.weight.abs().max().item(), rel=0.01)


def test_lecture_exercise_relu_of_a_weighted_sum() -> None:
    """y = max(0, Σ wᵢxᵢ), by hand: 0.5·2 − 1·3 + 2·1 = 0, 0.5·4 − 1·1 + 2·1 = 3, 0.5·0 − 1·2 + 2·0 = −2."""
    neuron = build_model(model(architecture="neuron", output="relu", bias=False), 1)
    set_weights(neuron, [[0.5, -1.0, 2.0]])
    assert neuron(as_images([[2.0, 3.0, 1.0], [4.0, 1.0, 1.0], [0.0, 2.0, 0.0]])).tolist() == [[0.0], [3.0], [0.0]]


@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_lecture_exercise_several_inputs_in_one_matrix_product(activation: str) -> None:
    """All neurons of a layer and all inputs at once: f(X·Wᵀ + b)."""
    layers = ["flatten", {"linear": 2}, {"activation": activation}]
    network = build_model(model(architecture="layers", layers=layers), 2)
    weights, biases = [[0.5, -1.0, 2.0], [0.1, 0.2, 0.3]], [0.25, -0.5]
    set_weights(network, weights, biases)
    rows = [[2.0, 3.0, 1.0], [4.0, 1.0, 1.0], [-1.0, 0.0, 0.5]]
    sums = torch.tensor(rows) @ torch.tensor(weights).T + torch.tensor(biases)
    expected = torch.tanh(sums) if activation == "tanh" else 1 / (1 + torch.exp(-sums))
    assert torch.allclose(network(as_images(rows)), expected, atol=1e-6)


def as_images(rows: list[list[float]]) -> Tensor:
    """[B, 1, 28, 28] whose first pixels are the rows."""
    images = torch.zeros(len(rows), 784)
    images[:, : len(rows[0])] = torch.tensor(rows)
    return images.reshape(-1, 1, 28, 28)


def set_weights(network: nn.Sequential, weights: list[list[float]], biases: list[float] | None = None) -> None:
    linear = network[1]
    assert isinstance(linear, nn.Linear)
    with torch.no_grad():
        linear.weight.zero_()
        linear.weight[:, : len(weights[0])] = torch.tensor(weights)
        if biases is not None:
            linear.bias.copy_(torch.tensor(biases))


def test_a_residual_block_adds_its_input() -> None:
    network = build_model(model(architecture="mlp", hidden=[6, 6], residual=True, activation="tanh"), 10)
    block = network[3]
    assert isinstance(block, ResidualBlock)
    inputs = torch.rand(4, 6)
    assert torch.equal(block(inputs), inputs + torch.tanh(block.body[0](inputs)))


def test_a_squeeze_excite_is_the_formula_of_its_paper() -> None:
    """x′ = x · sigmoid(W₂ relu(W₁ z)) with z the mean of each channel, written out one number at a time."""
    network = build_model(model(architecture="layers", layers=[{"conv": 6}, {"squeeze_excite": 2}]), 10)
    squeeze, excite = (module.weight.detach() for module in network[1].modules() if isinstance(module, nn.Linear))
    pictures = torch.randn(2, 6, 5, 4)
    expected = pictures.clone()
    for image in range(2):
        means = [pictures[image, channel].sum() / 20 for channel in range(6)]
        hidden = [max(0.0, float(sum(squeeze[unit, c] * means[c] for c in range(6)))) for unit in range(3)]
        for channel in range(6):
            total = float(sum(excite[channel, unit] * hidden[unit] for unit in range(3)))
            expected[image, channel] *= 1 / (1 + exp(-total))
    assert torch.allclose(network[1](pictures), expected, atol=1e-6)
    assert not torch.allclose(expected, 0.5 * pictures, atol=1e-3)


@pytest.mark.parametrize("size", [2, "global"])
def test_pooling_both_ways_gives_the_largest_values_then_the_means(size: Any) -> None:
    pool = build_model(model(architecture="layers", layers=[{"pool": {"size": size, "kind": "both"}}]), 10)
    pictures = torch.randn(2, 3, 28, 28)
    windows = pictures.unfold(2, 2, 2).unfold(3, 2, 2) if size == 2 else pictures[:, :, None, None]
    assert torch.allclose(
        pool(pictures), torch.cat([windows.amax(dim=(4, 5)), windows.mean(dim=(4, 5))], dim=1), atol=1e-6
    )


@pytest.mark.parametrize("kind", ["max", "average", "both"])
def test_global_pooling_has_a_deterministic_gradient_on_cuda(kind: str) -> None:
    """`torch.use_deterministic_algorithms` refuses AdaptiveMaxPool2d there; AdaptiveAvgPool2d(1) is a mean."""
    network = build_model(model(architecture="vgg", pooling=kind), 10)
    assert not any(isinstance(module, nn.AdaptiveMaxPool2d) for module in network.modules())
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        network.to(device)(torch.rand(2, 1, 28, 28, device=device)).sum().backward()
    finally:
        torch.use_deterministic_algorithms(before)


@pytest.mark.parametrize("settings", EVERY_ARCHITECTURE[1:])
def test_the_gradient_reaches_every_parameter(settings: dict[str, Any]) -> None:
    network = build_model(model(**settings), 10)
    torch.manual_seed(0)
    nn.functional.nll_loss(network(torch.randn(16, 1, 28, 28)), torch.arange(16) % 10).backward()
    without = [name for name, value in network.named_parameters() if value.grad is None or not value.grad.any()]
    assert without == []


def test_freezing_takes_the_first_layers_with_weights() -> None:
    network = build_model(model(architecture="mlp", hidden=[8, 4], batch_norm=True, dropout=0.1), 10)
    frozen = freeze(network, 3)
    assert [type(module).__name__ for module in frozen] == ["Linear", "BatchNorm1d", "Linear"]
    trained = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    assert trained == ["6.weight", "6.bias", "9.weight", "9.bias"]
    assert freeze(build_model(model(architecture="mlp"), 10), 0) == []


def test_layers_with_weights_come_in_the_order_of_the_data() -> None:
    layers = ["flatten", {"linear": 8}, {"residual": [{"linear": 8}, {"activation": "prelu"}]}, {"maxout": 10}]
    network = build_model(model(architecture="layers", layers=layers), 10)
    kinds = [type(module).__name__ for module in weighted_modules(network)]
    assert kinds == ["Linear", "Linear", "PReLU", "Linear"]


def test_both_layers_of_a_squeeze_excite_count_when_freezing() -> None:
    network = build_model(model(architecture="residual", channels=[4], squeeze_excite=2), 10)
    kinds = ["Conv2d", "BatchNorm2d", "Conv2d", "BatchNorm2d", "Conv2d", "BatchNorm2d", "Linear", "Linear", "Linear"]
    assert [type(module).__name__ for module in weighted_modules(network)] == kinds
    freeze(network, 8)
    trained = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    assert trained == ["7.weight", "7.bias"]


def test_weights_are_taken_over_where_name_and_shape_agree() -> None:
    old = build_model(model(architecture="mlp", hidden=[8, 4]), 10, seed=1)
    new = build_model(model(architecture="mlp", hidden=[8, 4]), 26, seed=2)
    fresh = new[5].weight.clone() if isinstance(new[5], nn.Linear) else None
    assert load_matching_weights(new, dict(old.state_dict())) == ["1.weight", "1.bias", "3.weight", "3.bias"]
    assert torch.equal(new.state_dict()["3.weight"], old.state_dict()["3.weight"])
    assert fresh is not None and torch.equal(new.state_dict()["5.weight"], fresh)
    assert load_matching_weights(new, {"other": torch.zeros(3)}) == []
