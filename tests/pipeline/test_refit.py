"""`training.refit`: the second fit is the run of a config of its own, to the bit, and chooses nothing."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mnist_trainer import Config, evaluate, load_config, train
from mnist_trainer.errors import DataError, InterruptedRunError
from mnist_trainer.pipeline.preparation import refit_config
from mnist_trainer.storage.checkpoint import load_checkpoint

from .conftest import TINY, Remembering

AUGMENT = {"rotate": 10, "elastic": {"alpha": 30}, "clean_last": 2}


def config(**training: Any) -> Config:
    """Five epochs whose best is hardly the last: the rate is too large."""
    sections = {
        **TINY,
        "data": {**TINY["data"], "augment": AUGMENT},
        "optimizer": {"name": "adam", "lr": 0.05},
        "schedule": "one_cycle",
        "training": {"epochs": 5, "refit": True, **training},
    }
    return load_config(sections)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_second_fit_equals_a_run_of_its_own_config_bit_for_bit(tmp_path: Path) -> None:
    run = train(config(), run_dir=tmp_path / "both")
    alone = train(refit_config(config(), run.best_epoch), run_dir=tmp_path / "alone")
    ours, theirs = run.model.state_dict(), alone.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert run.test == alone.test
    saved = load_checkpoint(tmp_path / "both" / "best.pt").weights
    assert all(torch.equal(saved[name], theirs[name]) for name in theirs)
    again = [row | {"phase": "train"} for row in rows(tmp_path / "both") if row["phase"] == "refit"]
    timeless = [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in again]
    lone = [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in rows(alone.folder)]
    assert timeless == lone


def test_the_first_fit_is_as_if_there_were_no_second(tmp_path: Path) -> None:
    run = train(config(), run_dir=tmp_path / "both")
    first = train(config(refit=False), run_dir=tmp_path / "first")
    assert run.best_epoch == first.best_epoch
    assert run.validation == first.validation
    figures = [(record.val_loss, record.train_loss) for record in run.records if record.phase == "train"]
    assert figures == [(record.val_loss, record.train_loss) for record in first.records]
    assert sum(record.phase == "refit" for record in run.records) == first.best_epoch
    assert not any(record.best for record in run.records if record.phase == "refit")


def test_the_folder_tells_both_fits(tmp_path: Path) -> None:
    callback = Remembering()
    run = train(config(), run_dir=tmp_path / "run", callback=callback)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["epochs"] == 5
    assert record["best_epoch"] == run.best_epoch
    assert record["refit"] == {"epochs": run.best_epoch, "train_count": 200}
    assert record["data"]["train_count"] == 160
    assert record["validation"]["count"] == 40
    assert f"refitting {run.best_epoch} on 200" in callback.told
    assert load_config(tmp_path / "run" / "config.yaml") == config()


def test_the_last_epoch_is_kept_on_request_and_the_second_fit_is_as_long(tmp_path: Path) -> None:
    rough = ("schedule=constant", "optimizer.lr=0.2")
    best = train(config(refit=False), *rough, run_dir=tmp_path / "best")
    last = train(config(refit=False, keep="last"), *rough, run_dir=tmp_path / "last")
    assert best.best_epoch < last.best_epoch == 5
    assert [record.best for record in last.records] == [record.best for record in best.records]
    assert (repr(best).split("\n")[2], repr(last).split("\n")[2]) == (f"{best.epoch_text} of 5", "last epoch 5 of 5")
    saved = load_checkpoint(tmp_path / "last" / "last.pt")
    assert saved.training_state is not None
    for name, weight in saved.training_state["model"].items():
        assert torch.equal(load_checkpoint(tmp_path / "last" / "best.pt").weights[name], weight)
        assert torch.equal(last.model.state_dict()[name], weight)
    assert json.loads((tmp_path / "last" / "run.json").read_text())["best_epoch"] == 5
    assert last.validation is not None
    assert last.validation.accuracy == last.records[-1].val_accuracy
    again = train(config(keep="last"), *rough, run_dir=tmp_path / "refit")
    assert json.loads((tmp_path / "refit" / "run.json").read_text())["refit"] == {"epochs": 5, "train_count": 200}
    assert again.validation == last.validation


def test_a_refitted_model_has_no_validation_images(tmp_path: Path) -> None:
    run = train(config(), run_dir=tmp_path / "run")
    assert evaluate(run.folder) == run.test
    with pytest.raises(DataError, match="There are no validation images"):
        evaluate(run.folder, split="validation")


def test_stopped_in_the_second_fit_the_first_ones_best_is_kept(tmp_path: Path) -> None:
    first = train(config(refit=False), run_dir=tmp_path / "first")
    steps = 5 * 5 + 3  # five batches an epoch
    with pytest.raises(InterruptedRunError):
        train(config(), run_dir=tmp_path / "run", callback=Remembering(stop_after=steps))
    saved = load_checkpoint(tmp_path / "run" / "best.pt")
    wanted = first.model.state_dict()
    assert all(torch.equal(saved.weights[name], wanted[name]) for name in wanted)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["status"], record["epochs"], record["best_epoch"]) == ("interrupted", 5, first.best_epoch)
    assert first.validation is not None
    assert record["validation"]["errors"] == first.validation.errors
    last = load_checkpoint(tmp_path / "run" / "last.pt")
    assert last.training_state is not None
    assert last.training_state["phase"] == "refit"


def test_a_model_of_ones_own_begins_the_second_fit_as_it_was(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    start = {name: value.clone() for name, value in model.state_dict().items()}
    run = train(config(), run_dir=tmp_path / "run", model=model)
    fresh = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    fresh.load_state_dict(start)
    alone = train(refit_config(config(), run.best_epoch), run_dir=tmp_path / "alone", model=fresh)
    assert torch.equal(run.model[1].weight, alone.model[1].weight)  # type: ignore[index]


def test_clean_epochs_leave_one_to_augment_however_early_the_best_was() -> None:
    augment = refit_config(config(), 1).data.augment
    assert augment is not None
    assert augment.clean_last == 0
    assert load_config(refit_config(config(), 1).model_dump(mode="json"))


def test_a_folder_with_validation_images_of_its_own_is_refitted_on_both(
    tmp_path: Path, pictures: Callable[[Path, dict[str, int]], None]
) -> None:
    for part in ("train", "val", "test"):
        pictures(tmp_path / "folder" / part, {"two": 2, "seven": 7})
    sections = {**TINY, "data": {"name": "folder", "path": str(tmp_path / "folder"), "batch_size": 8}}
    run = train({**sections, "training": {"epochs": 2, "refit": True}}, run_dir=tmp_path / "run")
    record = json.loads((run.folder / "run.json").read_text())
    assert (record["data"]["train_count"], record["data"]["validation_count"]) == (30, 30)
    assert record["refit"]["train_count"] == 60
