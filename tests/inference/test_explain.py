from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mnist_trainer.config.layers import OutputKind
from mnist_trainer.config.load import load_config
from mnist_trainer.config.schema import Data
from mnist_trainer.data.loaders import load_split
from mnist_trainer.data.normalize import Normalization
from mnist_trainer.errors import CheckpointError
from mnist_trainer.inference.explain import (
    THINNED,
    TOLERANCE,
    Explanation,
    attribute,
    explain_image,
    integrated_gradients,
    log_odds,
    random_ink,
    thin,
)
from mnist_trainer.inference.predictor import InferenceSpec, Predictor
from mnist_trainer.model.activations import Step
from mnist_trainer.model.build import build_model
from mnist_trainer.pipeline.predict import load_reader

CPU = torch.device("cpu")
NORMALIZATION = Normalization(0.13, 0.31)


def predictor(*models: nn.Module, kind: OutputKind = "logits", temperature: float = 1.0, own: float = 1.0) -> Predictor:
    spec = InferenceSpec(NORMALIZATION, kind, temperature=own)
    return Predictor([model.eval() for model in models], [spec] * len(models), CPU, temperature)


@pytest.fixture
def image() -> Tensor:
    """A stroke of random grey levels on white paper, uint8 [28, 28]."""
    pixels = torch.zeros(28, 28, dtype=torch.uint8)
    pixels[4:24, 8:20] = torch.randint(0, 256, (20, 12), generator=torch.Generator().manual_seed(3)).byte()
    return pixels


def network(seed: int = 0, outputs: int = 10, last: Sequence[nn.Module] = (), scale: float = 4.0) -> nn.Module:
    """A perceptron whose logits lie far apart."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Flatten(), nn.Linear(784, 24), nn.ReLU(), nn.Linear(24, outputs), *last)
    with torch.no_grad():
        model[3].weight *= scale
    return model


def test_attributions_of_a_linear_model_are_half_its_products(image: Tensor) -> None:
    """F is linear, and each pixel is white paper in half of the thinned images."""
    linear = nn.Linear(784, 10)
    found, end, thinned = attribute(predictor(nn.Sequential(nn.Flatten(), linear)), image, 3, 7)
    weights = (linear.weight[3] - linear.weight[7]).detach().view(28, 28).double()
    products = weights * image / (255 * NORMALIZATION.std)
    torch.testing.assert_close(found, products / 2, rtol=1e-4, atol=1e-6)
    assert end - thinned == pytest.approx(float(products.sum()) / 2, rel=1e-4)


SOFTMAX, SIGMOID = nn.Softmax(dim=1), nn.Sigmoid()
KINDS: list[tuple[OutputKind, int, list[nn.Module]]] = [
    ("logits", 10, []),
    ("logits", 1, []),
    ("log_probabilities", 10, [nn.LogSoftmax(dim=1)]),
    ("probabilities", 10, [SOFTMAX]),
    ("sigmoid", 10, [SIGMOID]),
    ("sigmoid", 1, [SIGMOID]),
    ("values", 10, []),
    ("values", 1, []),
]


@pytest.mark.parametrize(("kind", "outputs", "last"), KINDS)
def test_attributions_add_up_for_every_kind_of_output(
    image: Tensor, kind: OutputKind, outputs: int, last: list[nn.Module]
) -> None:
    model = predictor(network(1, outputs, last), kind=kind, own=1.5)
    answer, runner_up = (4, 9) if outputs > 1 else (1, 0)
    assert_complete(model, image, answer, runner_up)
    scores = model(image[None])[0]
    odds = scores[answer] - scores[runner_up] if kind == "values" else (scores[answer] / scores[runner_up]).log()
    assert odds_of(model, image[None], answer, runner_up) == pytest.approx([float(odds)], rel=1e-4)


def odds_of(model: Predictor, images: Tensor, answer: int, runner_up: int) -> list[float]:
    found: list[float] = log_odds(model, images.float(), answer, runner_up).tolist()
    return found


def assert_complete(model: Predictor, image: Tensor, answer: int, runner_up: int) -> None:
    """The sum of the attributions is the difference of the log-odds, within 1 %."""
    attributions, end, thinned = attribute(model, image, answer, runner_up)
    first, *others = odds_of(model, torch.cat((image[None], thin(image))), answer, runner_up)
    assert end - thinned == pytest.approx(first - np.mean(others), rel=1e-4, abs=1e-4)
    assert abs(end - thinned) > 0.01
    assert abs(float(attributions.sum()) - (end - thinned)) <= TOLERANCE * max(0.2, abs(end - thinned))
    assert not attributions[image == 0].any()


@pytest.mark.parametrize(
    "model",
    [
        {"architecture": "mlp", "hidden": []},
        {"architecture": "mlp", "hidden": [16, 8], "activation": "tanh", "dropout": 0.5},
        {"architecture": "mlp", "hidden": [16], "activation": "maxout"},
        {"architecture": "cnn"},
        {"architecture": "lenet5"},
        {"architecture": "residual", "channels": [4, 8], "blocks": 1, "squeeze_excite": 2},
    ],
    ids=lambda model: "-".join(map(str, model.values())),
)
def test_attributions_add_up_for_architectures(image: Tensor, model: dict[str, object]) -> None:
    network = build_model(load_config({"model": model}).model, 10, seed=1)
    with torch.no_grad():
        list(network.parameters())[-2].mul_(5)  # log-odds of some size
    assert_complete(predictor(network), image, 4, 9)


class Own(nn.Module):
    """A model that is no `nn.Sequential`, with a softmax that is no module."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(784, 10)

    def forward(self, images: Tensor) -> Tensor:
        return torch.softmax(self.layer(images.flatten(1)).square(), dim=1)


