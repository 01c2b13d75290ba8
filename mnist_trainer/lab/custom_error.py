"""A custom error is minimized as written: chosen confusions become rare, at a cost, and weights become smooth.

The loss is −ln p(true) + a · p(2) for each 7, and + a · p(7) for each 1; and c · total variation, the sum of all
|differences| of neighbouring weights of the first layer. Terms act by their size: with a = 1 the penalties are about a
hundredth of the loss and change little, with a = 100 a seventh ("bring measures to a similar size"). Probabilities
are compared, since hardly any 1 is taken for a 7.

Source: notes 001.
Exercise: punish another confusion, `true=4 predicted=9`, or set `smooth=1`. Which term wins, and what does it cost?
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mnist_trainer.lab.experiment import Experiment, mnist
from mnist_trainer.pipeline.preparation import prepare
from mnist_trainer.reports.canvas import BLUE, GREEN, GREY, ORANGE
from mnist_trainer.training.loop import fit
from mnist_trainer.training.losses import first_weights, total_variation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = (1200, 780)
FACTORS = (0, 1, 10, 100)
Pairs = tuple[tuple[int, int], tuple[int, int]]


def train(
    a: float, smooth: float, pairs: Pairs, seed: int, epochs: int = 8
) -> tuple[list[dict[str, float]], Tensor, Tensor]:
    """Train `custom-error`; return the terms of each epoch, the outputs for the test images, and the first weights."""
    penalties = [{"true": true, "predicted": predicted, "weight": a} for true, predicted in pairs if a]
    loss = {"name": "cross_entropy", "penalties": penalties, "smooth_weights": smooth}
    parts = {"loss": loss, "data": {"limit": 300}, "training": {"epochs": epochs}, "seed": seed}
    state = prepare("custom-error", parts)
    terms = [record.terms for record in fit(state)]
    with torch.no_grad():
        outputs: Tensor = state.model.eval()(state.normalize(255 * mnist("test")[0].reshape(-1, 28, 28)))
    weights = first_weights(state.model)
    assert weights is not None
    return terms, outputs, weights.detach()


def risk(outputs: Tensor, labels: Tensor, true: int, predicted: int) -> float:
    """Return the mean probability in percent that an image of `true` is `predicted`."""
    return 100 * float(outputs.softmax(1)[labels == true, predicted].mean())


def share(terms: dict[str, float]) -> float:
    """Return the share in percent of the penalties in the whole loss."""
    return 100 * terms.get("penalties", 0.0) / (sum(terms.values()) or 1.0)


def draw_over_factors(axes: Axes, curves: dict[str, tuple[list[float], str]], ylabel: str) -> None:
    """Draw curves over the factor a."""
    for name, (values, color) in curves.items():
        axes.plot(range(len(FACTORS)), values, "o-", color=color, label=name)
    axes.set(xlabel="a, factor of the penalties", ylabel=ylabel)
    axes.set_xticks(range(len(FACTORS)), [f"{a}" for a in FACTORS])
    axes.legend()


def draw_weights(axes: Axes, plain: Tensor, smoothed: Tensor, variations: tuple[float, float]) -> None:
    """Draw the weights of nine neurons of both networks."""
    halves = [w[:9].reshape(3, 3, 28, 28).permute(0, 2, 1, 3).reshape(84, 84) for w in (plain, smoothed)]
    halves = [half / half.abs().quantile(0.99) for half in halves]
    axes.imshow(torch.cat([halves[0], torch.zeros(84, 6), halves[1]], 1).numpy(), cmap="RdBu", vmin=-1, vmax=1)
    axes.set(title="Weights of nine neurons", xticks=[42, 132], yticks=[])
    axes.set_xticklabels([f"total variation {tv:.1f}" for tv in variations])


def run(
    experiment: Experiment,
    figure: Figure,
    *,
    true: int = 7,
    predicted: int = 2,
    smooth: float = 0.1,
    seed: int = 0,
) -> None:
    """`true` and `predicted` replace the first confusion; `smooth` is the factor of the total variation."""
    check, ((risks, cost), (shares, images)) = experiment.check, figure.subplots(2, 2)
    pairs, labels, seeds = ((true, predicted), (1, 7)), mnist("test")[1], 2 if experiment.quick else 5
    runs = {a: [train(a, 0.0, pairs, seed + s) for s in range(seeds)] for a in FACTORS}
    colors, curves = iter((BLUE, ORANGE)), {}
    for t, p in pairs:
        means = [float(np.mean([risk(outputs, labels, t, p) for _, outputs, _ in runs[a]])) for a in FACTORS]
        check(
            f"{t} taken for {p}: the probability with a = 100, in parts of that with a = 0",
            means[-1] / means[0],
            "< 0.6",
        )
        curves[f"{t} taken for {p}"] = (means, next(colors))
    draw_over_factors(risks, curves, "mean probability in %")
    correct = [100 * float(np.mean([(o.argmax(1) == labels).float().mean() for _, o, _ in runs[a]])) for a in FACTORS]
    check("the cost: points of accuracy lost with a = 100", correct[0] - correct[-1], "> 0.5")
    draw_over_factors(cost, {"all digits": (correct, GREEN)}, "accuracy in %")
    first, last = ([float(np.mean([share(terms[i]) for terms, *_ in runs[a]])) for a in FACTORS] for i in (0, -1))
    check("a = 1: share of the penalties in the loss of the first epoch, in %", first[1], "< 3")
    check("a = 100: that share, in %", first[-1], "> 10")
    draw_over_factors(shares, {"first epoch": (first, GREY), "last epoch": (last, BLUE)}, "share of the penalties in %")
    plain, smoothed = runs[0][0][2], train(0, smooth, pairs, seed)[2]
    variations = float(total_variation(plain)), float(total_variation(smoothed))
    check("smooth weights: their total variation in parts of that without", variations[1] / variations[0], "< 0.3")
    draw_weights(images, plain, smoothed, variations)
