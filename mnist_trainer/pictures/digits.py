"""The stage's door: a picture in, what is written on it out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mnist_trainer.errors import DataError
from mnist_trainer.pictures.layouts import find_layouts
from mnist_trainer.pictures.open import Picture, decode_pages, open_pages, open_picture, picture_from_image
from mnist_trainer.pictures.page import Box, Expect, Glyph, Layout, Line, Page, ReadingSteps, bounding_box
from mnist_trainer.pictures.render import looks_rendered
from mnist_trainer.pictures.writing import Writing, find_writing

NO_INK = "no ink: nothing on it stands out from the paper"
OTHER_PAGES = "only the present page of this image was read; name its file to read them all"
CROWDED = "a pattern, noise or a page of print: too many small parts for handwriting"


def read_pages(
    file: Path | BinaryIO, expect: Expect = "auto", *, name: str = "-", steps: bool = False
) -> Iterator[Page | DataError]:
    """Yield what is written on each page of a file, or what is wrong with the page; errors call an open file `name`.

    Raises `DataError` when the file can't be read.
    """
    for picture in open_pages(file) if isinstance(file, Path) else decode_pages(file, name):
        yield picture if isinstance(picture, DataError) else _page(picture, expect, steps)


def read_page(path: Path, expect: Expect = "auto", *, steps: bool = False) -> Page:
    """Return what is written on the one page of a file. Raises `DataError` when it can't be read, or has more."""
    return _page(open_picture(path), expect, steps)


def read_image(image: Image.Image | NDArray[Any], expect: Expect = "auto", *, steps: bool = False) -> Page:
    """What is written on a picture in memory: a Pillow image, or an array [H, W], [H, W, 3] or [H, W, 4].

    Arrays are uint8 or bool; with one channel also of any other number, 0 black and the largest white. Of an image with
    several pages it is the present one. Raises `DataError` when it is no picture.
    """
    try:
        picture = picture_from_image(image if isinstance(image, Image.Image) else _from_array(image))
    except (OSError, SyntaxError, TypeError, ValueError) as error:
        raise DataError(f"The picture can't be read: {error}.") from None
    page = _page(picture, expect, steps)
    return replace(page, warnings=(OTHER_PAGES,)) if getattr(image, "is_animated", False) else page


def read_single(image: Path | Image.Image | NDArray[Any]) -> NDArray[np.uint8] | None:
    """What is most likely the one digit on a picture, uint8 [28, 28]; None where nothing is written.

    Raises `DataError` when it can't be read.
    """
    page = read_page(image, "single") if isinstance(image, Path) else read_image(image, "single")
    return page.glyphs[0].image if page.layouts else None


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
        glyph = Glyph(pixels, bounding_box(pixels > 0), 0, 1)
        seen = ReadingSteps(pixels, 255 - pixels, pixels, 1.0) if steps else None
        return Page((Layout((Line(1, (glyph,)),)),), steps=seen)
    writings = find_writing(pixels)
    layouts = [
        replace(layout, ink=writing.ink)
        for writing in writings
        for layout in find_layouts(writing.levels, writing.parts, expect, writing.cost)
    ]
    reason = None if layouts else CROWDED if writings[0].parts.crowded else NO_INK
    enlarged = tuple(_enlarged(layout, picture) for layout in layouts)
    return Page(enlarged, reason, _steps(picture, writings[0]) if steps else None, picture.size)


def _enlarged(layout: Layout, picture: Picture) -> Layout:
    """With boxes in pixels of the picture before it was shrunk."""
    lines = [
        replace(line, glyphs=tuple(replace(glyph, box=_box(glyph.box, picture)) for glyph in line.glyphs))
        for line in layout.lines
    ]
    return replace(layout, lines=tuple(lines), ink=tuple(_box(box, picture) for box in layout.ink))


def _box(box: Box, picture: Picture) -> Box:
    """A box in pixels of the picture before it was shrunk, rounded outwards."""
    x, y, width, height = box
    rows, columns = picture.pixels.shape[:2]
    across, down = picture.size[0] / columns, picture.size[1] / rows
    left, top = int(x * across), int(y * down)
    right, bottom = min(picture.size[0], ceil((x + width) * across)), min(picture.size[1], ceil((y + height) * down))
    return left, top, right - left, bottom - top


def _steps(picture: Picture, writing: Writing) -> ReadingSteps:
    flattened = np.clip(255 - writing.contrast, 0, 255).astype(np.uint8)
    taken = (255 * writing.levels).astype(np.uint8)
    return ReadingSteps(picture.pixels, flattened, taken, picture.size[0] / picture.pixels.shape[1])
