"""Reads digits in pictures: `predict`, and `Reader` for `mnist-predict`.

The bundled model and exported files are read without torch, whose import takes longer than all else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, replace
from functools import cache
from io import BytesIO
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import numpy as np
from numpy import uint8
from numpy.typing import NDArray
from PIL.Image import Image

from mnist_trainer.errors import CheckpointError, DataError, UsageError, one_line
from mnist_trainer.files import CSV_ENDINGS, is_folder, user_path
from mnist_trainer.inference.reading import (
    Name,
    Prediction,
    RejectPolicy,
    Scores,
    class_labels,
    combine_scores,
    predict_page,
    unreadable,
)
from mnist_trainer.pictures.listing import list_pictures
from mnist_trainer.pictures.page import Expect, Page
from mnist_trainer.pictures.read import read_image, read_pages
from mnist_trainer.storage.onnx_file import ArrayPredictor, open_session, read_onnx, read_twin, run_session
from mnist_trainer.storage.run_folder import BUNDLED, BUNDLED_ROWS, find_checkpoint

if TYPE_CHECKING:
    from torch import nn

    from mnist_trainer.inference.explain import Explanation
    from mnist_trainer.inference.predictor import Predictor
    from mnist_trainer.storage.checkpoint import Checkpoint

Picture = str | Path | Image | np.ndarray

CHUNK, CHUNK_BYTES, CHUNK_STEPS = 64, 1_000_000, 8
"""Limits of what is read before the network runs: pictures, bytes of their files, and pictures if steps are kept."""

TORCH_FROM = 3000
"""The bundled model runs on torch from this number of pictures: importing it takes 1.1 s, and saves 0.4 ms each."""

MAX_EXPLAINED = 10
"""The number of digits in a picture that are explained."""


class InputImage(NamedTuple):
    """A picture to read: a file, its bytes, an image in memory, or the error that opening it raised.

    `path` names it in its prediction.
    """

    path: str | None
    picture: Path | BytesIO | Image | NDArray[Any] | DataError


class _ReadPage(NamedTuple):
    """A page of a picture, its number if there are several, and its glyphs, or the error of reading it."""

    source: InputImage
    number: int | None
    read: Page | DataError


def predict(
    images: Picture | Iterable[Picture],
    checkpoint: str | Path = BUNDLED,
    *,
    model: nn.Module | None = None,
    expect: Expect = "auto",
    min_confidence: float = 0.0,
    explain: bool = False,
) -> list[Prediction]:
    """Read the digits in each picture: files, Pillow images, or arrays [h, w] (grey) and [h, w, 3] (RGB) of uint8.

    `checkpoint` is a `.pt` file, an exported `.onnx` file, a run folder, `latest`, the newest finished run under
    `runs/`, or `bundled`, the model that comes with the package. `expect` says what a picture holds: a `single` digit,
    a `row`, a `page` of rows. Digits with less confidence than `min_confidence`, from 0 to 1, are refused. With
    `explain` the first ten digits of each picture have an `explanation`. A picture that can't be read has the reason in
    `error`. Raises `CheckpointError`, and `UsageError` for invalid arguments.
    """
    inputs = _to_inputs(images)
    return list(load_reader(checkpoint, model).read(inputs, expect, min_confidence, explain=explain))


def _to_inputs(images: object) -> list[InputImage]:
    """Return the pictures in nested lists of files, images and arrays. Raises `UsageError` for other types."""
    match images:
        case str() | Path():
            return [InputImage(str(images), user_path(images))]
        case Image() | np.ndarray():
            return [InputImage(None, images)]
        case _ if hasattr(images, "detach"):  # a tensor
            return [InputImage(None, images.detach().cpu().numpy())]
        case Iterable() if not isinstance(images, bytes):
            return [found for image in images for found in _to_inputs(image)]
        case _:
            raise UsageError(f"A picture is a file, a Pillow image or a NumPy array, not {one_line(repr(images))}.")


def expand_inputs(arguments: Iterable[str]) -> tuple[list[InputImage], list[str]]:
    """Return the pictures that command-line arguments name, in order, and notes on skipped files of folders.

    A folder stands for the pictures in it, without sub-folders; `-` for a picture on stdin. Raises `UsageError` if
    stdin is a terminal.
    """
    inputs: list[InputImage] = []
    notes: list[str] = []
    for argument in arguments:
        path = Path(argument)
        if argument == "-":
            inputs.append(InputImage(argument, _from_stdin()))
        elif argument and "\0" not in argument and is_folder(path):
            try:
                listing = list_pictures(path)
            except DataError as error:
                inputs.append(InputImage(str(path), error))
            else:
                inputs += [InputImage(str(found), found) for found in listing.pictures]
                notes += listing.notes(path)
        else:
            inputs.append(InputImage(argument, path))
    return inputs, notes


def _from_stdin() -> BytesIO | DataError:
    """Return the picture on stdin, or the error if there is none. Raises `UsageError` if stdin is a terminal."""
    if sys.stdin.isatty():
        raise UsageError("- takes a picture from another command, as in: cat photo.jpg | mnist-predict -")
    content = sys.stdin.buffer.read()
    return BytesIO(content) if content else DataError("-: there is no picture on stdin.")


def load_reader(checkpoint: str | Path = BUNDLED, model: nn.Module | None = None) -> Reader:
    """Return a reader with the model in `checkpoint`. Raises `CheckpointError`.

    It runs on the CPU, which has read a few pictures before a GPU is initialized.
    """
    path = find_checkpoint(str(checkpoint))
    is_bundled = str(checkpoint) == BUNDLED
    load_torch: Callable[[], Predictor] | None = None
    rows: ArrayPredictor | None = None
    if is_bundled and model is None:
        file, predictor = read_twin(path.with_suffix(".onnx"))
        _, rows = read_twin(path.with_name(BUNDLED_ROWS).with_suffix(".onnx"))
        load_torch = cache(lambda: _load_float32(path))
    elif path.suffix.lower() == ".onnx":
        if model is not None:
            raise UsageError("model= is for checkpoints; an exported file contains its model.")
        file = read_onnx(path)
        predictor = file.predictor(run_session(open_session(file.content)))
    else:
        return _load_checkpoint(path, str(checkpoint), model)
    configs = [member["config"] for member in file.members]
    names = [(each["name"], each["data"]["name"]) for each in configs]
    reader = _reader(BUNDLED if is_bundled else str(path), predictor, file.classes, names, load_torch)
    return replace(reader, rows=rows)


def _load_checkpoint(path: Path, checkpoint: str, model: nn.Module | None) -> Reader:
    """Return a reader that runs the checkpoint in `path` on torch."""
    from mnist_trainer.storage.checkpoint import load_checkpoint

    return checkpoint_reader(load_checkpoint(path), BUNDLED if checkpoint == BUNDLED else str(path), model)


def checkpoint_reader(checkpoint: Checkpoint, name: str, model: nn.Module | None = None) -> Reader:
    """Return a reader called `name` that runs `checkpoint` on torch, on the CPU. Raises `CheckpointError`."""
    import torch

    predictor = checkpoint.predictor(torch.device("cpu"), model)
    names = [(member.config.name, member.config.data.name) for member in checkpoint.members]
    return _reader(name, array_predictor(predictor), checkpoint.classes, names, lambda: predictor)


def _load_float32(path: Path) -> Predictor:
    """Return the model in `path` with the precision of its twin."""
    import torch

    from mnist_trainer.storage.checkpoint import load_checkpoint

    loaded = load_checkpoint(path)
    members = (replace(member, spec=replace(member.spec, precision="float32")) for member in loaded.members)
    return replace(loaded, members=tuple(members)).predictor(torch.device("cpu"))


def array_predictor(predictor: Predictor) -> ArrayPredictor:
    """Return a predictor for arrays that runs on torch."""
    import torch

    def run(images: NDArray[uint8]) -> tuple[NDArray[np.float64], ...]:
        return tuple(output.numpy() for output in predictor.read(torch.from_numpy(images)))

    return ArrayPredictor(run, predictor.gives_probabilities, predictor.refusal_threshold)


def _reader(
    name: str,
    predictor: ArrayPredictor,
    classes: tuple[str, ...],
    members: Sequence[tuple[str, str]],
    load_torch: Callable[[], Predictor] | None,
) -> Reader:
    """Return a reader; `members` are the name of each model and that of the data set it was trained on."""
    models, trained_on = members[0]
    if len(members) > 1:
        models = f"{len(members)} models"
    limits = ""
    if predictor.refusal_threshold is None:
        few = " It learned from 1,797 small images, too few for photographs." if trained_on == "digits" else ""
        limits = (
            f"This model cannot refuse: it also reads letters and scribbles as digits.{few} "
            "The model that comes with the package can refuse: leave --checkpoint out."
        )
    full_name = f"{name} ({models}, trained on {trained_on})"
    return Reader(full_name, predictor, classes, limits, load_torch, trained_on=trained_on)


@dataclass(frozen=True)
class Reader:
    """A trained model that reads pictures; `name` and `limits` (what it can't do) are text for people."""

    name: str
    predictor: ArrayPredictor
    classes: tuple[str, ...]
    limits: str = ""
    load_torch: Callable[[], Predictor] | None = None
    """Returns the same model on torch, for explanations and for many pictures; None: it is an exported file."""
    rows: ArrayPredictor | None = None
    """A second model, which reads windows of rows; None: rows are read by the glyphs alone."""
    trained_on: str = ""
    """The name of the data set."""

    def read(
        self,
        inputs: Iterable[InputImage],
        expect: Expect = "auto",
        min_confidence: float = 0.0,
        *,
        steps: bool = False,
        explain: bool = False,
        chunk: int | None = None,
    ) -> Iterator[Prediction]:
        """Yield the predictions for each picture in order, as they are ready; with the steps of reading if asked for.

        The glyphs of `chunk` pages go through the network together; 1 yields each page as soon as it is read.
        With `explain` the first `MAX_EXPLAINED` accepted digits of a picture have an explanation.

        Raises `UsageError` for an invalid `expect` or `min_confidence`.
        """
        policy = self._policy(min_confidence)
        if expect not in get_args(Expect):
            raise UsageError(f"expect must be one of {', '.join(get_args(Expect))}; got {expect!r}.")
        pages = (page for source in inputs for page in _pages(source, expect, steps))
        count = len(inputs) if isinstance(inputs, Sized) else 0
        chunks = _chunks(pages, chunk or (CHUNK_STEPS if steps else CHUNK))
        if chunk is None and count > CHUNK:
            chunks = _prefetch(chunks)
        reader = self._for_count(count)
        predictions = (prediction for chunk in chunks for prediction in reader._predict(chunk, policy))
        return self._explain(predictions) if explain else predictions

    def read_rows(self, images: NDArray[uint8]) -> tuple[str, ...]:
        """Return the most probable class of each of `images` [N, 28, 28], also of those that the model would refuse."""
        reader = self._for_count(len(images))
        best = next(reader._scores(reader.predictor, [images])).probabilities.argmax(axis=1)
        return tuple(self.classes[number] for number in best.tolist())

    def _for_count(self, count: int) -> Reader:
        """Return the reader for `count` pictures: on torch if that is faster."""
        if count < TORCH_FROM or self.load_torch is None:
            return self
        return replace(self, predictor=array_predictor(self.load_torch()))

    def _explain(self, predictions: Iterable[Prediction]) -> Iterator[Prediction]:
        """Return the predictions with explanations. Raises `CheckpointError` for an exported file."""
        from mnist_trainer.inference.explain import explain_image

        if self.load_torch is None:
            advice = "Explain the checkpoint it was made of."
            raise CheckpointError(f"{self.name}: an exported file has no gradients to explain it by. {advice}")
        predictor, labels = self.load_torch(), class_labels(self.classes)
        return (
            _explained(prediction, lambda image, answer: explain_image(predictor, image, labels, answer))
            for prediction in predictions
        )

    def _policy(self, min_confidence: float) -> RejectPolicy:
        """Return what is refused. Raises `UsageError` for an invalid `min_confidence`."""
        gives_probabilities, threshold = self.predictor.gives_probabilities, self.predictor.refusal_threshold
        if not isinstance(min_confidence, int | float) or not 0 <= min_confidence <= 1:
            raise UsageError(f"min_confidence must be from 0 to 1, got {one_line(str(min_confidence))}; 90 % is 0.9.")
        if min_confidence and not gives_probabilities:
            raise UsageError("This model's outputs are not probabilities, so none of its predictions has a confidence.")
        return RejectPolicy(class_labels(self.classes), gives_probabilities, threshold, min_confidence)

    def _predict(self, pages: Sequence[_ReadPage], policy: RejectPolicy) -> Iterator[Prediction]:
        """Yield the prediction for each page; their glyphs go through the network together."""
        found = [each.read for each in pages if isinstance(each.read, Page)]
        scores = self._scores(self.predictor, [[glyph.image for glyph in page.glyphs] for page in found])
        if self.rows is not None:
            scores = self._with_rows(self.rows, found, scores)
        for source, number, page in pages:
            if isinstance(page, Page):
                prediction = predict_page(page, next(scores), policy, source.path)
            else:
                prediction = unreadable(source.path, str(page))
            yield replace(prediction, page=number)

    def _with_rows(self, rows: ArrayPredictor, pages: Sequence[Page], scores: Iterable[Scores]) -> Iterator[Scores]:
        """Yield the scores of each page's glyphs with those of their windows in rows, which `rows` predicts."""
        windows = [page.windows for page in pages]
        others = self._scores(rows, [[window for window in each if window is not None] for each in windows])
        for each, own, other in zip(windows, scores, others, strict=True):
            has_window = np.array([window is not None for window in each], bool)
            yield combine_scores(own, other, has_window) if has_window.any() else own

    def _scores(self, predictor: ArrayPredictor, images: Sequence[Iterable[NDArray[uint8]]]) -> Iterator[Scores]:
        """Yield the scores of each picture's images. All go through the network in batches, equal ones once."""
        unique = list({image.tobytes(): image for each in images for image in each}.items())
        probabilities, none = np.empty((0, len(self.classes))), np.empty(0)
        if unique:
            probabilities, none = predictor.read(np.stack([image for _, image in unique]))
        if not (np.isfinite(probabilities).all() and np.isfinite(none).all()):
            raise CheckpointError(f"{self.name}: its outputs are not finite, so its weights are damaged. Take another.")
        indices = {pixels: index for index, (pixels, _) in enumerate(unique)}
        for each in images:
            own = np.array([indices[image.tobytes()] for image in each], np.intp)
            yield Scores(probabilities[own], none[own])


def _explained(prediction: Prediction, explain: Callable[[NDArray[uint8], Name], Explanation]) -> Prediction:
    """Return a prediction with the explanations of its first digits; a refused picture has none."""
    accepted = [digit for digit in prediction.digits if not (digit.refused or prediction.refused)]
    chosen = {id(digit) for digit in accepted[:MAX_EXPLAINED]}
    digits = (
        replace(digit, explanation=explain(digit.image, digit.digit))
        if id(digit) in chosen and digit.image is not None
        else digit
        for digit in prediction.digits
    )
    return replace(prediction, digits=tuple(digits))


def _chunks(pages: Iterable[_ReadPage], count: int) -> Iterator[list[_ReadPage]]:
    """Yield the pages in lists of at most `count`, fewer for large files, so that the first results come soon."""
    chunk: list[_ReadPage] = []
    size = 0
    for page in pages:
        chunk.append(page)
        size += _num_bytes(page.source.picture)
        if len(chunk) == count or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _prefetch(chunks: Iterator[list[_ReadPage]]) -> Iterator[list[_ReadPage]]:
    """Yield the chunks; a thread reads the next one while the network runs."""
    from concurrent.futures import ThreadPoolExecutor  # not at the start: a few pictures do not need it

    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(next, chunks, None)
        while (chunk := following.result()) is not None:
            following = thread.submit(next, chunks, None)
            yield chunk


def _num_bytes(picture: object) -> int:
    """Return the size of a file or an array; 0 if it is not known."""
    try:
        return picture.stat().st_size if isinstance(picture, Path) else getattr(picture, "nbytes", 0)
    except (OSError, ValueError):
        return 0


def _pages(source: InputImage, expect: Expect, steps: bool) -> Iterator[_ReadPage]:
    """Yield what was read from each page of a picture; several pages are numbered from 1."""
    first, *others = islice(reads := _read(source, expect, steps), 2)
    yield _ReadPage(source, 1 if others else None, first)
    for number, read in enumerate(chain(others, reads), start=2):
        yield _ReadPage(source, number, read)


def _read(source: InputImage, expect: Expect, steps: bool) -> Iterator[Page | DataError]:
    """Yield each page of a picture; an error instead of a page that can't be read."""
    picture = source.picture
    try:
        if isinstance(picture, Path) and picture.name.lower().endswith(CSV_ENDINGS):
            yield DataError(f"{picture} is a table, not a picture; mnist-predict FILE.csv --out FILE reads its rows.")
        elif isinstance(picture, Path | BytesIO):
            yield from read_pages(picture, expect, name=str(source.path), steps=steps)
        elif isinstance(picture, DataError):
            yield picture
        else:
            yield read_image(picture, expect, steps=steps, few_lines=True)
    except DataError as error:
        yield error
