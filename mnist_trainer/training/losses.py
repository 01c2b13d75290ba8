"""Mixup: weighted means of two images, with the same mean of their losses (Zhang et al. 2018, arXiv 1710.09412).

The lecture's additions to a loss: confusions that cost extra, and first-layer weights that shall be smooth.

Losses by name, with the lecture's own terms; each says what its figures are divided by.

With B images in the batch, K outputs and the class weight w (1 unless given) of each image's class:

| reduction   | cross_entropy, nll, bce, mse, absolute            | what a step minimises                            |
|-------------|---------------------------------------------------|--------------------------------------------------|
| mean        | Σ w·loss / Σ w; bce, mse, absolute also over K    | torch's `mean`                                   |
| sum         | Σ w·loss                                          | torch's `sum`; grows with the batch              |
| per_example | Σ w·loss / B, summed over the K outputs           | the lecture's error of one image, averaged       |

A mean over images that all have the weight 0 is 0, and so is its gradient. Penalties are reduced like the loss.
`smooth_weights` is a part of every image's loss: a mean has it once, a sum once an image; so pieces of a batch add up
to the whole (nearly: mixed images with class weights count by their main label, and pieces that are 0 as said above
leave out what label smoothing adds), and no figure depends on the batch size. Label smoothing of cross_entropy and nll
with class weights is torch's: the share of each class counts with that class's own weight.

Where a model learns to refuse, what is none of the K classes has the label K, and cross_entropy is taken over one more
logit that is always 0. Softmax knows logits up to a constant only, so the K others can say everything that K + 1 could.

Figures in `metrics.csv` and evaluations are totals over all images divided once: by Σ w for `mean`, by the number of
images for the other two, so that a `sum` can be compared between training and validation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import assert_never

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_trainer.config.layers import OutputKind
from mnist_trainer.config.objective import AnyLoss, BinaryCrossEntropy, ClassLoss, DistanceLoss, Penalty
from mnist_trainer.errors import UsageError
from mnist_trainer.seeds import seed_for


@dataclass(frozen=True)
class MixedLabels:
    """Labels of images that are `lam` parts the one and 1 − `lam` parts the other image."""

    labels_a: Tensor
    labels_b: Tensor
    lam: float


Labels = Tensor | MixedLabels
"""int64 [B], or two of them where images are mixed."""


def main_labels(labels: Labels) -> Tensor:
    """One label an image, int64 [B]: of mixed ones that of the larger part. Training figures count with these."""
    if isinstance(labels, Tensor):
        return labels
    return labels.labels_a if labels.lam >= 0.5 else labels.labels_b


def mixup(
    images: Tensor, labels: Tensor, alpha: float, seed: int, epoch: int, batch: int
) -> tuple[Tensor, MixedLabels]:
    """Each image [B, 28, 28] mixed with one of its batch (by chance itself), float32, and both labels of each.

    One share is drawn for the batch, from Beta(alpha, alpha), as in the authors' own code.
    """
    address = seed_for(seed, "mixup", epoch, batch)
    lam = float(np.random.default_rng(address).beta(alpha, alpha))
    generator = torch.Generator(labels.device).manual_seed(address)
    order = torch.randperm(len(labels), generator=generator, device=labels.device)
    mixed = torch.lerp(images[order].float(), images.float(), lam)
    return mixed, MixedLabels(labels, labels[order], lam)


def penalty_matrix(penalties: tuple[Penalty, ...], classes: int) -> Tensor:
    """Costs [K, K]: row the label, column the answer; penalties on the same confusion add up. Their classes are labels
    (`config.classes.with_labels`)."""
    matrix = torch.zeros(classes, classes)
    for penalty in penalties:
        true, predicted = int(penalty.true), int(penalty.predicted)
        matrix[true, predicted] += penalty.weight
        if penalty.symmetric:
            matrix[predicted, true] += penalty.weight
    return matrix


def differentiable_probabilities(outputs: Tensor, kind: OutputKind) -> Tensor:
    """Probabilities [B, K] in the outputs' own precision, to be trained on; a yes/no model's [B, 1] becomes [B, 2]."""
    if outputs.shape[1] == 1:
        yes = torch.sigmoid(outputs) if kind == "logits" else outputs.clamp(0, 1)
        return torch.cat([1 - yes, yes], dim=1)
    match kind:
        case "logits":
            return torch.softmax(outputs, dim=1)
        case "log_probabilities":
            return outputs.exp()
        case "probabilities" | "sigmoid" | "values":
            return outputs.clamp(0, 1)
        case _:
            assert_never(kind)


def total_variation(images: Tensor) -> Tensor:
    """Mean over pictures [units, h, w] of Σ |difference of neighbouring pixels| (Rudin et al. 1992, anisotropic)."""
    down = images.diff(dim=1).abs().sum()
    across = images.diff(dim=2).abs().sum()
    return (down + across) / len(images)


def first_layer_images(model: nn.Module) -> Tensor | None:
    """The first layer's weights as pictures [units, h, w], a view; None where they are not laid out like an image."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            side = round(module.in_features**0.5)
            return module.weight.view(-1, side, side) if side**2 == module.in_features else None
        if isinstance(module, nn.Conv2d):
            return module.weight.flatten(0, 1)
    return None


