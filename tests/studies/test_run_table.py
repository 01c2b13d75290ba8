from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mnist_trainer.files import folder_lock
from mnist_trainer.studies import run_table
from mnist_trainer.studies.run_summary import RunSummary, read_run, read_runs
from mnist_trainer.studies.run_table import curves, labels, order_notes, table

FakeRun = Callable[..., Path]


@pytest.fixture(autouse=True)
def in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Times are shown in the time zone of the machine."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def runs(fake_run: FakeRun, tmp_path: Path) -> list[RunSummary]:
    """A finished run, one with another loss that failed, and one that is torn."""
    fake_run("runs/one")
    none = {"test": None, "validation": None, "best_epoch": 1, "epochs": 1, "timings": {"training_seconds": 0.0}}
    failed = {"name": "two", "status": "failed", "stop_reason": "DivergedError", **none}
    fake_run("runs/two", {**failed, "started_at": "2026-03-14T15:10:00Z"}, "loss=mse")
    fake_run("runs/three", {"started_at": "2026-03-14T15:11:00Z"}, metrics="epoch,phase\n1,train\n2,tr")
    return read_runs(tmp_path / "runs")


def test_the_whole_table(runs: list[RunSummary]) -> None:
    lines, notes = table(runs)
    assert lines == [
        "folder  time              name   model               data    epochs  best  val_loss  val_acc  test_acc"
        "          interval  seconds  status",
        "one     2026-03-14 15:09  small  mlp 784-8-10, relu  digits     3/3     2  0.2500 a  95.00 %   90.00 %"
        "  82.60 to 94.50 %     12.5  finished",
        "two     2026-03-14 15:10  two    mlp 784-8-10, relu  digits     1/3     1  1.2500 b  60.00 %         -"
        "                 -      0.0  failed (Diverged)",
        "three   2026-03-14 15:11  small  mlp 784-8-10, relu  digits     3/3     2  0.2500 a  95.00 %   90.00 %"
        "  82.60 to 94.50 %     12.5  finished, damaged",
    ]
    assert notes == [
        "Losses with different letters can't be compared: a cross_entropy, mean; b mse, mean.",
        "three: metrics.csv: its last row is torn",
    ]


@pytest.mark.parametrize("width", [40, 80, 100, 140, 200])
def test_the_table_keeps_to_the_terminal(runs: list[RunSummary], width: int) -> None:
    lines, notes = table(runs, width)
    assert all(len(line) <= width for line in lines) or width == 40
    heads = lines[0].split()
    assert {"folder", "val_acc", "test_acc", "status"} <= set(heads)
    assert ("can't be compared" in notes[0]) == ("val_loss" in heads)
    left_out = notes[-1].removeprefix("Not shown, because the terminal is too narrow: ").removesuffix(".").split(", ")
    if notes[-1].startswith("Not shown"):
        assert {*heads, *left_out} == set(table(runs).lines[0].split())


def test_at_80_columns_it_is_known_what_was_trained_and_how_well(runs: list[RunSummary]) -> None:
    assert table(runs[:1], 80).lines == [
        "folder  name   epochs  best  val_loss  val_acc  test_acc  seconds  status",
        "one     small     3/3     2    0.2500  95.00 %   90.00 %     12.5  finished",
    ]


@pytest.mark.parametrize("width", [20, 60, 80, 120])
def test_the_folder_is_first_and_whole_at_any_width(width: int) -> None:
    run = RunSummary(Path("2026-03-14_15-09-26-a-name-that-is-longer-than-most"), "a name", model="mlp", data="mnist")
    assert table([run], width).lines[1].split()[0] == run.path.name


def test_other_data_sets_and_yes_no_models_have_other_letters(fake_run: FakeRun) -> None:
    fake_run("runs/one")
    fake_run("runs/two", {"started_at": "2026-03-14T16:00:00Z"}, "data.binary=7", "loss=bce")
    found = read_runs(fake_run("runs/three", {"started_at": "2026-03-14T17:00:00Z"}).parent)
    lines, notes = table(found)
    assert ["95.00 % A" in line for line in lines[1:]] == [True, False, True]
    assert "digits, 7 or not" in lines[2] and "95.00 % B  90.00 % B" in lines[2]
    assert notes[0] == "Accuracies and losses with different letters can't be compared: A digits; B digits, 7 or not."
    assert order_notes(found, "test_acc") == [
        "test_acc is not the same metric in all these runs: their order is valid only within one data set."
    ]
    assert order_notes(found[::2], "test_acc") == []


