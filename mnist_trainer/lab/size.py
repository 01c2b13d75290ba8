"""Ten times the data pays off, many more units little; half of the weights and 28 of 32 bits can go at little cost.

A layer of n units has 784n + n weights and biases before it and 10n + 10 behind it: 795n + 10 parameters of 4 bytes.
Prune: the weights with the smallest |w| are set to 0, beside it weights drawn at random. Quantize: each output neuron
rounds its weights to w ≈ s·k with whole numbers |k| ≤ 2ᵇ⁻¹ − 1 (b bits) and s = max |w| / (2ᵇ⁻¹ − 1).

Source: notes 000, 001, 004.
Exercise: take `units=16` or `units=1024` in the pruned network. Which share of its weights can be missing, and why?
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mnist_trainer.config.layers import expand, infer_shapes
from mnist_trainer.config.load import load_config
from mnist_trainer.errors import DeviceError
from mnist_trainer.lab.experiment import Experiment, fit, mnist
from mnist_trainer.model.device import FLOAT, Footprint, check_memory, footprint
from mnist_trainer.reports.canvas import BLUE, ORANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = (1200, 800)
Data = tuple[Tensor, Tensor]
COUNTS, WIDTHS, UNITS = (10, 100, 1000, 5000), (1, 4, 16, 64, 256, 1024, 4096), 200_000_000
ZEROS, BITS = (0, 50, 70, 80, 90, 99), (2, 3, 4, 5, 6, 8)


def per_class(count: int, images: Tensor, labels: Tensor) -> Data:
    """Return the first `count` images of each class."""
    chosen = torch.cat([(labels == digit).nonzero()[:count, 0] for digit in range(10)])
    return images[chosen], labels[chosen]


def train(units: int, data: Data, steps: int, batch: int, seed: int) -> nn.Sequential:
    """Return a network 784-units-10 after `steps` steps."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(784, units), nn.ReLU(), nn.Linear(units, 10))
    optimizer, epochs = torch.optim.Adam(model.parameters(), lr=0.002), steps * batch // len(data[0])
    list(fit(model, nn.CrossEntropyLoss(), optimizer, *data, epochs=epochs, batch_size=batch))
    return model


@torch.no_grad()
def accuracy(model: nn.Module, data: Data, change: Callable[..., Tensor] = torch.clone, *settings: int) -> float:
    """Return the accuracy in percent, with both weight matrices after `change`; the biases stay."""
    weights = {name: change(w, *settings) if w.dim() > 1 else w for name, w in model.named_parameters()}
    logits: Tensor = functional_call(model, weights, data[0])
    return 100 * float((logits.argmax(1) == data[1]).float().mean())


def refused(needed: Footprint, free: int) -> bool:
    """Return whether the trainer refuses a training that needs this memory where `free` bytes are free."""
    with suppress(DeviceError):
        check_memory(needed, torch.device("cpu"), free)
        return False
    return True


def pruned(weight: Tensor, percent: int, at_random: int = 0) -> Tensor:
    """Return `weight` with `percent` of its values set to 0: the smallest |w|, or any."""
    order: Tensor = (torch.rand_like(weight) if at_random else weight.abs()).flatten().argsort()
    return torch.index_fill(weight.flatten(), 0, order[: len(order) * percent // 100], 0).view_as(weight)


def quantized(weight: Tensor, bits: int) -> Tensor:
    """Return `weight` [outputs, inputs] with each row rounded to multiples of its s."""
    s: Tensor = weight.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)  # max |w| / (2ᵇ⁻¹ − 1)
    return s * torch.round(weight / s)  # w ≈ s·k


def draw(axes: Axes, x: Sequence[int], curves: dict[str, list[float]], title: str, xlabel: str, scale: str) -> None:
    """Draw accuracies over `x`."""
    for (name, percents), color in zip(curves.items(), (BLUE, ORANGE), strict=False):
        axes.plot(x, percents, "o-", color=color, label=name)
    axes.set(title=title, xlabel=xlabel, ylabel="accuracy in %", ylim=(0, 103), xscale=scale)
    axes.set_xticks(x, [f"{tick:,}" for tick in x])
    axes.legend(loc="lower center")


def run(experiment: Experiment, figure: Figure, *, units: int = 128, seed: int = 0) -> None:
    """`units` is the width of the networks of the first panel; the one with most data is pruned and rounded."""
    check, quick, panels = experiment.check, experiment.quick, figure.subplots(2, 2).flat
    train_images, test = mnist("train"), mnist("test")
    counts, widths = (COUNTS[:3], WIDTHS[:5]) if quick else (COUNTS, WIDTHS)
    parts = [per_class(count, *train_images) for count in counts]
    models = [train(units, part, 200 if quick else 500, 100, seed) for part in parts]
    right, seen = [accuracy(model, test) for model in models], list(map(accuracy, models, parts))
    check("more images of each class, more digits right", right == sorted(right), True)
    check("10 of each class: known by heart, other images are points behind", seen[0] - right[0], "> 20")
    check(f"{counts[-1]:,} of each class: errors in parts of those", (100 - right[-1]) / (100 - right[0]), "< 0.35")
    wide = [accuracy(train(width, per_class(500, *train_images), 100, 250, seed), test) for width in widths]
    check("from 1 unit to 16: points gained", wide[2] - wide[0], "> 35")
    check(f"from {widths[-3]:,} units to {widths[-1]:,}: points gained", wide[-1] - wide[-3], "< 8")
    check("the widest network is the best, it doesn't overfit: points behind", max(wide) - wide[-1], "<= 0.3")
    config = load_config("lecture", [f"model.hidden=[{UNITS}]"])
    needed = footprint(config, infer_shapes(expand(config.model), 10))
    check("200 million units: 795n + 10 parameters", needed.parameters, 795 * UNITS + 10)
    check("200 million units: GB of weights", round(FLOAT * needed.parameters / 1e9), 636)
    check("200 million units: refused where 1 TB is free", refused(needed, 10**12), True)
    full, small, drawn = right[-1], *([accuracy(models[-1], test, pruned, z, rand) for z in ZEROS] for rand in (0, 1))
    check("the smaller half of the weights set to 0: points lost", full - small[1], "< 4")
    check("80 % at random lose more than the smallest 80 %: points", small[3] - drawn[3], "> 5")
    check("99 % set to 0: points lost", full - small[-1], "> 15")
    rounded = [accuracy(models[-1], test, quantized, bits) for bits in BITS]
    check("8 bits a weight in place of 32: points lost", full - rounded[-1], "<= 0.1")
    check("4 bits: points lost", full - rounded[2], "< 3")
    draw(panels[0], counts, {"other images": right, "learned from": seen}, "More data", "images of each class", "log")
    draw(panels[1], widths, {"other images": wide}, "More units", "units (200 million: 636 GB, refused)", "log")
    draw(panels[2], ZEROS, {"the smallest": small, "any": drawn}, "Fewer weights", "% of weights set to 0", "linear")
    draw(panels[3], BITS, {"other images": rounded}, "Fewer bits", "bits of a weight", "linear")
