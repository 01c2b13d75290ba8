"""Signs among digits: decimal points and commas, minus, plus, equals, colons, slashes and fraction bars.

They are found by their shape and their position beside digits. Lengths are fractions of the height of a digit; levels
are 0 at the top of the nearest digits and 1 at their foot.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.pictures.page import Box, Layout, Page, distance, overlap, touches_border, union

if TYPE_CHECKING:
    from mnist_trainer.inference.reading import DigitPrediction

FRACTION_BAR = "fraction bar"

MIN_SIGN, MAX_SIGN = 0.06, 1.6
"""Limits of the longer side of a sign."""

MAX_GAP, MIN_GAP = 0.6, 0.01
"""Limits of the distance of a sign from the nearest digit."""

MIN_THICKNESS = 0.035
"""The least shorter side of a sign."""

JOINED_GAP = 0.05
"""The least horizontal distance of a sign, if it is no comma, from the digit that it was read as a part of."""

MAX_DOT, MAX_DOT_RATIO, DOT_DEPTH = 0.34, 2.2, (-0.12, 0.17)
"""The largest side of a dot, the ratio of its sides, and the range of its depth if it is a decimal point."""

COMMA_HEIGHT, COMMA_RATIO, COMMA_DEPTH = (0.14, 0.45), (1.15, 3.3), (0.08, 0.6)
"""The ranges of a comma's height, its height relative to its width, and its depth."""

BELOW_GAP = 0.25
"""A dot or comma within `JOINED_GAP` of a digit horizontally, and within this distance vertically, is a piece of it."""

DOTS, MAX_SPECKS, SPECK_SIDE = {".", ",", ":"}, 1, 0.6
"""One of these signs is a speck if more other ink is as long as this share of its side."""

BAR_LENGTH, MIN_BAR_RATIO, MAX_BAR_HEIGHT = (0.25, 0.9), 1.8, 0.29
"""The range of a bar's length, its least ratio of length to thickness, and its largest height if it is one stroke."""

FRACTION_RATIO, FRACTION_EXCESS, FRACTION_GAP = 3.0, 1.2, 0.8
"""A fraction bar has at least this ratio of length to thickness, is longer than the digits above and below it by at
most the second, and as near to them as the third."""

BAR_LEVEL = 0.35, 0.88
"""The range of a minus' level; above it is the bar of a 5 or 7, or the flag of a 1, that stands apart."""

VALLEY = 0.7
"""Two bars that touch have less than this share of their ink in a row between them."""

PIECES, PIECE_GAP = {*DOTS, "-"}, 0.15
"""One of these signs with other loose ink within this distance is a piece of a broken digit."""

MAX_SIGNS = 6
"""More signs than this in a line are specks."""

SLASH_DEGREES, SLASH_RATIO, SLASH_HEIGHT, SLASH_BELOW = (16.0, 40.0), 0.11, 1.2, 0.08
"""A slash leans to the right (degrees), is thin, longer than the digits by this factor, and ends below them."""

MAYBE_HEIGHT, MAYBE_BELOW = 1.05, 0.03
"""The same for a 1 that may be a slash."""

SLASH_SIDES = 0.3, 0.8
"""The ratio of width to height of a slash, where only its box is known."""

PLUS_SIDE, PLUS_RATIO = (0.3, 0.95), 1.7
"""The range of the sides of a plus, and the largest ratio of one to the other."""

MIN_PIXELS = 8
"""Images with less ink have no shape."""

PLUS_PROBABILITY = 0.5
"""A plus is a digit with at most this probability: some people's 4 has its shape."""

PLUS_BAND, PLUS_CENTRE, PLUS_INK, PLUS_ARMS = 0.18, (0.28, 0.72), 0.92, 0.85
"""The strokes of a plus are this wide on either side of their middle, cross in this range, hold this share of its ink,
and are as long as this share of its sides."""


@dataclass(frozen=True)
class Sign:
    """A sign: `.`, `,`, `-`, `+`, `=`, `:`, `/` or `fraction bar`; `box` is (x, y, width, height) in pixels.

    It stands in the line `line`, from 0, after `after` of its digits, refused ones included. The line of a fraction bar
    is that of the digits above it.
    """

    sign: str
    box: Box
    line: int
    after: int

    def to_json(self) -> dict[str, Any]:
        """Return its object in `signs`."""
        return asdict(self)


