"""One neuron can't learn the noise by heart, 200 neurons do.

Data: y = tanh(4x) + noise of standard deviation σ at 30 points, measured for training, validation and test. The errors
(root mean squares) of one neuron tanh(wx + b) are σ. 200 hidden units, Σ vᵢ tanh(wᵢx + bᵢ) + c, learn the noise: below
σ in training, above σ when measured again. The units are basis functions, like the powers of a polynomial: with p
weights, its training error is σ √(1 − p/30), its validation error σ √(1 + p/30).

Source: notes 000, 002.
Exercise: make the units flatter, `slope=2`, or the noise smaller, `sigma=0.05`. Which statements fail, and why?
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, cosine_similarity, nn

from mnist_trainer.lab.experiment import Experiment, fit
from mnist_trainer.reports.canvas import BLUE, GREY, ORANGE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZE = (1200, 720)
X = torch.linspace(-1, 1, 30)
EPOCHS, DRAWS = 300, 50


class Network(nn.Module):
    """y = Σ vᵢ f(wᵢx + bᵢ) + c for each of 50 data sets, all trained at once; of one neuron, y = f(wx + b)."""

    def __init__(self, units: int, activation: nn.Module, slope: float = 1) -> None:
        super().__init__()
        w, centers = torch.ones(DRAWS, 1, 1), torch.zeros(DRAWS, 1, 1)
        self.v, self.c, self.activation = torch.ones(DRAWS, 1, 1), torch.zeros(DRAWS, 1), activation
        if units > 1:
            w, centers = slope * torch.randn(DRAWS, 1, units), 2 * torch.rand(DRAWS, 1, units) - 1
            self.v, self.c = nn.Parameter(torch.randn(DRAWS, units, 1) / 50), nn.Parameter(torch.zeros(DRAWS, 1))
        self.w, self.b = nn.Parameter(w), nn.Parameter(-w * centers)  # a unit is 0 at its center

    def basis(self, x: Tensor) -> Tensor:
        """Return the hidden units f(wᵢx + bᵢ) [draws, points, units]."""
        return self.activation(x[..., None] * self.w + self.b)  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        """Return y [draws, points] for x [points]."""
        return (self.basis(x) @ self.v)[..., 0] + self.c


def train(model: nn.Module, y: Tensor, lr: float) -> Tensor:
    """Train on the measurements y [draws, points] and return the outputs after each epoch [epochs, draws, points]."""
    optimizer = torch.optim.Adam(model.parameters(), lr)
    progress = fit(model, lambda outputs, y: (outputs - y).square().sum(), optimizer, X.expand_as(y), y, epochs=EPOCHS)
    return torch.stack([model(X).detach() for _ in progress])


def polynomial(y: Tensor, weights: int) -> Tensor:
    """Return the polynomials with so many weights that have the least squares at the points, [draws, points]."""
    powers = np.polynomial.legendre.legvander(X.double().numpy(), weights - 1)  # orthogonal sums of powers
    return torch.from_numpy((powers @ np.linalg.lstsq(powers, y.numpy().T, rcond=None)[0]).T)


def rms(errors: Tensor) -> Tensor:
    """Return the root mean square over the last two dimensions, draws and points."""
    return errors.square().mean(dim=(-2, -1)).sqrt()


def draw_fits(panels: Any, seen: Tensor, models: dict[str, nn.Module]) -> None:
    """Draw the first data set: functions, hidden units as basis functions, predicted against true values, residuals."""
    functions, _, _, units, scatter, residuals = panels
    x = torch.linspace(-1, 1, 300)
    functions.plot(X, seen, "o", color="black", markersize=4, label="measured")
    for (name, model), color in zip(models.items(), (GREY, BLUE, ORANGE), strict=True):
        functions.plot(x, model(x)[0].detach(), color=color, label=name)
        scatter.plot(seen, model(X)[0].detach(), "o", color=color, markersize=4)
        residuals.plot(X, (seen - model(X)[0]).detach(), "o-", color=color, markersize=4, linewidth=1)
    units.plot(x, models["200, tanh"].basis(x)[0, :, :12].detach(), linewidth=1)  # type: ignore[operator]
    scatter.axline((0, 0), slope=1, color="black", linewidth=1)
    functions.set(title="30 points and three functions", xlabel="x", ylabel="y", ylim=(-1.6, 2.1))
    functions.legend(loc="upper left", fontsize=8, ncols=2)
    units.set(title="12 of 200 learned basis functions", xlabel="x", ylabel="tanh(wᵢx + bᵢ)")
    scatter.set(title="Predicted against measured", xlabel="measured y", ylabel="predicted y")
    residuals.set(title="Residuals", xlabel="x", ylabel="measured − predicted")


def run(experiment: Experiment, figure: Figure, *, sigma: float = 0.2, slope: float = 15, seed: int = 0) -> None:
    """`sigma` is the standard deviation of the noise, `slope` that of the first weights of the 200 units."""
    torch.manual_seed(seed)
    check, curve, noise = experiment.check, torch.tanh(4 * X), sigma * torch.randn(3, DRAWS, len(X))
    seen, again, test = curve + noise  # the same points, measured three times
    straight, line, one = (Network(1, activation) for activation in (nn.Identity(), nn.Identity(), nn.Tanh()))
    for name, model, truth in (("a line, without activation", straight, X), ("an S, with tanh", one, curve)):
        residuals = train(model, truth + noise[0], 0.05)[-1] - truth - noise[:2]
        for kind, error in zip(("training", "validation"), rms(residuals) / sigma, strict=True):
            check(f"one neuron on {name}: {kind} error / σ", error, 1, 0.1)
    residuals = train(line, seen, 0.05)[-1] - seen
    neighbours = cosine_similarity(residuals[:, 1:].flatten(), residuals[:, :-1].flatten(), dim=0)
    check("one neuron without activation underfits an S: training error / σ", rms(residuals) / sigma, "> 1.4")
    check("its residuals are no noise: correlation of neighbours", neighbours, "> 0.4")
    many = Network(200, nn.Tanh(), slope)
    outputs = train(many, seen, 0.01)
    fitted = torch.stack([polynomial(seen, weights) for weights in range(1, 31)])
    errors, by_weights = ((rms(y - seen) / sigma, rms(y - again) / sigma) for y in (outputs, fitted))
    check("200 neurons: training error / σ", errors[0][-1], "< 0.5")
    check("200 neurons: validation error / σ", errors[1][-1], "> 1.2")
    added = cosine_similarity((outputs[-1] - curve).flatten(), noise[0].flatten(), dim=0)
    check("what they add to the curve is the noise: correlation", added, "> 0.9")
    best = (outputs - again).square().mean(dim=2).argmin(dim=0)  # the epoch with the lowest error, for each draw
    check("early stopping: test error / σ", rms(outputs[best, range(DRAWS)] - test) / sigma, "< 1.2")
    check("polynomial, 15 weights: training error / σ is √(1 − 15/30)", by_weights[0][14], 0.5**0.5, 0.07)
    check("polynomial, 15 weights: validation error / σ is √(1 + 15/30)", by_weights[1][14], 1.5**0.5, 0.1)
    draw_fits(figure.subplots(2, 3).ravel(), seen[0], {"one neuron": line, "one, tanh": one, "200, tanh": many})
    for axes, name, curves in zip(figure.axes[1:3], ("epochs", "weights"), (errors, by_weights), strict=True):
        for values, color, label in zip(curves, (BLUE, ORANGE), ("training", "validation"), strict=True):
            axes.plot(range(1, len(values) + 1), values, color=color, label=label)
        axes.axhline(1, color="black", linestyle="--", linewidth=1, label="σ, the noise")
        axes.set(title=f"Error over {name}", xlabel=f"number of {name}", ylabel="error / σ", ylim=(0, 2.5))
        axes.legend(title="200 neurons" if name == "epochs" else "polynomials", loc="upper right", fontsize=9)
