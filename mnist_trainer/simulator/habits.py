"""How people write digits, beside the shapes that MNIST has: a 1 with a long flag, a 7 with a bar, a 5 in two parts.

A shape is drawn with lines through control points and deformed at random. Its habits are those of European schools and
of people who draw with a mouse.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from mnist_trainer.pictures.render import render, tight_box
from mnist_trainer.simulator.letters import FACES, typed
from mnist_trainer.simulator.scene import Image, Levels, Rng, to_unit_range
from mnist_trainer.simulator.strokes import Nib, Strokes, deform, draw, from_lines, sketch, smooth_line, trace

SHAPES: dict[int, tuple[str, ...]] = {
    2: (
        "8,28 32,2 68,5 80,30 54,66 24,92 10,86 22,74 46,82 70,97 94,86",  # with a loop
        "8,24 44,0 80,18 62,50 12,96! 92,92",
    ),
    3: ("10,8 84,4! 44,42! 72,50 84,72 60,97 10,88",),
    4: (
        "62,100 66,0! 6,66! 96,64",  # in one stroke, closed
        "40,0 6,60! 90,58/64,30 58,100",
        "56,0 30,30 4,62! 40,58 76,58/80,44 70,100",
        "44,0 14,40 6,62 20,70 90,56/66,34 56,100",
        "30,2 8,40 24,54 70,44/78,8 76,60 70,100",  # round, open
    ),
    5: (
        "24,8 18,44! 56,38 84,64 62,96 8,90/26,4 92,0",
        "22,10 18,48! 60,42 82,70 54,98 8,88/36,8 90,6",  # the bar does not meet it
    ),
    6: (
        "72,2 34,26 10,66 32,98 70,90 74,64 48,54 22,66",
        "62,0 30,40 16,78! 40,98 70,82 62,58 36,60",
        "66,2 34,24 12,62 30,98 68,94 76,68 58,54 36,66",  # its bowl is open
    ),
    7: (
        "6,8 92,4! 64,46 46,100/34,52 84,48",
        "4,22 10,6! 92,4! 62,50 48,100/32,52 84,50",  # with a serif
        "4,20 18,4 48,12 92,4! 60,48 44,100/32,54 82,50",  # its top is a wave
        "6,10 24,2 50,8 92,4! 58,50 42,92 62,98/28,52 86,48",  # with a hook at the foot
        "10,8 88,4! 20,100/20,56 80,48",
        "6,26 8,4! 94,6! 50,100",
        "4,18 22,2 50,12 94,4! 56,52 44,100",
    ),
    8: ("o50,25,30,24/o50,74,36,26",),
    9: (
        "74,12 40,0 10,24 36,48 74,14! 74,60 72,100",  # with a straight tail
        "76,20 58,2 20,4 10,28 36,46 72,30 77,16! 78,70 56,97 12,90",
        "76,16 52,0 18,10 16,38 42,48 68,34 77,12! 60,66 34,100",
        "70,8 34,2 12,24 32,46 66,38 79,18! 80,72 54,98 10,92",  # its bowl is open
        "62,10 38,0 20,16 36,36 62,20! 82,54 74,84 40,100 4,90",  # its tail goes far
        "68,12 42,0 22,16 34,38 60,34 70,12! 84,58 62,96 22,96 8,82",
    ),
}
"""Shapes by digit, in the notation of `sketch`."""

INK, POWER, NEAR = 100, 4, 1.1
"""An image has ink above the first level. It looks like a digit if the power mean of the distances between its ink and
that of a digit is less than `NEAR` pixels."""

HABITS: dict[int | None, float] = {0: 0.08, 1: 0.5, 2: 0.1, 3: 0.06, 4: 0.3, 5: 0.12, 6: 0.1, 7: 0.35, 8: 0.08, 9: 0.2}
"""Probability per label that a digit has one of these habits instead of its image's shape."""


References = tuple[Levels, Levels]
"""`_distances` and ink of digits, both [n, 784]; the sum of each row of ink is 1."""


def apply_habit(strokes: Strokes, label: int | None, rng: Rng) -> Strokes:
    """Return a digit with a habit of people, such as a crossed 7 or a slashed 0; without a label the strokes."""
    match label:
        case None:
            return strokes
        case 0:
            return _slashed(strokes, rng)
        case 1:
            lines = _one(rng)
        case 4 if rng.random() < 0.4:
            lines = _open_four(rng)
        case 7 if rng.random() < 0.3:
            return _crossed(strokes, rng)
        case _:
            lines = sketch(_choose(SHAPES[label], rng), 0.03, rng)
    made = from_lines(lines)
    return replace(made, radii=np.full_like(made.radii, np.median(strokes.radii)))


def looks_like_a_digit(image: Image, near: float = NEAR, references: References | None = None) -> bool:
    """Return whether an image uint8 [28, 28] has about the shape of a digit of `references` (default: `known_digits`).

    The distance to a reference is the larger of two power means, which must be less than `near` pixels: of the
    distances from the image's ink to that of the reference, and back.
    """
    ink = (image > INK).ravel().astype(np.float32)
    if not ink.any():
        return False
    distances, inks = references or known_digits()
    there, back = distances @ ink / ink.sum(), inks @ _distances(image).ravel()
    return bool(np.maximum(there, back).min() < near**POWER)


