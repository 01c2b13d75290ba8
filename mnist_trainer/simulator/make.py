"""Make simulated training images: draw pictures, then read them as `mnist-predict` does.

As a program, this module reads pickled arguments of `make_images` from stdin and writes the pickled images to stdout.
"""

from __future__ import annotations

import pickle
import signal
import sys
from collections.abc import Sequence
from itertools import islice
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.pictures.page import SIDE, Box, Glyph, bounding_box, crop, overlap
from mnist_trainer.pictures.read import read_image, read_strips
from mnist_trainer.simulator.habits import NEAR, References, known_digits, looks_like_a_digit, references
from mnist_trainer.simulator.non_digits import glyph_non_digit, non_digit
from mnist_trainer.simulator.photographs import page, photograph
from mnist_trainer.simulator.scene import DrawnDigit, Image, Rng

Kind = Literal["photographs", "non_digits", "rows"]

MAX_TRIES = 5
"""Maximum number of pictures that are drawn for one image until a suitable glyph is read."""

SAME_BOX, PART_OF_BOX, OTHER_BOX = 0.65, 0.5, 0.2
"""Thresholds for a glyph's box and a digit's box: the glyph shows the digit above the first IoU, and only a part of it
or several digits below the second. It shows another object if less than the third share of it is inside the digit's."""

LEGIBLE, LEGIBLE_IN_ROW, SPOILT = 0.78, 0.85, 0.7
"""Thresholds for the similarity of a glyph and the drawn digit: it is legible above the first (alone) or the second (in
a row), and wrongly cut below the third."""

BLUR = 1.5
"""Standard deviation, in pixels, of the blur before images are compared, so that small shifts count little."""

IN_A_ROW, TOUCHING = 0.25, 0.7
"""Share of photographs that show rows, and share of rows with touching digits."""

SOURCES = {"other": 0.6, "beside": 0.12, "row": 0.13, "cut": 0.15}
"""Sources of non-digit images and their shares: other objects, objects next to a digit on a photograph, wrong cuts of a
row that was read, and deliberate wrong cuts."""

OTHER_WEIGHTS = {
    "letter": 6,
    "symbol": 3,
    "word": 3,
    "scribble": 2,
    "drawing": 4,
    "mark": 3,
    "object": 3,
    "print": 1,
    "blank": 1,
    "joined": 1.5,
    "cut": 1,
    "turned": 1,
    "noise": 0.5,
}
"""Weights of the kinds of other objects. Parts of digits and rotated digits are rare: many look like digits."""

NARROW, BROAD, SOLID, ONE_LIKE = 8, 14, 0.75, 0.02
"""An image may be a 1 if it is at most `NARROW` pixels wide, or at most `BROAD` with more than the share `SOLID` of ink
in its box. Of these images, the share `ONE_LIKE` is kept."""

MAX_LINE, NEW_LINE, ROWS_TOUCHING = 7, 0.15, 0.6
"""Maximum number of digits in a row; the probability that a digit begins a new row, and that digits of a page touch."""

CENTRED, BESIDE, NEAR_ROW = 1.5, 3.5, 0.6
"""Distances in pixels of a strip: of a digit's middle from the middle of its window, at most, and of every digit's
middle from the middle of a window without one, at least. Minimum share of a digit's height in the strip's box."""

WITHOUT_DIGITS, WRITTEN = 0.5, ("word", "word", "word", "letter", "letter", "symbol", "drawing", "mark", "scribble")
"""Share of pages beside which another picture, without digits, is drawn for windows without a digit in the middle, and
the kinds of it."""

REFERENCES, NEAR_PART = 3, 1.5
"""Number of digits for each seed that a non-digit must not look like, and the distance in pixels that replaces `NEAR`
for cuts of rows: the larger part of a digit often looks like another."""

MAX_GLYPHS = 3
"""Maximum number of images from one non-digit picture."""

CLUTTERED = ("table_edge", "finger", "frame", "squared", "ruled", "show_through", "specks", "crease", "hard_shadow")
"""Kinds of photographs that show other objects than the digit."""


