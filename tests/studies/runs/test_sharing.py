"""Many run folders are read by several processes, with the same result."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from mnist_trainer.studies import run_summary

HERE = os.getpid()
PLACES = [Path(f"run{number}") for number in range(120)]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere one process reads")


def reader(place: Path) -> tuple[Path, int]:
    return place, os.getpid()


def killed_elsewhere(place: Path) -> Path:
    if os.getpid() != HERE:
        os.kill(os.getpid(), signal.SIGKILL)
    return place


@pytest.fixture
def before_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(run_summary, "WORTH", 10)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})


@pytest.mark.usefixtures("before_torch")
def test_others_read_and_the_order_stays() -> None:
    places, readers = zip(*run_summary.read_all(reader, PLACES), strict=True)
    assert list(places) == PLACES
    assert readers[0] == readers[3] == HERE
    assert len(set(readers)) == 3


@pytest.mark.usefixtures("before_torch")
@pytest.mark.parametrize("hindrance", ["few folders", "one core", "torch is loaded"])
def test_nobody_is_asked_where_it_does_not_pay_or_is_not_safe(hindrance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if hindrance == "few folders":
        monkeypatch.setattr(run_summary, "WORTH", 100)
    elif hindrance == "one core":
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    else:
        monkeypatch.setitem(sys.modules, "torch", sys)
    assert run_summary.read_all(reader, PLACES) == [(place, HERE) for place in PLACES]


@pytest.mark.usefixtures("before_torch")
def test_what_a_killed_process_leaves_is_read_here() -> None:
    assert run_summary.read_all(killed_elsewhere, PLACES) == PLACES


@pytest.mark.usefixtures("before_torch")
def test_the_table_of_runs_is_read_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        (tmp_path / f"run{number}").mkdir()
    shared, whole = [], run_summary.read_all
    monkeypatch.setattr(run_summary, "read_all", lambda read, places: shared.extend(places) or whole(read, places))
    assert {run.path for run in run_summary.read_runs(tmp_path)} == set(shared) == set(tmp_path.iterdir())
