"""A training that was stopped or killed goes on as if it had not been, to the bit."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from mnist_trainer import load_config, resume, train
from mnist_trainer.config.load import dump_config
from mnist_trainer.errors import CheckpointError, DivergedError, InterruptedRunError, UsageError
from mnist_trainer.files import folder_lock
from mnist_trainer.reports import run_writer
from mnist_trainer.reports.callbacks import Callback
from mnist_trainer.storage.checkpoint import load_checkpoint
from mnist_trainer.studies.seed_series import train_seeds

from .conftest import TINY, Remembering

Alike = Callable[[Path, Path], list[str]]
Pictures = Callable[[Path, dict[str, int]], None]

CONVOLUTIONS = {
    "architecture": "layers",
    "layers": [{"conv": 4}, "batch_norm", {"activation": "relu"}, "flatten", {"linear": 10}],
}
KINDS: dict[str, dict[str, Any]] = {
    "dropout": {"model": {"architecture": "mlp", "hidden": [8], "dropout": 0.3}, "optimizer": "adam"},
    "convolutions": {
        "model": CONVOLUTIONS,
        "data": {**TINY["data"], "augment": {"rotate": 10, "elastic": {"alpha": 30}, "clean_last": 1}},
        "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9},
        "schedule": "one_cycle",
        "training": {"ema": 0.9},
    },
    "early stopping": {
        "optimizer": {"name": "adam", "lr": 0.1},
        "schedule": {"name": "plateau", "patience": 0},
        "training": {"epochs": 9, "early_stopping": {"patience": 2, "min_delta": 0.4}},
    },
    "the last epoch kept": {
        "optimizer": {"name": "adam", "lr": 0.1},
        "training": {"keep": "last", "epochs": 5, "early_stopping": {"patience": 2, "min_delta": 0.4}},
    },
    "second fit": {"optimizer": {"name": "adam", "lr": 0.05}, "training": {"refit": True}},
    "pieces": {"training": {"accumulate": 2, "mixup": 0.4, "clip_norm": 1.0}, "optimizer": {"name": "rmsprop"}},
    "restored": {
        "optimizer": {"name": "sgd", "lr": 1e10},
        "training": {"on_divergence": "restore", "epochs": 2},
        "model": {"architecture": "mlp", "hidden": [8], "dropout": 0.3},
    },
    "whole gradient": {"optimizer": "gradient_descent"},
    "own pictures": {"data": {**TINY["data"], "augment": {"rotate": 10}, "extra": {"path": "mine", "repeat": 3}}},
}


def config(kind: str = "dropout", **training: Any) -> dict[str, Any]:
    own = KINDS[kind]
    return {**TINY, **own, "training": {"epochs": 3, "checkpoint_seconds": 0, **own.get("training", {}), **training}}


class KilledError(BaseException):
    """As if the process had ended here: nothing is written from now on."""


class Killing(Callback):
    """Ends the process, as it were, after `after` steps in all, and at each moment that `moment` names."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, after: int | None = None, moment: str | None = None) -> None:
        self.monkeypatch, self.after, self.steps, self.moment = monkeypatch, after, 0, moment

    def on_step_end(self, epoch: int, step: int, steps: int) -> None:
        self.steps += 1
        if self.steps == self.after:
            self.kill()

    def on_test_start(self) -> None:
        if self.moment == "drawing":
            self.kill()

    def on_refit_start(self, epochs: int, images: int) -> None:
        if self.moment == "refitting":
            self.kill()

    def kill(self) -> None:
        def dead(*arguments: Any, **options: Any) -> None:
            raise KilledError

        self.monkeypatch.setattr("mnist_trainer.reports.run_writer.RunWriter.stop", dead)
        raise KilledError


