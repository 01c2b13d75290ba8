"""How a picture was read, as images: a strip of its steps as a PNG, and 28×28 images in a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, count
from math import ceil
from pathlib import Path
from textwrap import wrap

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mnist_trainer.files import make_folder, write_bytes
from mnist_trainer.inference.reading import DigitPrediction, Prediction
from mnist_trainer.pictures.page import ReadingSteps
from mnist_trainer.reports.canvas import GREEN, GREY, MAX_WIDTH, ORANGE, PALE, encode_png
from mnist_trainer.reports.explanations import explained_digits
from mnist_trainer.reports.results import digit_caption
from mnist_trainer.reports.text import percent, plural

TILE, GAP, LINE = 84, 12, 18
"""Side of an enlarged 28×28 image, the space between pictures, the height of a line of text; in pixels."""

TILE_COLUMNS = (MAX_WIDTH - GAP) // (TILE + GAP)

Panel = tuple[str, Image.Image]
"""A title and an image."""


class StripFolder:
    """A folder that strips, and pictures of explanations, are written to, each with a unique name."""

    def __init__(self, folder: Path) -> None:
        make_folder(folder)
        self.folder = folder
        self.names: list[str] = []
        self.strips = 0

    def write_strips(self, predictions: Iterable[Prediction]) -> Iterator[Prediction]:
        """Yield the predictions, each after the pictures of it are written, if it could be read."""
        for prediction in predictions:
            if prediction.error is None:
                self._write(prediction, "steps", strip(prediction))
            if any(digit.explanation for digit in prediction.digits):
                self._write(prediction, "explained", explained_digits(prediction))
            yield prediction

    def summary(self) -> str:
        """Return a sentence about what was written."""
        explained = len(self.names) - self.strips
        both = f" and {plural(explained, 'explanation')}" if explained else ""
        what = ", ".join(self.names) if self.strips == 1 else f"{self.strips} strips{both}"
        return f"Written to {self.folder}: {what}"

    def _write(self, prediction: Prediction, what: str, content: bytes) -> None:
        """Write a picture of `what`: the `steps`, or what is `explained`."""
        name = self._new_name(prediction, what)
        write_bytes(self.folder / name, content)
        self.names.append(name)
        self.strips += what == "steps"

    def _new_name(self, prediction: Prediction, what: str) -> str:
        """Return a file name for a picture of `what` that no other one has."""
        path, page = prediction.path, prediction.page
        stem = "picture" if path in (None, "-") else Path(str(path)).stem
        stem += "" if page is None else f"-page-{page}"
        taken = {name.casefold() for name in self.names}  # on some systems a.png and A.PNG are one file
        tries = (f"{stem}-{what}{suffix}.png" for suffix in chain([""], (f"-{number}" for number in count(2))))
        return next(name for name in tries if name.casefold() not in taken)


def strip(prediction: Prediction) -> bytes:
    """Return a PNG, 1200 pixels wide: the steps of reading a picture, and each digit as the network saw it."""
    head = _head(prediction)
    steps, digits = prediction.steps, prediction.digits
    panels, columns = ([], 1) if steps is None else (step_panels(steps), _panel_columns(steps.ink))
    if steps is not None:
        panels.append(_result_panel(panels[0][1], steps, digits))
    top, high = LINE * (len(head) + 1), LINE + GAP + max((panel.height for _, panel in panels), default=0)
    bottom = top + ceil(len(panels) / columns) * high
    rows = ceil(len(digits) / TILE_COLUMNS)
    paper = Image.new("RGB", (MAX_WIDTH, bottom + LINE + rows * (TILE + LINE + GAP)), "white")
    _write_text(paper, (GAP, GAP), "\n".join(head))
    for index, (title, panel) in enumerate(panels):
        row, column = divmod(index, columns)
        x, y = GAP + column * (MAX_WIDTH - GAP) // columns, top + row * high
        _write_text(paper, (x, y), f"{index + 1}. {title}", GREY)
        paper.paste(panel, (x, y + LINE))
        frame = (x - 1, y + LINE - 1, x + panel.width, y + LINE + panel.height)
        ImageDraw.Draw(paper).rectangle(frame, outline=PALE)  # where white pictures end
    if digits:
        _write_text(paper, (GAP, bottom), f"{len(panels) + 1}. network input", GREY)
    for index, digit in enumerate(digits):
        row, column = divmod(index, TILE_COLUMNS)
        _draw_tile(paper, (GAP + column * (TILE + GAP), bottom + LINE + row * (TILE + LINE + GAP)), digit)
    return encode_png(paper)


def _head(prediction: Prediction) -> list[str]:
    sure = "" if prediction.confidence is None else f"  ({percent(prediction.confidence, 1)})"
    text = f"refused: {prediction.reason}" if prediction.refused else f"{prediction.text}{sure}"
    return [part for line in text.split("\n") for part in wrap(line, MAX_WIDTH // 9, drop_whitespace=False)]


def _panel_columns(ink: NDArray[np.uint8]) -> int:
    """Return how many panels are drawn side by side: few if they are much wider than high."""
    high, wide = ink.shape
    return 4 if wide < 2 * high else 2 if wide < 6 * high else 1


def step_panels(steps: ReadingSteps) -> list[Panel]:
    """Return the steps of reading as titled images, at most 300 pixels wide if there are several side by side."""
    side = (MAX_WIDTH - GAP) // _panel_columns(steps.ink) - GAP
    images = (
        ("input, upright", steps.upright),
        ("background normalized", steps.flattened),
        ("detected ink", steps.ink),
    )
    return [(title, _resize(pixels, side)) for title, pixels in images]


def _result_panel(upright: Image.Image, steps: ReadingSteps, digits: Sequence[DigitPrediction]) -> Panel:
    """Return the upright picture with the box and the class of each digit."""
    labelled = upright.convert("RGB")
    for digit in digits:
        _draw_box(labelled, digit, labelled.width / steps.ink.shape[1] / steps.scale)
    return "result", labelled


def _resize(pixels: NDArray[np.uint8], side: int) -> Image.Image:
    """Return pixels [H, W] or [H, W, 3] as an image whose longer side is `side`."""
    image = Image.fromarray(pixels)
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX)


def _draw_box(image: Image.Image, digit: DigitPrediction, scale: float) -> None:
    """Draw the box of a digit and its class; `scale` converts pixels of the upright picture to those of `image`."""
    x, y, width, height = (value * scale for value in digit.box)
    colour = _colour(digit)
    ImageDraw.Draw(image).rectangle((x - 1, y - 1, x + width, y + height), outline=colour, width=2)
    _write_text(image, (x + 1, max(0, y - LINE)), digit.sign, colour)


def _draw_tile(paper: Image.Image, position: tuple[int, int], digit: DigitPrediction) -> None:
    if digit.image is not None:
        paper.paste(Image.fromarray(digit.image).resize((TILE, TILE), Image.Resampling.NEAREST), position)
    _write_text(paper, (position[0], position[1] + TILE + 1), digit_caption(digit), _colour(digit))


def _colour(digit: DigitPrediction) -> str:
    return ORANGE if digit.refused else GREEN


def _write_text(image: Image.Image, position: tuple[float, float], text: str, colour: str = "black") -> None:
    ImageDraw.Draw(image).text(position, text, colour, ImageFont.load_default(14))


IMAGE_GAP = 2
"""Columns between two images."""

BLOCKS = " ▀▄█"
"""Characters without colours, by upper pixel + 2 × lower pixel."""

BLACK, GREYS, WHITE = 16, range(232, 256), 231
"""The shades among the 256 colours of terminals (ECMA-48, `38;5;n`), from dark to light."""


def glyph_lines(images: Sequence[NDArray[np.uint8]], captions: Sequence[str], width: int, colour: bool) -> list[str]:
    """Return `images` [28, 28] as lines of text, as many side by side as fit in `width` columns, above their captions.

    A character shows two pixels; without `colour` they are black or white.
    """
    draw = _grey_rows if colour else _block_rows
    cells = [[*draw(image), caption] for image, caption in zip(images, captions, strict=True)]
    size = max((image.shape[1] for image in images), default=0)
    columns = max(1, (width + IMAGE_GAP) // (size + IMAGE_GAP))
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    return [_join(parts, size) for row in rows for parts in zip(*row, strict=True)]


def _join(parts: Sequence[str], size: int) -> str:
    """Join parts of `size` columns; escape codes take no columns, and captions are cut."""
    padded = (part if "\x1b" in part else part.ljust(size)[:size] for part in parts)
    return (" " * IMAGE_GAP).join(padded).rstrip()


def _block_rows(image: NDArray[np.uint8]) -> list[str]:
    bits = (image >= 128).astype(np.intp)
    return ["".join(BLOCKS[index] for index in row) for row in (bits[0::2] + 2 * bits[1::2]).tolist()]


def _grey_rows(image: NDArray[np.uint8]) -> list[str]:
    shades = np.array([BLACK, *GREYS, WHITE])[image.astype(np.intp) * 26 // 256]
    pairs = np.stack([shades[0::2], shades[1::2]], axis=2).tolist()
    return ["".join(f"\x1b[38;5;{upper};48;5;{lower}m▀" for upper, lower in row) + "\x1b[0m" for row in pairs]
