"""Entry points of this stage: return the `Page` of a picture, with all candidate glyphs.

A picture is segmented under several assumptions about its paper (`Background`); the most likely ones are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from math import ceil, log, sqrt
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mnist_trainer.errors import DataError
from mnist_trainer.pictures import paper
from mnist_trainer.pictures.ink import Parts, find_ink, find_parts, ink_threshold, quantile, share_of
from mnist_trainer.pictures.layouts import find_layouts, find_strips
from mnist_trainer.pictures.lines import group_box, leave_out_strays, typical_height
from mnist_trainer.pictures.open import Picture, decode_pages, open_pages, open_picture, picture_from_image
from mnist_trainer.pictures.page import (
    Box,
    Expect,
    Glyph,
    Layout,
    Line,
    Page,
    ReadingSteps,
    Strip,
    bounding_box,
    crop,
    overlap,
    pad,
)
from mnist_trainer.pictures.render import looks_rendered

NO_INK = "no ink: nothing on it stands out from the paper"
OTHER_PAGES = "only the current page of this image was read; to read all pages, name its file"
CROWDED = "a pattern, noise or a page of print: too many small parts for handwriting"

SMALL_SIDE = 320
"""Longer side, in pixels, of the picture on which backgrounds are compared."""

EVEN_SHARE, WRITING_SHARE = 0.5, 0.75
"""Minimum share of the picture at its paper's grey level, and of the ink that is writing, for which evenly lit paper is
accepted without trying other backgrounds."""

DRAWN_SHARE, DRAWN_WRITING = 0.9, 0.25
"""The same for drawings. The first counts pixels of paper and of full ink, as drawings have few others. The second is
small because of dots."""

RIM_SHARE = 0.4
"""Maximum share of ink on the border of a drawing. More is a pattern on the paper, such as a checkerboard."""

FULL_LEVEL = 0.97
"""Minimum level of full ink."""

FAINT_LEVEL, FAINT_SHARE = 0.35, 0.6
"""Maximum level of faint ink, and maximum share of faint ink for which no other backgrounds are tried."""

EVEN_FACTOR, DARK_FACTOR = 1.6, 1.15
"""Factors of the score for evenly lit paper and for dark ink, which are more likely."""

SLIM_STROKE, BROAD_STROKE = 0.3, 0.6
"""Stroke widths relative to the height of writing: normal up to the first, no strokes from the second on."""

MAX_BACKGROUNDS = 3
"""Maximum number of backgrounds that are kept."""

MIN_RATIO, MIN_SCORE = 0.15, 1e-9
"""Minimum score of a background that is kept, relative to the best one; and lower bound of scores in costs."""

UNLIKELY = 0.4
"""Minimum score of dark or light ink with the first window size, relative to the better of both, for which the other
sizes are tried."""

MANY_PARTS = 40
"""Number of written parts above which only the best background is kept, as it is then certainly right."""

BETWEEN_SCORE, BETWEEN_AREA, BETWEEN_COVERED, BETWEEN_FACTOR = 0.7, 0.6, 0.97, 0.5
"""The paper between strokes is mistaken for ink if ink of the other side (dark or light) has at least the first share
of its score and at most the second share of its area, and its box covers the third share of both sides. The score is
multiplied by the fourth."""

Contrast = Callable[[paper.Background], NDArray[np.float32]]
"""Returns the contrast of a picture with a background; equal ones are computed once."""

RULING_BACKGROUND = paper.Background(light=False, window=min(paper.WINDOWS))
"""The background with which the lines of paper are searched."""


def read_pages(
    file: Path | BinaryIO, expect: Expect = "auto", *, name: str = "-", steps: bool = False
) -> Iterator[Page | DataError]:
    """Yield what is written on each page of a file, or the error of a page; errors call an open file `name`.

    Raises `DataError` if the file can't be read.
    """
    for picture in open_pages(file) if isinstance(file, Path) else decode_pages(file, name):
        yield picture if isinstance(picture, DataError) else _read(picture, expect, steps)


def read_page(path: Path, expect: Expect = "auto", *, steps: bool = False) -> Page:
    """Return what is written on the one page of a file. Raises `DataError` if it can't be read or has several pages."""
    return _read(open_picture(path), expect, steps)


