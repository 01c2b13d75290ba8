"""`mnist-eval`: checkpoints in, their figures out."""

from __future__ import annotations

import json
import os
import shutil
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mnist_trainer.cli.arguments import DataCommand
from mnist_trainer.cli.common import Debug, Version, handle_errors, new_app, print_safe, problems_at_options
from mnist_trainer.errors import UsageError

if TYPE_CHECKING:
    from mnist_trainer.data.image_dataset import Split
    from mnist_trainer.pipeline.evaluation import Judged

app = new_app()

Report = tuple[list[str], dict[str, Any]]
"""The lines to print, and the object that --json prints instead."""


class SplitName(StrEnum):
    """The parts of a data set; test50k is QMNIST's."""

    test = "test"
    validation = "validation"
    train = "train"
    test50k = "test50k"


Arguments = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="CHECKPOINT [KEY=VALUE]",
        help="A run folder, a .pt file, or latest (the newest finished run); several are measured as an ensemble. "
        "Then keys of other data: data.name=qmnist",
    ),
]
WhichSplit = Annotated[
    SplitName,
    typer.Option(
        "--split",
        metavar="PART",
        help="Which images: test, validation, train; with data.name=qmnist also test50k, the 50,000 that are not "
        "part of MNIST.",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Write confusion.png, mistakes.png and predictions.csv to this folder."),
]
Save = Annotated[Path | None, typer.Option("--save", metavar="FILE", help="Save the ensemble as one checkpoint.")]
Views = Annotated[
    int,
    typer.Option(
        "--views",
        metavar="N",
        help="Average the answers to N slightly deformed copies of each image (test-time augmentation).",
    ),
]
Calibrate = Annotated[
    Path | None,
    typer.Option(
        "--calibrate", metavar="FILE", help="Save a copy whose probabilities are calibrated on the validation images."
    ),
]
Compare = Annotated[
    bool, typer.Option("--compare", help="Compare two checkpoints: is one significantly better? (McNemar's test)")
]
Device = Annotated[str | None, typer.Option("--device", metavar="NAME", help="Device: cpu, cuda, cuda:1, mps or auto.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object; accuracies are fractions from 0 to 1.")]


@app.command(name="eval", cls=DataCommand)
def evaluate(  # noqa: PLR0913, PLR0917 - one an option
    arguments: Arguments = None,
    split: WhichSplit = SplitName.test,
    out: Out = None,
    save: Save = None,
    views: Views = 1,
    calibrate: Calibrate = None,
    compare: Compare = False,
    device: Device = None,
    as_json: Json = False,
    debug: Debug = False,
    _version: Version = False,
) -> None:
    """Measure a trained model, or several as an ensemble: accuracy, errors, loss, each digit, calibration."""
    with handle_errors(debug):
        checkpoints, overrides = _split_arguments(arguments or [])
        _check_options(len(checkpoints), out, save, views, calibrate, compare)
        changes = [*overrides, *([] if device is None else [f"device={device}"])]
        with problems_at_options(overrides, ["device"]):
            if compare:
                lines, content = _compare(checkpoints, changes, split.value, views)
            elif calibrate is not None:
                lines, content = _calibrate(checkpoints, changes, split.value, calibrate, out)
            else:
                lines, content = _evaluate(checkpoints, changes, split.value, views, save, out)
        for note in content.get("notes", ()):
            print_safe(f"warning: {note}", err=True)
        print_safe(json.dumps(content) if as_json else "\n".join(lines))


def _split_arguments(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The checkpoints and the overrides; what exists as a path is a path, whatever its name."""
    checkpoints = [argument for argument in arguments if "=" not in argument or os.path.exists(argument)]  # noqa: PTH110 - Path.exists raises on long texts
    return checkpoints, [argument for argument in arguments if argument not in checkpoints]


def _check_options(
    checkpoints: int, out: Path | None, save: Path | None, views: int, calibrate: Path | None, compare: bool
) -> None:
    """Raises `UsageError` for options that do not go together, before anything is loaded."""
    if not checkpoints:
        raise UsageError(
            "Name what to measure: a run folder, a .pt file, or latest, the newest finished run. For example:\n"
            "  mnist-eval latest\n"
            "mnist-eval --help lists all options."
        )
    if views < 1:
        raise UsageError(f"--views must be 1 or more, got {views}; 1 is the plain answer, without deformed copies.")
    if compare and checkpoints != 2:
        raise UsageError(f"--compare takes exactly two checkpoints, got {checkpoints}. An ensemble is one with --save.")
    if compare and (out or save or calibrate):
        raise UsageError("--compare prints alone: leave out --out, --save and --calibrate.")
    if save and checkpoints == 1:
        raise UsageError("--save writes an ensemble, so it takes two checkpoints or more; got 1.")
    if calibrate and save:
        raise UsageError("--calibrate writes the ensemble itself: leave out --save.")
    if save and views > 1:
        raise UsageError("--save writes the plain ensemble, as a checkpoint stores no views: leave out --views.")
    if calibrate and views > 1:
        raise UsageError("--calibrate is for the plain answer, as a checkpoint stores no views: leave out --views.")


def _make_output_folders(checkpoints: list[str], file: Path | None, out: Path | None) -> None:
    """Makes the folders of what will be written, before the work. Raises `UsageError` for files that must stay."""
    from mnist_trainer.files import make_folder
    from mnist_trainer.pipeline.subject import find_all, require_other_file

    sources = find_all(checkpoints)
    if file is not None:
        require_other_file(file, sources)
        make_folder(file.parent)
    if out is not None:
        make_folder(out)


def _evaluate(
    checkpoints: list[str], overrides: list[str], split: Split, views: int, save: Path | None, out: Path | None
) -> Report:
    from mnist_trainer.pipeline.evaluation import judge
    from mnist_trainer.reports.judging import evaluation_lines
    from mnist_trainer.storage.checkpoint import save_checkpoint

    _make_output_folders(checkpoints, save, out)
    result = judge(checkpoints, *overrides, split=split, views=views)
    _print_folder_notes(result)
    lines = evaluation_lines(result.evaluation, result.subject.name, _width())
    if save is not None:
        save_checkpoint(save, result.subject.checkpoint)
        lines += ["", f"Written to {save}: the ensemble as one checkpoint"]
    if out is not None:
        lines += ["", _write_report(result, out)]
    return lines, result.evaluation.to_json()


def _compare(checkpoints: list[str], overrides: list[str], split: Split, views: int) -> Report:
    from mnist_trainer.pipeline.comparison import compare
    from mnist_trainer.reports.judging import comparison_lines

    first, second = checkpoints
    compared = compare(first, second, *overrides, split=split, views=views)
    _print_folder_notes(compared.first)
    evaluations = [result.evaluation for result in (compared.first, compared.second)]
    return comparison_lines(evaluations, compared.names, compared.comparison), compared.to_json()


def _calibrate(checkpoints: list[str], overrides: list[str], split: Split, file: Path, out: Path | None) -> Report:
    from mnist_trainer.files import write_bytes
    from mnist_trainer.pipeline.calibration import calibrate
    from mnist_trainer.reports.drawings import draw_reliability
    from mnist_trainer.reports.judging import calibration_lines, evaluation_lines
    from mnist_trainer.storage.checkpoint import save_checkpoint

    _make_output_folders(checkpoints, file, out)
    done = calibrate(checkpoints, *overrides, split=split)
    result, after = done.before[split], done.after[split]
    _print_folder_notes(result)
    lines = evaluation_lines(result.evaluation, result.subject.name, _width())
    lines += ["", *calibration_lines(done.temperature, done.sureness())]
    picture = file.with_name(f"{file.stem}-reliability.png") if out is None else out / "reliability.png"
    if out is not None:
        lines += ["", _write_report(result, out)]
    write_bytes(picture, draw_reliability(result.answers, after.answers, result.evaluation, done.temperature)[1]())
    save_checkpoint(file, done.checkpoint)
    lines += ["", f"Written to {file}: the calibrated copy; to {picture}: its reliability"]
    files = {"path": str(file), "picture": str(picture)}
    return lines, {**result.evaluation.to_json(), "calibration": {**files, **done.to_json()}}


def _print_folder_notes(result: Judged) -> None:
    """Print what was ignored in the folder of pictures that was measured."""
    from mnist_trainer.data.folder import notes

    for note in notes(result.subject.config.data):
        print_safe(f"warning: data.path: {note}", err=True)


def _width() -> int | None:
    """The columns of the terminal; None where the lines go to a file, which holds any length."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _write_report(result: Judged, out: Path) -> str:
    from mnist_trainer.files import write_bytes, write_text
    from mnist_trainer.reports.drawings import draw_confusion, draw_mistakes, predictions_csv

    classes, evaluation = result.subject.checkpoint.classes, result.evaluation
    mistakes = draw_mistakes(result.answers, result.source, evaluation, classes)
    for name, picture in (draw_confusion(evaluation, classes), mistakes):
        write_bytes(out / name, picture())
    table = predictions_csv(result.answers, result.source, classes, evaluation.ece is not None)
    write_text(out / "predictions.csv", table)
    return f"Written to {out}: confusion.png, mistakes.png, predictions.csv"


def main() -> None:
    """The console script."""
    app(prog_name="mnist-eval")


if __name__ == "__main__":
    main()
