"""`mnist-eval --calibrate`: `mnist_trainer/pipeline/calibration.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mnist_trainer import Run, evaluate, train
from mnist_trainer.errors import CheckpointError, DataError, UsageError
from mnist_trainer.inference.calibration import fit_temperature
from mnist_trainer.pipeline.calibration import calibrate
from mnist_trainer.pipeline.evaluation import judge
from mnist_trainer.storage.checkpoint import load_checkpoint


def test_the_copy_has_the_temperature_that_validation_asks_for(digits_run: Run, here: Path) -> None:
    done = calibrate(digits_run.folder, out=here / "calm.pt")
    known = judge(digits_run.folder, split="validation").answers
    assert done.temperature == pytest.approx(fit_temperature(known.probabilities.log(), known.labels))
    assert load_checkpoint(here / "calm.pt").reading.temperature == done.temperature != 1
    assert list(done.before) == list(done.after) == ["validation", "test"]
    old, new = done.sureness()["validation"]
    assert new.loss < old.loss


def test_what_is_told_is_what_the_copy_gives(digits_run: Run, here: Path) -> None:
    done = calibrate(digits_run.folder, out=here / "calm.pt")
    copy = evaluate(here / "calm.pt")
    assert done.after["test"].evaluation == copy
    assert (copy.loss, copy.ece) == (done.sureness()["test"][1].loss, done.sureness()["test"][1].ece)
    assert copy.confusion == digits_run.test.confusion  # no answer changes
    again = calibrate(here / "calm.pt", out=here / "again.pt")
    assert again.temperature == pytest.approx(done.temperature, rel=1e-4)


def test_an_ensemble_gets_a_temperature_of_its_own(digits_run: Run, tiny: dict[str, Any], here: Path) -> None:
    other = train({**tiny, "data": {"name": "digits", "batch_size": 64, "validation": 100}}).folder
    done = calibrate([digits_run.folder, other], out=here / "both.pt", split="validation")
    saved = load_checkpoint(here / "both.pt")
    assert saved.temperature == done.temperature != 1
    assert [member.reading.temperature for member in saved.members] == [1.0, 1.0]
    assert list(done.before) == ["validation"]
    old, new = done.sureness()["validation"]
    assert new.loss < old.loss
    known = done.before["validation"].answers
    assert done.temperature == pytest.approx(fit_temperature(known.probabilities.log(), known.labels))
    assert calibrate(here / "both.pt", out=here / "again.pt").temperature == pytest.approx(done.temperature, rel=1e-4)
    before, after = known, judge(here / "both.pt", split="validation").answers
    powers = before.probabilities ** (1 / done.temperature)
    assert torch.allclose(after.probabilities, powers / powers.sum(dim=1, keepdim=True), atol=1e-9)


def test_what_is_judged_is_never_overwritten(digits_run: Run) -> None:
    best = digits_run.folder / "best.pt"
    before = best.read_bytes()
    with pytest.raises(UsageError, match=r"best\.pt is what is judged, and stays as it is"):
        calibrate(digits_run.folder, out=best)
    assert best.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ("loss=mse", CheckpointError, "are no probabilities .*, so no temperature"),
        ("data.validation=0", DataError, "There are no validation images"),
        ("training.refit=true", DataError, "There are no validation images"),
    ],
)
def test_what_has_no_temperature_is_told(
    tiny: dict[str, Any], here: Path, change: str, error: type[Exception], match: str
) -> None:
    run = train(tiny, change).folder
    with pytest.raises(error, match=match):
        calibrate(run, out=here / "calm.pt")
    assert not (here / "calm.pt").exists()
