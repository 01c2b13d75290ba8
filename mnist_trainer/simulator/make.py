"""Images as a model would see them on simulated pictures: drawn, then read as `mnist-predict` reads a picture.

Run as a module it makes one piece of a set: arguments of `make_images` come in and images go out, both pickled.
"""

from __future__ import annotations

import pickle
import signal
import sys
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.pictures.page import Box, Glyph, bounding_box, overlap
from mnist_trainer.pictures.read import read_image
from mnist_trainer.simulator import (
    DrawnDigit,
    glyph_non_digit,
    non_digit,
    page_and_digits,
    photograph_and_box,
    photograph_and_digit,
)

Kind = Literal["photographs", "non_digits"]

Images = NDArray[np.uint8]
"""[n, 28, 28], bright ink on black."""

TRIES = 5
"""Pictures drawn for one image until something is read from one."""

SAME, PART, OTHER = 0.65, 0.5, 0.2
"""A glyph whose box is so much like the digit's shows it; one with less shows a part of it, or several digits; one that
the digit covers less than the last shows something else."""

LEGIBLE, LEGIBLE_OF_MANY, SPOILT = 0.78, 0.85, 0.7
"""A glyph whose image is so much like the digit as it was drawn can be read, though a bit is missing or a bit of
another is there; the wrong cuts of a row are less like all of its digits."""

BLUR = 1.5
"""Pixels of the 28 by which images are blurred before they are compared: ink that is a pixel away counts."""

IN_A_ROW, TOUCHING = 0.25, 0.7
"""Of the photographs: how many are of rows; and of rows, in how many some digits touch."""

SORTS = {"other": 0.5, "beside": 0.15, "row": 0.15, "cut": 0.2}
"""What is no digit, and how much of it: other things, what is beside a digit, cuts that a reading made, others."""

THINGS = {
    "letter": 4,
    "symbol": 4,
    "word": 3,
    "scribble": 2,
    "object": 4,
    "print": 1,
    "blank": 1,
    "joined": 1,
    "cut": 0.5,
    "turned": 0.5,
    "noise": 0.5,
}
"""Other things and how often they come. Parts of digits and turned ones are rare, for many look like another digit."""

NARROW, BROAD, SOLID, RARELY = 8, 14, 0.75, 0.3
"""What is not wider than the first, in pixels of the 28, may be a 1, and so may be an upright block that is not wider
than the second, if so much of it is ink. The last is the share of them that is taken."""

GLYPHS = 3
"""Images that are taken from one picture of no digit at most."""

CLUTTERED = ("table_edge", "finger", "frame", "squared", "ruled", "show_through", "specks", "crease", "hard_shadow")
"""Kinds of photographs on which there are other things than the digit."""


def make_images(kind: Kind, digits: NDArray[np.uint8], labels: NDArray[np.int64], seeds: NDArray[np.int64]) -> Images:
    """An image [28, 28] for each of `seeds` [n], from `digits` [n, m, 28, 28], the first of which show `labels` [n]."""
    each = zip(digits, labels.tolist(), map(np.random.default_rng, seeds.tolist()), strict=True)
    if kind == "photographs":
        return np.stack([_photographed(own, label, random) for own, label, random in each])
    made: list[NDArray[np.uint8]] = []
    for number, (own, _, random) in enumerate(each):
        if number == len(made):
            made += _no_digits(own, random)
    return np.stack(made[: len(seeds)])


def _photographed(digits: Images, label: int, random: np.random.Generator) -> NDArray[np.uint8]:
    """What is read from a picture of the first of `digits` where it is, alone or in a row; itself where nothing is."""
    in_a_row = random.random() < IN_A_ROW
    for _ in range(TRIES):
        if in_a_row:
            glyphs, (shown, *_) = _row(digits, random)
        else:
            picture, shown = photograph_and_digit(digits[0], random, label=label)
            glyphs = read_image(picture, "single").glyphs
        least = LEGIBLE_OF_MANY if in_a_row else LEGIBLE
        near = (glyph for glyph in glyphs if box_iou(glyph.box, shown.box) > SAME)
        found = [glyph.image for glyph in near if similarity(glyph.image, shown.image) > least]
        if found:
            return found[int(random.integers(len(found))) if in_a_row else 0]
    first: NDArray[np.uint8] = digits[0]
    return first


