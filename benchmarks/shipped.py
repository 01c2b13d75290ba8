"""Train the configs that come with the package with several seeds, and print a Markdown table of their results.

    python benchmarks/shipped.py                     # every config, seeds 0, 1, 2
    python benchmarks/shipped.py mlp cnn --seeds 0

Each run is a process of its own. A config whose data set is missing is reported as not measured.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

from mnist_trainer.config.shipped import shipped


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="names of configs; without one, all")
    parser.add_argument("--seeds", default="0,1,2")
    arguments = parser.parse_args()
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    print(
        "| config | test accuracy, mean (lowest to highest) | validation | best epoch | training s | whole command s |"
    )
    print("|---|---|---|---|---|---|")
    for name in arguments.names or shipped():
        print(row(name, [run(name, seed) for seed in seeds]), flush=True)


def run(name: str, seed: int) -> dict[str, Any] | str:
    """Train once. Return its `run.json` and the seconds of the process, or the message of its error."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "run"
        command = [
            sys.executable,
            "-m",
            "mnist_trainer",
            "train",
            "--config",
            name,
            "--seed",
            str(seed),
            "--quiet",
        ]
        started = perf_counter()
        done = subprocess.run([*command, "--run-dir", str(place)], capture_output=True, text=True, check=False)
        if done.returncode:
            return done.stderr.strip().splitlines()[0]
        record: dict[str, Any] = json.loads((place / "run.json").read_text())
        return record | {"process_seconds": perf_counter() - started}


def row(name: str, runs: list[dict[str, Any] | str]) -> str:
    """Return one line of the table."""
    ended = [record for record in runs if not isinstance(record, str)]
    if len(ended) < len(runs):
        return f"| {name} | not measured: {next(text for text in runs if isinstance(text, str))} | | | | |"
    tests = [100 * record["test"]["accuracy"] for record in ended]
    validation = [100 * record["validation"]["accuracy"] for record in ended]
    epochs = ", ".join(str(record["best_epoch"]) for record in ended)
    training = statistics.median(record["timings"]["training_seconds"] for record in ended)
    whole = statistics.median(record["process_seconds"] for record in ended)
    spread = f"{statistics.mean(tests):.2f} % ({min(tests):.2f} to {max(tests):.2f})"
    return f"| {name} | {spread} | {statistics.mean(validation):.2f} % | {epochs} | {training:.1f} | {whole:.1f} |"


if __name__ == "__main__":
    main()
