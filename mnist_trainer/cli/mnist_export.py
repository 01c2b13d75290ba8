"""`mnist-export`: write a trained model to a file that other programs run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mnist_trainer.cli.arguments import Command
from mnist_trainer.cli.common import handle_errors, print_safe, require
from mnist_trainer.cli.options import Debug, Version, complete, flag, new_app, option
from mnist_trainer.errors import UsageError

if TYPE_CHECKING:
    from mnist_trainer.export.benchmark import Measurement

app = new_app()

NO_CHECKPOINT = """\
Name what to export: a run folder, a .pt file, latest (the newest finished run), or bundled. For example:
  mnist-export latest --to onnx
mnist-export --help lists all options."""

Format = Literal["onnx", "pt2", "state_dict", "keras", "hub"]
"""The formats, as in `FORMATS` of export/write.py."""

Checkpoints = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="CHECKPOINT",
        help="A run folder, a .pt file, latest (the newest finished run), or bundled (comes with the package); "
        "several are exported as an ensemble.",
        autocompletion=complete("latest", "bundled"),
    ),
]
TO = (
    "The format: onnx (the default, for ONNX Runtime and other programs), pt2 (torch.export), state_dict (weights, and "
    "a script that builds the model with torch alone), keras (a .keras file), or hub (a folder with safetensors, the "
    "config and a model card)."
)
QUANTIZE = "Store the weights in 8 or 4 bits, and compare size, time and errors with the original."
PRUNE = "Set this share of the weights to zero, those with the smallest magnitude in all layers together: 0.5 is half."
BENCHMARK = "Print a table over all formats, and write nothing: size, start, time of one image and of all, difference."
OUT = "Write to this file (hub: this folder) instead of one with the name of the run."


@app.command(cls=Command)
def export(
    checkpoints: Checkpoints = None,
    to: Annotated[Format | None, option("--to", "FORMAT", TO, show_default=False)] = None,
    out: Annotated[Path | None, option("--out", "FILE", OUT)] = None,
    quantize: Annotated[int | None, option("--quantize", "8|4", QUANTIZE)] = None,
    prune: Annotated[float | None, option("--prune", "SHARE", PRUNE)] = None,
    benchmark: Annotated[bool, flag("--benchmark", BENCHMARK)] = False,
    debug: Debug = False,
    _version: Version = False,
) -> None:
    """Write a trained model to a file that other programs run: images in, calibrated probabilities out.

    All validation images go through the file first: if it does not give the model's answers, it is not written.
    """
    with handle_errors(debug):
        require({NO_CHECKPOINT: checkpoints})
        if benchmark:
            _print_benchmark(
                checkpoints or [], quantize, prune, [name for name, value in (("--to", to), ("--out", out)) if value]
            )
            return
        from mnist_trainer.export.write import export_model

        done = export_model(checkpoints or [], out, to=to or "onnx", quantize=quantize, prune=prune)
        print_safe(f"Written to {', '.join(map(str, done.files))} ({done.num_bytes:,} bytes)")
        weights = " from the model with these weights" if done.measured else ""
        print_safe(
            f"Verified on {done.verified_on}: probabilities differ by {done.largest_difference:.1e} at most{weights}"
        )
        if done.measured:
            _print_table(done.measured, names_drawbacks=True)


def _print_benchmark(checkpoints: list[str], quantize: int | None, prune: float | None, others: list[str]) -> None:
    """Print the table of all formats. Raises `UsageError` if options ask for a file as well."""
    if others:
        raise UsageError(f"--benchmark measures all formats and writes no file. Leave out {' and '.join(others)}.")
    from mnist_trainer.export.write import benchmark_formats

    measured, reasons = benchmark_formats(checkpoints, quantize=quantize, prune=prune)
    _print_table(measured)
    for name, reason in reasons.items():
        print_safe(f"{name}: {reason}")


def _print_table(measured: Sequence[Measurement], names_drawbacks: bool = False) -> None:
    """Print the measurements and, if asked, in which way a file is worse than the first one."""
    from mnist_trainer.export.benchmark import drawbacks, measurement_rows
    from mnist_trainer.reports.text import Column, table_lines

    heads, rows = measurement_rows(measured)
    lines, _ = table_lines([Column(head, right=index > 0) for index, head in enumerate(heads)], rows)
    for line in [*lines, *(drawbacks(measured) if names_drawbacks else [])]:
        print_safe(line)
