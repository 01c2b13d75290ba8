"""Which pictures of a folder a model is judged on, and as which classes: `mnist_trainer/pipeline/evaluate.py`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mnist_trainer import Run, evaluate, load_config, train
from mnist_trainer.data.digits import load_digits
from mnist_trainer.errors import CheckpointError, ConfigError, DataError
from mnist_trainer.pipeline.evaluate import compare, run_evaluation
from mnist_trainer.pipeline.plan import plan

from .conftest import Remembering

Write = Callable[[Path, dict[str, int]], None]

DIGITS = {str(digit): digit for digit in range(10)}
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def on(path: Path | str) -> tuple[str, str]:
    return "data.name=folder", f"data.path={path}"


@pytest.fixture
def own(here: Path, pictures: Write) -> Path:
    pictures(here / "own", DIGITS)
    return here / "own"


@pytest.fixture
def turned(own: Path) -> Path:
    """The same folder with other pictures than the training images of digits."""
    for path in own.rglob("*.png"):
        Image.open(path).rotate(90).save(path)
    return own


@pytest.fixture
def own_run(own: Path, tiny: dict[str, Any]) -> Path:
    """A model that was trained on the folder."""
    data = {"name": "folder", "path": "own", "batch_size": 32, "validation": 20}
    return train({**tiny, "data": data}, run_dir=own.parent / "own-run").folder


def test_all_pictures_of_a_folder_that_trained_nothing(digits_run: Run, own: Path) -> None:
    judged = run_evaluation(digits_run.folder, *on(own))
    assert judged.evaluation.count == 150
    assert judged.evaluation.pictures == f"all 150 pictures in {own}"
    assert judged.evaluation.to_json()["pictures"] == judged.evaluation.pictures
    assert "pictures" not in evaluate(digits_run.folder).to_json()
    assert [figures.count for figures in judged.evaluation.per_class] == [15] * 10


def test_only_unseen_ones_of_the_folder_that_it_was_trained_on(own: Path, own_run: Path) -> None:
    record = json.loads((own_run / "run.json").read_text())
    for overrides in ((), on("own"), on(own), on("./own/../own")):
        found = evaluate(own_run, *overrides)
        assert found.count == record["test"]["count"] < 150
        assert found.accuracy == record["test"]["accuracy"]
        assert found.pictures.startswith(f"{found.count} of 150 pictures in ")
        assert found.pictures.endswith(", which were not used for training")
    trained = {split: evaluate(own_run, split=split).count for split in ("train", "validation")}  # type: ignore[arg-type]
    assert sum(trained.values()) + found.count == 150
    assert evaluate(own_run, split="train").pictures == f"{trained['train']} pictures in {own}, its train set"


def test_parts_of_the_folder_that_it_was_trained_on(here: Path, pictures: Write, tiny: dict[str, Any]) -> None:
    for part in ("train", "val", "test"):
        pictures(here / "own" / part, DIGITS)
    run = train({**tiny, "data": {"name": "folder", "path": "own"}}, run_dir=here / "run").folder
    assert evaluate(run).pictures == f"all 150 pictures in {here / 'own' / 'test'}"
    assert evaluate(run, *on("own/test")).pictures == f"all 150 pictures in {Path('own/test')}"
    for part in ("train", "val"):
        with pytest.raises(DataError, match=r"was trained on all 150 pictures in own.*, so none is left to test"):
            evaluate(run, *on(f"own/{part}"))
    shutil.rmtree(here / "own" / "train")
    assert evaluate(run, *on("own")).count == 150


def test_many_pictures_are_kept_for_the_next_time(own: Path, own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNIST_TRAINER_DATA", str(own.parent / "kept"))
    monkeypatch.setattr("mnist_trainer.data.cache.MIN_CACHED", 1)
    first = evaluate(own_run)
    assert len(list((own.parent / "kept" / "folder").iterdir())) == 1
    monkeypatch.setattr("mnist_trainer.data.folder._read", lambda *arguments: pytest.fail("it was kept"))
    assert evaluate(own_run) == first


def test_a_test_folder_alone(digits_run: Run, here: Path, pictures: Write) -> None:
    pictures(here / "own" / "Testing", DIGITS)
    assert evaluate(digits_run.folder, *on("own")).pictures == f"all 150 pictures in {Path('own/Testing')}"
    with pytest.raises(DataError, match="has Testing, but no train/"):
        evaluate(digits_run.folder, *on("own"), split="train")


@pytest.mark.parametrize(
    "names",
    [
        {"3": 3, "7": 7},
        {"7": 7},
        {f"0{digit}": digit for digit in range(10)},
        {word: digit for digit, word in enumerate(WORDS)},
    ],
)
def test_classes_by_their_names(names: dict[str, int], digits_run: Run, here: Path, pictures: Write) -> None:
    pictures(here / "own", names)
    found = evaluate(digits_run.folder, *on("own"))
    assert found.count == 15 * len(names) and found.accuracy > 0.8
    assert [figures.count for figures in found.per_class] == [15 * (digit in names.values()) for digit in range(10)]
    if len(names) == 10:
        assert evaluate(digits_run.folder, *on("own"), split="train").accuracy > 0.8


def test_a_model_of_other_names_on_digits(here: Path, pictures: Write, tiny: dict[str, Any], digits_run: Run) -> None:
    pictures(here / "words", {WORDS[digit]: digit for digit in range(10)})
    run = train(
        {**tiny, "data": {"name": "folder", "path": "words"}}, "training.epochs=20", run_dir=here / "run"
    ).folder
    judged = run_evaluation(run, "data.name=digits")
    labels = [judged.evaluation.per_class[int(label)].label for label in judged.predictions.labels]
    assert labels == [WORDS[int(label)] for label in load_digits("test").labels]
    assert evaluate(run, "data.name=folder") == evaluate(run)


def test_unknown_classes_are_refused(digits_run: Run, here: Path, pictures: Write) -> None:
    pictures(here / "own", {"3": 3, "cat": 7})
    with pytest.raises(CheckpointError, match=r"and folder has 3, cat\. Evaluate it on data with the same classes"):
        evaluate(digits_run.folder, *on("own"))


def test_a_yes_no_model(here: Path, pictures: Write, tiny: dict[str, Any]) -> None:
    run = train(tiny, "data.binary=7", run_dir=here / "run").folder
    pictures(here / "own", {"03": 3, "seven": 7, "8": 8})
    judged = run_evaluation(run, *on("own"))
    assert judged.evaluation.count == 45 and judged.predictions.labels.tolist() == [0] * 30 + [1] * 15
    with pytest.raises(CheckpointError, match="knows the classes not 7, 7, and folder has not 8, 8"):
        evaluate(run, *on("own"), "data.binary=8")


def test_ensembles_and_comparisons_leave_out_what_any_of_them_saw(digits_run: Run, own: Path, own_run: Path) -> None:
    alone = evaluate(own_run).count
    together = evaluate([digits_run.folder, own_run], *on(own))
    assert (together.count, len(together.members)) == (alone, 2)
    for pair in ((digits_run.folder, own_run), (own_run, digits_run.folder)):
        compared = compare(*pair, *on(own))
        assert [each.evaluation.count for each in (compared.first, compared.second)] == [alone] * 2
        assert compared.to_json()["pictures"].startswith(f"{alone} of 150 pictures")
    assert compare(digits_run.folder, digits_run.folder / "last.pt", *on(own)).first.evaluation.count == 150


def test_the_validation_images_of_another_folder(own: Path, own_run: Path, here: Path, pictures: Write) -> None:
    pictures(here / "other", {"3": 3, "7": 7})
    assert evaluate(own_run, *on("other"), split="validation").count > 0


def test_tables_too(digits_run: Run, here: Path) -> None:
    digits = load_digits("test")
    rows = np.column_stack((digits.labels[:60], digits.images[:60].reshape(60, -1)))
    np.savetxt(here / "own.csv", rows, fmt="%d", delimiter=",")
    found = evaluate(digits_run.folder, *on("own.csv"))
    assert (found.count, found.pictures) == (60, "all 60 images in own.csv")


def test_a_picture_that_is_none_still_stops(digits_run: Run, own: Path) -> None:
    (own / "3" / "half.png").write_bytes(b"\x89PNG")
    (own / "3" / "labels.csv").write_text("a,3\n")
    with pytest.raises(DataError, match="1 of 151 pictures can't be used"):
        evaluate(digits_run.folder, *on(own))


def test_a_folder_without_pictures(digits_run: Run, here: Path) -> None:
    for digit in "37":
        (here / "own" / digit).mkdir(parents=True)
    with pytest.raises(DataError, match=r"own contains no picture of a class\."):
        evaluate(digits_run.folder, *on("own"))
    Image.new("L", (28, 28), 255).save(here / "own" / "x.png")
    with pytest.raises(DataError, match=r"own contains no picture of a class\."):
        evaluate(digits_run.folder, *on("own"))


def test_pictures_that_trained_a_model_together_with_a_data_set(
    turned: Path, tiny: dict[str, Any], callback: Remembering
) -> None:
    tiny["data"] |= {"extra": {"path": "own", "repeat": 3}}
    run = train(tiny, run_dir=turned.parent / "run", callback=callback)
    (header,) = callback.headers
    assert header.data == "digits: 610 images to train, 40 to validate (own pictures: 150, 3 times each)"
    assert run.config.data.extra is not None
    assert run.config.data.extra.path == str(turned)
    assert evaluate(run.folder, split="train").count == 160
    assert evaluate(run.folder, split="validation").count == 40
    with pytest.raises(DataError, match="was trained on all 150 pictures in own"):
        evaluate(run.folder, *on("own"))
    shutil.copytree(turned / "3", turned.parent / "others" / "3")
    assert evaluate(run.folder, *on("others")).count == 15


def test_own_pictures_that_also_validate_or_test_are_refused(own: Path, tiny: dict[str, Any]) -> None:
    data = {"name": "folder", "path": "own", "batch_size": 32, "validation": 20, "extra": {"path": "own"}}
    with pytest.raises(ConfigError, match=r"data\.extra\.path: some of its pictures are also validation images"):
        train({**tiny, "data": data})
    with pytest.raises(ConfigError, match=r"also validation images"):
        plan(load_config({**tiny, "data": data}))
    for start in (train, lambda config: plan(load_config(config))):
        with pytest.raises(ConfigError, match=r"data\.extra\.path: some of its pictures are also test images"):
            start({**tiny, "data": data | {"validation": 0}})
    assert train({**tiny, "data": data | {"validation": 0}}, "report.test=false").test is None


def test_pictures_that_can_not_train_are_found_in_advance(turned: Path, tiny: dict[str, Any]) -> None:
    tiny["data"] |= {"extra": {"path": "own"}}
    plan(load_config(tiny))
    (turned / "3").rename(turned / "x")
    with pytest.raises(DataError, match=r"own/x is none of the classes 0 to 9"):
        plan(load_config(tiny))
