"""Draw pictures without digits, which a model should reject, and images of wrongly cut rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from mnist_trainer.pictures.page import bounding_box
from mnist_trainer.pictures.render import render, tight_box
from mnist_trainer.simulator import photographs, scene
from mnist_trainer.simulator.effects import PicturePlan, render_scene
from mnist_trainer.simulator.habits import ideal_image, looks_like_a_digit
from mnist_trainer.simulator.letters import DRAWINGS, MARKS, letter, printed, symbol
from mnist_trainer.simulator.scene import LARGEST, DrawnInk, Image, Levels, Rng, paste, random_colour, to_unit_range
from mnist_trainer.simulator.strokes import (
    Nib,
    Strokes,
    deform,
    draw,
    from_lines,
    normalize_strokes,
    polyline,
    sketch,
    smooth_line,
    trace,
)

T = TypeVar("T")

SPOILING = frozenset({"broken", "two_parts", "faint", "tiny", "border", "small28", "enlarged"})
"""Effects that make other objects indistinguishable from digits."""


def non_digit(rng: Rng, digits: Image, kind: str | None = None) -> Image:
    """Return a picture uint8 [H, W, 3] without a digit. Some kinds are made of `digits` uint8 [N, 28, 28]."""
    return KINDS[kind or str(rng.choice(NON_DIGITS))](rng, digits)


def _plan(rng: Rng, without: frozenset[str] = SPOILING) -> PicturePlan:
    plan = photographs.plan_picture(rng)
    while plan.effects & without:
        plan = photographs.plan_picture(rng)
    return plan


def _size(low: int, high: int, rng: Rng) -> tuple[int, int]:
    height, width = rng.integers(low, high, 2).tolist()
    return height, width


def _write(strokes: Strokes, rng: Rng) -> Image:
    plan = _plan(rng)
    return render_scene(photographs.write_on_sheet(strokes, plan, rng), plan, rng)


def _blank(rng: Rng, digits: Image) -> Image:
    plan = _plan(rng)
    shape = _size(60, 400, rng)
    nothing = DrawnInk(np.zeros(shape, np.float32), min(shape) * rng.uniform(0.15, 0.6), 3)
    return render_scene(nothing, replace(plan, effects=plan.effects - {"frame", "specks"}), rng)


def _letter(rng: Rng, digits: Image) -> Image:
    return _write(_unlike_digits(lambda: deform(trace(letter(rng)), rng)), rng)


def _drawing(rng: Rng, digits: Image) -> Image:
    """Return a thing that people draw, or a character of a script without letters."""
    return _write(_unlike_digits(lambda: deform(_sketched(DRAWINGS, rng), rng, rng.normal(0, 8))), rng)


def _mark(rng: Rng, digits: Image) -> Image:
    """Return an arrow, a tick, a line or a shape in any direction."""
    return _write(_unlike_digits(lambda: _mark_strokes(rng)), rng)


def _mark_strokes(rng: Rng) -> Strokes:
    if rng.random() < 0.2:
        strokes = from_lines([smooth_line(rng.uniform(-0.5, 0.5, (int(rng.integers(3, 6)), 2)).astype(np.float32))])
    else:
        strokes = _sketched(MARKS, rng)
    return deform(strokes, rng, rng.normal(0, 8) if rng.random() < 0.5 else rng.uniform(0, 360))


def _sketched(texts: Sequence[str], rng: Rng) -> Strokes:
    text = texts[int(rng.integers(len(texts)))]
    return from_lines(sketch(text, rng.uniform(0.005, 0.05), rng))


def _symbol(rng: Rng, digits: Image) -> Image:
    """Return a symbol, drawn with a pen or filled like an icon or a stamp."""
    drawn = symbol(rng)
    return _write(deform(trace(drawn), rng), rng) if rng.random() < 0.6 else _filled(drawn, rng)


def _filled(shape: Image, rng: Rng) -> Image:
    """Return a picture of a shape (bright on black) in ink."""
    import cv2

    plan, size = _plan(rng), int(rng.uniform(30, 200))
    ink = np.pad(shape, int(rng.uniform(0, 60)))
    ink = np.asarray(cv2.resize(ink, (size, int(size * rng.uniform(0.8, 1.25))), interpolation=cv2.INTER_AREA))
    return render_scene(DrawnInk(to_unit_range(ink), 0.7 * size, 0.07 * size), replace(plan, pen="round"), rng)


def _word(rng: Rng, digits: Image) -> Image:
    """Return a picture of two to seven letters or drawings in a row."""
    plan = _plan(rng)
    size = float(rng.uniform(30, 70))
    nib = photographs.choose_nib(plan, size, rng)
    patches = [draw(_character(rng), size, nib) for _ in range(rng.integers(2, 8))]
    placed = photographs.place_row(patches, (0, 0), rng.normal(0, 0.03), size, rng)
    ink, _ = photographs.merge_patches(placed, rng.uniform(0.3, 1.2, 4) * size)
    return render_scene(DrawnInk(ink, size, nib.width), plan, rng)


def _character(rng: Rng) -> Strokes:
    strokes = trace(letter(rng)) if rng.random() < 0.7 else _sketched((*DRAWINGS, *MARKS), rng)
    return deform(strokes, rng)


def _scribble(rng: Rng, digits: Image) -> Image:
    """Return a smooth scribble or a zigzag."""
    return _write(_unlike_digits(lambda: _scribbled(rng)), rng)


def _scribbled(rng: Rng) -> Strokes:
    if rng.random() < 0.35:
        turns = int(rng.integers(6, 14))
        corners = np.stack([np.linspace(-0.5, 0.5, turns), 0.5 - (np.arange(turns) % 2)], axis=1)
        corners += rng.normal(0, 0.05, corners.shape)
    else:
        corners = rng.uniform(-0.5, 0.5, (int(rng.integers(9, 18)), 2))
    at = np.linspace(0, len(corners) - 1, 16 * len(corners))
    points = np.stack([np.interp(at, np.arange(len(corners)), corners[:, axis]) for axis in (0, 1)], axis=1)
    window = np.hanning(int(rng.integers(5, 22)) + 2)[1:-1]
    smooth = [np.convolve(np.pad(line, len(window), "edge"), window / window.sum(), "same") for line in points.T]
    return polyline(np.stack(smooth, axis=1).astype(np.float32)[len(window) : -len(window)])


def _object(rng: Rng, digits: Image) -> Image:
    """Return coloured shapes on a coloured background, or an outline of shapes."""
    import cv2

    shape = _size(60, 360, rng)
    if rng.random() < 0.35:
        return _filled(_first(lambda: outline(rng), lambda drawn: not _is_digit(to_unit_range(drawn))), rng)
    picture = np.empty((*shape, 3), np.float32)
    picture[:] = random_colour(rng.uniform(40, 220), 40, rng).ravel()
    picture += (scene.slope(shape, rng.uniform(0, 6.3)) * rng.uniform(0, 150) / max(shape))[..., None]
    for _ in range(rng.integers(2, 9)):
        colour = random_colour(rng.uniform(10, 245), 50, rng).ravel().tolist()
        middle, size = rng.uniform(0, 1, 2) * shape[::-1], rng.uniform(0.08, 0.5) * max(shape)
        if rng.random() < 0.5:
            corners = middle + rng.normal(0, size / 2, (int(rng.integers(3, 7)), 2))
            cv2.fillPoly(picture, [corners.astype(np.int32)], colour, cv2.LINE_AA)
        else:
            axes = np.maximum(1, rng.uniform(0.2, 1, 2) * size / 2).astype(int).tolist()
            cv2.ellipse(picture, middle.astype(int).tolist(), axes, rng.uniform(0, 180), 0, 360, colour, -1)
    if rng.random() < 0.5:
        cv2.GaussianBlur(picture, (0, 0), rng.uniform(1, 0.06 * max(shape)), dst=picture)
    for table in (scene.clouds, scene.waves):
        picture += (table(shape, rng) * rng.uniform(0, 30))[..., None]
    return np.clip(picture, 0, 255).astype(np.uint8)


def outline(rng: Rng) -> Image:
    """Return the outline of overlapping shapes [112, 112], as in drawings of a car, a cloud or a house."""
    import cv2

    inside = np.zeros((112, 112), np.uint8)
    for number in range(rng.integers(2, 5)):
        middle, size = rng.uniform(36, 76, 2), rng.uniform(14, 34, 2)
        if number and rng.random() < 0.5:
            cv2.ellipse(inside, middle.astype(int).tolist(), size.astype(int).tolist(), 0, 0, 360, 1, -1)
        else:
            corners = middle + size * rng.uniform(0.6, 1.1, (4, 2)) * [[-1, -1], [1, -1], [1, 1], [-1, 1]]
            cv2.fillPoly(inside, [corners.astype(np.int32)[int(rng.integers(2)) :]], 1)
    drawn = np.zeros_like(inside)
    edges, _ = cv2.findContours(inside, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(drawn, edges, -1, 255, int(rng.integers(2, 12)), cv2.LINE_AA)
    return drawn


def _print(rng: Rng, digits: Image) -> Image:
    """Return a section of a printed page."""
    import cv2

    height, width = _size(120, 450, rng)
    top, left = rng.integers(0, LARGEST - height), rng.integers(0, LARGEST - width)
    zoom, margin = rng.uniform(0.6, 1.3), int(rng.uniform(0, 0.2) * min(height, width))
    piece = cv2.resize(printed(LARGEST)[top : top + height, left : left + width], None, fx=zoom, fy=zoom)
    ink = np.pad(to_unit_range(np.asarray(piece, np.uint8)), margin)
    return render_scene(DrawnInk(ink, 16 * zoom, 2 * zoom), replace(_plan(rng), pen="round"), rng)


def _noise(rng: Rng, digits: Image) -> Image:
    """Return a picture of coarse noise without any writing."""
    shape = _size(28, 300, rng)
    table = (scene.grain, scene.clouds)[rng.integers(2)]
    planes = [rng.uniform(60, 200) + rng.uniform(15, 80) * table(shape, rng) for _ in range(3)]
    if rng.random() < 0.5:
        planes = planes[:1] * 3
    return np.clip(np.stack(planes, axis=-1), 0, 255).astype(np.uint8)


def _joined(rng: Rng, digits: Image) -> Image:
    """Return two or three overlapping digits."""
    plan = _plan(rng, SPOILING | {"thick", "brush"})
    height = float(rng.uniform(40, 150))
    nib = photographs.choose_nib(plan, height, rng)
    ink = _first(lambda: _overlapping(digits, height, nib, rng), lambda ink: not _is_digit(ink))
    return render_scene(DrawnInk(ink, height, nib.width), plan, rng)


def _overlapping(digits: Image, height: float, nib: Nib, rng: Rng) -> Levels:
    placed: list[photographs.PlacedPatch] = []
    for number in range(rng.integers(2, 4)):
        strokes = _first(lambda: trace(rng.choice(digits)), _is_bent)
        down, right = (0.0, 0.0) if not number else rng.choice([-1, 1], 2) * rng.uniform((0.3, 0), (0.45, 0.3))
        placed.append((draw(deform(strokes, rng), height, nib), down * height, right * height))
    return photographs.merge_patches(placed, rng.uniform(0.2, 1, 4) * height)[0]


def _cut(rng: Rng, digits: Image) -> Image:
    """Return at most the left half of a digit. Right halves of 3, 7 and 9 may look like digits."""
    angle = rng.normal(0, 0.3)
    direction = np.array([np.cos(angle), np.sin(angle)], np.float32)

    def part() -> Strokes:
        """Return the left part of a random digit."""
        strokes = trace(rng.choice(digits))
        across = strokes.points @ direction
        return normalize_strokes(strokes.without(across > np.quantile(across, rng.uniform(0.25, 0.5))))

    return _write(_first(part, lambda found: _is_bent(found) and not _resembles_digit(found)), rng)


def _turned(rng: Rng, digits: Image) -> Image:
    """Return a digit with three ends and without loops, rotated by a right angle."""

    def turned() -> Strokes:
        """Return a random digit, rotated."""
        strokes = _first(lambda: trace(rng.choice(digits)), lambda found: _is_bent(found) and _is_branched(found))
        return deform(strokes, rng, float(rng.choice([90, -90]) + rng.normal(0, 5)))

    return _write(_unlike_digits(turned), rng)


def _unlike_digits(make: Callable[[], Strokes]) -> Strokes:
    return _first(make, lambda strokes: not _resembles_digit(strokes))


def _resembles_digit(strokes: Strokes) -> bool:
    return looks_like_a_digit(ideal_image(strokes))


def _is_digit(ink: Levels) -> bool:
    return looks_like_a_digit(render(ink, tight_box(ink)))


def _first(make: Callable[[], T], fits: Callable[[T], bool]) -> T:
    """Return the first of ten results that fits, else the last one."""
    for _ in range(10):
        made = make()
        if fits(made):
            break
    return made


def _is_bent(strokes: Strokes) -> bool:
    """Return whether strokes are too wide to look like a 1."""
    spread = np.linalg.svd(strokes.points - strokes.points.mean(axis=0), compute_uv=False)
    return bool(spread[1] > 0.3 * spread[0])


def _is_branched(strokes: Strokes) -> bool:
    """Return whether there are at least three ends and no loop. Other digits may look like digits when rotated."""
    ends = np.bincount(strokes.links.ravel(), minlength=len(strokes.points)) == 1
    return len(strokes.links) < len(strokes.points) and int(ends.sum()) > 2


_MAKERS = (_blank, _letter, _symbol, _word, _scribble, _object, _print, _noise, _joined, _cut, _turned, _drawing, _mark)
KINDS: dict[str, Callable[[Rng, Image], Image]] = {make.__name__[1:]: make for make in _MAKERS}
NON_DIGITS: tuple[str, ...] = tuple(KINDS)


def glyph_non_digit(rng: Rng, digits: Image) -> Image:
    """Return a wrong cut of a row, uint8 [28, 28] as in MNIST: digits and parts of digits side by side."""
    first, second = (_trim(rng.choice(digits)) for _ in range(2))
    way = int(rng.integers(8))
    ink = _side_by_side(first, second, rng)
    if way == 0 and first.shape[1] > 12:
        ink = to_unit_range(_left_part(first, rng))
    elif 0 < way < 4:
        part = _left_part(second, rng)
        if np.sum(part > 127) > 0.25 * np.sum(first > 127):
            ink = _side_by_side(first, part, rng) if way < 3 else _side_by_side(part, first, rng)
    return render(ink, bounding_box(ink > 0))


def _trim(digit: Image) -> Image:
    """Return a digit without the empty columns at its sides."""
    columns = np.flatnonzero(digit.any(axis=0))
    return digit[:, columns[0] : columns[-1] + 1] if len(columns) else digit


def _left_part(digit: Image, rng: Rng) -> Image:
    return digit[:, : max(4, round(digit.shape[1] * rng.uniform(0.3, 0.5)))]


def _side_by_side(left: Image, right: Image, rng: Rng) -> Levels:
    """Return the ink of two images next to each other, touching or overlapping a little."""
    overlap = min(3, left.shape[1] // 3, right.shape[1] // 3)
    gap, fall = int(rng.integers(-overlap, 2)), int(rng.integers(-3, 4))
    ink = np.zeros((40, 60), np.float32)
    paste(ink, left, 6, 0)
    paste(ink, right, 6 + fall, left.shape[1] + gap)
    return ink
