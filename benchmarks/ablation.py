"""Train `cnn` with one change at a time, three seeds each, and print a table of their errors.

    python benchmarks/ablation.py FOLDER [NAME …]

A row is `mnist-train --config cnn --seeds 3` with the overrides in `CHANGES`, written to FOLDER/NAME; finished runs
are not trained again. The models of the rows in `EVALUATED` are also evaluated as an ensemble, and with several views.
The validation errors of `refit` are those of its first training, because its second one leaves no validation images.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

AFFINE = "rotate: 12, shear: 10, scale: 0.12, shift: 1, halve_for: [1, 7]"
ELASTIC = "elastic: {alpha: 36, sigma: 6}"
BOTH = f"data.augment={{{AFFINE}, {ELASTIC}}}"
CHANGES: dict[str, list[str]] = {
    "as shipped": [],
    "affine": [f"data.augment={{{AFFINE}}}"],
    "elastic": [f"data.augment={{{ELASTIC}}}"],
    "affine and elastic": [BOTH],
    "affine, elastic, the last 2 epochs clean": [f"data.augment={{{AFFINE}, {ELASTIC}, clean_last: 2}}"],
    "thickness": ["data.augment={thickness: 0.5}"],
    "mixup": ["training.mixup=0.2"],
    "EMA": ["training.ema=0.99"],
    "refit": ["training.refit=true"],
}
EVALUATED = ("as shipped", "elastic", "affine and elastic")
SEEDS = (0, 1, 2)


def main() -> None:
    folder, *names = sys.argv[1:]
    print("| change | test errors of 10,000, mean ± sd (each) | validation errors of 5,000 |")
    print("|---|---|---|")
    for name, keys in CHANGES.items():
        if not names or name in names:
            print(trained(name, keys, run_folder(folder, name)), flush=True)
    for name in EVALUATED:
        if not names or name in names:
            print(evaluated(name, run_folder(folder, name)), flush=True)


def run_folder(folder: str, name: str) -> Path:
    return Path(folder) / name.replace(",", "").replace(" ", "-")


def trained(name: str, keys: list[str], folder: Path) -> str:
    """Train a series of runs and return their row."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    command = ["mnist-train", "--config", "cnn", "--seeds", str(len(SEEDS)), "--jobs", "3", "--quiet"]
    overrides = ["report.plots=false", "report.gallery=false", *keys]
    subprocess.run([*command, "--run-dir", str(folder), *overrides], check=True, capture_output=True)
    runs = [json.loads((folder / f"seed-{seed}" / "run.json").read_text()) for seed in SEEDS]
    test, validation = ([run[split]["errors"] for run in runs] for split in ("test", "validation"))
    return f"| {name} | {spread(test)} | {spread(validation)} |"


def evaluated(name: str, folder: Path) -> str:
    """Return the rows of the trained models as an ensemble, and with several views."""
    members = [str(folder / f"seed-{seed}") for seed in SEEDS]
    rows = [
        f"| {name}: an ensemble of the three | {errors_of(members)} | {errors_of(members, '--split', 'validation')} |"
    ]
    for views in ("5", "9"):
        alone = [
            [errors_of([member], "--views", views, "--split", split) for member in members]
            for split in ("test", "validation")
        ]
        rows.append(f"| {name}: {views} views | {spread(alone[0])} | {spread(alone[1])} |")
    return "\n".join(rows)


def errors_of(members: list[str], *options: str) -> int:
    """Return the number of errors that `mnist-eval` counts."""
    done = subprocess.run(["mnist-eval", *members, *options, "--json"], check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return int(found["errors"])


def spread(values: list[int]) -> str:
    return f"{mean(values):.1f} ± {stdev(values):.1f} ({', '.join(map(str, values))})"


if __name__ == "__main__":
    main()
