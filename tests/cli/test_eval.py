from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mnist_trainer import Run
from mnist_trainer.pipeline.evaluation import CHANGEABLE
from mnist_trainer.reports.text import evaluation_lines
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
    message = f"{tmp_path / 'report'}: a file stands where a folder is needed. Choose another place."
    assert done == (7, "", f"{message}\n")


@pytest.mark.usefixtures("home")
def test_mistakes_are_placed_at_overrides_and_options(command: Command) -> None:
    done = command("eval", "data.limit=0", "latest", "data.nam=mnist", "--device", "gpu")
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines() == [
        "override 1  data.limit: must be greater than 0, got 0",
        "override 2  data.nam: unknown key; did you mean 'name'?",
        "--device  device: 'gpu' is not possible here (cpu, cuda, cuda:1, mps; auto takes a GPU where there is one)",
    ]


@pytest.mark.usefixtures("home")
def test_what_belongs_to_training_is_refused(command: Command) -> None:
    done = command("eval", "latest", "data.name=digits", "optimizer.lr=1", "model.hidden=[3]")
    reason = f"can't be changed in evaluation; these can: {', '.join(CHANGEABLE)}"
    assert done == (2, "", f"override 2  optimizer.lr: {reason}\noverride 3  model.hidden: {reason}\n")


@pytest.mark.parametrize(
    ("arguments", "got"), [(["data.name=mnist"], "none"), (["a.pt", "b.pt", "data.name=mnist"], "a.pt, b.pt")]
)
def test_one_checkpoint_is_needed(command: Command, here: Path, arguments: list[str], got: str) -> None:
    message = f"mnist-eval takes one checkpoint, a .pt file, a run folder or latest; got {got}."
    assert command("eval", *arguments) == (2, "", f"{message}\n")


def test_what_is_no_checkpoint_is_told(command: Command, here: Path) -> None:
    done = command("eval", "tiny.yaml")
    assert done == (4, "", "tiny.yaml is no checkpoint, or a damaged one (File is not a zip file).\n")
    done = command("eval", "latest")
    message = "There is no finished run under runs. Train one (mnist-train --config quickstart) or name a checkpoint."
    assert done == (4, "", f"{message}\n")


def test_a_model_of_the_users_is_refused_by_name(command: Command, digits_run: Run, here: Path) -> None:
    own = replace(load_checkpoint(digits_run.folder / "best.pt"), custom={"model": "my_module.MyNet"})
    save_checkpoint(here / "own.pt", own)
    for arguments in (["eval", "own.pt"], ["predict", "picture.png", "--checkpoint", "own.pt"]):
        done = command(*arguments)
        assert (done.code, done.out) == (4, "")
        assert done.err.startswith("This checkpoint's model is my_module.MyNet, which is not part of mnist_trainer. ")


@pytest.mark.usefixtures("home")
def test_data_that_cannot_be_had_are_told(command: Command, tmp_path: Path) -> None:
    done = command("eval", "latest", "data.name=folder", f"data.path={tmp_path / 'lost'}")
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith("data.path: there is no folder ")
