"""How well a model does on images that differ from those it was trained on: corruptions, attacks, simulated pictures.

The attacks are FGSM (Goodfellow et al. 2015, arXiv 1412.6572) and PGD (Madry et al. 2018, arXiv 1706.06083), both
untargeted, in the maximum norm, with `epsilon` in grey levels from 0 to 255. Their results are images again: whole grey
levels, clipped to 0 to 255.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from math import radians
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from mnist_trainer.config.schema import Data
from mnist_trainer.data.augment import blur, inverse_affine, thicken, warp
from mnist_trainer.data.image_dataset import ImageDataset
from mnist_trainer.data.loaders import ordered_loader
from mnist_trainer.data.paths import Progress
from mnist_trainer.data.simulated import TestKind, test_images
from mnist_trainer.inference.explain import log_scores
from mnist_trainer.inference.metrics import calibration_error, exact_interval
from mnist_trainer.inference.predictor import Predictor
from mnist_trainer.seeds import seed_for

EPSILONS = (4, 8, 16, 32, 48, 77)
"""The sizes of attacks in grey levels. 77 of 255 is the 0.3 of Madry et al."""

PGD_STEPS, PGD_STEP_SIZE = 40, 1 / 30
"""The number of steps and their size relative to epsilon, as of Madry et al. on MNIST (0.01 at 0.3)."""

DIRECTIONS = ((1, 0), (0, 1), (-1, 0), (0, -1))
"""The directions of shifts, for one image after the other."""


@dataclass(frozen=True)
class Worst:
    """The most confident wrong answer: the position of its image [28, 28] in the data set, label and answer.

    Answers that are not refused come first. Of an image without a digit, `label` is None.
    """

    index: int
    label: str | None
    predicted: str
    confidence: float
    image: NDArray[np.uint8]


@dataclass(frozen=True)
class RobustnessRow:
    """The metrics for one setting of one change; accuracies and shares are fractions from 0 to 1.

    A digit is correct if its class is the most probable one, refused or not, and wrong if nothing was read in its
    picture; an image without a digit is correct if it is refused. `interval` is the exact 95 % interval of the
    accuracy. `ece` is None without probabilities or digits, `refused` for a model that can't refuse.
    """

    change: str
    setting: str
    count: int
    errors: int
    accuracy: float
    interval: tuple[float, float]
    ece: float | None
    refused: float | None
    worst: Worst | None

    def to_json(self) -> dict[str, Any]:
        """Return its object in the JSON of `mnist-eval --robustness`; the image is left out."""
        worst = None if self.worst is None else {k: v for k, v in vars(self.worst).items() if k != "image"}
        return {**asdict(replace(self, worst=None)), "worst": worst}


@dataclass(frozen=True, eq=False)
class Case:
    """Images to measure a model on: a `change` of the data set in one `setting`."""

    change: str
    setting: str
    dataset: ImageDataset
    shows_digits: bool = True


def measure_case(predictor: Predictor, case: Case, classes: tuple[str, ...]) -> RobustnessRow:
    """Return the metrics of `predictor` on the images of `case`. In black images nothing was read."""
    batches = ordered_loader(case.dataset, predictor.specs[0].batch_size)
    each = [(*predictor.read(images), (images > 0).flatten(1).any(dim=1).cpu()) for images, _ in batches]
    probabilities, none, was_read = (torch.cat(parts) for parts in zip(*each, strict=True))
    confidence, predicted = probabilities.max(dim=1)
    labels, threshold = case.dataset.labels.cpu(), predictor.refusal_threshold
    refused = ~was_read if threshold is None else ~was_read | (none >= threshold)
    correct = (predicted == labels) & was_read if case.shows_digits else refused
    wrong = ~correct & was_read
    unrefused = wrong & ~refused
    has_ece = predictor.gives_probabilities and case.shows_digits and bool(was_read.any())
    count, hits = len(labels), int(correct.sum())
    return RobustnessRow(
        case.change,
        case.setting,
        count,
        count - hits,
        hits / count,
        exact_interval(hits, count),
        calibration_error(confidence[was_read], correct[was_read]) if has_ece else None,
        None if threshold is None else float(refused.double().mean()),
        _worst(case, unrefused if unrefused.any() else wrong, confidence, predicted, classes),
    )


def _worst(case: Case, chosen: Tensor, confidence: Tensor, predicted: Tensor, classes: tuple[str, ...]) -> Worst | None:
    """Return the `chosen` answer [N] with the largest `confidence` [N]; None if none is chosen."""
    if not chosen.any():
        return None
    at = int(confidence.masked_fill(~chosen, -torch.inf).argmax())
    images, labels = case.dataset.gather(torch.tensor([at]))
    label, index = classes[int(labels)] if case.shows_digits else None, int(case.dataset.indices[at])
    return Worst(index, label, classes[predicted[at]], float(confidence[at]), images[0].cpu().numpy())


# --- sweeps ---


def _rotate(images: Tensor, degrees: float, batch: int) -> Tensor:
    angle, zero = torch.tensor([radians(degrees)]), torch.zeros(1)
    return warp(images, inverse_affine(angle, zero, torch.ones(1, 2), torch.zeros(1, 2)).to(images.device))


def _shift(images: Tensor, pixels: float, batch: int) -> Tensor:
    shift = pixels * torch.tensor(DIRECTIONS)[torch.arange(len(images)) % len(DIRECTIONS)].float()
    zero = torch.zeros(len(images))
    return warp(images, inverse_affine(zero, zero, torch.ones(len(images), 2), shift).to(images.device))


def _add_noise(images: Tensor, sigma: float, batch: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed_for(0, "noise", round(sigma), batch))
    noise = torch.randn(images.shape, generator=generator).to(images.device)
    return to_grey_levels(images + sigma * noise)


def _blur(images: Tensor, sigma: float, batch: int) -> Tensor:
    return to_grey_levels(blur(images.float(), sigma))


def _change_contrast(images: Tensor, factor: float, batch: int) -> Tensor:
    mean = images.float().mean(dim=(1, 2), keepdim=True)
    return to_grey_levels(mean + factor * (images - mean))


def _thicken(images: Tensor, pixels: float, batch: int) -> Tensor:
    while pixels:
        step = float(max(-1, min(pixels, 1)))
        images, pixels = thicken(images, torch.full((len(images),), step, device=images.device)), pixels - step
    return images


def to_grey_levels(images: Tensor) -> Tensor:
    """Return `images` rounded and clipped to uint8."""
    return images.round().clamp(0, 255).to(torch.uint8)


SWEEPS: dict[str, tuple[str, tuple[float, ...], Callable[[Tensor, float, int], Tensor]]] = {
    "rotation": ("{:+g}°", (-45, -30, -20, -10, 10, 20, 30, 45), _rotate),
    "shift": ("{:g} px", (1, 2, 3, 4, 6, 8), _shift),
    "noise": ("σ {:g}", (16, 32, 64, 96, 128), _add_noise),
    "blur": ("σ {:g} px", (0.5, 1, 1.5, 2, 3), _blur),
    "contrast": ("× {:g}", (0.1, 0.25, 0.5, 0.75, 1.5, 2), _change_contrast),
    "thickness": ("{:+g} px", (-1, -0.5, 0.5, 1, 2), _thicken),
}
"""The format of settings, their values, and a function of uint8 images [B, 28, 28], the value and the batch's number.