def test_attributions_add_up_for_ensembles_and_own_models(image: Tensor) -> None:
    ensemble = predictor(network(1), network(2), network(3), temperature=2.0)
    assert_complete(ensemble, image, 4, 9)
    scores = ensemble(image[None])[0]
    assert odds_of(ensemble, image[None], 4, 9) == pytest.approx([float((scores[4] / scores[9]).log())], rel=1e-4)
    assert_complete(predictor(Own(), kind="probabilities"), image, 4, 9)


def test_more_steps_are_more_exact(image: Tensor) -> None:
    model, starts = predictor(network(scale=20)), thin(image)
    first, *others = odds_of(model, torch.cat((image[None], starts)), 4, 9)
    wanted = first - np.mean(others)
    errors = [
        abs(float(integrated_gradients(model, image, starts, 4, 9, steps).sum()) - wanted) for steps in (1, 8, 64)
    ]
    assert errors[0] > errors[1] > errors[2]


def test_a_function_with_jumps_is_refused(image: Tensor) -> None:
    model = network(1)
    assert isinstance(model, nn.Sequential)
    model[2] = Step()
    with pytest.raises(CheckpointError, match="can't be explained by its gradients: they add up to 0 instead of "):
        explain_image(predictor(model), image.numpy(), range(10))


