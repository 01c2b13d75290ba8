"""A disk that is full in the middle of each file that a training writes; else a limit to the size of files."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reliability.faults import require_readable, require_told
from reliability.setting import KINDS, command, config_file, require, require_alike, table
from reliability.zygote import Ended, Zygote

SIZE = "64m"
PLACES = (
    ("write .config.yaml", 0),
    ("write .run.json", 0),
    ("write metrics.csv", 0),
    ("write .best.pt", 0.5),
    ("write .last.pt", 0.5),
    ("write log.txt", 0),
    ("write .curves.png", 0.5),
    ("write .mistakes.png", 0.5),
)
"""Calls before which the disk is filled, and the part of that file for which there is room."""


def disks(folder: Path) -> None:
    rows = []
    with Zygote() as zygote, _small_disk(folder / "disk") as is_mounted:
        sections = {**KINDS["an MLP with dropout"], "training": {"epochs": 3, "checkpoint_seconds": 0}}
        sections["report"] = {"plots": True, "gallery": True}
        sections["model"] = {"architecture": "mlp", "hidden": [512, 256], "dropout": 0.3}
        config = config_file(folder, sections)
        whole = zygote.train(command(config, folder / "whole"), folder)
        require(whole.code == 0, whole)
        run = folder / "disk" / "run"
        for begin, part in PLACES:
            name = begin.split()[1].lstrip(".")
            (written,) = (folder / "whole").rglob(name)
            room = int(part * written.stat().st_size)
            fate = {"leave": room} if is_mounted else {"limit": max(room, 80)}
            ended = zygote.train(command(config, run), folder / "disk", at=_number(whole, begin), **fate)
            require_told(ended)
            require(f"{name} can't be written: " in ended.err, ended)
            require_readable(run)
            left = "yes" if (run / "last.pt").exists() else "none yet"
            (folder / "disk" / "filler").unlink(missing_ok=True)
            again = zygote.train(command(config, run), folder / "disk")
            require((again.code, again.err) == (0, ""), again)
            require_alike(folder / "whole", run)
            shutil.rmtree(run)
            rows.append([name, f"{written.stat().st_size:,}", f"{room:,}", ended.code, left, "yes"])
    print("A tmpfs of 64 MB that is full:" if is_mounted else "A limit to the size of files:")
    table(["file", "bytes", "room for", "exit code", "a state to read", "the same run once there is room"], rows)


def _number(whole: Ended, begin: str) -> int:
    """The number of the first call that begins so; of a state the third one, for others are to stay."""
    numbers = [number for number, call in enumerate(whole.calls, 1) if call.startswith(begin)]
    return numbers[2 if begin == "write .last.pt" else 0]


@contextmanager
def _small_disk(place: Path) -> Iterator[bool]:
    """Whether `place` is a disk of its own inside it."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place)]
    is_mounted = bool(shutil.which("mount")) and not subprocess.run(mount, capture_output=True, check=False).returncode
    try:
        yield is_mounted
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", str(place)], check=True)