Rotations are counterclockwise; shifts go right, down, left and up in turn; noise is Gaussian, σ in grey levels;
contrast is a factor of the difference from the image's mean; thickness is added on each side of a stroke.
"""


def sweep_cases(dataset: ImageDataset, batch_size: int) -> Iterator[Case]:
    """Yield `dataset` as it is, then with each setting of `SWEEPS`."""
    yield Case("none", "", dataset)
    for name, (form, values, change) in SWEEPS.items():
        for value in values:
            batches = enumerate(ordered_loader(dataset, batch_size))
            images = torch.cat([change(images, value, number) for number, (images, _) in batches])
            yield Case(name, form.format(value), replace(dataset, images=images))


# --- attacks ---


def attack_cases(predictor: Predictor, dataset: ImageDataset, count: int) -> Iterator[Case]:
    """Yield `count` evenly spread images of `dataset`, attacked with each of `EPSILONS`."""
    count = min(count, len(dataset))
    chosen = dataset.subset(torch.arange(count) * len(dataset) // count)
    for name, attack in (("FGSM", fgsm), ("PGD", pgd)):
        for epsilon in EPSILONS:
            batches = ordered_loader(chosen, predictor.specs[0].batch_size)
            images = torch.cat([attack(predictor, images, labels, epsilon) for images, labels in batches])
            yield Case(name, f"ε {epsilon}", replace(chosen, images=images))


def fgsm(predictor: Predictor, images: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    """Return `images` (uint8 [B, 28, 28]) changed by `epsilon` in the direction in which the loss grows."""
    return to_grey_levels(images + epsilon * gradient_sign(predictor, images.float(), labels))


def pgd(predictor: Predictor, images: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    """Return `images` (uint8 [B, 28, 28]) after `PGD_STEPS` steps up the loss, within `epsilon` of the images.

    There is one random start, uniform from −`epsilon` to `epsilon`.
    """
    generator = torch.Generator().manual_seed(seed_for(0, "pgd"))
    start = (2 * torch.rand(images.shape, generator=generator) - 1).to(images.device)
    low, high = (images.float() - epsilon).clamp_min(0), (images.float() + epsilon).clamp_max(255)
    attacked = torch.clamp(images + epsilon * start, low, high)
    for _ in range(PGD_STEPS):
        step = PGD_STEP_SIZE * epsilon * gradient_sign(predictor, attacked, labels)
        attacked = torch.clamp(attacked + step, low, high)
    return to_grey_levels(attacked)


def gradient_sign(predictor: Predictor, images: Tensor, labels: Tensor) -> Tensor:
    """Return the sign of the gradient of the cross-entropy [B, 28, 28] of float images from 0 to 255.

    It is computed from ln((1 − P) / P) of the label's probability P, which grows with the cross-entropy −ln P, but
    whose gradient does not vanish where P rounds to 1. Models without any gradient give 0.
    """
    images = images.detach().requires_grad_()
    scores = log_scores(predictor, images)
    is_label = F.one_hot(labels.to(scores.device), scores.shape[1]).bool()
    odds = scores.masked_fill(is_label, -torch.inf).logsumexp(dim=1) - scores[is_label]
    if not odds.requires_grad:
        return torch.zeros_like(images)
    return torch.autograd.grad(odds.sum(), images)[0].sign()


# --- simulated pictures ---


def picture_cases(
    dataset: ImageDataset, data: Data, count: int, can_refuse: bool, progress: Progress | None
) -> Iterator[Case]:
    """Yield `count` simulated photographs of images of `dataset`, all and by kind; then as many non-digits."""
    names: list[tuple[str, TestKind]] = [("photograph", "test_photographs"), ("non-digit", "test_non_digits")]
    for name, kind in names if can_refuse else names[:1]:
        made, kinds = test_images(kind, dataset, data, count, progress)
        yield (case := partial(Case, name, shows_digits=name == "photograph"))("all", made)
        for each in dict.fromkeys(kinds):
            chosen = torch.tensor([number for number, own in enumerate(kinds) if own == each])
            yield case(each, made.subset(chosen))
