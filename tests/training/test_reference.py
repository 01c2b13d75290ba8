"""In float32 a training has the figures of a plain loop, written here with nothing but torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_trainer.data.image_dataset import ImageDataset
from mnist_trainer.data.loaders import Splits
from mnist_trainer.seeds import seed_for
from mnist_trainer.training.loop import fit

EPOCHS, BATCH, SEED = 4, 32, 1

# No maxima among the convolutions: where two values are nearly equal, rounding decides which of them learns.
MODELS: dict[str, tuple[dict[str, Any], Callable[[], nn.Module]]] = {
    "lecture": (
        {"architecture": "mlp", "hidden": [64, 64, 64]},
        lambda: nn.Sequential(
            nn.Flatten(),
            nn.Linear(784, 64),
            nn.ReLU(),
            nn.Linear(64, 64),
            nn.ReLU(),
            nn.Linear(64, 64),
            nn.ReLU(),
            nn.Linear(64, 10),
        ),
    ),
    "mlp": (
        {"architecture": "mlp", "hidden": [48, 24], "batch_norm": True, "bias": False, "activation": "tanh"},
        lambda: nn.Sequential(
            nn.Flatten(),
            nn.Linear(784, 48, bias=False),
            nn.BatchNorm1d(48),
            nn.Tanh(),
            nn.Linear(48, 24, bias=False),
            nn.BatchNorm1d(24),
            nn.Tanh(),
            nn.Linear(24, 10, bias=False),
        ),
    ),
    "cnn": (
        {"architecture": "lenet5", "activation": "tanh"},
        lambda: nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2),
            nn.Tanh(),
            nn.AvgPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.Tanh(),
            nn.AvgPool2d(2),
            nn.Conv2d(16, 120, 5),
            nn.Tanh(),
            nn.Flatten(),
            nn.Linear(120, 84),
            nn.Tanh(),
            nn.Linear(84, 10),
        ),
    ),
}
OPTIMIZERS: dict[str, tuple[dict[str, Any], Callable[..., torch.optim.Optimizer]]] = {
    "momentum": (
        {"name": "sgd", "lr": 0.05, "momentum": 0.9},
        lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9),
    ),
    # Its usual eps makes whole steps of gradients that are nothing but rounding.
    "adam": (
        {"name": "adam", "lr": 0.003, "eps": 1e-4},
        lambda parameters: torch.optim.Adam(parameters, lr=0.003, eps=1e-4),
    ),
}


def plain(model: nn.Module, optimizer: torch.optim.Optimizer, splits: Splits) -> list[list[float]]:
    """Loss and accuracy in training and in validation, for each epoch."""
    assert splits.validation is not None
    deviation, mean = torch.std_mean(splits.train.images.double(), correction=0)

    def inputs(dataset: ImageDataset) -> Tensor:
        return ((dataset.images[:, None] - mean) / deviation).float()

    images, labels = inputs(splits.train), splits.train.labels
    figures = []
    for epoch in range(EPOCHS):
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed_for(SEED, "order", epoch)))
        model.train()
        losses, correct = 0.0, 0
        for batch in order.split(BATCH):
            outputs = model(images[batch])
            loss = F.cross_entropy(outputs, labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses += loss.item() * len(batch)
            correct += int((outputs.argmax(dim=1) == labels[batch]).sum())
        model.eval()
        with torch.no_grad():
            outputs = model(inputs(splits.validation))
        right = (outputs.argmax(dim=1) == splits.validation.labels).double().mean()
        validation = F.cross_entropy(outputs, splits.validation.labels)
        figures.append([losses / len(labels), correct / len(labels), validation.item(), right.item()])
    return figures


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("model", MODELS)
def test_the_figures_are_those_of_a_plain_loop(splits: Splits, prepare: Any, model: str, optimizer: str) -> None:
    (section, build), (steps, make) = MODELS[model], OPTIMIZERS[optimizer]
    settings = {"seed": SEED, "data": {"batch_size": BATCH}, "training": {"epochs": EPOCHS}}
    state = prepare(splits, model=section, optimizer=steps, **settings)
    network = build()
    network.load_state_dict(dict(zip(network.state_dict(), state.model.state_dict().values(), strict=True)))
    expected = plain(network, make(network.parameters()), splits)
    records = [[row.train_loss, row.train_accuracy, row.val_loss, row.val_accuracy] for row in fit(state)]
    assert records == [pytest.approx(row, abs=1e-6, rel=0) for row in expected]
