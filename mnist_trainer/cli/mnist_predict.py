"""`mnist-predict`: read digits from pictures."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mnist_trainer.cli.arguments import Command
from mnist_trainer.cli.common import handle_errors, print_error, print_safe, require
from mnist_trainer.cli.options import Debug, Version, complete, flag, new_app, option
from mnist_trainer.errors import DataError, escape_controls

if TYPE_CHECKING:
    from mnist_trainer.inference.reading import Prediction
    from mnist_trainer.pipeline.predict import InputImage, Reader

app = new_app()

NO_PICTURE = """\
Name what to read: pictures, folders of pictures, or - for one from a pipe. For example:
  mnist-predict picture.png
mnist-predict --help lists all options."""

ONE_CSV = (
    "--out is for one CSV file with an image in each row: mnist-predict test.csv --out submission.csv. "
    "Predictions for pictures are printed; for programs use --csv or --json."
)

NO_EXPLANATIONS = "A table has no column for explanations: use --json instead of --csv, or leave out --explain."

NO_TERMINAL = "--correct asks in a terminal: call it without a pipe, and name the pictures instead of -."

NO_CORRECTIONS = "--correct asks a person, --json, --csv and --out write for programs: leave one out."

Content = Literal["auto", "single", "row", "page"]
"""The content of a picture."""

IMAGES = "Pictures, folders of pictures, or - for one from a pipe; with --out a CSV file."
Checkpoint = Annotated[
    str,
    option(
        "--checkpoint",
        "FILE|RUN|latest",
        "The model: a .pt or .onnx file, a run folder, latest (the newest finished run), or bundled (comes with the "
        "package).",
        autocompletion=complete("bundled", "latest"),
    ),
]
EXPECT = "What a picture holds: single (one digit), row, page, or auto (find out)."
MIN_CONFIDENCE = "Refuse digits whose probability is below P (0 to 1)."
MinConfidence = Annotated[float, option("--min-confidence", "P", MIN_CONFIDENCE, show_default=False)]
TOP = "Show the K most likely classes of each digit; by default only close ones."
SHOW = "Draw each 28×28 image that the network reads, in the terminal."
SAVE_STEPS = "Write a PNG for each picture that shows, step by step, how it was read."
EXPLAIN = "Show which pixels decided, and against which other digit; with --save-steps also as a PNG."
CORRECT = "Ask whether each answer is right, and save the digits to DIR, by class, to train on."
OUT = "Write Kaggle's ImageId,Label for the images in the rows of a CSV file."


@app.command(cls=Command)
def predict(  # noqa: PLR0913, PLR0917 - one an option
    images: Annotated[list[str] | None, typer.Argument(metavar="IMAGE|FOLDER|-", help=IMAGES)] = None,
    checkpoint: Checkpoint = "bundled",
    expect: Annotated[Content, option("--expect", "KIND", EXPECT)] = "auto",
    min_confidence: MinConfidence = 0.0,
    top: Annotated[int | None, option("--top", "K", TOP, min=1)] = None,
    show: Annotated[bool, flag("--show", SHOW)] = False,
    save_steps: Annotated[Path | None, option("--save-steps", "DIR", SAVE_STEPS)] = None,
    explain: Annotated[bool, flag("--explain", EXPLAIN)] = False,
    correct: Annotated[Path | None, option("--correct", "DIR", CORRECT)] = None,
    out: Annotated[Path | None, option("--out", "FILE", OUT)] = None,
    as_json: Annotated[bool, flag("--json", "Print a list with one object for each picture.")] = False,
    as_csv: Annotated[bool, flag("--csv", "Print a table with one row for each picture.")] = False,
    debug: Debug = False,
    _version: Version = False,
) -> None:
    """Read handwritten digits from pictures: any format, dark on light or light on dark, one digit or many."""
    with handle_errors(debug):
        for_people, for_programs = show or top is not None, as_json or as_csv
        require({NO_EXPLANATIONS: not (explain and as_csv)})
        _check_options(images, min_confidence, as_json and as_csv, for_people and for_programs)
        if correct is not None:
            require(
                {NO_CORRECTIONS: not (for_programs or out), NO_TERMINAL: sys.stdin.isatty() and sys.stdout.isatty()}
            )
        if out is not None:
            others = for_people or for_programs or save_steps or explain or min_confidence or expect != "auto"
            require({"--out takes no other option but --checkpoint.": not others})
            _write_submission(images or [], checkpoint, out)
            return
        reader, sources = _load(checkpoint, images or [])
        predictions = reader.read(sources, expect, min_confidence, steps=save_steps is not None, explain=explain)
        if save_steps is not None:
            from mnist_trainer.reports.digit_images import StripFolder

            strips = StripFolder(save_steps)
            predictions = strips.write_strips(predictions)
        if correct is not None:
            failed = _correct(predictions, correct, reader, top)
        elif for_programs:
            failed = _print_json(predictions) if as_json else _print_csv(predictions)
        else:
            failed = _print_text(predictions, top, show)
        if not for_programs:
            print_safe(f"model: {reader.name}")
        if save_steps is not None:
            print_safe(strips.summary(), err=for_programs)
        if failed:
            raise typer.Exit(DataError.exit_code)


def _check_options(images: object, min_confidence: float, two_forms: bool, two_readers: bool) -> None:
    """Raise `UsageError` for options that are wrong or do not go together, before anything is loaded."""
    require(
        {
            NO_PICTURE: images,
            f"--min-confidence must be from 0 to 1, got {min_confidence:g}; 90 % is 0.9.": 0 <= min_confidence <= 1,
            "--json and --csv print the same predictions in two formats: leave one out.": not two_forms,
            "--show and --top can't be combined with --json or --csv: leave one out.": not two_readers,
        }
    )


def _load(checkpoint: str, images: list[str]) -> tuple[Reader, list[InputImage]]:
    """Return the model and the pictures to read; print what it can't do, and which files of folders are skipped."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # a digit is read faster than more threads start
    from mnist_trainer.pipeline.predict import expand_inputs, load_reader

    sources, notes = expand_inputs(images)
    reader = load_reader(checkpoint)
    for note in filter(None, [reader.limits, *notes]):
        print_safe(note, err=True)
    return reader, sources