def first_weights(model: nn.Module) -> Tensor | None:
    """Return the first layer's weights as pictures [units, h, w] if it sees the image: 28×28, or its filters."""
    first = next((module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)), None)
    sees_image = (
        first.in_channels == 1 if isinstance(first, nn.Conv2d) else first is not None and first.in_features == 784
    )
    return first_layer_images(model) if sees_image else None


LossFunction = Callable[[Tensor, Tensor], Tensor]
"""A user's own loss: raw outputs [B, K] and labels [B] → a scalar, the mean over the images."""

WeightImages = Callable[[], Tensor]


class BaseCriterion(nn.Module):
    """A loss of outputs and labels, which may be mixed."""

    is_sum = False

    def __init__(self) -> None:
        super().__init__()
        self.terms: dict[str, Tensor] = {}
        """The parts of the last loss, without gradient, where there is more than one."""

    def forward(self, outputs: Tensor, labels: Labels) -> Tensor:
        """Return the scalar that a step minimises, from raw outputs [B, K]: of mixed labels the mean of two losses."""
        if isinstance(labels, Tensor):
            return self.batch_loss(outputs, labels)
        loss_b = self.batch_loss(outputs, labels.labels_b)
        terms_b = self.terms
        loss_a = self.batch_loss(outputs, labels.labels_a)
        self.terms = {name: torch.lerp(terms_b[name], term, labels.lam) for name, term in self.terms.items()}
        return torch.lerp(loss_b, loss_a, labels.lam)

    def batch_loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the scalar of raw outputs [B, K] and labels [B]."""
        raise NotImplementedError

    def batch_weight(self, labels: Tensor) -> tuple[Tensor | float, Tensor | float]:
        """Return how a batch counts in a total: mean loss = Σ factor·loss / Σ divisor, over batches."""
        return float(len(labels)), float(len(labels))

    def mean_loss(self, outputs: Tensor, labels: Tensor) -> float:
        """Return the mean loss over all images, as evaluations and `metrics.csv` have it."""
        raise NotImplementedError


def gradient_shares(
    criterion: BaseCriterion, micro_batches: Sequence[tuple[Tensor, Labels]]
) -> Sequence[Tensor | float]:
    """Return the factors of the micro-batches' losses with which their gradients add up to that of all images."""
    if criterion.is_sum or len(micro_batches) == 1:
        return [1.0] * len(micro_batches)
    weights = [torch.as_tensor(criterion.batch_weight(main_labels(labels))[0]) for _, labels in micro_batches]
    total = torch.stack(weights).sum()
    total += total == 0  # images that all have a class weight of 0 have a loss of 0
    return [weight / total for weight in weights]


