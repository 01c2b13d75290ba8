"""Trainings with `data.simulate`: what is no digit is learnt, and seen by nobody else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mnist_trainer import Run, evaluate, load_config, prepare, train
from mnist_trainer.config.schema import Data, Simulate
from mnist_trainer.data.loaders import load_refusal_images, load_split, load_splits
from mnist_trainer.errors import CheckpointError, ConfigError
from mnist_trainer.inference.metrics import fit_refusal_threshold
from mnist_trainer.inference.predictor import REFUSAL_THRESHOLD
from mnist_trainer.pipeline import plan
from mnist_trainer.pipeline.evaluate import calibrate
from mnist_trainer.simulator import make
from mnist_trainer.storage.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

from .conftest import TINY, Remembering

SIMULATE = {"photographs": 0.5, "non_digits": 0.4}


def quick(kind: str, digits: Any, labels: Any, seeds: Any) -> Any:
    """In the place of real pictures: a digit moved by a pixel, and the halves of two digits, one upside down."""
    moved = np.roll(digits[:, 0], 1, axis=2)
    if kind == "photographs":
        return moved
    return np.concatenate([digits[:, 0, 13::-1], digits[:, 1, 14:]], axis=1)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    data = {"name": "digits", "limit": 60, "batch_size": 32, "validation": 100, "simulate": SIMULATE}
    config = {**TINY, "data": data, "model": {"architecture": "mlp", "hidden": [32]}, "training": {"epochs": 6}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(make, "make_images", quick)
        return train(config, "optimizer.lr=0.005", run_dir=tmp_path_factory.mktemp("simulated") / "run")


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make, "make_images", quick)


def loaded(run: Run) -> Checkpoint:
    return load_checkpoint(run.folder / "best.pt")


def test_the_model_tells_digits_from_what_is_none(run: Run) -> None:
    predictor = loaded(run).predictor(torch.device("cpu"))
    assert predictor.refusal_threshold == REFUSAL_THRESHOLD
    splits = prepare(run.config).setup
    digits, others = splits.train.labels < 10, splits.train.labels == 10
    none = predictor.read(splits.train.images)[1]
    assert int(others.sum()) == 200
    assert float((none[digits] < 0.5).double().mean()) > 0.9
    assert float((none[others] > 0.5).double().mean()) > 0.9
    assert run.test.accuracy > 0.85
    assert run.records[-1].train_accuracy > 0.85, "what is no digit counts as right where none wins"


def test_what_is_judged_are_digits_alone(run: Run) -> None:
    assert run.validation is not None and run.validation.count == 100 + 50
    assert run.test.count == 355
    validation, training = (evaluate(run.folder, split=split) for split in ("validation", "train"))
    assert validation == run.validation
    assert training.count == 500 + 250
    assert len(training.per_class) == len(training.confusion) == 10
    assert validation.loss == pytest.approx(run.records[run.best_epoch - 1].val_loss)


def test_the_checkpoint_counts_the_images_of_the_data_set(run: Run, tiny: dict[str, Any]) -> None:
    assert loaded(run).only.split_counts == (500, 100)
    started = {**tiny, "data": run.config.data.model_dump(mode="json")}
    started["model"] = {"architecture": "mlp", "hidden": [32], "init_from": str(run.folder)}
    assert prepare(started).setup.counts == (500, 100)
    with pytest.raises(ConfigError, match=r"trained with images of this validation set"):
        prepare(started, "data.split_seed=1")


def test_calibration_refuses_one_percent_of_the_validation_split(run: Run, here: Path) -> None:
    done = calibrate(run.folder)
    save_checkpoint(here / "calm.pt", done.checkpoint)
    before, after = (load_checkpoint(path) for path in (run.folder / "best.pt", here / "calm.pt"))
    assert after.spec.temperature == done.temperature != 1
    assert done.refusal is not None
    assert [each.threshold for each in done.refusal] == [REFUSAL_THRESHOLD, after.spec.refusal_threshold]
    images = load_split(run.config.data, "validation").images
    nones = [each.predictor(torch.device("cpu")).read(images)[1] for each in (before, after)]
    assert len(images) == 150 and torch.equal(*nones), "the temperature does not act on none"
    assert after.spec.refusal_threshold == fit_refusal_threshold(nones[0]) != REFUSAL_THRESHOLD
    assert done.refusal[0].digits == float((nones[0] >= REFUSAL_THRESHOLD).double().mean())
    assert done.before["validation"].evaluation.count == 150
    assert evaluate(here / "calm.pt", split="validation").confusion == run.validation.confusion  # type: ignore[union-attr]


def test_refusal_is_measured_on_non_digits_of_the_validation_images(run: Run) -> None:
    digits, others = load_refusal_images(run.config.data)
    assert (len(digits), len(others)) == (150, 40)
    trained = prepare(run.config).setup.train
    seen = {image.numpy().tobytes() for image in trained.images[trained.labels == 10]}
    assert not any(image.numpy().tobytes() in seen for image in others.images)
    done = calibrate(run.folder)
    none = loaded(run).predictor(torch.device("cpu")).read(others.images)[1]
    assert done.to_json()["refusal"] == {
        key: {
            "threshold": each.threshold,
            "digits": each.digits,
            "non_digits": float((none >= each.threshold).double().mean()),
        }
        for key, each in zip(("before", "after"), done.refusal or (), strict=True)
    }


def test_validation_non_digits_are_other_ones_than_those_of_training(
    run: Run, monkeypatch: pytest.MonkeyPatch, here: Path
) -> None:
    del here
    seeds: dict[str, list[int]] = {}

    def record(kind: str, digits: Any, labels: Any, new: Any) -> Any:
        seeds.setdefault(kind, []).extend(new)
        return quick(kind, digits, labels, new)

    monkeypatch.setattr(make, "make_images", record)
    data = run.config.data.model_copy(update={"split_seed": 7})
    load_refusal_images(data)
    validated = set(seeds.pop("non_digits"))
    load_splits(data)
    assert len(validated) == 40 and not validated & set(seeds["non_digits"])


def test_without_photographs_the_validation_images_are_refused(tiny: dict[str, Any], here: Path) -> None:
    tiny["data"]["simulate"] = {"non_digits": 0.4}
    both = [train(tiny, f"seed={seed}").folder for seed in (0, 1)]
    done = calibrate(both)
    save_checkpoint(here / "both.pt", done.checkpoint)
    ensemble, images = load_checkpoint(here / "both.pt"), load_split(run_data(both[0]), "validation").images
    predictor = ensemble.predictor(torch.device("cpu"))
    assert [member.spec.refusal_threshold for member in ensemble.members] == [predictor.refusal_threshold] * 2
    assert predictor.refusal_threshold == fit_refusal_threshold(predictor.read(images)[1])


def run_data(folder: Path) -> Data:
    return load_checkpoint(folder / "best.pt").config.data


def test_a_model_that_cannot_refuse_gets_no_threshold(tiny: dict[str, Any]) -> None:
    done = calibrate(train(tiny, "data.simulate.photographs=1").folder)
    assert done.refusal is None and done.checkpoint.spec.refusal_threshold is None
    assert "refusal" not in done.to_json()


def test_row_windows_are_digits_or_none(run: Run) -> None:
    def windows(kind: str, digits: Any, labels: Any, seeds: Any) -> Any:
        """For each row, images of 2 for its digits, and as many of 1 for none."""
        assert kind == "rows"
        shades = np.tile(np.repeat(np.array([2, 1], np.uint8), digits.shape[1]), len(seeds))
        return np.broadcast_to(shades[:, None, None], (len(shades), 28, 28))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(make, "make_images", windows)
        digits, others = load_refusal_images(run.config.data.model_copy(update={"simulate": Simulate(rows=1)}))
    assert len(digits) - 100 == len(others) > 0
    assert set(digits.images[100:].flatten().tolist()) == {2} and set(others.images.flatten().tolist()) == {1}


def test_models_with_other_photographs_have_not_the_same_validation_images(run: Run, here: Path) -> None:
    del here
    content = run.config.model_dump(mode="json")
    plain = train(content, "data.simulate={}", "training.epochs=1").folder
    alike = train(content, "data.simulate.non_digits=0", "training.epochs=1").folder
    with pytest.raises(CheckpointError) as caught:
        evaluate([run.folder, plain], split="validation")
    assert "data.simulate.photographs is 0.5 for" in str(caught.value) and "and 0.0 for" in str(caught.value)
    assert evaluate([run.folder, plain]).count == 355
    assert evaluate([run.folder, alike], split="validation").count == 150


def test_it_is_judged_on_other_images_too(run: Run, here: Path, pictures: Any) -> None:
    pictures(here / "mine" / "train", {str(digit): digit for digit in range(10)})
    pictures(here / "mine" / "test", {str(digit): digit for digit in range(10)})
    folder = "data.name=folder", f"data.path={here / 'mine'}"
    assert evaluate(run.folder, *folder).count == 150
    assert evaluate(run.folder, *folder, split="train").count == 150 - 100
    with pytest.raises(ConfigError, match=r"data\.simulate: can't be changed in evaluation"):
        evaluate(run.folder, "data.simulate={}")


def test_a_second_fit_makes_them_of_all_images(tiny: dict[str, Any], callback: Remembering) -> None:
    tiny["data"]["simulate"] = SIMULATE
    run = train(tiny, "training.refit=true", callback=callback)
    assert f"refitting {run.best_epoch} on {200 + 100 + 80}" in callback.told
    header = callback.headers[0]
    assert header.data == f"digits: {160 + 80 + 64} images to train, {40 + 20} to validate (simulated: 144 and 20)"
    assert json.loads((run.folder / "run.json").read_text())["refit"]["train_count"] == 380


def test_images_are_mixed_with_what_is_no_digit(tiny: dict[str, Any]) -> None:
    tiny["data"]["simulate"] = SIMULATE
    run = train(tiny, "training.mixup=0.3")
    assert load_checkpoint(run.folder / "best.pt").spec.refusal_threshold == REFUSAL_THRESHOLD


def test_without_what_is_no_digit_nothing_is_refused(tiny: dict[str, Any]) -> None:
    run = train(tiny, "data.simulate.photographs=1")
    assert load_checkpoint(run.folder / "best.pt").spec.refusal_threshold is None
    assert len(run.records) == 2


def test_the_first_batch_names_what_is_none(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    tiny["data"] |= {"simulate": {"non_digits": 1}, "batch_size": 64}
    drawn: list[list[str]] = []
    monkeypatch.setattr(plan, "batch_grid", lambda *content: drawn.append(content[2]) or b"png")
    plan.first_batch(load_config(tiny))
    plan.first_batch(load_config(tiny, ["training.mixup=0.3"]))
    assert "none" in drawn[0] and "3" in drawn[0]
    assert any(caption.startswith("none + ") for caption in drawn[1])


def test_a_loss_of_ones_own_cannot_learn_to_refuse(tiny: dict[str, Any]) -> None:
    tiny["data"]["simulate"] = SIMULATE
    with pytest.raises(ConfigError, match=r"data\.simulate\.non_digits: needs loss: cross_entropy, not a function"):
        train(tiny, loss=torch.nn.functional.cross_entropy)


def test_the_last_batch_of_a_second_fit_is_seen_in_advance(tiny: dict[str, Any]) -> None:
    tiny["data"] |= {"simulate": SIMULATE, "batch_size": 379}  # 200 images and 180 made from them: one is left
    tiny["model"]["batch_norm"] = True
    prepare(tiny)
    with pytest.raises(ConfigError, match="the last of the batches of 380 images holds a single one"):
        prepare(tiny, "training.refit=true")