@dataclass(frozen=True)
class Shape:
    """A box relative to the digits beside it: its sides, level of its centre, and depth of its end below their foot."""

    width: float
    height: float
    level: float
    depth: float

    @property
    def is_dot(self) -> bool:
        """Whether it has the size of a dot."""
        small, large = sorted((self.width, self.height))
        return small >= MIN_THICKNESS and large <= min(MAX_DOT, MAX_DOT_RATIO * small)

    @property
    def is_comma(self) -> bool:
        """Whether it is a comma, which is high and ends below the foot."""
        low, high = (ratio * self.width for ratio in COMMA_RATIO)
        is_deep = COMMA_DEPTH[0] <= self.depth <= COMMA_DEPTH[1]
        return (
            is_deep
            and self.width >= MIN_THICKNESS
            and max(low, COMMA_HEIGHT[0]) <= self.height <= min(high, COMMA_HEIGHT[1])
        )

    @property
    def is_bar(self) -> bool:
        """Whether it is a bar of the length of a minus."""
        return BAR_LENGTH[0] <= self.width <= BAR_LENGTH[1] and self.width >= MIN_BAR_RATIO * self.height


Line = Sequence["DigitPrediction"]
Found = tuple[str, Box]
"""A sign and its box."""


def split_signs(lines: Sequence[Line], ink: Sequence[Box]) -> tuple[list[list[DigitPrediction]], list[Found]]:
    """Return the lines without glyphs that are signs, and these signs. `ink`: boxes of all connected components."""
    kept, found = list[list["DigitPrediction"]](), list[Found]()
    digits = [digit for line in lines for digit in line]
    for line in lines:
        signs = {at: sign for at in range(len(line)) if (sign := _glyph_sign(line, at, digits, ink)) is not None}
        found += [(sign, line[at].box) for at, sign in signs.items()]
        kept.append([digit for at, digit in enumerate(line) if at not in signs])
    return kept, found


def find_signs(
    lines: Sequence[Line], page: Page, layout: Layout, known: Sequence[Found]
) -> tuple[list[Found], tuple[str, ...]]:
    """Return `known` and the signs in the ink of a layout that is in no digit, and warnings about other marks."""
    bodies = {digit.box: _body(digit.box, layout.ink) for line in lines for digit in line}
    ink = [box for box in layout.ink if not any(_within(box, sign) for _, sign in known)]
    found, warnings = list(_fraction_bars(lines, ink, bodies, page.size)), list[str]()
    ink = [box for box in ink if not any(_within(box, sign) for _, sign in found)]
    glyphs = [glyph for line in layout.lines for glyph in line.glyphs]
    for line in lines:
        for sign, box in _missed_signs(line, bodies, ink, page.size):
            image = next((glyph.image for glyph in glyphs if _is_same(glyph.box, box)), None)
            if (sign := sign or _mark_sign(box, image, line)) is None:
                warnings.append(f"a sign may have been left out: a mark {_position(box, line)}")
            elif (sign, box) not in found:
                found.append((sign, box))
        warnings += _maybe_slashes(line)
    found += known
    loose = [box for box in layout.ink if not any(_within(box, digit) for digit in bodies)]
    stray = [box for box in loose if not any(_within(box, sign) for _, sign in found)]
    height = median([body[3] for body in bodies.values()])
    found = [each for each in found if each[0] not in PIECES or not _is_piece(each[1], loose, height)]
    found = [each for each in found if each[0] not in DOTS or not _is_below(each, bodies, height)]
    found = [each for each in found if each in known or each[0] not in DOTS or not _is_speck(each[1], stray)]
    return found, tuple(dict.fromkeys(warnings))


def _is_piece(box: Box, loose: Sequence[Box], height: float) -> bool:
    """Return whether a box is a piece of a broken digit: other ink that is in no digit is beside, above or below it."""
    others = [other for other in loose if not _within(other, box) and max(other[2:]) >= MIN_SIGN * height]
    return any(distance(box, other) <= PIECE_GAP * height for other in others)


def _is_below(found: Found, bodies: dict[Box, Box], height: float) -> bool:
    """Return whether a dot or comma is a piece of a digit: just above or below one, or, as a dot, beside one."""
    sign, box = found
    gaps = ((-overlap(box, body, 0), -overlap(box, body, 1)) for body in bodies.values() if body != box)
    least = 0 if sign == "," else JOINED_GAP * height
    return any(across < least and down < BELOW_GAP * height for across, down in gaps)


