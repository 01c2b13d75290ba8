from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mnist_trainer import Run, train
from mnist_trainer.config.schema import Data, Simulate
from mnist_trainer.data import simulated
from mnist_trainer.data.digits import load_digits
from mnist_trainer.data.image_dataset import ImageDataset
from mnist_trainer.inference import robustness
from mnist_trainer.pipeline import evaluate as evaluation
from mnist_trainer.pipeline.evaluate import CHANGEABLE, _other_data, evaluate_target, load_target, measure_robustness
from mnist_trainer.reports.results import evaluation_lines
from mnist_trainer.storage.checkpoint import load_checkpoint, save_checkpoint

Command = Callable[..., Any]


@pytest.fixture
def home(digits_run: Run, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder below whose `runs/` the run lies is the present one."""
    monkeypatch.chdir(digits_run.folder.parents[1])
    return digits_run.folder.parents[1]


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("place", ["latest", "runs/shared", "runs/shared/best.pt"])
def test_a_checkpoint_in_every_form(command: Command, digits_run: Run, place: str) -> None:
    done = command("eval", place)
    path = str(Path("runs/shared/best.pt"))
    assert done == (0, "\n".join(evaluation_lines(digits_run.test, path)) + "\n", "")
    lines = done.out.splitlines()
    assert lines[0] == f"{path} on digits"
    assert lines[1].startswith(
        f"test accuracy {100 * digits_run.test.accuracy:.2f} % ({digits_run.test.errors} errors of 355; "
    )
    assert len(lines) == 6 + 10


@pytest.mark.usefixtures("home")
def test_json_has_the_figures_of_the_run_to_the_last_bit(command: Command, digits_run: Run) -> None:
    done = command("eval", "latest", "--json")
    assert (done.code, done.err, done.out.count("\n")) == (0, "", 1)
    found = json.loads(done.out)
    keys = ["accuracy", "errors", "count", "loss", "interval", "ece", "per_class", "confusion", "dataset", "split"]
    assert list(found) == keys
    record = json.loads((digits_run.folder / "run.json").read_text())
    assert {key: found[key] for key in record["test"]} == record["test"]
    assert (found["dataset"], found["split"]) == ("digits", "test")
    assert 0 <= found["ece"] <= 1
    assert [list(entry) for entry in found["per_class"]] == [
        ["label", "count", "errors", "accuracy", "confused_with", "confused_count"]
    ] * 10
    assert [len(row) for row in found["confusion"]] == [10] * 10


@pytest.mark.usefixtures("home")
def test_other_splits(command: Command, digits_run: Run) -> None:
    record = json.loads((digits_run.folder / "run.json").read_text())
    found = json.loads(command("eval", "latest", "--split", "validation", "--json").out)
    assert found["split"] == "validation"
    assert {key: found[key] for key in record["validation"]} == record["validation"]
    assert json.loads(command("eval", "latest", "--split", "train", "--json").out)["count"] == 1342
    wrong = command("eval", "latest", "--split", "all")
    assert (wrong.code, wrong.out) == (2, "")


@pytest.mark.usefixtures("home")
def test_a_bare_file_is_enough(
    command: Command, digits_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(digits_run.folder / "best.pt", tmp_path / "alone.pt")
    monkeypatch.chdir(tmp_path)
    assert json.loads(command("eval", "alone.pt", "--json").out)["accuracy"] == digits_run.test.accuracy
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone.pt"]


def test_what_exists_as_a_path_is_a_path(
    command: Command, digits_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(digits_run.folder / "best.pt", "lr=0.1.pt")
    Path("data.name=mnist").mkdir()
    shutil.copy(digits_run.folder / "best.pt", "data.name=mnist/best.pt")
    for arguments in (["lr=0.1.pt"], ["data.name=mnist"], ["data.limit=3", "lr=0.1.pt", "threads=1"]):
        done = command("eval", *arguments, "--json")
        assert json.loads(done.out)["accuracy"] == digits_run.test.accuracy


@pytest.mark.usefixtures("home")
def test_out_writes_pictures_and_predictions(command: Command, digits_run: Run, tmp_path: Path) -> None:
    out = tmp_path / "a" / "report"
    done = command("eval", "latest", "--out", out)
    assert done.out.splitlines()[-2:] == ["", f"Written to {out}: confusion.png, mistakes.png, predictions.csv"]
    assert sorted(path.name for path in out.iterdir()) == ["confusion.png", "mistakes.png", "predictions.csv"]
    for name in ("confusion.png", "mistakes.png"):
        assert (out / name).read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    with (out / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["index", "label", "predicted", "probability"]
    assert [int(row["index"]) for row in rows] == list(range(355))
    assert sum(row["label"] != row["predicted"] for row in rows) == digits_run.test.errors
    assert all(0.1 <= float(row["probability"]) <= 1 for row in rows)
    again = command("eval", "latest", "--out", out, "--json")
    assert json.loads(again.out)["errors"] == digits_run.test.errors


@pytest.mark.usefixtures("home")
def test_a_file_in_the_place_of_the_folder_is_told(command: Command, tmp_path: Path) -> None:
    (tmp_path / "report").write_text("")
    done = command("eval", "latest", "--out", tmp_path / "report")
    message = f"{tmp_path / 'report'}: a file is where a folder is needed. Choose another path."
    assert done == (7, "", f"{message}\n")


@pytest.mark.usefixtures("home")
def test_mistakes_are_placed_at_overrides_and_options(command: Command) -> None:
    done = command("eval", "data.limit=0", "latest", "data.nam=mnist", "--device", "tpu")
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines() == [
        "override 1  data.limit: must be greater than 0, got 0",
        "override 2  data.nam: unknown key; did you mean 'name'?",
        "--device  device: 'tpu' is not possible here (cpu, cuda, cuda:1 or mps; auto takes a GPU if there is one)",
    ]


@pytest.mark.usefixtures("home")
def test_what_belongs_to_training_is_refused(command: Command) -> None:
    done = command("eval", "latest", "data.name=digits", "optimizer.lr=1", "model.hidden=[3]")
    reason = f"can't be changed in evaluation; these can: {', '.join(CHANGEABLE)}"
    assert done == (2, "", f"override 2  optimizer.lr: {reason}\noverride 3  model.hidden: {reason}\n")


def test_a_checkpoint_is_needed(command: Command) -> None:
    done = command("eval", "data.name=mnist")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Name what to evaluate: a run folder, a .pt file, or latest")


def test_names_in_messages_do_not_command_the_terminal(command: Command, here: Path) -> None:
    evil = "a\x1b]0;title\x07\x9b2Jö\u00a0.pt"
    done = command("eval", evil)
    assert done.err.startswith("a\\x1b]0;title\\x07\\x9b2Jö\u00a0.pt: there is no such file, here or in runs.")


def test_what_is_no_checkpoint_is_told(command: Command, here: Path) -> None:
    done = command("eval", "tiny.yaml")
    assert done == (4, "", "tiny.yaml is no checkpoint: it is a text file. Name a .pt file, or the folder of a run.\n")
    done = command("eval", "latest")
    message = "There is no finished run under runs. Train one (mnist-train --config quickstart) or name a checkpoint."
    assert done == (4, "", f"{message}\n")


def test_a_model_of_the_users_is_refused_by_name(command: Command, digits_run: Run, here: Path) -> None:
    loaded = load_checkpoint(digits_run.folder / "best.pt")
    own = replace(loaded.only, custom={"model": "my_module.MyNet"})
    save_checkpoint(here / "own.pt", replace(loaded, members=(own,)))
    for arguments in (["eval", "own.pt"], ["predict", "picture.png", "--checkpoint", "own.pt"]):
        done = command(*arguments)
        assert (done.code, done.out) == (4, "")
        assert done.err.startswith("This checkpoint's model is my_module.MyNet, which is not part of mnist_trainer. ")


@pytest.mark.usefixtures("home")
def test_data_that_cannot_be_had_are_told(command: Command, tmp_path: Path) -> None:
    done = command("eval", "latest", "data.name=folder", f"data.path={tmp_path / 'lost'}")
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith("data.path: there is no folder ")


@pytest.fixture
def pair(home: Path, here: Path, digits_run: Run) -> tuple[str, str]:
    """Two runs in the present folder."""
    train("tiny.yaml", "data.limit=60", "data.validation=100", run_dir=here / "other")
    shutil.copytree(digits_run.folder, here / "first")
    return "first", "other"


def test_several_checkpoints_are_an_ensemble(command: Command, pair: tuple[str, str]) -> None:
    done = command("eval", *pair)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == "ensemble of 2 on digits"
    assert [line.split()[0] for line in lines[6:8]] == [str(Path(name) / "best.pt") for name in pair]
    content = json.loads(command("eval", *pair, "--json").out)
    assert [member["path"] for member in content["members"]] == [str(Path(name) / "best.pt") for name in pair]
    assert f"({content['errors']} errors of 355;" in lines[1]


def test_a_saved_ensemble_is_read_by_every_command(command: Command, pair: tuple[str, str], here: Path) -> None:
    done = command("eval", *pair, "--save", "both.pt")
    assert done.out.splitlines()[-1] == "Written to both.pt: the ensemble as one checkpoint"
    ours, saved = (json.loads(command("eval", *which, "--json").out) for which in (pair, ["both.pt"]))
    assert {**ours, "members": None} == {**saved, "members": None}
    Image.fromarray(255 - load_digits("test").images[0].numpy()).resize((140, 140)).save(here / "picture.png")
    predicted = command("predict", "picture.png", "--checkpoint", "both.pt", "--json")
    assert predicted.code == 0 and len(json.loads(predicted.out)[0]["digits"][0]["probabilities"]) == 10


def test_out_works_for_an_ensemble(command: Command, pair: tuple[str, str], here: Path) -> None:
    command("eval", *pair, "--out", "report")
    assert sorted(path.name for path in (here / "report").iterdir()) == [
        "confusion.png",
        "mistakes.png",
        "predictions.csv",
    ]


def test_views_are_told(command: Command, pair: tuple[str, str]) -> None:
    assert command("eval", pair[0], "--views", 3).out.startswith(
        f"{Path('first') / 'best.pt'} on digits, the mean of 3 views\n"
    )
    one, plain = (json.loads(command("eval", pair[0], "--json", *more).out) for more in (["--views", "1"], []))
    assert one == plain
    assert json.loads(command("eval", pair[0], "--json", "--views", 3).out)["views"] == 3


def test_two_are_compared_in_words(command: Command, pair: tuple[str, str]) -> None:
    done = command("eval", *pair, "--compare")
    lines = done.out.splitlines()
    assert [lines[0], lines[2]] == ["first on digits", "other on digits"]
    content = json.loads(command("eval", *pair, "--compare", "--json").out)
    more, fewer = content["only_second"], content["only_first"]
    assert content["p"] < 0.05
    assert lines[5].startswith(
        f"other is correct on {more} images that first gets wrong, wrong on {fewer} that first gets right: significant"
    )


def test_a_calibrated_copy_and_its_picture_are_written(command: Command, pair: tuple[str, str], here: Path) -> None:
    done = command("eval", pair[0], "--calibrate", "calm.pt")
    assert (done.code, done.err) == (0, "")
    written = "Written to calm.pt: the calibrated copy; to calm-reliability.png: its reliability"
    assert done.out.splitlines()[-1] == written
    assert (here / "calm-reliability.png").read_bytes().startswith(b"\x89PNG")
    content = json.loads(command("eval", pair[0], "--calibrate", "again.pt", "--out", "report", "--json").out)
    found = content["calibration"]
    assert list(found) == ["path", "picture", "temperature", "validation", "test"]
    assert found["picture"] == str(Path("report") / "reliability.png")
    assert (here / "report" / "reliability.png").exists() and (here / "report" / "confusion.png").exists()
    after = json.loads(command("eval", "calm.pt", "--json").out)
    assert found["test"]["after"] == {"loss": after["loss"], "ece": after["ece"]}
    assert found["test"]["before"]["ece"] == content["ece"]
    assert after["errors"] == content["errors"]


def test_a_calibrated_copy_of_a_model_that_can_refuse(
    command: Command, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mnist_trainer.simulator.make.make_images", lambda kind, digits, labels, seeds: digits[:, 0])
    train("tiny.yaml", "data.simulate.non_digits=0.5", run_dir=here / "able")
    done = command("eval", "able", "--calibrate", "calm.pt")
    line = r"refusal threshold 0\.7000 → 0\.\d{4}; refused in validation: digits .* % → .* %, non-digits .* % → .* %"
    assert any(re.fullmatch(line, each) for each in done.out.splitlines())
    refusal = json.loads(command("eval", "able", "--calibrate", "again.pt", "--json").out)["calibration"]["refusal"]
    assert list(refusal) == ["before", "after"]
    assert list(refusal["after"]) == ["threshold", "digits", "non_digits"]
    assert load_checkpoint(here / "calm.pt").spec.refusal_threshold == refusal["after"]["threshold"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a", "--views", "0"], "--views must be 1 or more, got 0; 1 means without deformed copies."),
        (["a", "--compare"], "--compare takes exactly two checkpoints, got 1. An ensemble is one with --save."),
        (
            ["a", "b", "c", "--compare"],
            "--compare takes exactly two checkpoints, got 3. An ensemble is one with --save.",
        ),
        (["a", "b", "--compare", "--save", "c"], "--compare only prints: leave out --out, --save and --calibrate."),
        (["a", "--save", "c"], "--save writes an ensemble, so it takes two checkpoints or more; got 1."),
        (
            ["a", "b", "--save", "c", "--views", "3"],
            "--save writes the ensemble without views, as a checkpoint stores no views: leave out --views.",
        ),
        (["a", "b", "--save", "c", "--calibrate", "d"], "--calibrate writes the ensemble itself: leave out --save."),
        (
            ["a", "--calibrate", "c", "--views", "2"],
            "--calibrate works without views, as a checkpoint stores no views: leave out --views.",
        ),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    command: Command, here: Path, arguments: list[str], message: str
) -> None:
    assert command("eval", *arguments) == (2, "", f"{message}\n")


def test_what_is_judged_is_not_written_over(command: Command, pair: tuple[str, str]) -> None:
    best = Path("first") / "best.pt"
    before = best.read_bytes()
    message = f"{best} is one of the checkpoints, and is not overwritten. Name another file to write to.\n"
    assert command("eval", *pair, "--save", best) == (2, "", message)
    assert command("eval", pair[0], "--calibrate", best) == (2, "", message)
    assert best.read_bytes() == before


def test_another_runs_model_is_not_written_over(command: Command, pair: tuple[str, str], here: Path) -> None:
    train("tiny.yaml", run_dir=here / "third")
    best = Path("third") / "best.pt"
    before = best.read_bytes()
    message = f"{best} belongs to the run in that folder, and is not overwritten. Name another file to write to.\n"
    assert command("eval", *pair, "--save", best) == (2, "", message)
    assert command("eval", pair[0], "--calibrate", best) == (2, "", message)
    assert best.read_bytes() == before


def test_folders_that_are_missing_are_made(command: Command, pair: tuple[str, str]) -> None:
    assert command("eval", *pair, "--save", "new/deep/both.pt").code == 0
    assert command("eval", pair[0], "--calibrate", "new/calm/a.pt").code == 0
    files = ("new/deep/both.pt", "new/calm/a.pt", "new/calm/a-reliability.png")
    assert all(Path(file).exists() for file in files)


@pytest.mark.parametrize("option", ["--save", "--calibrate"])
def test_a_place_that_cannot_be_written_is_told_before_the_work(
    command: Command, pair: tuple[str, str], monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    monkeypatch.setattr("mnist_trainer.pipeline.evaluate.predict", None)
    Path("file").write_text("")
    checkpoints = pair if option == "--save" else pair[:1]
    message = "file: a file is where a folder is needed. Choose another path.\n"
    for member_names in ([option, "file/a.pt"], [option, "a.pt", "--out", "file"]):
        assert command("eval", *checkpoints, *member_names) == (7, "", message)
    assert not Path("a.pt").exists()


def test_no_copy_is_left_without_its_picture(command: Command, pair: tuple[str, str]) -> None:
    Path("calm-reliability.png").mkdir()
    done = command("eval", pair[0], "--calibrate", "calm.pt")
    assert done.code == 7 and done.err.startswith("calm-reliability.png can't be written: ")
    assert not Path("calm.pt").exists()


def test_a_missing_member_is_one_paragraph(command: Command, pair: tuple[str, str]) -> None:
    done = command("eval", pair[0], "nowhere", "--save", "both.pt")
    message = "nowhere: there is no such file, here or in runs. Name a .pt file, a run folder, latest or bundled."
    assert done == (4, "", f"{message}\n")
    assert not Path("both.pt").exists()


@pytest.mark.usefixtures("home")
def test_the_lost_digits_are_qmnists(command: Command) -> None:
    done = command("eval", "latest", "--split", "test50k")
    message = "test50k, the lost test images, is a split of qmnist (data.name=qmnist), not of digits."
    assert done == (2, "", f"{message}\n")


def test_a_model_that_knows_the_images_warns(command: Command, here: Path) -> None:
    whole = load_digits("test")
    np.savetxt(here / "train.csv", np.column_stack((whole.labels, whole.images.reshape(-1, 784))), "%d", ",")
    run = train("tiny.yaml", "data={name: folder, path: train.csv}")
    for arguments in ([], ["--json"], ["--compare", run.folder / "last.pt"]):
        done = command("eval", run.folder, *arguments, "data.name=digits")
        assert done.code == 0
        assert done.err.startswith(f"warning: {run.folder / 'best.pt'} was trained on {here / 'train.csv'}, and ")
        assert done.err.endswith(": the metrics are too optimistic.\n")
    content = json.loads(command("eval", run.folder, "--json", "data.name=digits").out)
    assert len(content["notes"]) == 1


# --- explanations ---


@pytest.mark.usefixtures("home")
def test_hidden_units_are_explained(command: Command, digits_run: Run, tmp_path: Path) -> None:
    plain, done = command("eval", "latest"), command("eval", "latest", "--explain", "--out", tmp_path)
    lines = done.out.splitlines()
    assert lines[: len(plain.out.splitlines())] == plain.out.splitlines()
    errors, loss = digits_run.test.errors, digits_run.test.loss
    first = (
        f"Each hidden unit switched off in turn, on 355 test images ({errors} errors, a loss of {loss:.4f} with all "
    )
    assert f"{first}units)" in lines
    assert lines[-1] == f"Written to {tmp_path}: influence.png, embedding.png, explanation.json"
    names = ["confusion.png", "embedding.png", "explanation.json", "influence.png", "mistakes.png", "predictions.csv"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    content = json.loads((tmp_path / "explanation.json").read_text())
    assert (content["errors"], content["count"], content["total"]) == (errors, 355, 355)
    assert content["loss"] == pytest.approx(loss)
    (layer,) = content["layers"]
    heads = next(
        index for index, line in enumerate(lines) if line.split() == ["layer", "unit", "errors", "loss", "active"]
    )
    most = lines[heads + 1].split()
    assert (int(most[1]), int(most[2])) == (int(np.lexsort((layer["loss"], layer["errors"]))[-1]), max(layer["errors"]))
    assert len([line for line in lines[heads + 1 :] if line.split()[:1] == ["1"]]) == 10
    for name in ("influence.png", "embedding.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.width in (600, 900)


@pytest.mark.usefixtures("home")
def test_the_explanation_in_json(command: Command, tmp_path: Path) -> None:
    plain, found = (json.loads(command("eval", "latest", "--json", *more).out) for more in ([], ["--explain"]))
    explanation = found.pop("explanation")
    assert found == plain
    command("eval", "latest", "--explain", "--out", tmp_path)
    assert explanation == json.loads((tmp_path / "explanation.json").read_text())


@pytest.mark.usefixtures("home")
def test_what_cannot_be_explained_is_refused(command: Command, digits_run: Run, tmp_path: Path) -> None:
    other = tmp_path / "other.pt"
    shutil.copy(digits_run.folder / "best.pt", other)
    together = "--explain takes one checkpoint, got 2: explain the members of an ensemble one by one."
    assert command("eval", "latest", other, "--explain") == (2, "", f"{together}\n")
    assert command("eval", "latest", "--explain", "--views", "2").code == 2
    assert command("eval", "latest", "--explain", "--calibrate", tmp_path / "c.pt").code == 2
    command("eval", "latest", other, "--save", tmp_path / "ensemble.pt")
    done = command("eval", tmp_path / "ensemble.pt", "--explain", "--out", tmp_path / "out")
    reason = "is an ensemble of 2 models, and --explain takes one. Explain its members one by one."
    assert done == (4, "", f"{tmp_path / 'ensemble.pt'} {reason}\n")
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_a_model_without_hidden_layers_cannot_be_explained(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = {"name": "digits", "limit": 50, "validation": 50}
    plots = {"plots": False, "gallery": False}
    train(
        {"data": data, "model": {"architecture": "mlp", "hidden": []}, "training": {"epochs": 1}, "report": plots},
        run_dir="runs/flat",
    )
    done = command("eval", "runs/flat", "--explain")
    assert (done.code, done.out) == (4, "")
    assert done.err.startswith("This model has no hidden layer: its outputs are computed directly from the pixels")


# --- suspicious labels ---


def test_suspicious_labels_are_printed_and_written(command: Command, here: Path) -> None:
    runs = [here / "1", here / "2"]
    for part, run in enumerate(runs, start=1):
        train("tiny.yaml", "data.validation=null", f"data.fold={part}/2", "training.epochs=1", run_dir=run)
    done = command("eval", *runs, "--suspicious", "--out", here / "out")
    lines = done.out.splitlines()
    assert (done.code, done.err) == (0, "")
    assert lines[0] == "2 models, each on the images that validated it, on digits"
    assert lines[1].startswith("out-of-fold training accuracy ")
    assert lines[-1] == f"Written to {here / 'out'}: suspicious.png, suspicious.csv"
    assert (here / "out" / "suspicious.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    with (here / "out" / "suspicious.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["index", "label", "self_confidence", "suggested", "probability", "confident"]
    sure = sum(row["confident"] == "true" for row in rows)
    told = f"{len(rows)} of 200 labels are doubted, {sure} of them by confident learning; the least self-confident:"
    assert lines[lines.index(told) + 2].split()[:2] == [rows[0]["index"], rows[0]["label"]]
    found = json.loads(command("eval", *runs, "--suspicious", "--json").out)
    assert [str(each["index"]) for each in found["suspicious"]] == [row["index"] for row in rows]
    assert (found["count"], "test" in found) == (200, False)
    one = command("eval", runs[0], "--suspicious", "--out", here / "none")
    assert (one.code, one.out) == (4, "")
    assert "Missing: data.fold=2/2." in one.err
    for other in (["--views", "2"], ["--split", "train"], ["--explain"], ["--save", "x.pt"]):
        assert command("eval", *runs, "--suspicious", *other).code == 2


# --- robustness ---


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """One setting of each sweep and attack, and simulated pictures that are read as what they show."""
    monkeypatch.setattr(robustness, "EPSILONS", (16,))
    for name, (form, values, change) in robustness.SWEEPS.items():
        monkeypatch.setitem(robustness.SWEEPS, name, (form, values[-1:], change))
    monkeypatch.setattr(simulated, "_make_tests", lambda kind, digits, labels, seeds: digits[:, 0].copy())


SETTINGS = ["rotation +45°", "shift 8 px", "noise σ 128", "blur σ 3 px", "contrast × 2", "thickness +2 px"]
ATTACKS = ["FGSM ε 16", "PGD ε 16"]


@pytest.mark.usefixtures("home", "few")
def test_robustness_of_a_run(command: Command, digits_run: Run, tmp_path: Path) -> None:
    done = command("eval", "latest", "--robustness", "--count", "2", "--out", tmp_path)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    head = next(index for index, line in enumerate(lines) if line.startswith("change "))
    correct = digits_run.test.accuracy
    assert lines[head + 1].startswith("none") and f" {100 * correct:.2f} %" in lines[head + 1]
    assert "FGSM and PGD: 2 evenly spread images, maximum norm" in done.out
    assert lines[-1] == f"Written to {tmp_path}: robustness.png, robustness.csv"
    with (tmp_path / "robustness.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    pictures = ["photograph all", "photograph plain", "photograph light_on_dark"]
    names = [f"{row['change']} {row['setting']}".strip() for row in rows]
    assert names == ["none", *SETTINGS, *ATTACKS, *pictures]
    assert float(rows[0]["accuracy"]) == correct and int(rows[0]["errors"]) == digits_run.test.errors
    assert {row["refused"] for row in rows} == {""}  # this model can't refuse
    with Image.open(tmp_path / "robustness.png") as picture:
        assert picture.size == (1200, 960)
    content = json.loads(command("eval", "latest", "--robustness", "--count", "2", "--json").out)["robustness"]
    assert [f"{row['change']} {row['setting']}".strip() for row in content] == names
    assert [row["accuracy"] for row in content] == [float(row["accuracy"]) for row in rows]


@pytest.mark.usefixtures("home", "few")
def test_robustness_of_an_ensemble_that_can_refuse(command: Command, digits_run: Run, tmp_path: Path) -> None:
    for name in ("a.pt", "b.pt"):
        checkpoint = load_checkpoint(digits_run.folder / "best.pt")
        member = replace(checkpoint.only, spec=replace(checkpoint.spec, refusal_threshold=0.5))
        save_checkpoint(tmp_path / name, replace(checkpoint, members=(member,)))
    pair = [tmp_path / name for name in ("a.pt", "b.pt")]
    content = json.loads(command("eval", *pair, "--robustness", "--count", "1", "--json").out)["robustness"]
    names = [f"{row['change']} {row['setting']}".strip() for row in content]
    assert names[-5:] == ["PGD ε 16", "photograph all", "photograph plain", "non-digit all", "non-digit blank"]
    assert all(row["refused"] is not None for row in content)
    assert content[-1]["accuracy"] == content[-1]["refused"] and content[-1]["ece"] is None


@pytest.mark.usefixtures("home", "few")
def test_photographs_are_not_photographed_again(digits_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    target = load_target(digits_run.folder, (), "validation")
    simulate = Simulate(photographs=1)
    config = target.config.model_copy(update={"data": target.config.data.model_copy(update={"simulate": simulate})})
    plain = evaluate_target(target, "validation")
    both = replace(plain, target=replace(target, config=config), dataset=plain.dataset.followed_by(plain.dataset))
    shown: list[ImageDataset] = []
    monkeypatch.setattr(evaluation, "picture_cases", lambda dataset, *_: shown.append(dataset) or iter(()))
    for result in (plain, both):
        measure_robustness(result, 1)
    assert torch.equal(shown[0].images, shown[1].images) and len(shown[0]) == digits_run.validation.count


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--count", "5"], "--count is for --robustness: add it, or leave out --count."),
        (["--robustness", "--count", "0"], "--count must be 1 or more, got 0."),
        (["--robustness", "--views", "3"], "--robustness works without views: leave out --views."),
        (
            ["--robustness", "--calibrate", "c.pt"],
            "--robustness can't be combined with --compare, --calibrate or --suspicious: leave one out.",
        ),
    ],
)
def test_what_robustness_does_not_go_with(command: Command, options: list[str], message: str) -> None:
    assert command("eval", "latest", *options) == (2, "", f"{message}\n")


@pytest.mark.usefixtures("home", "few")
def test_other_data_join_mnist(command: Command, digits_run: Run, tmp_path: Path) -> None:
    """QMNIST's parts and MNIST-C are read where their files lie; other test sets than MNIST's stay alone."""
    images = load_digits("test").images[:6].numpy()
    for name in ("fog", "zigzag"):
        folder = tmp_path / "mnist_c" / name
        folder.mkdir(parents=True)
        np.save(folder / "test_images.npy", images[..., None])
        np.save(folder / "test_labels.npy", load_digits("test").labels[:6].numpy())
    found = json.loads(command("eval", "latest", "--json", "data.name=mnist-c", f"data.root={tmp_path}").out)
    assert (found["dataset"], found["count"]) == ("mnist-c", 12)
    one = command("eval", "latest", "--json", "data.name=mnist-c", "data.path=fog", f"data.root={tmp_path}")
    assert json.loads(one.out)["count"] == 6
    cases = list(_other_data(Data(name="mnist", root=str(tmp_path))))
    assert [(case.change, case.setting, len(case.dataset)) for case in cases] == [
        ("MNIST-C", "fog", 6),
        ("MNIST-C", "zigzag", 6),
    ]
