"""`mnist-eval --compare`: `mnist_trainer/pipeline/evaluate.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binomtest

from mnist_trainer import Run, train
from mnist_trainer.errors import CheckpointError, UsageError
from mnist_trainer.inference.metrics import Comparison
from mnist_trainer.pipeline.evaluate import compare, compare_with_first, run_evaluation
from mnist_trainer.storage.checkpoint import save_checkpoint


@pytest.fixture
def other(tiny: dict[str, Any], here: Path) -> Path:
    return train(tiny, run_dir=here / "other").folder


def test_images_are_counted_that_only_one_gets(digits_run: Run, other: Path) -> None:
    found = compare(digits_run.folder, other)
    first, second = (run_evaluation(run).predictions.correct.tolist() for run in (digits_run.folder, other))
    pairs = list(zip(first, second, strict=True))
    assert found.comparison.only_first == pairs.count((True, False)) > 0
    assert found.comparison.only_second == pairs.count((False, True))
    lone = found.comparison.only_first + found.comparison.only_second
    assert found.comparison.p == pytest.approx(binomtest(found.comparison.only_first, lone).pvalue)
    assert found.names == ("shared", "other")


def test_json_has_both_and_how_they_differ(digits_run: Run, other: Path) -> None:
    content = json.loads(json.dumps(compare(digits_run.folder, other, views=2).to_json()))
    assert list(content) == ["first", "second", "only_first", "only_second", "p", "dataset", "split", "views"]
    assert list(content["first"]) == ["path", "name", "accuracy", "errors", "count", "loss", "interval"]
    assert (content["split"], content["views"]) == ("test", 2)


def test_an_ensemble_can_be_compared_and_equal_names_are_paths(digits_run: Run, other: Path, here: Path) -> None:
    save_checkpoint(here / "both.pt", run_evaluation([digits_run.folder, other]).target.checkpoint)
    assert compare(here / "both.pt", other).names == ("both", "other")
    (here / "deeper" / "other").mkdir(parents=True)
    (here / "deeper" / "other" / "best.pt").write_bytes((other / "best.pt").read_bytes())
    same = compare(other, here / "deeper" / "other")
    assert same.names == (str(other / "best.pt"), str(here / "deeper" / "other" / "best.pt"))
    assert (same.comparison.only_first, same.comparison.only_second, same.comparison.p) == (0, 0, 1.0)


def test_what_cannot_be_compared_is_told(digits_run: Run, other: Path, tiny: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="is named twice"):
        compare(other, other)
    yes = train({**tiny, "data": {**tiny["data"], "binary": 7}}).folder
    with pytest.raises(CheckpointError, match="Only models with the same classes can be combined or compared"):
        compare(other, yes)
    with pytest.raises(CheckpointError, match="The models do not have the same validation images"):
        compare(digits_run.folder, other, split="validation")


def test_each_is_compared_with_the_first_and_what_cannot_be_is_an_error(
    digits_run: Run, other: Path, tiny: dict[str, Any]
) -> None:
    yes = train({**tiny, "data": {**tiny["data"], "binary": 7}}).folder
    found = compare_with_first([digits_run.folder, other, yes, "nowhere", digits_run.folder])
    assert found[0] == compare(digits_run.folder, other).comparison
    assert "Only models with the same classes" in str(found[1])
    assert str(found[2]).startswith("nowhere: there is no such file")
    assert found[3] == Comparison(0, 0, 1.0)
    lost = compare_with_first(["nowhere", other])
    assert isinstance(lost[0], CheckpointError)
