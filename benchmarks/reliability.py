"""Whether nothing is lost: what `RESULTS.md` claims of killed trainings and hostile files.

    python benchmarks/reliability.py kills [--count 200] [--real 20] [--seed 0]
    python benchmarks/reliability.py fuzz …

Each prints a table, and ends with an error as soon as something is wrong. A folder for what is written meanwhile is
`--folder`, else a temporary one that is removed, unless something failed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, here and in what is started


def main() -> None:
    if sys.argv[1:2] == ["fuzz"]:
        from reliability import fuzz

        del sys.argv[1]
        fuzz.main()
        return
    from reliability.kills import kills

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", choices=("kills", "fuzz"))
    parser.add_argument("--folder", type=Path, help="a new folder for what is written")
    parser.add_argument("--count", type=int, default=200, help="kills in all")
    parser.add_argument("--real", type=int, default=20, help="of them of real processes, which take long to start")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of kills")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp()) if arguments.folder is None else arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    kills(folder, arguments.count, arguments.real, arguments.seed)
    if arguments.folder is None:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
