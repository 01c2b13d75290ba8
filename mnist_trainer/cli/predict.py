"""`mnist-predict`: pictures in, digits out."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from mnist_trainer.cli.common import Debug, Version, complain, error_paragraphs, new_app

if TYPE_CHECKING:
    from mnist_trainer.inference.prediction import Prediction

app = new_app()

UNREADABLE = 3
"""Exit code if a picture could not be read."""


@app.command()
def predict(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE", help="Pictures of one handwritten digit each.")],
    checkpoint: Annotated[
        str,
        typer.Option("--checkpoint", metavar="FILE|RUN|latest", help="The model; latest is the newest finished run."),
    ] = "latest",
    as_json: Annotated[bool, typer.Option("--json", help="Print a list with one object for each picture.")] = False,
    debug: Debug = False,
    _version: Version = False,
) -> None:
    """Read handwritten digits from pictures: any format, dark on light or light on dark."""
    with error_paragraphs(debug):
        from mnist_trainer.pipeline.prediction import predict as read
        from mnist_trainer.storage.run_folder import find_checkpoint

        model = find_checkpoint(checkpoint)
        predictions = read(list(images), model)
        if as_json:
            print(json.dumps([prediction.to_json() for prediction in predictions]))
        else:
            for prediction in predictions:
                _show(prediction)
            print(f"model: {model}")
        if any(prediction.error for prediction in predictions):
            raise typer.Exit(UNREADABLE)


def _show(prediction: Prediction) -> None:
    if prediction.error is not None:
        sys.stdout.flush()
        complain(prediction.error)
        return
    confidence = "" if prediction.confidence is None else f"  ({100 * prediction.confidence:.1f} %)"
    print(f"{prediction.path}: {prediction.text}{confidence}")


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
