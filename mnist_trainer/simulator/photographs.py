"""Digits drawn, photographed and scanned as people do it; and the kinds of pictures that are told apart.

Rows of digits on one sheet, as people fill forms and write lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.pictures.page import Box, bounding_box
from mnist_trainer.simulator.compose import PENS, PicturePlan, render_scene
from mnist_trainer.simulator.letters import typed_digit
from mnist_trainer.simulator.scene import (
    LARGEST,
    DrawnDigit,
    DrawnInk,
    Image,
    Levels,
    Random,
    paste,
    to_unit_range,
)
from mnist_trainer.simulator.strokes import Nib, Strokes, apply_habit, break_strokes, deform, draw, trace

_KINDS: dict[str, tuple[str, float]] = {
    "plain": ("d", 10),
    "light_on_dark": ("dddb", 5),
    "small28": ("d", 10),
    "enlarged": ("d", 2),
    "mouse": ("d", 4),
    "thick": ("dp", 4),
    "broken": ("dp", 2),
    "two_parts": ("dp", 2),
    "faint": ("dp", 3),
    "checkerboard": ("d", 2),
    "brush": ("dp", 2),
    "frame": ("dp", 2),
    "tiny": ("dp", 2),
    "border": ("dp", 2),
    "turned": ("ddppb", 4),
    "crossed": ("ddppb", 4),
    "coloured": ("dp", 4),
    "specks": ("dp", 2),
    "pen": ("p", 5),
    "pencil": ("p", 4),
    "marker": ("dp", 3),
    "chalk": ("b", 2),
    "shadow": ("pppb", 4),
    "hard_shadow": ("pppb", 4),
    "vignette": ("pppb", 3),
    "blur": ("dpppb", 3),
    "crease": ("p", 3),
    "noise": ("dpppb", 3),
    "jpeg": ("dpppb", 3),
    "squared": ("p", 5),
    "ruled": ("p", 4),
    "table_edge": ("p", 3),
    "finger": ("p", 2),
    "show_through": ("p", 3),
    "scan": ("p", 3),
}
"""By kind on which media it occurs (drawn on a screen, on paper, on a board), and how often."""

KINDS: tuple[str, ...] = tuple(_KINDS)

HABITS: dict[int | None, float] = {0: 0.05, 1: 0.45, 4: 0.25, 7: 0.2}
"""How often a digit is slashed, crossed or has serifs in other kinds: MNIST's writers hardly did it."""

PRINTED = 0.03
"""How often a digit is written as it is printed, whatever the one was that is to be shown."""

SLABS = 0.15
"""How often a 1 is so broad that it is nearly a block."""

_SOLID = {"round", "thick", "pen", "marker"}
_SHADES = {"shadow", "hard_shadow", "vignette"}
_NOT_WITH: dict[str, set[str]] = {
    "faint": {"blur", "noise", "jpeg", "show_through", "specks", "squared", "ruled", "crease", "coloured", *_SHADES},
    "tiny": {"border", "small28", "enlarged", "frame", "blur", "broken", "two_parts", "noise", "jpeg"},
    "border": {"small28", "enlarged", "frame", "table_edge"},
    "small28": {"enlarged", "frame", "two_parts", "broken", "blur", "jpeg", "checkerboard", "specks", "noise"},
    "enlarged": {"frame", "blur", "jpeg", "checkerboard", "specks", "noise"},
    "scan": {"table_edge", "finger", "show_through", "noise", "faint", "coloured", *_SHADES},
    "checkerboard": {"light_on_dark", "coloured", "faint"},
    "crossed": {"broken", "two_parts"},
    **{pen: {*PENS, "broken", "two_parts", "crossed"} for pen in ("thick", "brush")},
    **{pen: {*PENS} for pen in ("pen", "pencil", "marker", "chalk")},
    "mouse": {*PENS, "blur", "noise", "jpeg"},
}
"""What a kind does not go with: it could not be, or not be read."""


