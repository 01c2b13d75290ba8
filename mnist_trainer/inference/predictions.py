"""Predictions of a whole split and their metrics. Training, `mnist-eval` and the Python API give bit-identical metrics.

`--views` averages over deformed copies of each image (test-time augmentation). Dead units are ReLU units whose
output is 0 for every image, so that no gradient reaches their weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import radians
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_trainer.config.schema import Augment
from mnist_trainer.data.augment import augmented, inverse_affine, warp
from mnist_trainer.data.datasets import DOUBTED_TEST_LABELS, MNIST_TEST_COUNT
from mnist_trainer.data.image_dataset import ImageDataset
from mnist_trainer.data.loaders import ordered_loader
from mnist_trainer.errors import UsageError
from mnist_trainer.inference.metrics import (
    Evaluation,
    MemberMetrics,
    SubsetMetrics,
    calibration_error,
    confusion_matrix,
    metrics_by_class,
    wilson_interval,
)
from mnist_trainer.inference.predictor import Predictor
from mnist_trainer.model.activations import ScaledTanh, SlopedSigmoid
from mnist_trainer.seeds import seed_for

View = Callable[[Tensor, int], Tensor]
"""Deforms uint8 images [B, 28, 28] of the batch with this number."""

ROTATE, SHEAR, SCALE, SHIFT = 2.0, 2.0, 0.02, 0.25
"""The largest deformations of views of a model trained without `data.augment`: degrees, degrees, a fraction, pixels."""


def make_views(count: int, augment: Augment | None = None) -> list[View]:
    """Return the first `count` views of a fixed series: the image itself, then deformed copies.

    With the `augment` of the training each image is deformed as it was in training, but for `halve_for`, which needs
    labels. Without it the views are pairs of opposite deformations. Raises `UsageError` for a count below 1.
    """
    if not isinstance(count, int) or count < 1:
        raise UsageError(f"views must be 1 or more, got {count!r}. 1 means without deformed copies.")
    if augment is None:
        return [lambda images, _: images, *map(_deformed, _draws(count - 1))]
    blind = augment.model_copy(update={"halve_for": ()})
    return [lambda images, _: images, *(partial(_as_trained, blind, number) for number in range(1, count))]


def _as_trained(augment: Augment, view: int, images: Tensor, batch: int) -> Tensor:
    return augmented(images, torch.empty(0), augment, seed_for(0, "views"), view, batch)


def _draws(count: int) -> Tensor:
    """Return the strengths [count, 6], from -1 to 1: rotation, shear, scale (x, y), shift (x, y)."""
    generator = torch.Generator().manual_seed(seed_for(0, "views"))
    draws = torch.rand(-(-count // 2), 6, generator=generator) * 2 - 1
    return torch.stack((draws, -draws), dim=1).reshape(-1, 6)[:count]


def _deformed(draw: Tensor) -> View:
    """Return the view with the strengths `draw` [6]."""
    rotation, shear = draw[:1] * radians(ROTATE), draw[1:2] * radians(SHEAR)
    matrix = inverse_affine(rotation, shear, 1 + draw[None, 2:4] * SCALE, draw[None, 4:] * SHIFT)
    return lambda images, _: warp(images, matrix.to(images.device))


MeanLoss = Callable[[Tensor, Tensor], float | None]
"""The mean loss over raw outputs [N, K] and labels [N]."""


@dataclass(frozen=True)
class Predictions:
    """The predictions for a whole split, on the CPU.

    `plain` outputs are the raw outputs of one model. Those of an ensemble, of several views, or at a temperature are
    the logarithms of the probabilities (the mean values of models without probabilities).
    """

    outputs: Tensor
    probabilities: Tensor
    predicted: Tensor
    confidence: Tensor
    labels: Tensor
    plain: bool = True
    members: tuple[Predictions, ...] = ()

    @property
    def correct(self) -> Tensor:
        """Which predictions are correct, bool [N]."""
        return self.predicted == self.labels

    @property
    def disagreement(self) -> float:
        """The fraction of the images for which not all members predict the same class."""
        each = torch.stack([member.predicted for member in self.members])
        return float((each != each[0]).any(dim=0).double().mean())


def predict(
    predictor: Predictor, dataset: ImageDataset, views: int = 1, augments: Sequence[Augment | None] = ()
) -> Predictions:
    """Return the predictions for every image of `dataset`, averaged over this number of `views` of each image.

    `augments` has the `data.augment` of each member: its views are deformed as in training, and the logarithms of
    their probabilities are averaged (APAC, Sato et al. 2015, arXiv 1505.03229). Without it the probabilities are.

    Each member has its own batch size, so that its outputs are bit-identical to those of the model alone. Raises
    `UsageError` for fewer than one view.
    """
    members = tuple(
        _predict_member(predictor, index, dataset, views, augment)
        for index, augment in enumerate(augments or [None] * len(predictor.specs))
    )
    if len(members) == 1 and predictor.temperature == 1:
        return members[0]
    probabilities = predictor.average([member.probabilities for member in members])
    outputs = _log_outputs(predictor, probabilities)
    return make_predictions(probabilities, dataset.labels.cpu(), outputs, plain=False, members=members)


def predict_together(
    predictor: Predictor, dataset: ImageDataset, share: Callable[[int], range], gather: Callable[[Tensor], list[Tensor]]
) -> Predictions:
    """Return the same as `predict` for a single model, whose batches several processes divide among themselves.

    `share` returns which of a number of batches this process computes, `gather` the tensors of all processes.
    """
    (spec,) = predictor.specs
    own = share(-(-len(dataset) // spec.batch_size))
    images = (images for images, _ in ordered_loader(dataset, spec.batch_size, own))
    each = gather(predictor.outputs(images) if own else torch.empty(0))
    outputs = torch.cat([outputs for outputs in each if len(outputs)])
    return make_predictions(spec.probabilities(outputs), dataset.labels.cpu(), outputs)


def _predict_member(
    predictor: Predictor, index: int, dataset: ImageDataset, views: int, augment: Augment | None
) -> Predictions:
    """Return the predictions of one member, averaged over views."""
    spec, labels = predictor.specs[index], dataset.labels.cpu()
    each = []
    for view in make_views(views, augment):
        loader = enumerate(ordered_loader(dataset, spec.batch_size))
        batches = (view(images.to(predictor.device), number) for number, (images, _) in loader)
        each.append(predictor.outputs(batches, index))
    probabilities = torch.stack(list(map(spec.probabilities, each))).mean(dim=0)
    if len(each) > 1 and augment is not None and spec.gives_probabilities:
        logarithms = [log_probabilities(spec.probabilities(outputs)) for outputs in each]
        probabilities = torch.softmax(torch.stack(logarithms).mean(dim=0), dim=1)
    plain = predictor.gives_raw_outputs and len(each) == 1 and spec.temperature == 1
    outputs = each[0] if plain else _log_outputs(predictor, probabilities)
    return make_predictions(probabilities, labels, outputs, plain=plain)


def log_probabilities(probabilities: Tensor) -> Tensor:
    """Return the logarithms, which are finite for 0 too."""
    return probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny).log()


def _log_outputs(predictor: Predictor, probabilities: Tensor) -> Tensor:
    """Return what `Predictions.outputs` holds if they are not `plain`."""
    return log_probabilities(probabilities) if predictor.gives_probabilities else probabilities


def make_predictions(
    probabilities: Tensor, labels: Tensor, outputs: Tensor, plain: bool = True, members: tuple[Predictions, ...] = ()
) -> Predictions:
    """Return the predictions with these `probabilities` [N, K]."""
    confidence, predicted = probabilities.max(dim=1)
    return Predictions(outputs, probabilities, predicted, confidence, labels, plain, members)


def log_loss(logarithms: Tensor, labels: Tensor) -> float:
    """Return the mean of −ln of the correct class's probability, from the `logarithms` [N, K] of probabilities."""
    return float(F.nll_loss(logarithms, labels))


