"""The stage's door: a picture in, what is written on it out."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mnist_trainer.errors import DataError
from mnist_trainer.pictures.glyphs import glyphs_of, whole
from mnist_trainer.pictures.ink import Ink, find_ink
from mnist_trainer.pictures.lines import Piece, in_lines
from mnist_trainer.pictures.open import Picture, open_picture, picture_in, picture_of
from mnist_trainer.pictures.page import Box, Expect, Glyph, Line, Page, Steps, box_of
from mnist_trainer.pictures.parts import Parts, find_parts
from mnist_trainer.pictures.render import looks_rendered

NO_INK = "no ink: nothing on it stands out from the paper"
CROWDED = "a pattern, noise or a page of print: too many small parts for handwriting"


def read_page(path: Path, expect: Expect = "auto", *, steps: bool = False) -> Page:
    """What is written on the picture in a file. Raises `DataError` when it can't be read."""
    return _page(open_picture(path), expect, steps)


def page_in(file: BinaryIO, name: str, expect: Expect = "auto", *, steps: bool = False) -> Page:
    """The same for an open file, which errors call `name`."""
    return _page(picture_in(file, name), expect, steps)


def page_of(image: Image.Image | NDArray[Any], expect: Expect = "auto", *, steps: bool = False) -> Page:
    """What is written on a picture in memory: a Pillow image, or an array [H, W], [H, W, 3] or [H, W, 4].

    Arrays are uint8 or bool; with one channel also of any other number, 0 black and the largest white. Raises
    `DataError` when it is no picture.
    """
    try:
        picture = picture_of(image if isinstance(image, Image.Image) else _from_array(image))
    except (OSError, SyntaxError, TypeError, ValueError) as error:
        raise DataError(f"The picture can't be read: {error}.") from None
    return _page(picture, expect, steps)


def read_single(image: Path | Image.Image | NDArray[Any]) -> NDArray[np.uint8] | None:
    """All that is written on a picture as one digit, uint8 [28, 28]; None where nothing is.

    Raises `DataError` when it can't be read.
    """
    page = read_page(image, "single") if isinstance(image, Path) else page_of(image, "single")
    return page.lines[0].glyphs[0].image if page.lines else None


def _from_array(values: NDArray[Any]) -> Image.Image:
    if not values.size or not (values.ndim == 2 or (values.ndim == 3 and values.shape[2] in (3, 4))):
        raise ValueError(f"an array of shape {list(values.shape)} is neither [H, W] nor [H, W, 3] nor [H, W, 4]")
    if values.dtype == bool:
        values = values * np.uint8(255)
    if values.dtype != np.uint8:
        if values.ndim == 3:
            raise ValueError(f"colours must be uint8, these are {values.dtype}")
        values = values.astype(np.float32)
    return Image.fromarray(np.ascontiguousarray(values))


def _page(picture: Picture, expect: Expect, steps: bool) -> Page:
    pixels = picture.pixels
    if pixels.ndim == 2 and looks_rendered(pixels):
        glyph = Glyph(pixels, box_of(pixels > 0), 0, 1)
        seen = Steps(pixels, 255 - pixels, pixels, 1.0) if steps else None
        return Page((Line(1, (glyph,)),), steps=seen)
    ink = find_ink(pixels)
    parts = find_parts(ink.levels)
    lines = tuple(_line(line, ink, parts, expect, picture) for line in _lines(parts, expect))
    reason = None if lines else CROWDED if parts.crowded else NO_INK
    return Page(lines, reason, _steps(picture, ink) if steps else None)


def _lines(parts: Parts, expect: Expect) -> list[list[Piece]]:
    if expect == "single":
        return [[parts.parts]] if parts.parts else []
    lines = in_lines(parts.parts)
    if expect == "row" and lines:
        return [sorted((piece for line in lines for piece in line), key=lambda piece: piece[0].box[0])]
    return lines


def _line(line: list[Piece], ink: Ink, parts: Parts, expect: Expect, picture: Picture) -> Line:
    if expect == "single":
        count, glyphs = 1, [whole(line, ink.levels, parts)]
    else:
        count, glyphs = glyphs_of(line, ink.levels, parts)
    return Line(count, tuple(replace(glyph, box=_enlarged(glyph.box, picture)) for glyph in glyphs))


def _enlarged(box: Box, picture: Picture) -> Box:
    """The same box in pixels of the picture before it was shrunk, rounded outwards."""
    x, y, width, height = box
    rows, columns = picture.pixels.shape[:2]
    across, down = picture.size[0] / columns, picture.size[1] / rows
    left, top = int(x * across), int(y * down)
    right, bottom = min(picture.size[0], ceil((x + width) * across)), min(picture.size[1], ceil((y + height) * down))
    return left, top, right - left, bottom - top


def _steps(picture: Picture, ink: Ink) -> Steps:
    flattened = np.clip(255 - ink.contrast, 0, 255).astype(np.uint8)
    taken = (255 * ink.levels).astype(np.uint8)
    return Steps(picture.pixels, flattened, taken, picture.size[0] / picture.pixels.shape[1])
