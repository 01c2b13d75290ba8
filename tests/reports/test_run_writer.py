from __future__ import annotations

import csv
import errno
import json
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from mnist_trainer import prepare
from mnist_trainer.config.load import load_config
from mnist_trainer.errors import StorageError
from mnist_trainer.inference.metrics import Evaluation
from mnist_trainer.reports import run_writer as module
from mnist_trainer.reports.diagnosis import Diagnosis
from mnist_trainer.reports.run_writer import RunWriter
from mnist_trainer.storage.checkpoint import load_checkpoint
from mnist_trainer.storage.run_folder import COLUMNS, RunFolder
from mnist_trainer.training.loop import EpochRecord, fit

CONFIG: dict[str, Any] = {
    "name": "small",
    "data": {"name": "digits", "limit": 10, "batch_size": 32, "validation": 20},
    "model": {"architecture": "mlp", "hidden": [4]},
    "training": {"epochs": 2},
}


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "perf_counter", clock)
    return clock


@pytest.fixture
def make(tmp_path: Path, clock: Clock) -> Callable[..., RunWriter]:
    def build(*overrides: str, **custom: str) -> RunWriter:
        return RunWriter(RunFolder(tmp_path), prepare(CONFIG, *overrides), custom, start_time=clock() - 5)

    return build


def record_of(journal: RunWriter) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((journal.folder.path / "run.json").read_text())
    return record


def test_the_config_is_the_first_file_and_the_status_runs(
    make: Callable[..., RunWriter], monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = make()
    written: list[str] = []
    write = module.write_text
    monkeypatch.setattr(module, "write_text", lambda path, text: (written.append(path.name), write(path, text)))
    monkeypatch.setattr(RunFolder, "write_record", lambda folder, record: written.append(record["status"]))
    journal.start({})
    assert written == ["config.yaml", "running"]
    assert load_config(journal.folder.config) == journal.state.setup.config


def test_a_run_that_began_is_described(make: Callable[..., RunWriter]) -> None:
    journal = make("seed=7")
    journal.start({"parameters": 3})
    record = record_of(journal)
    start_time = datetime.fromisoformat(record.pop("started_at"))
    assert start_time.tzinfo is not None
    found = {"device", "device_name", "precision", "threads", "products", "deterministic", "versions", "platform"}
    for key in (*found, "git_commit"):
        record.pop(key)
    (session,) = record.pop("sessions")
    assert (session["status"], session["pid"], session["finished_at"]) == ("running", os.getpid(), None)
    assert session["began"] == {"phase": "train", "epochs": 0, "steps": 0}
    assert record == {
        "name": "small",
        "status": "running",
        "stop_reason": None,
        "best_epoch": None,
        "epochs": 0,
        "test": None,
        "validation": None,
        "seed": 7,
        "parameters": 3,
        "finished_at": None,
        "timings": {},
        "processes": None,
    }


def test_where_a_training_went_back_stands_in_the_record_at_its_end(make: Callable[..., RunWriter]) -> None:
    journal = make()
    journal.start({})
    back = {"epoch": 2, "step": 3, "factor": 0.5, "event": "The loss became nan"}
    journal.state.restores.append(back)  # as a state that is taken up again has it
    journal.stop("interrupted", "SIGINT")
    assert record_of(journal)["restores"] == [{"phase": "train", **back}]


def test_each_epoch_adds_a_row_and_a_line_and_the_best_is_saved(make: Callable[..., RunWriter]) -> None:
    journal = make("loss={name: cross_entropy, smooth_weights: 0.1}")
    journal.start({})
    records = list(fit(journal.state))
    journal.epoch(replace(records[0], best=True, kept=True))
    first = journal.folder.best.stat().st_mtime_ns
    journal.epoch(replace(records[1], best=False, kept=False))
    assert journal.folder.best.stat().st_mtime_ns == first
    with journal.folder.metrics.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [tuple(row) for row in rows] == [COLUMNS, COLUMNS]
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert [float(row["val_loss"]) for row in rows] == [record.val_loss for record in records]
    first_line, second_line = (journal.folder.path / "log.txt").read_text().splitlines()
    assert "  * best so far   loss terms: cross_entropy " in first_line
    assert ", smooth_weights " in first_line
    assert "best" not in second_line


@pytest.mark.parametrize(("epochs", "drawn"), [(3, [1, 2, 3]), (100, [1, 2, 4])])
def test_the_first_weights_are_drawn_epoch_by_epoch(
    make: Callable[..., RunWriter], record: EpochRecord, epochs: int, drawn: list[int]
) -> None:
    journal = make("report.weights_by_epoch=true", f"training.epochs={epochs}")
    journal.start({})
    for epoch in range(1, 5 if epochs > 4 else 4):
        journal.epoch(replace(record, epoch=epoch))
    names = sorted(path.name for path in journal.folder.plots.iterdir())
    assert names == [f"weights-{epoch}.png" for epoch in drawn]
    with Image.open(journal.folder.plots / "weights-1.png") as image:
        assert image.size == (464, 464)  # 2 × 2 units of 28 pixels and a gap, 8 times as large


def test_the_last_state_is_saved_every_ten_seconds(
    make: Callable[..., RunWriter], clock: Clock, record: EpochRecord
) -> None:
    journal = make()
    journal.start({})
    list(fit(journal.state))
    journal.epoch(record)
    clock.seconds += 9.9
    journal.epoch(record)
    assert not journal.folder.last.exists()
    clock.seconds += 0.1
    journal.epoch(record)
    assert journal.folder.last.exists()
    journal.folder.last.unlink()
    clock.seconds += 9.9
    journal.epoch(record)
    assert not journal.folder.last.exists()


def test_the_last_state_goes_on_with_the_same_bits(make: Callable[..., RunWriter]) -> None:
    journal = make()
    journal.start({})
    epochs = fit(journal.state)
    journal.epoch(next(epochs))
    journal.save_last()
    rest = next(epochs)

    saved = load_checkpoint(journal.folder.last)
    assert saved.training_state is not None
    resumed = prepare(saved.config)
    resumed.load_state_dict(saved.training_state)
    again = next(fit(resumed))
    times = {"seconds": 0.0, "images_per_second": 0.0}
    assert replace(again, **times) == replace(rest, **times)  # type: ignore[arg-type]
    for name, weight in journal.state.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], weight)


