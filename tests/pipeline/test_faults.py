"""A training whose disk fails, is full, or is somebody else's says so, leaves nothing by halves, and goes on later."""

from __future__ import annotations

import errno
import json
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mnist_trainer.storage.checkpoint import load_checkpoint

from .conftest import Command

Alike = Callable[[Path, Path], list[str]]

ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EMFILE)
HARMLESS = "unlink ."
"""How calls begin whose failure is nobody's loss: removing a half file that is moved already, or a lock."""


def assert_told(ended: Any) -> None:
    """It ended with one paragraph about what could not be written, and the exit code of that."""
    assert ended.code == 7, ended
    assert ended.err.count("\n") == 1
    assert "can't be written: " in ended.err
    assert "Traceback" not in ended.err


def assert_readable(folder: Path) -> None:
    """Nothing stands there by halves."""
    assert not list(folder.rglob("*.part"))
    for path in folder.glob("*.pt"):
        load_checkpoint(path)
    for path in (*folder.glob("*.csv"), *folder.glob("*.txt"), *folder.glob("*.json")):
        assert not path.stat().st_size or path.read_text().endswith("\n"), path
    for path in folder.glob("*.json"):
        json.loads(path.read_text())


@pytest.mark.slow
def test_each_call_to_the_system_fails_once_and_is_told(
    zygote: Any, here: Path, command: Command, differences_of_runs: Alike
) -> None:
    whole = zygote.train(command(here / "whole"), here)
    assert (whole.code, whole.err) == (0, "")
    told, at = [], 1
    while at <= len(whole.calls):
        ended = zygote.train(command(here / "run"), here, at=at, error=ERRORS[at % len(ERRORS)])
        assert_readable(here / "run")
        if len(ended.calls) >= at:
            call = ended.calls[at - 1]
            at += 1
            if not call.startswith(HARMLESS):
                assert_told(ended)
                told.append(call)
                continue
        assert (ended.code, ended.err) == (0, "")
        assert differences_of_runs(here / "whole", here / "run") == []
        shutil.rmtree(here / "run")
    assert zygote.train(command(here / "run"), here).code == 0
    assert differences_of_runs(here / "whole", here / "run") == []
    assert {call.split()[0] for call in told} >= {"mkdir", "open", "write", "fsync", "replace"}


# --- a full disk ---


@pytest.fixture
def small_disk(here: Path) -> Iterator[Path]:
    """A disk of one megabyte; the test is skipped where there may be none."""
    place = here / "disk"
    place.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("needs the right to mount a disk")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


FULL = {
    "a row": ("open metrics.csv", 0, "metrics.csv"),
    "a state": ("write .last.pt", 4096, "last.pt"),
    "a picture": ("write .mistakes.png", 4096, "plots/mistakes.png"),
}
"""What is being written: the call before which the disk is filled, what room is left then, the file that is named."""


def place_in(calls: list[str], what: str) -> int:
    """The number of the call before which the disk is full: of a state the second one's, for the first is to stay."""
    numbers = [number for number, call in enumerate(calls, 1) if call.startswith(FULL[what][0])]
    return numbers[1 if what == "a state" else 0]


@pytest.mark.slow
@pytest.mark.parametrize("what", FULL)
def test_a_disk_that_is_full_is_told_and_once_there_is_room_it_goes_on(
    what: str, zygote: Any, here: Path, small_disk: Path, command: Command, differences_of_runs: Alike
) -> None:
    _, leave, name = FULL[what]
    whole = zygote.train(command(here / "whole", "report.gallery=true"), here)
    run = small_disk / "run"
    ended = zygote.train(command(run, "report.gallery=true"), small_disk, at=place_in(whole.calls, what), leave=leave)
    assert_told(ended)
    assert ended.err == (
        f"{run / name} can't be written: No space left on device. Free some disk space, or choose another folder.\n"
    )
    assert_readable(run)
    assert (run / "last.pt").exists() == (what != "a row")
    (small_disk / "filler").unlink()
    assert zygote.train(command(run), small_disk).code == 0
    assert differences_of_runs(here / "whole", run) == []


@pytest.mark.slow
@pytest.mark.parametrize("what", FULL)
def test_a_limit_to_the_size_of_files_is_told_as_a_full_disk_is(
    what: str, zygote: Any, here: Path, command: Command, differences_of_runs: Alike
) -> None:
    whole = zygote.train(command(here / "whole", "report.gallery=true"), here)
    limit = 100 if what == "a row" else 4096  # in the middle of the first row, behind the header
    ended = zygote.train(
        command(here / "run", "report.gallery=true"), here, at=place_in(whole.calls, what), limit=limit
    )
    assert_told(ended)
    assert ended.err.startswith(f"{here / 'run' / FULL[what][2]} can't be written: File too large. Raise the limit")
    assert_readable(here / "run")
    assert zygote.train(command(here / "run"), here).code == 0
    assert differences_of_runs(here / "whole", here / "run") == []


# --- several at once ---


@pytest.mark.slow
def test_three_at_once_of_which_two_want_one_folder(
    zygote: Any, here: Path, command: Command, differences_of_runs: Alike
) -> None:
    long = "training.epochs=60"
    ended = zygote.train_together([command(here / name, long) for name in ("one", "other", "one")], here)
    first, other, second = ended
    assert other.code == 0
    (refused,) = (each for each in (first, second) if each.code)
    assert refused.code == 7
    who = rf"process \d+ on {re.escape(socket.gethostname())}, since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d"
    assert re.match(rf"{re.escape(str(here / 'one'))} is in use by {who}", refused.err)
    assert differences_of_runs(here / "one", here / "other") == []
