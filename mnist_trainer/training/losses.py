"""Losses by name, with the lecture's additions (penalties for confusions, smooth first-layer weights), mixup and
knowledge distillation.

With B images in the batch, K outputs and the class weight w (1 unless given) of each image's class:

| reduction   | cross_entropy, nll, bce, mse, absolute            | the value that a step minimizes                  |
|-------------|---------------------------------------------------|--------------------------------------------------|
| mean        | Σ w·loss / Σ w; bce, mse, absolute also over K    | torch's `mean`                                   |
| sum         | Σ w·loss                                          | torch's `sum`; grows with the batch              |
| per_example | Σ w·loss / B, summed over the K outputs           | the lecture's error of one image, averaged       |

A mean over images that all have the weight 0 is 0, and so is its gradient. Penalties are reduced like the loss.
`smooth_weights` is a part of every image's loss: a mean contains it once, a sum once for each image. So the gradients
of micro-batches add up to that of the whole batch. There are two small exceptions: class weights of mixed images are
those of the main label, and micro-batches whose weights are all 0 omit the term of label smoothing. Label smoothing of
cross_entropy and nll with class weights is torch's: each class counts with its own weight.

With a teacher (`training.teacher`) the loss is (1 − weight)·L + weight·T²·KL(teacher ‖ model), where L is the loss
above, probabilities are softmax(logits / T), and the divergence is reduced like L, but not divided by K. T² makes the
size of the gradient nearly independent of the temperature T (Hinton et al. 2015, arXiv 1503.02531, section 2; the
cross-entropy there differs from the divergence by the teacher's entropy, which has no gradient).

For a model that learns to refuse, images of none of the K classes have the label K, and cross_entropy is taken over one
more logit that is always 0. Softmax ignores a constant added to all logits, so K logits can express all that K + 1 can.

The losses in `metrics.csv` and in evaluations are totals over all images divided once: by Σ w for `mean`, by the number
of images for the other two. So a `sum` can be compared between training and validation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isqrt

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_trainer.config.layers import OutputKind
from mnist_trainer.config.schema import AnyLoss, ClassLoss, DistanceLoss, Penalty, Teacher
from mnist_trainer.errors import UsageError
from mnist_trainer.seeds import seed_for

LossFunction = Callable[[Tensor, Tensor], Tensor]
"""A user's own loss: raw outputs [B, K] and labels [B] → a scalar, the mean over the images."""


@dataclass(frozen=True)
class MixedLabels:
    """Labels of mixed images: `lam` · image of `labels_a` + (1 − `lam`) · image of `labels_b`."""

    labels_a: Tensor
    labels_b: Tensor
    lam: float


@dataclass(frozen=True)
class TaughtLabels:
    """Labels, and a teacher's log-probabilities [B, K] for the same images; [B, K + 1] if it can refuse."""

    labels: Tensor | MixedLabels
    teacher: Tensor


Labels = Tensor | MixedLabels | TaughtLabels
"""Labels [B], int64, or the two labels of each mixed image; with a teacher, also its answers."""


def without_teacher(labels: Labels) -> Tensor | MixedLabels:
    """Return the labels of the images alone."""
    return labels.labels if isinstance(labels, TaughtLabels) else labels


def main_labels(labels: Labels) -> Tensor:
    """Return one label for each image, int64 [B]. Of a mixed image it is the label of the larger part."""
    labels = without_teacher(labels)
    if isinstance(labels, Tensor):
        return labels
    return labels.labels_a if labels.lam >= 0.5 else labels.labels_b


def repeated(labels: Tensor | MixedLabels) -> Tensor | MixedLabels:
    """Return the labels of a batch that contains all its images twice."""
    if isinstance(labels, Tensor):
        return torch.cat((labels, labels))
    return MixedLabels(labels.labels_a.repeat(2), labels.labels_b.repeat(2), labels.lam)


def mixup(
    images: Tensor, labels: Tensor, alpha: float, seed: int, epoch: int, batch: int
) -> tuple[Tensor, MixedLabels]:
    """Mix each image [B, 28, 28] with a random one of its batch (Zhang et al. 2018, arXiv 1710.09412).

    λ is drawn once for the batch, from Beta(alpha, alpha), as in the authors' code. Returns float32 images. Without
    images, the labels alone are mixed.
    """
    address = seed_for(seed, "mixup", epoch, batch)
    lam = float(np.random.default_rng(address).beta(alpha, alpha))
    generator = torch.Generator(labels.device).manual_seed(address)
    order = torch.randperm(len(labels), generator=generator, device=labels.device)
    mixed = images if len(images) == 0 else torch.lerp(images[order].float(), images.float(), lam)
    return mixed, MixedLabels(labels, labels[order], lam)


