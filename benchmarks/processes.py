"""Measure trainings in several processes: time and bytes sent.

    python benchmarks/processes.py                  # lecture and cnn in 1, 2 and 4 processes, exact and fast
    python benchmarks/processes.py --tiny           # only shows that it works, on the digits of the package

Rows alternate, each in processes of its own. Needs MNIST in MNIST_TRAINER_DATA. Prints Markdown.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path

TINY = ("data.name=digits", "data.limit=10", "training.epochs=2")
FULL = ("data.limit=1000", "training.epochs=3")


def measure(config: str, processes: int, reduce: str, threads: int, options: argparse.Namespace) -> dict[str, float]:
    """Train once. Return the seconds of an epoch, the accuracy, and the MB that each process sends in a step."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "run")
        keys = [f"training.micro_batches={options.parts}", f"training.reduce={reduce}", f"threads={threads}"]
        keys += ["report.plots=false", "report.gallery=false", *(TINY if options.tiny else FULL)]
        command = [sys.executable, "-m", "mnist_trainer", "train", config, *keys, "--run-dir", str(run), "--quiet"]
        subprocess.run([*command, "--processes", str(processes)], check=True, stdout=subprocess.DEVNULL)
        rows = list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))
        record = json.loads((run / "run.json").read_text())
    seconds = statistics.median(float(row["seconds"]) for row in rows[1:])
    sent = 0.0
    if processes > 1:  # to others, by each process in a step: a part of its gradient, then its part of the sum
        sent = 4 * record["parameters"] * 2 * (processes - 1) / processes / 1e6
    return {"seconds": seconds, "accuracy": record["test"]["accuracy"], "sent_mb": sent}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configs", nargs="+", default=["lecture", "cnn"])
    parser.add_argument("--processes", nargs="+", type=int, default=[1, 2, 4])
    parser.add_argument("--parts", type=int, default=4, help="training.micro_batches")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    kinds = list(product(options.configs, options.processes, ["exact", "fast"]))
    found: dict[tuple[str, int, str], list[dict[str, float]]] = {kind: [] for kind in kinds}
    for _ in range(1 if options.tiny else options.rounds):
        for config, processes, reduce in kinds:
            found[config, processes, reduce].append(measure(config, processes, reduce, 1, options))
    print("| config | processes | reduce | epoch, s (median) | accuracy | MB sent a step by each |")
    print("|---|---|---|---|---|---|")
    for (config, processes, reduce), each in found.items():
        seconds, accuracy = (statistics.median(one[key] for one in each) for key in ("seconds", "accuracy"))
        print(f"| {config} | {processes} | {reduce} | {seconds:.3g} | {accuracy:.2%} | {each[0]['sent_mb']:.3g} |")


if __name__ == "__main__":
    main()
