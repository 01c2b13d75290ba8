"""Without labels: an autoencoder beats PCA, and its codes form clusters. Forward-forward learns, but slower.

An autoencoder squeezes an image into a code of 784/x numbers and makes the image of it again; its error is the mean of
(ŷ − y)² with the image itself as y. PCA is the best that linear layers can do. k-means moves each centre to the mean of
the codes nearest to it; a code near a centre decodes to a new image. Forward-forward (Hinton, arXiv 2212.13345) has
labels but no backpropagation: each layer alone makes its G = mean a² > 2 for a right label in the image, else < 2.

Source: notes 001.
Exercise: make the code larger or smaller, `x=16` or `x=196`. With which one does PCA win, and why with it?
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_trainer.lab.experiment import Experiment, fit, mnist
from mnist_trainer.reports.canvas import BLUE, ORANGE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZE = (1200, 420)


def k_means(points: Tensor, count: int, rounds: int = 20) -> tuple[Tensor, Tensor]:
    """Return `count` centres of `points` [N, D] by Lloyd's algorithm, and which one is nearest to each point [N]."""
    centres = points[torch.randperm(len(points))[:count]]
    for _ in range(rounds):
        nearest = torch.cdist(points, centres).argmin(dim=1)
        member = F.one_hot(nearest, count).float()  # [N, count]
        centres = (member.T @ points) / member.sum(dim=0)[:, None].clamp(min=1)  # the means
    return centres, nearest


def purity(clusters: Tensor, labels: Tensor) -> float:
    """Return the percentage of points that have the most frequent label of their cluster."""
    return 100 * float((F.one_hot(clusters).T @ F.one_hot(labels)).amax(dim=1).sum()) / len(labels)


def with_labels(images: Tensor, labels: Tensor) -> Tensor:
    """Return `images` [N, 784] with `labels` written into their first ten pixels."""
    return torch.cat([5.0 * F.one_hot(labels, 10), images[:, 10:]], dim=1)


class ForwardForward(nn.Sequential):
    """Linear layers with ReLU, each of which is trained alone by its goodness G = mean a²."""

    def forward(self, a: Tensor) -> Tensor:
        """Return G − 2 [N, layers]."""
        goodness = []
        for layer in self:
            a = a / (a.square().mean(dim=1, keepdim=True) + 1e-8).sqrt()  # or the last G could be read from it
            a = layer(a.detach()).relu()  # detach: no gradient flows to the layer before
            goodness.append(a.square().mean(dim=1) - 2)
        return torch.stack(goodness, dim=1)


def draw(figure: Figure, rows: dict[str, Tensor], *curves: dict[str, list[float]]) -> None:
    """Draw rows of images, the purities of 10, 30 and 100 clusters, and the accuracies after each epoch."""
    pictures, *axes = figure.subplots(1, 3, width_ratios=(1.2, 1, 1))
    tiles = torch.stack([row[:7] for row in rows.values()]).reshape(-1, 7, 28, 28)
    pictures.imshow(tiles.transpose(1, 2).reshape(-1, 7 * 28).numpy(), cmap="Greys", vmin=0, vmax=1)
    pictures.set(title="Images of MNIST, and made ones", xticks=[])
    pictures.set_yticks(range(14, 28 * len(rows), 28), list(rows))
    for ax, named in zip(axes, curves, strict=True):
        for (name, percent), color in zip(named.items(), (BLUE, ORANGE), strict=True):
            ax.plot(range(1, len(percent) + 1), percent, "o-", color=color, label=name)
        ax.legend(fontsize=9, loc="lower right")
    axes[0].set(title="Purity: share of the main digit", xlabel="clusters", ylabel="purity in %", ylim=(0, 100))
    axes[0].set_xticks((1, 2, 3), ("10", "30", "100"))
    axes[1].set(title="Accuracy on test images", xlabel="epochs", ylabel="accuracy in %", ylim=(50, 100))


