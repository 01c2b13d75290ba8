"""200 damaged files of each kind: each works, or ends with its exit code, in words, soon and within bounds."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest
from reliability import fuzz
from reliability.fuzz import RunResult, run, run_case
from reliability.kinds import KINDS, Checkpoints, DataSets, Kind, Pictures

COUNT = 200
SAMPLES = Path(__file__).parent / "samples"


@pytest.fixture(scope="module")
def outcomes() -> list[RunResult]:
    return list(run(list(KINDS), range(COUNT)))


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_no_damage_is_more_than_an_error_in_words(outcomes: list[RunResult], name: str) -> None:
    own = [outcome for outcome in outcomes if outcome.kind == name]
    assert [outcome for outcome in own if outcome.fault] == []
    assert [outcome.number for outcome in own] == list(range(COUNT))
    codes = {outcome.code for outcome in own}
    assert {0, KINDS[name].codes[0]} <= codes <= {0, *KINDS[name].codes}  # some are found out, and some do no harm


FAILED = {
    "checkpoint-15.pt": (Checkpoints, "torch warned on stderr of a pickle protocol that the file made up"),
    "checkpoint-72.pt": (Checkpoints, "weights that are no numbers ended in a ZeroDivisionError"),
    "checkpoint-141.pt": (Checkpoints, "torch's words about it had a NUL in them"),
    "train-images-idx3-ubyte": (DataSets, "255 dimensions of size 1: more than numpy can, a ValueError"),
    "train-labels-idx1-ubyte": (DataSets, "0 × 2³² × 2³² values: more than numpy can, a ValueError"),
    "usps": (DataSets, "labels `nan` and `1e999`: a RuntimeWarning on stderr"),
    "huge.webp": (Pictures, "34 bytes took 2.3 GB"),
    "huge.jp2": (Pictures, "1,591 bytes took 2.8 GB and 15 s"),
    "huge.avif": (Pictures, "2,371 bytes took 1.3 GB"),
}
"""Files that were more than an error in words, and what they did."""


@pytest.mark.parametrize("name", FAILED)
def test_what_failed_once_does_not_again(name: str, tmp_path: Path) -> None:
    kind = FAILED[name][0]
    outcome = run_case(kind(tmp_path), SAMPLES / name)
    assert outcome.fault == ""
    assert outcome.code == kind.codes[0]


def test_every_sample_is_used() -> None:
    assert {path.name for path in SAMPLES.iterdir()} == set(FAILED)


class Faulty(Kind):
    """Does what the file says."""

    codes = (3,)

    def feed(self, path: Path) -> list[str]:
        exec(path.read_text())
        return ["done"]


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("pass", ""),
        ("from mnist_trainer.errors import DataError\nraise DataError('Not so.')", ""),
        ("1 / 0", "ZeroDivisionError, exit code 1"),
        ("from mnist_trainer.errors import UsageError\nraise UsageError('Not so.')", "UsageError, exit code 2"),
        ("from mnist_trainer.errors import DataError\nraise DataError('a\\n\\nb')", "is no paragraph"),
        ("from mnist_trainer.errors import DataError\nraise DataError('')", "is no paragraph"),
        ("import warnings\nwarnings.warn('odd')", "warns: odd"),
    ],
)
def test_the_judge_sees_faults(tmp_path: Path, code: str, fault: str) -> None:
    (tmp_path / "code").write_text(code)
    assert run_case(Faulty(tmp_path), tmp_path / "code").fault == fault


@pytest.mark.skipif(not hasattr(os, "fork"), reason="signals and memory are told by POSIX systems")
def test_the_judge_sees_what_takes_long_or_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "SECONDS", 0.05)
    (tmp_path / "code").write_text("while True: pass")
    assert run_case(Faulty(tmp_path), tmp_path / "code").fault == "takes longer than 0.05 s"
    peaks = iter([100.0, 1101.0])
    monkeypatch.setattr(fuzz, "peak_memory", lambda: next(peaks))
    (tmp_path / "code").write_text("pass")
    assert run_case(Faulty(tmp_path), tmp_path / "code").fault == "takes 1001 MB"


def test_a_process_that_dies_is_an_outcome_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    places = iter([["0"], ["1"], []])  # the third dies before it says what it begins with
    monkeypatch.setattr(fuzz, "_lines", lambda child: next(places))
    monkeypatch.setattr(fuzz.sys, "executable", "true")
    outcomes = run(["configs"], range(3))
    assert [(next(outcomes).number, next(outcomes).number)] == [(0, 1)]
    with pytest.raises(AssertionError, match="before the first file"):
        next(outcomes)


@pytest.mark.parametrize("name", KINDS)
def test_a_number_always_makes_the_same_damage(tmp_path: Path, name: str) -> None:
    kind = KINDS[name](tmp_path)
    for number in range(5):
        assert kind.case(Random(f"{name} {number}")) == kind.case(Random(f"{name} {number}"))
