"""Depth without activation is worth nothing: N linear layers are one.

Two layers without activation: W₂(W₁x + b₁) + b₂ = (W₂W₁)x + (W₂b₁ + b₂), which is again Wx + b. So any number of layers
can be multiplied out to one, and training can't make more of them than that one can. With an activation f between the
layers it can't: the function bends (left) and the accuracy rises (middle). On the right is all that five layers without
activation have learned: the ten rows of one matrix, as pictures.

Source: notes 002.
Exercise: replace the ReLU by another activation, `activation=sigmoid` or `activation=step`. Which of the statements
still hold, and which ones fail with `activation=identity`?
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mnist_trainer.lab.experiment import Experiment, mnist
from mnist_trainer.pipeline.preparation import prepare
from mnist_trainer.reports.canvas import BLUE, ORANGE
from mnist_trainer.training.loop import fit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = (1200, 450)


def multiplied_out(network: nn.Sequential) -> tuple[Tensor, Tensor]:
    """Return W [10, 784] and b [10] of all linear layers of `network` as one."""
    weight, bias = torch.eye(784).double(), torch.zeros(784).double()
    for layer in network:
        if isinstance(layer, nn.Linear):
            weight = layer.weight @ weight  # W ← W₂W
            bias = layer.weight @ bias + layer.bias  # b ← W₂b + b₂
    return weight.detach(), bias.detach()


def trained(layers: int, activation: str, epochs: int, seed: int, limit: int | None) -> tuple[nn.Sequential, float]:
    """Return the lecture's network with `layers` layers in float64, and its accuracy in percent on other images."""
    model = {"hidden": {"layers": layers - 1, "units": 128}, "activation": activation}
    parts = {"model": model, "data": {"limit": limit, "validation": 0.5 if limit else 10_000}, "seed": seed}
    state = prepare("lecture", parts, f"training.epochs={epochs}", schedule="cosine")
    accuracy = [record.val_accuracy or 0.0 for record in fit(state)][-1]
    assert isinstance(state.model, nn.Sequential)
    return state.model.double().eval(), 100 * accuracy


def difference(network: nn.Sequential, inputs: Tensor) -> float:
    """Return the largest |network(x) − (Wx + b)| over `inputs` [N, 784]."""
    weight, bias = multiplied_out(network)
    with torch.no_grad():
        return float((network(inputs.reshape(-1, 1, 28, 28)) - (inputs @ weight.T + bias)).abs().max())


def along_a_line(network: nn.Sequential, start: Tensor, end: Tensor) -> Tensor:
    """Return the output for the digit 0 at 201 points from the image `start` [784] to the image `end`."""
    points = torch.lerp(start, end, torch.linspace(0, 1, 201, dtype=torch.float64)[:, None])
    with torch.no_grad():
        outputs: Tensor = network(points.reshape(-1, 1, 28, 28))[:, 0]
    return outputs


def bend(curve: Tensor) -> float:
    """Return the largest second difference of `curve`, in parts of its range; 0 for a straight line."""
    return float(curve.diff(n=2).abs().max() / (curve.max() - curve.min()))


def draw_rows(axes: Axes, weight: Tensor) -> None:
    """Draw each row of W [10, 784] as an image, three beside each other."""
    images = weight.reshape(-1, 28, 28)[:, 3:25, 3:25]  # the weights of the empty border stay random
    mosaic = torch.cat([images, torch.zeros(2, 22, 22)]).reshape(4, 3, 22, 22).permute(0, 2, 1, 3).reshape(88, 66)
    axes.imshow(mosaic.numpy(), cmap="RdBu", vmin=-0.2, vmax=0.2)
    for digit in range(10):
        axes.text(digit % 3 * 22, digit // 3 * 22, str(digit), va="top", fontsize=13, weight="bold")
    axes.text(22, 77, " blue: speaks for it\n red: against it", va="center", fontsize=9)
    axes.set(title="W = W₅W₄W₃W₂W₁: ten rows", xticks=[], yticks=[])


def draw_line(axes: Axes, curves: dict[str, Tensor]) -> None:
    """Draw the output along the line from one image to another."""
    for (name, curve), color in zip(curves.items(), (BLUE, ORANGE), strict=True):
        axes.plot(torch.linspace(0, 1, 201).numpy(), curve.numpy(), color=color, label=name)
    axes.set(title="Five layers, from one image to another", xlabel="way from a 5 to a 0", ylabel="output for the 0")
    axes.legend(loc="upper left", fontsize=9)


def draw_accuracy(axes: Axes, depths: tuple[int, ...], accuracy: dict[str, list[float]]) -> None:
    """Draw the accuracies over the number of layers, for each activation."""
    for (name, percent), color in zip(accuracy.items(), (BLUE, ORANGE), strict=True):
        axes.plot(depths, percent, "o-", color=color, label=name)
    axes.set(title="Accuracy by depth", xlabel="layers", ylabel="accuracy in %", xticks=depths, ylim=(80, 100))
    axes.legend(loc="lower right", fontsize=9)


def run(experiment: Experiment, figure: Figure, *, activation: str = "relu", epochs: int = 3, seed: int = 0) -> None:
    """`activation` is a name of the trainer's configs."""
    check, (line, lines, rows) = experiment.check, figure.subplots(1, 3)
    depths, limit, epochs = ((1, 5), 1500, 3 * epochs) if experiment.quick else ((1, 2, 5), None, epochs)
    one = trained(1, "identity", epochs, seed, limit)  # a single layer has no hidden units, so no activation
    linear = [one, *(trained(layers, "identity", epochs, seed, limit) for layers in depths[1:])]
    active = [one, *(trained(layers, activation, epochs, seed, limit) for layers in depths[1:])]
    images = (mnist("test")[0].double() - 0.1307) / 0.3081  # mean and deviation of MNIST, as in training
    check("5 trained layers without activation equal W x + b within 1e-5", difference(linear[-1][0], images), "<= 1e-5")
    check(f"5 layers with {activation} differ from W x + b", difference(active[-1][0], images), "> 1")
    nets = {"without activation": linear, f"with {activation}": active}
    curves = {name: along_a_line(by_depth[-1][0], images[8], images[3]) for name, by_depth in nets.items()}
    bends = [bend(curve) for curve in curves.values()]
    check("without activation the output along a line is straight (second difference)", bends[0], "<= 1e-9")
    check(f"with {activation} it bends", bends[1], "> 1e-6")
    gained = linear[-1][1] - one[1]
    check("5 layers without activation gain less than 1 point of accuracy over one layer", gained, "< 1")
    lead, points = active[-1][1] - max(percent for _, percent in linear), 2 if experiment.quick else 4
    check(f"5 layers with {activation} beat all of them by more than {points} points", lead, f"> {points}")
    draw_line(line, curves)
    draw_accuracy(lines, depths, {name: [percent for _, percent in by_depth] for name, by_depth in nets.items()})
    draw_rows(rows, multiplied_out(linear[-1][0])[0])
