"""`mnist-export`: write a trained model to a file that other programs run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from mnist_trainer.cli.arguments import Command
from mnist_trainer.cli.common import handle_errors, print_safe, require
from mnist_trainer.cli.options import Debug, Version, complete, new_app, option

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
    "The format: onnx (for ONNX Runtime and other programs), pt2 (torch.export), state_dict (weights, and a script "
    "that builds the model with torch alone), keras (a .keras file), or hub (a folder with safetensors, the config "
    "and a model card)."
)
OUT = "Write to this file (hub: this folder) instead of one with the name of the run."


@app.command(cls=Command)
def export(
    checkpoints: Checkpoints = None,
    to: Annotated[Format, option("--to", "FORMAT", TO)] = "onnx",
    out: Annotated[Path | None, option("--out", "FILE", OUT)] = None,
    debug: Debug = False,
    _version: Version = False,
) -> None:
    """Write a trained model to a file that other programs run: images in, calibrated probabilities out.

    All validation images go through the file first: if it does not give the model's answers, it is not written.
    """
    with handle_errors(debug):
        require({NO_CHECKPOINT: checkpoints})
        from mnist_trainer.export.write import export_model

        done = export_model(checkpoints or [], out, to=to)
        print_safe(f"Written to {', '.join(map(str, done.files))} ({done.num_bytes:,} bytes)")
        print_safe(f"Verified on {done.verified_on}: probabilities differ by {done.largest_difference:.1e} at most")
