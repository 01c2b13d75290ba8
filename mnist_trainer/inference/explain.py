"""Explains a prediction by the pixels that decided it.

The method is integrated gradients (Sundararajan et al. 2017, arXiv 1703.01365) of the log-odds of the answer against
the runner-up, ln P(answer) − ln P(runner-up), on straight lines that end at the image. They begin at thinned images,
in which random pixels are white paper; that is more faithful than to begin at white paper (docs/decisions.md). The
attributions add up to the log-odds of the image minus the mean log-odds of the thinned images (completeness). Pixels
without ink have none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mnist_trainer.errors import CheckpointError
from mnist_trainer.inference.predictor import Predictor, differentiable_logits
from mnist_trainer.inference.reading import Name
from mnist_trainer.seeds import seed_for

THINNED = 16
"""The number of thinned images. Each pixel is white paper in half of them."""

STEPS, MAX_STEPS = 4, 512
"""Steps of the first integration, and of the last one if doubling them does not meet `TOLERANCE` before."""

TOLERANCE = 0.01
"""The largest error of completeness, as a fraction of the mean absolute difference between the image and a thinned one
(of 0.2, if it is smaller); the differences themselves may cancel out."""

IMPORTANT = 0.05
"""The fraction of the pixels that is removed to measure how faithful the attributions are."""

DRAWS = 20
"""How many times random pixels are removed."""


@dataclass(frozen=True)
class Explanation:
    """Why the answer for an image is `answer` and not `runner_up`, the most probable one of the other classes.

    Confidences are probabilities of the answer from 0 to 1; of a model without probabilities, its values.
    """

    answer: Name
    runner_up: Name
    attributions: NDArray[np.float32]
    """[28, 28]: how much each pixel speaks for the answer (above 0) or the runner-up; they add up to
    `log_odds` − `thinned_log_odds`."""
    log_odds: float
    """ln P(answer) − ln P(runner-up) of the image, or the difference of the two values."""
    thinned_log_odds: float
    """The mean of the same over the thinned images."""
    important: NDArray[np.bool_]
    """[28, 28]: the 39 pixels (5 %) that speak most for the answer; fewer if fewer speak for it."""
    confidence: float
    confidence_without: float
    """The confidence if the important pixels are white paper."""
    confidence_random: float
    """The mean confidence if as many random pixels of the ink are white paper."""
    answer_without: Name
    """The answer if the important pixels are white paper, and its confidence."""
    answer_confidence_without: float

    def to_json(self) -> dict[str, Any]:
        """Return its object in the JSON of `mnist-predict`."""
        return {
            "answer": self.answer,
            "runner_up": self.runner_up,
            "log_odds": self.log_odds,
            "thinned_log_odds": self.thinned_log_odds,
            "pixels": int(self.important.sum()),
            "confidence_lost": self.confidence - self.confidence_without,
            "confidence_lost_random": self.confidence - self.confidence_random,
            "without": {"digit": self.answer_without, "confidence": self.answer_confidence_without},
            "attributions": [[round(value, 6) for value in row] for row in self.attributions.tolist()],
        }


def explain_image(
    predictor: Predictor, image: NDArray[np.uint8], names: Sequence[Name], answer: Name | None = None
) -> Explanation:
    """Return the explanation of `answer` for `image` [28, 28]; `names` are those of the classes.

    None is the most probable class. In a row the model of rows may have decided for another one. Raises
    `CheckpointError` if the gradients do not add up, as those of the activation `step`, which are 0.
    """
    pixels = torch.tensor(image)  # a copy, as the array may not be writable
    ranking = predictor(pixels[None])[0].argsort(descending=True, stable=True).tolist()
    chosen = ranking[0] if answer is None else names.index(answer)
    runner_up = next(each for each in ranking if each != chosen)
    attributions, log_odds, thinned_log_odds = attribute(predictor, pixels, chosen, runner_up)
    important = most_important(attributions)
    removed = [important, *random_ink(pixels, int(important.sum()))]
    kept, without, *others = predictor(torch.stack([pixels, *(pixels.masked_fill(each, 0) for each in removed)]))
    best = int(without.argmax())
    return Explanation(
        names[chosen],
        names[runner_up],
        attributions.float().numpy(),
        log_odds,
        thinned_log_odds,
        important.numpy(),
        confidence=float(kept[chosen]),
        confidence_without=float(without[chosen]),
        confidence_random=float(torch.stack(others)[:, chosen].mean()),
        answer_without=names[best],
        answer_confidence_without=float(without[best]),
    )


def attribute(predictor: Predictor, image: Tensor, answer: int, runner_up: int) -> tuple[Tensor, float, float]:
    """Return attributions [28, 28], float64, the log-odds of `image` [28, 28], uint8, and the mean of thinned ones.

    Raises `CheckpointError` if the error of completeness is above `TOLERANCE` even with `MAX_STEPS`.
    """
    starts = thin(image)
    with torch.no_grad():
        end, *others = log_odds(predictor, torch.cat((image[None], starts)).float(), answer, runner_up).tolist()
    thinned = sum(others) / len(others)
    tolerance = TOLERANCE * max(0.2, sum(abs(end - other) for other in others) / len(others))
    steps = STEPS
    while steps <= MAX_STEPS:
        attributions = integrated_gradients(predictor, image, starts, answer, runner_up, steps)
        if abs(float(attributions.sum()) - (end - thinned)) <= tolerance:
            return attributions, end, thinned
        steps *= 2
    raise CheckpointError(
        f"This model can't be explained by its gradients: they add up to {float(attributions.sum()):.3g} instead of "
        f"{end - thinned:.3g}. Its function has jumps, as that of the activation step has, or is too steep."
    )


def thin(image: Tensor) -> Tensor:
    """Return `THINNED` copies of `image` [28, 28], in half of which a pixel is 0; always the same halves."""
    generator = torch.Generator().manual_seed(seed_for(0, "explain"))
    ranks = torch.rand(THINNED, *image.shape, generator=generator).argsort(dim=0)
    return image * (ranks < THINNED // 2)


def integrated_gradients(
    predictor: Predictor, image: Tensor, starts: Tensor, answer: int, runner_up: int, steps: int
) -> Tensor:
    """Return integrated gradients [28, 28], float64, of `image` [28, 28], the mean over the `starts` [S, 28, 28].

    They are (x − s) · the mean of ∂F/∂x at s + (k + ½)/steps · (x − s) for k = 0 … steps − 1 (midpoint rule), with
    F = `log_odds`.
    """
    total = torch.zeros(image.shape, dtype=torch.float64)
    for step in range(steps):
        points = (starts + (step + 0.5) / steps * (image - starts)).requires_grad_()
        odds = log_odds(predictor, points, answer, runner_up)
        if odds.requires_grad:  # a function without any gradient has no graph
            (gradients,) = torch.autograd.grad(odds.sum(), points)
            total += ((image - starts) * gradients.double()).sum(dim=0)
    return total / (steps * len(starts))


def log_odds(predictor: Predictor, images: Tensor, answer: int, runner_up: int) -> Tensor:
    """Return ln P(answer) − ln P(runner-up) [B], float64 on the CPU, of images [B, 28, 28], float32 from 0 to 255.

    Without probabilities it is the difference of the two values. The gradient flows back to the images.
    """
    scores = log_scores(predictor, images)
    return scores[:, answer] - scores[:, runner_up]


def log_scores(predictor: Predictor, images: Tensor) -> Tensor:
    """Return ln P [B, K] of the predictor, in float32 and with gradients; of a model without probabilities the values.

    The probabilities of an ensemble are the mean of its members'.
    """
    each = []
    for model, spec in zip(predictor.members, predictor.specs, strict=True):
        outputs = model(spec.normalization.apply(images.to(predictor.device))).float()
        if spec.gives_probabilities:
            each.append(torch.log_softmax(differentiable_logits(outputs, spec.kind) / spec.temperature, dim=1))
        else:
            values = outputs.cpu().double()
            each.append(torch.cat([1 - values, values], dim=1) if values.shape[1] == 1 else values)
    if not predictor.gives_probabilities:
        return torch.stack(each).mean(dim=0)
    return torch.log_softmax(torch.stack(each).logsumexp(dim=0) / predictor.temperature, dim=1)


def most_important(attributions: Tensor) -> Tensor:
    """Return the `IMPORTANT` fraction of the pixels with the largest attributions above 0, bool [28, 28]."""
    count = min(round(IMPORTANT * attributions.numel()), int((attributions > 0).sum()))
    order = attributions.flatten().argsort(descending=True, stable=True)
    chosen = torch.zeros(attributions.numel(), dtype=torch.bool)
    chosen[order[:count]] = True
    return chosen.view_as(attributions)


def random_ink(image: Tensor, count: int) -> list[Tensor]:
    """Return `DRAWS` masks, bool [28, 28], of `count` random pixels of the ink; the same for the same image."""
    generator = torch.Generator().manual_seed(seed_for(0, "explain"))
    ink = image.flatten().nonzero().flatten()
    masks = torch.zeros(DRAWS, image.numel(), dtype=torch.bool)
    for mask in masks:
        mask[ink[torch.randperm(len(ink), generator=generator)[:count]]] = True
    return list(masks.view(DRAWS, *image.shape))