def _row(digits: Images, random: np.random.Generator) -> tuple[list[Glyph], list[DrawnDigit]]:
    """What is read from a row of two to four of `digits`, and what is on it, the first of `digits` first."""
    order = random.permutation(int(random.integers(2, 5)))
    picture, shown = page_and_digits([[digits[at] for at in order]], random, touching=random.random() < TOUCHING)
    return read_image(picture).glyphs, [shown[place] for place in np.argsort(order)]


def _no_digits(digits: Images, random: np.random.Generator) -> list[NDArray[np.uint8]]:
    """At least one image and at most `GLYPHS`: by turns what is read from a picture of something else, what else is on
    a photograph of digits, and what comes of digits that are cut or joined wrongly."""
    kind = str(random.choice(list(SORTS), p=list(SORTS.values())))
    tries = (_others(kind, digits, random) for _ in range(TRIES))
    found = next((images for images in tries if images), None)
    if found is None:
        found = _others("cut", digits, random, sure=True)
    unlike = list({image.tobytes(): image for image in found}.values())
    return [unlike[at] for at in random.permutation(len(unlike))[:GLYPHS]]


def _others(kind: str, digits: Images, random: np.random.Generator, *, sure: bool = False) -> list[NDArray[np.uint8]]:
    """Images of no digit, but for most of those that look like a 1; `sure`: all."""
    match kind:
        case "other":
            thing = str(random.choice(list(THINGS), p=np.array(list(THINGS.values())) / sum(THINGS.values())))
            images = [glyph.image for glyph in read_image(non_digit(random, digits, thing)).glyphs]
        case "beside":
            picture, box = photograph_and_box(digits[0], random, str(random.choice(CLUTTERED)))
            images = [glyph.image for glyph in read_image(picture).glyphs if box_coverage(glyph.box, box) < OTHER]
        case "row":
            glyphs, shown = _row(digits, random)
            images = [glyph.image for glyph in glyphs if all(_is_wrong(glyph, each) for each in shown)]
        case _:
            images = [glyph_non_digit(random, digits)]
    return [image for image in images if sure or not _may_be_a_one(image) or random.random() < RARELY]


def _may_be_a_one(image: NDArray[np.uint8]) -> bool:
    x, y, width, height = bounding_box(image > 0)
    return width <= NARROW or (width <= BROAD and image[y : y + height, x : x + width].mean() > SOLID * 255)


def _is_wrong(glyph: Glyph, shown: DrawnDigit) -> bool:
    return similarity(glyph.image, shown.image) < (SPOILT if box_iou(glyph.box, shown.box) > PART else LEGIBLE_OF_MANY)


def similarity(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """The cosine between two images [28, 28], both blurred."""
    import cv2

    first, second = (cv2.GaussianBlur(image.astype(np.float32), (0, 0), BLUR).ravel() for image in (one, other))
    return float(first @ second / np.sqrt((first @ first) * (second @ second)))


def box_iou(one: Box, other: Box) -> float:
    """What two boxes share of what either covers; boxes that are thin for their length count as a bit thicker."""
    first, second = (_padded(box) for box in (one, other))
    shared = _shared(first, second)
    return shared / (first[2] * first[3] + second[2] * second[3] - shared)


def box_coverage(box: Box, other: Box) -> float:
    """The share of a box that another covers."""
    return _shared(_padded(box), _padded(other)) / (_padded(box)[2] * _padded(box)[3])


def _padded(box: Box) -> Box:
    x, y, width, height = box
    margin = max(1, round(0.08 * max(width, height)))
    return x - margin, y - margin, width + 2 * margin, height + 2 * margin


def _shared(one: Box, other: Box) -> int:
    return max(0, overlap(one, other, 0)) * max(0, overlap(one, other, 1))


def main() -> None:
    """Does a piece of the work for another process."""
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a word; the process that asked for it speaks
    cv2.setNumThreads(1)
    pickle.dump(make_images(*pickle.load(sys.stdin.buffer)), sys.stdout.buffer)


if __name__ == "__main__":
    main()
