"""Figures for TensorBoard, if `report.tensorboard` asks for them and the extra is installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mnist_trainer.errors import UsageError
from mnist_trainer.training.loop import EpochRecord

TENSORBOARD_CURVES = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr")


class TensorBoardWriter:
    """Event files below `folder`, for `tensorboard --logdir runs`. Raises `UsageError` without the extra.

    Points from `purge_step` on that an earlier session left there are not shown any more.
    """

    def __init__(self, folder: Path, purge_step: int = 1) -> None:
        require_tensorboard()
        from torch.utils.tensorboard import SummaryWriter

        self.writer: Any = SummaryWriter(str(folder), purge_step=purge_step)

    def add(self, record: EpochRecord) -> None:
        """A point in each curve."""
        values = {name: getattr(record, name) for name in TENSORBOARD_CURVES}
        values.update({f"terms/{name}": value for name, value in record.terms.items()})
        for name, value in values.items():
            if value is not None:
                self.writer.add_scalar(name, value, record.epoch)

    def close(self) -> None:
        """Flushes what is left."""
        self.writer.close()


def require_tensorboard() -> None:
    """Raises `UsageError` if TensorBoard is not installed."""
    if find_spec("tensorboard") is None:
        raise UsageError("report.tensorboard needs TensorBoard: pip install tensorboard (the extra [tensorboard]).")