def plan_picture(random: Random, kind: str | None = None) -> PicturePlan:
    """The medium, the pen and the effects of one picture: those of `kind`, and some others that go with it."""
    names, weights = list(_KINDS), np.array([weight for _, weight in _KINDS.values()])
    rate = 0.03 if kind is None else 0.015
    first = kind or str(random.choice(names, p=weights / weights.sum()))
    medium = str(random.choice(list(_KINDS[first][0])))
    chosen = {first}
    for at in np.flatnonzero(random.random(len(names)) < rate * weights):
        other = names[at]
        if medium in _KINDS[other][0] and first != "plain" and not any(_apart(other, name) for name in chosen):
            chosen.add(other)
    return PicturePlan(medium, _pen(chosen, medium, random), frozenset(chosen))


def _apart(one: str, other: str) -> bool:
    return other in _NOT_WITH.get(one, ()) or one in _NOT_WITH.get(other, ())


def _pen(chosen: set[str], medium: str, random: Random) -> str:
    named = [name for name in chosen if name in PENS]
    usual = {"d": ("round", "round", "mouse", "marker"), "p": ("pen", "pen", "pencil", "marker"), "b": ("chalk",)}
    fitting = [name for name in usual[medium] if not any(_apart(name, other) for other in chosen)]
    return named[0] if named else str(random.choice(fitting))


def photograph(digit: Image, random: Random, kind: str | None = None, *, label: int | None = None) -> Image:
    """The picture uint8 [H, W, 3] of a digit uint8 [28, 28], bright on black; `label` is what it is, to cross a 7."""
    return photograph_and_digit(digit, random, kind, label=label)[0]


def photograph_and_box(
    digit: Image, random: Random, kind: str | None = None, *, label: int | None = None
) -> tuple[Image, Box]:
    """The same, and x, y, width and height of the digit on it."""
    picture, shown = photograph_and_digit(digit, random, kind, label=label)
    return picture, shown.box


def photograph_and_digit(
    digit: Image, random: Random, kind: str | None = None, *, label: int | None = None
) -> tuple[Image, DrawnDigit]:
    """The same, and what of the digit is on it."""
    chosen = plan_picture(random, kind)
    if "enlarged" in chosen.effects and random.random() < 0.5:
        writing, colours = (
            DrawnInk(to_unit_range(digit), 20, 2),
            chosen.effects & {"light_on_dark", "coloured", "faint"},
        )
        return _enlarged(render_scene(writing, replace(chosen, pen="round", effects=colours), random), writing, random)
    printed = random.random() < PRINTED
    strokes = trace(digit if label is None or not printed else typed_digit(label, random))
    if "crossed" in chosen.effects or random.random() < HABITS.get(label, 0):
        strokes = apply_habit(strokes, label, random)
    angle = random.choice([-1, 1]) * random.uniform(7, 15) if "turned" in chosen.effects else None
    slab = label == 1 and chosen.pen in _SOLID and random.random() < SLABS
    writing = write_on_sheet(deform(strokes, random, angle), chosen, random, slab=slab)
    picture = render_scene(writing, chosen, random)
    if "enlarged" in chosen.effects:
        return _enlarged(picture, writing, random)
    return picture, DrawnDigit.of(writing.ink, writing.box)


def write_on_sheet(strokes: Strokes, chosen: PicturePlan, random: Random, *, slab: bool = False) -> DrawnInk:
    """Strokes somewhere on a sheet; `slab`: as broad as nearly a block."""
    sheet = _layout(chosen, random)
    nib = choose_nib(chosen, sheet.letter, random)
    strokes = _fitted(strokes, nib.width / sheet.letter)
    if "broken" in chosen.effects:
        gap = nib.width / sheet.letter + random.uniform(0.01, 0.03) + 1 / sheet.letter
        strokes = break_strokes(strokes, int(random.integers(2, 4)), gap, random)
    elif "two_parts" in chosen.effects:
        gap = nib.width / sheet.letter + random.uniform(0.02, 0.06) + 1 / sheet.letter
        strokes = break_strokes(strokes, 1, gap, random)
    if slab:
        nib = replace(nib, width=max(nib.width, sheet.letter * random.uniform(0.2, 0.45)))
    patch = _legible(strokes, sheet.letter, nib)
    if "border" in chosen.effects:
        x, y, width, height = bounding_box(patch > 127)
        patch = patch[y : y + height, x : x + width]
    ink = np.zeros((sheet.height, sheet.width), np.float32)
    paste(ink, patch, *_place(sheet, patch.shape, chosen, random))
    return DrawnInk(ink, sheet.letter, nib.width)


