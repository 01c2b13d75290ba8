"""Corruptions, attacks and their metrics, against plain torch and numbers by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_trainer.config.classes import DIGITS
from mnist_trainer.config.schema import Data
from mnist_trainer.data.digits import load_digits
from mnist_trainer.data.image_dataset import ImageDataset
from mnist_trainer.data.normalize import Normalization
from mnist_trainer.inference.metrics import calibration_error, exact_interval
from mnist_trainer.inference.predictor import InferenceSpec, Predictor
from mnist_trainer.inference.robustness import (
    DIRECTIONS,
    EPSILONS,
    SWEEPS,
    Case,
    attack_cases,
    fgsm,
    measure_case,
    pgd,
    picture_cases,
    sweep_cases,
)
from mnist_trainer.model.activations import Step

IMAGES = load_digits("test").images[:40]
LABELS = load_digits("test").labels[:40]
assert isinstance(IMAGES, Tensor)


def predictor(*layers: nn.Module, scale: float = 1.0) -> Predictor:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 16), *(layers or (nn.Tanh(),)), nn.Linear(16, 10))
    with torch.no_grad():
        model[-1].weight.mul_(scale)  # type: ignore[operator, union-attr]
    return Predictor([model], [InferenceSpec(Normalization(0.13, 0.31), "logits")], torch.device("cpu"))


def cross_entropy(model: Predictor, images: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(model.members[0](model.specs[0].normalization.apply(images)), labels)


def changed(name: str, value: float, images: Tensor) -> Tensor:
    return SWEEPS[name][2](images, value, 0)


# --- sweeps ---


def test_changes_are_what_their_names_say() -> None:
    images = IMAGES[:4]
    assert torch.equal(changed("rotation", 90, images), images.rot90(1, (1, 2)))  # counterclockwise
    for image, shifted, (right, down) in zip(images, changed("shift", 3, images), DIRECTIONS, strict=True):
        frame = F.pad(image, (3, 3, 3, 3))[3 - 3 * down :, 3 - 3 * right :][:28, :28]
        assert torch.equal(shifted, frame)
    assert torch.equal(changed("thickness", 2, images), changed("thickness", 1, changed("thickness", 1, images)))
    mean = images.float().mean(dim=(1, 2), keepdim=True)
    flat = (mean + 0.5 * (images - mean)).round()
    assert torch.equal(changed("contrast", 0.5, images), flat.byte())
    grey = torch.full((2, 28, 28), 128, dtype=torch.uint8)
    noise = changed("noise", 32, grey).float() - 128
    assert noise.std() == pytest.approx(32, rel=0.05) and noise.mean() == pytest.approx(0, abs=2)
    dot = torch.zeros(1, 28, 28, dtype=torch.uint8)
    dot[0, 14, 14] = 255
    row = changed("blur", 2, dot)[0, 14].float()
    assert row[16] / row[14] == pytest.approx(np.exp(-(2**2) / (2 * 2**2)), abs=0.1)


@pytest.mark.parametrize(("name", "value"), [("rotation", 0), ("shift", 0), ("contrast", 1), ("thickness", 0)])
def test_without_a_change_images_stay_as_they_are(name: str, value: float) -> None:
    assert torch.equal(changed(name, value, IMAGES), IMAGES)


def test_a_sweep_has_a_case_for_each_setting() -> None:
    dataset = ImageDataset(IMAGES, LABELS, torch.arange(40), DIGITS)
    cases = list(sweep_cases(dataset, batch_size=16))
    assert [case.change for case in cases[:9]] == ["none", *["rotation"] * 8]
    assert len(cases) == 1 + sum(len(values) for _, values, _ in SWEEPS.values())
    assert cases[1].setting == "-45°"
    for case in cases:
        assert case.dataset.images.shape == (40, 28, 28) and case.dataset.images.dtype == torch.uint8  # type: ignore[union-attr]
    again = list(sweep_cases(dataset, batch_size=16))
    assert all(torch.equal(a.dataset.images, b.dataset.images) for a, b in zip(cases, again, strict=True))  # type: ignore[arg-type]


# --- attacks ---


def test_fgsm_moves_each_pixel_by_epsilon_up_the_cross_entropy() -> None:
    model, images = predictor(), IMAGES.float().requires_grad_()
    (gradient,) = torch.autograd.grad(cross_entropy(model, images, LABELS), images)
    expected = (IMAGES + 16 * gradient.sign()).clamp(0, 255).byte()
    assert torch.equal(fgsm(model, IMAGES, LABELS, 16), expected)


def test_pgd_stays_within_epsilon_and_finds_more_than_fgsm() -> None:
    model = predictor()
    once, attacked = fgsm(model, IMAGES, LABELS, 16), pgd(model, IMAGES, LABELS, 16)
    difference = (attacked.int() - IMAGES.int()).abs()
    assert attacked.dtype == torch.uint8 and int(difference.max()) == 16
    assert torch.equal(attacked, pgd(model, IMAGES, LABELS, 16))
    losses = [cross_entropy(model, images, LABELS).item() for images in (IMAGES, once, attacked)]
    assert losses[0] < losses[1] <= losses[2]


def test_a_model_that_is_sure_is_attacked_all_the_same() -> None:
    """Its probabilities round to 1, where the gradient of the cross-entropy is 0."""
    model = predictor(scale=1e4)
    labels = model(IMAGES).argmax(dim=1)
    images = IMAGES.float().requires_grad_()
    (gradient,) = torch.autograd.grad(cross_entropy(model, images, labels), images)
    is_flat = ~gradient.flatten(1).any(dim=1)
    assert is_flat.sum() > 20
    attacked = fgsm(model, IMAGES, labels, 16)
    assert (attacked != IMAGES).flatten(1).any(dim=1)[is_flat].all()
    assert (model(attacked).argmax(dim=1) != labels).double().mean() > 0.5


def test_a_model_without_gradients_is_left_as_it_is() -> None:
    assert torch.equal(fgsm(predictor(Step()), IMAGES, LABELS, 16), IMAGES)


def test_the_attacked_images_are_spread_over_the_data_set() -> None:
    dataset = ImageDataset(IMAGES, LABELS, torch.arange(40), DIGITS)
    cases = list(attack_cases(predictor(), dataset, 4))
    assert [(case.change, case.setting) for case in cases[:2]] == [("FGSM", "ε 4"), ("FGSM", "ε 8")]
    assert len(cases) == 2 * len(EPSILONS)
    assert {tuple(case.dataset.indices.tolist()) for case in cases} == {(0, 10, 20, 30)}
    assert len(next(attack_cases(predictor(), dataset, 1000)).dataset) == 40


# --- metrics ---


class Known(Predictor):
    """Answers with given probabilities, in order."""

    def __init__(self, probabilities: Tensor, none: Tensor, threshold: float | None) -> None:
        spec = InferenceSpec(Normalization(0, 1), "logits", refusal_threshold=threshold)
        super().__init__([nn.Identity()], [spec], torch.device("cpu"))
        self.answers = probabilities.double(), none.double()

    def read(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.answers


def case(blank: int | None = None) -> Case:
    images = torch.full((4, 28, 28), 9, dtype=torch.uint8)
    if blank is not None:
        images[blank] = 0
    return Case("noise", "σ 1", ImageDataset(images, torch.tensor([0, 1, 0, 1]), torch.tensor([5, 6, 7, 8])))


SHARES = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.05, 0.95]])


def test_metrics_by_hand() -> None:
    row = measure_case(Known(SHARES, torch.zeros(4), None), case(), ("a", "b"))
    assert (row.count, row.errors, row.accuracy, row.refused) == (4, 2, 0.5, None)
    assert row.interval == exact_interval(2, 4)
    correct = torch.tensor([True, False, False, True])
    assert row.ece == calibration_error(SHARES.max(dim=1).values.double(), correct)
    assert row.worst is not None and (row.worst.index, row.worst.label, row.worst.predicted) == (6, "b", "a")
    assert row.worst.confidence == pytest.approx(0.8)
    assert set(row.to_json()["worst"]) == {"index", "label", "predicted", "confidence"}


def test_the_worst_answer_of_a_model_without_probabilities_has_the_largest_value() -> None:
    values = torch.tensor([[-0.5, -3.0], [-0.25, -4.0], [-6.0, -5.0], [0.0, 1.0]])
    row = measure_case(Known(values, torch.zeros(4), None), case(), ("a", "b"))
    assert row.worst is not None and (row.worst.index, row.worst.confidence) == (6, -0.25)
    row = measure_case(Known(values[2:3].expand(4, 2), torch.zeros(4), None), case(), ("a", "b"))
    assert row.worst is not None and row.worst.confidence == -5


def test_refusals_by_hand() -> None:
    none = torch.tensor([0.9, 0.9, 0.0, 0.0])
    row = measure_case(Known(SHARES, none, 0.7), case(), ("a", "b"))
    assert (row.errors, row.refused) == (2, 0.5)
    assert row.worst is not None and row.worst.index == 7  # the other error is refused
    other = measure_case(Known(SHARES, none, 0.7), replace(case(), shows_digits=False), ("a", "b"))
    assert (other.errors, other.accuracy, other.refused, other.ece) == (2, 0.5, 0.5, None)
    assert other.worst is not None and (other.worst.index, other.worst.label, other.worst.predicted) == (8, None, "b")
    assert other.worst.confidence == pytest.approx(0.95)


def test_what_was_not_read_is_an_error_and_refused() -> None:
    row = measure_case(Known(SHARES, torch.zeros(4), 0.7), case(blank=0), ("a", "b"))
    assert (row.errors, row.refused) == (3, 0.25)
    without_digits = replace(case(blank=0), shows_digits=False)
    assert measure_case(Known(SHARES, torch.zeros(4), 0.7), without_digits, ("a", "b")).errors == 3


@pytest.mark.parametrize(
    ("correct", "count", "low", "high"),
    [
        (0, 10, 0, 1 - 0.025 ** (1 / 10)),
        (10, 10, 0.025 ** (1 / 10), 1),
        (1, 10, 0.0025286, 0.4450161),  # R: binom.test(1, 10)
        (13, 10_000, 0.00069, 0.00222),
        (0, 1, 0, 0.975),
    ],
)
def test_exact_intervals(correct: int, count: int, low: float, high: float) -> None:
    assert exact_interval(correct, count) == pytest.approx((low, high), abs=5e-6)


# --- simulated pictures ---


def test_pictures_of_each_kind_are_read() -> None:
    dataset = ImageDataset(IMAGES, LABELS, torch.arange(40), DIGITS)
    told: list[str] = []
    cases = list(picture_cases(dataset, Data(name="digits"), 2, True, lambda what, *_: told.append(what)))
    names = [(each.change, each.setting, each.shows_digits, len(each.dataset)) for each in cases]
    kinds = {"photograph": ("plain", "light_on_dark"), "non-digit": ("blank", "letter")}
    assert names == [
        (change, setting, change == "photograph", 2 if setting == "all" else 1)
        for change, settings in kinds.items()
        for setting in ("all", *settings)
    ]
    assert cases[0].dataset.labels.tolist() == LABELS[[0, 20]].tolist()
    assert told == ["making test_photographs", "making test_non_digits"]
    assert [each.change for each in picture_cases(dataset, Data(name="digits"), 1, False, None)] == ["photograph"] * 2