def test_the_users_own_parts_are_named_in_the_checkpoint(make: Callable[..., RunWriter], record: EpochRecord) -> None:
    journal = make(model="my.Net")
    list(fit(journal.state))
    journal.epoch(record)
    assert load_checkpoint(journal.folder.best).only.custom == {"model": "my.Net"}


def test_the_checkpoint_says_how_many_images_it_was_trained_and_validated_with(
    make: Callable[..., RunWriter], record: EpochRecord
) -> None:
    journal = make()
    list(fit(journal.state))
    journal.epoch(record)
    counts = len(journal.state.setup.train), len(journal.state.setup.validation or ())
    assert load_checkpoint(journal.folder.best).only.split_counts == counts
    assert min(counts) > 0


def test_a_finished_run(make: Callable[..., RunWriter], clock: Clock, evaluation: Evaluation) -> None:
    journal = make()
    journal.start({})
    for record in fit(journal.state):
        journal.epoch(record)
    clock.seconds += 2
    journal.finish(evaluation, {"training_seconds": 1.5}, Diagnosis(()))
    record = record_of(journal)
    summary = {
        "accuracy": 0.9985,
        "errors": 3,
        "count": 2000,
        "loss": 0.01234,
        "interval": list(evaluation.interval),
    }
    assert {key: record[key] for key in ("status", "stop_reason", "epochs", "test", "validation", "loss_terms")} == {
        "status": "finished",
        "stop_reason": "epochs",
        "epochs": 2,
        "test": summary,
        "validation": None,
        "loss_terms": {},
    }
    assert record["best_epoch"] == journal.state.best.epoch > 0
    assert record["timings"] == {"loading_seconds": 5.0, "training_seconds": 1.5, "total_seconds": 7.0}
    assert datetime.fromisoformat(record["finished_at"]) >= datetime.fromisoformat(record["started_at"])
    assert (journal.folder.path / "log.txt").read_text().endswith("  finished: epochs\n")


def test_a_run_that_ended_before_its_time(make: Callable[..., RunWriter]) -> None:
    journal = make()
    journal.start({})
    journal.stop("failed", "DataError", "/somewhere/else is damaged")
    record = record_of(journal)
    assert (record["status"], record["stop_reason"], record["best_epoch"]) == ("failed", "DataError", None)
    assert record["timings"] == {"loading_seconds": 5.0, "training_seconds": 0.0, "total_seconds": 5.0}
    assert "/somewhere/else" not in json.dumps(record)
    log = (journal.folder.path / "log.txt").read_text().splitlines()
    assert [line.split("  ", 1)[1] for line in log] == ["failed: DataError", "/somewhere/else is damaged"]


def test_an_end_that_cannot_be_written_does_not_hide_its_reason(
    make: Callable[..., RunWriter], monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = make()
    journal.start({})

    def full(folder: RunFolder, record: object) -> None:
        raise StorageError(f"{folder.path}: {errno.ENOSPC}")

    monkeypatch.setattr(RunFolder, "write_record", full)
    journal.stop("failed", "DivergedError")  # raises nothing


def test_event_files_are_written_where_they_are_asked_for(make: Callable[..., RunWriter], record: EpochRecord) -> None:
    pytest.importorskip("tensorboard")
    journal = make("report.tensorboard=true")
    journal.start({})
    list(fit(journal.state))
    journal.epoch(record)
    journal.stop("interrupted", "SIGINT")
    assert [path.name.split(".")[0] for path in (journal.folder.path / "tensorboard").iterdir()] == ["events"]