def _write_submission(images: list[str], checkpoint: str, out: Path) -> None:
    """Write the predictions for the rows of a CSV file in Kaggle's format."""
    from mnist_trainer.files import CSV_ENDINGS

    require({ONE_CSV: len(images) == 1 and images[0].lower().endswith(CSV_ENDINGS)})
    from mnist_trainer.data.tables import read_csv
    from mnist_trainer.files import make_folder, write_text
    from mnist_trainer.pipeline.predict import load_reader
    from mnist_trainer.reports.results import kaggle_submission
    from mnist_trainer.storage.run_folder import check_output_file

    path = Path(images[0])
    check_output_file(out, [path])
    make_folder(out.parent)
    reader = load_reader(checkpoint)
    pixels, labels = read_csv(path)
    if labels is not None:
        print_safe(f"{path}: its column of labels is ignored.", err=True)
    write_text(out, kaggle_submission(reader.read_rows(pixels)))
    print_safe(f"Written to {out}: the predictions for {len(pixels):,} images.\nmodel: {reader.name}")


def _print_json(predictions: Iterable[Prediction]) -> bool:
    """Print a JSON list. Return whether a picture could not be read, like the next two functions."""
    content = [prediction.to_json() for prediction in predictions]
    print(json.dumps(content))
    return any(picture["error"] for picture in content)


def _print_csv(predictions: Iterable[Prediction]) -> bool:
    """Print a row for each picture. Return whether a picture could not be read."""
    from mnist_trainer.reports.results import PREDICTION_COLUMNS, prediction_row

    failed = False
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(PREDICTION_COLUMNS)
    for prediction in predictions:
        table.writerow(prediction_row(prediction))
        failed |= prediction.error is not None
    return failed


def _print_text(predictions: Iterable[Prediction], top: int | None, show: bool) -> bool:
    """Print lines for each picture. Return whether a picture could not be read."""
    from mnist_trainer.reports.explanations import explanation_lines
    from mnist_trainer.reports.results import prediction_lines

    failed = False
    for prediction in predictions:
        if prediction.error is not None:
            failed = True
            sys.stdout.flush()
            print_error(prediction.error)
            continue
        print_safe("\n".join(prediction_lines(prediction, top) + explanation_lines(prediction)))
        for warning in prediction.warnings:
            print_safe(f"warning: {prediction.name}: {warning}", err=True)
        if show:
            _draw_digits(prediction)
    return failed


def _correct(predictions: Iterable[Prediction], folder: Path, reader: Reader, top: int | None) -> bool:
    """Show each picture, and save the digits as a person corrects them. Return whether a picture could not be read."""
    from mnist_trainer.cli.correct import Corrections, check_classes

    check_classes(reader.classes)
    return Corrections(folder, reader.classes).ask(predictions, lambda each: _print_text([each], top, show=True))


def _draw_digits(prediction: Prediction) -> None:
    """Draw the 28×28 images that the network read."""
    from mnist_trainer.reports.digit_images import glyph_lines
    from mnist_trainer.reports.results import digit_caption

    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    digits = [digit for digit in prediction.digits if digit.image is not None]
    images = [digit.image for digit in digits if digit.image is not None]
    captions = [escape_controls(digit_caption(digit)) for digit in digits]
    print("\n".join(glyph_lines(images, captions, shutil.get_terminal_size().columns, colour)))
