"""Warnings about signs among digits: dots, commas and bars that were left out, and a slash that was read as 1.

All lengths are fractions of the height of a digit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.pictures.page import Box, overlap, touches_border

if TYPE_CHECKING:
    from mnist_trainer.inference.reading import DigitPrediction

MIN_SIGN, MAX_SIGN = 0.09, 1.6
"""Limits of the longer side of a sign."""

MAX_GAP, MIN_GAP = 0.6, 0.01
"""Limits of the distance of a sign from the nearest digit."""

MAX_DOT, MIN_DOT, MAX_DOT_RATIO = 0.4, 0.06, 2.2
"""Limits of the longer side and the shorter side of a dot or comma, and of their ratio."""

BAR_LENGTH, MIN_BAR_RATIO = (0.25, 0.9), 1.8
"""The range of a bar's length, and its least ratio of length to thickness."""

MAX_SIGNS = 6
"""More signs than this in a line are specks."""

SLASH_DEGREES, SLASH_HEIGHT, SLASH_BELOW, SLASH_RATIO = (16.0, 40.0), 1.05, 0.03, 0.11
"""A slash leans to the right (degrees), is longer than the digits by this factor, ends below them, and is thin."""


def sign_warnings(
    lines: Sequence[Sequence[DigitPrediction]], ink: Sequence[Box], size: tuple[int, int]
) -> tuple[str, ...]:
    """Return warnings; `ink` are the boxes of all connected components, `size` is that of the picture."""
    digits = [digit for line in lines for digit in line]
    bodies = {digit.box: _body(digit.box, ink) for digit in digits}
    found = [text for line in lines for text in (*_missed_signs(line, bodies, ink, size), *_slashes(line))]
    return tuple(dict.fromkeys(found))


def _body(box: Box, ink: Sequence[Box]) -> Box:
    """Return the largest component of a digit; the others may be a sign next to it."""
    return max((each for each in ink if _within(each, box)), key=lambda each: max(each[2:]), default=box)


def _within(box: Box, whole: Box) -> bool:
    """Return whether the centre of `box` is in `whole`."""
    x, y = box[0] + box[2] / 2, box[1] + box[3] / 2
    return whole[0] <= x <= whole[0] + whole[2] and whole[1] <= y <= whole[1] + whole[3]


def _missed_signs(
    line: Sequence[DigitPrediction], bodies: dict[Box, Box], ink: Sequence[Box], size: tuple[int, int]
) -> Iterator[str]:
    """Yield a warning about each small component next to the digits of a line that was not read."""
    own = [bodies[digit.box] for digit in line]
    height = float(np.median([box[3] for box in own]))
    adjacent = [box for box in ink if _is_adjacent(box, own, list(bodies.values()), height, size)]
    for box in adjacent if len(adjacent) <= MAX_SIGNS else []:
        nearest = max(own, key=lambda body: overlap(box, body, 0))
        level = (box[1] + box[3] / 2 - nearest[1]) / nearest[3]
        stacked = any(other is not box and overlap(box, other, 0) > 0 for other in adjacent)
        joined = any(_within(box, digit) for digit in bodies)
        if (kind := _kind(box[2] / height, box[3] / height, level, stacked, joined)) is not None:
            yield f"a sign may have been left out: {kind} {_position(box, line)}"


def _is_adjacent(box: Box, own: Sequence[Box], all_bodies: Sequence[Box], height: float, size: tuple[int, int]) -> bool:
    """Return whether a box has a sign's size and is next to the digits of a line, not above, below or in one."""
    if box in all_bodies or not MIN_SIGN * height <= max(box[2:]) <= MAX_SIGN * height or touches_border(box, size):
        return False
    if min(-overlap(box, body, 0) for body in own) > MAX_GAP * height:
        return False
    shared = [(overlap(box, body, 0), overlap(box, body, 1)) for body in all_bodies]
    covered = any(across > 0.2 * box[2] and down > -0.15 * height for across, down in shared)
    return not covered and min(max(-across, -down) for across, down in shared) >= MIN_GAP * height


def _kind(width: float, height: float, level: float, stacked: bool, joined: bool) -> str | None:
    """Return the kind of sign. Its centre is at `level`: 0 at the top of the nearest digit, 1 at its foot."""
    small, large = sorted((width, height))
    if large <= MAX_DOT and small >= MIN_DOT and large <= MAX_DOT_RATIO * small:
        if stacked and 0 < level < 1.1:
            return "dots"
        if 0.75 <= level <= 1.3:
            return "a dot or comma"
    if BAR_LENGTH[0] <= width <= BAR_LENGTH[1] and width >= MIN_BAR_RATIO * height and 0.2 < level < 0.8:
        return "a bar"
    is_sign = not joined and large >= BAR_LENGTH[0] and small >= 0.15 and 0 <= level <= 1
    return "a mark" if is_sign else None


def _position(box: Box, line: Sequence[DigitPrediction]) -> str:
    """Return `between 2 and 5`, `before 7` or `after 7`."""
    middle = box[0] + box[2] / 2
    before = [digit.sign for digit in line if digit.box != box and digit.box[0] + digit.box[2] / 2 < middle]
    after = [digit.sign for digit in line if digit.box != box and digit.box[0] + digit.box[2] / 2 >= middle]
    if before and after:
        return f"between {before[-1]} and {after[0]}"
    return f"after {before[-1]}" if before else f"before {after[0]}"


def _slashes(line: Sequence[DigitPrediction]) -> Iterator[str]:
    """Yield a warning about each 1 between two digits that has the shape of a slash."""
    for before, digit, after in zip(line, line[1:], line[2:], strict=False):
        others = np.array([other.box for other in line if other is not digit], np.float64)
        height, foot = np.median(others[:, 3]), np.median(others[:, 1] + others[:, 3])
        _, y, _, own = digit.box
        if (
            digit.sign == "1"
            and own >= SLASH_HEIGHT * height
            and y + own - foot >= SLASH_BELOW * height
            and _is_slash(digit.image)
        ):
            yield f"the 1 between {before.sign} and {after.sign} may be a slash"


def _is_slash(image: NDArray[np.uint8] | None) -> bool:
    """Return whether the principal axis of the ink leans as that of a slash, and the ink is thin."""
    if image is None:
        return False
    rows, columns = np.nonzero(image > 64)
    spread, axes = np.linalg.eigh(np.cov(columns, rows, aweights=image[rows, columns]))
    across, down = axes[:, 1]
    lean = float(np.degrees(np.arctan2(-across * np.sign(down), abs(down))))
    return SLASH_DEGREES[0] <= lean <= SLASH_DEGREES[1] and bool(np.sqrt(max(0.0, spread[0]) / spread[1]) < SLASH_RATIO)
