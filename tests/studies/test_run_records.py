"""Whatever lies in a run's folder is read without a word of Python."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnist_trainer.storage.run_folder import RunFolder
from mnist_trainer.studies import run_summary
from mnist_trainer.studies.run_summary import RunRecord, read_config, read_metrics, read_record, read_run
from mnist_trainer.studies.run_table import table

FakeRun = Callable[..., Path]

HEAD = "epoch,phase,val_loss,val_accuracy\n"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "run.json is no JSON object"),
        (b'{"name": "cut', "run.json is no JSON object"),
        (b"\x00\xff\xfe", "run.json is no JSON object"),
        (b"[" * 100_000, "run.json is no JSON object"),
        (b"[]", "run.json is no JSON object"),
        (b"null", "run.json is no JSON object"),
        (b'{"name": 7}', "run.json: wrong name"),
        (b'{"epochs": -1, "status": []}', "run.json: wrong status, epochs"),
        (b'{"epochs": 1e999}', "run.json: wrong epochs"),
        (b'{"test": {"accuracy": 98.2}}', "run.json: wrong test"),
        (b'{"test": {"accuracy": NaN}}', "run.json: wrong test"),
        (b'{"test": "good"}', "run.json: wrong test"),
        (b'{"validation": {"accuracy": 0.5, "interval": [1]}}', "run.json: wrong validation"),
        (b'{"timings": {"training_seconds": "long"}}', "run.json: wrong timings"),
        (b'{"started_at": "yesterday"}', "run.json: wrong started_at"),
        (b'{"started_at": "2026-01-01T00:00:00"}', "run.json: wrong started_at"),
        (b'{"started_at": "0001-01-01T00:00:00+00:00"}', "run.json: wrong started_at"),
        (b'{"started_at": true}', "run.json: wrong started_at"),
    ],
)
def test_a_record_that_is_none_is_named(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "run.json").write_bytes(content)
    problems: list[str] = []
    assert read_record(tmp_path / "run.json", problems) == RunRecord()
    assert problems == [problem]


def test_what_is_right_in_a_record_is_kept(tmp_path: Path) -> None:
    content = {"name": "kept", "epochs": "three", "test": None, "unknown": 7, "best_epoch": 2}
    (tmp_path / "run.json").write_text(json.dumps(content))
    problems: list[str] = []
    record = read_record(tmp_path / "run.json", problems)
    assert record.model_dump(exclude_none=True) == {"name": "kept", "best_epoch": 2}
    assert problems == ["run.json: wrong epochs"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "config.yaml: the file is empty; it needs at least 'model: {architecture: mlp}'"),
        ("model: {architecture: mlp", "config.yaml: "),
        ("model: {architecture: mlp}\nfuture: 1\n", "config.yaml: future: unknown key"),
        ("model: {architecture: mlp}\nseed: -1\nthreads: 0\n", " (and 1 more)"),
        ("[" * 5000, "config.yaml: "),
        ("\x00", "config.yaml: control character"),
    ],
)
def test_a_config_that_is_none_is_named(tmp_path: Path, content: str, problem: str) -> None:
    (tmp_path / "config.yaml").write_text(content)
    problems: list[str] = []
    assert read_config(tmp_path / "config.yaml", problems) is None
    assert len(problems) == 1 and problem in problems[0]


@pytest.mark.parametrize(
    ("text", "epochs", "problems"),
    [
        ("", [], ["metrics.csv is no table"]),
        (HEAD[:-1], [], ["metrics.csv is no table"]),
        (HEAD, [], []),
        (f"{HEAD}1,train,0.5,0.9\n", [1], []),
        (f"{HEAD}1,train,0.5,0.9\n2,tra", [1], ["metrics.csv: its last row is torn"]),
        (f"{HEAD}1,train,0.5,0.9\n2,train,0.25,0.95", [1], ["metrics.csv: its last row is torn"]),
        (f"{HEAD}1,train,0.5,0.9\nrubbish\n3,train,,\n", [1, 3], ["metrics.csv: 1 unreadable row"]),
        (f"{HEAD}one,train,0.5,0.9\n,train,0.5,0.9\n", [], ["metrics.csv: 2 unreadable rows"]),
        (f"{HEAD}1,train,0.5,0.9\n1,refit,0.5,0.9\n", [1], []),
        ("a,b\n1,2\n", [], ["metrics.csv: 1 unreadable row"]),
    ],
)
def test_whole_rows_are_read(tmp_path: Path, text: str, epochs: list[int], problems: list[str]) -> None:
    (tmp_path / "metrics.csv").write_text(text)
    found: list[str] = []
    assert [row["epoch"] for row in read_metrics(tmp_path / "metrics.csv", found)] == epochs
    assert found == problems


def test_numbers_are_finite_or_nothing(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(f"{HEAD}1,train,nan,\n2,train,inf,0.5\n")
    first, second = read_metrics(tmp_path / "metrics.csv", [])
    assert first == {"epoch": 1, "val_loss": None, "val_accuracy": None}
    assert second == {"epoch": 2, "val_loss": None, "val_accuracy": 0.5}


def test_files_that_are_missing_are_named_but_for_metrics_that_may_come(tmp_path: Path) -> None:
    problems: list[str] = []
    folder = RunFolder(tmp_path)
    found = read_record(tmp_path / "run.json", problems), read_config(folder.config, problems)
    assert found == (RunRecord(), None)
    assert read_metrics(folder.metrics, problems) == ()
    assert problems == ["no run.json", "no config.yaml"]


def stand_in(kind: str, path: Path) -> None:
    match kind:
        case "folder":
            path.mkdir()
        case "loop":
            path.symlink_to(path)
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a system with named pipes")
@pytest.mark.parametrize("kind", ["folder", "loop", "pipe", "device"])
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, kind: str) -> None:
    for name in ("run.json", "config.yaml", "metrics.csv"):
        stand_in(kind, tmp_path / name)
    found = read_run(tmp_path)
    reason = "Too many levels of symbolic links" if kind == "loop" else "it is no file"
    assert found.problems == tuple(
        f"{name} can't be read: {reason}" for name in ("run.json", "config.yaml", "metrics.csv")
    )


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_summary, "MAX_BYTES", 10)
    (tmp_path / "run.json").write_text(" " * 11)
    problems: list[str] = []
    read_record(tmp_path / "run.json", problems)
    assert problems == ["run.json can't be read: it is larger than 50 MB"]


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
KEYS = st.sampled_from([*RunRecord.model_fields, "accuracy", "interval", "mean", "training_seconds"])


@pytest.mark.slow
@given(st.dictionaries(KEYS, JSON | st.dictionaries(KEYS, JSON)), st.binary(), st.text())
def test_whatever_lies_there_makes_a_row(
    tmp_path_factory: pytest.TempPathFactory, record: object, config: bytes, metrics: str
) -> None:
    path = tmp_path_factory.mktemp("run")
    (path / "run.json").write_text(json.dumps(record))
    (path / "config.yaml").write_bytes(config)
    (path / "metrics.csv").write_text(HEAD + metrics, encoding="utf-8", errors="surrogateescape")
    found = read_run(path)
    lines, notes = table([found], 80)
    assert len(lines) == 2 and all(line.isprintable() for line in [*lines, *notes])
    json.dumps(found.to_json(), allow_nan=False)
