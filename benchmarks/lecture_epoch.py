"""Times an epoch of the lecture's network (784-64-64-64-10, Adam 0.003, batch 256) in this trainer and in the lecture's
own loop over torchvision's data set, alternating in one process, and prints the medians and their ratio.

The lecture's loop trains on 60,000 images; this trainer on 55,000, and its epoch includes validation on 5,000.
"""

from __future__ import annotations

import os
import statistics
from time import perf_counter

import torch
from torch import nn
from torchvision import datasets, transforms

from mnist_trainer import fit, prepare

ROUNDS = 5


def lecture_epoch() -> float:
    """Seconds of one epoch as the lecture writes it."""
    steps = [transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))]
    images = datasets.MNIST(os.environ["MNIST_TRAINER_DATA"], train=True, transform=transforms.Compose(steps))
    trainloader = torch.utils.data.DataLoader(images, batch_size=256, shuffle=True)
    layers = [nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(64, 10))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    running_loss = 0.0
    started = perf_counter()
    for pictures, labels in trainloader:
        prediction = model(pictures)
        loss = criterion(prediction, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        running_loss += loss.item()
    return perf_counter() - started


def our_epoch() -> float:
    """Seconds of one epoch here, validation included."""
    (record,) = fit(prepare("lecture", "training.epochs=1"))
    return record.seconds


def main() -> None:
    lecture_epoch(), our_epoch()  # warm up
    pairs = [(lecture_epoch(), our_epoch()) for _ in range(ROUNDS)]
    lecture, ours = (statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = statistics.median(theirs / mine for theirs, mine in pairs)
    print("| lecture's loop, s | this trainer, s | ratio, median of pairs |")
    print("|---|---|---|")
    print(f"| {lecture:.2f} | {ours:.2f} | {ratio:.1f} |")


if __name__ == "__main__":
    main()
