"""Out-of-fold predictions and the labels they doubt: `mnist-eval --suspicious`, and runs with `data.fold`."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mnist_trainer import evaluate, resume, train
from mnist_trainer.data.digits import load_digits
from mnist_trainer.data.image_dataset import Part
from mnist_trainer.errors import CheckpointError, ConfigError, DataError, InterruptedRunError, UsageError
from mnist_trainer.pipeline.evaluate import load_target, run_evaluation
from mnist_trainer.pipeline.out_of_fold import find_suspicious_labels, predict_out_of_fold
from mnist_trainer.reports.run_plots import suspicious_csv
from mnist_trainer.storage.checkpoint import load_checkpoint, save_checkpoint
from tests.pipeline.conftest import Remembering

WRONG = (3, 200, 451, 777, 1004, 1310)
"""Images of the training set whose labels are planted errors."""

PARTS: tuple[Part, ...] = ("train", "test")

CONFIG: dict[str, Any] = {
    "name": "fold",
    "threads": 1,
    "data": {"name": "folder", "batch_size": 32},
    "model": {"architecture": "mlp", "hidden": [64]},
    "optimizer": {"name": "adam", "lr": 0.01},
    "training": {"epochs": 4},
    "report": {"plots": False, "gallery": False},
}


@pytest.fixture(scope="module")
def folds(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Runs of the three folds of the bundled digits, in a table that has planted errors."""
    place = tmp_path_factory.mktemp("folds")
    arrays = {}
    for part in PARTS:
        dataset = load_digits(part)
        images, labels = dataset.gather(torch.arange(len(dataset)))
        arrays |= {f"x_{part}": images.numpy(), f"y_{part}": labels.numpy()}
    for index in WRONG:
        arrays["y_train"][index] = (arrays["y_train"][index] + 5) % 10
    np.savez(place / "digits.npz", **arrays)
    data = {**CONFIG["data"], "path": str(place / "digits.npz")}
    return [
        train({**CONFIG, "data": {**data, "fold": f"{part}/3"}}, run_dir=place / f"fold-{part}").folder
        for part in (1, 2, 3)
    ]


def test_planted_errors_are_found(folds: list[Path]) -> None:
    found = find_suspicious_labels(folds)
    assert found.test is None
    indices = [each.index for each in found.labels]
    assert set(WRONG) <= set(indices)
    assert len(set(WRONG) & set(indices[:4])) >= 3  # the least self-confident first
    sure = {each.index for each in found.labels if each.confident}
    assert len(set(WRONG) & sure) >= 4 and len(sure) < 20 < len(indices)
    confidences = [each.self_confidence for each in found.labels]
    assert confidences == sorted(confidences)
    right = load_digits("train").labels
    planted = [each for each in found.labels if each.index in sure & set(WRONG)]
    assert all(each.suggested == str(int(right[each.index])) for each in planted)
    assert found.result.evaluation.split == "out-of-fold training"
    assert len(found.to_json()["suspicious"]) == len(indices)


def test_each_image_is_predicted_by_the_run_that_it_validated(folds: list[Path]) -> None:
    result = predict_out_of_fold(load_target(folds, (), "test"))
    for folder in folds:
        own = run_evaluation(folder, split="validation")
        assert torch.equal(result.predictions.probabilities[own.dataset.indices], own.predictions.probabilities)
    errors = sum(evaluate(folder, split="validation").errors for folder in folds)
    assert (result.evaluation.errors, result.evaluation.count) == (errors, 1442)


def test_repeated_folds_are_averaged(folds: list[Path], tmp_path: Path) -> None:
    shutil.copytree(folds[0], tmp_path / "again")
    once, twice = (
        predict_out_of_fold(load_target(runs, (), "test")).predictions.probabilities
        for runs in (folds, [*folds, tmp_path / "again"])
    )
    assert torch.allclose(once, twice, atol=1e-15)


