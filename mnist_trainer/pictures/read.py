"""The stage's door: a picture in, what is written on it out.

Paper, ink and parts of a picture in the view of it in which there is most writing, and least else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil, log, sqrt
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mnist_trainer.errors import DataError
from mnist_trainer.pictures.ink import Parts, find_components, find_ink, ink_threshold, quantile
from mnist_trainer.pictures.layouts import find_layouts
from mnist_trainer.pictures.lines import group_box, typical_height
from mnist_trainer.pictures.open import Picture, decode_pages, open_pages, open_picture, picture_from_image
from mnist_trainer.pictures.page import Box, Expect, Glyph, Layout, Line, Page, ReadingSteps, bounding_box, padded
from mnist_trainer.pictures.paper import (
    EVEN,
    WINDOWS,
    Background,
    contrast_of,
    even_background,
    find_ruling,
    in_one_channel,
    without_noise,
)
from mnist_trainer.pictures.render import looks_rendered

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


SMALL = 320
"""Pixels a side at which views are compared."""

EVENLY, GOOD = 0.5, 0.75
"""Shares of a picture that has its paper's level, and of its ink that is writing, at which no other view is tried."""

FLAT, BOLDLY = 0.9, 0.25
"""The same of a drawing, where paper and full ink are counted: hardly anything is in between. Dots reach the second."""

RIM = 0.4
"""Of the rim of a drawing: with so much ink it is rather a pattern on the paper, as that which stands for nothing."""

FULL = 0.97
"""The least level of full ink."""

FAINT = 0.35, 0.6
"""Levels below the first are faint ink; with a larger share of it than the second other views are tried, too."""

BONUS = (1.6, 1.15)
"""What views count more for that are likely: even paper; dark ink."""

BROAD = 0.3, 0.6
"""Of the height of writing: strokes no broader than the first are as they should be, ones as the second are none."""

VIEWS = 3
"""Ways to see a picture that are followed at most."""

LEAST, LEAST_SCORE = 0.15, 1e-9
"""Of the best view's score, for another to be followed; and what a score counts at least."""

UNLIKELY = 0.4
"""Of the better of dark and light ink's scores in the first windows: below it, windows of other reach are not tried."""

PLENTY = 40
"""Parts of writing in the best view, at which no other is followed: it can't be wrong about all of them."""

RULING_BACKGROUND = Background(light=False, window=min(WINDOWS))
"""The view in which the lines of paper are looked for."""


@dataclass(frozen=True)
class Writing:
    """`contrast` float32 [H, W] in grey levels, `levels` float32 [H, W] of ink from 0 to 1, and the parts of that.

    `ink` are the boxes of all connected ink, also of what is no part of the writing.
    `score` says how likely it is to be seen rightly, and `best` how likely that is in the best view of the picture.
    """

    contrast: NDArray[np.float32]
    levels: NDArray[np.float32]
    parts: Parts
    ink: tuple[Box, ...] = ()
    score: float = 1.0
    best: float = 1.0

    @property
    def cost(self) -> float:
        """−ln of its score as a share of the best one."""
        return -log(max(self.score, LEAST_SCORE) / max(self.best, LEAST_SCORE))


def find_writing(pixels: NDArray[np.uint8]) -> list[Writing]:
    """The writing on a picture [H, W] or [H, W, 3] in one view or more, the best first."""
    grey = without_noise(in_one_channel(pixels))
    even = even_background(grey)
    if even is not None:
        plain = _segment_ink(grey, even, _ruling(grey, even))
        if _is_clear(plain):
            return [replace(plain, best=plain.score)]
    small = _downscale(grey)
    tries = _compare_backgrounds(small, even)
    ranking = sorted(tries, key=lambda background: -tries[background].score)[:VIEWS]
    best = max(tries[ranking[0]].score, LEAST_SCORE)
    if len(tries[ranking[0]].parts.parts) > PLENTY:
        ranking = ranking[:1]
    followed = [
        background for background in ranking if background is ranking[0] or tries[background].score > LEAST * best
    ]
    if small is grey:
        return [replace(tries[background], best=best) for background in followed]
    ruling = _ruling(grey, RULING_BACKGROUND)
    return [
        replace(_segment_ink(grey, background, ruling), score=tries[background].score, best=best)
        for background in followed
    ]


