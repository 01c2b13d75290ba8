"""Trainings in trouble, as `train` tells of them: divergence, dead starts, accelerators without room or life."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mnist_trainer.config.load import load_config
from mnist_trainer.errors import DeviceError, DivergedError
from mnist_trainer.pipeline import train as train_module
from mnist_trainer.pipeline.train import train
from mnist_trainer.training import prepare as preparation

from .conftest import Remembering


class Breaking:
    """Cross-entropy that is not a number at these calls in training."""

    def __init__(self, *calls: int) -> None:
        self.calls, self.count = calls, 0

    def __call__(self, outputs: Tensor, labels: Tensor) -> Tensor:
        self.count += torch.is_grad_enabled()
        value = F.cross_entropy(outputs, labels)
        return value * torch.nan if torch.is_grad_enabled() and self.count in self.calls else value


def record_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text())  # type: ignore[no-any-return]


EVENT = "The loss became nan in epoch 2, step 3 of 5, at a learning rate of 0.1"
BACK = "Back to the start of epoch 2, with the learning rate × 0.5"
RESTORE = {"phase": "train", "epoch": 2, "step": 3, "factor": 0.5, "event": EVENT}


def test_going_back_is_told_logged_and_recorded(tiny: dict[str, Any], here: Path) -> None:
    callback = Remembering()
    config = {**tiny, "optimizer": {"name": "sgd", "lr": 0.1}}
    run = train(config, "training.on_divergence=restore", run_dir=here / "run", loss=Breaking(8), callback=callback)
    assert [record.epoch for record in run.records] == [1, 2]
    assert ("training.on_divergence", f"{EVENT}. {BACK}.") in callback.warnings
    assert f"restore: {EVENT}. {BACK}\n" in (here / "run" / "log.txt").read_text()
    assert record_of(here / "run")["restores"] == [RESTORE]
    assert record_of(here / "run")["status"] == "finished"
    rows = (here / "run" / "metrics.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["epoch", "1", "2"]


def test_the_fourth_time_ends_the_run(tiny: dict[str, Any], here: Path) -> None:
    config = {**tiny, "optimizer": {"name": "sgd", "lr": 0.1}}
    with pytest.raises(DivergedError, match="It was restored 3 times already"):
        train(config, "training.on_divergence=restore", run_dir=here / "run", loss=Breaking(8, 11, 14, 17))
    record = record_of(here / "run")
    assert (record["status"], record["best_epoch"]) == ("failed", 1)
    assert [back["factor"] for back in record["restores"]] == [0.5, 0.25, 0.125]
    assert (here / "run" / "best.pt").exists()


@pytest.mark.parametrize(("lr", "on_warning"), [(1e-12, ["training"]), (0.1, [])])
def test_a_dead_start_is_warned_of_once(tiny: dict[str, Any], lr: float, on_warning: list[str]) -> None:
    callback = Remembering()
    config = {**tiny, "optimizer": {"name": "sgd", "lr": lr, "momentum": 0.9}}
    train(config, "training.epochs=6", "data.limit=40", callback=callback)
    assert [path for path, _ in callback.warnings] == on_warning


def test_auto_is_a_number_in_everything_that_is_written(tiny: dict[str, Any], here: Path) -> None:
    callback = Remembering()
    run = train(tiny, "data.batch_size=auto", run_dir=here / "run", callback=callback)
    assert run.config == load_config(here / "run" / "config.yaml")
    assert run.config.data.batch_size == record_of(here / "run")["data"]["batch_size"] == 128
    assert callback.warnings == []


def test_a_simulated_accelerator_without_room_takes_fewer_images_in_both_fits(
    monkeypatch: pytest.MonkeyPatch, tiny: dict[str, Any], here: Path
) -> None:
    asked = []
    monkeypatch.setattr(preparation, "choose_batch_size", lambda state: asked.append(1) or 32)
    callback = Remembering()
    run = train(tiny, "data.batch_size=auto", "training.refit=true", run_dir=here / "run", callback=callback)
    assert load_config(here / "run" / "config.yaml").data.batch_size == run.config.data.batch_size == 32
    reason = "128 images do not fit into the memory of cpu; a step takes 32 (training.accumulate=4 makes up for it)"
    assert callback.warnings == [("data.batch_size", reason)]
    assert len(asked) == 1


def test_a_simulated_device_that_is_passed_over_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, tiny: dict[str, Any]
) -> None:
    monkeypatch.setattr(train_module, "skipped_device", lambda name: f"not {name}")
    callback = Remembering()
    train(tiny, callback=callback)
    assert callback.warnings == [("device", f"not {load_config(tiny).device}")]


def test_a_simulated_lost_accelerator_ends_the_run_with_a_paragraph(tiny: dict[str, Any], here: Path) -> None:
    def lost(outputs: Tensor, labels: Tensor) -> Tensor:
        raise torch.AcceleratorError("CUDA error: unspecified launch failure\nCompile with `TORCH_USE_CUDA_DSA`")

    with pytest.raises(DeviceError, match=r"failed at its work: CUDA error: unspecified launch failure\. What was"):
        train(tiny, run_dir=here / "run", loss=lost)
    record = record_of(here / "run")
    assert (record["status"], record["stop_reason"]) == ("failed", "AcceleratorError")
