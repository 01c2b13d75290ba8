from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mnist_trainer import Run
from mnist_trainer.errors import UsageError
from mnist_trainer.studies.run_summary import DAMAGED, read_run, read_runs

FakeRun = Callable[..., Path]

SPREAD = {"mean": 0.97, "sd": 0.01, "min": 0.96, "max": 0.98, "interval": [0.94, 1.01], "count": 2}


def test_a_real_run_is_read_as_it_was(digits_run: Run) -> None:
    found = read_run(digits_run.folder)
    assert digits_run.validation is not None
    assert found.problems == ()
    assert (found.name, found.status, found.kind, found.model) == ("shared", "finished", "run", "mlp 784-32-10, relu")
    assert (found.epochs, found.planned_epochs, found.best_epoch) == (4, 4, digits_run.best_epoch)
    assert (found.test_accuracy, found.test_interval) == (digits_run.test.accuracy, digits_run.test.interval)
    assert (found.val_accuracy, found.val_loss) == (digits_run.validation.accuracy, digits_run.validation.loss)
    assert found.parameters == 784 * 32 + 32 + 32 * 10 + 10
    assert [row["val_loss"] for row in found.rows] == [record.val_loss for record in digits_run.records]
    assert found.config["optimizer"]["lr"] == 0.005
    assert found.loss == "cross_entropy, mean"


def test_a_run_without_an_end_is_known_from_its_rows(fake_run: FakeRun) -> None:
    unfinished = {"status": "running", "best_epoch": None, "epochs": 0, "test": None, "validation": None, "timings": {}}
    path = fake_run("one", unfinished)
    found = read_run(path)
    assert (found.epochs, found.best_epoch, found.val_loss, found.val_accuracy) == (3, 2, 0.25, 0.95)
    assert (found.seconds, found.test_accuracy) == (4.0, None)
    for file in path.iterdir():
        os.utime(file, (1_000_000_000, 1_000_000_000))
    assert read_run(path).written_at == datetime.fromtimestamp(1_000_000_000, UTC)


@pytest.mark.parametrize("kind", ["seeds", "sweep"])
def test_of_several_runs_it_is_known_when_any_wrote_last(fake_run: FakeRun, kind: str) -> None:
    path = fake_run("many", {"kind": kind, "status": "running", "test": None, "validation": None, "timings": {}})
    row = fake_run("many/seed-0") / "metrics.csv"
    for file in path.rglob("*"):
        os.utime(file, (1_000_000_000, 1_000_000_000))
    os.utime(row, (1_000_000_060, 1_000_000_060))
    assert read_run(path).written_at == datetime.fromtimestamp(1_000_000_060, UTC)


@pytest.mark.parametrize(
    ("rule", "best"), [("null", 2), ("{monitor: val_accuracy}", 3), ("{monitor: val_loss}", 2), ("null, keep: last", 3)]
)
def test_the_best_epoch_is_the_one_by_the_runs_own_rule(fake_run: FakeRun, rule: str, best: int) -> None:
    rows = "epoch,phase,val_loss,val_accuracy\n1,train,3,0.7\n2,train,1,0.8\n3,train,2,0.9\n4,refit,0,1\n"
    path = fake_run(
        "one", {"best_epoch": None, "validation": None}, f"training={{early_stopping: {rule}}}", metrics=rows
    )
    assert read_run(path).best_epoch == best


def test_without_validation_the_last_epoch_is_best(fake_run: FakeRun) -> None:
    rows = "epoch,phase,train_loss,val_loss,val_accuracy\n1,train,3,,\n2,train,1,,\n"
    found = read_run(fake_run("one", {"best_epoch": None, "validation": None}, metrics=rows))
    assert (found.best_epoch, found.val_loss, found.val_accuracy) == (2, None, None)


def test_a_series_has_means_and_the_seconds_of_all(fake_run: FakeRun) -> None:
    figures = {"accuracy": SPREAD, "loss": {**SPREAD, "mean": 0.2}}
    record = {"kind": "seeds", "seeds": [0, 1, 2], "test": figures, "validation": figures, "best_epoch": None}
    timings = {"training_seconds": {**SPREAD, "mean": 5.0}, "total_seconds": 3.0}
    found = read_run(fake_run("s", {**record, "timings": timings}, metrics=None))
    assert (found.problems, found.members, found.seconds) == ((), 3, 10.0)
    assert (found.test_accuracy, found.test_interval, found.test_loss) == (0.97, (0.94, 1.01), 0.2)
    assert (found.val_accuracy, found.val_loss) == (0.97, 0.2)


def test_a_sweep_has_its_best_trial(fake_run: FakeRun, tmp_path: Path) -> None:
    best = {
        "trial": 4,
        "value": 0.2,
        "epoch": 7,
        "val_loss": 0.2,
        "val_accuracy": 0.96,
        "values": {"optimizer.lr": 0.1},
    }
    none = {"best_epoch": None, "test": None, "validation": None, "epochs": None}
    record = {"kind": "sweep", "trials": 20, "best": best, "timings": {"total_seconds": 60.0}, **none}
    path = fake_run("sweep", record, "optimizer.lr=0.1", metrics=None)
    (path / "config.yaml").rename(path / "best.yaml")
    found = read_run(path)
    assert (found.problems, found.members, found.seconds, found.best_epoch) == ((), 20, 60.0, 7)
    assert (found.val_loss, found.val_accuracy, found.config["optimizer"]["lr"]) == (0.2, 0.96, 0.1)
    assert [run.path for run in read_runs(path)] == [path]
    (path / "best.yaml").unlink()
    assert read_run(path).problems == ("no best.yaml",)
    (path / "run.json").write_text(json.dumps({"kind": "sweep", "status": "running", "best": None, "trials": 20}))
    assert (read_run(path).problems, read_run(path).members) == ((), 20)