def _is_speck(box: Box, stray: Sequence[Box]) -> bool:
    """Return whether there is much other ink of a dot's size among `stray`; a colon is as wide as its dots."""
    side = max(box[2], min(box[3], COMMA_RATIO[1] * box[2]))
    return sum(max(other[2:]) >= SPECK_SIDE * side for other in stray) > MAX_SPECKS


def place_signs(found: Sequence[Found], lines: Sequence[Line]) -> tuple[Sign, ...]:
    """Return the signs with their lines and positions, in reading order."""
    signs = []
    for sign, box in found:
        above = [
            (distance(box, digit.box), number)
            for number, line in enumerate(lines)
            for digit in line
            if sign != FRACTION_BAR or _middle(digit.box, 1) < _middle(box, 1)
        ]
        line = min(above, default=(0.0, 0))[1]
        end = box[0] + box[2] if sign == FRACTION_BAR else _middle(box, 0)
        after = sum(_middle(digit.box, 0) < end for digit in lines[line])
        signs.append(Sign(sign, box, line, after))
    return tuple(sorted(signs, key=lambda each: (each.line, each.box[0])))


def median(values: Sequence[int]) -> float:
    """Return the median of at least one value, of a few faster than `np.median`."""
    ordered, half = sorted(values), len(values) // 2
    return (ordered[half] + ordered[~half]) / 2


def _middle(box: Box, axis: int) -> float:
    return box[axis] + box[axis + 2] / 2


def _body(box: Box, ink: Sequence[Box]) -> Box:
    """Return the largest component of a digit; the others may be a sign next to it."""
    return max((each for each in ink if _within(each, box)), key=lambda each: max(each[2:]), default=box)


def _within(box: Box, whole: Box) -> bool:
    """Return whether the centre of `box` is in `whole`."""
    x, y = _middle(box, 0), _middle(box, 1)
    return whole[0] <= x <= whole[0] + whole[2] and whole[1] <= y <= whole[1] + whole[3]


def _is_same(one: Box, other: Box) -> bool:
    """Return whether the sides of two boxes differ by rounding only."""
    ends = ((box[0], box[1], box[0] + box[2], box[1] + box[3]) for box in (one, other))
    tolerance = max(2.0, 0.05 * max(one[2:]))
    return all(abs(first - second) <= tolerance for first, second in zip(*ends, strict=True))


def _shape(box: Box, digits: Sequence[Box]) -> Shape:
    """Return the shape of a box beside digits; the nearest one on each side decides its level."""
    height = median([digit[3] for digit in digits])
    left = [digit for digit in digits if _middle(digit, 0) < _middle(box, 0)]
    right = [digit for digit in digits if _middle(digit, 0) >= _middle(box, 0)]
    near = [min(side, key=lambda digit: -overlap(box, digit, 0)) for side in (left, right) if side]
    top, foot = np.mean([digit[1] for digit in near]), np.mean([digit[1] + digit[3] for digit in near])
    level = (_middle(box, 1) - top) / (foot - top)
    return Shape(box[2] / height, box[3] / height, float(level), float(box[1] + box[3] - foot) / height)


def _single_sign(shape: Shape) -> str | None:
    """Return the sign of one component."""
    if shape.is_comma:
        return ","
    if shape.is_dot and DOT_DEPTH[0] <= shape.depth <= DOT_DEPTH[1]:
        return "."
    return "-" if shape.is_bar and BAR_LEVEL[0] < shape.level < BAR_LEVEL[1] else None


def _stacked_sign(upper: Shape, lower: Shape) -> str | None:
    """Return the sign of two components, one above the other."""
    if upper.is_dot and lower.is_dot and 0 < upper.level < 0.7 and 0.4 < lower.level < 1.1:
        return ":"
    if upper.is_bar and lower.is_bar and 0.1 < upper.level < lower.level < 0.95:
        return "="
    return None


# --- glyphs that were read ---


def _glyph_sign(line: Line, at: int, digits: Line, ink: Sequence[Box]) -> str | None:
    """Return the sign that a glyph of a line is; None for a digit."""
    glyph = line[at]
    others = [each.box for each in line if each is not glyph and _is_upright(each.box)]
    others = others or [each.box for each in digits if each is not glyph and _is_upright(each.box)]
    if not others:
        return None
    shape = _shape(glyph.box, others)
    components = sorted((box for box in ink if _within(box, glyph.box)), key=lambda box: box[1])
    if not components or not _is_same(union(components), glyph.box):
        return None  # a part of connected ink
    if len(components) == 2 and overlap(components[0], components[1], 0) > 0:
        upper, lower = (_shape(box, others) for box in components)
        if (sign := _stacked_sign(upper, lower)) is not None:
            return sign
    sign = _single_sign(shape)
    if sign == "-" and _is_double(glyph.image):
        return "="
    if sign is not None and (sign != "-" or shape.height <= MAX_BAR_HEIGHT):
        return sign
    if glyph.digit_probability <= PLUS_PROBABILITY and _is_plus_sized(shape) and _is_plus(glyph.image):
        return "+"
    return "/" if _is_slash(line, at, SLASH_HEIGHT, SLASH_BELOW) else None


