"""A CSV file and an `.npz` file are data sets like others, from the check to the evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnist_trainer import Run, evaluate, load_config, resume, train
from mnist_trainer.data.digits import load_digits
from mnist_trainer.data.loaders import load_real
from mnist_trainer.errors import DataError, InterruptedRunError
from mnist_trainer.pipeline.plan import plan

from .conftest import Remembering


@pytest.fixture
def table(here: Path) -> Path:
    """300 digits as Kaggle gives them."""
    digits = load_digits("train")
    rows = np.column_stack((digits.labels[:300], digits.images[:300].reshape(-1, 784)))
    header = ",".join(("label", *(f"pixel{number}" for number in range(784))))
    np.savetxt(here / "train.csv", rows, "%d", ",", header=header, comments="")
    return here / "train.csv"


def on_a_table(tiny: dict[str, Any], path: Path, **keys: Any) -> dict[str, Any]:
    return {**tiny, "data": {"name": "folder", "path": str(path), "batch_size": 32, **keys}}


@pytest.mark.parametrize("keys", [{}, {"binary": 7, "validation": 20}, {"limit": 9, "validation": 0.1}])
def test_a_csv_trains_and_tests(keys: dict[str, Any], tiny: dict[str, Any], table: Path) -> None:
    sections = on_a_table(tiny, table, **keys)
    assert plan(load_config(sections)).footprint.parameters > 0
    run = train(sections)
    assert 30 < run.test.count < 90
    assert evaluate(run.folder) == run.test
    assert evaluate(run.folder, split="validation") == run.validation


def test_an_npz_trains_and_tests(tiny: dict[str, Any], here: Path) -> None:
    train_digits, test_digits = load_digits("train"), load_digits("test")
    np.savez_compressed(
        here / "mnist.npz",
        x_train=train_digits.images.numpy(),
        y_train=train_digits.labels.numpy(),
        x_test=test_digits.images.numpy(),
        y_test=test_digits.labels.numpy(),
    )
    run = train(on_a_table(tiny, here / "mnist.npz", limit=20, validation=40))
    assert run.test == replace(train(tiny).test, dataset="folder")


def test_a_training_on_a_csv_is_gone_on_with_to_the_bit(
    tiny: dict[str, Any], table: Path, here: Path, differences_of_runs: Callable[[Path, Path], list[str]]
) -> None:
    sections = on_a_table(tiny, table)
    train(sections, run_dir=here / "whole")
    with pytest.raises(InterruptedRunError):
        train(sections, run_dir=here / "stopped", callback=Remembering(stop_after=3))
    resume(here / "stopped")
    assert differences_of_runs(here / "whole", here / "stopped") == []


@pytest.mark.parametrize("split", ["test", "train"])
def test_a_model_of_other_digits_is_evaluated_on_a_csv(
    split: Any, tiny: dict[str, Any], table: Path, digits_run: Run
) -> None:
    found = evaluate(digits_run.folder, "data.name=folder", f"data.path={table}", split=split)
    assert found.accuracy > 0.5 and found.dataset == "folder"


def test_a_model_of_a_csv_is_evaluated_on_a_data_set_by_its_name_alone(tiny: dict[str, Any], table: Path) -> None:
    run = train(on_a_table(tiny, table))
    assert evaluate(run.folder, "data.name=Digits").count == 355
    assert evaluate(run.folder, "data.name=folder") == run.test


def test_the_check_looks_at_a_table(tiny: dict[str, Any], table: Path) -> None:
    table.write_text(table.read_text().replace("\n", "\nx", 9))
    with pytest.raises(DataError, match=r"train\.csv is damaged: line 2 has 'x"):
        plan(load_config(on_a_table(tiny, table)))


@pytest.fixture
def mixed(here: Path) -> Path:
    """A table that holds some of the images that test the bundled digits, as Kaggle's holds MNIST's."""
    parts = [load_digits("train"), load_digits("test")]
    rows = [np.column_stack((part.labels[:200], part.images[:200].reshape(-1, 784))) for part in parts]
    np.savetxt(here / "mixed.csv", np.concatenate(rows), "%d", ",")
    return here / "mixed.csv"


@pytest.mark.parametrize("keep", [True, False])
def test_a_model_that_knows_test_images_says_so(keep: bool, tiny: dict[str, Any], mixed: Path) -> None:
    run = train(on_a_table(tiny, mixed))
    trained = {image.numpy().tobytes() for image in load_real(run.config.data).train.images}  # type: ignore[union-attr]
    known = sum(image.numpy().tobytes() in trained for image in load_digits("test").images)  # type: ignore[union-attr]
    assert known > 100
    if not keep:
        mixed.unlink()
    found = evaluate(run.folder, "data.name=digits")
    (note,) = found.notes
    assert f"was trained on {mixed}, and {known} of these 355 images trained it" in note
    assert found.to_json()["notes"] == found.notes
    later = train({**tiny, "model": {**tiny["model"], "init_from": str(run.folder)}}, "data.validation=0")
    (note,) = evaluate(later.folder).notes
    assert f"{known} of these 355 images trained it, or a model that it started from" in note


def test_a_model_that_knows_none_of_the_images_says_nothing(tiny: dict[str, Any], table: Path) -> None:
    run = train(on_a_table(tiny, table))
    assert evaluate(run.folder, "data.name=digits").notes == ()
    for split in ("train", "validation", "test"):
        assert evaluate(run.folder, split=split).notes == ()  # type: ignore[arg-type]


def test_a_training_on_a_changed_csv_is_not_gone_on_with(tiny: dict[str, Any], table: Path, here: Path) -> None:
    with pytest.raises(InterruptedRunError):
        train(on_a_table(tiny, table), run_dir=here / "stopped", callback=Remembering(stop_after=3))
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], *lines[2:]]) + "\n")
    with pytest.raises(DataError, match="have changed since"):
        resume(here / "stopped")
