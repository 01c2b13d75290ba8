"""A look inside: the weights grow in training, and all that an image causes can be computed by hand.

Each layer is z = W·a + b and a = f(z). The first a is the image, f is ReLU, and softmax makes ten probabilities of the
last z. The upper row shows every z and a for one image, the lower row all weights before and after training. The slope
of a weight is ∂C/∂w = δ·x, so the weights of a pixel that is 0 in all images never change. By default the trainer
subtracts the mean: then x is −0.42 there, and those weights do change, like a bias.

Source: notes 000, 004.
Exercise: look at another image of the test set, `image=8`. Which statement fails, and what do the last z tell about it?
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mnist_trainer.lab.experiment import Experiment, mnist
from mnist_trainer.pipeline.preparation import prepare
from mnist_trainer.reports.canvas import BLUE, GREY, ORANGE
from mnist_trainer.training.loop import fit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]


def layers(model: nn.Module) -> list[tuple[Array, Array]]:
    """Return copies of W [outputs, inputs] and b [outputs] of each layer."""
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    return [(each.weight.detach().double().numpy().copy(), each.bias.detach().double().numpy()) for each in linear]


def trained(normalize: str, quick: bool, seed: int) -> tuple[nn.Module, list[Array], list[Array], NDArray[np.bool_]]:
    """Return the lecture's network, its weights before and after training, and which pixels were always 0 [784]."""
    data = {"limit": 600 if quick else None, "validation": 2000, "normalize": normalize}
    state = prepare("lecture", {"data": data}, f"training.epochs={8 if quick else 2}", seed=seed)
    before = [weight for weight, _ in layers(state.model)]
    list(fit(state))
    images = state.setup.train.gather(torch.arange(len(state.setup.train)))[0].flatten(1)
    after = [weight for weight, _ in layers(state.model)]
    return state.model.double().eval(), before, after, images.amax(dim=0).numpy() == 0


def by_hand(parameters: list[tuple[Array, Array]], image: Array) -> list[Array]:
    """Return z₁, a₁, z₂, a₂, … of all layers for `image` [784]."""
    values, a = [], image
    for weight, bias in parameters:
        z = weight @ a + bias  # z = W·a + b
        a = np.maximum(z, 0)  # a = f(z)
        values += [z, a]
    return [*values[:-1], np.exp(z) / np.exp(z).sum()]  # softmax


def by_model(model: nn.Module, image: Array) -> list[Array]:
    """Return the outputs of all modules of the model, and of a softmax."""
    outputs = [torch.from_numpy(image)[None]]
    for module in [*model.children(), nn.Softmax(dim=1)]:
        outputs.append(module(outputs[-1]))
    return [output[0].detach().numpy() for output in outputs[2:]]  # without those of nn.Flatten and its input


def check_weights(experiment: Experiment, before: list[Array], after: list[Array]) -> None:
    """Check the statistics of all weights; before training they are uniform from −1/√n to 1/√n, with n inputs."""
    check, scaled = experiment.check, [[w * w.shape[1] ** 0.5 for w in ws] for ws in (before, after)]  # times √n
    check("before: the largest weight of all layers is 1/√n", max(abs(w).max() for w in scaled[0]), 1, 0.01)
    check("layer 1 after: the largest weight, in parts of 1/√n", abs(scaled[1][0]).max(), "> 2")
    for number, (old, new) in enumerate(zip(*scaled, strict=True), start=1):
        check(f"layer {number} before: the standard deviation is 1/√(3n) ± 10 %", old.std() * 3**0.5, 1, 0.1)
        check(f"layer {number}: training raises the standard deviation by a factor", new.std() / old.std(), "> 1.1")
    check("after: the means stay near 0, in standard deviations", max(abs(w.mean()) / w.std() for w in after), "< 0.3")
    near = [100 * float((abs(ws[0]) < 0.1).mean()) for ws in scaled]
    check("layer 1 before: 10 % of the weights are near 0 (|w| < 0.1/√n)", near[0], 10, 1)
    check("layer 1 after: weights near 0, in %", near[1], "< 8")


def draw(figure: Figure, pictures: dict[str, Array], values: list[Array], *weights: list[Array]) -> None:
    """Draw two pictures of 784 pixels, z and a of each layer, and histograms of the weights before and after."""
    axes, bins = figure.subplots(2, 5), np.linspace(-0.5, 0.5, 61)
    for ax, (title, picture) in zip(axes[:, 0], pictures.items(), strict=True):
        ax.imshow(picture.reshape(28, 28), cmap="Greys")
        ax.set(title=title, xticks=[], yticks=[])
        ax.spines[:].set_visible(True)
    columns = zip(range(1, 5), axes.T[1:], values[::2], values[1::2], *weights, strict=True)
    for number, (upper, lower), z, a, old, new in columns:
        upper.bar(range(len(z)), z, color=ORANGE, label="z")
        upper.bar(range(len(z)), a * (len(a) > 10), color=BLUE, label="a = max(0, z)")
        upper.set(title=f"layer {number}: {(a == 0).sum()} a are 0", xlabel="unit", xlim=(-1, len(z)))
        for each, color, label in ((old, GREY, "before"), (new, BLUE, "after")):
            lower.hist(each.ravel(), bins, density=True, histtype="step", color=color, label=label)
        lower.set(title=f"W: sd {old.std():.3f} → {new.std():.3f}", xlabel="weight", yticks=[])
    axes[0, 4].set(title=f"softmax: {100 * a.max():.1f} % for {a.argmax()}", xlabel="digit", xticks=range(10))
    for ax in axes[:, 1]:
        ax.set_ylim(top=1.25 * ax.get_ylim()[1])
        ax.legend(fontsize=9, loc="upper center", ncols=2, handlelength=1, columnspacing=1)


def run(experiment: Experiment, figure: Figure, *, image: int = 0, seed: int = 0) -> None:
    """`image` is the number of a test image, from 0."""
    check, (model, before, after, is_dark) = experiment.check, trained("unit", experiment.quick, seed)
    x, label = (each[image].double().numpy() for each in mnist("test", image + 1))
    values = by_hand(layers(model), x)
    apart = [abs(ours - its).max() for ours, its in zip(values, by_model(model, x), strict=True)]
    check("z = W·a + b by hand equals the model's, largest difference in all layers", max(apart[::2]), "<= 1e-5")
    check("a = f(z) by hand equals the model's, largest difference in all layers", max(apart[1::2]), "<= 1e-5")
    check("the ten outputs of the softmax sum to 1", values[-1].sum(), 1, 1e-9)
    check(f"the largest of the last z is that of the digit {label:.0f}", values[-2].argmax(), int(label))
    check_weights(experiment, before, after)
    change, is_border = abs(after[0] - before[0]), np.pad(np.zeros((26, 26)), 1, constant_values=1).ravel() == 1
    check("pixels that are 0 in all images: the largest change of their weights", change[:, is_dark].max(), 0)
    check("most weights of border pixels don't change, in %", 100 * (change[:, is_border] == 0).mean(), "> 50")
    _, old, new, _ = trained("mean_std", experiment.quick, seed)
    shift = (new[0] - old[0])[:, is_dark]
    check("with the mean subtracted all weights of those pixels change", (shift == 0).sum(), 0)
    check("they change like a bias, all of a unit alike: largest spread", np.ptp(shift, axis=1).max(), "<= 1e-4")
    draw(figure, {"x, the image": x, "mean |Δw| of a pixel": change.mean(axis=0)}, values, before, after)
