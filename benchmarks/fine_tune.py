"""Fine-tune the bundled model on a few pictures of one source by the command of docs/handwriting.md; read the others.

    python benchmarks/fine_tune.py SET.npz FOLDER [--draws 0,1,2] [--count 50] [KEY=VALUE …]

SET has x, uint8 [N, h, w], bright on black, and y [N]. Each draw takes `count` of its pictures, as many of each digit,
saves what the network sees of them as `mnist-predict --correct` does (FOLDER/DRAW/mine), and trains (FOLDER/DRAW/run),
with the given overrides. All other pictures are read with `--expect single` before and after, and so are simulated
pictures without digits, which should be refused. Only validation images of MNIST are evaluated.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from time import perf_counter

import numpy as np
from handwriting.bench import Answer, Bench, Pixels, head, percent, row, share, tally
from handwriting.simulated import non_digits
from numpy.typing import NDArray
from PIL import Image

from mnist_trainer import evaluate
from mnist_trainer.pipeline.predict import InputImage, Reader, load_reader
from mnist_trainer.simulator.non_digits import NON_DIGITS
from mnist_trainer.storage.run_folder import find_checkpoint

PAGE = Path(__file__).parents[1] / "docs" / "handwriting.md"
COUNT = 400
"""As `--count` of handwriting.py: a quarter of it are pictures of each kind without digits."""

Labels = NDArray[np.int64]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("set", type=Path, metavar="SET.npz")
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--draws", default="0,1,2", help="seeds of the draws (%(default)s)")
    parser.add_argument("--count", type=int, default=50, help="pictures to train on (%(default)s)")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    arguments = parser.parse_intermixed_args()
    with np.load(arguments.set) as content:
        images, labels = content["x"], content["y"].astype(np.int64)
    bundled = load_reader()
    print(f"Model: {bundled.name}, SHA-256 {sha256(find_checkpoint('bundled').read_bytes()).hexdigest()[:12]}.\n")
    print(head("draw", "model", "others right", "others refused", "no digits, refused", "MNIST, validation", "minutes"))
    answers, cells = read(bundled, images, labels), cells_of("bundled")
    for draw in map(int, arguments.draws.split(",")):
        chosen = drawn(labels, arguments.count, draw)
        others = np.setdiff1d(np.arange(len(labels)), chosen)
        folder = arguments.folder / str(draw)
        save(bundled, images, labels, chosen, folder / "mine")
        start = perf_counter()
        fine_tune(folder, arguments.overrides)
        minutes = f"{(perf_counter() - start) / 60:.1f}"
        tuned = str(folder / "run" / "best.pt")
        print(row(str(draw), "bundled", *shares(answers, others), *cells, ""))
        new = read(load_reader(tuned), images, labels)
        print(row(str(draw), "fine-tuned", *shares(new, others), *cells_of(tuned), minutes), flush=True)


def drawn(labels: Labels, count: int, seed: int) -> Labels:
    """Return the positions of `count` pictures, as many of each digit."""
    generator = np.random.default_rng(seed)
    each = [generator.permutation(np.flatnonzero(labels == digit))[: count // 10] for digit in range(10)]
    return np.concatenate(each)


def read(reader: Reader, images: Pixels, labels: Labels) -> list[Answer]:
    """Return the answers to all pictures."""
    inputs = [InputImage(str(number), image) for number, image in enumerate(images)]
    answers = zip(labels.tolist(), reader.read(inputs, expect="single"), strict=True)
    return [Answer(str(label), "", found.text, found.confidence) for label, found in answers]


def shares(answers: list[Answer], positions: Labels) -> tuple[str, str]:
    """Return the shares of the answers at `positions` that are correct, and refused."""
    chosen = [answers[position] for position in positions]
    return percent(share(chosen)), percent(share(chosen, refused=True))


def cells_of(checkpoint: str) -> tuple[str, str]:
    """Return the refused share of pictures without digits, and the accuracy on MNIST's validation images."""
    bench = Bench(load_reader(checkpoint), "bundled", "validation", (), COUNT, None)
    refused = [answer for kind in NON_DIGITS for answer in bench.read(None, non_digits(bench, kind))]
    accuracy = evaluate(checkpoint, "data.name=mnist", split="validation").accuracy  # without simulated images
    return tally(refused)[-1], f"{100 * accuracy:.2f} %"


def save(reader: Reader, images: Pixels, labels: Labels, chosen: Labels, folder: Path) -> None:
    """Save the network's input for each of the `chosen` pictures in the folder of its class."""
    inputs = [InputImage(str(number), images[number]) for number in chosen]
    for number, found in zip(chosen, reader.read(inputs, expect="single"), strict=True):
        place = folder / str(labels[number])
        place.mkdir(parents=True, exist_ok=True)
        for image in (digit.image for digit in found.digits[:1] if digit.image is not None):
            Image.fromarray(image).save(place / f"{number}.png")


def fine_tune(folder: Path, overrides: list[str]) -> None:
    """Train in `folder`/run by the command of the documentation."""
    page = PAGE.read_text(encoding="utf-8").replace("\\\n", "")
    (shown,) = re.findall(r"^mnist-train (--config bundled .*model\.init_from=bundled.*)$", page, flags=re.MULTILINE)
    options = shlex.split(shown.replace("runs/mine", str(folder / "run")).replace("=mine", f"={folder / 'mine'}"))
    command = (sys.executable, "-m", "mnist_trainer", "train", *options, "--quiet", *overrides)
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
