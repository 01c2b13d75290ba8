"""Exercises: what four neurons compute by hand, one matrix product computes at once.

A neuron computes f(w · x). With one input in each row of X and one neuron in each row of W, X·Wᵀ holds every neuron's
answer to every input. The exercises a to d ask neuron a about input a, and so on: they are the diagonal (framed).
The answers 1, 9, ½ and 0 then go through f = tanh (e) and f = σ (f).

Source: notes 001.
Exercise: with `slope=2` the figures of σ are wrong. Three of them move towards 0 or 1 and one stays: why that one?
Show that σ(2z) = (1 + tanh z) / 2. Which neuron answers input b with the largest value?
"""

from __future__ import annotations

from math import exp
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from mnist_trainer.config.model import Sigmoid
from mnist_trainer.lab.experiment import Experiment
from mnist_trainer.model.activations import PLAIN, build_activation
from mnist_trainer.reports.canvas import BLUE, GREY, ORANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = (1200, 520)
Array = NDArray[np.float64]

X = np.array([[1, 0, 1], [1, 2, 3], [1, 1, 1], [1, -1, 2]], dtype=float)  # a row for each input
W = np.array([[0.5, 1, 0.5], [2, 2, 1], [0.5, 0.5, -0.5], [2, 4, 1]])  # a row for each neuron
SUMS = [1.0, 9.0, 0.5, 0.0]
TANH = [0.7616, 1.0, 0.4621, 0.0]
SIGMOID = [0.7311, 0.99988, 0.6225, 0.5]
FIGURES = [4, 5, 4, 4]  # decimal places given above


def weighted_sum(weights: Array, inputs: Array) -> float:
    """Return Σ wᵢxᵢ, term by term."""
    return float(sum(w * x for w, x in zip(weights, inputs, strict=True)))


def tanh(z: float) -> float:
    """Return tanh z by its definition."""
    return (exp(z) - exp(-z)) / (exp(z) + exp(-z))


def sigmoid(z: float, slope: float) -> float:
    """Return σ(slope · z) by its definition."""
    return 1 / (1 + exp(-slope * z))


def rounded(values: list[float]) -> list[float]:
    """Return the values a to d with as many decimal places as the lecture gives."""
    return [round(value, places) for value, places in zip(values, FIGURES, strict=True)]


def row(values: Array) -> str:
    """Return `(1, 0.5, 2)`."""
    return f"({', '.join(f'{value:g}' for value in values)})"


def draw_product(axes: Axes, product: Array) -> None:
    """Draw X·Wᵀ as a table of colours and numbers, its diagonal bold in a frame."""
    from matplotlib.patches import Rectangle

    axes.imshow(product, cmap="Blues", vmin=-4, vmax=20)
    for i, j in np.ndindex(*product.shape):
        weight = "bold" if i == j else "normal"
        axes.text(j, i, f"{product[i, j]:g}", ha="center", va="center", weight=weight, size=14)
    for i in range(4):
        axes.add_patch(Rectangle((i - 0.48, i - 0.48), 0.96, 0.96, fill=False, edgecolor=ORANGE, linewidth=3))
    axes.set_xticks(range(4), [f"neuron {'abcd'[j]}\n{row(W[j])}" for j in range(4)])
    axes.set_yticks(range(4), [f"input {'abcd'[i]}\n{row(X[i])}" for i in range(4)])
    axes.set(title="X·Wᵀ: four inputs, four neurons, one operation")


def draw_activations(axes: Axes, slope: float) -> None:
    """Draw both activations with the four sums on them."""
    z = np.linspace(-3, 10, 300)
    curves = (("tanh z", BLUE, tanh), ("σ(z)", ORANGE, lambda value: sigmoid(value, slope)))
    for name, color, function in curves:
        axes.plot(z, [function(value) for value in z], color=color, label=name)
        axes.plot(SUMS, [function(value) for value in SUMS], "o", color=color)
    for letter, z_i in zip("abcd", SUMS, strict=True):
        axes.axvline(z_i, color=GREY, linewidth=0.8, linestyle=":")
        axes.text(z_i, -1.0, f" {letter}")
    axes.set(title="The four sums through tanh and σ", xlabel="z = w · x", ylabel="f(z)", ylim=(-1.05, 1.1))
    axes.legend(loc="center right")


def run(experiment: Experiment, figure: Figure, *, slope: float = 1.0) -> None:
    """`slope` is that of the logistic function, σ(slope · z)."""
    check = experiment.check
    by_hand = [weighted_sum(w, x) for w, x in zip(W, X, strict=True)]
    check("a to d, by hand: max(0, Σ wᵢxᵢ) = 1, 9, 0.5, 0", [max(0.0, z) for z in by_hand], SUMS)
    check("e, by hand: tanh 0.7616, 1, 0.4621, 0", rounded([tanh(z) for z in by_hand]), TANH)
    check("e: tanh 9 = 1 - 3e-8", 1 - tanh(9), 3e-8, 0.05e-8)
    check("f, by hand: sigmoid 0.7311, 0.99988, 0.6225, 0.5", rounded([sigmoid(z, slope) for z in by_hand]), SIGMOID)

    product = torch.from_numpy(X) @ torch.from_numpy(W).T  # [inputs, neurons]
    check("g: the diagonal of X·Wᵀ is a to d", product.diagonal(), SUMS)
    pairs = [[weighted_sum(w, x) for w in W] for x in X]
    check("g: X·Wᵀ as a whole is every neuron's answer to every input", product, pairs)
    all_tanh, all_sigmoid = PLAIN["tanh"]()(product), build_activation(Sigmoid(slope=slope))(product)
    check("e in one operation: the diagonal of tanh(X·Wᵀ)", rounded(all_tanh.diagonal().tolist()), TANH)
    check("f in one operation: the diagonal of σ(X·Wᵀ)", rounded(all_sigmoid.diagonal().tolist()), SIGMOID)
    difference = (all_sigmoid - (1 + torch.tanh(product / 2)) / 2).abs().max()
    check("σ(z) = (1 + tanh(z / 2)) / 2", difference, "<= 1e-12")
    x, weights = np.array([1, 2, 3]), np.array([[4, 5, 6], [7, 8, 9]])
    check("h: NumPy, [1, 2, 3] @ [4, 5, 6] = 32", x @ weights[0], 32)
    check("h: NumPy, [[4, 5, 6], [7, 8, 9]] @ [1, 2, 3] = (32, 50)", weights @ x, [32, 50])

    left, right = figure.subplots(1, 2, width_ratios=[1, 1.2])
    draw_product(left, product.numpy())
    draw_activations(right, slope)
