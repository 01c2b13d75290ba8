"""Descent is fast at the right rate only, and ends in the valley where it starts; noise and momentum may leave it.

Gradient descent steps against the gradient: x ← x − α∇. On x² a step multiplies x by 1 − 2α: at α = 0.5 one is enough,
at α = 1 x jumps from 1 to −1 and back. Momentum keeps a part β of the last step. SGD's gradient, of a few examples,
is the full one and noise. Wiggling (random steps, kept if better) finds one weight soon, a hundred hardly.

Source: notes 001, 003, 004.
Exercise: take `noise=1` or `noise=20`, `beta=0.5` or `beta=0.99`. Which helps to leave the shallow valley, and why?
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.lab.experiment import Experiment
from mnist_trainer.reports.canvas import BLUE, GREEN, GREY, ORANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = (1200, 450)
Array = NDArray[np.float64]
Gradient = Callable[[Any], Any]
RATES = {0.01: (114, BLUE, "-"), 0.1: (11, ORANGE, "-"), 0.5: (1, GREEN, "-"), 0.9: (11, "k", ":"), 1: (1000, "k", "-")}
VALLEYS = np.polynomial.Polynomial([0, 0.3, -2, 0, 1])  # x⁴ − 2x² + 0.3x
TWICE, SLOPE = np.polynomial.Polynomial([0, 2]), VALLEYS.deriv()  # (x²)′ = 2x, and 4x³ − 4x + 0.3
_, HUMP, SHALLOW = np.sort(SLOPE.roots())
WALKS = {"SGD": (0, 1.5, GREEN), "momentum": (1, 0, BLUE), "descent": (0, 0, ORANGE)}  # (momentum?, noise, colour)


def descend(gradient: Gradient, x: Any, rate: float, beta: float = 0, stop: Any = None, limit: int = 1000) -> Array:
    """Return the path [steps + 1, ...] from `x` to where `stop` holds, or of `limit` steps."""
    path, v = [x], 0 * x
    while len(path) <= limit and not (stop and stop(path[-1])):
        v = beta * v + rate * gradient(path[-1])  # v ← βv + α∇
        path.append(path[-1] - v)  # x ← x − v
    return np.array(path)


def double_steps(x: float, rate: float) -> int:
    """Return the evaluations of x² until it is < 0.01, if the rate doubles when a step is better, and else halves."""
    trial, better = x - rate * 2 * x, abs(x - rate * 2 * x) < abs(x)
    return 0 if x**2 < 0.01 else 1 + double_steps(trial if better else x, 2 * rate if better else rate / 2)


def wiggle(weights: int, rng: np.random.Generator, size: float = 0.05) -> int:
    """Return the evaluations of random steps of about `size`, from Σx² = 1 until Σx² < 0.01; better ones are kept."""
    x, evaluations = np.full(weights, weights**-0.5), 0
    while x @ x >= 0.01:
        trial, evaluations = x + rng.normal(0, size * weights**-0.5, weights), evaluations + 1
        x = trial if trial @ trial < x @ x else x
    return evaluations


def share_in_deep(start: Array, rng: np.random.Generator, beta: float, noise: float) -> float:
    """Return the share of `start` that descends to the deep valley, while the gradient's noise falls to 0."""
    levels = iter(np.linspace(noise, 0, 1000))
    path = descend(lambda x: SLOPE(x) + next(levels) * rng.normal(size=x.shape), start, 0.02, beta)
    return float(np.mean(path[-1] < HUMP))


def draw_map(axes: Axes, beta: float, rng: np.random.Generator) -> list[Array]:
    """Draw SGD, momentum and descent on the contour map of w₁² + 10w₂²; return the distances to the minimum."""
    bowl, start, side, distances = np.array([1, 10]), np.array([-0.9, 0.8]), np.linspace(-1, 1, 80), []
    heights = side**2 + 10 * side[:, None] ** 2
    axes.contour(side, side, heights, levels=[0.1, 0.4, 1, 2, 4, 7, 10], colors=GREY, alpha=0.4)
    for name, (heavy, noise, color) in WALKS.items():
        path = descend(lambda w: TWICE(w) * bowl + rng.normal(0, noise, 2), start, 0.02, heavy * beta)  # noqa: B023
        distances.append(np.linalg.norm(path, axis=1))
        axes.plot(*path[:150].T, ".-", color=color, label=name)
    axes.set(title="Contour map of w₁² + 10w₂²", xlabel="w₁", ylabel="w₂")
    axes.legend(loc="upper right", fontsize=9)
    return distances


