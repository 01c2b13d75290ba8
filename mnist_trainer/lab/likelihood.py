"""Likelihood: least squares and cross-entropy both look for the parameters that make the data most probable.

The likelihood of N independent examples is the product of their probabilities; -ln turns it into a sum, the NLL.
Gaussian noise, p(y) = exp(-(y - ŷ)² / 2σ²) / (σ√2π):  NLL = SSE / 2σ² + N ln(σ√2π), and SSE = Σ (y - ŷ)².
A categorical answer, p(y) = softmax(z)ᵧ:              NLL = -Σ ln softmax(z)ᵧ = N times the cross-entropy.
In the picture: the bells that the points were drawn from, both sums over the slope, and -ln p of the right digit.

Source: notes 000.
Exercise: `noise=laplace` takes p(y) = exp(-|y - ŷ| / σ) / 2σ. Which statements fail, and which error belongs to it?
`outlier=8` moves one point up: which line follows it, with which noise?
"""

from __future__ import annotations

from math import log, pi, sqrt
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from mnist_trainer.config.schema import ClassLoss
from mnist_trainer.lab.experiment import Experiment, fit, mnist
from mnist_trainer.reports.canvas import BLUE, GREY, ORANGE
from mnist_trainer.training.losses import Criterion

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE, SIGMA = (1200, 450), 0.5


def points(outlier: float) -> tuple[Tensor, Tensor]:
    """Return x and y = 1 + 2x + noise, float64 [40]; the last y is raised by `outlier`."""
    random = np.random.default_rng(0)
    x, noise = np.sort(random.uniform(0, 2, 40)), random.normal(0, SIGMA, 40)
    noise[-1] += outlier
    return torch.tensor(x), torch.tensor(1 + 2 * x + noise)


def density(error: Tensor, sigma: Tensor, noise: str) -> Tensor:
    """Return p(y) for the error y - ŷ."""
    if noise == "laplace":
        return torch.exp(-error.abs() / sigma) / (2 * sigma)
    return torch.exp(-(error**2) / (2 * sigma**2)) / (sigma * sqrt(2 * pi))


def nll(parameters: Tensor, x: Tensor, y: Tensor, noise: str) -> Tensor:
    """Return -Σ ln p(y) of the line w₀ + w₁x, for the parameters w₀, w₁ and ln σ."""
    w0, w1, log_sigma = parameters
    return -density(y - (w0 + w1 * x), log_sigma.exp(), noise).log().sum()


def most_likely(x: Tensor, y: Tensor, noise: str) -> Tensor:
    """Return w₀, w₁ and σ that minimize the NLL."""
    parameters = torch.tensor([1.0, 1.0, 1.0], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([parameters], max_iter=500, tolerance_change=0, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        loss = nll(parameters, x, y, noise)
        (parameters.grad,) = torch.autograd.grad(loss, [parameters])
        return loss.detach()

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return torch.cat([parameters[:2], parameters[2:].exp()]).detach()


def check_line(experiment: Experiment, left: Axes, middle: Axes, noise: str, outlier: float) -> None:
    """Fit a line by least squares and by likelihood; draw both, and the sums over the slope."""
    check, (x, y) = experiment.check, points(outlier)
    squares = torch.linalg.lstsq(torch.stack([torch.ones_like(x), x], dim=1), y).solution
    best = most_likely(x, y, noise)
    slopes = torch.linspace(1, 3, 41).tolist()
    sums = torch.stack([nll(torch.tensor([squares[0], slope, log(SIGMA)]), x, y, noise) for slope in slopes])
    sse = torch.stack([((y - squares[0] - slope * x) ** 2).sum() for slope in slopes])
    from_sse = sse / (2 * SIGMA**2) + len(x) * log(SIGMA * sqrt(2 * pi))
    check("Gaussian: NLL = SSE / 2σ² + N ln(σ√2π) for 41 lines", (sums - from_sse).abs().max(), "<= 1e-6")
    check("Gaussian: the most likely line is that of least squares", (best[:2] - squares).abs().max(), "<= 1e-6")
    root = ((y - squares[0] - squares[1] * x) ** 2).mean().sqrt()
    check("Gaussian: the most likely σ is √(SSE / N)", (best[2] - root).abs(), "<= 1e-6")

    errors, ends = torch.linspace(-1.8, 1.8, 100), torch.tensor([-0.1, 2.3])
    left.plot(x, y, "o", color=GREY, markersize=5)
    left.plot(ends, squares[0] + squares[1] * ends, color=BLUE, linewidth=4, alpha=0.5, label="least squares")
    left.plot(ends, best[0] + best[1] * ends, "--", color=ORANGE, label="most likely")
    for place in (0, 1, 2):
        left.plot(place + density(errors, best[2], noise) / 3, best[0] + best[1] * place + errors, color=ORANGE, lw=1)
    left.set(title="A line and its noise", xlabel="x", ylabel="y")
    left.legend(loc="upper left")
    middle.plot(slopes, sums, color=ORANGE, label="NLL")
    middle.plot(slopes, from_sse, "o", color=BLUE, markersize=4, label="SSE / 2σ² + N ln(σ√2π)")
    middle.axvline(float(squares[1]), color=GREY, linestyle=":", ymax=0.65, label="least squares")
    middle.set(title="Two sums over the slope", xlabel="slope w₁", ylabel="sum over 40 points")
    middle.legend()


def check_digits(experiment: Experiment, axes: Axes) -> None:
    """Compare the NLL of the labels with the trainer's losses on MNIST, and draw -ln p of each right digit."""
    check, (images, labels) = experiment.check, mnist("train", 1000)
    model = nn.Linear(784, 10)
    list(fit(model, nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), lr=0.1), images, labels, epochs=20))
    outputs = model(images).detach().double()
    right = (outputs.exp() / outputs.exp().sum(dim=1, keepdim=True))[range(1000), labels]  # softmax(z) of the label
    cross_entropy = Criterion(ClassLoss(name="cross_entropy"), "logits", 10).mean_loss(outputs, labels)
    check("categorical: NLL / N is the trainer's cross_entropy", abs(-right.log().mean() - cross_entropy), "<= 1e-6")
    check("the product of 1,000 probabilities is 0 in float64", float(right.prod()), 0.0)
    check("the sum of their logarithms is not", right.log().sum(), "< -700")
    axes.plot(p := torch.linspace(0.01, 1, 200), -p.log(), color=BLUE, label="-ln p")
    axes.plot(right[:200], -right[:200].log(), "o", color=ORANGE, alpha=0.4, label="200 images")
    axes.axhline(cross_entropy, color=GREY, linestyle=":", label=f"mean: cross-entropy {cross_entropy:.2f}")
    axes.set(title="A digit and its probability", xlabel="p of the right digit", ylabel="-ln p")
    axes.legend()


def run(experiment: Experiment, figure: Figure, *, noise: str = "gauss", outlier: float = 0.0) -> None:
    """`noise` is gauss or laplace; `outlier` is added to the last y."""
    left, middle, right = figure.subplots(1, 3)
    check_line(experiment, left, middle, noise, outlier)
    check_digits(experiment, right)
