"""pytorch/examples' MNIST, written again from its recipe: `python examples_mnist.py EPOCHS`; see lecture.py.

3×3 convolutions with 32 and 64 channels, ReLU, 2×2 max pooling, dropout 0.25, 128 units, dropout 0.5, log-softmax;
negative log-likelihood, Adadelta 1.0 × 0.7 an epoch, batch 64, tested after each epoch, which its seconds include.
"""

from __future__ import annotations

import json
import os
import sys
from time import perf_counter

import torch
from torch import nn
from torch.nn import functional
from torchvision import datasets, transforms

EPOCHS = int(sys.argv[1])
ROOT = os.environ["MNIST_TRAINER_DATA"]

transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
trainset = datasets.MNIST(ROOT, train=True, transform=transform)
testset = datasets.MNIST(ROOT, train=False, transform=transform)
trainloader = torch.utils.data.DataLoader(trainset, batch_size=64, shuffle=True)
testloader = torch.utils.data.DataLoader(testset, batch_size=1000, shuffle=True)

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
    """The share of test images that it reads right."""
    model.eval()
    return sum(int((model(images).argmax(dim=1) == labels).sum()) for images, labels in testloader) / len(testset)


seconds, accuracy = [], 0.0
for _ in range(EPOCHS):
    started = perf_counter()
    train()
    accuracy = test()
    schedule.step()
    seconds.append(perf_counter() - started)
print(json.dumps({"epoch_seconds": seconds, "test_accuracy": accuracy}))
