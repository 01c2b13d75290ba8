"""`mnist-sweep` as it is typed; what a sweep does is tested in tests/studies."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]

SWEEP = """\
base: tiny.yaml
space:
  optimizer.lr: {choice: [0.01, 0.02, 1e30]}
sampler: grid
"""


@pytest.fixture
def sweep(here: Path) -> Path:
    path = here / "lr.yaml"
    path.write_text(SWEEP)
    return path


def test_help_says_all_options(light: Command) -> None:
    done = light("sweep", "--help")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("Usage: mnist-sweep [OPTIONS] ")
    for option in ("--trials N", "--jobs J", "--minutes M", "--storage URL", "--run-dir DIR", "--quiet", "--json"):
        assert option in done.out


def test_a_list_of_sweeps_with_a_phrase_each(light: Command) -> None:
    done = light("sweep")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[0] == "Sweeps that come with mnist-sweep:"
    assert "  mlp  Hyperparameters of the MLP" in done.out


def test_mistakes_are_told_before_anything_is_loaded(light: Command, here: Path) -> None:
    (here / "bad.yaml").write_text("base: tiny.yaml\nspace:\n  optimizer.lrr: {choice: [1]}\n  seed: {int: [2, 1]}\n")
    done = light("sweep", "bad.yaml", "seed=x")
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines() == [
        "bad.yaml:3:3  space.optimizer.lrr: unknown key; did you mean 'lr'?",
        "bad.yaml:4:9  space.seed: the first bound must be the smaller one, got [2, 1]",
        "override 1  seed: expected a whole number, got text 'x'",
    ]
    assert light("sweep", "mpl") == (2, "", "mpl  no such file; did you mean the shipped sweep 'mlp'?\n")
    assert light("sweep", "seed=1") == (2, "", "No sweep is given. For example: mnist-sweep mlp seed=1\n")


def test_what_is_printed(command: Command, sweep: Path) -> None:
    done = command("sweep", "lr.yaml", "optimizer.name=sgd", "--run-dir", "out")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[:5] == [
        "sweep  lr: 3 trials, grid with median pruning, by val_loss",
        "space  optimizer.lr",
        "jobs   1 at a time, 1 thread each",
        "study  out/journal.log",
        "folder out",
    ]
    assert lines[5].split() == ["trial", "val", "loss", "val", "accuracy", "epochs", "seconds"]
    assert [line.split()[:2] for line in lines[6:12:2]] == [["0", "finished"], ["1", "finished"], ["2", "failed"]]
    assert lines[6].endswith("* best so far")
    assert lines[7:13:2] == [f"       lr={lr}" for lr in ("0.01", "0.02", "1e+30")]
    assert lines[12].startswith("       The loss became ")
    assert lines[-4:-2] == [
        "Written to out: sweep.yaml, run.json, trials.csv, curves.csv, best.yaml",
        "Try next: mnist-train --config out/best.yaml",
    ]
    assert lines[-1].startswith("out: best of 3 trials is ")
    again = command("sweep", "lr.yaml", "optimizer.name=sgd", "--run-dir", "out", "--quiet")
    assert again == (0, lines[-1] + "\n", "")


def test_json(command: Command, sweep: Path) -> None:
    done = command("sweep", "lr.yaml", "--trials", "2", "--json", "training.epochs=1", "--run-dir", "out")
    found = json.loads(done.out)
    assert list(found) == ["folder", "complete", "objective", "best", "trials"]
    assert (found["complete"], found["objective"], len(found["trials"])) == (True, "val_loss", 2)
    assert found["best"] in found["trials"]


@pytest.mark.parametrize("option", ["--quiet", "--json"])
def test_warnings_about_the_base_are_kept(command: Command, sweep: Path, option: str) -> None:
    words = ("training.epochs=1", "model.output=softmax")
    done = command("sweep", "lr.yaml", "--trials", "1", option, *words, "--run-dir", "out")
    assert (done.code, done.out.count("\n")) == (0, 1)
    assert done.err.startswith("warning: model.output: ")


def test_when_all_fail_it_says_so(command: Command, sweep: Path) -> None:
    sweep.write_text(SWEEP.replace("[0.01, 0.02, 1e30]", "[1e30]"))
    done = command("sweep", "lr.yaml", "optimizer.name=sgd", "--run-dir", "out")
    assert done.code == 6
    assert done.err.startswith("No trial was completed; 1 of 1 failed. The reasons are in out/trials.csv; trial 0: ")
    assert done.out.splitlines()[-1] == "out: no trial is finished"


def test_an_unreachable_database_is_one_paragraph(command: Command, sweep: Path, here: Path) -> None:
    done = command("sweep", "lr.yaml", "--storage", "postgresql://me:hidden@127.0.0.1:1/db")
    assert (done.code, done.out) == (7, "")
    assert done.err.startswith("postgresql://me:***@127.0.0.1:1/db: the study can't be read or written: ")
    assert "hidden" not in done.err
    assert len(done.err.splitlines()) == 1
    assert not (here / "runs").exists()


def test_a_sweep_without_time_says_how_to_go_on(command: Command, sweep: Path) -> None:
    done = command("sweep", "lr.yaml", "--minutes", "0", "--run-dir", "out")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-3:] == [
        "0 of 3 trials are done. Resume with:",
        "  mnist-sweep out/sweep.yaml --run-dir out",
        "out: no trial is finished",
    ]