def test_a_series_lists_its_runs_and_a_run_itself(fake_run: FakeRun, tmp_path: Path) -> None:
    series = fake_run("runs/s", {"kind": "seeds", "seeds": [0, 1]}, metrics=None)
    for seed in (0, 1):
        fake_run(f"runs/s/seed-{seed}", {"seed": seed})
    (series / "plots").mkdir()
    assert [run.path.name for run in read_runs(tmp_path / "runs")] == ["s"]
    assert [run.path.name for run in read_runs(series)] == ["seed-0", "seed-1"]
    assert [run.path.name for run in read_runs(series / "seed-1")] == ["seed-1"]
    (series / "run.json").write_text("{")
    assert [run.path.name for run in read_runs(series)] == ["seed-0", "seed-1"]


def test_the_latest_run_is_last_and_what_has_no_time_first(fake_run: FakeRun, tmp_path: Path) -> None:
    fake_run("runs/b", {"started_at": "2026-03-14T15:00:00+00:00"})
    fake_run("runs/a", {"started_at": "2026-03-14T16:00:00+02:00"})
    (tmp_path / "runs" / "2026-03-15_00-00-00-cut").mkdir()
    (tmp_path / "runs" / "z").mkdir()
    (tmp_path / "runs" / "README.md").touch()
    (tmp_path / "runs" / ".hidden").mkdir()
    found = read_runs(tmp_path / "runs")
    assert [run.folder for run in found] == ["z", "a", "b", "2026-03-15_00-00-00-cut"]
    assert found[-1].name == "cut"


def test_losses_can_be_compared_where_they_are_the_same(fake_run: FakeRun) -> None:
    weights = f"loss.class_weights={[2.0] + [1.0] * 9}"
    kinds = [
        read_run(fake_run(f"run{index}", {}, *overrides)).loss
        for index, overrides in enumerate([(), ("loss=mse",), ("loss=sse",), ("loss.reduction=sum",), (weights,)])
    ]
    assert kinds[:4] == ["cross_entropy, mean", "mse, mean", "mse, sum", "cross_entropy, sum"]
    assert kinds[4] == "cross_entropy, mean, class_weights [2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]"
    assert read_run(fake_run("own", {"custom": {"loss": "mine.focal"}})).loss == "mine.focal"


def test_a_run_of_an_older_version_has_its_architecture(fake_run: FakeRun) -> None:
    assert read_run(fake_run("one", {"model": None})).model == "mlp"


def test_json_tells_everything_but_the_rows(fake_run: FakeRun) -> None:
    found = json.loads(json.dumps(read_run(fake_run("one")).to_json(), allow_nan=False))
    assert found["folder"] == "one"
    assert found["started_at"] == "2026-03-14T15:09:26.535000+00:00"
    assert (found["val_accuracy"], found["test_interval"], found["members"]) == (0.95, [0.826, 0.945], None)
    assert found["config"]["model"]["hidden"] == [8]
    assert "rows" not in found


@pytest.mark.parametrize(
    ("name", "words"),
    [("missing", "there is no such folder. Train a run"), ("file", "is a file. Name the folder")],
)
def test_a_folder_that_is_none_is_refused(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=words):
        read_runs(tmp_path / name)


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "2026-03-14_15-09-26-locked").mkdir()
    listing = Path.iterdir

    def refuse(path: Path) -> Any:
        if path.name.endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return listing(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    (found,) = read_runs(tmp_path)
    assert (found.name, found.status, found.problems) == ("locked", DAMAGED, ("can't be read: Permission denied",))
    with pytest.raises(UsageError, match="can't be read: Permission denied"):
        read_runs(tmp_path / "2026-03-14_15-09-26-locked")


def test_the_lab_and_the_search_for_a_learning_rate_are_no_runs(fake_run: FakeRun, tmp_path: Path) -> None:
    fake_run("runs/one")
    for name in ("lab/perceptron/perceptron.json", "find-lr/mlp.png"):
        (tmp_path / "runs" / name).parent.mkdir(parents=True)
        (tmp_path / "runs" / name).touch()
    assert [run.folder for run in read_runs(tmp_path / "runs")] == ["one"]


def test_folders_that_are_no_runs_say_so(fake_run: FakeRun, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    (runs / "empty").mkdir(parents=True)
    (runs / "notes").mkdir()
    (runs / "notes" / "todo.txt").touch()
    fake_run("runs/old/one")
    fake_run("runs/old/two")
    (runs / "loop").symlink_to(runs / "loop")
    (runs / "around").symlink_to(runs)
    (runs / "moved").symlink_to(tmp_path / "nowhere")
    (runs / "file").symlink_to(tmp_path / "old" / "one" / "run.json")
    found = {run.folder: run for run in read_runs(runs)}
    assert {run.status for run in found.values()} == {DAMAGED}
    assert found["empty"].problems == ("empty folder",)
    assert found["notes"].problems == ("no config.yaml, no run.json",)
    assert found["old"].problems == (f"no run, but 2 in it: mnist-runs {runs / 'old'}",)
    assert found["loop"].problems[0].startswith("can't be read: ")
    assert found["moved"].problems == ("can't be read: No such file or directory",)
    assert "around" in found