def killed(folder: Path, sections: dict[str, Any], after: int | None = None, moment: str | None = None) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KilledError):
        if (folder / "config.yaml").exists():
            resume(folder, callback=Killing(patch, after, moment))
        else:
            train(sections, run_dir=folder, callback=Killing(patch, after, moment))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_killed_again_and_again_it_is_the_same_run(
    kind: str, here: Path, differences_of_runs: Alike, pictures: Pictures
) -> None:
    pictures(here / "mine", {"3": 3, "7": 7})
    for path in (here / "mine").rglob("*.png"):  # they were copied from digits
        Image.open(path).rotate(90).save(path)
    whole = Remembering()
    train(config(kind), run_dir=here / "whole", callback=whole)
    for seconds in (0, 1e-9):  # a state after each epoch, after each step
        folder = here / f"killed-{seconds}"
        sections = config(kind, checkpoint_seconds=seconds)
        for after in (1, 2, 4, 7):
            if after < len(whole.steps) / 2:
                killed(folder, sections, after)
        killed(folder, sections, moment="drawing")
        assert resume(folder) is not None
        train(sections, run_dir=here / f"whole-{seconds}")
        assert differences_of_runs(here / f"whole-{seconds}", folder) == []
        assert ("restores" in json.loads((folder / "run.json").read_text())) == (kind == "restored")


@pytest.mark.parametrize("moment", ["the second epoch", "the test"])
def test_a_resumed_run_has_the_same_diagnosis(moment: str, here: Path) -> None:
    """The gradients after the first epoch are saved with it, and dropout in the probe does not depend on the past."""
    train(config(), run_dir=here / "whole")
    steps = 7  # in an epoch
    if moment == "the test":
        killed(here / "killed", config(), moment="drawing")
    else:
        killed(here / "killed", config(), after=steps + 2)
    assert resume(here / "killed") is not None
    whole, resumed = (json.loads((here / name / "run.json").read_text()) for name in ("whole", "killed"))
    assert set(whole["layers"]) == {"first_epoch", "last_epoch"}
    assert resumed["layers"] == whole["layers"]
    assert resumed["diagnosis"] == whole["diagnosis"]


@pytest.mark.slow
def test_a_second_fit_is_gone_on_with_as_well(here: Path, differences_of_runs: Alike) -> None:
    sections = config("second fit", checkpoint_seconds=1e-9)
    train(sections, run_dir=here / "whole")
    steps = 7 * 3
    killed(here / "killed", sections, moment="refitting")
    first = load_checkpoint(here / "killed" / "best.pt").weights
    killed(here / "killed", sections, after=3)
    saved = load_checkpoint(here / "killed" / "last.pt").training_state
    assert saved is not None
    assert (saved["phase"], saved["step"]) == ("refit", 2)  # the third was not saved any more
    kept = load_checkpoint(here / "killed" / "best.pt").weights
    assert all(torch.equal(first[name], kept[name]) for name in first)
    callback = Remembering()
    assert resume(here / "killed", callback=callback) is not None
    assert len(callback.steps) < steps
    assert callback.headers[0].resumed.startswith("the second fit, ")
    assert differences_of_runs(here / "whole", here / "killed") == []


@pytest.mark.parametrize("change", ["replaced", "deleted"])
@pytest.mark.parametrize("kind", ["early stopping", pytest.param("second fit", marks=pytest.mark.slow)])
def test_the_file_of_init_from_is_read_only_once(
    kind: str, change: str, here: Path, differences_of_runs: Alike
) -> None:
    for folder, normalize in (("start", "mean_std"), ("other", "unit")):
        train({**config(kind, epochs=1, refit=False), "seed": 1}, f"data.normalize={normalize}", run_dir=here / folder)
    start = here / "start" / "best.pt"
    sections = config(kind, checkpoint_seconds=1e-9)
    sections["model"] = {**sections.get("model", TINY["model"]), "init_from": str(start)}
    headers = Remembering()
    train(sections, run_dir=here / "whole", callback=headers)
    killed(here / "killed", sections, after=4)
    start.unlink()
    if change == "replaced":
        shutil.copy(here / "other" / "best.pt", start)
    assert resume(here / "killed", callback=headers) is not None
    assert differences_of_runs(here / "whole", here / "killed") == []
    assert headers.headers[0].model == headers.headers[1].model