def _is_upright(box: Box) -> bool:
    return box[2] < MIN_BAR_RATIO * box[3]


def _is_double(image: NDArray[np.uint8] | None) -> bool:
    """Return whether a bar consists of two bars, with less ink between them."""
    if image is None:
        return False
    rows = image[image.max(axis=1) > 64].sum(axis=1, dtype=np.float64)
    third = len(rows) // 3
    outer = min(rows[:third].max(initial=0), rows[len(rows) - third :].max(initial=0))
    return bool(third and rows[third : len(rows) - third].min() < VALLEY * outer)


def _is_plus_sized(shape: Shape) -> bool:
    small, large = sorted((shape.width, shape.height))
    return PLUS_SIDE[0] <= small and large <= min(PLUS_SIDE[1], PLUS_RATIO * small) and 0.2 < shape.level < 0.85


def _is_plus(image: NDArray[np.uint8] | None) -> bool:
    """Return whether all ink is in a row and a column that cross in the middle, and both are as long as the image."""
    if image is None or np.count_nonzero(image > 64) < MIN_PIXELS:
        return False
    rows, columns = np.nonzero(image > 64)
    ink = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].astype(np.float64)
    height, width = ink.shape
    row, column = int(ink.sum(axis=1).argmax()), int(ink.sum(axis=0).argmax())
    in_row = np.abs(np.arange(height) - row) <= PLUS_BAND * height
    in_column = np.abs(np.arange(width) - column) <= PLUS_BAND * width
    outside = ink[~in_row][:, ~in_column].sum() / ink.sum()
    arms = (ink[in_row] > 64).any(axis=0).mean(), (ink[:, in_column] > 64).any(axis=1).mean()
    middle = all(PLUS_CENTRE[0] < at < PLUS_CENTRE[1] for at in ((row + 0.5) / height, (column + 0.5) / width))
    return middle and bool(outside <= 1 - PLUS_INK) and min(arms) >= PLUS_ARMS


def _is_slash(line: Line, at: int, least: float, below: float) -> bool:
    """Return whether a glyph that is read as 1, or refused, is a slash between the other digits of a line."""
    glyph = line[at]
    if not 0 < at < len(line) - 1 or glyph.sign not in {"1", "?"} or not _leans(glyph.image):
        return False
    shape = _shape(glyph.box, [other.box for other in line if other is not glyph])
    return shape.height >= least and shape.depth >= below


def _maybe_slashes(line: Line) -> Iterator[str]:
    """Yield a warning about each 1 that may be a slash."""
    for at, (before, digit, after) in enumerate(zip(line, line[1:], line[2:], strict=False), start=1):
        if digit.sign == "1" and _is_slash(line, at, MAYBE_HEIGHT, MAYBE_BELOW):
            yield f"the 1 between {before.sign} and {after.sign} may be a slash"


def _leans(image: NDArray[np.uint8] | None) -> bool:
    """Return whether the principal axis of the ink leans as that of a slash, and the ink is thin."""
    if image is None or np.count_nonzero(image > 64) < MIN_PIXELS:
        return False
    rows, columns = np.nonzero(image > 64)
    spread, axes = np.linalg.eigh(np.cov(columns, rows, aweights=image[rows, columns]))
    across, down = axes[:, 1]
    lean = float(np.degrees(np.arctan2(-across * np.sign(down), abs(down))))
    return SLASH_DEGREES[0] <= lean <= SLASH_DEGREES[1] and bool(np.sqrt(max(0.0, spread[0]) / spread[1]) < SLASH_RATIO)


# --- ink that was not read ---


