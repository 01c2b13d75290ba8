"""The lecture's additions to a loss: confusions that cost extra, and first-layer weights that shall be smooth."""

from __future__ import annotations

from typing import assert_never

import torch
from torch import Tensor, nn

from mnist_trainer.config.layers import OutputKind
from mnist_trainer.config.objective import Penalty


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
