"""From pictures to digits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from numpy import uint8
from numpy.typing import NDArray
from torch import nn

from mnist_trainer.errors import DataError
from mnist_trainer.inference.prediction import Prediction, predict_digits, unreadable
from mnist_trainer.pictures.digits import digits_of, read_digits
from mnist_trainer.storage.checkpoint import load_checkpoint
from mnist_trainer.storage.run_folder import find_checkpoint

if TYPE_CHECKING:
    from PIL.Image import Image

    Picture = str | Path | Image | NDArray[uint8]


def predict(
    images: Picture | Sequence[Picture], checkpoint: str | Path = "latest", *, model: nn.Module | None = None
) -> list[Prediction]:
    """What a model reads in each picture: files, Pillow images, or arrays [h, w] (grey) and [h, w, 3] (RGB) of uint8.

    `checkpoint` is a `.pt` file, a run folder, or `latest`, the newest finished run under `runs/`. A picture that can't
    be read has its reason in `error`; the others are read all the same. Raises `CheckpointError`.
    """
    loaded = load_checkpoint(find_checkpoint(str(checkpoint)))
    predictor = loaded.predictor(torch.device("cpu"), model)  # a few images are read before a GPU has started
    predictions = []
    pictures: Sequence[Picture] = [images] if isinstance(images, str) or not isinstance(images, Sequence) else images
    for picture in pictures:
        path = str(picture) if isinstance(picture, str | Path) else None
        try:
            digits = read_digits(Path(picture)) if isinstance(picture, str | Path) else digits_of(picture)
        except DataError as error:
            predictions.append(unreadable(path, str(error)))
        else:
            predictions.append(predict_digits(predictor, digits, loaded.classes, path))
    return predictions
