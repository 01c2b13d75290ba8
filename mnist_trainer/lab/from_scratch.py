"""From scratch: the network of the notes in NumPy ends with the same weights as torch.

A layer computes f(W·I + B), with an image in each column of I; f is ReLU, but the identity in the last layer.
The cost is C = Σ (ŷ - y)² / N. Backpropagation carries δ = ∂C/∂z from the last layer, 2(ŷ - y) / N, to the first:
δ ← Wᵀδ · f′(z). Then ∂C/∂W = δ·Iᵀ and ∂C/∂B = Σ δ. In the picture only rounding separates the two networks.

Source: notes 003.
Exercise: `below=1` forgets f′. Does the network still learn? Which `rate` is too high, and do both still agree there?
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from mnist_trainer.lab.experiment import Experiment, fit, mnist
from mnist_trainer.reports.canvas import BLUE, GREEN, ORANGE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZE = (1200, 480)
Array = NDArray[np.floating[Any]]
Network = list[Array]  # W₁, B₁, W₂, B₂, …: W [units, inputs], B [units, 1]
LAYERS, STEPS = (784, 32, 16, 10), 20


def start(seed: int, dtype: str) -> Network:
    """Return random weights with the deviation 1 / √inputs, and biases of 0."""
    random = np.random.default_rng(seed)
    weights = [random.normal(0, inputs**-0.5, (units, inputs)) for inputs, units in pairwise(LAYERS)]
    return [parameter.astype(dtype) for w in weights for parameter in (w, np.zeros((len(w), 1)))]


def forward(network: Network, images: Array) -> tuple[list[Array], list[Array]]:
    """Return I of each layer, and z of each layer, of which the last is ŷ [10, N]."""
    inputs, sums = [images], list[Array]()
    for w, b in zip(network[::2], network[1::2], strict=True):
        sums.append(w @ inputs[-1] + b)  # z = W·I + B
        inputs.append(np.maximum(0, sums[-1]))  # f(z) = max(0, z)
    return inputs[:-1], sums


def backward(network: Network, inputs: list[Array], sums: list[Array], targets: Array, below: float) -> Network:
    """Return the gradient of C for each parameter. `below` is what f′ is where z ≤ 0."""
    delta = 2 * (sums[-1] - targets) / targets.shape[1]  # ∂C/∂ŷ
    gradients = [delta @ inputs[-1].T, delta.sum(axis=1, keepdims=True)]  # ∂C/∂W, ∂C/∂B
    for w, z, layer_inputs in zip(network[-2::-2], sums[-2::-1], inputs[-2::-1], strict=False):  # from the last layer
        delta = (w.T @ delta) * np.where(z > 0, 1, below).astype(z.dtype)  # Wᵀδ · f′(z)
        gradients = [delta @ layer_inputs.T, delta.sum(axis=1, keepdims=True), *gradients]
    return gradients


def step(network: Network, images: Array, targets: Array, rate: float, below: float) -> float:
    """Take one step of gradient descent and return the cost before it."""
    inputs, sums = forward(network, images)
    gradients = backward(network, inputs, sums, targets, below)
    network[:] = [parameter - rate * gradient for parameter, gradient in zip(network, gradients, strict=True)]
    return float(((sums[-1] - targets) ** 2).sum() / targets.shape[1])  # C = Σ (ŷ - y)² / N


def flat(network: Network) -> Tensor:
    """Return all weights and biases in a row, in torch's order."""
    return torch.from_numpy(np.concatenate([parameter.ravel() for parameter in network]))


def compare(images: Array, targets: Array, rate: float, below: float, seed: int) -> tuple[list[float], ...]:
    """Train in NumPy and torch from the same weights; return both costs and the difference of the weights by step."""
    network = start(seed, str(images.dtype))
    model = nn.Sequential(nn.Linear(784, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 10))
    vector_to_parameters(flat(network), model.parameters())
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    data = torch.from_numpy(images.T.copy()), torch.from_numpy(targets.T.copy())  # torch has an image in each row
    ours, theirs, differences = [], [], []
    for loss in fit(model, lambda y, t: ((y - t) ** 2).sum() / len(t), optimizer, *data, epochs=STEPS):
        ours.append(step(network, images, targets, rate, below))
        theirs.append(loss)
        differences.append(float((flat(network) - parameters_to_vector(model.parameters()).detach()).abs().max()))
    return ours, theirs, differences


def draw(figure: Figure, ours: list[float], theirs: list[float], differences: dict[str, list[float]]) -> None:
    """Draw the costs in NumPy and in torch, and the differences of their weights."""
    left, right = figure.subplots(1, 2, sharex=True)
    left.plot(ours, color=BLUE, linewidth=3, label="NumPy")
    left.plot(theirs, "o", color=ORANGE, label="torch")
    left.set(title="The cost of 100 images", xlabel="step", ylabel="C = Σ (ŷ - y)² / N", xticks=range(0, 20, 5))
    left.legend()
    for (name, values), color in zip(differences.items(), (ORANGE, GREEN, BLUE), strict=True):
        right.semilogy(range(STEPS), np.maximum(values, 1e-17), color=color)
        right.annotate(name, (STEPS - 1, values[-1]), (4, 0), textcoords="offset points", color=color, va="center")
    right.set(title="NumPy against torch", xlabel="step", ylabel="largest difference of a weight")
    right.yaxis.set_major_formatter("{x:g}")


@np.errstate(all="ignore")  # of a rate that is too high
def run(experiment: Experiment, figure: Figure, *, rate: float = 0.05, below: float = 0.0, seed: int = 0) -> None:
    """`below` is the derivative that NumPy's backpropagation takes for ReLU where z ≤ 0; `seed` draws the weights."""
    (images, labels), (test_images, test_labels) = mnist("train", 5000), mnist("test", 1000)
    pixels, targets = images.double().numpy().T, np.eye(10)[:, labels.numpy()]
    check, few = experiment.check, (pixels[:, :100], targets[:, :100])
    (ours, theirs, double), wrong = compare(*few, rate, below, seed), compare(*few, rate, 1.0, seed)[2]
    single = compare(few[0].astype("float32"), few[1].astype("float32"), rate, below, seed)[2]
    check("float64: the same weights as torch after 20 steps", double[-1], "<= 1e-10")
    check("float64: the same cost as torch in each step", float(np.ptp([ours, theirs], axis=0).max()), "<= 1e-10")
    check("float32: the same weights as torch but for rounding", single[-1], "<= 1e-5")
    check("without f′ in backpropagation the weights differ", wrong[-1], "> 1e-3")
    check("20 steps lower the cost", ours[-1] / ours[0], "< 0.8")
    network = start(seed, "float64")
    for first in list(range(0, 5000, 20)) * 5:
        step(network, pixels[:, first : first + 20], targets[:, first : first + 20], rate, below)
    right = forward(network, test_images.double().numpy().T)[1][-1].argmax(axis=0) == test_labels.numpy()
    check("5 epochs on 5,000 images: more than 80 % of 1,000 test images are right", float(right.mean()), "> 0.8")
    draw(figure, ours, theirs, {"f′ forgotten": wrong, "float32": single, "float64": double})
