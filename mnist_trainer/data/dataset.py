"""What every data set becomes, whatever its files look like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from mnist_trainer.data.mapped import Images

Part = Literal["train", "validation", "test"]
"""`validation` exists only where a data set brings its own (a folder with `val/`); else it is split from `train`."""

Split = Part | Literal["test50k"]
"""What can be evaluated on: `test50k` is QMNIST's second half, digits that MNIST never had."""


@dataclass(frozen=True, eq=False)
class LabeledImages:
    """One part of a data set, in the order of its files."""

    images: Images
    """uint8 [N, 28, 28], bright ink on black; `MappedImages` where they are too many for the memory."""
    labels: Tensor
    """int64 [N], positions in `classes`."""
    classes: tuple[str, ...]
