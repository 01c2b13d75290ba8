"""The parts of a cross-validation, and the split by writers: `data.fold` and `data.split`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mnist_trainer import Run
from mnist_trainer.config.schema import Data
from mnist_trainer.data import loaders
from mnist_trainer.data.digits import load_digits
from mnist_trainer.data.image_dataset import ImageDataset
from mnist_trainer.data.loaders import (
    load_real,
    load_split,
    load_writers,
    missing_files,
    split_by_writers,
    stratified_fold,
)
from mnist_trainer.errors import DataError
from mnist_trainer.inference.metrics import WriterMetrics, cluster_interval
from mnist_trainer.pipeline.evaluate import load_target, run_evaluation
from mnist_trainer.reports.results import evaluation_lines
from mnist_trainer.storage.checkpoint import load_checkpoint, save_checkpoint
from tests.data.conftest import COUNTS


def validation(data: Data) -> ImageDataset:
    found = load_real(data).validation
    assert found is not None
    return found


@given(st.lists(st.integers(0, 4), min_size=2, max_size=60), st.integers(2, 7), st.integers(0, 3))
def test_the_folds_divide_each_class_evenly(drawn: list[int], parts: int, seed: int) -> None:
    labels = torch.tensor(drawn)
    folds = [stratified_fold(labels, (part, parts), seed) for part in range(1, parts + 1)]
    assert torch.cat(folds).sort().values.tolist() == list(range(len(drawn)))
    assert all(fold.tolist() == sorted(fold.tolist()) for fold in folds)
    for counted in (folds, *([fold[labels[fold] == label] for fold in folds] for label in set(drawn))):
        sizes = list(map(len, counted))
        assert max(sizes) - min(sizes) <= 1


def test_a_fold_of_the_digits() -> None:
    data = Data(name="digits", fold="2/5")
    splits = load_real(data)
    assert splits.counts == (1153, 289)
    assert set(splits.train.indices.tolist()).isdisjoint(validation(data).indices.tolist())
    assert torch.equal(validation(data).indices, load_split(data, "validation").indices)
    assert torch.equal(validation(data).indices, validation(data.model_copy(update={"binary": 7})).indices)
    for change in ({"fold": "3/5"}, {"split_seed": 1}):
        assert not torch.equal(validation(data).indices, validation(data.model_copy(update=change)).indices)
    few = Data(name="digits", fold="1/2", limit=3)
    assert load_real(few).counts == (15, 15)


def test_folds_that_can_not_be_made(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^data\.fold is 1/31, but digits has 30 training images to divide\.$"):
        load_real(Data(name="digits", fold="1/31", limit=3))
    with pytest.raises(DataError, match=r"^data\.fold leaves no training image of one of the classes\.$"):
        load_real(Data(name="digits", fold="1/5", limit=1))
    digit = load_digits("train").gather(torch.tensor([0]))[0][0].numpy()
    for part in ("train", "val"):
        for name in ("a", "b"):
            (folder := tmp_path / part / name).mkdir(parents=True)
            Image.fromarray(digit).save(folder / "1.png")
    with pytest.raises(DataError, match=r"divides the training set, but .* has validation images of its own"):
        load_real(Data(name="folder", path=str(tmp_path), fold="1/2"))


@given(st.lists(st.integers(0, 8), min_size=10, max_size=80), st.integers(2, 4), st.integers(0, 3))
def test_a_writer_is_on_one_side(drawn: list[int], parts: int, seed: int) -> None:
    writers = torch.from_numpy(np.unique(drawn, return_inverse=True)[1])
    folds = [split_by_writers(writers, (part, parts), seed) for part in range(1, parts + 1)]
    assert torch.cat(folds).sort().values.tolist() == list(range(len(drawn)))
    hands = [set(writers[fold].tolist()) for fold in folds]
    assert sum(map(len, hands)) == len(set().union(*hands))
    sizes = list(map(len, folds))
    assert max(sizes) - min(sizes) <= int(writers.bincount().max())  # the lightest part gets the next writer


def test_a_number_of_images_is_the_most_that_whole_writers_may_have() -> None:
    writers = torch.arange(100) // 10
    assert len(split_by_writers(writers, 39, 0)) == 30
    assert len(split_by_writers(writers, 3, 0)) == 10  # one writer at least
    chosen = split_by_writers(writers, 30, 0)
    assert set(writers[chosen].bincount().tolist()) == {0, 10}
    assert not torch.equal(chosen, split_by_writers(writers, 30, 1))


@pytest.mark.parametrize("name", ["mnist", "qmnist"])
def test_the_writers_are_those_of_qmnists_label_file(
    name: str, make: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(COUNTS, "train", 60)
    make("qmnist").put(tmp_path)
    make(name).put(tmp_path)
    data = Data(name=name, root=str(tmp_path), split="writers", fold="1/3")
    splits = load_real(data)
    writers = load_writers(splits.train, data, "train")
    assert writers is not None
    assert set((splits.train.indices // 2).tolist()).isdisjoint((validation(data).indices // 2).tolist())
    assert len(set(writers.tolist())) == 20 and splits.counts == (40, 20)
    assert missing_files(data, "train") == []
    yes = data.model_copy(update={"binary": 7})
    assert torch.equal(validation(yes).indices, validation(data).indices)
    with pytest.raises(DataError, match=rf"data\.fold is 1/31, but {name} has 30 writers to divide"):
        load_real(data.model_copy(update={"fold": "1/31"}))


def test_without_the_label_file_writers_are_refused(make: Callable[..., Any], tmp_path: Path) -> None:
    make("qmnist")
    make("mnist").put(tmp_path)
    data = Data(name="mnist", root=str(tmp_path), split="writers", validation=4)
    assert missing_files(data, "train") == ["qmnist-train-labels-idx2-int.gz"]
    assert missing_files(data.model_copy(update={"validation": 0}), "train") == []
    with pytest.raises(DataError) as caught:
        load_real(data)
    first, last = str(caught.value).split("\n")
    assert "qmnist-train-labels-idx2-int.gz could not be downloaded" in first
    assert last == (
        "data.split=writers needs of qmnist the labels of the training images alone; "
        "data.split=stratified needs nothing of it."
    )
    whole = load_real(data.model_copy(update={"validation": 0})).train
    assert load_writers(whole, data, "train") is None  # an interval is not worth a download


def test_a_label_file_of_other_images_is_told(make: Callable[..., Any], tmp_path: Path) -> None:
    make("qmnist").put(tmp_path)
    data = Data(name="mnist", root=str(tmp_path))
    whole = load_real(Data(name="qmnist", root=str(tmp_path), validation=0)).train
    shifted = replace(whole, indices=whole.indices + 5)
    relabelled = replace(whole, labels=whole.labels.flip(0))
    for images in (shifted, relabelled):
        with pytest.raises(
            DataError, match="QMNIST's label file of the train images belongs to other images than mnist"
        ):
            load_writers(images, data, "train")


def test_an_evaluation_has_an_interval_over_writers_where_they_are_known(
    make: Callable[..., Any], digits_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("mnist", "qmnist"):
        make(name).put(tmp_path)
    run, root = digits_run.folder, f"data.root={tmp_path}"
    result = run_evaluation(run, "data.name=mnist", root)
    correct = result.predictions.correct
    writers = result.evaluation.writers
    assert writers == WriterMetrics(4, cluster_interval(correct, torch.arange(7) // 2))
    low, high = (f"{100 * bound:.2f}" for bound in writers.interval)
    told = f"95 % interval for other writers than these 4: {low} to {high} %"
    assert evaluation_lines(result.evaluation, "m")[2] == told
    assert result.evaluation.to_json()["writers"] == {"count": 4, "interval": writers.interval}
    monkeypatch.setattr(loaders, "MNIST_TEST_COUNT", 4)
    lost = run_evaluation(run, "data.name=qmnist", root, split="test50k").evaluation.writers
    assert lost is not None and lost.count == 2
    for file in (tmp_path / "QMNIST" / "raw").glob("qmnist-test-labels*"):
        file.unlink()
    assert run_evaluation(run, "data.name=mnist", root).evaluation.writers is None


def test_a_model_split_by_writers_is_evaluated_on_data_without_them(digits_run: Run, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(digits_run.folder / "best.pt")
    data = checkpoint.config.data.model_copy(update={"name": "mnist", "split": "writers"})
    member = replace(checkpoint.only, config=checkpoint.config.model_copy(update={"data": data}))
    save_checkpoint(tmp_path / "model.pt", replace(checkpoint, members=(member,)))
    assert run_evaluation(tmp_path / "model.pt", "data.name=digits").evaluation.errors == digits_run.test.errors
    same = load_target(tmp_path / "model.pt", ["data.name=QMNIST"], "test").config.data
    assert (same.name, same.split) == ("qmnist", "writers")