def _is_clear(plain: Writing) -> bool:
    """Whether a picture with even paper need not be seen in another way: drawn, or nearly all ink is writing, and dark.

    Faint are ruling and patterns; rims of smooth strokes are, too. Nothing at all is clear as well, and far too much.
    """
    ink = plain.levels[plain.levels > 0]
    if not ink.size or plain.parts.crowded:
        return True
    paper = float(np.mean(np.abs(plain.contrast) <= EVEN))
    if paper + float(np.mean(plain.levels > FULL)) > FLAT:
        rim = np.concatenate([plain.levels[0], plain.levels[-1], plain.levels[:, 0], plain.levels[:, -1]])
        return plain.parts.share >= BOLDLY and float(np.mean(rim > 0)) < RIM
    return paper > EVENLY and plain.parts.share > GOOD and float(np.mean(ink < FAINT[0])) < FAINT[1]


def _compare_backgrounds(grey: NDArray[np.uint8], even: Background | None) -> dict[Background, Writing]:
    """The views that are compared: with even paper, if it may be, and locally in windows of every reach.

    Whether ink is dark or light, windows of one reach tell, unless both are about as likely.
    """
    ruling = _ruling(grey, RULING_BACKGROUND)
    first = [Background(light=light, window=WINDOWS[0]) for light in (False, True)]
    tries = {background: _segment_ink(grey, background, ruling) for background in first}
    likely = UNLIKELY * max(seen.score for seen in tries.values())
    more = [
        Background(background.light, window)
        for window in WINDOWS[1:]
        for background in first
        if tries[background].score >= likely
    ]
    return tries | {
        background: _segment_ink(grey, background, ruling) for background in ([] if even is None else [even]) + more
    }


def _ruling(grey: NDArray[np.uint8], background: Background) -> NDArray[np.bool_] | None:
    contrast = contrast_of(grey, background)
    return find_ruling(contrast, ink_threshold(contrast), photograph=background.window is not None)


def _segment_ink(grey: NDArray[np.uint8], background: Background, ruling: NDArray[np.bool_] | None) -> Writing:
    contrast = contrast_of(grey, background)
    if ruling is not None:
        contrast = np.where(ruling, np.float32(0), contrast)
    ink = find_ink(contrast, photograph=background.window is not None)
    parts = find_components(ink, photograph=background.window is not None)
    boxes = () if parts.crowded else tuple(map(tuple, ink.boxes[ink.numbers, :4].tolist()))
    return Writing(contrast, ink.levels, parts, boxes, _score(contrast, parts, background))


def _score(contrast: NDArray[np.float32], parts: Parts, background: Background) -> float:
    """How much in a view is writing, and how clearly it is seen."""
    if not parts.parts:
        return 0.0
    x, y, width, height = parts.parts[0].box
    inside = np.s_[y : y + height, x : x + width]
    strength = float(contrast[inside][parts.map[inside] == parts.parts[0].number].mean()) / 255
    likely = (BONUS[0] if background.window is None else _slimness(parts)) * (1.0 if background.light else BONUS[1])
    return likely * parts.share * sqrt(max(0.0, strength))


def _slimness(parts: Parts) -> float:
    """How slim strokes are, from `LEAST` to 1: what windows on the paper see between digits of light ink is broad."""
    import cv2

    x, y, width, height = group_box(parts.parts)
    written = np.isin(parts.map[y : y + height, x : x + width], [part.number for part in parts.parts])
    depths = cv2.distanceTransform(padded(written.astype(np.uint8), 1), cv2.DIST_L2, 3)
    broad = 2 * quantile(depths[depths > 0], 0.9) / typical_height(parts.parts)
    return float(np.clip((BROAD[1] - broad) / (BROAD[1] - BROAD[0]), LEAST, 1))


def _downscale(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    import cv2

    scale = max(grey.shape) / SMALL
    if scale <= 1:
        return grey
    size = (max(1, round(grey.shape[1] / scale)), max(1, round(grey.shape[0] / scale)))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)