def read_image(
    image: Image.Image | NDArray[Any], expect: Expect = "auto", *, steps: bool = False, few_lines: bool = False
) -> Page:
    """Return what is written on a picture in memory: a Pillow image, or an array [H, W], [H, W, 3] or [H, W, 4].

    Arrays are uint8 or bool. With one channel other numbers are allowed: 0 is black and the maximum is white. Only the
    current page of an image with several pages is read. `few_lines` as in `find_writing`; the images that
    trained the bundled models were read without. Raises `DataError` if `image` is not a picture.
    """
    try:
        picture = picture_from_image(image if isinstance(image, Image.Image) else _from_array(image))
    except (OSError, SyntaxError, TypeError, ValueError) as error:
        raise DataError(f"The picture can't be read: {error}.") from None
    page = _read(picture, expect, steps, few_lines)
    return replace(page, warnings=(OTHER_PAGES,)) if getattr(image, "is_animated", False) else page


def read_single(image: Path | Image.Image | NDArray[Any]) -> NDArray[np.uint8] | None:
    """Return the most likely single digit of a picture, uint8 [28, 28]; None if nothing is written on it.

    Raises `DataError` if it can't be read.
    """
    page = read_page(image, "single") if isinstance(image, Path) else read_image(image, "single", few_lines=True)
    return page.glyphs[0].image if page.layouts else None


def read_strips(image: NDArray[np.uint8]) -> list[Strip]:
    """Return the strips of the lines on a picture [H, W, 3] that is not so large that it is shrunk."""
    writing = find_writing(image, few_lines=False)[0]
    return find_strips(writing.levels, leave_out_strays(writing.parts))


def _from_array(values: NDArray[Any]) -> Image.Image:
    """Return an image of an array [H, W] or [H, W, 3 or 4]. Raises `ValueError` for other shapes and types."""
    if not values.size or not (values.ndim == 2 or (values.ndim == 3 and values.shape[2] in (3, 4))):
        raise ValueError(f"an array of shape {list(values.shape)} is neither [H, W] nor [H, W, 3] nor [H, W, 4]")
    if values.dtype == bool:
        values = values * np.uint8(255)
    if values.dtype != np.uint8:
        if values.ndim == 3:
            raise ValueError(f"colours must be uint8, these are {values.dtype}")
        values = values.astype(np.float32)
    return Image.fromarray(np.ascontiguousarray(values))


def _read(picture: Picture, expect: Expect, steps: bool, few_lines: bool = True) -> Page:
    """Return the candidate glyphs of a picture; a 28×28 image as in MNIST is one glyph as it is."""
    pixels = picture.pixels
    if pixels.ndim == 2 and looks_rendered(pixels):
        glyph = Glyph(pixels, bounding_box(pixels > 0), 0, 1)
        return Page(
            (Layout((Line(1, (glyph,)),)),), steps=ReadingSteps(pixels, 255 - pixels, pixels, 1.0) if steps else None
        )
    writings = find_writing(pixels, few_lines=few_lines)
    layouts = tuple(
        _scale_boxes(replace(layout, ink=writing.ink), picture)
        for writing in writings
        for layout in find_layouts(writing.levels, leave_out_strays(writing.parts), expect, writing.cost)
    )
    reason = None if layouts else CROWDED if writings[0].parts.crowded else NO_INK
    return Page(layouts, reason, _steps(picture, writings[0]) if steps else None, picture.size)


