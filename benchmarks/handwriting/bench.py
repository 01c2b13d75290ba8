"""What all parts use: labelled pictures, the answers of the model, rows of tables, and saved mistakes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from itertools import tee
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mnist_trainer.config.schema import Simulate
from mnist_trainer.data.loaders import load_split
from mnist_trainer.files import make_folder, write_bytes
from mnist_trainer.inference.metrics import wilson_interval
from mnist_trainer.inference.reading import Prediction
from mnist_trainer.pipeline.predict import InputImage, Reader
from mnist_trainer.reports.digit_images import strip
from mnist_trainer.storage.checkpoint import load_checkpoint
from mnist_trainer.storage.run_folder import find_checkpoint

Pixels = NDArray[np.uint8]
MAX_NAME_LENGTH = 40
"""Longest answer, in characters, in the name of a saved mistake."""

Picture = Path | BytesIO | Pixels


class Sample(NamedTuple):
    """A picture and its correct text, "" if it shows no digit. `source` is the person who made it."""

    name: str
    picture: Picture
    label: str
    source: str = ""


@dataclass(frozen=True)
class Answer:
    """The answer to a sample. `text` is "" if the picture was refused."""

    label: str
    source: str
    text: str
    confidence: float | None

    @property
    def correct(self) -> bool:
        return self.text == self.label


@dataclass(frozen=True, eq=False)
class Bench:
    """The model and the options. `count` is the number of photographs of each kind; other numbers are proportional."""

    reader: Reader
    checkpoint: str
    split: Literal["validation", "test"]
    folders: tuple[Path, ...]
    count: int
    mistakes: Path | None

    @property
    def few(self) -> int:
        """The number of pictures of each kind of rows and refusals."""
        return max(1, self.count // 4)

    @cached_property
    def digits(self) -> tuple[Pixels, NDArray[np.int64]]:
        """Images [N, 28, 28] that the model was not trained on, and their labels [N]."""
        data = load_checkpoint(find_checkpoint(self.checkpoint)).config.data
        source = load_split(data.model_copy(update={"simulate": Simulate()}), self.split)
        return source.images.numpy(), source.labels.numpy()

    def read(self, part: str | None, samples: Iterable[Sample]) -> list[Answer]:
        """Return the answers to `samples`. With `part`, mistakes are saved in the folder of that name."""
        samples, inputs = tee(samples)
        predictions = self.reader.read(InputImage(sample.name, sample.picture) for sample in inputs)
        return [self._answer(part, *pair) for pair in zip(samples, predictions, strict=True)]

    def _answer(self, part: str | None, sample: Sample, prediction: Prediction) -> Answer:
        text = prediction.text if prediction.error is None else "unreadable"
        if part and self.mistakes is not None and text != sample.label:
            self._keep(self.mistakes / part, sample, text)
        return Answer(sample.label, sample.source, text, prediction.confidence)

    def _keep(self, folder: Path, sample: Sample, text: str) -> None:
        """Save the picture, and the steps of reading it."""
        description = f"{sample.label or 'none'}-read-{text[:MAX_NAME_LENGTH] or 'refused'}-{sample.name}"
        name = re.sub(r"[^\w.-]", "_", description.replace("?", "x"))
        picture = sample.picture
        if isinstance(picture, BytesIO):
            picture.seek(0)
        steps = next(self.reader.read([InputImage(sample.name, picture)], steps=True))
        make_folder(folder)
        write_bytes(folder / f"{name}.{_suffix(picture)}", _content(picture))
        write_bytes(folder / f"{name}-steps.png", strip(steps))


def _suffix(picture: Picture) -> str:
    return picture.suffix[1:] if isinstance(picture, Path) else "png" if isinstance(picture, np.ndarray) else "picture"


def _content(picture: Picture) -> bytes:
    match picture:
        case Path():
            return picture.read_bytes()
        case BytesIO():
            return picture.getvalue()
        case _:
            return saved(Image.fromarray(picture), "PNG").getvalue()


def saved(image: Image.Image, form: str, **options: object) -> BytesIO:
    """Return the image as a file in memory."""
    stream = BytesIO()
    image.save(stream, form, **options)
    stream.seek(0)
    return stream


def head(*cells: str) -> str:
    """Return the first two lines of a table."""
    return f"{row(*cells)}\n{'|---' * len(cells)}|"


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


TALLY = ("pictures", "right", "refused", "wrong", "right, with 95 % interval")


def tally(answers: Sequence[Answer], decimals: int = 1) -> tuple[str, ...]:
    """Return the cells below `TALLY`. A correct refusal counts as right."""
    count, correct = len(answers), sum(answer.correct for answer in answers)
    refused = sum(not answer.text and not answer.correct for answer in answers)
    low, high = (100 * end for end in wilson_interval(correct, count))
    interval = f"{100 * correct / max(1, count):.{decimals}f} % ({low:.{decimals}f} to {high:.{decimals}f})"
    return f"{count:,}", f"{correct:,}", f"{refused:,}", f"{count - correct - refused:,}", interval


def percent(part: float) -> str:
    return f"{100 * part:.1f} %"


def share(answers: Sequence[Answer], *, refused: bool = False) -> float:
    """Return the fraction that is correct, or refused."""
    return sum(not answer.text if refused else answer.correct for answer in answers) / len(answers)
