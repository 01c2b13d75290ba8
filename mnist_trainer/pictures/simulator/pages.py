"""Rows of digits on one sheet, as people fill forms and write lists."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.pictures.page import Box
from mnist_trainer.pictures.simulator.exposure import render_scene
from mnist_trainer.pictures.simulator.photographs import choose_nib, plan_picture
from mnist_trainer.pictures.simulator.scene import (
    LARGEST,
    DrawnDigit,
    DrawnInk,
    Image,
    Levels,
    Random,
    paste,
    to_unit_range,
)
from mnist_trainer.pictures.simulator.strokes import Nib, Strokes, deform, draw, trace

PlacedPatch = tuple[Image, float, float]
"""Coverage uint8 [h, w], and where it begins: y and x."""

_ONE_DIGIT_ONLY = frozenset({"small28", "enlarged", "tiny", "border", "frame", "broken", "two_parts", "thick", "brush"})


def page(digits: Sequence[Sequence[Image]], random: Random, *, touching: bool = False) -> Image:
    """The picture uint8 [H, W, 3] of lines of digits, each uint8 [28, 28]; some neighbours touch if `touching`."""
    return page_and_digits(digits, random, touching=touching)[0]


def page_and_digits(
    digits: Sequence[Sequence[Image]], random: Random, *, touching: bool = False
) -> tuple[Image, list[DrawnDigit]]:
    """The same, and what of each digit is on it, line by line."""
    chosen = plan_picture(random)
    while (chosen.effects | {chosen.pen}) & _ONE_DIGIT_ONLY:
        chosen = plan_picture(random)
    longest = max(len(digits) * 2.2 + 2, max(map(len, digits)) * 1.4 + 2)
    letter = min(float(np.exp(random.uniform(np.log(28), np.log(80)))), LARGEST / longest)
    nib = choose_nib(chosen, letter, random)
    uneven, spacing, rise = random.uniform(0.03, 0.15), random.uniform(1.5, 2.2), random.normal(0, 0.03)
    placed: list[PlacedPatch] = []
    for number, line in enumerate(digits):
        patches = [_patch(deform(trace(digit), random), letter, nib, uneven, random) for digit in line]
        start = number * spacing * letter, random.uniform(0, 0.6) * letter
        placed += place_row(patches, start, rise + random.normal(0, 0.01), letter, random, touching=touching)
    ink, boxes = merge_patches(placed, random.uniform(0.3, 1, 4) * letter)
    shown = [DrawnDigit.of(to_unit_range(patch), box) for (patch, _, _), box in zip(placed, boxes, strict=True)]
    return render_scene(DrawnInk(ink, letter, nib.width), chosen, random), shown


def _patch(strokes: Strokes, letter: float, nib: Nib, uneven: float, random: Random) -> Image:
    size = letter * float(np.clip(np.exp(random.normal(0, uneven)), 0.7, 1.35))
    return draw(strokes, max(8.0, size - nib.width), nib)


def place_row(
    patches: Sequence[Image],
    start: tuple[float, float],
    rise: float,
    letter: float,
    random: Random,
    *,
    touching: bool = False,
) -> list[PlacedPatch]:
    """Patches side by side from `start` (y and x) on, on a line that falls by `rise` pixels a pixel."""
    (base, x), placed = start, list[PlacedPatch]()
    for number, patch in enumerate(patches):
        y = base + rise * x + letter - len(patch) + random.normal(0, 0.04) * letter
        if number:
            x += random.uniform(0.12, 0.5) * letter
            if touching and random.random() < 0.5:
                x -= min(_gap(placed[-1], (patch, y, x)), 0.6 * letter) + random.uniform(0, 0.06) * letter
        placed.append((patch, y, x))
        x += patch.shape[1]
    return placed


def _gap(left: PlacedPatch, right: PlacedPatch) -> float:
    """Pixels that `right` can move to the left until its ink touches that of `left`."""
    top = int(max(left[1], right[1]))
    bottom = int(min(left[1] + len(left[0]), right[1] + len(right[0])))
    before = left[0][top - int(left[1]) : bottom - int(left[1])] > 127
    behind = right[0][top - int(right[1]) : bottom - int(right[1])] > 127
    rows = min(len(before), len(behind))
    both = before[:rows].any(axis=1) & behind[:rows].any(axis=1)
    room = (before[:rows, ::-1].argmax(axis=1) + behind[:rows].argmax(axis=1))[both]
    return float(right[2] - left[2] - left[0].shape[1] + (room.min() if len(room) else 0))


def merge_patches(placed: Sequence[PlacedPatch], margins: NDArray[np.float64]) -> tuple[Levels, list[Box]]:
    """Ink float32 [H, W], 0 to 1, of patches, with `margins` at the top, left, bottom and right; and their boxes."""
    top = margins[0] - min(y for _, y, _ in placed)
    left = margins[1] - min(x for _, _, x in placed)
    height = int(top + margins[2] + max(y + len(patch) for patch, y, _ in placed))
    width = int(left + margins[3] + max(x + patch.shape[1] for patch, _, x in placed))
    ink = np.zeros((min(LARGEST, height), min(LARGEST, width)), np.float32)
    boxes = []
    for patch, y, x in placed:
        at = round(y + top), round(x + left)
        paste(ink, patch, *at)
        boxes.append((at[1], at[0], patch.shape[1], patch.shape[0]))
    return ink, boxes
