"""The lecture's network in Lightning: `python lightning_lecture.py EPOCHS`; see lecture.py."""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import warnings
from time import perf_counter

import lightning
import torch
from torch import Tensor, nn
from torchvision import datasets, transforms

EPOCHS = int(sys.argv[1])
ROOT = os.environ["MNIST_TRAINER_DATA"]
warnings.filterwarnings("ignore")  # it would have more worker processes, and says so
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Lecture(lightning.LightningModule):
    """784-64-64-64-10."""

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64)]
        self.model = nn.Sequential(*layers, nn.ReLU(), nn.Linear(64, 10))
        self.criterion = nn.CrossEntropyLoss()
        self.seconds: list[float] = []

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        images, labels = batch
        loss: Tensor = self.criterion(self.model(images), labels)
        return loss

    def on_train_epoch_start(self) -> None:
        self.started = perf_counter()

    def on_train_epoch_end(self) -> None:
        self.seconds.append(perf_counter() - self.started)

    def test_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        images, labels = batch
        right = (self.model(images).argmax(dim=1) == labels).float().mean()
        self.log("accuracy", right, batch_size=len(labels), on_epoch=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.003)


transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
trainset = datasets.MNIST(ROOT, train=True, transform=transform)
testset = datasets.MNIST(ROOT, train=False, transform=transform)
with tempfile.TemporaryDirectory() as folder:
    trainer = lightning.Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    model = Lecture()
    trainer.fit(model, torch.utils.data.DataLoader(trainset, batch_size=256, shuffle=True))
    (figures,) = trainer.test(model, torch.utils.data.DataLoader(testset, batch_size=256), verbose=False)
print(json.dumps({"epoch_seconds": model.seconds, "test_accuracy": figures["accuracy"]}))