def make_images(kind: Kind, digits: Image, labels: NDArray[np.int64], seeds: NDArray[np.int64]) -> Image:
    """Return images [N, 28, 28] made from `digits` [n, m, 28, 28], which show `labels` [n, m], and `seeds` [n].

    There is one photograph of the first digit, or one non-digit, for each seed. Of rows there are 2 m windows: one with
    each digit in its middle, in order, and m with none.
    """
    each = zip(digits, labels.tolist(), map(np.random.default_rng, seeds.tolist()), strict=True)
    if kind == "photographs":
        return np.stack([_photographed_glyph(own, shown[0], rng) for own, shown, rng in each])
    if kind == "rows":
        return np.concatenate([_row_windows(own, shown, rng) for own, shown, rng in each])
    made: list[Image] = []
    known = known_digits(), references(digits[:, :REFERENCES].reshape(-1, *digits.shape[2:]))
    all_known = np.concatenate([part[0] for part in known]), np.concatenate([part[1] for part in known])
    for number, (own, _, rng) in enumerate(each):
        if number == len(made):
            made += _non_digits(own, all_known, rng)
    return np.stack(made[: len(seeds)])


def _photographed_glyph(digits: Image, label: int, rng: Rng) -> Image:
    """Return the first of `digits` as read from a picture, alone or in a row; unchanged if reading fails."""
    in_a_row = rng.random() < IN_A_ROW
    for _ in range(MAX_TRIES):
        if in_a_row:
            glyphs, (drawn, *_) = _row(digits, rng)
        else:
            picture, drawn = photograph(digits[0], rng, label=label)
            glyphs = read_image(picture, "single").glyphs
        legible = LEGIBLE_IN_ROW if in_a_row else LEGIBLE
        near = (glyph for glyph in glyphs if box_iou(glyph.box, drawn.box) > SAME_BOX)
        images = [glyph.image for glyph in near if similarity(glyph.image, drawn.image) > legible]
        found = [image for image in images if label == 1 or not _is_solid(image)]
        if found:
            return found[int(rng.integers(len(found))) if in_a_row else 0]
    first: Image = digits[0]
    return first


def _row(digits: Image, rng: Rng) -> tuple[list[Glyph], list[DrawnDigit]]:
    """Return the glyphs read from a row of two to four `digits`, and the drawn digits in the order of `digits`."""
    order = rng.permutation(int(rng.integers(2, 5)))
    picture, drawn = page([[digits[at] for at in order]], rng, touching=rng.random() < TOUCHING)
    return read_image(picture).glyphs, [drawn[at] for at in np.argsort(order)]


def _row_windows(digits: Image, labels: Sequence[int], rng: Rng) -> Image:
    """Return windows [2 m, 28, 28] of the strips that are read from a page of `digits` [m, 28, 28] in rows.

    A digit that is in no strip keeps its image. If there are no windows without a digit, they are empty.
    """
    rows: list[list[int]] = [[]]
    for number in range(len(digits)):
        if len(rows[-1]) == MAX_LINE or (rows[-1] and rng.random() < NEW_LINE):
            rows.append([])
        rows[-1].append(number)
    shown = [[labels[number] for number in row] for row in rows]
    picture, drawn = page([list(digits[row]) for row in rows], rng, labels=shown, touching=rng.random() < ROWS_TOUCHING)
    windows, others = list(digits), list[Image]()
    for strip in read_strips(picture):
        inside = {at: strip.column(one.box) for at, one in enumerate(drawn) if _is_in_row(one.box, strip.box)}
        columns = np.arange(strip.image.shape[1] - SIDE + 1)
        nearest = np.abs(columns - np.array([*inside.values(), np.inf])[:, None]).min(axis=0)
        for number, column in inside.items():
            at = round(column + rng.uniform(-CENTRED, CENTRED))
            if 0 <= at < len(columns) and abs(at - column) <= nearest[at]:
                windows[number] = strip.window(at)
        others += [strip.window(at) for at in rng.permutation(columns[nearest > BESIDE])[: len(inside) + 2].tolist()]
    if rng.random() < WITHOUT_DIGITS:
        for strip in read_strips(non_digit(rng, digits, str(rng.choice(WRITTEN)))):
            others += [
                strip.window(at) for at in rng.permutation(strip.image.shape[1] - SIDE + 1)[: len(digits)].tolist()
            ]
    blank = [np.zeros_like(digits[0])] * len(digits)
    return np.stack([*windows, *[*(others[at] for at in rng.permutation(len(others))), *blank][: len(digits)]])


