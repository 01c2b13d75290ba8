from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mnist_trainer.config.layers import OutputKind
from mnist_trainer.config.load import load_config
from mnist_trainer.data.image_dataset import ImageDataset
from mnist_trainer.data.normalize import Normalization
from mnist_trainer.errors import CheckpointError
from mnist_trainer.inference.influence import MIN_IMAGES, NetworkExplanation, explain_network, principal_components
from mnist_trainer.inference.predictor import InferenceSpec, Predictor
from mnist_trainer.model.build import build_model

CPU = torch.device("cpu")
UNIT = Normalization(0.0, 1.0)


def predictor(model: nn.Module, kind: OutputKind = "logits", batch_size: int = 64) -> Predictor:
    return Predictor([model], [InferenceSpec(UNIT, kind, batch_size=batch_size)], CPU)


def linear(weights: list[list[float]], biases: list[float]) -> nn.Linear:
    layer = nn.Linear(len(weights[0]), len(weights))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weights))
        layer.bias.copy_(torch.tensor(biases))
    return layer


@pytest.fixture
def halves() -> ImageDataset:
    """40 images of class 0 (black) and 60 of class 1 (white)."""
    labels = torch.arange(100).ge(40).long()
    images = (255 * labels[:, None, None]).expand(-1, 28, 28).to(torch.uint8)
    return ImageDataset(images, labels, torch.arange(100))


def deciding() -> nn.Module:
    """Three hidden neurons: the mean grey level decides for class 1, one is dead, one is 1 for every image."""
    hidden = linear([[1 / 784] * 784, [0.0] * 784, [0.0] * 784], [0, -1, 1])
    return nn.Sequential(nn.Flatten(), hidden, nn.ReLU(), linear([[0.0, 0, 0.5], [1, 5, 0]], [0, 0]))


def test_a_neuron_that_decides_and_a_dead_one(halves: ImageDataset) -> None:
    found = explain_network(predictor(deciding()), halves)
    (layer,) = found.layers
    assert (found.count, found.total, found.errors) == (100, 100, 0)
    # Logits (½, 1) for white become (½, 0) without the first: all 60 are errors. Without the third black ones are
    # (0, 0), a tie, which is class 0.
    assert layer.errors.tolist() == [60, 0, 0]
    assert layer.dead == (1,)
    assert layer.loss[1] == 0
    assert layer.active.tolist() == [0.6, 0, 1]

    def softplus(margin: float) -> float:
        return float(np.log1p(np.exp(-margin)))

    black, white = softplus(0.5), softplus(0.5)
    assert found.loss == pytest.approx(0.4 * black + 0.6 * white)
    assert layer.loss[0] == pytest.approx(0.6 * (softplus(-0.5) - white), rel=1e-5)
    assert layer.loss[2] == pytest.approx(0.4 * (softplus(0) - black) + 0.6 * (softplus(1) - white), rel=1e-5)
    assert [unit for _, unit in found.most_influential(2)] == [0, 2] if layer.loss[2] > 0 else [0, 1]
    assert (layer.layer, layer.name) == (1, "Linear, ReLU")


def brute_force(model: nn.Module, module: nn.Module, unit: int, images: Tensor) -> Tensor:
    """The outputs of the whole model while a unit is 0."""

    def switch_off(_module: nn.Module, _inputs: object, outputs: Tensor) -> Tensor:
        outputs = outputs.clone()
        outputs[:, unit] = 0
        return outputs

    handle = module.register_forward_hook(switch_off)
    with torch.no_grad():
        outputs: Tensor = model(UNIT.apply(images))
    handle.remove()
    return outputs


ARCHITECTURES = [
    {"architecture": "mlp", "hidden": [12, 8], "activation": "tanh", "dropout": 0.2},
    {"architecture": "mlp", "hidden": [6], "activation": "identity"},
    {"architecture": "mlp", "hidden": [6], "activation": "maxout"},
    {"architecture": "lenet5"},
    {"architecture": "vgg", "channels": [4, 6], "convolutions": 1},
    {"architecture": "residual", "channels": [4], "blocks": 1, "squeeze_excite": 2},
]


@pytest.mark.parametrize("model", ARCHITECTURES, ids=lambda model: "-".join(map(str, model.values())))
def test_influence_is_that_of_the_whole_network_without_the_unit(
    dataset: ImageDataset, model: dict[str, object]
) -> None:
    network = build_model(load_config({"model": model}).model, 10, seed=4).eval()
    found = explain_network(predictor(network), dataset)
    modules = list(activation_modules(network))
    assert [len(layer.errors) for layer in found.layers] == [count for _, count in modules]

    def measures(outputs: Tensor) -> tuple[int, float]:
        loss = nn.functional.cross_entropy(outputs.double(), dataset.labels)
        return int((outputs.argmax(dim=1) != dataset.labels).sum()), float(loss)

    with torch.no_grad():
        errors, loss = measures(network(UNIT.apply(dataset.images)))
    assert (found.errors, found.loss) == (errors, pytest.approx(loss))
    for layer, (module, count) in zip(found.layers, modules, strict=True):
        for unit in range(0, count, 3):
            others, other_loss = measures(brute_force(network, module, unit, dataset.images))
            assert layer.errors[unit] == others - errors
            assert layer.loss[unit] == pytest.approx(other_loss - loss, abs=1e-6)


