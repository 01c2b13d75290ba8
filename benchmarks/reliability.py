"""Whether nothing is lost: everything that `RESULTS.md` claims of killed, full, crowded and hostile machines.

    python benchmarks/reliability.py kills [--count 200] [--real 20] [--seed 0]
    python benchmarks/reliability.py faults
    python benchmarks/reliability.py disks
    python benchmarks/reliability.py together [--data DIR]
    python benchmarks/reliability.py fuzz …

Each prints a table, and ends with an error as soon as something is not as it should be. A folder for what is written
meanwhile is `--folder`, else a temporary one that is removed, unless something failed.
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
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", choices=("kills", "faults", "disks", "together", "fuzz"))
    parser.add_argument("--folder", type=Path, help="a new folder for what is written")
    parser.add_argument("--count", type=int, default=200, help="kills in all")
    parser.add_argument("--real", type=int, default=20, help="of them of real processes, which take long to start")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of kills")
    parser.add_argument("--data", type=Path, default=os.environ.get("MNIST_TRAINER_DATA"), help="holds MNIST/raw")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp()) if arguments.folder is None else arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    _run(arguments, folder)
    if arguments.folder is None:
        shutil.rmtree(folder)


def _run(arguments: argparse.Namespace, folder: Path) -> None:
    if arguments.part == "kills":
        from reliability.kills import kills

        kills(folder, arguments.count, arguments.real, arguments.seed)
    elif arguments.part == "faults":
        from reliability.faults import faults

        faults(folder)
    elif arguments.part == "disks":
        from reliability.disks import disks

        disks(folder)
    else:
        from reliability.together import together

        together(folder, arguments.data)


if __name__ == "__main__":
    main()