def test_missing_folds_are_named(folds: list[Path], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        find_suspicious_labels(folds[1:2])
    assert str(caught.value) == (
        "961 of 1,442 training images validated none of these runs, so their labels can't be judged. "
        "Missing: data.fold=1/3, 3/3."
    )
    other = train(CONFIG, data={"name": "digits"}, training={"epochs": 1}, run_dir=tmp_path / "a").folder
    with pytest.raises(CheckpointError, match=r"1,298 of 1,442 .* Train runs with data\.fold=1/5, 2/5 … 5/5"):
        find_suspicious_labels(other)


def test_runs_that_can_not_judge(folds: list[Path], tmp_path: Path) -> None:
    path = load_checkpoint(folds[0] / "best.pt").config.data.path
    with pytest.raises(CheckpointError, match=r"another data\.name, limit or binary"):
        find_suspicious_labels(folds, "data.limit=20")
    limited = {**CONFIG, "data": {**CONFIG["data"], "path": path, "fold": "1/3", "limit": 50}}
    refit = train(limited, "training.refit=true", "training.epochs=1", run_dir=tmp_path / "refit").folder
    with pytest.raises(CheckpointError, match=r"has no validation images: .*training\.refit"):
        find_suspicious_labels(refit)
    mse = train(limited, "loss=mse", "training.epochs=1", run_dir=tmp_path / "mse").folder
    with pytest.raises(CheckpointError, match="are not probabilities"):
        find_suspicious_labels(mse)
    checkpoint = load_checkpoint(folds[0] / "best.pt")
    member = checkpoint.only
    changed = member.config.model_copy(update={"data": member.config.data.model_copy(update={"fold": "2/3"})})
    save_checkpoint(tmp_path / "x.pt", replace(checkpoint, members=(replace(member, config=changed),)))
    with pytest.raises(CheckpointError, match="trained with images that validate it now"):
        find_suspicious_labels(tmp_path / "x.pt")


def test_the_labels_of_a_folder_are_told_with_their_files(tmp_path: Path) -> None:
    dataset = load_digits("train")
    positions = torch.cat([torch.nonzero(dataset.labels == label).flatten()[:12] for label in (0, 1)])
    images, labels = dataset.gather(positions)
    for number, (image, label) in enumerate(zip(images.numpy(), labels.tolist(), strict=True)):
        named = label if number else 1  # the first 0 is in the folder of the 1s
        (tmp_path / "own" / "train" / str(named)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "own" / "train" / str(named) / f"{number:02}.png")
    shutil.copytree(tmp_path / "own" / "train", tmp_path / "own" / "test")
    data = {"name": "folder", "path": str(tmp_path / "own"), "batch_size": 8}
    config = {**CONFIG, "training": {"epochs": 12}}
    runs = [train(config, data={**data, "fold": f"{k}/2"}, run_dir=tmp_path / f"{k}").folder for k in (1, 2)]
    found = find_suspicious_labels(runs)
    assert found.labels[0].path == str(tmp_path / "own" / "train" / "1" / "00.png")
    row = next(csv.DictReader(suspicious_csv(found.labels).splitlines()))
    assert list(row) == ["index", "label", "self_confidence", "suggested", "probability", "confident", "path"]
    assert (row["label"], row["suggested"], row["path"]) == ("1", "0", found.labels[0].path)
    shutil.copytree(tmp_path / "own" / "train", tmp_path / "own" / "val")
    with pytest.raises(DataError, match="has validation images of its own"):
        find_suspicious_labels(runs)


def test_a_fold_is_recorded_and_resumed(tiny: dict[str, Any], tmp_path: Path) -> None:
    config = {**tiny, "data": {"name": "digits", "limit": 20, "batch_size": 32, "fold": "2/4"}}
    whole = train(config, run_dir=tmp_path / "whole")
    record = json.loads((whole.folder / "run.json").read_text())["data"]
    assert (record["fold"], record["train_count"], record["validation_count"]) == ("2/4", 150, 50)
    callback = Remembering(stop_after=3)
    with pytest.raises(InterruptedRunError):
        train(config, run_dir=tmp_path / "cut", callback=callback)
    assert "50 to validate (fold 2/4)" in callback.headers[0].data
    with pytest.raises(UsageError, match=r"started with another config: data\.fold"):
        resume(tmp_path / "cut", "data.fold=3/4")
    again = resume(tmp_path / "cut")
    assert again is not None and again.test == whole.test
    first, second = (load_checkpoint(run.folder / "best.pt").weights for run in (whole, again))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert evaluate(whole.folder, split="validation") == whole.validation
    with pytest.raises(ConfigError, match=r"data\.fold: can't be changed in evaluation"):
        evaluate(whole.folder, "data.fold=1/4")
    start = f"model.init_from={whole.folder}"
    with pytest.raises(ConfigError, match="was trained with images of this validation set"):
        train(config, "data.fold=1/4", start, run_dir=tmp_path / "next")


def test_the_second_fit_takes_all_folds(tiny: dict[str, Any], tmp_path: Path) -> None:
    config = {**tiny, "data": {"name": "digits", "limit": 20, "batch_size": 32, "fold": "2/4"}}
    run = train(config, "training.refit=true", run_dir=tmp_path / "refit")
    member = load_checkpoint(run.folder / "best.pt").only
    assert member.split_counts == (200, 0) and member.config.data.fold is None
    assert evaluate(run.folder, split="train").count == 200
    twice = ["data.fold=1/4", "data.fold=2/4"]
    runs = [train(config, change, run_dir=tmp_path / change[-3]).folder for change in twice]
    with pytest.raises(CheckpointError, match=r"data\.fold is 1/4 for .* and 2/4 for"):
        evaluate(runs, split="validation")
    assert evaluate(runs).count == 355
