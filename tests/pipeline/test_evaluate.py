from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mnist_trainer import Run, evaluate, train
from mnist_trainer.errors import CheckpointError, ConfigError, DataError, DeviceError, InterruptedRunError
from mnist_trainer.pipeline.evaluate import CHANGEABLE, run_evaluation
from mnist_trainer.storage.checkpoint import load_checkpoint, save_checkpoint


def figures(evaluation: Any) -> dict[str, Any]:
    """What `run.json` keeps of an evaluation, after a trip through JSON."""
    summary: dict[str, Any] = json.loads(json.dumps(evaluation.summary()))
    return summary


def test_the_figures_are_those_of_the_run_to_the_last_bit(digits_run: Run) -> None:
    record = json.loads((digits_run.folder / "run.json").read_text())
    for place in (digits_run.folder, str(digits_run.folder), digits_run.folder / "best.pt"):
        assert evaluate(place) == digits_run.test
    assert figures(evaluate(digits_run.folder)) == record["test"]
    assert figures(evaluate(digits_run.folder, split="validation")) == record["validation"]
    assert evaluate(digits_run.folder / "last.pt") == digits_run.test  # it holds the best weights too


def test_latest_is_the_run_below_the_present_folder(digits_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(digits_run.folder.parents[1])
    assert evaluate("latest") == digits_run.test


def test_each_split_has_its_images(digits_run: Run) -> None:
    counts = {split: evaluate(digits_run.folder, split=split).count for split in ("train", "validation", "test")}  # type: ignore[arg-type]
    assert counts == {"train": 1342, "validation": 100, "test": 355}


def test_figures_agree_with_each_other(digits_run: Run) -> None:
    result = run_evaluation(digits_run.folder)
    found, predictions = result.evaluation, result.predictions
    wrong = int((predictions.predicted != predictions.labels).sum())
    assert (found.errors, found.count) == (wrong, len(predictions.labels))
    assert found.accuracy == (found.count - wrong) / found.count
    assert sum(map(sum, found.confusion)) == found.count
    assert sum(found.confusion[digit][digit] for digit in range(10)) == found.count - wrong
    assert sum(entry.errors for entry in found.per_class) == wrong
    assert torch.allclose(predictions.probabilities.sum(dim=1), torch.ones(355, dtype=torch.float64))
    assert list(found.to_json()) == [
        "accuracy",
        "errors",
        "count",
        "loss",
        "interval",
        "ece",
        "per_class",
        "confusion",
        "dataset",
        "split",
    ]


def test_other_data_with_the_same_classes_can_be_judged(
    digits_run: Run, here: Path, pictures: Callable[[Path, dict[str, int]], None]
) -> None:
    pictures(here / "mine" / "train", {str(digit): digit for digit in range(10)})
    pictures(here / "mine" / "test", {str(digit): digit for digit in range(10)})
    found = evaluate(digits_run.folder, "data.name=folder", f"data.path={here / 'mine'}")
    assert (found.dataset, found.count) == ("folder", 150)
    assert found.accuracy > 0.8  # they are images that it was trained with


def test_data_with_other_classes_are_refused(
    digits_run: Run, here: Path, pictures: Callable[[Path, dict[str, int]], None]
) -> None:
    names = [f"class {digit}" for digit in range(10)]
    pictures(here / "mine", {name: digit for digit, name in enumerate(names)})
    with pytest.raises(CheckpointError) as caught:
        evaluate(digits_run.folder, "data.name=folder", f"data.path={here / 'mine'}")
    assert str(caught.value) == (
        f"{digits_run.folder / 'best.pt'} knows the classes 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, and folder has "
        f"{', '.join(names)}. Evaluate it on data with the same classes."
    )
    with pytest.raises(CheckpointError, match="and digits has not 7, 7"):
        evaluate(digits_run.folder, "data.binary=7")


def test_what_belongs_to_training_cannot_be_changed(digits_run: Run) -> None:
    with pytest.raises(ConfigError) as caught:
        evaluate(
            digits_run.folder,
            "optimizer.lr=1",
            "data.name=digits",
            "model.hidden=[3]",
            "seed=1",
            "nonsense",
            "data.split_seed=3",
        )
    reason = f"can't be changed in evaluation; these can: {', '.join(CHANGEABLE)}"
    assert str(caught.value).splitlines() == [
        f"override 1  optimizer.lr: {reason}",
        f"override 3  model.hidden: {reason}",
        f"override 4  seed: {reason}",
        f"override 5  nonsense: {reason}",
        f"override 6  data.split_seed: {reason}",
    ]


def test_mistakes_in_what_can_be_changed_are_told(digits_run: Run) -> None:
    with pytest.raises(ConfigError) as caught:
        evaluate(digits_run.folder, "data.nam=mnist", "device=tpu")
    assert str(caught.value).splitlines() == [
        "override 1  data.nam: unknown key; did you mean 'name'?",
        "override 2  device: 'tpu' is not possible here (cpu, cuda, cuda:1 or mps; auto takes a GPU if there is one)",
    ]


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_device_that_is_not_there_is_told(digits_run: Run) -> None:
    with pytest.raises(DeviceError, match="there is no CUDA device here"):
        evaluate(digits_run.folder, "device=cuda")


def test_without_validation_images_it_says_so(tiny: dict[str, Any]) -> None:
    run = train(tiny, "data.validation=0")
    with pytest.raises(DataError, match=r"There are no validation images: data\.validation is 0"):
        evaluate(run.folder, split="validation")


def test_a_run_that_was_stopped_in_its_first_epoch_has_nothing_to_judge(
    tiny: dict[str, Any], here: Path, callback: Any
) -> None:
    callback.stop_after = 2
    with pytest.raises(InterruptedRunError):
        train(tiny, run_dir=here / "run", callback=callback)
    with pytest.raises(CheckpointError, match="its training has not completed an epoch"):
        evaluate(here / "run")
    with pytest.raises(CheckpointError) as caught:
        evaluate(here / "run" / "last.pt")
    assert str(caught.value) == "This training was stopped in its first epoch: it has no best weights yet."


def test_evaluating_prints_nothing_and_restores_the_threads(digits_run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        evaluate(digits_run.folder)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert capfd.readouterr() == ("", "")


def test_a_model_from_another_machine_is_evaluated_here(digits_run: Run, here: Path) -> None:
    """Its config may name a device and a data folder that only existed there."""
    loaded = load_checkpoint(digits_run.folder / "best.pt")
    there = loaded.config.data.model_copy(update={"root": str(here / "nowhere")})
    config = loaded.config.model_copy(update={"device": "cuda:97", "data": there})
    save_checkpoint(here / "travelled.pt", replace(loaded, members=(replace(loaded.only, config=config),)))
    assert evaluate(here / "travelled.pt") == evaluate(digits_run.folder)
    with pytest.raises(DeviceError):
        evaluate(here / "travelled.pt", "device=cuda:97")


def test_a_lack_of_memory_is_told_simulated(digits_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def lack(*arguments: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr("mnist_trainer.pipeline.evaluate.predict", lack)
    with pytest.raises(DeviceError, match=r"The memory is not enough for this evaluation\. Take another device"):
        evaluate(digits_run.folder)