def _scale_boxes(layout: Layout, picture: Picture) -> Layout:
    """Scale all boxes to pixels of the picture before it was shrunk, rounded outwards."""
    rows, columns = picture.pixels.shape[:2]
    if picture.size == (columns, rows):
        return layout
    across, down = picture.size[0] / columns, picture.size[1] / rows

    def scaled(box: Box) -> Box:
        """Return a box in pixels of the picture before it was shrunk."""
        x, y, width, height = box
        left, top = int(x * across), int(y * down)
        right, bottom = ceil((x + width) * across), ceil((y + height) * down)
        return left, top, min(picture.size[0], right) - left, min(picture.size[1], bottom) - top

    def strip(line: Line) -> Strip | None:
        """Return the strip of a line with its box and height in pixels of the picture before it was shrunk."""
        if line.strip is None:
            return None
        return replace(line.strip, box=scaled(line.strip.box), height=line.strip.height * down)

    lines = tuple(
        replace(line, glyphs=tuple(replace(glyph, box=scaled(glyph.box)) for glyph in line.glyphs), strip=strip(line))
        for line in layout.lines
    )
    return replace(layout, lines=lines, ink=tuple(map(scaled, layout.ink)))


def _steps(picture: Picture, writing: Writing) -> ReadingSteps:
    flattened = np.clip(255 - writing.contrast, 0, 255).astype(np.uint8)
    ink = (255 * writing.levels).astype(np.uint8)
    return ReadingSteps(picture.pixels, flattened, ink, picture.size[0] / picture.pixels.shape[1])


@dataclass(frozen=True)
class Writing:
    """The writing on a picture as found with one background.

    `contrast` float32 [H, W] in grey levels; `levels` float32 [H, W] of ink, 0 to 1; `parts` of that ink; `ink`: boxes
    of all connected ink, including what is not writing; `score`: how likely the background is; `cost`: −ln of the
    score relative to the best one.
    """

    contrast: NDArray[np.float32]
    levels: NDArray[np.float32]
    parts: Parts
    ink: tuple[Box, ...] = ()
    score: float = 1.0
    cost: float = 0.0


def find_writing(pixels: NDArray[np.uint8], *, few_lines: bool = True) -> list[Writing]:
    """Return the writing on a picture [H, W] or [H, W, 3] for each likely background, the most likely first.

    `few_lines`: one or two ruled lines are removed as well, and lines of small pictures.
    """
    grey = paper.denoise(paper.to_grey(pixels))
    contrast = cache(partial(paper.compute_contrast, grey))
    even = paper.even_background(grey)
    if even is not None:
        plain = _segment_ink(contrast, even, _ruling(contrast, even, few_lines))
        if _is_clear(plain):
            return [plain]
    small = paper.downscale(grey, SMALL_SIDE)
    small_contrast = contrast if small is grey else cache(partial(paper.compute_contrast, small))
    found = _compare_backgrounds(small_contrast, even, few_lines)
    ranking = sorted(found, key=lambda background: -found[background].score)[:MAX_BACKGROUNDS]
    best = max(found[ranking[0]].score, MIN_SCORE)
    if len(found[ranking[0]].parts.parts) > MANY_PARTS:
        ranking = ranking[:1]
    followed = [each for each in ranking if each is ranking[0] or found[each].score > MIN_RATIO * best]
    costs = {each: -log(max(found[each].score, MIN_SCORE) / best) for each in followed}
    if small is grey:
        return [replace(found[each], cost=costs[each]) for each in followed]
    ruling = _ruling(contrast, RULING_BACKGROUND, few_lines)
    return [
        replace(_segment_ink(contrast, each, ruling), score=found[each].score, cost=costs[each]) for each in followed
    ]


def _is_clear(plain: Writing) -> bool:
    """Return whether evenly lit paper explains a picture: it is a drawing, or nearly all ink is dark writing.

    Much faint ink may be ruling or a pattern; a little comes from the rims of smooth strokes. Returns True if there is
    no ink or far too much.
    """
    ink = plain.levels[plain.levels > 0]
    if not ink.size or plain.parts.crowded:
        return True
    even = share_of(np.abs(plain.contrast) <= paper.EVEN)
    if even + share_of(plain.levels > FULL_LEVEL) > DRAWN_SHARE:
        rim = np.concatenate([plain.levels[0], plain.levels[-1], plain.levels[:, 0], plain.levels[:, -1]])
        return plain.parts.share >= DRAWN_WRITING and share_of(rim > 0) < RIM_SHARE
    faint = share_of(ink < FAINT_LEVEL)
    return even > EVEN_SHARE and plain.parts.share > WRITING_SHARE and faint < FAINT_SHARE


