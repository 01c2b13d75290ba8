"""Perceptron: one neuron learns OR and AND, but never XOR; three neurons do.

A neuron computes y = w₀ + w₁x₁ + w₂x₂ and fires when y > 0 (the perceptron rule) or y > ½ (least squares).

Source: notes 001.
Exercise: order the four inputs differently (`order=3210`), or take another rate. How many updates does OR need then?
Does the number ever exceed 11?
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mnist_trainer.lab.experiment import Experiment, fit
from mnist_trainer.reports.canvas import BLUE, GREEN, ORANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = (1200, 450)
Array = NDArray[np.float64]

INPUTS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=float)
TARGETS = {"OR": np.array([0, 1, 1, 1.0]), "AND": np.array([0, 0, 0, 1.0]), "XOR": np.array([0, 1, 1, 0.0])}
BIASED = np.column_stack([np.ones(4), INPUTS])  # a 1 before the inputs, so that w₀ is a weight like the others


def least_squares(targets: Array) -> tuple[Array, float]:
    """Return the weights [3] that minimize the mean of (y − t)², and that minimum."""
    weights = np.linalg.lstsq(BIASED, targets, rcond=None)[0]
    return weights, float(np.mean((BIASED @ weights - targets) ** 2))


def perceptron_rule(targets: Array, order: list[int], rate: float, max_epochs: int = 1000) -> tuple[Array, int, bool]:
    """Return the weights [3], the number of updates, and whether an epoch without an update ended the rule."""
    weights, updates = np.full(3, 0.5), 0
    for _ in range(max_epochs):
        before = updates
        for i in order:
            fires = float(BIASED[i] @ weights > 0)  # step(w · x)
            if fires != targets[i]:
                weights = weights + rate * (targets[i] - fires) * BIASED[i]  # w ← w + η (t − y) x
                updates += 1
        if updates == before:
            return weights, updates, True
    return weights, updates, False


def xor_network(seed: int) -> tuple[nn.Module, bool]:
    """Return a 2-2-1 network with tanh, trained by backpropagation, and whether it gets XOR right."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1))
    inputs, targets = torch.tensor(INPUTS).float(), torch.tensor(TARGETS["XOR"]).float()[:, None]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in fit(model, nn.MSELoss(), optimizer, inputs, targets, epochs=500):
        pass
    return model, bool(((model(inputs) > 0.5) == (targets > 0.5)).all())


def draw_inputs(axes: Axes, name: str) -> None:
    """Draw the four inputs, filled where the target is 1."""
    axes.set(title=name, xlabel="x₁", ylabel="x₂", xlim=(-0.5, 1.5), ylim=(-0.5, 1.5), aspect="equal")
    for point, target in zip(INPUTS, TARGETS[name], strict=True):
        axes.plot(*point, "o", color="black", fillstyle="full" if target else "none", markersize=11, zorder=3)


def draw_line(axes: Axes, w: Array, threshold: float, color: str, label: str) -> None:
    """Draw the line on which w₀ + w₁x₁ + w₂x₂ = threshold."""
    x1 = np.array([-0.5, 1.5])
    axes.plot(x1, (threshold - w[0] - w[1] * x1) / w[2], color=color, label=label)
    axes.legend(loc="lower left", fontsize=9)


def draw_network(axes: Axes, model: nn.Module) -> None:
    """Colour the plane by the output of `model`, with the line on which it is ½."""
    side = np.linspace(-0.5, 1.5, 100)
    plane = np.stack(np.meshgrid(side, side), axis=-1)
    with torch.no_grad():
        outputs = model(torch.tensor(plane).float())[..., 0].numpy()
    axes.imshow(outputs, extent=(-0.5, 1.5, -0.5, 1.5), origin="lower", cmap="Greys", alpha=0.5)
    axes.contour(side, side, outputs, levels=[0.5], colors=[GREEN])
    axes.plot([], [], color=GREEN, label="2-2-1 network: y = ½")
    axes.legend(loc="lower left", fontsize=9)


def run(experiment: Experiment, figure: Figure, *, rate: float = 1.0, order: str = "0123", seeds: int = 10) -> None:
    """`order` is the order of the inputs 00, 01, 10, 11 by their positions; `seeds` is the number of networks."""
    check, plots = experiment.check, dict(zip(TARGETS, figure.subplots(1, 3), strict=True))
    check("input (1, 1) and all weights ½: output 1.5", float(np.array([1, 1, 1]) @ np.full(3, 0.5)), 1.5)
    for name, axes in plots.items():
        draw_inputs(axes, name)
    for name, expected in (("OR", "5 updates"), ("AND", "1 update")):
        learned, updates, _ = perceptron_rule(TARGETS[name], [int(digit) for digit in order], rate)
        check(f"{name}: {expected} by the perceptron rule", updates, int(expected[0]))
        weights, error = least_squares(TARGETS[name])
        draw_line(plots[name], weights, 0.5, BLUE, "least squares: y = ½")
        draw_line(plots[name], learned, 0.0, ORANGE, "perceptron rule: y = 0")
        if name == "OR":
            check("OR: least squares leaves error 0.0625", error, 0.0625, 1e-12)
            check("OR: least squares is right at y > ½", ((BIASED @ weights > 0.5) == TARGETS["OR"]).all(), True)
    weights, error = least_squares(TARGETS["XOR"])
    check("XOR: the best linear answer is 0.5 everywhere", (BIASED @ weights).round(9).tolist(), [0.5] * 4)
    check("XOR: least squares leaves error 0.25", error, 0.25, 1e-12)
    check(
        "XOR: the perceptron rule never ends (1,000 epochs)",
        perceptron_rule(TARGETS["XOR"], [0, 1, 2, 3], rate)[2],
        False,
    )
    solved = [model for model, is_right in map(xor_network, range(seeds)) if is_right]
    check("XOR: a 2-2-1 network with tanh solves it for at least 8 of 10 seeds", len(solved) / seeds, ">= 0.8")
    if solved:
        draw_network(plots["XOR"], solved[0])