class Criterion(BaseCriterion):
    """The loss of a batch: the data term, and the penalties and smoothness that the config adds.

    `terms` holds the parts of the last call (without gradient) where there is more than one.
    """

    def __init__(
        self,
        loss: AnyLoss,
        kind: OutputKind,
        classes: int,
        weight_images: WeightImages | None = None,
        has_rejection: bool = False,
    ) -> None:
        """`weight_images` gives the first layer's weights [units, h, w]; needed for `smooth_weights` alone.

        `has_rejection`: labels go up to K, which is none of the classes.
        """
        super().__init__()
        self.loss, self.kind, self.classes, self.weight_images, self.has_rejection = (
            loss,
            kind,
            classes,
            weight_images,
            has_rejection,
        )
        self.smoothing = 0.0 if isinstance(loss, DistanceLoss) else loss.label_smoothing
        given = loss.class_weights
        weights = None if given is None else torch.tensor(tuple(given), dtype=torch.float32)
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", weights)
        self.penalties: Tensor
        self.register_buffer("penalties", penalty_matrix(loss.penalties, classes))
        self.is_sum = loss.reduction == "sum"
        self.may_be_empty = loss.reduction == "mean" and 0 in (loss.class_weights or ())

    def batch_loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The scalar that a step minimises, from raw outputs [B, K] and labels [B]."""
        terms: dict[str, Tensor] = {self.loss.name: self.data_term(outputs, labels, self.smoothing)}
        if self.loss.penalties:
            terms["penalties"] = self._penalty(outputs, labels)
        if self.loss.smooth_weights and self.weight_images is not None:
            images = len(labels) if self.is_sum else 1
            terms["smooth_weights"] = images * self.loss.smooth_weights * total_variation(self.weight_images())
        self.terms = {name: term.detach() for name, term in terms.items()} if len(terms) > 1 else {}
        total = torch.stack(tuple(terms.values())).sum() if len(terms) > 1 else terms[self.loss.name]
        return total * torch.as_tensor(self.batch_weight(labels)[1]).bool() if self.may_be_empty else total

    def mean_loss(self, outputs: Tensor, labels: Tensor) -> float:
        """The mean loss [the docstring's table] without label smoothing, penalties and smoothness, in float64."""
        exact = Criterion(self.loss, self.kind, self.classes, has_rejection=self.has_rejection).double()
        total = exact.data_term(outputs.cpu().double(), labels.cpu(), smoothing=0.0)
        factor, divisor = exact.batch_weight(labels.cpu())
        return float(total * factor) / (float(divisor) or 1.0)

    def batch_weight(self, labels: Tensor) -> tuple[Tensor | float, Tensor | float]:
        """How one batch counts in a total: figure = Σ factor·loss / Σ divisor, over batches."""
        count = float(len(labels))
        if self.is_sum:
            return 1.0, count
        if self.class_weights is None or self.loss.reduction == "per_example":
            return count, count
        weight = self.class_weights[labels].sum()
        return weight, weight

    def data_term(self, outputs: Tensor, labels: Tensor, smoothing: float) -> Tensor:
        """The loss itself, a scalar."""
        match self.loss:
            case ClassLoss():
                return self._class_loss(F.pad(outputs, (0, 1)) if self.has_rejection else outputs, labels, smoothing)
            case BinaryCrossEntropy():
                elementwise = self._binary_cross_entropy
            case DistanceLoss(name="absolute"):
                elementwise = partial(F.l1_loss, reduction="none")
            case DistanceLoss():
                elementwise = partial(F.mse_loss, reduction="none")
            case _:
                assert_never(self.loss)
        targets = self.targets(labels, outputs, smoothing)
        return self._reduce(elementwise(outputs, targets).sum(dim=1), labels, outputs.shape[1])

    def targets(self, labels: Tensor, outputs: Tensor, smoothing: float = 0.0) -> Tensor:
        """0/1 targets of the outputs' shape: one-hot [B, K], or the label itself [B, 1] of a yes/no model."""
        if outputs.shape[1] == 1:
            return labels[:, None].to(outputs) * (1 - smoothing) + smoothing / 2
        one_hot = torch.zeros_like(outputs).scatter_(1, labels[:, None], 1)
        return one_hot * (1 - smoothing) + smoothing / outputs.shape[1]

    def _weights(self, labels: Tensor) -> Tensor | None:
        """The classes' weights [K]; ones where a mean would be 0 / 0: `forward` and `batch_weight` take it as 0."""
        weights = self.class_weights
        if weights is None or not self.may_be_empty:
            return weights
        return torch.where(weights[labels].sum() == 0, 1.0, weights)

    def _class_loss(self, outputs: Tensor, labels: Tensor, smoothing: float) -> Tensor:
        # log_softmax leaves log-probabilities as they are, so cross_entropy is nll with smoothing
        reduction = "mean" if self.loss.reduction == "mean" else "sum"
        weights = self._weights(labels)
        if self.loss.name == "nll" and not smoothing:
            total = F.nll_loss(outputs, labels, weight=weights, reduction=reduction)
        else:
            total = F.cross_entropy(outputs, labels, weight=weights, label_smoothing=smoothing, reduction=reduction)
        return total / len(labels) if self.loss.reduction == "per_example" else total

    def _binary_cross_entropy(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if self.kind == "logits":
            return F.binary_cross_entropy_with_logits(outputs, targets, reduction="none")
        return F.binary_cross_entropy(outputs.clamp(0, 1), targets, reduction="none")

    def _penalty(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Σ over confusions of weight · probability (Σ over images of each), reduced like the loss."""
        probabilities = differentiable_probabilities(outputs, self.kind)
        return self._reduce((probabilities * self.penalties[labels]).sum(dim=1), labels, 1)

    def _reduce(self, losses: Tensor, labels: Tensor, outputs: int) -> Tensor:
        """A scalar of the images' losses [B], each a sum over `outputs`."""
        by_class = self._weights(labels)
        weights = None if by_class is None else by_class[labels]
        total = losses.sum() if weights is None else (weights * losses).sum()
        match self.loss.reduction:
            case "sum":
                return total
            case "per_example":
                return total / len(losses)
            case "mean":
                return total / outputs / (len(losses) if weights is None else weights.sum())


class CustomCriterion(BaseCriterion):
    """A user's own loss function in the place of a `Criterion`; its value is taken as the mean over the images."""

    def __init__(self, function: LossFunction) -> None:
        super().__init__()
        self.function = function

    def batch_loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The user's scalar. Raises `UsageError` if it is none."""
        loss: object = self.function(outputs, labels)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            got = f"a tensor of shape {list(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise UsageError(f"loss= must return one number as a tensor, the mean over the images, not {got}.")
        return loss

    def mean_loss(self, outputs: Tensor, labels: Tensor) -> float:
        """The user's loss over all images at once, where a loss with weights or buffers of its own has them."""
        own = next((tensor.device for tensor in (*self.parameters(), *self.buffers())), torch.device("cpu"))
        with torch.inference_mode():
            return float(self.function(outputs.to(own), labels.to(own)))
