"""The derivative of the activation carries the signal back: where it is 0 or small, the first layers don't learn.

Backpropagation multiplies one derivative a layer: σ′ = σ(1 − σ) ≤ ¼, so ten sigmoid layers leave ¼¹⁰ or less of the
gradient. A step has the derivative 0, a ReLU below 0 too. Large weights let it explode, and `clip_norm` bounds it.
Batch norm or a residual x + f(x) keeps its size. Above: activations (blue) and their derivatives (orange).

Source: notes 001, 002, 003.
Exercise: try `layers=3` and `layers=20`. From which depth on do sigmoid layers lose more than 99.9 % of the gradient?
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import torch
from pydantic import TypeAdapter
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_trainer.config.model import Activation
from mnist_trainer.errors import DivergedError
from mnist_trainer.lab.experiment import Experiment
from mnist_trainer.model.activations import build_activation
from mnist_trainer.pipeline.preparation import prepare
from mnist_trainer.reports.canvas import BLUE, GREEN, GREY, ORANGE
from mnist_trainer.training import loop
from mnist_trainer.training.state import TrainingState

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZE = (1200, 900)
Z = torch.linspace(-4, 4, 400, dtype=torch.float64)  # without 0
LARGE = "ReLU, weights of σ = 0.5"
ADAPTER: TypeAdapter[Any] = TypeAdapter(Activation)
NAMES = "identity,step,sigmoid,tanh,scaled_tanh,relu,leaky_relu,alrelu,prelu,elu,selu,gelu,swish,mish,softplus,relu6"
CLOSED: dict[str, Any] = {
    "sigmoid": lambda z: torch.sigmoid(z) * (1 - torch.sigmoid(z)),  # σ(1 − σ)
    "tanh": lambda z: 1 - torch.tanh(z) ** 2,  # 1 − tanh²
    "relu": lambda z: (z > 0).double(),
    "alrelu": lambda z: torch.where(z > 0, 1.0, -0.01),  # −α
}
KINDS: dict[str, dict[str, Any]] = {
    "sigmoid": {"activation": "sigmoid"},
    "ReLU + residual": {"residual": True},
    "ReLU + batch norm": {"batch_norm": True},
    LARGE: {"init": {"name": "normal", "std": 0.5}},
}


def derivative(name: str, z: Tensor) -> Tensor:
    """Return the derivative of an activation of the trainer at `z` by autograd."""
    z = z.clone().requires_grad_()
    return torch.autograd.grad(build_activation(ADAPTER.validate_python(name)).to(z.dtype)(z).sum(), z)[0]


def network(seed: int, layers: int, model: dict[str, Any], **training: Any) -> TrainingState:
    """Return the lecture's training on 500 images with parts of its model replaced."""
    model = {"hidden": {"layers": layers, "units": 64}, **model}
    parts = {"model": model, "training": training, "optimizer": {"name": "sgd", "lr": 0.05}, "seed": seed}
    return prepare("lecture", parts, {"data": {"limit": 100, "validation": 0.5, "batch_size": 50}})


def gradient_norms(state: TrainingState) -> list[float]:
    """Return the norm of the gradient of each layer's weights, first to last, for 500 images."""
    images, labels = state.setup.train.gather(torch.arange(500))
    loss = F.cross_entropy(state.model.train()(state.normalize(images)), labels)
    weights = [layer.weight for layer in state.model.modules() if isinstance(layer, nn.Linear)]
    return [float(gradient.norm()) for gradient in torch.autograd.grad(loss, weights)]


def diverges(state: TrainingState) -> bool:
    """Return whether a training ends with a loss or gradient that is not finite."""
    with suppress(DivergedError):
        return not list(loop.fit(state))
    return True


def dead_share(name: str, bias: float, seed: int) -> float:
    """Return the share in percent of 64 hidden units whose derivative is 0 for all of 500 images."""
    state = network(seed, 1, {"activation": name})
    first = next(layer for layer in state.model.modules() if isinstance(layer, nn.Linear))
    nn.init.constant_(first.bias, bias)
    sums = first(state.normalize(state.setup.train.gather(torch.arange(500))[0]).flatten(1)).detach()
    return 100 * float((derivative(name, sums) == 0).all(0).double().mean())


def run(experiment: Experiment, figure: Figure, *, layers: int = 10, bias: float = -10, seed: int = 0) -> None:
    """`layers` is the number of hidden layers, `bias` that of the dying ReLUs."""
    check, (gallery, below) = experiment.check, figure.subfigures(2, 1)  # type: ignore[misc]
    for name, closed in CLOSED.items():
        check(f"{name}′: closed form against autograd", (closed(Z) - derivative(name, Z)).abs().max(), "<= 1e-8")
    check("ReLU′(0): notes 001 say 1; notes 003 say 0, and so does torch", derivative("relu", torch.zeros(1)), [0.0])
    step = gradient_norms(network(seed, layers, {"activation": "step"}))
    check("step: the gradients of all hidden layers are exactly 0", max(step[:-1]), 0.0)
    norms = {name: gradient_norms(network(seed, layers, kind)) for name, kind in KINDS.items()}
    for name, limit in zip(KINDS, ("< 1e-3", "> 0.05", "> 0.05"), strict=False):
        check(f"{name}, {layers} layers: first gradient / last", norms[name][0] / norms[name][-1], limit)
    check("weights of σ = 0.5: the first gradient explodes", norms[LARGE][0], "> 1000")
    check("trained, it diverges", diverges(network(seed, layers, KINDS[LARGE], epochs=5)), True)
    check(
        "with clip_norm = 1 it does not", diverges(network(seed, layers, KINDS[LARGE], epochs=5, clip_norm=1.0)), False
    )
    dead = [dead_share(name, bias, seed) for name in ("relu", "leaky_relu")]
    check(f"bias {bias:g}: dead ReLUs in %", dead[0], ">= 90")
    check(f"bias {bias:g}: dead leaky ReLUs in %", dead[1], "<= 0")
    for name, small in zip(NAMES.split(","), gallery.subplots(2, 8, sharex=True, sharey=True).flat, strict=True):
        small.plot(Z.numpy(), build_activation(ADAPTER.validate_python(name)).double()(Z).detach().numpy(), color=BLUE)
        small.plot(Z.numpy(), derivative(name, Z).numpy(), color=ORANGE, linestyle="--")
        small.set(title=name, ylim=(-2, 3), xticks=[-3, 0, 3])
    axes, bars = below.subplots(1, 2, width_ratios=[2, 1])
    for (name, values), color in zip(norms.items(), (ORANGE, BLUE, GREEN, GREY), strict=True):
        axes.plot(range(1, len(values) + 1), torch.tensor(values).log10().numpy(), "o-", color=color, label=name)
    axes.set(title="Gradient at the start", xlabel="layer", ylabel="log₁₀ of the gradient's norm")
    axes.legend(loc="lower right")
    bars.bar(["ReLU", "leaky ReLU"], dead, color=[ORANGE, BLUE])
    bars.set(title=f"Dead units at bias {bias:g}", ylabel="units that never get a gradient, in %", ylim=(0, 105))
