"""Cross-entropy pushes hard where the network is wrong, squared error doesn't; and the output must reach the targets.

With p, the probability of the true class, cross-entropy is −ln p and squared error (1 − p)²: 4.6 and 0.98 at p = 0.01.
Their slopes over the logit of that class are −0.99 and −0.02 there. Cross-entropy applies the softmax itself. On a
softmax layer it is applied twice, the second time to values from 0 to 1: it can't fall below ln(e + 9) − 1 = 1.4612.

Source: notes 002.
Exercise: take another rate, `lr=0.5` or `lr=0.02`. Does squared error catch up? Does any rate mend two softmaxes?
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from mnist_trainer.lab.experiment import Experiment, fit
from mnist_trainer.pipeline.preparation import prepare
from mnist_trainer.reports.canvas import BLUE, GREEN, GREY, ORANGE
from mnist_trainer.training import loop
from mnist_trainer.training.state import TrainingState

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = (1200, 450)
VARIANTS: dict[str, tuple[str, dict[str, str], str]] = {
    "cross-entropy": ("none", {"name": "cross_entropy"}, BLUE),
    "squared error": ("softmax", {"name": "mse", "reduction": "per_example"}, ORANGE),
    "two softmaxes": ("softmax", {"name": "cross_entropy"}, GREEN),
}
OUTPUTS = {"sigmoid": (nn.Sigmoid, 0, 1), "tanh": (nn.Tanh, -1, 1), "identity": (nn.Identity, -math.inf, math.inf)}
RANGES = {"0 … 1": (0, 1), "−1 … 1": (-1, 1), "−5 … 5": (-5, 5)}


def slopes(p: float) -> tuple[float, float]:
    """Return ∂(−ln p)/∂z and ∂(1 − p)²/∂z for p = σ(z), which is the softmax of two classes."""
    z = torch.tensor(math.log(p / (1 - p)), dtype=torch.float64, requires_grad=True)
    entropy, squared = -torch.sigmoid(z).log(), (1 - torch.sigmoid(z)) ** 2
    return float(torch.autograd.grad(entropy, z)[0]), float(torch.autograd.grad(squared, z)[0])


def train(variant: str, lr: float, steps: int, seed: int) -> tuple[float, list[float]]:
    """Train the lecture's network; return the least loss of an epoch, and the accuracy in percent every 10 steps."""
    output, loss, _ = VARIANTS[variant]
    parts = {"loss": loss, "optimizer": {"name": "sgd", "lr": lr}, "data": {"limit": 600, "validation": 2000}}
    state = prepare("lecture", parts, f"model.output={output}", f"training.epochs={steps // 16}", seed=seed)
    accuracies: list[float] = []  # an epoch is 16 steps: 4,000 images in batches of 256

    def measure(state: TrainingState) -> None:
        if (16 * state.epoch + state.step) % 10 == 0:
            accuracies.append(100 * (loop.validate(state)[1] or 0.0))

    return min(record.train_loss for record in loop.fit(state, measure)), accuracies


def misfit(output: type[nn.Module], low: float, high: float) -> float:
    """Return the root mean square error of a 1-16-1 network on a wave with values from `low` to `high`."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1), output())
    inputs = torch.linspace(-1, 1, 64)[:, None]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    targets = low + (high - low) * (torch.sin(5 * inputs) + 1) / 2
    return math.sqrt(list(fit(model, nn.MSELoss(), optimizer, inputs, targets, epochs=400))[-1])


def draw_losses(axes: Axes) -> None:
    """Draw the losses over p; the other nine classes have equal probabilities."""
    p = np.linspace(0.004, 1, 400)
    two_softmaxes = np.log(np.exp(p) + 9 * np.exp((1 - p) / 9)) - p
    for curve, (name, (*_, color)) in zip((-np.log(p), (1 - p) ** 2, two_softmaxes), VARIANTS.items(), strict=True):
        axes.plot(p, curve, color=color, label=name)
    axes.plot([0.01, 0.01], [-math.log(0.01), 0.99**2], "o", color="black", label="p = 0.01: 4.6 and 0.98")
    axes.axhline(math.log(math.e + 9) - 1, color=GREY, linestyle="--", label="ln(e + 9) − 1 = 1.4612")
    axes.set(title="Loss of one image", xlabel="p, probability of the true class", ylabel="loss")
    axes.legend(fontsize=9)


def draw_errors(axes: Axes, errors: NDArray[np.float64]) -> None:
    """Draw a table of errors [output activation, range of the targets]."""
    axes.imshow(np.log10(errors), cmap="Greys", vmin=-3, vmax=2, aspect="auto")
    for (row, column), error in np.ndenumerate(errors):
        axes.text(column, row, f"{error:.2f}", ha="center", va="center", fontsize=13)
    axes.set(title="Root mean square error", xlabel="range of the targets", ylabel="output activation")
    axes.set_xticks(range(3), list(RANGES))
    axes.set_yticks(range(3), list(OUTPUTS))


def run(experiment: Experiment, figure: Figure, *, lr: float = 0.1, seed: int = 0) -> None:
    """`lr` is the learning rate of all three trainings."""
    check, (curves, rising, table) = experiment.check, figure.subplots(1, 3)
    check("p = 0.01: cross-entropy is 4.6", round(-math.log(0.01), 1), 4.6)
    check("p = 0.01: squared error is 0.98", round((1 - 0.01) ** 2, 2), 0.98)
    check("p = 0.01: the slope of cross-entropy is p − 1 = −0.99", slopes(0.01)[0], 0.01 - 1, 1e-12)
    check("p = 0.01: the slope of squared error is −2p(1 − p)² = −0.02", slopes(0.01)[1], -2 * 0.01 * 0.99**2, 1e-12)
    perfect = float(F.cross_entropy(torch.eye(10).double(), torch.arange(10)))
    check("cross-entropy on a perfect softmax layer: ln(e + 9) − 1 = 1.4612", round(perfect, 4), 1.4612)
    needed, steps = {}, 320 if experiment.quick else 640
    for variant, (*_, color) in VARIANTS.items():
        least, accuracies = train(variant, lr, steps, seed)
        needed[variant] = next((10 * i for i, percent in enumerate(accuracies, 1) if percent >= 90), steps + 10)
        rising.plot(10 * np.arange(1, len(accuracies) + 1), accuracies, color=color, label=variant)
    check("a training with two softmaxes: the loss of no epoch is below 1.4612", least, "> 1.4612")
    ratio = needed["squared error"] / needed["cross-entropy"]
    check("squared error needs more than 1.5 times the steps of cross-entropy to 90 %", ratio, "> 1.5")
    check(f"two softmaxes don't get 90 % right in {steps} steps", needed["two softmaxes"], f"> {steps}")
    rising.set(title="Accuracy on validation images", xlabel="steps", ylabel="accuracy in %", ylim=(0, 100))
    errors = np.array([[misfit(output[0], *limits) for limits in RANGES.values()] for output in OUTPUTS.values()])
    for (row, column), error in np.ndenumerate(errors):
        (output, (_, least, most)), (name, (low, high)) = list(OUTPUTS.items())[row], list(RANGES.items())[column]
        claim, limit = ("fits", "< 0.06") if least <= low < high <= most else ("can't fit", "> 0.2")
        check(f"{output} {claim} targets of {name}: error in parts of the range", error / (high - low), limit)
    draw_losses(curves)
    draw_errors(table, errors)
