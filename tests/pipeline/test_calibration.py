"""`mnist-eval --calibrate`: `mnist_trainer/pipeline/evaluate.py`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mnist_trainer import Run, evaluate, train
from mnist_trainer.errors import CheckpointError, DataError
from mnist_trainer.inference.metrics import fit_temperature
from mnist_trainer.pipeline.evaluate import CalibrationResult, calibrate, run_evaluation
from mnist_trainer.storage.checkpoint import load_checkpoint, save_checkpoint


def saved(done: CalibrationResult, path: Path) -> Path:
    save_checkpoint(path, done.checkpoint)
    return path


def test_the_copy_has_the_temperature_that_validation_asks_for(digits_run: Run, here: Path) -> None:
    done = calibrate(digits_run.folder)
    known = run_evaluation(digits_run.folder, split="validation").predictions
    assert done.temperature == pytest.approx(fit_temperature(known.probabilities.log(), known.labels))
    assert load_checkpoint(saved(done, here / "calm.pt")).spec.temperature == done.temperature != 1
    assert list(done.before) == list(done.after) == ["validation", "test"]
    old, new = done.calibration_metrics()["validation"]
    assert new.loss < old.loss


def test_what_is_told_is_what_the_copy_gives(digits_run: Run, here: Path) -> None:
    done = calibrate(digits_run.folder)
    copy = evaluate(saved(done, here / "calm.pt"))
    assert done.after["test"].evaluation == copy
    assert (copy.loss, copy.ece) == (
        done.calibration_metrics()["test"][1].loss,
        done.calibration_metrics()["test"][1].ece,
    )
    assert copy.confusion == digits_run.test.confusion  # no answer changes
    assert calibrate(here / "calm.pt").temperature == done.temperature


def test_what_gets_worse_is_named(digits_run: Run) -> None:
    done = calibrate(digits_run.folder)
    told = done.to_json()
    assert "loss" not in told["validation"]["worse"]
    swapped = replace(done, before=done.after, after=done.before).to_json()
    for split in ("validation", "test"):
        old, new = told[split]["before"], told[split]["after"]
        assert told[split]["worse"] == [key for key in ("loss", "ece") if new[key] > old[key] + 1e-6]
        assert swapped[split]["worse"] == [key for key in ("loss", "ece") if old[key] > new[key] + 1e-6]


def test_an_ensemble_gets_a_temperature_of_its_own(digits_run: Run, tiny: dict[str, Any], here: Path) -> None:
    other = train({**tiny, "data": {"name": "digits", "batch_size": 64, "validation": 100}}).folder
    done = calibrate([digits_run.folder, other], split="validation")
    whole = load_checkpoint(saved(done, here / "both.pt"))
    assert whole.temperature == done.temperature != 1
    assert [member.spec.temperature for member in whole.members] == [1.0, 1.0]
    assert list(done.before) == ["validation"]
    old, new = done.calibration_metrics()["validation"]
    assert new.loss < old.loss
    known = done.before["validation"].predictions
    assert done.temperature == pytest.approx(fit_temperature(known.probabilities.log(), known.labels))
    assert calibrate(here / "both.pt").temperature == done.temperature
    before, after = known, run_evaluation(here / "both.pt", split="validation").predictions
    powers = before.probabilities ** (1 / done.temperature)
    assert torch.allclose(after.probabilities, powers / powers.sum(dim=1, keepdim=True), atol=1e-9)


def test_however_sure_a_model_is_the_temperature_is_that_of_its_outputs(digits_run: Run, here: Path) -> None:
    whole = load_checkpoint(digits_run.folder / "best.pt")
    last = list(whole.weights)[-2:]
    louder = {name: weight * (500 if name in last else 1) for name, weight in whole.weights.items()}
    save_checkpoint(here / "sure.pt", replace(whole, members=(replace(whole.only, weights=louder),)))
    done = calibrate(here / "sure.pt", split="validation")
    assert done.temperature == pytest.approx(500 * calibrate(digits_run.folder).temperature, rel=1e-3)
    assert calibrate(saved(done, here / "calm.pt")).temperature == done.temperature


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ("loss=mse", CheckpointError, "are not probabilities .*, so they can't be calibrated"),
        ("data.validation=0", DataError, "There are no validation images"),
        ("training.refit=true", DataError, r"There are no validation images: .*training\.refit"),
    ],
)
def test_what_has_no_temperature_is_told(tiny: dict[str, Any], change: str, error: type[Exception], match: str) -> None:
    run = train(tiny, change).folder
    with pytest.raises(error, match=match):
        calibrate(run)