def test_each_pixel_is_paper_in_half_of_the_thinned_images(image: Tensor) -> None:
    thinned = thin(image)
    assert thinned.dtype == torch.uint8
    assert ((thinned == 0).sum(dim=0)[image > 0] == THINNED // 2).all()
    assert torch.equal(thinned.amax(dim=0), image)
    assert torch.equal(thinned, thin(image))
    kept = (thinned > 0).double().mean(dim=(1, 2)) / (image > 0).double().mean()
    assert 0.3 < kept.min() < kept.max() < 0.7


def test_random_pixels_are_of_the_ink(image: Tensor) -> None:
    masks = random_ink(image, 39)
    assert [int(mask.sum()) for mask in masks] == [39] * 20
    assert all((image[mask] > 0).all() for mask in masks)
    assert len({mask.numpy().tobytes() for mask in masks}) == 20


def test_an_explanation_holds_what_the_model_says(image: Tensor) -> None:
    model = predictor(network(1))
    scores = model(image[None])[0]
    runner_up, answer = scores.argsort()[-2:].tolist()
    names = [f"class {number}" for number in range(10)]
    found = explain_image(model, image.numpy(), names)
    assert (found.answer, found.runner_up) == (names[answer], names[runner_up])
    assert found.confidence == pytest.approx(float(scores[answer]))
    assert found.important.sum() == 39
    chosen = found.attributions[found.important]
    assert chosen.min() >= found.attributions[~found.important].max()
    assert chosen.min() > 0
    without = model(torch.from_numpy(np.where(found.important, 0, image.numpy()))[None])[0]
    assert found.confidence_without == pytest.approx(float(without[answer]))
    assert found.answer_without == names[int(without.argmax())]
    assert found.answer_confidence_without == pytest.approx(float(without.max()))
    randoms = torch.stack([image.masked_fill(mask, 0) for mask in random_ink(image, 39)])
    assert found.confidence_random == pytest.approx(float(model(randoms)[:, answer].mean()))
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_same_image_has_the_same_explanation(image: Tensor) -> None:
    model = predictor(network(1))
    first, second = (explain_image(model, image.numpy(), range(10)).to_json() for _ in range(2))
    assert first == second
    assert np.sum(first["attributions"]) == pytest.approx(first["log_odds"] - first["thinned_log_odds"], rel=0.02)


def test_thinned_images_whose_differences_cancel_out_are_no_error(image: Tensor) -> None:
    """Their mean is 0.4 % of their size, so that 1 % of the mean is out of reach."""
    attributions, log_odds, thinned_log_odds = attribute(predictor(network(10, scale=400)), image, 0, 9)
    assert abs(log_odds - thinned_log_odds) < 0.3
    assert attributions.abs().sum() > 30
    assert float(attributions.sum()) == pytest.approx(log_odds - thinned_log_odds, abs=0.6)


def test_an_image_without_ink_has_no_reason() -> None:
    found = explain_image(predictor(network(1)), np.zeros((28, 28), np.uint8), range(10))
    assert not found.attributions.any()
    assert not found.important.any()
    assert found.confidence == found.confidence_without == pytest.approx(found.confidence_random)


def test_the_answer_of_a_row_is_explained_even_if_the_network_alone_prefers_another(image: Tensor) -> None:
    model = predictor(network())
    ranking = model(image[None])[0].argsort(descending=True).tolist()
    found = explain_image(model, image.numpy(), range(10), answer=ranking[1])
    assert (found.answer, found.runner_up) == (ranking[1], ranking[0])
    assert found.log_odds < 0
    assert found.confidence == pytest.approx(float(model(image[None])[0, ranking[1]]), abs=1e-6)


def test_the_explained_class_is_the_answer_where_two_are_equally_probable(image: Tensor) -> None:
    """As `DigitPrediction`, which takes the first one."""
    model = network()
    with torch.no_grad():
        model[3].weight[[2, 6]] = model[3].weight[[1]]
        model[3].bias[[2, 6]] = 50.0
    found = explain_image(predictor(model), image.numpy(), range(10))
    assert (found.answer, found.runner_up) == (2, 6)


def explained(images: NDArray[np.uint8], checkpoint: str = "bundled") -> list[Explanation]:
    reader = load_reader(checkpoint)
    assert reader.load_torch is not None
    model = reader.load_torch()
    return [explain_image(model, image, range(10)) for image in images]


@pytest.mark.slow
def test_the_most_important_pixels_matter_more_than_random_ones(mnist_root: Path) -> None:
    """Of the bundled model, on 120 of MNIST's validation images, which did not train it."""
    validation = load_split(Data(name="mnist", root=str(mnist_root)), "validation")
    found = explained(validation.images[:120].numpy())
    lost = np.array([each.confidence - each.confidence_without for each in found])
    at_random = np.array([each.confidence - each.confidence_random for each in found])
    assert lost.mean() > 0.45
    assert at_random.mean() < 0.15
    assert (lost > at_random).mean() > 0.9
    changed = [each.answer_without != each.answer for each in found]
    assert np.mean(changed) > 0.35
