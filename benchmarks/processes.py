"""Measure trainings in several processes: time, memory and bytes sent.

    python benchmarks/processes.py                  # lecture, cnn and an MLP with 12 million parameters
    python benchmarks/processes.py --tiny           # only shows that it works, on the digits of the package

Rows alternate, each in processes of its own. Rows with two threads are the ordinary training, without parts. Needs
MNIST in MNIST_TRAINER_DATA. Prints Markdown.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path

TINY = ("data.name=digits", "data.limit=10", "training.epochs=2")
FULL = ("data.limit=1000", "training.epochs=3")
CONFIGS = {"lecture": ["lecture"], "cnn": ["cnn"], "mlp-12m": ["lecture", "model={architecture: ciresan_mlp}"]}

Kind = tuple[str, int, int, str]
"""Config, processes, threads of each, `training.reduce`."""


def measure(kind: Kind, options: argparse.Namespace) -> dict[str, float]:
    """Train once. Return the seconds of an epoch, the accuracy, and MB: of the largest process, and sent by each."""
    config, processes, threads, reduce = kind
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "run")
        parts = options.parts if threads == 1 else 1
        keys = [f"training.micro_batches={parts}", f"training.reduce={reduce}", f"threads={threads}"]
        keys += ["report.plots=false", "report.gallery=false", *(TINY if options.tiny else FULL)]
        command = [sys.executable, "-m", "mnist_trainer", "train", *CONFIGS[config], *keys]
        command += ["--run-dir", str(run), "--quiet"]
        child = subprocess.Popen([*command, "--processes", str(processes)], stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        if status:
            raise SystemExit(f"{config} in {processes} processes failed.")
        rows = list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))
        record = json.loads((run / "run.json").read_text())
    seconds = statistics.median(float(row["seconds"]) for row in rows[1:])
    sent = 0.0
    if processes > 1:  # to others, by each process in a step: a part of its gradient, then its part of the sum
        sent = 4 * record["parameters"] * 2 * (processes - 1) / processes / 1e6
    memory = usage.ru_maxrss / 1000  # on Linux in KB, the largest of all processes
    return {"seconds": seconds, "accuracy": record["test"]["accuracy"], "memory_mb": memory, "sent_mb": sent}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configs", nargs="+", choices=CONFIGS, default=list(CONFIGS))
    parser.add_argument("--processes", nargs="+", type=int, default=[1, 2, 4])
    parser.add_argument("--parts", type=int, default=4, help="training.micro_batches")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    kinds: list[Kind] = [(config, 1, 2, "exact") for config in options.configs]
    kinds += product(options.configs, options.processes, [1], ["exact", "fast"])
    found: dict[Kind, list[dict[str, float]]] = {kind: [] for kind in kinds}
    for _ in range(1 if options.tiny else options.rounds):
        for kind in kinds:
            found[kind].append(measure(kind, options))
    print("| config | processes | threads | reduce | epoch, s | accuracy | largest process, MB | sent a step, MB |")
    print("|---|---|---|---|---|---|---|---|")
    for kind, each in sorted(found.items()):
        names = ("seconds", "accuracy", "memory_mb", "sent_mb")
        seconds, accuracy, memory, sent = (statistics.median(one[name] for one in each) for name in names)
        print("| {} | {} | {} | {} |".format(*kind), f"{seconds:.3g} | {accuracy:.2%} | {memory:.0f} | {sent:.3g} |")


if __name__ == "__main__":
    main()