class BaseCriterion(nn.Module):
    """A loss of outputs and labels, which may be mixed. All images have the same weight."""

    is_sum = False

    def __init__(self) -> None:
        super().__init__()
        self.terms: dict[str, Tensor] = {}
        """The parts of the last loss, without gradient, if there is more than one."""
        self.term_names: tuple[str, ...] = ()
        """Their names."""

    def forward(self, outputs: Tensor, labels: Labels) -> Tensor:
        """Return the scalar loss of raw outputs [B, K]; for mixed labels, the weighted mean of both losses.

        What a teacher says does not count here.
        """
        labels = without_teacher(labels)
        if isinstance(labels, Tensor):
            return self.batch_loss(outputs, labels)
        loss_b = self.batch_loss(outputs, labels.labels_b)
        terms_b = self.terms
        loss_a = self.batch_loss(outputs, labels.labels_a)
        self.terms = {name: torch.lerp(terms_b[name], term, labels.lam) for name, term in self.terms.items()}
        return torch.lerp(loss_b, loss_a, labels.lam)

    def batch_loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of raw outputs [B, K] and labels [B], a scalar."""
        raise NotImplementedError

    def mean_loss(self, outputs: Tensor, labels: Tensor) -> float:
        """Return the mean loss over all images, for evaluations."""
        raise NotImplementedError

    def batch_weight(self, labels: Tensor) -> tuple[Tensor | float, Tensor | float]:
        """Return (factor, divisor) of a batch. The mean loss over batches is Σ factor·loss / Σ divisor."""
        return float(len(labels)), float(len(labels))


def gradient_shares(
    criterion: BaseCriterion, micro_batches: Sequence[tuple[Tensor, Labels]]
) -> Sequence[Tensor | float]:
    """Return a factor for the loss of each micro-batch, so that the gradients add up to that of all images."""
    if criterion.is_sum or len(micro_batches) == 1:
        return [1.0] * len(micro_batches)
    weights = [torch.as_tensor(criterion.batch_weight(main_labels(labels))[0]) for _, labels in micro_batches]
    total = torch.stack(weights).sum()
    total += total == 0  # images that all have a class weight of 0 have a loss of 0
    return [weight / total for weight in weights]


class CustomCriterion(BaseCriterion):
    """A user's own loss function. Its value is taken as the mean over the images."""

    def __init__(self, function: LossFunction) -> None:
        super().__init__()
        self.function = function

    def batch_loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the user's loss. Raises `UsageError` if it is not a scalar tensor."""
        loss: object = self.function(outputs, labels)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            got = f"a tensor of shape {list(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise UsageError(f"loss= must return one number as a tensor, the mean over the images, not {got}.")
        return loss

    def mean_loss(self, outputs: Tensor, labels: Tensor) -> float:
        """Return the user's loss over all images at once, on the device of its own weights or buffers, if any."""
        own = next((tensor.device for tensor in (*self.parameters(), *self.buffers())), torch.device("cpu"))
        with torch.inference_mode():
            return float(self.function(outputs.to(own), labels.to(own)))


