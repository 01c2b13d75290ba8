"""Measure the formats of `mnist-export`, and quantized and pruned weights, on the validation images of a model.

    python benchmarks/export.py bundled runs/cnn > export.md
    python benchmarks/export.py bundled runs/cnn --no-times --csv FILE.csv     # beside other programs

It prints Markdown, and writes a row for each model, weights and format to the CSV file, after each of them.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from mnist_trainer.export.benchmark import Measurement
from mnist_trainer.export.write import FORMATS, benchmark_formats, compression_name

COMPRESSIONS: list[tuple[int | None, float | None]] = [(None, None), (8, None), (4, None), (None, 0.5), (8, 0.5)]
TIMES = ("start_s", "one_image_s", "all_images_s")

Row = dict[str, str]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", metavar="MODEL", help="a run folder, a checkpoint, or bundled")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write all figures to this file")
    parser.add_argument("--no-times", action="store_true", help="leave out times, where other programs run")
    arguments = parser.parse_args()
    rows: list[Row] = []
    for model in arguments.models:
        for bits, share in COMPRESSIONS:
            rows += measure(model, bits, share, has_times=not arguments.no_times)
            if arguments.csv:
                write_csv(arguments.csv, rows)
    print("\n".join(answer_table(rows)))
    if not arguments.no_times:
        print("", *time_table(rows), sep="\n")


def measure(model: str, bits: int | None, share: float | None, has_times: bool) -> Iterator[Row]:
    """Yield a row for each format; the checkpoint is one with the original weights alone."""
    measured, reasons = benchmark_formats(model, quantize=bits, prune=share)
    weights = compression_name(bits, share) or "32 bits"
    for each in measured[0 if weights == "32 bits" else 1 :]:
        row = {"model": Path(model).name, "weights": weights, **answers(each, measured[0])}
        times = (each.start, each.one_image, each.all_images)
        yield row | (dict(zip(TIMES, (f"{time:.5f}" for time in times), strict=True)) if has_times else {})
    for reason in reasons.values():
        print(reason, file=sys.stderr)


def answers(each: Measurement, checkpoint: Measurement) -> Row:
    """Return what does not depend on the machine: the size, and the answers beside those of the checkpoint."""
    p = each.p_value(checkpoint)
    return {
        "format": each.name,
        "bytes": str(each.num_bytes),
        "largest difference": f"{each.difference(checkpoint):.1e}",
        "errors": str(each.errors),
        "McNemar's p": "" if p is None else f"{p:.2g}",
    }


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write the figures."""
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def answer_table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield a line for each model and weights: kilobytes of each format, and the answers, which are the same in all."""
    names = ("checkpoint", *FORMATS)
    yield f"| model | weights | {', '.join(names)}: KB | largest difference | errors | McNemar's p |"
    yield "|---|---|---|---|---|---|"
    for (model, weights), group in groupby(rows, lambda row: (row["model"], row["weights"])):
        found = {row["format"]: row for row in group}
        sizes = ", ".join(f"{int(found[name]['bytes']) / 1000:.0f}" if name in found else "-" for name in names)
        largest = max((row["largest difference"] for row in found.values()), key=float)
        errors, p = (
            " or ".join(dict.fromkeys(row[key] for row in found.values())) for key in ("errors", "McNemar's p")
        )
        yield f"| {model} | {weights} | {sizes} | {largest} | {errors} | {p} |"


def time_table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield a line for each row."""
    yield "| model | weights | format | start, s | one image, ms | all images, s |"
    yield "|---|---|---|---|---|---|"
    for row in rows:
        start, one, every = (float(row[key]) for key in TIMES)
        name = f"{row['model']} | {row['weights']} | {row['format']}"
        yield f"| {name} | {start:.2f} | {1000 * one:.2f} | {every:.2f} |"


if __name__ == "__main__":
    main()