def run(experiment: Experiment, figure: Figure, *, x: int = 49, seed: int = 0) -> None:
    """A code has 784/`x` numbers."""
    torch.manual_seed(seed)
    check, size, epochs = experiment.check, 784 // x, 16 if experiment.quick else 10
    images, labels = mnist("train", 2000 if experiment.quick else 10_000)
    (tests, digits), options = mnist("test", 2000), {"epochs": epochs, "batch_size": len(images) // 100 + 30}
    encoder = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, size))
    decoder = nn.Sequential(nn.Linear(size, 128), nn.ReLU(), nn.Linear(128, 784), nn.Sigmoid())
    model = nn.Sequential(encoder, decoder)
    list(fit(model, nn.MSELoss(), torch.optim.Adam(model.parameters(), lr=0.003), images, images, **options))
    model.requires_grad_(False)
    mean, components = images.mean(dim=0), torch.linalg.eigh(torch.cov(images.T)).eigenvectors[:, -size:]  # PCA
    rows = {"image": tests, "PCA": mean + (tests - mean) @ components @ components.T, "autoencoder": model(tests)}
    ratio = F.mse_loss(rows["autoencoder"], tests) / F.mse_loss(rows["PCA"], tests)
    check(f"codes of {size} numbers: error on test images in parts of PCA's", ratio, "< 0.9")
    points = {"codes": encoder(images), "pixels": images}
    purities = {name: [purity(k_means(each, k)[1], labels) for k in (10, 30, 100)] for name, each in points.items()}
    check("10 clusters of codes: purity in %", purities["codes"][0], "> 40")
    check("10 random clusters: purity in %", purity(torch.randint(10, labels.shape), labels), "< 20")
    apart = abs(purities["codes"][2] - purities["pixels"][2])
    check("100 clusters of codes are as pure as of 784 pixels: difference in points", apart, "< 8")
    centres, nearest = k_means(points["codes"], 100)
    moves = (points["codes"] - centres[nearest])[torch.randperm(len(images))]  # as another code is from its centre
    rows |= {"centres": decoder(centres), "samples": decoder(centres[nearest] + moves)[:500]}
    noise = mean + images.std(dim=0) * torch.randn(500, 784)
    near = [float(torch.cdist(each, images).amin(dim=1).mean()) for each in (tests, rows["samples"], noise)]
    check("samples: distance to the nearest training image, in parts of a test image's", near[1] / near[0], "< 1.1")
    check("pixels drawn one by one: the same distance", near[2] / near[0], "> 1.4")
    right: dict[str, list[float]] = {"backpropagation": [], "forward-forward": []}
    model = nn.Sequential(nn.Linear(784, 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 10))
    for _ in fit(model, F.cross_entropy, torch.optim.Adam(model.parameters(), lr=0.003), images, labels, **options):
        right["backpropagation"].append(100 * float((model(tests).argmax(dim=1) == digits).float().mean()))
    model = ForwardForward(nn.Linear(784, 200), nn.Linear(200, 200))
    wrong, ones = (labels + torch.randint(1, 10, labels.shape)) % 10, torch.ones(len(labels), 2)
    pairs, signs = torch.cat([with_labels(images, each) for each in (labels, wrong)]), torch.cat([ones, -ones])
    for _ in fit(model, nn.SoftMarginLoss(), torch.optim.Adam(model.parameters(), lr=0.003), pairs, signs, **options):
        found = [model(with_labels(tests, torch.full_like(digits, label))).sum(dim=1) for label in range(10)]
        right["forward-forward"].append(100 * float((torch.stack(found).argmax(dim=0) == digits).float().mean()))
    back, forward = right.values()
    check("forward-forward learns: accuracy on test images in %", forward[-1], "> 75")
    check("backpropagation is better after as many epochs, by points", back[-1] - forward[-1], "> 1")
    check("it is as good after this part of the epochs", (1 + sum(p < forward[-1] for p in back)) / epochs, "<= 0.5")
    draw(figure, rows, purities, right)
