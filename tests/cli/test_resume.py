"""`mnist-train --resume`, and the signals before it, as a user meets them."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mnist_trainer.cli.common import handle_signals
from mnist_trainer.reports.callbacks import Callback

from .conftest import Command
from .test_train import record_of

Process = Callable[..., "subprocess.Popen[str]"]
NO_SIGNALS = pytest.mark.skipif(os.name == "nt", reason="Windows sends no signal to a single process")


def stopped(process: Process, number: int, *options: str) -> tuple[int, str, str]:
    """The exit code, stdout and stderr of an endless training that got a signal after its first epoch."""
    child = process("train", "--config", "tiny.yaml", "training.epochs=1000000", "--run-dir", "mine", *options)
    assert child.stdout is not None
    assert any(line.startswith("    1  ") for line in iter(child.stdout.readline, ""))
    child.send_signal(number)
    out, err = child.communicate(timeout=600)
    return child.returncode, out, err


@pytest.mark.slow
@NO_SIGNALS
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_batch_system_and_a_closed_terminal_stop_it_as_ctrl_c_does(
    name: str, process: Process, command: Command, here: Path
) -> None:
    code, _, err = stopped(process, getattr(signal, name))
    assert code == 143
    assert err.splitlines()[1] == "Resume with: mnist-train --resume mine"
    record = record_of(here / "mine")
    assert (record["status"], record["stop_reason"]) == ("interrupted", name)
    done = command("train", "--resume", "mine", f"training.epochs={record['epochs'] + 1}")
    assert (done.code, done.err) == (0, "")
    assert f"resume after epoch {record['epochs']}\n" in done.out or f"epoch {record['epochs'] + 1}, after" in done.out
    assert record_of(here / "mine")["status"] == "finished"


@pytest.mark.slow
@NO_SIGNALS
def test_it_can_be_finished_instead(process: Process, here: Path) -> None:
    code, out, err = stopped(process, signal.SIGINT, "--on-interrupt", "finish")
    assert (code, err) == (0, "")
    assert "Stopped by a signal. Kept: best epoch " in out
    record = record_of(here / "mine")
    assert (record["status"], record["stop_reason"]) == ("finished", "interrupted")
    assert record["test"]["count"] > 0


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs SIGHUP")
def test_what_is_ignored_already_stays_so(command: Command) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    handle_signals(Callback())
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL


def test_a_finished_run_says_so(command: Command, here: Path) -> None:
    assert command("train", "--config", "tiny.yaml", "--run-dir", "mine").code == 0
    done = command("train", "--resume", "mine")
    assert done == (
        0,
        "mine is finished: there is nothing to resume.\nLonger: mnist-train --resume mine training.epochs=N\n",
        "",
    )
    done = command("train", "--resume", "mine", "training.epochs=3", "--device", "cpu", "--quiet")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("mine: test accuracy ")
    assert record_of(here / "mine")["epochs"] == 3


def test_another_config_is_refused_by_name(command: Command, here: Path) -> None:
    assert command("train", "--config", "tiny.yaml", "--run-dir", "mine").code == 0
    done = command("train", "--resume", "mine", "model.hidden=[9]", "training.epochs=3")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(
        "mine was started with another config: model.hidden is [8] there and [9] here. A resumed run"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--resume", "mine", "--config", "tiny.yaml"], "reads these settings from the run: leave --config out."),
        (["--resume", "mine", "--seed", "3", "--check"], "leave --seed and --check out."),
        (["--resume", "mine", "--show-batch", "a.png"], "leave --show-batch out."),
        (["--resume", "mine", "--find-lr"], "leave --find-lr out."),
        (["tiny.yaml", "--find-lr", "--check"], "--find-lr draws and trains nothing: leave --check out."),
        (["tiny.yaml", "--find-lr", "--seeds", "2"], "--find-lr draws and trains nothing: leave --seeds out."),
        (["tiny.yaml", "--show-batch", "a.png", "--find-lr", "--run-dir", "b"], "leave --run-dir and --find-lr out."),
        (["--config", "tiny.yaml", "--take-over"], "--take-over goes with --resume."),
        (["--config", "tiny.yaml", "--seeds", "2", "--on-interrupt", "finish"], "--on-interrupt is for a single run"),
    ],
)
def test_what_does_not_go_together_is_told(options: list[str], message: str, command: Command, here: Path) -> None:
    done = command("train", *options)
    assert (done.code, done.out) == (2, "")
    assert message in done.err


def test_there_is_nothing_to_go_on_with(command: Command, here: Path) -> None:
    done = command("train", "--resume", "latest")
    assert done == (4, "", "There is no run under runs. Start one: mnist-train --config quickstart.\n")
