"""A training in several processes: the run folder of one process, to the bit. Each exchange has a time-out."""

from __future__ import annotations

import errno
import json
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mnist_trainer.config.schema import AUTO_BATCH

Alike = Callable[[Path, Path], list[str]]

BASE = (
    *("lecture", "data.name=digits", "data.limit=20", "data.validation=0.2", "data.batch_size=30", "training.epochs=2"),
    *("report.plots=false", "report.gallery=false", "device=cpu", "threads=1", "training.micro_batches=4"),
)
MLP = "model={architecture: mlp, hidden: [16], dropout: 0.3, batch_norm: true}"
CNN = "model={architecture: cnn, channels: [4, 4], hidden: [8], batch_norm: true, dropout: 0.2}"
KINDS = {
    "plain": (),
    "mixed": (
        MLP,
        "training.mixup=0.4",
        "training.adversarial=1",
        "training.ema=0.9",
        "training.clip_norm=0.5",
        "data.batch_size=32",
    ),
    "deformed": (CNN, "data.augment={rotate: 10, elastic: true}", "optimizer=adamw", "schedule=one_cycle"),
    "accumulated": ("training.accumulate=3", "loss={name: cross_entropy, class_weights: {7: 2.5}}"),
    "full batch": (
        "optimizer=gradient_descent",
        "optimizer.lr=0.1",
        "loss={name: mse, penalties: [{true: 7, predicted: 1}]}",
    ),
    "refit": (MLP, "data.batch_size=32", "training.refit=true"),
    "bfloat16": (CNN, "precision=bfloat16"),
    "six parts": ("training.micro_batches=6", "data.batch_size=25"),  # 5 parts of 5 images, and an empty one
}
QUICK = ("plain", "mixed", "accumulated")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return tmp_path


def command(folder: Path, *overrides: str) -> list[str]:
    return [*BASE, *overrides, "--run-dir", str(folder)]


@pytest.mark.parametrize(
    "kind", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in KINDS]
)
def test_any_number_of_processes_gives_the_same_run(
    kind: str, zygote: Any, here: Path, differences_of_runs: Alike
) -> None:
    alone = zygote.train(command(here / "1", *KINDS[kind]), here)
    assert (alone.code, alone.err) == (0, "")
    for count in (2, 3) if kind == "six parts" else (2, 4):
        first, *others = zygote.train_in_processes(count, command(here / str(count), *KINDS[kind]), here)
        assert (first.code, first.err) == (0, "")
        assert {(other.code, other.out, other.err) for other in others} == {(0, "", "")}
        assert differences_of_runs(here / "1", here / str(count)) == []
        record = json.loads((here / str(count) / "run.json").read_text())
        assert record["processes"] == {"world_size": count, "hosts": 1, "backend": "gloo"}
    assert json.loads((here / "1" / "run.json").read_text())["processes"] is None


def test_a_run_goes_on_in_another_number_of_processes(zygote: Any, here: Path, differences_of_runs: Alike) -> None:
    often = ("training.checkpoint_seconds=0.000000001", "training.epochs=5", MLP, "data.batch_size=32")
    assert zygote.train(command(here / "whole", *often), here).code == 0
    run = here / "run"
    for count, at in ((2, 15), (4, 15), (1, 15)):
        argv = ["--resume", str(run)] if run.exists() else command(run, *often)
        events = {0: {"at": at, "only": ["write", "replace"]}}
        first, *_ = zygote.train_in_processes(count, argv, here, events)
        assert first.code == -signal.SIGKILL
    first, other = zygote.train_in_processes(2, ["--resume", str(run)], here)
    assert (first.code, other.code, first.err) == (0, 0, "")
    assert differences_of_runs(here / "whole", run) == []
    sessions = json.loads((run / "run.json").read_text())["sessions"]
    assert [session["processes"] and session["processes"]["world_size"] for session in sessions] == [2, 4, None, 2]


def test_a_process_that_dies_ends_the_others_with_one_paragraph(zygote: Any, here: Path) -> None:
    """Whichever it is; the first process says which one it was."""
    for victim in (1, 0):
        events = {victim: {"after": 0.05, "since": "epochs"}}
        ended = zygote.train_in_processes(2, command(here / str(victim), "training.epochs=100000"), here, events)
        assert ended[victim].code == -signal.SIGKILL
        survivor = ended[1 - victim]
        assert survivor.code == 5
        if victim == 1:
            assert re.fullmatch(
                r"Process 1 of 2 \(process ID \d+\) was killed, or has failed. What was saved before is kept.\n",
                survivor.err,
            )
        else:
            assert (survivor.out, survivor.err) == ("", "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_one_process_saves_once_and_ends_all(
    rank: int, number: signal.Signals, code: int, zygote: Any, here: Path
) -> None:
    events = {rank: {"after": 0.3, "since": "epochs", "signal": number}}
    first, other = zygote.train_in_processes(2, command(here / "run", "training.epochs=100000"), here, events)
    assert (first.code, other.code) == (code, code)
    assert re.match(r"Stopped in epoch \d+, after step \d of 6; ", first.err)
    assert "Resume with: mnist-train --resume" in first.err
    assert (other.out, other.err) == ("", "")
    assert len([call for call in first.calls if call.startswith("replace") and "last.pt" in call]) == 1
    assert [call for call in other.calls if call.startswith(("replace", "write"))] == []
    record = json.loads((here / "run" / "run.json").read_text())
    assert (record["status"], record["stop_reason"]) == ("interrupted", number.name)


