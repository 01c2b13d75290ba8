"""Every call of a training to the system fails once, with each of four errors, and afterwards the run is the same."""

from __future__ import annotations

import errno
import shutil
from collections import Counter
from pathlib import Path

from mnist_trainer.storage.checkpoint import load_checkpoint
from reliability.setting import SMALL, command, config_file, require, require_alike, table
from reliability.zygote import Ended, Zygote

ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EMFILE)


def faults(folder: Path) -> None:
    config = config_file(folder, SMALL)
    rows = []
    with Zygote() as zygote:
        whole = zygote.train(command(config, folder / "whole"), folder)
        require(whole.code == 0, whole)
        for error in ERRORS:
            codes = Counter[int]()
            for at in range(1, len(whole.calls) + 1):
                codes[_fail_once(zygote, folder, config, at, error)] += 1
            rows.append([errno.errorcode[error], len(whole.calls), codes[7], codes[0], len(whole.calls)])
    table(["error", "calls", "told, exit code 7", "of no consequence, 0", "the same run afterwards"], rows)


def _fail_once(zygote: Zygote, folder: Path, config: Path, at: int, error: int) -> int:
    """The exit code of a training whose call number `at` failed."""
    run = folder / "run"
    ended = zygote.train(command(config, run), folder, at=at, error=error)
    call = ended.calls[at - 1]
    if ended.code == 0:
        require(call.startswith("unlink .") and not ended.err, (call, ended))  # a half file moved already, or a lock
    else:
        require_told(ended)
    require_readable(run)
    again = zygote.train(command(config, run), folder)
    require((again.code, again.err) == (0, ""), (call, again))
    require_alike(folder / "whole", run)
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