def activation_modules(network: nn.Module) -> list[tuple[nn.Module, int]]:
    """The activation behind each layer with weights but the last, or that layer, with its number of units."""
    order: list[tuple[nn.Module, int]] = []
    kinds = ("Linear", "Conv2d", "ReLU", "Tanh", "ScaledTanh", "Maxout", "Sigmoid")
    handles = [
        module.register_forward_hook(lambda module, _, outputs: order.append((module, outputs.shape[1])))
        for module in network.modules()
        if type(module).__name__ in kinds
    ]
    with torch.no_grad():
        network(torch.zeros(1, 1, 28, 28))
    for handle in handles:
        handle.remove()
    weighted = [index for index, (module, _) in enumerate(order) if type(module).__name__ in ("Linear", "Conv2d")]
    return [order[index if index + 1 in weighted else index + 1] for index in weighted[:-1]]


def test_the_last_bits_do_not_depend_on_batches(dataset: ImageDataset, network: nn.Module) -> None:
    one, other = (explain_network(predictor(network, batch_size=size), dataset) for size in (150, 7))
    assert one.errors == other.errors
    np.testing.assert_array_equal(one.layers[0].errors, other.layers[0].errors)
    np.testing.assert_allclose(one.layers[0].loss, other.layers[0].loss, atol=1e-7)


def test_values_have_no_loss(dataset: ImageDataset, network: nn.Module) -> None:
    found = explain_network(predictor(network, "values"), dataset)
    assert found.loss is None
    assert found.to_json()["layers"][0]["loss"] is None
    logits = explain_network(predictor(network), dataset)
    np.testing.assert_array_equal(found.layers[0].errors, logits.layers[0].errors)


def test_saturated_units_are_named(halves: ImageDataset) -> None:
    hidden = linear([[1 / 784] * 784, [0.0] * 784], [-0.5, 9])
    model = nn.Sequential(nn.Flatten(), hidden, nn.Sigmoid(), linear([[0.0, 0], [1, 0]], [0.5, 0]))
    assert explain_network(predictor(model), halves).layers[0].saturated == (1,)


def test_a_model_without_hidden_layers_is_refused(dataset: ImageDataset) -> None:
    with pytest.raises(CheckpointError, match="This model has no hidden layer"):
        explain_network(predictor(nn.Sequential(nn.Flatten(), nn.Linear(784, 10))), dataset)


def test_fewer_images_are_taken_for_large_models(dataset: ImageDataset, network: nn.Module) -> None:
    """The network has 32 units, and 320 multiplications behind them."""
    found = [explain_network(predictor(network), dataset, 32 * 320 * count) for count in (149, 120, 1)]
    assert [each.count for each in found] == [149, 120, MIN_IMAGES]
    assert {each.total for each in found} == {150}
    assert [len(each.embedding.points) for each in found] == [149, 120, MIN_IMAGES]


def test_the_model_is_left_without_hooks(dataset: ImageDataset, network: nn.Module) -> None:
    explain_network(predictor(network), dataset)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


@pytest.mark.parametrize("shape", [(30, 7), (7, 30), (30, 1), (2, 5)])
def test_principal_components_are_those_of_numpy(shape: tuple[int, int]) -> None:
    features = torch.randn(shape, generator=torch.Generator().manual_seed(5)) * torch.arange(1, shape[1] + 1)
    points, shares = principal_components(features)
    centred = features.double().numpy() - features.double().numpy().mean(axis=0)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    expected = np.zeros((shape[0], 2))
    expected[:, : len(singular)] = (left * singular)[:, :2]
    largest = np.abs(expected).argmax(axis=0)
    expected *= np.sign(expected[largest, [0, 1]])
    np.testing.assert_allclose(points.numpy(), expected, atol=1e-9)
    variance = np.append(singular**2, 0)[:2] / (singular**2).sum()
    assert shares == pytest.approx(tuple(variance), abs=1e-12)
    assert (points.numpy().max(axis=0) >= -points.numpy().min(axis=0)).all()


def test_equal_features_have_no_components() -> None:
    points, shares = principal_components(torch.ones(4, 3))
    assert not points.any()
    assert shares == (0, 0)


def test_the_embedding_is_of_what_the_output_layer_sees(dataset: ImageDataset, network: nn.Module) -> None:
    assert isinstance(network, nn.Sequential)
    found = explain_network(predictor(network.eval()), dataset)
    with torch.no_grad():
        hidden = network[:4](UNIT.apply(dataset.images))
        predicted = network(UNIT.apply(dataset.images)).argmax(dim=1)
    points, shares = principal_components(hidden)
    assert found.embedding.shares == pytest.approx(shares)
    order = np.lexsort(found.embedding.points.T)
    expected = np.lexsort(points.numpy().T)
    np.testing.assert_allclose(found.embedding.points[order], points.numpy()[expected], atol=1e-5)
    np.testing.assert_array_equal(found.embedding.labels[order], dataset.labels[expected])
    np.testing.assert_array_equal(found.embedding.predicted[order], predicted[expected])


def test_the_json_has_every_unit(dataset: ImageDataset, network: nn.Module) -> None:
    found: NetworkExplanation = explain_network(predictor(network), dataset)
    content = found.to_json()
    assert list(content) == ["count", "total", "errors", "loss", "layers", "embedding"]
    (layer,) = content["layers"]
    assert (layer["layer"], layer["name"], layer["units"]) == (1, "Linear, ReLU", 32)
    assert layer["errors"] == found.layers[0].errors.tolist()
    assert [len(layer[key]) for key in ("errors", "loss", "active")] == [32] * 3
    assert len(content["embedding"]["points"]) == len(content["embedding"]["labels"]) == 150
