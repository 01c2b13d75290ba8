from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mnist_trainer.cli.common import handle_signals
from mnist_trainer.model import device
from mnist_trainer.reports.callbacks import Callback
from mnist_trainer.storage.checkpoint import load_checkpoint

Command = Callable[..., Any]

RESULT = re.compile(r"(\S+): test accuracy \d+\.\d\d % \(\d+ errors? of 355; 95 % interval \d+\.\d\d to \d+\.\d\d %\)")


def record_of(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    return record


def test_a_pipe_gets_the_whole_course_in_plain_lines(command: Command, here: Path) -> None:
    done = command("train", "--config", "tiny.yaml", "report.gallery=true", "precision=float32", "--run-dir", "mine")
    assert (done.code, done.err) == (0, "")
    assert "\x1b" not in done.out
    lines = done.out.splitlines()
    assert lines[:6] == [
        "data   digits: 160 images to train, 40 to validate",
        "model  mlp 784-8-10, relu, 6,370 parameters",
        "device cpu, float32, 1 thread",
        "seed   0",
        "folder mine",
        "epoch  train loss  val loss  val accuracy        lr  seconds",
    ]
    row = r" {4}%d +\d\.\d{4} +\d\.\d{4} +\d+\.\d\d %% +0\.001 +\d+\.\d(  \* best so far)?"
    for epoch, line in enumerate(lines[6:8], start=1):
        assert re.fullmatch(row % epoch, line)
    best = record_of(here / "mine")["best_epoch"]
    assert re.fullmatch(rf"All epochs are done\. Kept: best epoch {best}\. \d+\.\d s of training\.", lines[8])
    files = "best.pt, last.pt, metrics.csv, run.json, config.yaml, plots/mistakes.png, plots/sample.png"
    assert lines[9] == f"Written to mine: {files}"
    assert lines[10] == "Try next: mnist-eval mine"
    assert lines[11] == "          mnist-predict mine/plots/sample.png --checkpoint mine"
    found = RESULT.fullmatch(lines[-1])  # before it there is the diagnosis
    assert found is not None and found[1] == "mine"
    assert lines[12] == "Diagnosis:"
    assert len(lines) <= 20


def test_quiet_prints_one_line_and_warnings(command: Command, here: Path) -> None:
    done = command("train", "--config", "tiny.yaml", "model.output=softmax", "--quiet")
    (folder,) = (here / "runs").iterdir()
    found = RESULT.fullmatch(done.out.removesuffix("\n"))
    assert found is not None and found[1] == folder.name
    assert done.code == 0
    assert done.err.startswith("warning: model.output: ")


def test_options_and_overrides_change_the_config(command: Command, here: Path) -> None:
    overrides = ["name=other", "training.epochs=1", "optimizer={name: sgd, lr: 1e-3}"]
    done = command("train", *overrides, "--config", "tiny.yaml", "--seed", "7", "--device", "cpu", "--run-dir", "mine")
    assert done.code == 0
    config = load_checkpoint(here / "mine" / "best.pt").config
    assert (config.name, config.seed, config.device, config.training.epochs) == ("other", 7, "cpu", 1)
    assert (config.optimizer.name, config.optimizer.lr) == ("sgd", 0.001)


def test_a_warning_stands_on_stderr(command: Command, here: Path) -> None:
    done = command("train", "--config", "tiny.yaml", "model.output=softmax")
    assert done.err == (
        "warning: model.output: cross_entropy applies a softmax itself; on outputs between 0 and 1 it can't fall below "
        "ln(e + 9) − 1 = 1.461, and its gradients are small. Use model.output=none\n"
    )


def test_a_folder_that_holds_a_run_is_refused(command: Command, here: Path) -> None:
    assert command("train", "--config", "tiny.yaml", "--run-dir", "mine").code == 0
    before = {path.name: path.read_bytes() for path in (here / "mine").iterdir()}
    done = command("train", "--config", "tiny.yaml", "--run-dir", "mine")
    assert done == (2, "", "mine already holds a run. Choose another --run-dir, or remove it first.\n")
    assert {path.name: path.read_bytes() for path in (here / "mine").iterdir()} == before


def test_a_file_in_the_place_of_the_folder_is_told(command: Command, here: Path) -> None:
    done = command("train", "--config", "tiny.yaml", "--run-dir", "tiny.yaml")
    message = "tiny.yaml: a file is where a folder is needed. Choose another path."
    assert done == (7, "", f"{message}\n")


CHECKED = """\
layer                               output                parameters
0  flatten                          [B, 784]                       0
1  linear                           [B, 64]                   50,240
2  activation relu                  [B, 64]                        0
3  linear                           [B, 64]                    4,160
4  activation relu                  [B, 64]                        0
5  linear                           [B, 64]                    4,160
6  activation relu                  [B, 64]                        0
7  linear                           [B, 10]                      650

59,210 parameters; besides torch itself, training needs at least
2.39 MB on cpu:
1.18 MB for weights, gradients, optimizer and best epoch,
1.21 MB for the outputs of the layers for a batch of 256.
"""


def test_check_shows_the_model_and_trains_nothing(command: Command, here: Path) -> None:
    before = sorted(here.iterdir())
    assert command("train", "--config", "lecture", "--check", "--device", "cpu", "data.name=digits") == (0, CHECKED, "")
    assert sorted(here.iterdir()) == before


def test_check_takes_auto_for_the_batch_size_that_it_becomes_on_a_cpu(command: Command) -> None:
    done = command(
        "train", "--config", "lecture", "--check", "--device", "cpu", "data={name: digits, batch_size: auto}"
    )
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith(" for the outputs of the layers for a batch of 128.\n")


def test_check_says_why_auto_passes_a_simulated_broken_card_over(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "is_available", lambda kind: kind == "cuda")
    monkeypatch.setattr(device, "device_error", lambda name: "CUDA error: no kernel image")
    done = command("train", "--config", "lecture", "--check")
    assert (done.code, done.err) == (
        0,
        "warning: device: cuda can't be used: CUDA error: no kernel image. The CPU is taken\n",
    )


def test_show_batch_draws_the_deformed_images_and_trains_nothing(command: Command, here: Path) -> None:
    done = command(
        "train", "--config", "tiny.yaml", "--show-batch", "new/batch.png", "data.augment={rotate: 20, elastic: {}}"
    )
    assert done == (0, "The first batch of tiny is drawn in new/batch.png; nothing was trained.\n", "")
    assert (here / "new" / "batch.png").read_bytes().startswith(b"\x89PNG")
    assert not (here / "runs").exists()


def test_an_augmentation_that_leaves_no_ink_is_told_before_a_folder_is_made(command: Command, here: Path) -> None:
    done = command("train", "--config", "tiny.yaml", "data.augment.shift=28")
    assert done.code == 2
    assert done.err.startswith("data.augment: less than a twentieth of the ink is left in ")
    assert not (here / "runs").exists()


def test_a_batch_that_cannot_be_drawn_there_is_told(command: Command, here: Path) -> None:
    (here / "taken").write_text("a file")
    done = command("train", "--config", "tiny.yaml", "--show-batch", "taken/batch.png")
    assert done.code == 7
    assert done.err == "taken: a file is where a folder is needed. Choose another path.\n"


def test_find_lr_proposes_an_override_and_trains_nothing(command: Command, here: Path) -> None:
    done = command("train", "--config", "tiny.yaml", "--find-lr", "--seed", "1")
    assert (done.code, done.err) == (0, "")
    found = re.fullmatch(
        r"3 seeds, 100 steps each, with learning rates from 1e-06 to 10\.\n"
        r"The loss falls well from (\S+) to (\S+), and diverges at (\S+)\.\n"
        r"Try (optimizer\.lr=(\S+)) \(the config has 0\.001\)\.\n"
        r"The losses are drawn in runs.find-lr.tiny\.png; nothing was trained\.\n",
        done.out,
    )
    assert found is not None
    assert float(found[1]) / 2 < float(found[5]) < float(found[2]) * 2 < 2 * float(found[3])
    (png,) = (path for path in (here / "runs").rglob("*") if path.is_file())
    assert png.read_bytes().startswith(b"\x89PNG")
    done = command("train", "--config", "tiny.yaml", "--quiet", found[4])
    assert (done.code, done.err) == (0, "")
    listed = command("runs", "--json")
    assert [each["status"] for each in json.loads(listed.out)] == ["finished"]


def test_find_lr_says_that_the_loss_does_not_fall(command: Command, here: Path) -> None:
    done = command("train", "tiny.yaml", "--find-lr", "model.init=zeros", "model.activation=step")
    assert (done.code, done.err) == (0, "")
    assert "\nNo learning rate is proposed: the loss falls by less than 5 %, and " in done.out
    assert "Try" not in done.out


def test_latest_does_not_find_the_plot_of_find_lr(command: Command, here: Path) -> None:
    assert command("train", "tiny.yaml", "--find-lr").code == 0
    done = command("eval", "latest")
    assert done.code == 4
    assert done.err.startswith("There is no ")


@pytest.mark.parametrize("option", ["--find-lr", "--show-batch=a.png"])
def test_what_only_draws_needs_matplotlib(
    command: Command, here: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    monkeypatch.setattr("mnist_trainer.reports.canvas.find_spec", lambda name: None)
    done = command("train", "tiny.yaml", option)
    assert done == (2, "", f"{option.partition('=')[0]} needs matplotlib: pip install matplotlib.\n")
    assert not (here / "runs").exists()


def test_check_warns_of_what_works_against_itself(command: Command, here: Path) -> None:
    done = command("train", "--config", "lecture-softmax", "--check", "--device", "cpu")
    assert done.code == 0
    assert done.err.startswith("warning: model.output: cross_entropy applies a softmax itself")


@pytest.mark.parametrize("options", [["--check"], ["--run-dir", "mine"]])
def test_a_model_that_cannot_fit_is_refused_with_figures(command: Command, here: Path, options: list[str]) -> None:
    done = command("train", "--config", "tiny.yaml", "model.hidden=[1000000,1000000]", "--device", "cpu", *options)
    assert (done.code, done.out) == (5, "")
    assert re.fullmatch(
        r"The model has 1,000,796,000,010 parameters and needs at least 20 TB to train \(20 TB for weights, "
        r"512 MB for a batch\); cpu has [\d.]+ [MG]B free\. Make it narrower, or data\.batch_size smaller\.\n",
        done.err,
    )
    assert not (here / "mine").exists()


def test_a_diverging_training_ends_with_its_own_code(command: Command, here: Path) -> None:
    done = command("train", "--config", "tiny.yaml", "optimizer={name: sgd, lr: 1e30}", "loss=mse", "--run-dir", "mine")
    assert done.code == 6
    where = r"in epoch 1, step \d of 5, at a learning rate of 1e\+30"
    assert re.fullmatch(rf"The loss became \S+ {where}\. No epoch is complete.* Lower optimizer\.lr .*\n", done.err)
    assert record_of(here / "mine")["status"] == "failed"


# --- Ctrl-C ---


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to a single process")
def test_the_first_ctrl_c_ends_the_training_after_its_step(process: Command, here: Path) -> None:
    child = process("train", "--config", "tiny.yaml", "training.epochs=1000000", "--run-dir", "mine")
    lines = iter(child.stdout.readline, "")
    assert any(line.startswith("    1  ") for line in lines)  # the first epoch is over
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=600)
    assert child.returncode == 130
    assert re.fullmatch(
        r"Stopped in epoch \d+, after step \d of 5; what was trained so far is in mine\.\n"
        r"Resume with: mnist-train --resume mine\n",
        err,
    )
    record = record_of(here / "mine")
    assert record["status"] == "interrupted"
    state = load_checkpoint(here / "mine" / "last.pt").training_state
    assert state is not None
    assert state["epoch"] == record["epochs"] == len((here / "mine" / "metrics.csv").read_text().splitlines()) - 1


def test_a_second_ctrl_c_ends_it_at_once(command: Command, here: Path) -> None:
    callback = Callback()
    handle_signals(callback)
    callback.can_stop = True
    signal.raise_signal(signal.SIGINT)
    assert callback.should_stop
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_ctrl_c_outside_of_the_training_ends_it_at_once(command: Command, here: Path) -> None:
    callback = Callback()
    handle_signals(callback)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert not callback.should_stop


@pytest.mark.parametrize("series", [[], ["--seeds", "2"]])
@pytest.mark.parametrize("error", [None, KeyboardInterrupt()])
def test_a_terminal_is_left_as_it_was(
    command: Command, here: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException | None, series: list[str]
) -> None:
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "120"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    if error is not None:

        def fail(*arguments: object) -> None:
            raise error

        monkeypatch.setattr("mnist_trainer.pipeline.train.evaluate_best", fail)
    done = command("train", "--config", "tiny.yaml", "--run-dir", "mine", *series)
    assert done.code == (0 if error is None else 130)
    assert done.out.count("\x1b[?25l") == done.out.count("\x1b[?25h") > 0  # hides and shows of the cursor
    assert record_of(here / "mine")["status"] == ("finished" if error is None else "interrupted")
