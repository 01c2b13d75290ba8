"""Explains a network: what each hidden unit contributes to its accuracy, and a plane in which its features lie.

A unit (a neuron, or a channel of a convolution) is switched off by setting its activation to 0 for every image.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from math import isnan
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mnist_trainer.data.image_dataset import ImageDataset
from mnist_trainer.data.loaders import ordered_loader
from mnist_trainer.errors import CheckpointError
from mnist_trainer.inference.predictions import WEIGHTED, DeadUnits, monitor_firing
from mnist_trainer.inference.predictor import InferenceSpec, Predictor, predicted_classes, to_logits
from mnist_trainer.model.activations import PLAIN, AbsoluteLeakyReLU, Maxout, SlopedSigmoid
from mnist_trainer.model.device import autocast
from mnist_trainer.seeds import seed_for

ACTIVATIONS = (
    *PLAIN.values(),
    *(SlopedSigmoid, AbsoluteLeakyReLU, Maxout),
    *(nn.Sigmoid, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.Softplus),
)
"""The modules of all activations of the config."""

MAX_OPERATIONS = 1e12
"""Multiplications of all evaluations without a unit; fewer images are evaluated if all would take more."""

MIN_IMAGES = 100
"""The least number of images that are evaluated, if there are so many."""

MAX_POINTS = 1000
"""The number of images in an embedding."""


@dataclass(frozen=True)
class LayerInfluence:
    """What changes if one of the U units of a hidden layer is switched off, for each unit, on the evaluated images.

    `layer` is numbered from 1, among the layers with weights; units from 0, as in the weights.
    """

    layer: int
    name: str
    """The type of the layer and its activation: `Linear, ReLU`."""
    errors: NDArray[np.int64]
    """[U]: the errors without the unit minus those with it."""
    loss: NDArray[np.float64]
    """[U]: the same for the mean of −ln P(correct class); nan if the model's outputs are not probabilities."""
    active: NDArray[np.float64]
    """[U]: the fraction of the images for which the activation of the unit is not 0 everywhere."""
    saturated: tuple[int, ...] = ()
    """Units with an activation at its limit for almost all images (see `predictions.FiringMonitor`)."""

    @property
    def dead(self) -> tuple[int, ...]:
        """The units whose activation is 0 for every image."""
        return tuple(np.flatnonzero(self.active == 0).tolist())

    def to_json(self) -> dict[str, Any]:
        """Return its object in `layers`."""
        lists = {key: getattr(self, key).tolist() for key in ("errors", "active")}
        loss = None if np.isnan(self.loss).any() else self.loss.tolist()
        head = {"layer": self.layer, "name": self.name, "units": len(self.errors)}
        return {**head, "dead": list(self.dead), "saturated": list(self.saturated), **lists, "loss": loss}


@dataclass(frozen=True)
class Embedding:
    """The first two principal components of the inputs of the output layer, for some of the images."""

    points: NDArray[np.float64]
    """[N, 2]"""
    shares: tuple[float, float]
    """The fraction of the variance along each component."""
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]

    def to_json(self) -> dict[str, Any]:
        """Return its object in `explanation.json`."""
        return {key: np.asarray(value).tolist() for key, value in vars(self).items()}


@dataclass(frozen=True)
class NetworkExplanation:
    """The influence of all hidden units on the predictions for `count` of the `total` images, and an embedding."""

    layers: tuple[LayerInfluence, ...]
    count: int
    total: int
    errors: int
    loss: float | None
    """The mean of −ln P(correct class) with all units; None if the model's outputs are not probabilities."""
    embedding: Embedding

    def most_influential(self, count: int) -> list[tuple[LayerInfluence, int]]:
        """Return the units without which there are most errors; of equal ones, those with the larger loss first."""
        units = [(layer, unit) for layer in self.layers for unit in range(len(layer.errors))]
        return sorted(units, key=lambda each: _rank(*each), reverse=True)[:count]

    def to_json(self) -> dict[str, Any]:
        """Return the content of `explanation.json`."""
        head = {key: getattr(self, key) for key in ("count", "total", "errors", "loss")}
        return {**head, "layers": [layer.to_json() for layer in self.layers], "embedding": self.embedding.to_json()}


def _rank(layer: LayerInfluence, unit: int) -> tuple[int, float]:
    loss = float(layer.loss[unit])
    return int(layer.errors[unit]), 0.0 if isnan(loss) else loss


Calls = dict[nn.Module, tuple[Tensor, Tensor]]
"""The last inputs and outputs of modules, in the order of their calls."""


