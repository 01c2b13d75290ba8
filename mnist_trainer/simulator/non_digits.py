"""Pictures that hold no digit: what a reader has to refuse.

Images at 28×28 that hold no digit, since a row was cut in the wrong place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from mnist_trainer.pictures.page import bounding_box
from mnist_trainer.pictures.render import render
from mnist_trainer.simulator.compose import PicturePlan, render_scene
from mnist_trainer.simulator.letters import letter, printed, symbol
from mnist_trainer.simulator.photographs import (
    PlacedPatch,
    choose_nib,
    merge_patches,
    place_row,
    plan_picture,
    write_on_sheet,
)
from mnist_trainer.simulator.scene import (
    LARGEST,
    DrawnInk,
    Image,
    Random,
    clouds,
    grain,
    random_colour,
    slope,
    to_unit_range,
    waves,
)
from mnist_trainer.simulator.strokes import Strokes, deform, draw, normalize_strokes, polyline, trace

_SPOILING = frozenset({"broken", "two_parts", "faint", "tiny", "border", "small28", "enlarged"})
_BROAD = frozenset({"thick", "brush"})


def non_digit(random: Random, digits: Image, kind: str | None = None) -> Image:
    """A picture uint8 [H, W, 3] that holds no digit; some are made of `digits` uint8 [N, 28, 28], bright on black."""
    return _KINDS[kind or str(random.choice(NON_DIGITS))](random, digits)


def choose_digit(digits: Image, random: Random) -> Image:
    """One of some digits [N, 28, 28]."""
    digit: Image = digits[random.integers(len(digits))]
    return digit


def _plan(random: Random, without: frozenset[str] = frozenset()) -> PicturePlan:
    chosen = plan_picture(random)
    while chosen.effects & (_SPOILING | without):
        chosen = plan_picture(random)
    return chosen


def _size(least: int, most: int, random: Random) -> tuple[int, int]:
    height, width = random.integers(least, most, 2).tolist()
    return height, width


def _drawn(strokes: Strokes, random: Random) -> Image:
    chosen = _plan(random)
    return render_scene(write_on_sheet(strokes, chosen, random), chosen, random)


def _blank(random: Random, digits: Image) -> Image:
    chosen = _plan(random)
    shape, effects = _size(60, 400, random), chosen.effects - {"frame", "specks"}
    nothing = DrawnInk(np.zeros(shape, np.float32), min(shape) * random.uniform(0.15, 0.6), 3)
    return render_scene(nothing, replace(chosen, effects=effects), random)


def _letter(random: Random, digits: Image) -> Image:
    return _drawn(deform(trace(letter(random)), random), random)


def _symbol(random: Random, digits: Image) -> Image:
    """Written with a pen, or filled as icons and stamps are."""
    drawn = symbol(random)
    return _drawn(deform(trace(drawn), random), random) if random.random() < 0.6 else _filled(drawn, random)


def _filled(shape: Image, random: Random) -> Image:
    """A shape, bright on black, in ink."""
    import cv2

    chosen, size = _plan(random), int(random.uniform(30, 200))
    ink = np.pad(shape, int(random.uniform(0, 60)))
    ink = np.asarray(cv2.resize(ink, (size, int(size * random.uniform(0.8, 1.25))), interpolation=cv2.INTER_AREA))
    return render_scene(DrawnInk(to_unit_range(ink), 0.7 * size, 0.07 * size), replace(chosen, pen="round"), random)


def _word(random: Random, digits: Image) -> Image:
    chosen = _plan(random)
    size = float(random.uniform(30, 70))
    nib = choose_nib(chosen, size, random)
    patches = [draw(deform(trace(letter(random)), random), size, nib) for _ in range(random.integers(2, 8))]
    ink, _ = merge_patches(
        place_row(patches, (0, 0), random.normal(0, 0.03), size, random), random.uniform(0.3, 1.2, 4) * size
    )
    return render_scene(DrawnInk(ink, size, nib.width), chosen, random)


def scribble(random: Random) -> Strokes:
    """A smooth tangle, or a zigzag."""
    if random.random() < 0.35:
        turns = int(random.integers(6, 14))
        corners = np.stack([np.linspace(-0.5, 0.5, turns), 0.5 - (np.arange(turns) % 2)], axis=1)
        corners += random.normal(0, 0.05, corners.shape)
    else:
        corners = random.uniform(-0.5, 0.5, (int(random.integers(9, 18)), 2))
    at = np.linspace(0, len(corners) - 1, 16 * len(corners))
    points = np.stack([np.interp(at, np.arange(len(corners)), corners[:, axis]) for axis in (0, 1)], axis=1)
    window = np.hanning(int(random.integers(5, 22)) + 2)[1:-1]
    smooth = [np.convolve(np.pad(line, len(window), "edge"), window / window.sum(), "same") for line in points.T]
    return polyline(np.stack(smooth, axis=1).astype(np.float32)[len(window) : -len(window)])


def _scribble(random: Random, digits: Image) -> Image:
    return _drawn(scribble(random), random)


def _object(random: Random, digits: Image) -> Image:
    """Coloured shapes, smooth or with edges, before a coloured ground; or the outline of some."""
    import cv2

    shape = _size(60, 360, random)
    if random.random() < 0.35:
        return _filled(outline(random), random)
    picture = np.empty((*shape, 3), np.float32)
    picture[:] = random_colour(random.uniform(40, 220), 40, random).ravel()
    picture += (slope(shape, random.uniform(0, 6.3)) * random.uniform(0, 150) / max(shape))[..., None]
    for _ in range(random.integers(2, 9)):
        colour = random_colour(random.uniform(10, 245), 50, random).ravel().tolist()
        middle, size = random.uniform(0, 1, 2) * shape[::-1], random.uniform(0.08, 0.5) * max(shape)
        if random.random() < 0.5:
            corners = middle + random.normal(0, size / 2, (int(random.integers(3, 7)), 2))
            cv2.fillPoly(picture, [corners.astype(np.int32)], colour, cv2.LINE_AA)
        else:
            axes = np.maximum(1, random.uniform(0.2, 1, 2) * size / 2).astype(int).tolist()
            cv2.ellipse(picture, middle.astype(int).tolist(), axes, random.uniform(0, 180), 0, 360, colour, -1)
    if random.random() < 0.5:
        cv2.GaussianBlur(picture, (0, 0), random.uniform(1, 0.06 * max(shape)), dst=picture)
    for table in (clouds, waves):
        picture += (table(shape, random) * random.uniform(0, 30))[..., None]
    return np.clip(picture, 0, 255).astype(np.uint8)


def outline(random: Random) -> Image:
    """What is drawn of a car, a cloud, a house or a box [112, 112]: the outline of shapes that overlap."""
    import cv2

    inside = np.zeros((112, 112), np.uint8)
    for number in range(random.integers(1, 5)):
        middle, size = random.uniform(36, 76, 2), random.uniform(14, 34, 2)
        if number and random.random() < 0.5:
            cv2.ellipse(inside, middle.astype(int).tolist(), size.astype(int).tolist(), 0, 0, 360, 1, -1)
        else:
            corners = middle + size * random.uniform(0.6, 1.1, (4, 2)) * [[-1, -1], [1, -1], [1, 1], [-1, 1]]
            cv2.fillPoly(inside, [corners.astype(np.int32)[int(random.integers(2)) :]], 1)
    drawn = np.zeros_like(inside)
    edges, _ = cv2.findContours(inside, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(drawn, edges, -1, 255, int(random.integers(2, 12)), cv2.LINE_AA)
    return drawn


def _print(random: Random, digits: Image) -> Image:
    """A piece of a printed page."""
    import cv2

    height, width = _size(120, 450, random)
    top, left = random.integers(0, LARGEST - height), random.integers(0, LARGEST - width)
    zoom, margin = random.uniform(0.6, 1.3), int(random.uniform(0, 0.2) * min(height, width))
    part = cv2.resize(printed(LARGEST)[top : top + height, left : left + width], None, fx=zoom, fy=zoom)
    ink = np.pad(to_unit_range(np.asarray(part, np.uint8)), margin)
    return render_scene(DrawnInk(ink, 16 * zoom, 2 * zoom), replace(_plan(random), pen="round"), random)


def _noise(random: Random, digits: Image) -> Image:
    shape = _size(28, 300, random)
    table = (grain, clouds)[random.integers(2)]
    planes = [random.uniform(60, 200) + random.uniform(15, 80) * table(shape, random) for _ in range(3)]
    if random.random() < 0.5:
        planes = planes[:1] * 3
    return np.clip(np.stack(planes, axis=-1), 0, 255).astype(np.uint8)


def _joined(random: Random, digits: Image) -> Image:
    """Two or three digits one upon the other."""
    chosen = _plan(random, _BROAD)
    height = float(random.uniform(40, 150))
    nib, placed = choose_nib(chosen, height, random), list[PlacedPatch]()
    for number in range(random.integers(2, 4)):
        strokes = _first(lambda: trace(choose_digit(digits, random)), _is_bent)
        down, right = (0.0, 0.0) if not number else random.choice([-1, 1], 2) * random.uniform((0.3, 0), (0.45, 0.3))
        placed.append((draw(deform(strokes, random), height, nib), down * height, right * height))
    ink, _ = merge_patches(placed, random.uniform(0.2, 1, 4) * height)
    return render_scene(DrawnInk(ink, height, nib.width), chosen, random)


def _cut(random: Random, digits: Image) -> Image:
    """Less than half of a digit, to the left of a line: right halves of 3, 7 and 9 may be digits."""
    angle = random.normal(0, 0.3)
    direction = np.array([np.cos(angle), np.sin(angle)], np.float32)

    def part() -> Strokes:
        """What of a digit lies on one side of a line."""
        strokes = trace(choose_digit(digits, random))
        across = strokes.points @ direction
        return normalize_strokes(strokes.without(across > np.quantile(across, random.uniform(0.25, 0.5))))

    return _drawn(_first(part, _is_bent), random)


def _turned(random: Random, digits: Image) -> Image:
    """A digit turned by a right angle, of three ends and without loops."""
    strokes = _first(lambda: trace(choose_digit(digits, random)), lambda found: _is_bent(found) and _is_branched(found))
    return _drawn(deform(strokes, random, float(random.choice([90, -90]) + random.normal(0, 5))), random)


def _first(make: Callable[[], Strokes], suits: Callable[[Strokes], bool]) -> Strokes:
    """The first of some strokes that suits, or the last of them all."""
    for _ in range(10):
        made = make()
        if suits(made):
            break
    return made


def _is_bent(strokes: Strokes) -> bool:
    """Whether it would not be taken for a 1."""
    spread = np.linalg.svd(strokes.points - strokes.points.mean(axis=0), compute_uv=False)
    return bool(spread[1] > 0.3 * spread[0])


def _is_branched(strokes: Strokes) -> bool:
    """Whether it has three ends and no loop, as most 3 and 4: others, turned by a right angle, may be digits again."""
    ends = np.bincount(strokes.links.ravel(), minlength=len(strokes.points)) == 1
    return len(strokes.links) < len(strokes.points) and int(ends.sum()) > 2


_KINDS: dict[str, Callable[[Random, Image], Image]] = {
    "blank": _blank,
    "letter": _letter,
    "symbol": _symbol,
    "word": _word,
    "scribble": _scribble,
    "object": _object,
    "print": _print,
    "noise": _noise,
    "joined": _joined,
    "cut": _cut,
    "turned": _turned,
}

NON_DIGITS: tuple[str, ...] = tuple(_KINDS)


def glyph_non_digit(random: Random, digits: Image) -> Image:
    """What a wrong cut through a row leaves, uint8 [28, 28] as MNIST's: digits side by side, and parts of them."""
    first, second = (_trimmed(choose_digit(digits, random)) for _ in range(2))
    way = int(random.integers(8))
    together = _side_by_side(first, second, random)
    if way == 0 and first.shape[1] > 12:
        together = _left_of(first, random)
    elif 0 < way < 4:
        part = _left_of(second, random)
        if np.sum(part > 127) > 0.25 * np.sum(first > 127):
            together = _side_by_side(first, part, random) if way < 3 else _side_by_side(part, first, random)
    levels = to_unit_range(together)
    return render(levels, bounding_box(levels > 0))


def _trimmed(digit: Image) -> Image:
    """A digit without the empty columns at its sides."""
    columns = np.flatnonzero(digit.any(axis=0))
    return digit[:, columns[0] : columns[-1] + 1] if len(columns) else digit


def _left_of(digit: Image, random: Random) -> Image:
    return digit[:, : max(4, round(digit.shape[1] * random.uniform(0.3, 0.5)))]


def _side_by_side(left: Image, right: Image, random: Random) -> Image:
    overlap = min(3, left.shape[1] // 3, right.shape[1] // 3)
    gap, fall = int(random.integers(-overlap, 2)), int(random.integers(-3, 4))
    together = np.zeros((40, max(left.shape[1], left.shape[1] + gap + right.shape[1])), np.uint8)
    together[6:34, : left.shape[1]] = left
    start = max(0, left.shape[1] + gap)
    place = together[6 + fall : 34 + fall, start : start + right.shape[1]]
    np.maximum(place, right[:, : place.shape[1]], out=place)
    return together
