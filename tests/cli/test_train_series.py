from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mnist_trainer.files import folder_lock

Command = Callable[..., Any]

MEAN = r"mean \d+\.\d\d % \(95 % interval of the mean \d+\.\d\d to \d+\.\d\d %\), sd \d+\.\d\d, "
RESULT = re.compile(rf"(\S+): test accuracy {MEAN}\d+\.\d\d to \d+\.\d\d, (\d+) seeds")


def record_of(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    return record


def test_a_series_from_the_command_line(command: Command, here: Path) -> None:
    done = command("train", "--config", "tiny.yaml", "--seeds", "2", "training.epochs=1", "--run-dir", "many")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[3:6] == [
        "seeds  0, 1; 1 at a time",
        "folder many",
        " seed  test accuracy  errors  val accuracy  val loss  best epoch  seconds",
    ]
    assert [line[:5] for line in lines[6:10]] == ["    0", "    1", " mean", "   sd"]
    found = RESULT.fullmatch(lines[-1])
    assert found is not None and found.groups() == ("many", "2")
    again = command("train", "--config", "many/config.yaml", "--seeds", "1,0,5", "--run-dir", "many", "--quiet")
    assert (again.code, again.err) == (0, "")
    found = RESULT.fullmatch(again.out.removesuffix("\n"))
    assert found is not None and found.groups() == ("many", "3")
    assert record_of(here / "many")["seeds"] == [1, 0, 5]


def test_a_series_without_tests_says_so(command: Command, here: Path) -> None:
    series = ["train", "--config", "tiny.yaml", "--seeds", "2", "training.epochs=1", "report.test=false"]
    done = command(*series, "--run-dir", "many")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert [line.split()[1:3] for line in lines[6:8]] == [["-", "-"], ["-", "-"]]
    assert lines[-1].startswith("many: validation accuracy mean ")
    assert lines[-1].endswith(", 2 seeds; not tested")
    assert command("runs", ".", "--sort", "test_acc").code == 0
    done = command(*series, "data.validation=0", "--run-dir", "nothing", "--quiet")
    assert done.code == 0
    assert done.out == "nothing: not tested, and without validation images\n"


def test_the_latest_may_be_a_series(command: Command, here: Path) -> None:
    assert command("train", "--config", "tiny.yaml", "--seeds", "2", "training.epochs=1").code == 0
    (series,) = Path("runs").iterdir()
    done = command("train", "--resume", "latest")
    assert (done.code, done.err) == (0, "")
    assert "2 of 2 are finished already." in done.out.splitlines()
    (series / "seed-1" / "best.pt").unlink()  # it is to be made again
    record = record_of(series)
    (series / "run.json").write_text(json.dumps({**record, "status": "interrupted"}))
    assert command("train", "--config", "tiny.yaml", "--run-dir", "runs/later").code == 0
    done = command("train", "--resume", "latest", "--jobs", "1")
    assert (done.code, done.err) == (0, "")
    assert "1 of 2 are finished already." in done.out.splitlines()
    assert [record_of(series)[key] for key in ("kind", "status", "seeds")] == ["seeds", "finished", [0, 1]]
    assert not (series / "metrics.csv").exists()
    done = command("train", "--resume", "latest", "--on-interrupt", "finish")
    assert (done.code, done.err) == (2, f"{series} is a series of runs: leave --take-over and --on-interrupt out.\n")
    done = command("train", "--resume", "runs/later", "--jobs", "2")
    assert done == (2, "", "--jobs is how many runs of a series are trained at a time.\n")


def test_the_latest_to_evaluate_may_be_in_a_series(command: Command, here: Path) -> None:
    assert command("train", "--config", "tiny.yaml", "--run-dir", "runs/one").code == 0
    assert command("train", "--config", "tiny.yaml", "--seeds", "2", "--run-dir", "runs/many").code == 0
    done = command("eval", "latest")
    assert (done.code, done.err) == (0, "")
    assert "runs/many/seed-1/best.pt" in done.out.replace(os.sep, "/")


def test_a_series_of_another_config_is_refused(command: Command, here: Path) -> None:
    series = ["train", "--config", "tiny.yaml", "--seeds", "1", "--run-dir", "many", "training.epochs=1"]
    assert command(*series).code == 0
    done = command(*series, "optimizer.lr=0.5")
    assert done == (
        2,
        "",
        "many holds another config: optimizer.lr is 0.001 there and 0.5 here. "
        "Choose another --run-dir, or continue it with the same config.\n",
    )


def test_a_series_in_use_is_refused(command: Command, here: Path) -> None:
    (here / "many").mkdir()
    with folder_lock(here / "many"):
        done = command("train", "--config", "tiny.yaml", "--seeds", "1", "--run-dir", "many")
    assert (done.code, done.out) == (7, "")
    assert done.err.startswith("many is in use by process ")
    assert done.err.endswith(". Wait until it ends, or use another folder.\n")
    assert list((here / "many").iterdir()) == []


def test_a_failure_ends_the_command_with_its_code(command: Command, here: Path) -> None:
    overrides = ["optimizer={name: sgd, lr: 1e30}", "loss=mse"]
    done = command("train", "--config", "tiny.yaml", "--seeds", "2", *overrides, "--run-dir", "many")
    assert done.code == 6
    assert re.search(r"^    1  failed: The loss became \S+ in epoch 1", done.out, re.MULTILINE)
    assert re.fullmatch(r"2 of 2 runs failed\. Seed 0: The loss became \S+ in epoch 1, .*\n", done.err)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "0"], "A series has 1 to 1000 seeds. For one run with a given seed, use --seed N."),
        (["--seeds", "0,0"], "The seeds of a series must differ, but 0 is given twice."),
        (["--seeds", "a"], "--seeds takes a number, as in --seeds 5, or a list, as in --seeds 0,1,2; got 'a'."),
        (["--seeds", "-1"], "--seeds takes a number, as in --seeds 5, or a list, as in --seeds 0,1,2; got '-1'."),
        (["--seeds", "2", "--seed", "1"], "--seeds names the seeds of a series; leave --seed out."),
        (["--seeds", "2", "seed=1"], "--seeds names the seeds of a series; leave seed=1 out."),
        (["--jobs", "2"], "--jobs is how many runs of a series are trained at a time; it needs --seeds."),
        (["--seeds", "2", "--jobs", "0"], "At least 1 job is needed; got 0."),
    ],
)
def test_what_does_not_go_together_is_told_in_a_line(
    arguments: list[str], message: str, command: Command, here: Path
) -> None:
    assert command("train", "--config", "tiny.yaml", *arguments) == (2, "", f"{message}\n")
    assert [path.name for path in here.iterdir()] == ["tiny.yaml"]