def _compare_backgrounds(
    contrast: Contrast, even: paper.Background | None, few_lines: bool
) -> dict[paper.Background, Writing]:
    """Return the writing for evenly lit paper, if possible, and for windows of all sizes.

    The first window size decides whether the ink is dark or light; if both are about equally likely, both are tried.
    """
    ruling = _ruling(contrast, RULING_BACKGROUND, few_lines)
    first = [paper.Background(light=light, window=paper.WINDOWS[0]) for light in (False, True)]
    found = {background: _segment_ink(contrast, background, ruling) for background in first}
    likely = UNLIKELY * max(writing.score for writing in found.values())
    others = [
        paper.Background(each.light, window)
        for window in paper.WINDOWS[1:]
        for each in first
        if found[each].score >= likely
    ]
    found |= {each: _segment_ink(contrast, each, ruling) for each in ([] if even is None else [even]) + others}
    between = [
        each
        for each, writing in found.items()
        if any(each.light != other.light and _is_between(writing, strokes) for other, strokes in found.items())
    ]
    return found | {each: replace(found[each], score=BETWEEN_FACTOR * found[each].score) for each in between}


def _is_between(writing: Writing, strokes: Writing) -> bool:
    """Return whether `writing` is the paper between `strokes`: much broader, but nowhere outside their box."""
    if not writing.parts.parts or strokes.score < BETWEEN_SCORE * writing.score:
        return False
    areas = [sum(part.area for part in each.parts.parts) for each in (strokes, writing)]
    around, inside = group_box(strokes.parts.parts), group_box(writing.parts.parts)
    covered = all(overlap(around, inside, axis) >= BETWEEN_COVERED * inside[axis + 2] for axis in (0, 1))
    return covered and areas[0] < BETWEEN_AREA * areas[1]


def _ruling(contrast_with: Contrast, background: paper.Background, few_lines: bool) -> NDArray[np.bool_] | None:
    contrast, photograph = contrast_with(background), background.window is not None
    return paper.find_ruling(contrast, ink_threshold(contrast), photograph=photograph, few_lines=few_lines)


def _segment_ink(contrast_with: Contrast, background: paper.Background, ruling: NDArray[np.bool_] | None) -> Writing:
    """Return the ink of a picture and its parts; the pixels of `ruling` (ruled lines) count as paper."""
    contrast = contrast_with(background)
    if ruling is not None:
        contrast = np.where(ruling, np.float32(0), contrast)
    ink = find_ink(contrast, photograph=background.window is not None)
    parts = find_parts(ink, photograph=background.window is not None)
    boxes = () if parts.crowded else tuple(map(tuple, ink.boxes[ink.numbers, :4].tolist()))
    return Writing(contrast, ink.levels, parts, boxes, _score(contrast, parts, background))


def _score(contrast: NDArray[np.float32], parts: Parts, background: paper.Background) -> float:
    """Return the score of a background: the share of ink that is writing, weighted by its contrast."""
    if not parts.parts:
        return 0.0
    largest = parts.parts[0]
    strength = float(crop(contrast, largest.box)[crop(parts.map, largest.box) == largest.number].mean()) / 255
    likely = EVEN_FACTOR if background.window is None else _slimness(parts)
    likely *= 1.0 if background.light else DARK_FACTOR
    return likely * parts.share * sqrt(max(0.0, strength))


def _slimness(parts: Parts) -> float:
    """Return how slim strokes are, from `MIN_RATIO` to 1. Gaps between light digits, mistaken for ink, are broad."""
    import cv2

    written = np.isin(crop(parts.map, group_box(parts.parts)), [part.number for part in parts.parts])
    depths = cv2.distanceTransform(pad(written.astype(np.uint8), 1), cv2.DIST_L2, 3)
    broad = 2 * quantile(depths[depths > 0], 0.9) / typical_height(parts.parts)
    return float(np.clip((BROAD_STROKE - broad) / (BROAD_STROKE - SLIM_STROKE), MIN_RATIO, 1))