def _missed_signs(
    line: Line, bodies: dict[Box, Box], ink: Sequence[Box], size: tuple[int, int]
) -> Iterator[tuple[str | None, Box]]:
    """Yield the sign (None: a mark) and box of each component, or two stacked ones, beside the digits of a line."""
    own = [bodies[digit.box] for digit in line]
    height = median([box[3] for box in own])
    adjacent = sorted((box for box in ink if _is_adjacent(box, own, bodies, height, size)), key=lambda box: box[1])
    if len(adjacent) > MAX_SIGNS:
        return
    while adjacent:
        box = adjacent.pop(0)
        shape = _shape(box, own)
        below = next((other for other in adjacent if overlap(box, other, 0) > 0), None)
        if below is not None and (sign := _stacked_sign(shape, _shape(below, own))) is not None:
            adjacent.remove(below)
            yield sign, union([box, below])
        elif (sign := _single_sign(shape)) is not None:
            yield sign, box
        elif _is_mark(shape) and not any(_within(box, digit) for digit in bodies):
            yield None, box


def _mark_sign(box: Box, image: NDArray[np.uint8] | None, line: Line) -> str | None:
    """Return the sign of a mark that was not read; None if it is none. `image` is None if it is no candidate glyph."""
    if _is_plus(image):
        return "+"
    middles = [_middle(digit.box, 0) for digit in line]
    is_between = min(middles) < _middle(box, 0) < max(middles)
    is_long = box[3] >= SLASH_HEIGHT * median([digit.box[3] for digit in line])
    has_sides = SLASH_SIDES[0] <= box[2] / box[3] <= SLASH_SIDES[1]
    return "/" if is_between and (_leans(image) or (image is None and is_long and has_sides)) else None


def _is_mark(shape: Shape) -> bool:
    small, large = sorted((shape.width, shape.height))
    return large >= BAR_LENGTH[0] and small >= 0.15 and 0 <= shape.level <= 1


def _is_adjacent(box: Box, own: Sequence[Box], bodies: dict[Box, Box], height: float, size: tuple[int, int]) -> bool:
    """Return whether a box has a sign's size and is next to the digits of a line, not above, below or in one."""
    has_size = MIN_SIGN * height <= max(box[2:]) <= MAX_SIGN * height
    if box in bodies.values() or not has_size or touches_border(box, size):
        return False
    if min(-overlap(box, body, 0) for body in own) > MAX_GAP * height:
        return False
    joined = (digit for digit, body in bodies.items() if overlap(box, body, 0) > -JOINED_GAP * height)
    if any(_within(box, digit) for digit in joined) and not _shape(box, own).is_comma:
        return False
    shared = [(overlap(box, body, 0), overlap(box, body, 1)) for body in bodies.values()]
    covered = any(across > 0.2 * box[2] and down > -0.15 * height for across, down in shared)
    return not covered and min(max(-across, -down) for across, down in shared) >= MIN_GAP * height


def _fraction_bars(
    lines: Sequence[Line], ink: Sequence[Box], bodies: dict[Box, Box], size: tuple[int, int]
) -> Iterator[Found]:
    """Yield each bar between digits of two lines."""
    for box in ink if len(lines) > 1 else ():
        is_bar = box[2] >= FRACTION_RATIO * box[3] and not any(_within(box, digit) for digit in bodies)
        if is_bar and not touches_border(box, size):
            near = [digit for digit in bodies.values() if overlap(box, digit, 0) > 0.5 * digit[2]]
            if _is_fraction_bar(box, near):
                yield FRACTION_BAR, box


def _is_fraction_bar(box: Box, digits: Sequence[Box]) -> bool:
    """Return whether a bar is between some of `digits` that are above and below it, and about as long as these."""
    if not digits:
        return False
    height = median([digit[3] for digit in digits])
    gaps = [(box[1] - digit[1] - digit[3], digit[1] - box[1] - box[3], digit) for digit in digits]
    above = [digit for gap, _, digit in gaps if -0.1 * height <= gap <= FRACTION_GAP * height]
    below = [digit for _, gap, digit in gaps if -0.1 * height <= gap <= FRACTION_GAP * height]
    return bool(above and below) and box[2] <= union([*above, *below])[2] + FRACTION_EXCESS * height


def _position(box: Box, line: Line) -> str:
    """Return `between 2 and 5`, `before 7` or `after 7`."""
    middle = _middle(box, 0)
    before = [digit.sign for digit in line if digit.box != box and _middle(digit.box, 0) < middle]
    after = [digit.sign for digit in line if digit.box != box and _middle(digit.box, 0) >= middle]
    if before and after:
        return f"between {before[-1]} and {after[0]}"
    return f"after {before[-1]}" if before else f"before {after[0]}"