def test_mistakes_in_seeds_are_told_fast(light: Command, here: Path) -> None:
    assert light("train", "--config", "tiny.yaml", "--seeds", "0").code == 2


def test_a_series_is_checked_as_a_run_is(command: Command, here: Path) -> None:
    lone = command("train", "--config", "tiny.yaml", "--check", "--device", "cpu")
    assert command("train", "--config", "tiny.yaml", "--check", "--device", "cpu", "--seeds", "3") == lone
    assert lone.code == 0


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to a single process")
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_stops_all_runs_and_the_series_goes_on(
    jobs: str, process: Command, command: Command, here: Path
) -> None:
    series = ["train", "--config", "tiny.yaml", "--seeds", "2", "--jobs", jobs, "--run-dir", "many"]
    child = process(*series, "training.epochs=1000000")
    first = here / "many" / "seed-0" / "metrics.csv"
    while child.poll() is None and (not first.exists() or len(first.read_text().splitlines()) < 2):
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=600)
    assert child.returncode == 130, err
    assert "    0  interrupted" in out.splitlines()
    text, again = err.splitlines()
    assert text == "Stopped; 0 of 2 runs are finished."
    assert again == "Resume with: mnist-train --resume many"
    assert record_of(here / "many")["status"] == "interrupted"
    assert record_of(here / "many")["jobs"] == int(jobs)
    done = command("train", "--resume", "many", "training.epochs=1")  # another config than the run was started with
    assert (done.code, done.out) == (2, "")
    assert "training.epochs is 1000000 there and 1 here" in done.err
