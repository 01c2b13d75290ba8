"""The lecture's own program: 784-64-64-64-10, Adam 0.003, batch 256, over torchvision's data set.

    python lecture.py EPOCHS

All programs in this folder print one line of JSON at their end: seconds of each epoch, accuracy on the test images.
"""

from __future__ import annotations

import json
import os
import sys
from time import perf_counter

import torch
from torch import nn, optim
from torchvision import datasets, transforms

EPOCHS = int(sys.argv[1])
ROOT = os.environ["MNIST_TRAINER_DATA"]

transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
trainset = datasets.MNIST(ROOT, train=True, transform=transform)
testset = datasets.MNIST(ROOT, train=False, transform=transform)
trainloader = torch.utils.data.DataLoader(trainset, batch_size=256, shuffle=True)
testloader = torch.utils.data.DataLoader(testset, batch_size=256)

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

right = 0
with torch.no_grad():
    for images, labels in testloader:
        right += int((model(images).argmax(dim=1) == labels).sum())
print(json.dumps({"epoch_seconds": seconds, "test_accuracy": right / len(testset)}))
