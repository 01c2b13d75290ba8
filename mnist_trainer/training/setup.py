"""What stays as it is while a model is trained: the config, the images, and how they are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from mnist_trainer.config.classes import with_labels
from mnist_trainer.config.objective import GradientDescent
from mnist_trainer.config.schema import Augment, Config
from mnist_trainer.data.image_dataset import ImageDataset
from mnist_trainer.data.normalize import Normalization
from mnist_trainer.inference.predictor import Reading
from mnist_trainer.training.schedules import Course


@dataclass(frozen=True)
class InitialWeights:
    """The trained weights that `model.init_from` names."""

    weights: Mapping[str, Tensor]
    normalization: Normalization | None = None
    """What they were trained with; None where that is not known."""
    lineage: tuple[Tensor, ...] = ()
    """As `Setup.lineage`, of the training that they are from and of those before it."""


Phase = Literal["train", "refit"]
"""`refit` is the second fit that `training.refit` asks for, on training and validation images together."""


@dataclass(frozen=True)
class Setup:
    """What stays as it is: the config, the images, and how they are read."""

    config: Config
    train: ImageDataset
    validation: ImageDataset | None
    classes: tuple[str, ...]
    reading: Reading
    device: torch.device
    frozen: tuple[nn.Module, ...] = ()
    threads: int | None = None
    """CPU threads of the loop; None: as many as torch uses."""
    num_loaded_tensors: int | None = None
    """How many tensors came from `model.init_from`."""
    phase: Phase = "train"
    simulated: tuple[int, int] = (0, 0)
    """How many of the images to train and to validate with are made from others, by `data.simulate`."""
    fingerprint: str | None = None
    """Of the images, see `data/identity.py`."""
    lineage: tuple[Tensor, ...] = ()
    """A sample of the images that train here, after one for each training before this one (`model.init_from`)."""

    @property
    def accumulation_steps(self) -> int:
        """Batches whose gradients make one step: all of them for gradient descent."""
        if isinstance(self.config.optimizer, GradientDescent):
            return self._batches
        return self.config.training.accumulate

    def augment_for(self, epoch: int) -> Augment | None:
        """How images are deformed in `epoch` (from 0), if at all: `clean_last` epochs see them as they are."""
        augment = with_labels(self.config, self.classes).data.augment
        return None if augment is None or epoch >= self.config.training.epochs - augment.clean_last else augment

    @property
    def counts(self) -> tuple[int, int]:
        """How many images of the data set train, and how many validate."""
        train, validation = self.simulated
        return len(self.train) - train, len(self.validation or ()) - validation

    @property
    def course(self) -> Course:
        """Steps and epochs in all."""
        return Course(-(-self._batches // self.accumulation_steps), self.config.training.epochs)

    @property
    def _batches(self) -> int:
        return -(-len(self.train) // self.config.data.batch)