def measure(
    predictor: Predictor, predictions: Predictions, loss: MeanLoss, classes: tuple[str, ...], dataset: str, split: str
) -> Evaluation:
    """Return the metrics of `predictions`, without those of members; there is no `ece` without probabilities.

    `loss` is used for `plain` outputs, `log_loss` for all others.
    """
    count, correct = len(predictions.labels), int(predictions.correct.sum())
    confusion = confusion_matrix(predictions.labels, predictions.predicted, len(classes))
    gives_probabilities = predictor.gives_probabilities
    mean_loss = loss if predictions.plain else log_loss if gives_probabilities else None
    return Evaluation(
        accuracy=correct / count,
        errors=count - correct,
        count=count,
        loss=mean_loss and mean_loss(predictions.outputs, predictions.labels),
        interval=wilson_interval(correct, count),
        ece=calibration_error(predictions.confidence, predictions.correct) if gives_probabilities else None,
        per_class=metrics_by_class(confusion, classes),
        confusion=tuple(map(tuple, confusion.tolist())),
        dataset=dataset,
        split=split,
        plain=predictions.plain,
        undoubted=_undoubted(predictions.correct) if (dataset, split) == ("mnist", "test") else None,
    )


def _undoubted(correct: Tensor) -> SubsetMetrics | None:
    """Return the metrics without `DOUBTED_TEST_LABELS`; `correct` [N] are those of MNIST's test images, in order."""
    if len(correct) != MNIST_TEST_COUNT:
        return None
    kept = torch.ones(len(correct), dtype=torch.bool).index_fill(0, torch.tensor(DOUBTED_TEST_LABELS), value=False)
    count, hits = int(kept.sum()), int(correct[kept].sum())
    return SubsetMetrics(hits / count, count - hits, count, wilson_interval(hits, count))