def test_losses_of_one_kind_have_no_letters(runs: list[RunSummary]) -> None:
    lines, notes = table([runs[0], runs[2]])
    assert "0.2500  95.00 %" in lines[1]
    assert notes == ["three: metrics.csv: its last row is torn"]


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> datetime:
    """The clock stands still at noon."""
    noon = datetime(2026, 7, 1, 12).astimezone()

    class Still(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return noon.astimezone(tz) if tz else noon.replace(tzinfo=None)

    monkeypatch.setattr(run_table, "datetime", Still)
    return noon


def test_a_dead_run_is_running_since_it_began(fake_run: FakeRun, now: datetime) -> None:
    path = fake_run("one", {"status": "running", "test": None, "validation": None})
    lines, notes = table([read_run(path)])
    assert lines[1].endswith("  running since 03-14")
    assert notes == []
    for ago, words in ((1200, "20 minutes"), (7300, "2 hours"), (3 * 86400, "3 days")):
        for file in path.iterdir():
            os.utime(file, (now.timestamp() - ago, now.timestamp() - ago))
        silent = f"one: has written nothing for {words}; its process may be dead."
        assert table([read_run(path)]).notes == [silent]


def test_a_dead_series_is_noted_as_a_run_is(fake_run: FakeRun, now: datetime) -> None:
    path = fake_run("many", {"kind": "seeds", "status": "running", "test": None, "validation": None})
    for file in path.iterdir():
        os.utime(file, (now.timestamp() - 7300, now.timestamp() - 7300))
    note = "many: has written nothing for 2 hours; its process may be dead."
    assert note in table([read_run(path)]).notes


@pytest.mark.parametrize(("status", "shown"), [("running", "killed"), ("interrupted", "interrupted")])
@pytest.mark.parametrize("kind", ["run", "seeds"])
def test_what_can_go_on_says_how(fake_run: FakeRun, status: str, shown: str, kind: str) -> None:
    path = fake_run("one", {"kind": kind, "status": status, "test": None, "validation": None})
    (path / ".lock").write_text(json.dumps({"host": socket.gethostname(), "pid": dead_process()}))
    for _ in range(2):
        lines, notes = table([read_run(path)])
        assert lines[1].endswith(f"  {shown}")
        assert f"one was {shown}. Resume with: mnist-train --resume {path}" in notes
        (path / ".lock").unlink(missing_ok=True)  # nobody holds it


def test_a_run_of_this_host_is_running_as_long_as_its_process(fake_run: FakeRun) -> None:
    path = fake_run("one", {"status": "running", "test": None, "validation": None})
    (path / ".lock").write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}))
    assert read_run(path).status == "killed"  # the number is another's now: nobody holds the lock
    with folder_lock(path):
        assert read_run(path).status == "running"


def dead_process() -> int:
    """The number of a process that has ended."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_a_run_of_today_is_running_since_a_time(now: datetime) -> None:
    began = now - timedelta(seconds=1)
    run = RunSummary(Path("one"), "one", status="running", started_at=began)
    assert f"running since {began:%H:%M}" in table([run]).lines[1]


def test_series_say_what_their_figures_are() -> None:
    seeds = RunSummary(Path("a"), "mlp", kind="seeds", members=5, test_accuracy=0.98, test_interval=(0.97, 1.01))
    sweep = RunSummary(Path("b"), "cnn", kind="sweep", members=40)
    lines, notes = table([seeds, sweep])
    assert "mlp (5 seeds)" in lines[1] and "97.00 to 100.00 %" in lines[1]
    assert "cnn (40 trials)" in lines[2]
    assert notes == [
        "Metrics of a series are means over its seeds, with the 95 % interval of the mean.",
        "Metrics of a sweep are those of its best trial by validation; trials.csv in its folder has all trials.",
    ]


def test_what_would_upset_a_terminal_is_escaped() -> None:
    run = RunSummary(Path("fo\x1blder"), "na\nme", ("bad\x07",), status="st\tatus", model="mo\x00del")
    lines, notes = table([run])
    assert len(lines) == 2
    assert all(line.isprintable() for line in [*lines, *notes])
    assert notes == [r"fo\x1blder: bad\x07"]


def test_an_order_by_losses_of_several_kinds_is_no_order(runs: list[RunSummary]) -> None:
    (note,) = order_notes(runs, "val_loss")
    mixed = "val_loss is not the same metric in all these runs"
    assert note == f"{mixed}: their order is valid only within one kind of loss."
    assert order_notes(runs[:1], "val_loss") == order_notes(runs, "val_acc") == order_notes(runs, None) == []


def test_runs_are_called_by_names_that_tell_them_apart(runs: list[RunSummary]) -> None:
    assert labels(runs) == ["one", "two", "three"]
    assert labels(runs[:2]) == ["small", "two"]


def test_curves_are_of_the_runs_that_have_an_epoch(runs: list[RunSummary]) -> None:
    empty = RunSummary(Path("empty"), "empty")
    drawn, left_out = curves([*runs, empty])
    assert [(curve.label, curve.loss_kind, len(curve.rows)) for curve in drawn] == [
        ("one", "cross_entropy, mean", 3),
        ("two", "mse, mean", 3),
        ("three", "cross_entropy, mean", 1),
    ]
    assert left_out == ["empty"]


def test_the_runs_of_a_series_and_the_trials_of_a_sweep_are_drawn(fake_run: FakeRun, tmp_path: Path) -> None:
    fake_run("runs/many", {"name": "many", "kind": "seeds"}, metrics=None)
    for seed in (0, 1):
        fake_run(f"runs/many/seed-{seed}")
    sweep = fake_run("runs/search", {"name": "search", "kind": "sweep"}, metrics=None)
    (sweep / "curves.csv").write_text("trial,epoch,val_loss\n0,1,0.5\n0,2,0.4\n3,1,0.6\nx,1,2\n")
    drawn, left_out = curves(read_runs(tmp_path / "runs"))
    assert left_out == []
    assert sorted((curve.label, len(curve.rows), curve.split) for curve in drawn) == [
        ("many: 2 seeds", 3, "val"),
        ("many: 2 seeds", 3, "val"),
        ("search: 2 trials", 1, "val"),
        ("search: 2 trials", 2, "val"),
    ]
