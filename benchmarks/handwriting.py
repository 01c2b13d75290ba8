"""Measure how well `mnist-predict` reads handwriting.

    python benchmarks/handwriting.py [DIR …] [--only NAME,…] [--checkpoint FILE|RUN] [--mistakes FOLDER]
        [--count N] [--images validation|test]

The parts are `sources` (the pictures in DIR), `rows`, `refusals`, `photographs` and `calibration`. Simulated pictures
show images that the model was not trained on: validation images during development, test images only for the final
figures. They are the same in every run.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

from handwriting.bench import Bench
from handwriting.calibration import calibration
from handwriting.real import sources
from handwriting.simulated import photographs, refusals, rows

from mnist_trainer.pipeline.predict import load_reader

PARTS: dict[str, Callable[[Bench], Iterator[str]]] = {
    part.__name__: part for part in (sources, rows, refusals, photographs, calibration)
}
"""The parts by name. Each yields lines of Markdown."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", nargs="*", type=Path, metavar="DIR", help="labelled pictures, or folders of them")
    parser.add_argument("--checkpoint", default="bundled", metavar="FILE|RUN")
    parser.add_argument(
        "--mistakes",
        type=Path,
        metavar="FOLDER",
        help="save pictures that were read wrong here, with the steps of reading",
    )
    parser.add_argument("--only", default=",".join(PARTS), metavar="NAME,…", help="only these parts (%(default)s)")
    parser.add_argument(
        "--count", type=int, default=2000, help="photographs of each kind; rows and refusals: a quarter (%(default)s)"
    )
    parser.add_argument("--images", choices=("validation", "test"), default="validation")
    arguments = parser.parse_args()
    names = arguments.only.split(",")
    if unknown := set(names) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if missing := [str(folder) for folder in arguments.folders if not folder.is_dir()]:
        parser.error(f"no folder: {', '.join(missing)}")
    if arguments.count < 1:
        parser.error("--count must be at least 1")
    reader = load_reader(arguments.checkpoint)
    bench = Bench(
        reader, arguments.checkpoint, arguments.images, tuple(arguments.folders), arguments.count, arguments.mistakes
    )
    print(f"Model: {reader.name}. Simulated pictures show {arguments.images} images.")
    for name in names:
        print(f"\n### {name}\n")
        for line in PARTS[name](bench):
            print(line, flush=True)


if __name__ == "__main__":
    main()
