from __future__ import annotations

from pathlib import Path
from typing import Any

from mnist_trainer.config.sweep import Sweep, SweepFile
from mnist_trainer.reports.callbacks import SweepInfo, SweepResult, TrialRow
from mnist_trainer.reports.console import Console, sweep_result_lines, trial_lines, trial_values_text

BEST = TrialRow(
    trial=3,
    status="finished",
    values={"optimizer.lr": 0.00213, "model.hidden": [64, 32]},
    curve={1: 0.5, 2: 0.25},
    value=0.25,
    epoch=2,
    val_loss=0.25,
    val_accuracy=0.915,
    seconds=12.34,
)
FAILED = TrialRow(4, "failed", {"optimizer.lr": 1e30}, {}, reason="The loss became nan.", code=6)


def result(**changes: Any) -> SweepResult:
    known: dict[str, Any] = {"rows": (BEST, FAILED), "best": BEST, "plots": ("plots/a.png",), "left_out": ()}
    common = {"folder": Path("runs/x"), "objective": "val_loss", "trials": 2, "resume": "mnist-sweep again"}
    return SweepResult(**{**known, **common, **changes})


def test_a_trial_is_a_row_and_its_values() -> None:
    assert trial_lines(BEST, is_best=True) == [
        "    3  finished    0.2500       91.50 %       2     12.3  * best so far",
        "       lr=0.00213 hidden=[64, 32]",
    ]
    assert trial_lines(FAILED) == [
        "    4  failed           -             -       0        -",
        "       lr=1e+30",
        "       The loss became nan.",
    ]


def test_keys_are_short_only_if_they_can_be_told_apart() -> None:
    assert trial_values_text({"model.init.name": "kaiming", "optimizer.name": "adam"}) == (
        "model.init.name=kaiming optimizer.name=adam"
    )
    assert trial_values_text({"model.init.name": "kaiming", "optimizer.lr": 0.12345}) == "name=kaiming lr=0.123"


def test_the_end_names_the_best_and_the_next_command() -> None:
    assert sweep_result_lines(result()) == [
        "Written to runs/x: sweep.yaml, run.json, trials.csv, curves.csv, best.yaml, plots/",
        "Try next: mnist-train --config runs/x/best.yaml",
        "Best values: lr=0.00213 hidden=[64, 32]",
        "x: best of 2 trials is 3, validation loss 0.2500, accuracy 91.50 % (epoch 2)",
    ]


def test_a_sweep_that_is_not_complete_says_how_to_go_on() -> None:
    found = result(trials=5, rows=(FAILED,), best=None, plots=(), left_out=("No pictures.",))
    assert sweep_result_lines(found) == [
        "No pictures.",
        "Written to runs/x: sweep.yaml, run.json, trials.csv, curves.csv",
        "1 of 5 trials are done. Resume with:",
        "  mnist-sweep again",
        "x: no trial is finished",
    ]


def test_a_hidden_password_in_the_command_is_explained() -> None:
    found = result(trials=5, best=None, resume="mnist-sweep again --storage 'postgresql://me:***@host/db'")
    assert found.progress == (
        "2 of 5 trials are done. Put the password in place of ***, or take :*** out and put it into PGPASSWORD or "
        "~/.pgpass. Resume with:"
    )
    assert "password" not in result(trials=5, resume="mnist-sweep again --storage postgresql://me@host/db").progress


def test_the_bar_of_a_download_goes_when_the_sweep_begins() -> None:
    console = Console(terminal=True)
    console.on_loading("images", 1, 1)
    assert console.bar is not None
    sweep = Sweep(SweepFile(base={}, space={"seed": {}}), {}, {})
    console.on_sweep_start(SweepInfo(sweep, Path("x"), "x", 1, 1, ()))
    assert console.bar is None
