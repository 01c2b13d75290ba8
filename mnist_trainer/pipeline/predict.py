"""What the arguments of `mnist-predict` stand for: pictures in files, all pictures in a folder, one from a pipe.

From pictures to digits.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
from numpy import uint8
from numpy.typing import NDArray
from PIL.Image import Image
from torch import nn

from mnist_trainer.config.schema import CSV_ENDINGS
from mnist_trainer.errors import CheckpointError, DataError, UsageError, one_line
from mnist_trainer.files import user_path
from mnist_trainer.inference.predictor import Predictor
from mnist_trainer.inference.reading import (
    Prediction,
    RejectPolicy,
    Scores,
    class_labels,
    predict_page,
    unreadable,
)
from mnist_trainer.pictures.listing import list_pictures
from mnist_trainer.pictures.page import Expect, Page
from mnist_trainer.pictures.read import read_image, read_pages
from mnist_trainer.storage.checkpoint import Checkpoint, load_checkpoint
from mnist_trainer.storage.find import BUNDLED, find_checkpoint


class InputImage(NamedTuple):
    """A picture, and the `path` of its answer: a file, its content, an image in memory, or why it can't be read."""

    path: str | None
    picture: Path | BytesIO | Image | NDArray[Any] | DataError


def expand_inputs(arguments: Iterable[str]) -> tuple[list[InputImage], list[str]]:
    """The pictures that `arguments` stand for, in their order, and notes of what was left out of folders.

    A folder stands for the pictures in it, but not for those in its sub-folders; `-` for the picture that comes in by
    stdin. Raises `UsageError` if that is a terminal.
    """
    sources: list[InputImage] = []
    notes: list[str] = []
    for argument in arguments:
        if argument == "-":
            sources.append(InputImage(argument, _from_stdin()))
        elif argument and _is_folder(Path(argument)):
            found, more = _in_folder(Path(argument))
            sources += found
            notes += more
        else:
            sources.append(InputImage(argument, Path(argument)))
    return sources, notes


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # what is wrong with such a name is told when it is opened
        return False


def _in_folder(folder: Path) -> tuple[list[InputImage], list[str]]:
    try:
        listing = list_pictures(folder)
    except DataError as error:
        return [InputImage(str(folder), error)], []
    return [InputImage(str(path), path) for path in listing.pictures], listing.notes(folder)


def _from_stdin() -> BytesIO | DataError:
    if sys.stdin.isatty():
        raise UsageError("- takes a picture from another command, as in: cat photo.jpg | mnist-predict -")
    content = sys.stdin.buffer.read()
    return BytesIO(content) if content else DataError("-: no picture came in by stdin.")


Picture = str | Path | Image | np.ndarray

CHUNK, CHUNK_BYTES, CHUNK_STEPS = 256, 1_000_000, 8
"""Pictures that are answered together: so many, or files of so many bytes; fewer where their steps are kept."""

BATCH = 64
"""Images that go through the network at once: as fast as more are, and in less memory."""

Read = Page | DataError


class _ReadPage(NamedTuple):
    """A page of a picture, its number if there are several, and what was read from it."""

    source: InputImage
    number: int | None
    read: Read


def predict(
    images: Picture | Iterable[Picture],
    checkpoint: str | Path = BUNDLED,
    *,
    model: nn.Module | None = None,
    expect: Expect = "auto",
    min_confidence: float = 0.0,
) -> list[Prediction]:
    """What a model reads in each picture: files, Pillow images, or arrays [h, w] (grey) and [h, w, 3] (RGB) of uint8.

    `checkpoint` is a `.pt` file, a run folder, `latest`, the newest finished run under `runs/`, or `bundled`, the model
    that comes with the package. `expect` says what a picture holds: a `single` digit, a `row`, a `page` of rows. Digits
    that are less sure than `min_confidence`, from 0 to 1, are refused. A picture that can't be read has its reason in
    `error`; the others are read all the same. Raises `CheckpointError`, and `UsageError` for other values than these.
    """
    sources = _sources(images)
    return list(load_reader(checkpoint, model).read(sources, expect, min_confidence))


def _sources(images: object) -> list[InputImage]:
    match images:
        case str() | Path():
            return [InputImage(str(images), user_path(images))]
        case Image() | np.ndarray():
            return [InputImage(None, images)]
        case torch.Tensor():
            return [InputImage(None, images.detach().cpu().numpy())]
        case Iterable() if not isinstance(images, bytes):
            return [source for image in images for source in _sources(image)]
        case _:
            raise UsageError(f"A picture is a file, a Pillow image or a NumPy array, not {one_line(repr(images))}.")


def load_reader(checkpoint: str | Path = BUNDLED, model: nn.Module | None = None) -> Reader:
    """The model in `checkpoint`, ready to read; on the CPU, for a few images are read before a GPU has started.

    Raises `CheckpointError`.
    """
    path = find_checkpoint(str(checkpoint))
    loaded = load_checkpoint(path)
    name = f"{checkpoint if str(checkpoint) == BUNDLED else path} ({_described(loaded)})"
    predictor = loaded.predictor(torch.device("cpu"), model)
    can_refuse = predictor.refusal_threshold is not None
    return Reader(name, predictor, loaded.classes, "" if can_refuse else _limits(loaded.config.data.name))


def _limits(trained_on: str) -> str:
    few = " It learned from 1,797 small images, too few for photographs." if trained_on == "digits" else ""
    return (
        f"This model cannot refuse: it gives an answer to letters, scribbles and all else too.{few} "
        "The model that comes with the package can refuse: leave --checkpoint out."
    )


