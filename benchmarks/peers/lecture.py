"""The training loop of the lecture: 784-64-64-64-10, Adam with 0.003, batches of 256, torchvision's data set.

    python lecture.py EPOCHS

All programs in this folder end by printing one line of JSON: the seconds of each epoch, and the test accuracy.
"""

from __future__ import annotations

import json
import sys
from time import perf_counter

import torch
from torch import nn, optim
from torchvision_mnist import loaders

EPOCHS = int(sys.argv[1])
trainloader, testloader = loaders(256, 256)

layers = [nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU()]
model = nn.Sequential(*layers, nn.Linear(64, 10))
criterion = nn.CrossEntropyLoss()
optimizer = optim.Adam(model.parameters(), lr=0.003)

seconds = []
for _ in range(EPOCHS):
    started = perf_counter()
    running_loss = 0.0
    for images, labels in trainloader:
        prediction = model(images)
        loss = criterion(prediction, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        running_loss += loss.item()
    seconds.append(perf_counter() - started)

correct = 0
with torch.no_grad():
    for images, labels in testloader:
        correct += int((model(images).argmax(dim=1) == labels).sum())
print(json.dumps({"epoch_seconds": seconds, "test_accuracy": correct / 10_000}))