@dataclass(frozen=True)
class _Hidden:
    """A hidden layer: the module that gives the activations of its `units`, and the part of the model from there on."""

    layer: int
    name: str
    module: nn.Module
    units: int
    child: nn.Module
    """The child of the model that is, or contains, `module`."""
    rest: nn.Sequential
    """The children behind it."""
    operations: int
    """Multiplications of `child` and `rest` for one image."""


def explain_network(
    predictor: Predictor, dataset: ImageDataset, max_operations: float = MAX_OPERATIONS
) -> NetworkExplanation:
    """Return the influence of each hidden unit of a predictor with one member on the images of `dataset`.

    Only the layers behind a unit are evaluated again, with the images for which it is not 0. Raises `CheckpointError`
    if there is no hidden layer.
    """
    (model,), (spec,) = predictor.members, predictor.specs
    with torch.inference_mode(), autocast(predictor.device, spec.precision):
        blank = torch.zeros(1, 28, 28, dtype=torch.uint8, device=predictor.device)
        hidden, output_layer = _find_hidden(model, spec.normalization.apply(blank))
        if not hidden:
            raise CheckpointError(
                "This model has no hidden layer: its outputs are computed directly from the pixels, so there is "
                "no unit to switch off. plots/weights.png of its run shows its weights. Leave out --explain."
            )
        images = _choose_images(dataset, max_operations / sum(each.units * each.operations for each in hidden))
        batches = ordered_loader(images, spec.batch_size)
        with monitor_firing(model) as monitor:
            outputs = predictor.outputs(batch.to(predictor.device) for batch, _ in batches)
        wrong, loss = _score(outputs, images.labels, spec)
        sums, features = _switch_off_each(predictor, hidden, output_layer, batches)
    few = slice(MAX_POINTS)
    points, shares = principal_components(features[few])
    classes = (each[few].cpu().numpy() for each in (images.labels, predicted_classes(outputs, spec.kind)))
    pairs = zip(hidden, sums, strict=True)
    layers = tuple(_influence(each, total, monitor.saturated, len(images)) for each, total in pairs)
    return NetworkExplanation(
        layers,
        len(images),
        len(dataset),
        int(wrong.sum()),
        float(loss.mean()) if spec.gives_probabilities else None,
        Embedding(points.numpy(), shares, *classes),
    )


def _find_hidden(model: nn.Module, inputs: Tensor) -> tuple[list[_Hidden], nn.Module]:
    """Return the hidden layers in forward order, and the output layer, which is the last one with weights.

    The activations of a layer are the outputs of the first activation behind it, or its own, if there is none before
    the next layer with weights.
    """
    children = list(model) if isinstance(model, nn.Sequential) else [model]
    with _recorded(module for module in model.modules() if isinstance(module, (*WEIGHTED, *ACTIVATIONS))) as calls:
        model(inputs)
    order = list(calls)
    starts = [index for index, module in enumerate(order) if isinstance(module, WEIGHTED)]
    hidden = []
    for number, (start, end) in enumerate(pairwise(starts), start=1):
        layer, module = order[start], order[start + 1] if end > start + 1 else order[start]
        position = next(index for index, each in enumerate(children) if module in each.modules())
        child, rest = children[position], nn.Sequential(*children[position + 1 :])
        again = {*child.modules(), *rest.modules()}
        operations = sum(_operations(each, calls[each][1]) for each in order if each in again)
        names = dict.fromkeys(type(each).__name__ for each in (layer, module))
        hidden.append(_Hidden(number, ", ".join(names), module, calls[module][1].shape[1], child, rest, operations))
    return hidden, order[starts[-1]]


def _operations(module: nn.Module, outputs: Tensor) -> int:
    """Return the multiplications of a layer with weights for one image: one for each weight and position."""
    return module.weight.numel() * outputs[0, 0].numel() if isinstance(module, WEIGHTED) else 0


@contextmanager
def _recorded(modules: Iterable[nn.Module]) -> Iterator[Calls]:
    """Yield a dictionary with the last input and output of each module that is called, in the order of the calls."""
    calls: Calls = {}

    def record(module: nn.Module, inputs: tuple[Tensor, ...], outputs: Tensor) -> None:
        calls[module] = (inputs[0], outputs)

    handles = [module.register_forward_hook(record) for module in modules]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _choose_images(dataset: ImageDataset, count: float) -> ImageDataset:
    """Return `count` random images, at least `MIN_IMAGES`, or all if there are not so many; in random order."""
    generator = torch.Generator().manual_seed(seed_for(0, "explain"))
    return dataset.subset(torch.randperm(len(dataset), generator=generator)[: max(MIN_IMAGES, int(count))])


