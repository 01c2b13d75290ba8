"""Draws what the simulator of photographs makes, three examples of each kind (`docs/simulated.png`), and times it.

    python benchmarks/simulated.py PNG [--data NAME] [--seed N]

The digits are validation images of the data set, MNIST unless another is named (`digits` is always there).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from time import process_time

import numpy as np
from PIL import Image, ImageDraw

from mnist_trainer.config.schema import Data
from mnist_trainer.data.loaders import load_split
from mnist_trainer.simulator.photographs import KINDS, photograph

EXAMPLES, COLUMNS, SIDE, GAP, LABEL = 3, 3, 64, 4, 92
TIMED = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("png", type=Path)
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    source = load_split(Data.model_validate({"name": arguments.data}), "validation")
    images, labels = source.images.numpy(), source.labels.tolist()
    sheet(images, labels, arguments.seed).save(arguments.png, optimize=True)
    print("| kind | ms of CPU a picture | pixels, mean |")
    print("|---|---|---|")
    for kind in (None, *KINDS):
        random, started, pixels = np.random.default_rng(arguments.seed), process_time(), 0
        for number in range(TIMED):
            at = number % len(labels)
            pixels += photograph(images[at], random, kind, label=labels[at])[0].size // 3
        seconds = process_time() - started
        print(f"| {kind or 'mixture'} | {1000 * seconds / TIMED:.2f} | {pixels // TIMED:,} |", flush=True)


def sheet(images: np.ndarray, labels: list[int], seed: int) -> Image.Image:
    """Every kind with its name and examples, in columns."""
    rows, random = -(-len(KINDS) // COLUMNS), np.random.default_rng(seed)
    width = LABEL + EXAMPLES * (SIDE + GAP)
    drawn = Image.new("RGB", (COLUMNS * width, rows * (SIDE + GAP)), (126, 138, 160))
    pen = ImageDraw.Draw(drawn)
    for number, kind in enumerate(KINDS):
        left, top = number // rows * width, number % rows * (SIDE + GAP)
        pen.text((left + GAP, top + SIDE / 2 - 8), kind, "white", font_size=12)
        for example in range(EXAMPLES):
            at = int(random.integers(len(labels))) if kind != "crossed" else labels.index((7, 0, 1)[example])
            picture = Image.fromarray(photograph(images[at], random, kind, label=labels[at])[0])
            picture.thumbnail((SIDE, SIDE))
            drawn.paste(picture, (left + LABEL + example * (SIDE + GAP), top))
    return drawn


if __name__ == "__main__":
    main()