def _legible(strokes: Strokes, letter: float, nib: Nib) -> Image:
    """Strokes `letter` pixels high in all; with a finer nib, if a broad one would fill their loops."""
    import cv2

    loops = len(strokes.links) - len(strokes.points) + 1
    for _ in range(5):
        patch = draw(strokes, letter - nib.width, nib)
        if nib.width < 0.09 * letter or cv2.connectedComponents((patch < 128).astype(np.uint8))[0] - 2 >= loops:
            break
        nib = replace(nib, width=0.8 * nib.width)
    return patch


def _fitted(strokes: Strokes, width: float) -> Strokes:
    """Wider, if the pen is broad: people leave room for their pen, so that loops stay open."""
    stretch = np.array([1 + max(0, width - 0.08) * 2.5, 1], np.float32)
    points = strokes.points * stretch
    return replace(strokes, points=points / max(1, float(np.ptp(points, axis=0).max())))


@dataclass(frozen=True)
class _Sheet:
    """Pixels of a picture, and of the digit's longer side."""

    height: int
    width: int
    letter: float


def _layout(chosen: PicturePlan, random: Random) -> _Sheet:
    if chosen.effects & {"small28", "enlarged"}:
        few = 28 if random.random() < 0.5 else int(random.integers(20, 41))
        return _Sheet(few, few, max(10, few * random.uniform(0.4, 0.95)))
    aspect = 1.0 if random.random() < 0.4 else float(np.exp(random.uniform(-0.4, 0.4)))
    if "tiny" in chosen.effects:
        letter = _log_uniform(16, 34, random)
        across = min(900.0, 0.65 * letter / random.uniform(0.03, 0.08))
        return _Sheet(int(min(900, across / aspect)), int(across), letter)
    side = _log_uniform(60, 800 if random.random() < 0.08 else 400, random)
    high, wide = side / max(1, aspect), side * min(1, aspect)
    least, most = (0.35, 0.92) if chosen.medium == "d" else (0.2, 0.85)
    if chosen.effects & {"frame", "finger", "table_edge"}:
        least, most = 0.25, 0.6
    share = random.uniform(least, most)
    return _Sheet(int(high), int(wide), max(18.0, share * min(high, wide)))


def _log_uniform(least: float, most: float, random: Random) -> float:
    return float(np.exp(random.uniform(np.log(least), np.log(most))))


def choose_nib(chosen: PicturePlan, letter: float, random: Random) -> Nib:
    """The nib of a plan's pen for digits so many pixels high."""
    pen = PENS[chosen.pen]
    width = letter * _log_uniform(*pen.widths, random)
    if chosen.effects & {"small28", "enlarged"}:
        width = float(np.clip(width, 1, min(6, (0.27 if chosen.pen == "thick" else 0.16) * letter)))
        return Nib(width, pen.press, smooth=random.random() < 0.35)
    if chosen.pen == "mouse":
        return Nib(1.0, 0, smooth=random.random() < 0.3)
    return Nib(max(1.2, width), pen.press * random.random(), smooth=chosen.medium != "d" or random.random() < 0.8)


def _place(sheet: _Sheet, shape: tuple[int, ...], chosen: PicturePlan, random: Random) -> tuple[int, int]:
    """Top and left of a patch of a shape: anywhere, most often near the middle; at the border if that is planned."""
    room = np.array([sheet.height - shape[0], sheet.width - shape[1]])
    free = 0.2 if chosen.effects & {"frame", "table_edge"} else 0
    at = np.clip(0.5 + random.normal(0, 0.22, 2), free, 1 - free) * room
    if "border" in chosen.effects:
        side, over = random.integers(0, 4), 0.04 * sheet.letter * random.random()
        at[side // 2] = -over if side % 2 else room[side // 2] + over
    top, left = np.rint(at).astype(int).tolist()
    return top, left


def _enlarged(picture: Image, writing: DrawnInk, random: Random) -> tuple[Image, DrawnDigit]:
    """A small picture and the writing on it seen through a magnifying glass: two to twelve times, jagged or smooth."""
    import cv2

    way = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC)[random.integers(3)]
    times = int(random.integers(2, 13))
    large = np.asarray(cv2.resize(picture, None, fx=times, fy=times, interpolation=way), np.uint8)
    x, y, width, height = writing.box
    return large, DrawnDigit.of(writing.ink, (times * x, times * y, times * width, times * height))


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
