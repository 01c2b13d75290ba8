"""From pictures to digits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np
import torch
from numpy import uint8
from numpy.typing import NDArray
from torch import nn

from mnist_trainer.config.schema import CSV_ENDINGS
from mnist_trainer.errors import CheckpointError, DataError, UsageError
from mnist_trainer.inference.prediction import (
    Judgement,
    Prediction,
    Scores,
    answer_page,
    named,
    unreadable,
)
from mnist_trainer.inference.predictor import Predictor
from mnist_trainer.pictures.digits import page_in, page_of, read_page
from mnist_trainer.pictures.page import Expect, Page
from mnist_trainer.pipeline.sources import Source
from mnist_trainer.storage.checkpoint import Checkpoint, load_checkpoint
from mnist_trainer.storage.run_folder import BUNDLED, find_checkpoint

if TYPE_CHECKING:
    from PIL.Image import Image

    Picture = str | Path | Image | NDArray[uint8]

CHUNK, CHUNK_BYTES, CHUNK_STEPS = 256, 1_000_000, 8
"""Pictures that are answered together: so many, or files of so many bytes; fewer where their steps are kept."""

BATCH = 64
"""Images that go through the network at once: as fast as more are, and in less memory."""

Read = Page | DataError


def predict(
    images: Picture | Sequence[Picture],
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
    pictures: Sequence[Picture] = [images] if isinstance(images, str) or not isinstance(images, Sequence) else images
    reader = load_reader(checkpoint, model)
    return list(reader.read([_source(picture) for picture in pictures], expect, min_confidence))


def _source(picture: Picture) -> Source:
    return Source(str(picture), Path(picture)) if isinstance(picture, str | Path) else Source(None, picture)


def load_reader(checkpoint: str | Path = BUNDLED, model: nn.Module | None = None) -> Reader:
    """The model in `checkpoint`, ready to read; on the CPU, for a few images are read before a GPU has started.

    Raises `CheckpointError`.
    """
    path = find_checkpoint(str(checkpoint))
    loaded = load_checkpoint(path)
    name = f"{checkpoint if str(checkpoint) == BUNDLED else path} ({_described(loaded)})"
    return Reader(name, loaded.predictor(torch.device("cpu"), model), loaded.classes)


def _described(checkpoint: Checkpoint) -> str:
    count, config = len(checkpoint.members), checkpoint.config
    return f"{config.name if count == 1 else f'{count} models'}, trained on {config.data.name}"


@dataclass(frozen=True)
class Reader:
    """A trained model that reads pictures; `name` says which, for people."""

    name: str
    predictor: Predictor
    classes: tuple[str, ...]

    def read(
        self, sources: Iterable[Source], expect: Expect = "auto", min_confidence: float = 0.0, *, steps: bool = False
    ) -> Iterator[Prediction]:
        """The answer to each picture, in their order and as they come; with how it was read if `steps` are asked for.

        Raises `UsageError` for an `expect` or a `min_confidence` that can't be.
        """
        judgement = self._judgement(min_confidence)
        if expect not in get_args(Expect):
            raise UsageError(f"expect must be one of {', '.join(get_args(Expect))}; got {expect!r}.")
        chunks = _chunks(sources, CHUNK_STEPS if steps else CHUNK)
        read = ([(source.path, _read(source, expect, steps)) for source in chunk] for chunk in chunks)
        return (prediction for pages in read for prediction in self._answer(pages, judgement))

    def read_rows(self, images: NDArray[uint8]) -> tuple[str, ...]:
        """The most probable class of each of `images` [N, 28, 28], also of those that the model would refuse."""
        best = next(self._scores([images])).probabilities.argmax(axis=1)
        return tuple(self.classes[number] for number in best.tolist())

    def _judgement(self, min_confidence: float) -> Judgement:
        honest = self.predictor.gives_probabilities
        if not 0 <= min_confidence <= 1:
            raise UsageError(f"min_confidence must be from 0 to 1, got {min_confidence:g}; 90 % is 0.9.")
        if min_confidence and not honest:
            raise UsageError("This model's outputs are no probabilities, so none of its answers has a confidence.")
        return Judgement(named(self.classes), honest, self.predictor.refusal, min_confidence)

    def _answer(self, pages: Sequence[tuple[str | None, Read]], judgement: Judgement) -> Iterator[Prediction]:
        images = [[glyph.image for glyph in page.glyphs] for _, page in pages if isinstance(page, Page)]
        scores = iter(self._scores(images))
        for path, page in pages:
            if isinstance(page, Page):
                yield answer_page(page, next(scores), judgement, path)
            else:
                yield unreadable(path, str(page))

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


def _chunks(sources: Iterable[Source], most: int) -> Iterator[list[Source]]:
    """The sources in lists of at most `most`, and of few large files: so that answers soon begin to come."""
    chunk: list[Source] = []
    size = 0
    for source in sources:
        chunk.append(source)
        size += _size(source)
        if len(chunk) == most or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _size(source: Source) -> int:
    """In bytes; 0 for what can't be looked at."""
    picture = source.picture
    try:
        return picture.stat().st_size if isinstance(picture, Path) else getattr(picture, "nbytes", 0)
    except (OSError, ValueError):
        return 0


def _read(source: Source, expect: Expect, steps: bool) -> Read:
    picture = source.picture
    try:
        if isinstance(picture, Path) and picture.name.lower().endswith(CSV_ENDINGS):
            raise DataError(f"{picture} is a table, not a picture; mnist-predict FILE.csv --out FILE answers its rows.")
        if isinstance(picture, Path):
            return read_page(picture, expect, steps=steps)
        if isinstance(picture, DataError):
            return picture
        if isinstance(picture, BytesIO):
            return page_in(picture, str(source.path), expect, steps=steps)
        return page_of(picture, expect, steps=steps)
    except DataError as error:
        return error
