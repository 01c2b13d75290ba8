"""Trains shipped configs twice with the same seed and says whether weights and figures are the same bits.

python benchmarks/repeat.py              # every config, whole
python benchmarks/repeat.py mlp cnn
"""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from mnist_trainer.config.shipped import shipped

TIMES = ("seconds", "images_per_second")


def trained(name: str, place: Path) -> tuple[dict[str, torch.Tensor], list[dict[str, str]]]:
    """The best weights and the rows of metrics.csv (without times) of a fresh process."""
    command = [
        sys.executable,
        "-m",
        "mnist_trainer.cli.mnist_train",
        "--config",
        name,
        "--quiet",
        "--run-dir",
        str(place),
    ]
    subprocess.run([*command, "report.plots=false", "report.gallery=false"], check=True, capture_output=True)
    weights = torch.load(place / "best.pt", weights_only=True)["members"][0]["weights"]
    with (place / "metrics.csv").open(newline="") as stream:
        rows = [{key: value for key, value in row.items() if key not in TIMES} for row in csv.DictReader(stream)]
    return weights, rows


def main() -> None:
    print("| config | same weights | same figures |")
    print("|---|---|---|")
    for name in sys.argv[1:] or shipped():
        with tempfile.TemporaryDirectory() as folder:
            (first, rows), (second, again) = (trained(name, Path(folder) / part) for part in ("a", "b"))
        equal = all(torch.equal(first[key], second[key]) for key in first)
        print(f"| {name} | {'yes' if equal else 'NO'} | {'yes' if rows == again else 'NO'} |", flush=True)


if __name__ == "__main__":
    main()
