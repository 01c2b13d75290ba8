"""`mnist-predict`: pictures in, digits out."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mnist_trainer.cli.arguments import Command
from mnist_trainer.cli.common import Debug, Version, handle_errors, new_app, print_error, print_safe
from mnist_trainer.errors import UsageError, escape_controls

if TYPE_CHECKING:
    from mnist_trainer.inference.prediction import Prediction

app = new_app()

UNREADABLE = 3
"""Exit code if a picture could not be read."""


NO_PICTURE = """Name what to read: pictures, folders of pictures, or - for one from a pipe. For example:
  mnist-predict picture.png
mnist-predict --help lists all options."""


class Expected(StrEnum):
    """What a picture is taken to hold."""

    auto = "auto"
    single = "single"
    row = "row"
    page = "page"


Images = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="IMAGE|FOLDER|-",
        help="Pictures, folders of pictures, or - for one from a pipe; with --out a CSV file.",
    ),
]
Checkpoint = Annotated[
    str,
    typer.Option(
        "--checkpoint",
        metavar="FILE|RUN|latest",
        help="The model: a .pt file, a run folder, latest (the newest finished run), or bundled (comes with the "
        "package).",
    ),
]
Expect = Annotated[
    Expected,
    typer.Option(
        "--expect", metavar="KIND", help="What a picture holds: single (one digit), row, page, or auto (find out)."
    ),
]
MinConfidence = Annotated[
    float,
    typer.Option(
        "--min-confidence",
        metavar="P",
        show_default=False,
        help="Refuse digits whose probability is below P (0 to 1).",
    ),
]
Top = Annotated[
    int | None,
    typer.Option(
        "--top", metavar="K", min=1, help="Show the K most likely answers to each digit. Without it only close ones."
    ),
]
Show = Annotated[bool, typer.Option("--show", help="Draw each 28×28 image that the network reads, in the terminal.")]
SaveSteps = Annotated[
    Path | None,
    typer.Option(
        "--save-steps", metavar="DIR", help="Write a PNG for each picture that shows how it was read, step by step."
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", metavar="FILE", help="Write Kaggle's ImageId,Label for the images in the rows of a CSV file."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print a list with one object for each picture.")]
Csv = Annotated[bool, typer.Option("--csv", help="Print a table with one row for each picture.")]


@app.command(cls=Command)
def predict(  # noqa: PLR0913, PLR0917 - one an option
    images: Images = None,
    checkpoint: Checkpoint = "bundled",
    expect: Expect = Expected.auto,
    min_confidence: MinConfidence = 0.0,
    top: Top = None,
    show: Show = False,
    save_steps: SaveSteps = None,
    out: Out = None,
    as_json: Json = False,
    as_csv: Csv = False,
    debug: Debug = False,
    _version: Version = False,
) -> None:
    """Read handwritten digits from pictures: any format, dark on light or light on dark, one digit or many."""
    with handle_errors(debug):
        if not images:
            raise UsageError(NO_PICTURE)
        _check_options(min_confidence, as_json, as_csv, show or top is not None)
        if out is not None:
            if as_json or as_csv or show or top or save_steps or min_confidence or expect is not Expected.auto:
                raise UsageError("--out writes the answer to each row and goes with --checkpoint alone.")
            _write_submission(images, checkpoint, out)
            return
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # one digit is read before more threads have started
        from mnist_trainer.pipeline.prediction import load_reader
        from mnist_trainer.pipeline.sources import sources_of

        sources, notes = sources_of(images)
        reader = load_reader(checkpoint)
        for note in filter(None, [reader.limits, *notes]):
            print_safe(note, err=True)
        answers = reader.read(sources, expect.value, min_confidence, steps=save_steps is not None)
        if save_steps is not None:
            from mnist_trainer.reports.steps import Strips

            strips = Strips(save_steps)
            answers = strips.written(answers)
        if as_json:
            failed = _print_json(answers)
        elif as_csv:
            failed = _print_table(answers)
        else:
            failed = _print_predictions(answers, top, show)
            print_safe(f"model: {reader.name}")
        if save_steps is not None:
            print_safe(strips.told(), err=as_json or as_csv)
        if failed:
            raise typer.Exit(UNREADABLE)


def _check_options(min_confidence: float, as_json: bool, as_csv: bool, for_people: bool) -> None:
    """Raises `UsageError` for options that can't be or do not go together, before anything is loaded."""
    if not 0 <= min_confidence <= 1:
        raise UsageError(f"--min-confidence must be from 0 to 1, got {min_confidence:g}; 90 % is 0.9.")
    if as_json and as_csv:
        raise UsageError("--json and --csv print the same answers in two forms: leave one out.")
    if (as_json or as_csv) and for_people:
        raise UsageError("--show and --top are for people to look at: leave them out, or --json and --csv.")


def _write_submission(images: list[str], checkpoint: str, out: Path) -> None:
    """Write the answers to the rows of a CSV file in Kaggle's format."""
    from mnist_trainer.config.schema import CSV_ENDINGS

    if len(images) != 1 or not images[0].lower().endswith(CSV_ENDINGS):
        raise UsageError(
            "--out is for one CSV file with an image in each row: mnist-predict test.csv --out submission.csv. "
            "The answers to pictures are printed, with --csv or --json in a form for programs."
        )
    from mnist_trainer.data.tables import read_csv
    from mnist_trainer.files import make_folder, write_text
    from mnist_trainer.pipeline.prediction import load_reader
    from mnist_trainer.pipeline.subject import require_other_file
    from mnist_trainer.reports.answers import submission

    path = Path(images[0])
    require_other_file(out, [path])
    make_folder(out.parent)
    reader = load_reader(checkpoint)
    pixels, labels = read_csv(path)
    if labels is not None:
        print_safe(f"{path}: its column of labels is ignored.", err=True)
    write_text(out, submission(reader.read_rows(pixels)))
    print_safe(f"Written to {out}: the answers to {len(pixels):,} images.\nmodel: {reader.name}")


def _print_json(answers: Iterable[Prediction]) -> bool:
    """Whether a picture could not be read; so do the two below."""
    content = [prediction.to_json() for prediction in answers]
    print(json.dumps(content))
    return any(picture["error"] for picture in content)


def _print_table(answers: Iterable[Prediction]) -> bool:
    from mnist_trainer.reports.answers import CSV_COLUMNS, csv_row

    failed = False
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(CSV_COLUMNS)
    for prediction in answers:
        table.writerow(csv_row(prediction))
        failed |= prediction.error is not None
    return failed


def _print_predictions(answers: Iterable[Prediction], top: int | None, show: bool) -> bool:
    from mnist_trainer.reports.answers import answer_lines

    failed = False
    for prediction in answers:
        if prediction.error is not None:
            failed = True
            sys.stdout.flush()
            print_error(prediction.error)
            continue
        print_safe("\n".join(answer_lines(prediction, top)))
        for warning in prediction.warnings:
            sys.stdout.flush()
            print_safe(f"warning: {prediction.name}: {warning}", err=True)
        if show:
            _draw_digits(prediction)
    return failed


def _draw_digits(prediction: Prediction) -> None:
    from mnist_trainer.reports.answers import caption
    from mnist_trainer.reports.glyphs import glyph_lines

    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    seen = [(digit.image, caption(digit)) for digit in prediction.digits if digit.image is not None]
    images, captions = [image for image, _ in seen], [escape_controls(text) for _, text in seen]
    for line in glyph_lines(images, captions, shutil.get_terminal_size().columns, colour):
        print(line)


def main() -> None:
    """The console script."""
    app(prog_name="mnist-predict")


if __name__ == "__main__":
    main()