def _is_in_row(box: Box, row: Box) -> bool:
    return overlap(box, row, 1) > NEAR_ROW * box[3] and overlap(box, row, 0) > 0


def _non_digits(digits: Image, known: References, rng: Rng) -> list[Image]:
    """Return one to `MAX_GLYPHS` non-digit images from one of the `SOURCES`."""
    source = str(rng.choice(list(SOURCES), p=list(SOURCES.values())))
    near = NEAR_PART if source == "row" else NEAR
    for _ in range(MAX_TRIES):
        distinct = list({image.tobytes(): image for image in _from_source(source, digits, rng)}.values())
        shuffled = (distinct[at] for at in rng.permutation(len(distinct)))
        if found := list(islice((image for image in shuffled if _is_learnt(image, near, known, rng)), MAX_GLYPHS)):
            return found
    return [glyph_non_digit(rng, digits)]


def _from_source(source: str, digits: Image, rng: Rng) -> list[Image]:
    """Return images from a source that show no digit, but may look like one."""
    match source:
        case "other":
            weights = np.array(list(OTHER_WEIGHTS.values()))
            thing = str(rng.choice(list(OTHER_WEIGHTS), p=weights / weights.sum()))
            return [glyph.image for glyph in read_image(non_digit(rng, digits, thing)).glyphs]
        case "beside":
            picture, drawn = photograph(digits[0], rng, str(rng.choice(CLUTTERED)))
            glyphs = read_image(picture).glyphs
            return [glyph.image for glyph in glyphs if box_coverage(glyph.box, drawn.box) < OTHER_BOX]
        case "row":
            glyphs, row = _row(digits, rng)
            return [glyph.image for glyph in glyphs if all(_is_wrong(glyph, drawn) for drawn in row)]
        case _:
            return [glyph_non_digit(rng, digits)]


def _is_learnt(image: Image, near: float, known: References, rng: Rng) -> bool:
    """Return whether a non-digit image does not look like one of the `known` digits; by chance if it may be a 1."""
    return rng.random() < ONE_LIKE if _may_be_a_one(image) else not looks_like_a_digit(image, near, known)


def _may_be_a_one(image: Image) -> bool:
    width = bounding_box(image > 0)[2]
    return width <= NARROW or (width <= BROAD and _is_solid(image))


def _is_solid(image: Image) -> bool:
    return bool(crop(image, bounding_box(image > 0)).mean() > SOLID * 255)


def _is_wrong(glyph: Glyph, drawn: DrawnDigit) -> bool:
    spoilt = SPOILT if box_iou(glyph.box, drawn.box) > PART_OF_BOX else LEGIBLE_IN_ROW
    return similarity(glyph.image, drawn.image) < spoilt


def similarity(one: Image, other: Image) -> float:
    """Return the cosine similarity of two images [28, 28], both blurred."""
    import cv2

    first, second = (cv2.GaussianBlur(image.astype(np.float32), (0, 0), BLUR).ravel() for image in (one, other))
    return float(first @ second / np.sqrt((first @ first) * (second @ second)))


def box_iou(one: Box, other: Box) -> float:
    """Return the intersection over union of two boxes, both with a margin of 8 % because of thin digits."""
    areas, shared = _areas(one, other)
    return shared / (sum(areas) - shared)


def box_coverage(box: Box, other: Box) -> float:
    """Return the share of a box that is inside another, both with the same margins."""
    areas, shared = _areas(box, other)
    return shared / areas[0]


def _areas(*boxes: Box) -> tuple[list[int], int]:
    """Return the areas of two boxes with their margins, and the area of their intersection."""
    margins = [max(1, round(0.08 * max(box[2:]))) for box in boxes]
    one, other = ((x - m, y - m, w + 2 * m, h + 2 * m) for (x, y, w, h), m in zip(boxes, margins, strict=True))
    shared = max(0, overlap(one, other, 0)) * max(0, overlap(one, other, 1))
    return [one[2] * one[3], other[2] * other[3]], shared


def main() -> None:
    """Make some images for another process."""
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the process silently; the parent prints a message
    cv2.setNumThreads(1)
    pickle.dump(make_images(*pickle.load(sys.stdin.buffer)), sys.stdout.buffer)


if __name__ == "__main__":
    main()