def test_what_a_saved_state_covers_is_not_computed_again(here: Path) -> None:
    killed(here / "run", config(), after=12)  # of 5 an epoch
    before = (here / "run" / "metrics.csv").read_text().splitlines()
    with (here / "run" / "metrics.csv").open("a") as stream:
        stream.write("3,train,0.1")  # a torn row
    callback = Remembering()
    resume(here / "run", callback=callback)
    assert (callback.told[:2], callback.steps[0]) == (["started", "epoch 3"], (3, 1, 5))
    after = (here / "run" / "metrics.csv").read_text().splitlines()
    assert after[:3] == before  # their times too
    assert len(after) == 4
    assert callback.headers[0].resumed == "after epoch 2"


def test_rows_and_a_best_epoch_behind_the_saved_state_are_made_again(here: Path) -> None:
    sections = config(checkpoint_seconds=1000)
    killed(here / "run", sections, after=8)
    assert not (here / "run" / "last.pt").exists()
    assert len((here / "run" / "metrics.csv").read_text().splitlines()) == 2
    callback = Remembering()
    resume(here / "run", callback=callback)
    assert callback.steps[0] == (1, 1, 5)
    assert callback.headers[0].resumed.startswith("from its beginning")
    rows = list(csv.DictReader((here / "run" / "metrics.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]


def test_without_a_state_there_is_no_old_best_epoch(here: Path) -> None:
    sections = config(checkpoint_seconds=1000)
    killed(here / "run", sections, after=8)
    assert (here / "run" / "best.pt").exists()
    killed(here / "run", sections, after=2)
    assert not (here / "run" / "best.pt").exists()
    assert not (here / "run" / "metrics.csv").exists()


def test_the_sessions_are_told(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = count(0)
    monkeypatch.setattr(
        run_writer, "now", lambda: f"2026-03-14T15:09:{next(clock):02}.000+00:00"
    )  # it never stands still
    killed(here / "run", config(), after=7)
    callback = Remembering(stop_after=2)
    with pytest.raises(InterruptedRunError):
        resume(here / "run", callback=callback)
    resume(here / "run")
    record = json.loads((here / "run" / "run.json").read_text())
    told = [(session["status"], session["stop_reason"], session["began"]["epochs"]) for session in record["sessions"]]
    assert told == [("killed", None, 0), ("interrupted", "SIGINT", 1), ("finished", "epochs", 1)]
    first, second, third = (session["ended"] for session in record["sessions"])
    assert first is None
    assert second == {"phase": "train", "epochs": 1, "steps": 2}
    assert third == {"phase": "train", "epochs": 3, "steps": 0}
    assert record["started_at"] == record["sessions"][0]["started_at"]
    assert record["finished_at"] == record["sessions"][-1]["finished_at"]


def test_an_interruption_says_how_to_go_on(here: Path, differences_of_runs: Alike) -> None:
    with pytest.raises(InterruptedRunError) as caught:
        train(config(), run_dir=here / "a run", callback=Remembering(stop_after=7))
    assert caught.value.__notes__ == [f"Resume with: mnist-train --resume '{here / 'a run'}'"]
    resume(here / "a run" / "last.pt")
    train(config(), run_dir=here / "whole")
    assert differences_of_runs(here / "a run", here / "whole") == []


def test_a_finished_run_is_left_as_it_is(here: Path) -> None:
    train(config(), run_dir=here / "run")
    before = {path: path.read_bytes() for path in (here / "run").iterdir()}
    callback = Finished()
    assert resume(here / "run", callback=callback) is None
    assert callback.finished_runs == [here / "run"]
    assert {path: path.read_bytes() for path in (here / "run").iterdir()} == before


class Finished(Callback):
    def __init__(self) -> None:
        self.finished_runs: list[Path] = []

    def on_already_finished(self, folder: Path) -> None:
        self.finished_runs.append(folder)


# --- with another config ---


def test_a_longer_training_is_that_of_a_fresh_run(here: Path, differences_of_runs: Alike) -> None:
    train(config(), run_dir=here / "run")
    callback = Remembering()
    resume(here / "run", "training.epochs=5", callback=callback)
    assert [told for told in callback.told if told.startswith("epoch")] == ["epoch 4", "epoch 5"]
    assert callback.warnings == []
    train(config(epochs=5), run_dir=here / "fresh")
    assert differences_of_runs(here / "run", here / "fresh") == []


def test_a_longer_patience_goes_on_where_it_had_stopped(here: Path, differences_of_runs: Alike) -> None:
    run = train(config("early stopping"), run_dir=here / "run")
    assert run.stop_reason == "early_stopping"
    resume(here / "run", "training.early_stopping.patience=4")
    longer = config("early stopping", early_stopping={"patience": 4, "min_delta": 0.4})
    train(longer, run_dir=here / "fresh")
    assert differences_of_runs(here / "run", here / "fresh") == []


def test_a_run_that_stopped_at_a_training_loss_stays_stopped_until_the_value_is_lower(
    here: Path, differences_of_runs: Alike
) -> None:
    whole = train(config(epochs=4), run_dir=here / "whole")
    limits = {"train_loss": whole.records[1].train_loss}
    run = train(config(epochs=3, stop=limits), run_dir=here / "run")
    assert (run.stop_reason, len(run.records)) == ("train_loss", 2)
    longer = resume(here / "run", "training.epochs=4")
    assert longer is not None
    assert (longer.stop_reason, len(longer.records)) == ("train_loss", 2)
    assert json.loads((here / "run" / "run.json").read_text())["stop_reason"] == "train_loss"
    resumed = resume(here / "run", "training.stop=null")
    assert resumed is not None and resumed.stop_reason == "epochs"
    assert differences_of_runs(here / "run", here / "whole") == []


def test_the_second_fit_is_as_long_as_the_best_epoch_says(here: Path) -> None:
    whole = train(config(epochs=3))
    limits = {"train_loss": whole.records[1].train_loss, "gradient_norm": 1e-9}
    run = train(config(epochs=3, refit=True, stop=limits), run_dir=here / "run")
    assert run.stop_reason == "train_loss"
    assert sum(record.phase == "refit" for record in run.records) == run.best_epoch


@pytest.mark.slow
def test_a_schedule_that_depends_on_the_length_is_computed_anew(here: Path) -> None:
    train(config("convolutions"), run_dir=here / "run")
    callback = Remembering()
    run = resume(here / "run", "training.epochs=5", callback=callback)
    assert run is not None
    assert [on_warning for on_warning in callback.warnings if on_warning[0] == "training.epochs"] == [
        (
            "training.epochs",
            "schedule one_cycle is recomputed for 5 epochs instead of 3, from here on: the result is not that of a "
            "fresh run of 5",
        )
    ]
    fresh = train(config("convolutions", epochs=5))
    assert run.records[-1].lr == pytest.approx(fresh.records[-1].lr)
    assert run.records[-1].train_loss != fresh.records[-1].train_loss


@pytest.mark.parametrize("in_the_file", [True, False])
def test_what_would_make_another_run_is_refused_by_name(here: Path, in_the_file: bool) -> None:
    killed(here / "run", config(), after=7)
    if in_the_file:
        changed = load_config(here / "run" / "config.yaml", ["optimizer.lr=0.5", "threads=2"])
        (here / "run" / "config.yaml").write_text(dump_config(changed))
    overrides = [] if in_the_file else ["optimizer.lr=0.5", "threads=2"]
    with pytest.raises(UsageError, match=r"optimizer\.lr is 0\.001 there and 0\.5 here\. A resumed run can change"):
        resume(here / "run", *overrides)


def test_too_few_epochs_are_refused(here: Path) -> None:
    killed(here / "run", config(checkpoint_seconds=1e-9), after=12)
    with pytest.raises(UsageError, match=r"training\.epochs: 2 is too few, for .* is in its epoch 3 already"):
        resume(here / "run", "training.epochs=2")
    resume(here / "run", "training.epochs=3")


@pytest.mark.slow
def test_another_number_of_threads_is_told(here: Path) -> None:
    killed(here / "run", config(), after=7)
    callback = Remembering()
    resume(here / "run", "threads=2", callback=callback)
    assert ("resume", "threads was 1 and is 2 now: bits may differ from an uninterrupted run") in callback.warnings


def test_the_number_of_threads_is_kept(here: Path) -> None:
    sections = {**config("convolutions"), "threads": None}  # of those that take as many as torch has
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        killed(here / "run", sections, after=7)
        torch.set_num_threads(2)
        callback = Remembering()
        resume(here / "run", callback=callback)
    finally:
        torch.set_num_threads(before)
    assert callback.warnings == []
    assert json.loads((here / "run" / "run.json").read_text())["threads"] == 1


# --- what can't go on ---


def test_there_is_no_such_run(here: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no such folder"):
        resume(here / "run")
    (here / "run").mkdir()
    with pytest.raises(CheckpointError, match="holds no run to resume"):
        resume(here / "run")
    with pytest.raises(CheckpointError, match="There is no run under runs"):
        resume("latest")


def test_a_damaged_state_is_told(here: Path) -> None:
    killed(here / "run", config(), after=7)
    last = here / "run" / "last.pt"
    last.write_bytes(last.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"last\.pt"):
        resume(here / "run")
    last.unlink()
    assert resume(here / "run") is not None


def test_the_latest_is_the_unfinished_one_that_wrote_last(here: Path) -> None:
    killed(here / "runs" / "first", config(), after=7)
    killed(here / "runs" / "second", config(), after=7)
    train(config(), run_dir=here / "runs" / "third")
    run = resume("latest")
    assert run is not None
    assert run.folder.name == "second"
    assert (run := resume("latest")) is not None
    assert run.folder.name == "first"
    assert resume("latest") is None


DIVERGING = ("optimizer={name: sgd, lr: 1e30}", "loss=mse")


def test_the_latest_is_not_one_that_diverged(here: Path) -> None:
    with pytest.raises(DivergedError):
        train(config(), *DIVERGING, run_dir=here / "runs" / "diverged")
    with pytest.raises(CheckpointError, match="diverged ended when its loss or gradient was no longer a finite number"):
        resume("latest")
    killed(here / "runs" / "first", config(), after=7)
    os.utime(here / "runs" / "diverged" / "log.txt", (2e9, 2e9))
    run = resume("latest")
    assert run is not None
    assert run.folder.name == "first"


def test_the_latest_is_none_that_another_process_works_on(here: Path) -> None:
    killed(here / "runs" / "first", config(), after=7)
    killed(here / "runs" / "second", config(), after=7)
    with folder_lock(here / "runs" / "second"):
        run = resume("latest")
    assert run is not None
    assert run.folder.name == "first"


def test_a_series_and_a_sweep_are_no_runs(here: Path) -> None:
    series = train_seeds(config(), [0], run_dir=here / "runs" / "many").folder
    before = sorted(series.rglob("*")), (series / "run.json").read_text()
    for place in ("latest", series):
        with pytest.raises(CheckpointError, match=r"many holds several runs\. Name one of them, or resume all: "):
            resume(place)
    assert (sorted(series.rglob("*")), (series / "run.json").read_text()) == before
    (series / "run.json").write_text('{"kind": "sweep"}')
    with pytest.raises(CheckpointError, match=r"many is a sweep\. Resume with: mnist-sweep SWEEP --run-dir "):
        resume(series)
    with pytest.raises(CheckpointError, match="There is no run under runs"):
        resume("latest")


def test_a_run_with_parts_of_ones_own_needs_them_again(here: Path, differences_of_runs: Alike) -> None:
    def own_loss(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(outputs, labels)

    with pytest.raises(InterruptedRunError):
        train(config(), run_dir=here / "run", loss=own_loss, callback=Remembering(stop_after=7))
    with pytest.raises(UsageError, match=r"was started with loss .*own_loss, and this command has none"):
        resume(here / "run")
    resume(here / "run", loss=own_loss)
    train(config(), run_dir=here / "whole", loss=own_loss)
    assert differences_of_runs(here / "run", here / "whole") == []