class Criterion(BaseCriterion):
    """The loss of a config: the data term, penalties and smoothness."""

    class_weights: Tensor | None
    penalties: Tensor

    def __init__(
        self,
        loss: AnyLoss,
        kind: OutputKind,
        classes: int,
        weight_images: Callable[[], Tensor | None] | None = None,
        has_rejection: bool = False,
        teacher: Teacher | None = None,
    ) -> None:
        """`weight_images` gives the first layer's weights [units, h, w], which only `smooth_weights` needs.

        With `has_rejection` labels go up to K, which is none of the classes.
        """
        super().__init__()
        self.loss, self.kind, self.classes, self.teacher = loss, kind, classes, teacher
        self.weight_images, self.has_rejection = weight_images, has_rejection
        self.smoothing = 0.0 if isinstance(loss, DistanceLoss) else loss.label_smoothing
        weights = None if loss.class_weights is None else torch.tensor(tuple(loss.class_weights), dtype=torch.float32)
        self.register_buffer("class_weights", weights)
        self.register_buffer("penalties", penalty_matrix(loss.penalties, classes))
        self.is_sum = loss.reduction == "sum"
        parts = {"penalties": bool(loss.penalties), "smooth_weights": bool(weight_images and loss.smooth_weights)}
        parts["teacher"] = teacher is not None
        names = tuple(name for name, is_used in parts.items() if is_used)
        self.term_names = (loss.name, *names) if names else ()
        self.may_be_empty = loss.reduction == "mean" and 0 in (loss.class_weights or ())

    def forward(self, outputs: Tensor, labels: Labels) -> Tensor:
        """Return the scalar loss of raw outputs [B, K], with the teacher's term if `labels` have one."""
        loss = super().forward(outputs, labels)
        if self.teacher is None or not isinstance(labels, TaughtLabels):
            return loss
        weight, term = self.teacher.weight, self.distillation(outputs, labels, self.teacher.temperature)
        terms = self.terms or {self.loss.name: loss.detach()}
        self.terms = {name: (1 - weight) * each for name, each in terms.items()} | {"teacher": weight * term.detach()}
        return torch.lerp(loss, term, weight)

    def distillation(self, outputs: Tensor, labels: TaughtLabels, temperature: float) -> Tensor:
        """Return T²·KL(teacher ‖ model), a scalar; T is `temperature`."""
        logits = F.pad(outputs, (0, 1)) if self.has_rejection else outputs
        ours, theirs = (F.log_softmax(each / temperature, dim=1) for each in (logits, labels.teacher))
        divergence = F.kl_div(ours, theirs, reduction="none", log_target=True).sum(dim=1)
        total = temperature**2 * self._reduce(divergence, main_labels(labels), 1)
        return self._zero_without_weight(total, main_labels(labels))

    def batch_loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the sum of all terms for raw outputs [B, K] and labels [B]."""
        terms: dict[str, Tensor] = {self.loss.name: self.data_term(outputs, labels, self.smoothing)}
        if self.loss.penalties:
            probabilities = differentiable_probabilities(outputs, self.kind)
            terms["penalties"] = self._reduce((probabilities * self.penalties[labels]).sum(dim=1), labels, 1)
        images = self.weight_images() if self.weight_images is not None and self.loss.smooth_weights else None
        if images is not None:
            count = len(labels) if self.is_sum else 1
            terms["smooth_weights"] = count * self.loss.smooth_weights * total_variation(images)
        self.terms = {name: term.detach() for name, term in terms.items()} if len(terms) > 1 else {}
        total = torch.stack(tuple(terms.values())).sum() if len(terms) > 1 else terms[self.loss.name]
        return self._zero_without_weight(total, labels)

    def _zero_without_weight(self, total: Tensor, labels: Tensor) -> Tensor:
        """Return `total`, or 0 if it is a mean over images that all have the weight 0."""
        return total * torch.as_tensor(self.batch_weight(labels)[1]).bool() if self.may_be_empty else total

    def mean_loss(self, outputs: Tensor, labels: Tensor) -> float:
        """Return the mean of the data term without label smoothing, computed in float64."""
        exact = Criterion(self.loss, self.kind, self.classes, has_rejection=self.has_rejection).double()
        total = exact.data_term(outputs.cpu().double(), labels.cpu(), smoothing=0.0)
        factor, divisor = exact.batch_weight(labels.cpu())
        return float(total * factor) / (float(divisor) or 1.0)

    def batch_weight(self, labels: Tensor) -> tuple[Tensor | float, Tensor | float]:
        """Return (factor, divisor) of a batch, by the reduction."""
        count = float(len(labels))
        if self.is_sum:
            return 1.0, count
        if self.class_weights is None or self.loss.reduction == "per_example":
            return count, count
        weight = self.class_weights[labels].sum()
        return weight, weight

    def data_term(self, outputs: Tensor, labels: Tensor, smoothing: float) -> Tensor:
        """Return the loss itself, a scalar."""
        if isinstance(self.loss, ClassLoss):
            return self._class_loss(F.pad(outputs, (0, 1)) if self.has_rejection else outputs, labels, smoothing)
        targets = self.targets(labels, outputs, smoothing)
        if isinstance(self.loss, DistanceLoss):
            distance = F.l1_loss if self.loss.name == "absolute" else F.mse_loss
            losses = distance(outputs, targets, reduction="none")
        elif self.kind == "logits":
            losses = F.binary_cross_entropy_with_logits(outputs, targets, reduction="none")
        else:
            losses = F.binary_cross_entropy(outputs.clamp(0, 1), targets, reduction="none")
        return self._reduce(losses.sum(dim=1), labels, outputs.shape[1])

    def targets(self, labels: Tensor, outputs: Tensor, smoothing: float = 0.0) -> Tensor:
        """Return 0/1 targets of the outputs' shape: one-hot [B, K], or the label itself [B, 1] of a yes/no model."""
        if outputs.shape[1] == 1:
            return labels[:, None].to(outputs) * (1 - smoothing) + smoothing / 2
        one_hot = torch.zeros_like(outputs).scatter_(1, labels[:, None], 1)
        return one_hot * (1 - smoothing) + smoothing / outputs.shape[1]

    def _weights(self, labels: Tensor) -> Tensor | None:
        """Return the class weights [K]; ones if the mean would be 0 / 0, since `batch_loss` multiplies it by 0."""
        weights = self.class_weights
        if weights is None or not self.may_be_empty:
            return weights
        return torch.where(weights[labels].sum() == 0, 1.0, weights)

    def _class_loss(self, outputs: Tensor, labels: Tensor, smoothing: float) -> Tensor:
        """Return cross_entropy or nll, a scalar."""
        # log_softmax leaves log-probabilities as they are, so cross_entropy is nll with smoothing
        reduction = "mean" if self.loss.reduction == "mean" else "sum"
        weights = self._weights(labels)
        if self.loss.name == "nll" and not smoothing:
            total = F.nll_loss(outputs, labels, weight=weights, reduction=reduction)
        else:
            total = F.cross_entropy(outputs, labels, weight=weights, label_smoothing=smoothing, reduction=reduction)
        return total / len(labels) if self.loss.reduction == "per_example" else total

    def _reduce(self, losses: Tensor, labels: Tensor, outputs: int) -> Tensor:
        """Return a scalar for the images' losses [B], each of which is a sum over `outputs`."""
        by_class = self._weights(labels)
        weights = None if by_class is None else by_class[labels]
        total = losses.sum() if weights is None else (weights * losses).sum()
        if self.is_sum:
            return total
        if self.loss.reduction == "per_example":
            return total / len(losses)
        return total / outputs / (len(losses) if weights is None else weights.sum())