def _score(outputs: Tensor, labels: Tensor, spec: InferenceSpec) -> tuple[Tensor, Tensor]:
    """Return which predictions are wrong, bool [B], and −ln P(correct class) [B], nan without probabilities."""
    outputs, labels = outputs.float().cpu(), labels.cpu()
    wrong = predicted_classes(outputs, spec.kind) != labels
    if not spec.gives_probabilities:
        return wrong, torch.full(wrong.shape, torch.nan, dtype=torch.float64)
    logarithms = torch.log_softmax(to_logits(outputs, spec.kind) / spec.temperature, dim=1)
    return wrong, -logarithms.gather(1, labels[:, None])[:, 0]


def _switch_off_each(
    predictor: Predictor, hidden: Sequence[_Hidden], output_layer: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]
) -> tuple[list[Tensor], Tensor]:
    """Return sums over the images of more errors, more loss, and being active, [3, U] for each layer, and the features.

    The features [N, D] are the inputs of the output layer, for `MAX_POINTS` images or some more.
    """
    (model,), (spec,) = predictor.members, predictor.specs
    sums = [torch.zeros(3, each.units, dtype=torch.float64) for each in hidden]
    features, kept = list[Tensor](), 0
    for images, labels in batches:
        with _recorded([output_layer, *(part for each in hidden for part in (each.module, each.child))]) as calls:
            outputs = model(spec.normalization.apply(images.to(predictor.device)))
        if kept < MAX_POINTS:
            features.append(calls[output_layer][0].flatten(1).double().cpu())
            kept += len(images)
        scores = _score(outputs, labels, spec)
        for index, each in enumerate(hidden):
            sums[index] += _changes(each, calls, labels, scores, spec)
    return sums, torch.cat(features)


def _changes(
    hidden: _Hidden, calls: Calls, labels: Tensor, scores: tuple[Tensor, Tensor], spec: InferenceSpec
) -> Tensor:
    """Return sums over a batch: more errors, more loss, and being active, [3, U], float64 on the CPU.

    `calls` are those of the whole model for the batch, `scores` its results. Nothing changes for images for which a
    unit is 0.
    """
    active = (calls[hidden.module][1] != 0).reshape(len(labels), hidden.units, -1).any(dim=2)
    sums = torch.zeros(3, hidden.units, dtype=torch.float64)
    sums[2] = active.sum(dim=0)
    for unit in sums[2].nonzero().flatten().tolist():
        rows = active[:, unit].nonzero().flatten()
        changed = _score(_without(hidden, unit, calls[hidden.child], rows), labels[rows.to(labels.device)], spec)
        for kind, (old, new) in enumerate(zip(scores, changed, strict=True)):
            sums[kind, unit] = (new.double() - old[rows.cpu()].double()).sum()
    return sums


def _without(hidden: _Hidden, unit: int, call: tuple[Tensor, Tensor], rows: Tensor) -> Tensor:
    """Return the outputs of the model for the images `rows` of a batch with a unit switched off.

    `call` holds the inputs and outputs of `hidden.child` for the batch.
    """
    inputs, outputs = call

    def switch_off(_module: nn.Module, _inputs: object, activations: Tensor) -> Tensor:
        activations = activations.clone()  # nn.Identity returns its input
        activations[:, unit] = 0
        return activations

    if hidden.child is hidden.module:
        changed = switch_off(hidden.module, inputs, outputs[rows])
    else:
        handle = hidden.module.register_forward_hook(switch_off)
        changed = hidden.child(inputs[rows])
        handle.remove()
    result: Tensor = hidden.rest(changed)
    return result


def _influence(hidden: _Hidden, sums: Tensor, saturated: Sequence[DeadUnits], count: int) -> LayerInfluence:
    """Return the influence of a layer from the `sums` [3, U] over `count` images."""
    errors, loss, active = sums.numpy()
    units = next((each.units for each in saturated if each.layer == hidden.layer), ())
    return LayerInfluence(hidden.layer, hidden.name, errors.astype(np.int64), loss / count, active / count, units)


def principal_components(features: Tensor) -> tuple[Tensor, tuple[float, float]]:
    """Return the first two principal components [N, 2] of `features` [N, D], and their shares of the variance.

    The largest absolute value of a component is positive. A component that does not exist is 0.
    """
    left, singular, _ = torch.linalg.svd(features.double() - features.double().mean(dim=0), full_matrices=False)
    points = torch.zeros(len(features), 2, dtype=torch.float64)
    points[:, : len(singular)] = (left * singular)[:, :2]
    points *= points.gather(0, points.abs().argmax(dim=0, keepdim=True)).sign()
    variance = points.square().sum(dim=0) / singular.square().sum().clamp_min(torch.finfo(torch.float64).tiny)
    return points, (float(variance[0]), float(variance[1]))