def run(experiment: Experiment, figure: Figure, *, beta: float = 0.9, noise: float = 8.0, seed: int = 0) -> None:
    """`beta` is the momentum's, `noise` the standard deviation of the gradient's noise at the start."""
    check, (chart, valleys, errors), rng = experiment.check, figure.subplots(1, 3), np.random.default_rng(seed)
    for rate, (steps, color, line) in RATES.items():
        path = descend(TWICE, 1.0, rate, stop=lambda x: x**2 < 0.01)
        check(f"x² from 1 to an error < 0.01, or 1,000 steps: {steps:,} at rate {rate}", len(path) - 1, steps)
        errors.plot(np.maximum(path**2, 1e-9), line, color=color, label=f"{rate}: {len(path) - 1:,} steps")
    diverging = descend(TWICE, 1.0, 1.1, limit=100) ** 2
    check("rate 1.1 diverges: error after 100 steps", diverging[-1], "> 1e6")
    path = descend(TWICE, 1.0, 0.1, stop=lambda x: abs(TWICE(x)) < 1e-3)
    check("x² from 1 to a gradient < 0.001: 35 steps at rate 0.1", len(path) - 1, 35)
    path = descend(SLOPE, HUMP, 0.02, stop=lambda x: abs(SLOPE(x)) < 1e-9)
    check("on the hump of x⁴ − 2x² + 0.3x the gradient is 0, too: no step", len(path) - 1, 0)
    check("step doubling from rate 0.01: 7 evaluations instead of 114", double_steps(1.0, 0.01), 7)
    few, many = (np.mean([wiggle(weights, rng) for _ in range(10)]) for weights in (1, 100))
    check("wiggling: evaluations for one weight, fewer than descent at rate 0.01", few, "< 114")
    check("wiggling: evaluations for 100 weights, where descent at rate 0.01 needs 114", many, "> 1000")
    for start, end, color in ((-1.5, -1.036, BLUE), (1.5, 0.960, ORANGE)):
        path = descend(SLOPE, start, 0.02)
        check(f"x⁴ − 2x² + 0.3x: descent from {start} ends at {end}", round(float(path[-1]), 3), end)
        valleys.plot(path, VALLEYS(path), "o", color=color, label=f"from {start} to {end:.3f}")
    starts = np.linspace(0.1, 2, 100)
    ways = {"descent": (0, 0, "= 0"), "momentum": (beta, 0, "> 0.1"), "noise": (0, noise, "> 0.4")}
    for name, (kept, rough, limit) in ways.items():
        share = share_in_deep(starts, rng, kept, rough)
        check(f"{name}: share of 100 starts in the shallow valley that end in the deep one", share, limit)
        valleys.plot([], [], " ", label=f"{name} leaves x > 0: {share:.0%}")
    check("momentum from the shallow minimum itself stays there", share_in_deep(SHALLOW, rng, beta, 0), 0)
    check("noise: share that leaves the deep valley", 1 - share_in_deep(starts - 2, rng, 0, noise), "> 0.05")
    wandering, rolling, creeping = draw_map(chart, beta, rng)
    steps, others = (next((i for i, d in enumerate(far) if d < 0.1), 1000) for far in (rolling, creeping))
    check("w₁² + 10w₂²: steps of momentum to a distance < 0.1, in parts of descent's", steps / others, "< 0.7")
    check("SGD at a constant rate wanders: mean distance of its last 500 steps", wandering[-500:].mean(), "> 0.03")
    valleys.plot(x := np.linspace(-1.65, 1.65, 200), VALLEYS(x), color=GREY, zorder=0)
    valleys.set(title="x⁴ − 2x² + 0.3x", xlabel="x", ylabel="height", ylim=(-1.6, 5), xlim=(-2, 2))
    errors.plot(diverging, "--", color=GREY, label="1.1: diverges")
    errors.set(title="x² from 1", xlabel="steps", ylabel="error x²", yscale="log", xlim=(-4, 125), ylim=(3e-3, 3e3))
    errors.set_yticks([0.01, 0.1, 1, 10, 100, 1000], ["0.01", "0.1", "1", "10", "100", "1,000"])
    valleys.legend(loc="upper center", fontsize=9)
    errors.legend(title="rate", loc="upper right", fontsize=9)
