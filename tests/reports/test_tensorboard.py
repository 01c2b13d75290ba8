from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mnist_trainer.errors import UsageError
from mnist_trainer.reports import run_writer
from mnist_trainer.reports.run_writer import add_curves, require_tensorboard
from mnist_trainer.training.loop import EpochRecord

NEEDED = "report.tensorboard needs TensorBoard: pip install tensorboard (the extra [tensorboard])."


def test_without_the_extra_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_writer, "find_spec", lambda name: None)
    with pytest.raises(UsageError) as caught:
        require_tensorboard()
    assert str(caught.value) == NEEDED


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_curves_are_written_with_a_point_an_epoch(tmp_path: Path, record: EpochRecord) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator").EventAccumulator
    writer = pytest.importorskip("torch.utils.tensorboard").SummaryWriter(str(tmp_path))
    add_curves(writer, record)
    add_curves(writer, replace(record, epoch=4, val_loss=None, val_accuracy=None, train_loss=0.5, terms={}))
    writer.close()

    events = accumulator(str(tmp_path))
    events.Reload()
    points = {name: [(event.step, event.value) for event in events.Scalars(name)] for name in events.Tags()["scalars"]}
    curves = {"train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr", "gradient_norm"}
    assert points.keys() == curves | {"terms/cross_entropy", "terms/penalties"}
    assert points["train_loss"] == [(3, pytest.approx(0.12344)), (4, 0.5)]
    assert points["val_accuracy"] == [(3, pytest.approx(0.974))]
    assert points["gradient_norm"] == [(3, 1.25), (4, 1.25)]
    assert points["terms/penalties"] == [(3, pytest.approx(0.02344))]
