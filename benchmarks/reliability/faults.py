"""Every call of a training to the system fails once, with each of four errors, and afterwards the run is the same."""

from __future__ import annotations

import errno
import shutil
import sys
from collections import Counter
from pathlib import Path

from mnist_trainer.storage.checkpoint import load_checkpoint
from reliability.setting import SMALL, command, config_file, require, require_alike, table
from reliability.zygote import Ended, Zygote

ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EMFILE)


PICTURE = "report.gallery=true"


def faults(folder: Path) -> None:
    config = config_file(folder, SMALL)
    rows = []
    with Zygote() as zygote:
        plain, drawn = (
            zygote.train(command(config, folder / name, *overrides), folder)
            for name, overrides in (("whole", ()), ("drawn", (PICTURE,)))
        )
        require(plain.code == drawn.code == 0, (plain, drawn))
        calls = [(folder / "whole", at) for at in range(1, len(plain.calls) + 1)]
        calls += [(folder / "drawn", at) for at in _of_pictures(drawn)]
        for error in ERRORS:
            codes = Counter(_fail_once(zygote, whole, config, at, error) for whole, at in calls)
            rows.append([errno.errorcode[error], len(calls), codes[7], codes[0], len(calls)])
            print(*rows[-1], sep="\t", file=sys.stderr, flush=True)
    table(["error", "calls", "told, exit code 7", "of no consequence, 0", "the same run afterwards"], rows)


def _of_pictures(drawn: Ended) -> list[int]:
    """The numbers of the calls that have to do with pictures: with their folder, and with half files."""
    names = {"plots", *(call.split()[1] for call in drawn.calls if ".png." in call)}
    return [at for at, call in enumerate(drawn.calls, 1) if call.split()[1] in names]


def _fail_once(zygote: Zygote, whole: Path, config: Path, at: int, error: int) -> int:
    """The exit code of a training that should be as `whole` and whose call number `at` failed."""
    folder = whole.parent
    run, picture = folder / "run", [PICTURE] if whole.name == "drawn" else []
    ended = zygote.train(command(config, run, *picture), folder, at=at, error=error)
    call = ended.calls[at - 1]
    if ended.code == 0:
        require(call.startswith("unlink .") and not ended.err, (call, ended))  # a half file moved already, or a lock
    else:
        require_told(ended)
    require_readable(run)
    again = zygote.train(command(config, run, *picture), folder)
    require((again.code, again.err) == (0, ""), (call, again))
    require_alike(whole, run)
    shutil.rmtree(run)
    return ended.code


def require_told(ended: Ended) -> None:
    """Ends the benchmark unless it ended with the exit code for disks and one paragraph."""
    told = ended.code == 7 and ended.err.count("\n") == 1 and "can't be written: " in ended.err
    require(told, ended)


def require_readable(run: Path) -> None:
    """Ends the benchmark if something in the folder stands there by halves."""
    require(not list(run.rglob("*.part")), "half files")
    for path in run.glob("*.pt"):
        load_checkpoint(path)
    for path in (*run.glob("*.csv"), *run.glob("*.txt"), *run.glob("*.json")):
        require(not path.stat().st_size or path.read_text().endswith("\n"), f"{path} is torn")
