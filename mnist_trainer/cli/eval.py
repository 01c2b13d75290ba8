"""`mnist-eval`: a checkpoint in, its figures out."""

from __future__ import annotations

import json
import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mnist_trainer.cli.common import Debug, Version, error_paragraphs, new_app, options_named
from mnist_trainer.errors import UsageError

if TYPE_CHECKING:
    from mnist_trainer.pipeline.evaluation import Judged

app = new_app()


class SplitName(StrEnum):
    """The parts of a data set."""

    test = "test"
    validation = "validation"
    train = "train"


@app.command(name="eval")
def evaluate(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="CHECKPOINT [KEY=VALUE]",
            help="A .pt file, a run folder or latest; then other data: data.name=qmnist",
        ),
    ],
    split: Annotated[
        SplitName, typer.Option("--split", metavar="test|validation|train", help="Which images.")
    ] = SplitName.test,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Write confusion.png, mistakes.png and predictions.csv there."),
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", metavar="NAME", help="cpu, cuda, cuda:1, mps or auto.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object; fractions from 0 to 1.")] = False,
    debug: Debug = False,
    _version: Version = False,
) -> None:
    """Measure a trained model: accuracy, errors, loss, their interval, each digit, calibration."""
    with error_paragraphs(debug):
        checkpoint, overrides = _sort(arguments)
        options = [] if device is None else [f"device={device}"]
        from mnist_trainer.pipeline.evaluation import judge
        from mnist_trainer.reports.text import evaluation_lines

        with options_named(overrides, ["device"]):
            judged = judge(checkpoint, *overrides, *options, split=split.value)
        if out is not None:
            _write(judged, out)
        if as_json:
            print(json.dumps(judged.evaluation.to_json()))
        else:
            print("\n".join(evaluation_lines(judged.evaluation, str(judged.path))))
            if out is not None:
                print(f"\nWritten to {out}: confusion.png, mistakes.png, predictions.csv")


def _sort(arguments: list[str]) -> tuple[str, list[str]]:
    """The checkpoint and the overrides; what exists as a path is a path, whatever its name."""
    checkpoints = [argument for argument in arguments if "=" not in argument or os.path.exists(argument)]  # noqa: PTH110 - Path.exists raises on long texts
    overrides = [argument for argument in arguments if argument not in checkpoints]
    if len(checkpoints) != 1:
        found = ", ".join(checkpoints) or "none"
        raise UsageError(f"mnist-eval takes one checkpoint, a .pt file, a run folder or latest; got {found}.")
    return checkpoints[0], overrides


def _write(judged: Judged, out: Path) -> None:
    from mnist_trainer.reports.drawings import draw_confusion, draw_mistakes, predictions_csv
    from mnist_trainer.storage.files import make_folder, write_bytes, write_text

    make_folder(out)
    classes, evaluation = judged.checkpoint.classes, judged.evaluation
    for name, png in draw_confusion(evaluation, classes):
        write_bytes(out / name, png)
    for name, png in draw_mistakes(judged.answers, judged.source, evaluation, classes):
        write_bytes(out / name, png)
    write_text(
        out / "predictions.csv", predictions_csv(judged.answers, judged.source, classes, evaluation.ece is not None)
    )


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
