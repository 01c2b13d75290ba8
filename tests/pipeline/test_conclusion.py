"""How a training ends: tested once, or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mnist_trainer import evaluate, resume, train
from mnist_trainer.config.checks import find_warnings
from mnist_trainer.config.load import load_config
from mnist_trainer.reports.console import run_lines
from mnist_trainer.studies.run_summary import read_run
from mnist_trainer.studies.seed_series import train_seeds

from .conftest import Remembering

UNTESTED = "report.test=false"


@pytest.fixture
def _no_test_images(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> None:
        raise AssertionError("the test images were loaded")

    monkeypatch.setattr("mnist_trainer.pipeline.train.load_test", fail)


def record_of(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return record


@pytest.mark.usefixtures("_no_test_images")
@pytest.mark.parametrize("refit", ["false", "true"])
def test_a_training_without_a_test_is_judged_by_validation(refit: str, tiny: dict[str, Any], here: Path) -> None:
    callback = Remembering()
    pictures = ("report.plots=true", "report.gallery=true")
    run = train(tiny, UNTESTED, *pictures, f"training.refit={refit}", run_dir=here / "run", callback=callback)
    assert run.test is None
    assert run.validation is not None
    record = record_of(here / "run")
    assert (record["status"], record["test"]) == ("finished", None)
    assert record["validation"]["accuracy"] == run.validation.accuracy
    result = run_lines(callback.outcomes[0])[-1]
    assert result.startswith("run: validation accuracy ")
    assert result.endswith(" %); not tested")
    assert {path.name for path in (here / "run" / "plots").iterdir()} >= {"curves.png", "confusion.png", "mistakes.png"}
    summary = read_run(here / "run")
    assert (summary.test_accuracy, summary.val_accuracy) == (None, run.validation.accuracy)
    assert summary.problems == ()


def test_it_is_tested_later(tiny: dict[str, Any], here: Path) -> None:
    train(tiny, UNTESTED, run_dir=here / "run")
    whole = train(tiny, run_dir=here / "whole")
    assert evaluate(here / "run") == whole.test
    assert (run := resume(here / "run", "report.test=true")) is not None
    assert run.test == whole.test
    assert record_of(here / "run")["test"] == record_of(here / "whole")["test"]


@pytest.mark.usefixtures("_no_test_images")
def test_without_validation_and_test_there_is_no_figure(tiny: dict[str, Any], here: Path) -> None:
    callback = Remembering()
    pictures = ("report.plots=true", "report.gallery=true")
    run = train(tiny, UNTESTED, *pictures, "data.validation=0", run_dir=here / "run", callback=callback)
    assert (run.test, run.validation) == (None, None)
    assert run_lines(callback.outcomes[0])[-1] == "run: not tested"
    assert [key for key, _ in callback.warnings] == ["report.test"]
    assert find_warnings(load_config(tiny, [UNTESTED])) == []
    assert {path.name for path in (here / "run" / "plots").iterdir()} == {"curves.png", "weights.png"}


@pytest.mark.slow
@pytest.mark.usefixtures("_no_test_images")
def test_a_series_without_tests_is_compared_by_validation(tiny: dict[str, Any], here: Path) -> None:
    series = train_seeds(tiny, [0, 1], UNTESTED, "report.plots=true", run_dir=here / "many")
    assert series.failures == {}
    assert set(series.summary) == {"validation", "timings"}
    record = record_of(here / "many")
    assert (record["status"], record["test"]) == ("finished", None)
    assert (here / "many" / "plots" / "seeds.png").exists()
    assert read_run(here / "many").val_accuracy == series.summary["validation"]["accuracy"].mean
    nothing = train_seeds(tiny, [0, 1], UNTESTED, "data.validation=0", run_dir=here / "nothing")
    assert nothing.failures == {}
    assert set(nothing.summary) == {"timings"}
