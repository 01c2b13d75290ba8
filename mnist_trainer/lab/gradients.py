"""Backpropagation finds in one pass back what the difference quotient needs a pass per weight for.

∂C/∂w ≈ (C(w + h) − C(w)) / h. A large h cuts the curve, a small one leaves only rounding: the V in the picture.
The chain rule has no h. With C = (ŷ − y)², ŷ = σ(z₂), z₂ = W₂a₁ + b₂, a₁ = tanh(z₁), its factors are
    δ₂ = ∂C/∂b₂ = 2(ŷ − y) · ŷ(1 − ŷ)        δ₁ = ∂C/∂b₁ = W₂ᵀδ₂ · (1 − a₁²)

Source: notes 001, 003, 004.
Exercise: with `sign=-1` the first factor is 2(y − ŷ). Which statement fails? Take `h=1e-12`: why does training fail?
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mnist_trainer.lab.experiment import Experiment, mnist
from mnist_trainer.reports.canvas import BLUE, GREY, ORANGE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZE, HIDDEN, SIZES = (1200, 450), 8, (1e-1, 1e-3, 1e-5, 1e-7, 1e-9, 1e-11, 1e-13)
Function = Callable[[Tensor], Tensor]
EXERCISES: dict[str, tuple[Function, Function, tuple[float, float]]] = {  # f, ∇f by hand, and where
    "x² + y²": (lambda v: v[0] ** 2 + v[1] ** 2, lambda v: 2 * v, (3, -1)),
    "x³ + y³": (lambda v: v[0] ** 3 + v[1] ** 3, lambda v: 3 * v**2, (2, -1)),
    "1 / (x² + y²)": (lambda v: 1 / (v @ v), lambda v: -2 * v / (v @ v) ** 2, (1, 2)),
    "x² − 2xy + y²": (lambda v: (v[0] - v[1]) ** 2, lambda v: 2 * (v[0] - v[1]) * torch.tensor([1, -1]), (3, 1)),
    "sin x + exp y": (lambda v: v[0].sin() + v[1].exp(), lambda v: torch.stack([v[0].cos(), v[1].exp()]), (1, 0)),
    "x₁x₂": (lambda v: v[0] * v[1], lambda v: v.flip(0), (3, 4)),
    "x₁ + 2x₂": (lambda v: v[0] + 2 * v[1], lambda v: torch.tensor([1, 2]), (3, 4)),
    "2x₁x₂²": (lambda v: 2 * v[0] * v[1] ** 2, lambda v: torch.stack([2 * v[1] ** 2, 4 * v[0] * v[1]]), (3, 2)),
    "x² − y²": (lambda v: v[0] ** 2 - v[1] ** 2, lambda v: 2 * v * torch.tensor([1, -1]), (7, 1)),
}


def quotient(f: Function, w: Tensor, h: float) -> Tensor:
    """Return (f(w + h) − f(w)) / h for every component of w."""
    before = f(w)
    return torch.stack([(f(w + h * unit) - before) / h for unit in torch.eye(len(w), dtype=w.dtype)])


def backpropagation(f: Function, w: Tensor) -> Tensor:
    """Return the gradient of f at w by autograd."""
    w = w.clone().requires_grad_()
    return torch.autograd.grad(f(w), w)[0]


class Network:
    """49-8-10 on images of 7×7, with all its weights in one row w; it counts its forward passes."""

    def __init__(self, images: int) -> None:
        pixels, labels = mnist("train", images)
        self.images = pixels.double().view(-1, 7, 4, 7, 4).mean(dim=(2, 4)).flatten(1)
        self.targets, self.passes = torch.eye(10).double()[labels], 0

    def forward(self, w: Tensor, off: int = -1) -> tuple[Tensor, Tensor, Tensor]:
        """Return a₁ [N, 8], ŷ [N, 10] and W₂ [10, 8]; the hidden neuron `off` is switched off."""
        self.passes += 1
        w1, b1, w2, b2 = torch.split(w, [49 * HIDDEN, HIDDEN, 10 * HIDDEN, 10])
        a1 = torch.tanh(self.images @ w1.view(HIDDEN, 49).T + b1) * (torch.arange(HIDDEN) != off)
        return a1, torch.sigmoid(a1 @ w2.view(10, HIDDEN).T + b2), w2.view(10, HIDDEN)

    def cost(self, w: Tensor) -> Tensor:
        """Return the mean over the images of Σ (ŷ − y)²."""
        return ((self.forward(w)[1] - self.targets) ** 2).sum(dim=1).mean()

    def deltas(self, w: Tensor, sign: float) -> Tensor:
        """Return δ₁ and δ₂ in one row for each image, [N, 8 + 10], factor by factor."""
        a1, outputs, w2 = self.forward(w)
        delta2 = sign * 2 * (outputs - self.targets) * outputs * (1 - outputs)  # ∂C/∂ŷ · ∂ŷ/∂z₂
        return torch.cat([delta2 @ w2 * (1 - a1**2), delta2], dim=1)  # ∂C/∂z₂ · ∂z₂/∂a₁ · ∂a₁/∂z₁

    def train(self, w: Tensor, slope: Callable[[Function, Tensor], Tensor], steps: int) -> Tensor:
        """Return the weights after `steps` of w ← w − ∂C/∂w."""
        for _ in range(steps):
            w = w - slope(self.cost, w)
        return w


def run(experiment: Experiment, figure: Figure, *, h: float = 1e-7, sign: float = 1.0) -> None:
    """`h` is that of the difference quotient, `sign` that of the first factor of the chain rule."""
    check, (valley, learning, influence) = experiment.check, figure.subplots(1, 3)
    for name, (f, by_hand, point) in EXERCISES.items():
        v = torch.tensor(point, dtype=torch.float64)
        errors = [float((each - by_hand(v)).abs().max()) for each in (backpropagation(f, v), quotient(f, v, h))]
        values = by_hand(v).double().round(decimals=4).tolist()
        check(f"{name} at {point}: autograd and quotient give {values}", max(errors), "<= 1e-6")
    check("x² − y²: the way along (14, −2) from (7, 1) goes up", f(v + 0.01 * by_hand(v)) - f(v), "> 0")
    check("x² − y² at 0: up along x, down along y, a saddle", [float(f(each)) for each in torch.eye(2)], [1.0, -1.0])
    network, generator = Network(100), torch.Generator().manual_seed(0)
    w = 0.3 * torch.randn(60 * HIDDEN + 10, generator=generator, dtype=torch.float64)
    true = backpropagation(network.cost, w)
    errors = [float((quotient(network.cost, w, size) - true).abs().max()) for size in SIZES]
    check("the quotient of a network differs from autograd by 1e-6 at most, with the best h", min(errors), "<= 1e-6")
    check("the error over h is a V: times as large at its ends", min(errors[0], errors[-1]) / min(errors), "> 100")
    valley.plot(torch.tensor(SIZES).log10(), torch.tensor(errors).log10(), "o-", color=BLUE)
    valley.set(title="Error of the quotient", xlabel="log₁₀ h", ylabel="log₁₀ of the difference to autograd")
    network.passes = 0
    by_quotient = network.train(w, lambda f, weights: quotient(f, weights, h), 10)
    passes, by_chain_rule = network.passes / 10, network.train(w, backpropagation, 10)
    check(f"a step by quotients takes {len(w) + 1} forward passes, not one", passes, len(w) + 1)
    check("10 steps by both: the same weights", (by_quotient - by_chain_rule).abs().max(), "<= 1e-5")
    one = Network(1)
    slopes, (a1, outputs, w2) = backpropagation(one.cost, w), one.forward(w)
    biases = torch.cat([slopes[49 * HIDDEN : 50 * HIDDEN], slopes[-10:]])  # ∂C/∂b₁ and ∂C/∂b₂ by autograd
    check("δ₁ and δ₂ of one image are ∂C/∂b₁ and ∂C/∂b₂", (one.deltas(w, sign)[0] - biases).abs().max(), "<= 1e-12")
    i = int(one.targets.argmax())
    lost = torch.stack([outputs[0, i] - one.forward(w, off)[1][0, i] for off in range(HIDDEN)])
    expected = a1[0] * w2[i] * outputs[0, i] * (1 - outputs[0, i])  # activation · ∂ŷ/∂a₁
    correlation = torch.corrcoef(torch.stack([lost, expected]))[0, 1]
    check("a neuron switched off changes the output as gradient × activation says: correlation", correlation, "> 0.9")
    for axes, x, y in ((learning, by_chain_rule - w, by_quotient - w), (influence, expected, lost)):
        axes.axline((0, 0), slope=1, color=GREY, linewidth=1)
        axes.plot(x, y, "o", color=ORANGE, markersize=4)
    learning.set(title="What each weight learned", xlabel="by backpropagation", ylabel="by quotients")
    influence.set(title="Influence of neurons", xlabel="gradient × activation", ylabel="change when switched off")