def test_the_fast_sum_agrees_to_rounding_and_repeats_itself(
    zygote: Any, here: Path, differences_of_runs: Alike
) -> None:
    fast = "training.reduce=fast"
    for name, count in (("one", 1), ("two", 2), ("again", 2)):
        first, *_ = zygote.train_in_processes(count, command(here / name, fast), here)
        assert (first.code, first.err) == (0, "")
    assert differences_of_runs(here / "two", here / "again") == []
    losses = [json.loads((here / name / "run.json").read_text())["validation"]["loss"] for name in ("one", "two")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.parametrize(
    ("overrides", "code", "text"),
    [
        (["training.micro_batches=3"], 2, "training.micro_batches: 3 can't be divided evenly among 2 processes"),
        (["training.epoch=3"], 2, "training.epoch: unknown key"),
        (["data={name: folder, path: nowhere}"], 3, "nowhere"),
        (["optimizer.lr=1e30", "optimizer.name=sgd"], 6, "became"),
    ],
)
def test_an_error_is_printed_once_and_all_exit_with_its_code(
    overrides: list[str], code: int, text: str, zygote: Any, here: Path
) -> None:
    first, other = zygote.train_in_processes(2, command(here / "run", *overrides), here)
    assert (first.code, other.code) == (code, code)
    assert text in first.err
    assert "Process 1" not in first.err
    assert (other.out, other.err) == ("", "")


def test_a_process_that_fails_alone_ends_all_with_its_code(zygote: Any, here: Path) -> None:
    events = {0: {"at": 3, "only": ["write"], "error": errno.ENOSPC}}
    first, other = zygote.train_in_processes(2, command(here / "run"), here, events)
    assert (first.code, other.code) == (7, 7)
    assert "No space left on device" in first.err
    assert (other.out, other.err) == ("", "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_before_the_training_ends_all(
    rank: int, number: signal.Signals, code: int, zygote: Any, here: Path
) -> None:
    """One process loads the images, while the other one waits for it."""
    events = {rank: {"after": 0.0, "since": "start-up", "signal": number}}
    first, other = zygote.train_in_processes(2, command(here / "run", "training.epochs=100000"), here, events)
    assert (first.code, other.code) == (code, code)
    assert first.err.count("Stopped") == 1
    assert (other.out, other.err) == ("", "")


def test_a_folder_that_holds_a_run_ends_all(zygote: Any, here: Path) -> None:
    (here / "run").mkdir()
    (here / "run" / "best.pt").touch()
    first, other = zygote.train_in_processes(2, command(here / "run"), here)
    assert (first.code, other.code) == (2, 2)
    assert "already holds a run" in first.err
    assert other.err == ""


def test_different_configs_are_refused_everywhere(zygote: Any, here: Path) -> None:
    others = {1: {"argv": command(here / "run", "optimizer.lr=0.5"), "after": 240.0}}
    first, other = zygote.train_in_processes(2, command(here / "run"), here, others)
    assert (first.code, other.code) == (2, 2)
    assert first.err.startswith("All processes must have the same versions, config and images, but optimizer.lr is ")
    assert len(first.err.splitlines()) == 1
    assert (other.out, other.err) == ("", "")
    assert not (here / "run").exists()


def test_different_images_are_refused_everywhere(zygote: Any, here: Path) -> None:
    """As on two hosts that have other files below the same path."""
    for number, folder in enumerate((here / "0", here / "1")):
        folder.mkdir()
        rows = (f"{label}," + ",".join([str(label + number)] * 784) for label in (*range(10),) * 6)
        (folder / "table.csv").write_text("\n".join(rows))
    data = ("data={name: folder, path: table.csv, validation: 0.2}", "data.limit=null", "data.batch_size=30")
    others = {rank: {"cwd": str(here / str(rank)), "after": 240.0} for rank in range(2)}
    first, other = zygote.train_in_processes(2, command(here / "run", *data), here, others)
    assert (first.code, other.code) == (2, 2)
    assert "and images, but the hash of the images is " in first.err
    assert not (here / "run").exists()


def test_an_automatic_batch_size_is_the_same_in_all(zygote: Any, here: Path) -> None:
    first, other = zygote.train_in_processes(2, command(here / "run", "data.batch_size=auto"), here)
    assert (first.code, other.code, first.err) == (0, 0, "")
    assert json.loads((here / "run" / "run.json").read_text())["data"]["batch_size"] == AUTO_BATCH


def test_a_series_is_not_resumed_in_several_processes(zygote: Any, here: Path) -> None:
    (here / "series").mkdir()
    (here / "series" / "run.json").write_text(json.dumps({"kind": "seeds", "status": "interrupted"}))
    first, other = zygote.train_in_processes(2, ["--resume", "series"], here)
    assert (first.code, other.code) == (2, 2)
    assert first.err == "series is a series of runs, and several processes train a single one.\n"