def penalty_matrix(penalties: tuple[Penalty, ...], classes: int) -> Tensor:
    """Return costs [K, K]: rows are labels, columns predictions. Costs of the same confusion are added.

    The classes of `penalties` are labels (`config.classes.with_labels`).
    """
    matrix = torch.zeros(classes, classes)
    for penalty in penalties:
        true, predicted = int(penalty.true), int(penalty.predicted)
        matrix[true, predicted] += penalty.weight
        if penalty.symmetric:
            matrix[predicted, true] += penalty.weight
    return matrix


def differentiable_probabilities(outputs: Tensor, kind: OutputKind) -> Tensor:
    """Return probabilities [B, K] with gradient, in the outputs' precision; a yes/no model's [B, 1] becomes [B, 2]."""
    if outputs.shape[1] == 1:
        yes = torch.sigmoid(outputs) if kind == "logits" else outputs.clamp(0, 1)
        return torch.cat([1 - yes, yes], dim=1)
    if kind == "logits":
        return torch.softmax(outputs, dim=1)
    return outputs.exp() if kind == "log_probabilities" else outputs.clamp(0, 1)


def total_variation(images: Tensor) -> Tensor:
    """Return the mean over images [units, h, w] of Σ |difference of neighbouring pixels| (Rudin et al. 1992)."""
    down = images.diff(dim=1).abs().sum()
    across = images.diff(dim=2).abs().sum()
    return (down + across) / len(images)


def first_layer_images(model: nn.Module) -> Tensor | None:
    """Return the first layer's weights as images [units, h, w], a view; None if they do not form squares."""
    first = _first_layer(model)
    if isinstance(first, nn.Conv2d):
        return first.weight.flatten(0, 1)
    side = 0 if first is None else isqrt(first.in_features)
    return None if first is None or side**2 != first.in_features else first.weight.view(-1, side, side)


def first_weights(model: nn.Module) -> Tensor | None:
    """Return the first layer's weights as images [units, h, w] if its input is the image."""
    first = _first_layer(model)
    inputs = first.in_channels if isinstance(first, nn.Conv2d) else first and first.in_features
    return first_layer_images(model) if inputs in (1, 784) else None


def _first_layer(model: nn.Module) -> nn.Linear | nn.Conv2d | None:
    """Return the first linear or convolutional layer."""
    return next((module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)), None)