def measure_members(
    predictor: Predictor, predictions: Predictions, member_names: Sequence[tuple[str, str]]
) -> tuple[MemberMetrics, ...]:
    """Return the metrics of an ensemble's members, whose paths and names are `member_names`, with `log_loss`."""
    metrics = []
    for (path, name), own in zip(member_names, predictions.members, strict=True):
        count, correct = len(own.labels), int(own.correct.sum())
        loss = log_loss(log_probabilities(own.probabilities), own.labels) if predictor.gives_probabilities else None
        interval = wilson_interval(correct, count)
        metrics.append(MemberMetrics(path, name, correct / count, count - correct, count, loss, interval))
    return tuple(metrics)


def most_confident_errors(predictions: Predictions, count: int = 25) -> Tensor:
    """Return the positions [≤ count] of the wrong predictions with the largest confidence, in descending order."""
    wrong = torch.nonzero(~predictions.correct).flatten()
    order = torch.argsort(predictions.confidence[wrong], descending=True, stable=True)
    return wrong[order][:count]


WEIGHTED = (nn.Linear, nn.Conv2d)
RELU = (nn.ReLU, nn.ReLU6)
BOUNDED = {nn.Sigmoid: (0.0, 1.0), SlopedSigmoid: (0.0, 1.0), nn.Tanh: (-1.0, 1.0), ScaledTanh: (-1.7159, 1.7159)}
"""The limits of activations that saturate."""

SATURATED = 0.01
"""An output is saturated within this fraction of the range from a limit: there the gradient is nearly 0."""

MOST_IMAGES = 0.99
"""A unit is saturated if its outputs are for at least this fraction of the images."""


@dataclass(frozen=True)
class DeadUnits:
    """The dead, or saturated, units of `layer`, which has `count` units; layers with weights are numbered from 1."""

    layer: int
    units: tuple[int, ...]
    count: int


class FiringMonitor:
    """Records which ReLU units had an output above 0, and how often others were saturated, while it is attached."""

    def __init__(self) -> None:
        self.layer = self.position = 0
        self.fired: dict[int, tuple[int, Tensor]] = {}
        self.near_limit: dict[int, tuple[int, Tensor]] = {}
        """The layer and the sum over the images of the fraction of positions at which each unit is saturated."""
        self.images = 0

    def reset(self, model: nn.Module, inputs: Any) -> None:
        """Forward pre-hook of the model."""
        self.layer = self.position = 0
        self.images += len(inputs[0])

    def record(self, module: nn.Module, inputs: Any, outputs: Tensor) -> None:
        """Forward hook of each layer with weights and each activation, with `outputs` [B, units, …]."""
        if isinstance(module, WEIGHTED):
            self.layer += 1
            return
        position, self.position = self.position, self.position + 1
        if type(module) in BOUNDED:
            low, high = BOUNDED[type(module)]
            margin = SATURATED * (high - low)
            near = ((outputs < low + margin) | (outputs > high - margin)).transpose(0, 1).flatten(1).double()
            total = near.mean(dim=1) * len(outputs)
            _, before = self.near_limit.get(position, (0, torch.zeros_like(total)))
            if before.shape == total.shape:
                self.near_limit[position] = (self.layer, before + total)
            return
        fired = (outputs > 0).any(dim=(0, *range(2, outputs.dim())))
        _, before = self.fired.get(position, (0, fired))
        if before.shape == fired.shape:
            self.fired[position] = (self.layer, before | fired)

    @property
    def dead(self) -> list[DeadUnits]:
        """The layers with dead units, in forward order."""
        return _units((layer, ~fired) for layer, fired in self.fired.values())

    @property
    def saturated(self) -> list[DeadUnits]:
        """The layers with units that were saturated for `MOST_IMAGES`, in forward order."""
        return _units((layer, total >= MOST_IMAGES * self.images) for layer, total in self.near_limit.values())


def _units(layers: Iterable[tuple[int, Tensor]]) -> list[DeadUnits]:
    """Return the units for which the values [units] of a layer are true; layers without any are left out."""
    found = [DeadUnits(layer, tuple(chosen.nonzero().flatten().tolist()), len(chosen)) for layer, chosen in layers]
    return [layer for layer in found if layer.units]


@contextmanager
def monitor_firing(model: nn.Module) -> Iterator[FiringMonitor]:
    """Attach a monitor to `model` inside the block."""
    monitor = FiringMonitor()
    *_, last = model.modules()  # the function of the output, if there is one, saturates as it should
    kinds = (*WEIGHTED, *RELU, *BOUNDED)
    modules = [module for module in model.modules() if isinstance(module, kinds)]
    modules = [module for module in modules if module is not last or type(module) not in BOUNDED]
    handles = [module.register_forward_hook(monitor.record) for module in modules]
    handles.append(model.register_forward_pre_hook(monitor.reset))
    try:
        yield monitor
    finally:
        for handle in handles:
            handle.remove()


def describe_dead_units(dead: Sequence[DeadUnits]) -> str:
    """Return `3 of 64 units of layer 1, 2 of 32 of layer 2 never fired on the validation images.`, or an empty text."""
    parts = [
        f"{len(each.units)} of {each.count}{' units' * (not index)} of layer {each.layer}"
        for index, each in enumerate(dead)
    ]
    return f"{', '.join(parts)} never fired on the validation images." if parts else ""