def _described(checkpoint: Checkpoint) -> str:
    count, config = len(checkpoint.members), checkpoint.config
    return f"{config.name if count == 1 else f'{count} models'}, trained on {config.data.name}"


@dataclass(frozen=True)
class Reader:
    """A trained model that reads pictures; `name` says which, for people, `limits` what it can't do, if anything."""

    name: str
    predictor: Predictor
    classes: tuple[str, ...]
    limits: str = ""

    def read(
        self,
        sources: Iterable[InputImage],
        expect: Expect = "auto",
        min_confidence: float = 0.0,
        *,
        steps: bool = False,
    ) -> Iterator[Prediction]:
        """The answer to each picture, in their order and as they come; with how it was read if `steps` are asked for.

        Raises `UsageError` for an `expect` or a `min_confidence` that can't be.
        """
        policy = self._policy(min_confidence)
        if expect not in get_args(Expect):
            raise UsageError(f"expect must be one of {', '.join(get_args(Expect))}; got {expect!r}.")
        pages = (page for source in sources for page in _pages(source, expect, steps))
        chunks = _chunks(pages, CHUNK_STEPS if steps else CHUNK)
        return (prediction for chunk in chunks for prediction in self._answer(chunk, policy))

    def read_rows(self, images: NDArray[uint8]) -> tuple[str, ...]:
        """Return the most probable class of each of `images` [N, 28, 28], also of those that the model would refuse."""
        best = next(self._scores([images])).probabilities.argmax(axis=1)
        return tuple(self.classes[number] for number in best.tolist())

    def _policy(self, min_confidence: float) -> RejectPolicy:
        gives_probabilities = self.predictor.gives_probabilities
        if not isinstance(min_confidence, int | float) or not 0 <= min_confidence <= 1:
            raise UsageError(f"min_confidence must be from 0 to 1, got {one_line(str(min_confidence))}; 90 % is 0.9.")
        if min_confidence and not gives_probabilities:
            raise UsageError("This model's outputs are no probabilities, so none of its answers has a confidence.")
        return RejectPolicy(
            class_labels(self.classes), gives_probabilities, self.predictor.refusal_threshold, min_confidence
        )

    def _answer(self, pages: Sequence[_ReadPage], policy: RejectPolicy) -> Iterator[Prediction]:
        images = [[glyph.image for glyph in each.read.glyphs] for each in pages if isinstance(each.read, Page)]
        scores = iter(self._scores(images))
        for source, number, page in pages:
            if isinstance(page, Page):
                prediction = predict_page(page, next(scores), policy, source.path)
            else:
                prediction = unreadable(source.path, str(page))
            yield replace(prediction, page=number)

    def _scores(self, images: Sequence[Iterable[NDArray[uint8]]]) -> Iterator[Scores]:
        """The scores of each picture's images, which go through the network together; what is the same, just once."""
        flat = [image for each in images for image in each]
        unlike = list({image.tobytes(): image for image in flat}.items())
        batches = (unlike[start : start + BATCH] for start in range(0, len(unlike), BATCH))
        read = [self.predictor.read(torch.from_numpy(np.stack([image for _, image in batch]))) for batch in batches]
        probabilities = np.concatenate([np.empty((0, len(self.classes))), *(each.numpy() for each, _ in read)])
        none = np.concatenate([np.empty(0), *(each.numpy() for _, each in read)])
        if not (np.isfinite(probabilities).all() and np.isfinite(none).all()):
            raise CheckpointError(f"{self.name}: its answers are no numbers, so its weights are damaged. Take another.")
        numbers = {pixels: number for number, (pixels, _) in enumerate(unlike)}
        for each in images:
            own = np.array([numbers[image.tobytes()] for image in each], np.intp)
            yield Scores(probabilities[own], none[own])


def _chunks(pages: Iterable[_ReadPage], most: int) -> Iterator[list[_ReadPage]]:
    """The pages in lists of at most `most`, and of few large files: so that answers soon begin to come."""
    chunk: list[_ReadPage] = []
    size = 0
    for page in pages:
        chunk.append(page)
        size += _size(page.source)
        if len(chunk) == most or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _size(source: InputImage) -> int:
    """In bytes; 0 for what can't be looked at."""
    picture = source.picture
    try:
        return picture.stat().st_size if isinstance(picture, Path) else getattr(picture, "nbytes", 0)
    except (OSError, ValueError):
        return 0


def _pages(source: InputImage, expect: Expect, steps: bool) -> Iterator[_ReadPage]:
    """Yield what was read from each page of a picture; if there are several, they are numbered from 1."""
    first, *others = islice(reads := _reads(source, expect, steps), 2)
    yield _ReadPage(source, 1 if others else None, first)
    for number, read in enumerate(chain(others, reads), start=2):
        yield _ReadPage(source, number, read)


def _reads(source: InputImage, expect: Expect, steps: bool) -> Iterator[Read]:
    picture = source.picture
    try:
        if isinstance(picture, Path) and picture.name.lower().endswith(CSV_ENDINGS):
            yield DataError(f"{picture} is a table, not a picture; mnist-predict FILE.csv --out FILE answers its rows.")
        elif isinstance(picture, Path | BytesIO):
            yield from read_pages(picture, expect, name=str(source.path), steps=steps)
        else:
            yield picture if isinstance(picture, DataError) else read_image(picture, expect, steps=steps)
    except DataError as error:
        yield error
