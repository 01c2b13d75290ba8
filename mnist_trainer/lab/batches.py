"""Small batches learn more from each pass over the images: their gradients are rough, but there are many of them.

Gradient descent takes all images for one step, SGD a batch: w ← w − α∇. A batch's gradient points roughly where the
full one does; the cosine of the angle between them grows with the batch. Momentum remembers: v ← βv + α∇, w ← w − v.
torch writes v ← βv + ∇, w ← w − αv: the same as long as α is constant. Times depend on the machine.

Source: notes 000, 002.
Exercise: change `batch=16` or `lr=0.5`. Which curve over time gets better, which one worse, and why?
"""

from __future__ import annotations

from time import process_time
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_trainer.lab.experiment import Experiment, fit, mnist
from mnist_trainer.reports.canvas import BLUE, GREEN, GREY, ORANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = (1200, 450)
BATCHES = (16, 64, 256, 1024, 4096)
Run = tuple[list[float], list[float]]


def network(seed: int) -> nn.Sequential:
    """Return a network 784-128-10 with tanh."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(784, 128), nn.Tanh(), nn.Linear(128, 10))


def gradient(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Return the gradient of the loss over all weights, as one vector."""
    gradients = torch.autograd.grad(F.cross_entropy(model(images), labels), list(model.parameters()))
    return torch.cat([each.flatten() for each in gradients])


def cosines(model: nn.Module, images: Tensor, labels: Tensor, size: int, draws: int = 10) -> float:
    """Return the mean cosine of the angle between the gradients of `draws` batches of `size` and the full one."""
    full, batches = gradient(model, images, labels), [torch.randperm(len(images))[:size] for _ in range(draws)]
    parts = [gradient(model, images[batch], labels[batch]) for batch in batches]
    return float(torch.stack([F.cosine_similarity(part, full, dim=0) for part in parts]).mean())


def train(
    seed: int, data: tuple[Tensor, Tensor], epochs: int, batch: int | None, lr: float, momentum: float = 0
) -> Run:
    """Return the loss of all images at the start and after each epoch, and the CPU seconds of the epochs so far."""
    model, criterion, losses, seconds = network(seed), nn.CrossEntropyLoss(), [], [0.0]
    optimizer = torch.optim.SGD(model.parameters(), lr, momentum)
    training = fit(model, criterion, optimizer, *data, epochs=epochs, batch_size=batch)
    for _ in range(epochs + 1):
        losses.append(float(criterion(model(data[0]), data[1]).detach()))
        start = process_time()
        next(training, None)
        seconds.append(seconds[-1] + process_time() - start)
    return losses, seconds[:-1]


def momentum_gap(lrs: list[float], images: Tensor, labels: Tensor, beta: float = 0.9) -> float:
    """Return the largest difference of a weight between momentum as written and torch's; `lrs` are the steps' rates."""
    written, torchs = network(0).double(), network(0).double()
    optimizer = torch.optim.SGD(torchs.parameters(), lrs[0], momentum=beta)
    weights = nn.utils.parameters_to_vector(written.parameters()).detach()
    v = torch.zeros_like(weights)
    for lr in lrs:
        v = beta * v + lr * gradient(written, images, labels)  # v ← βv + α∇
        weights = weights - v  # w ← w − v
        nn.utils.vector_to_parameters(weights, written.parameters())
        optimizer.param_groups[0]["lr"] = lr
        optimizer.zero_grad()
        F.cross_entropy(torchs(images), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return float((weights - nn.utils.parameters_to_vector(torchs.parameters())).detach().abs().max())


def draw_losses(over_epochs: Axes, over_seconds: Axes, runs: dict[str, Run]) -> None:
    """Draw the losses of the trainings over epochs and over seconds."""
    for (name, (losses, seconds)), color in zip(runs.items(), (BLUE, ORANGE, GREEN), strict=True):
        over_epochs.plot(losses, color=color, label=name)
        over_seconds.plot(seconds, losses, color=color, label=name)
    over_epochs.set(title="Over epochs", xlabel="epochs", ylabel="loss of all images", ylim=(0, 2.4))
    over_seconds.set(title="Over time", xlabel="CPU seconds", ylim=(0, 2.4))
    over_epochs.legend(loc="upper right", fontsize=9)


def run(experiment: Experiment, figure: Figure, *, batch: int = 64, lr: float = 0.1, seed: int = 0) -> None:
    """`batch` and `lr` are those of SGD; gradient descent has five times the rate, which still is stable."""
    check, (epochs_axes, seconds_axes, angles) = experiment.check, figure.subplots(1, 3)
    images, labels = mnist("train", 10_000 if experiment.quick else 20_000)
    data, epochs = (images[:5000], labels[:5000]), 5 if experiment.quick else 20
    runs = {
        "gradient descent": train(seed, data, 4 * epochs, None, 5 * lr),
        "SGD": train(seed, data, epochs, batch, lr),
        "SGD with momentum": train(seed, data, epochs, batch, lr, 0.9),
    }
    draw_losses(epochs_axes, seconds_axes, runs)
    descent, sgd, heavy = (losses for losses, _ in runs.values())
    check(f"loss of SGD after {epochs} epochs, in parts of gradient descent's", sgd[-1] / descent[epochs], "< 0.5")
    epoch = next((i for i, loss in enumerate(heavy) if loss < descent[-1]), epochs)
    check(
        "SGD with momentum reaches gradient descent's last loss in a part of its epochs", epoch / (4 * epochs), "< 0.2"
    )
    check("with momentum the loss after 3 epochs, in parts of that without", heavy[3] / sgd[3], "< 0.8")
    means = [cosines(network(seed), images, labels, size) for size in BATCHES]
    check("the cosine of a batch's gradient to the full one grows with the batch", means == sorted(means), True)
    check("of 16 images it is far below 1", means[0], "< 0.7")
    check("of 4,096 images it is almost 1", means[-1], "> 0.95")
    angles.plot(range(len(BATCHES)), means, "o-", color=GREY)
    angles.set(title="Gradient of a batch", xlabel="images", ylabel="cosine to the full gradient", ylim=(0, 1.02))
    angles.set_xticks(range(len(BATCHES)), list(map(str, BATCHES)))
    few = images[:200].double(), labels[:200]
    check("momentum as written equals torch's at a constant rate", momentum_gap([lr] * 30, *few), "<= 1e-6")
    check("it differs when the rate falls", momentum_gap([lr * 0.9**step for step in range(30)], *few), "> 1e-3")