@cache
def known_digits() -> References:
    """Return printed digits, and some with each of the habits."""
    rng = np.random.default_rng(0)
    printed = [trace(typed(str(label), face)) for face in FACES[::3] for label in range(10)]
    written = [apply_habit(shape, label, rng) for label, shape in enumerate(printed[:10]) for _ in range(24)]
    return references([ideal_image(deform(shape, rng), rng.uniform(2, 6)) for shape in (*printed, *printed, *written)])


def references(images: Iterable[Image]) -> References:
    """Return what `looks_like_a_digit` compares an image with, of images uint8 [28, 28] of digits."""
    images = [image for image in images if (image > INK).any()]
    inks = np.stack([image.ravel() > INK for image in images]).astype(np.float32)
    return np.stack([_distances(image).ravel() for image in images]), inks / inks.sum(axis=1, keepdims=True)


def _distances(image: Image) -> Levels:
    """Return the distance in pixels of each pixel to the next ink, to the power `POWER`."""
    import cv2

    return np.asarray(cv2.distanceTransform((image <= INK).astype(np.uint8), cv2.DIST_L2, 5), np.float32) ** POWER


def ideal_image(strokes: Strokes, width: float = 4) -> Image:
    """Return the image [28, 28] of strokes, drawn 40 pixels high with a pen of that width."""
    ink = to_unit_range(draw(strokes, 40, Nib(width, 0)))
    return render(ink, tight_box(ink))


def _choose(shapes: Sequence[str], rng: Rng) -> str:
    return shapes[int(rng.integers(len(shapes)))]


def _one(rng: Rng) -> list[Levels]:
    """Return a 1 with a flag that rises to the top of the stem, often with a foot; sometimes with the foot alone."""
    foot = rng.random() < 0.4
    lean, joint = rng.normal(0, 0.08), rng.choice([0, rng.uniform(0, 0.25)])
    top, bottom = np.array([lean, 0.0]), np.array([-lean, 1.0])
    meeting, middle = top + joint * (bottom - top), (top + bottom) / 2 + [rng.normal(0, 0.03), 0]
    stem, lines = [top, middle, bottom], list[Levels]()
    if not foot or rng.random() < 0.85:
        steep = np.radians(rng.uniform(18, 80))
        longest = 0.3 + 0.75 * np.sin(steep) + 0.2 * foot  # a long flag that is level makes a 7
        end = meeting + rng.uniform(0.2, longest) * np.array([-np.cos(steep), np.sin(steep)])
        bend = rng.normal(0, 0.06) * (meeting - end)[::-1] * [1, -1]
        flag = [end, (end + meeting) / 2 + bend, meeting]
        stem, lines = (flag + stem[1:], lines) if not joint else (stem, [smooth_line(np.stack(flag))])
    lines.append(smooth_line(np.stack(stem), [2] if len(stem) > 3 else []))
    if foot:
        left, right = bottom[0] + rng.uniform([-0.4, 0.12], [-0.12, 0.4])
        lines.append(_line((left, 1 + rng.normal(0, 0.02)), (right, 1 + rng.normal(0, 0.02))))
    return lines


def _slashed(strokes: Strokes, rng: Rng) -> Strokes:
    (x, y), share = np.ptp(strokes.points, axis=0) / 2, rng.uniform(0.5, 1.1)
    return strokes.with_line(_line((-x * share, y * share), (x * share, -y * share)))


def _crossed(strokes: Strokes, rng: Rng) -> Strokes:
    height = rng.uniform(-0.08, 0.15)
    middle = float(strokes.points[np.abs(strokes.points[:, 1] - height).argmin(), 0])
    reach, rise = rng.uniform(0.13, 0.24), rng.normal(0, 0.03)
    return strokes.with_line(_line((middle - reach, height + rise), (middle + reach, height - rise)))


def _open_four(rng: Rng) -> list[Levels]:
    """Return a 4 of two strokes: one down and to the right, the other across it or from its end."""
    top, corner = (rng.uniform(-0.4, 0.15), -0.5), (rng.uniform(-0.45, -0.2), rng.uniform(0.1, 0.4))
    end = rng.uniform(0.15, 0.45), corner[1] + rng.normal(0, 0.06)
    at, lean = rng.uniform(0.05, 0.9 * end[0]), rng.normal(0, 0.06)
    above, below = rng.uniform(0, 0.6), rng.uniform(0.1, 0.5)
    across = _line((at + lean, end[1] - above), (at - lean, end[1] + below))
    return [_line(top, corner), _line(corner, end), across]


def _line(start: tuple[float, float], end: tuple[float, float]) -> Levels:
    return np.linspace(np.asarray(start), np.asarray(end), 12).astype(np.float32)
