"""What people do to digits: bars, slashes, serifs and feet, and strokes that do not join."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mnist_trainer.pictures.simulator.scene import Levels, Random
from mnist_trainer.pictures.simulator.strokes import NOTHING, Strokes, normalize_strokes


def apply_habit(strokes: Strokes, label: int | None, random: Random) -> Strokes:
    """A bar through a 7, a slash through a 0, a serif or a foot for a 1, an open 4; other digits as they are."""
    match label:
        case 4:
            return _open_four(strokes, random) if random.random() < 0.6 else strokes
        case 7:
            height = random.uniform(-0.08, 0.15)
            middle = _at_height(strokes, height)
            reach = random.uniform(0.13, 0.24)
            rise = random.normal(0, 0.03)
            return strokes.with_line(_line((middle - reach, height + rise), (middle + reach, height - rise)))
        case 0:
            (x, y), part = np.ptp(strokes.points, axis=0) / 2, random.uniform(0.5, 1.1)
            return strokes.with_line(_line((-x * part, y * part), (x * part, -y * part)))
        case 1:
            return _with_serifs(strokes, random)
        case _:
            return strokes


def _open_four(strokes: Strokes, random: Random) -> Strokes:
    """A 4 of two strokes: down and to the right, and a short or long one across."""
    top, corner = (random.uniform(-0.4, 0.15), -0.5), (random.uniform(-0.45, -0.2), random.uniform(0.1, 0.4))
    end = random.uniform(0.15, 0.45), corner[1] + random.normal(0, 0.06)
    at, lean = random.uniform(0.05, 0.8 * end[0]), random.normal(0, 0.06)
    above, below = random.uniform(0.06, 0.6), random.uniform(0.06, 0.5)
    four = NOTHING
    for line in ((top, corner), (corner, end), ((at + lean, end[1] - above), (at - lean, end[1] + below))):
        four = four.with_line(_line(*line))
    return normalize_strokes(replace(four, radii=np.full_like(four.radii, np.median(strokes.radii))))


def _with_serifs(strokes: Strokes, random: Random) -> Strokes:
    top, foot = (strokes.points[at(strokes.points[:, 1])] for at in (np.argmin, np.argmax))
    which = random.integers(1, 4)
    if which & 1:
        reach = random.uniform(0.12, 0.3)
        strokes = strokes.with_line(_line(top, (top[0] - reach, top[1] + reach * random.uniform(0.5, 1.1))))
    if which & 2:
        left, right = random.uniform(0.1, 0.25, 2)
        strokes = strokes.with_line(_line((foot[0] - left, foot[1]), (foot[0] + right, foot[1])))
    return strokes


def _at_height(strokes: Strokes, height: float) -> float:
    """x of the strokes where they are nearest to a height."""
    return float(strokes.points[np.abs(strokes.points[:, 1] - height).argmin(), 0])


def _line(start: Levels | tuple[float, float], end: Levels | tuple[float, float]) -> Levels:
    return np.linspace(np.asarray(start), np.asarray(end), 12).astype(np.float32)


def break_strokes(strokes: Strokes, gaps: int, length: float, random: Random) -> Strokes:
    """With so many gaps of a length, first of all where strokes meet or turn; never near their ends."""
    meetings = np.bincount(strokes.links.ravel(), minlength=len(strokes.points))
    ends = strokes.points[meetings == 1]
    away = np.linalg.norm(strokes.points[:, None] - ends[None], axis=2).min(axis=1, initial=1.0)
    order = np.argsort(random.random(len(meetings)) - 0.7 * (meetings > 2) - 2.0 * (away > length + 0.15))
    for at in order[:gaps]:
        strokes = strokes.without(np.linalg.norm(strokes.points - strokes.points[at], axis=1) < length / 2)
    return strokes
