"""Test that trainings survive kills, and that damaged files cause error messages: the figures of `RESULTS.md`.

    python benchmarks/reliability.py kills [--count 200] [--real 20] [--seed 0] [--folder FOLDER]
    python benchmarks/reliability.py fuzz [--count 2000] [--only KIND] [--first 0]

Both print a table. `kills` stops at the first run that differs, `fuzz` ends with exit code 1 if there was a fault.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, here and in child processes

from reliability import fuzz
from reliability.kills import kills


def main() -> None:
    if sys.argv[1:2] == ["fuzz"]:
        fuzz.main(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("kills", "fuzz"))
    parser.add_argument("--folder", type=Path, help="write the runs to this new folder; default: a temporary one")
    parser.add_argument("--count", type=int, default=200, help="number of kills (%(default)s)")
    parser.add_argument("--real", type=int, default=20, help="how many of them start a process of their own: slow")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the moments")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    kills(folder, arguments.count, arguments.real, arguments.seed)
    if arguments.folder is None:  # after a failure the temporary folder stays, too
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
