"""`data.batch_size: auto`: 128 images a step, or as many as the memory of the accelerator takes."""

from __future__ import annotations

from copy import deepcopy

import torch

from mnist_trainer.config.schema import AUTO_BATCH
from mnist_trainer.model.failures import is_out_of_memory
from mnist_trainer.training.state import TrainingState


def choose_batch_size(state: TrainingState) -> int:
    """Halves `AUTO_BATCH` until a step of so many images fits. A CPU's memory is not tried: it takes all of them."""
    size = AUTO_BATCH
    while state.setup.device.type != "cpu" and size > 1 and not step_fits(state, size):
        size //= 2
        torch.accelerator.empty_cache()
    return size


def step_fits(state: TrainingState, size: int) -> bool:
    """Whether the memory is enough for a step of `size` images, taken with a copy that is thrown away."""
    try:
        trial = deepcopy(state, {id(state.setup): state.setup})  # the images are shared
        images, labels = state.setup.train.gather(torch.arange(min(size, len(state.setup.train))))
        trial.train_mode()
        trial.seed_dropout()
        trial.stepper.zero_grad()
        trial.stepper.backward(trial.loss(trial.forward(images), labels))
        trial.stepper.step()
        trial.stepper.is_finite()  # waits, so that what is wrong is known here
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True
