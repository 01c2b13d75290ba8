"""The MNIST example of pytorch/examples, written anew: `python examples_mnist.py EPOCHS`; see lecture.py.

3×3 convolutions with 32 and 64 channels, ReLU, 2×2 max pooling, dropout 0.25, 128 units, dropout 0.5, log-softmax;
negative log-likelihood, Adadelta with 1.0 · 0.7^epoch, batches of 64. The seconds of an epoch include its test.
"""

from __future__ import annotations

import json
import sys
from time import perf_counter

import torch
from torch import nn
from torch.nn import functional
from torchvision_mnist import loaders

EPOCHS = int(sys.argv[1])
trainloader, testloader = loaders(64, 1000)

model = nn.Sequential(
    nn.Conv2d(1, 32, 3),
    nn.ReLU(),
    nn.Conv2d(32, 64, 3),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Dropout(0.25),
    nn.Flatten(),
    nn.Linear(9216, 128),
    nn.ReLU(),
    nn.Dropout(0.5),
    nn.Linear(128, 10),
    nn.LogSoftmax(dim=1),
)
optimizer = torch.optim.Adadelta(model.parameters(), lr=1.0)
schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)


def train() -> None:
    model.train()
    for images, labels in trainloader:
        optimizer.zero_grad()
        loss = functional.nll_loss(model(images), labels)
        loss.backward()
        optimizer.step()


@torch.no_grad()
def test() -> float:
    """Return the accuracy on the test images."""
    model.eval()
    return sum(int((model(images).argmax(dim=1) == labels).sum()) for images, labels in testloader) / 10_000


seconds, accuracy = [], 0.0
for _ in range(EPOCHS):
    started = perf_counter()
    train()
    accuracy = test()
    schedule.step()
    seconds.append(perf_counter() - started)
print(json.dumps({"epoch_seconds": seconds, "test_accuracy": accuracy}))
