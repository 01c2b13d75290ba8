"""Draw digits and rows of digits as people draw, photograph and scan them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.pictures.page import Box, bounding_box, crop
from mnist_trainer.simulator.effects import PENS, PicturePlan, render_scene
from mnist_trainer.simulator.habits import HABITS, apply_habit
from mnist_trainer.simulator.letters import typed_digit
from mnist_trainer.simulator.scene import LARGEST, DrawnDigit, DrawnInk, Image, Levels, Rng, paste, to_unit_range
from mnist_trainer.simulator.strokes import Nib, Strokes, break_strokes, deform, draw, trace

TABLE = """
plain d 10, light_on_dark dddb 5, small28 dddp 12, enlarged d 2, mouse d 4, thick dp 4, broken dp 2, two_parts dp 2,
faint dp 3, checkerboard d 2, brush dp 2, frame dp 2, tiny dp 2, border dp 2, turned ddppb 4, crossed ddppb 4,
coloured dp 4, specks dp 2, pen p 5, pencil p 4, marker dp 3, chalk b 2, shadow pppb 4, hard_shadow pppb 4,
vignette pppb 3, blur dpppb 3, crease p 3, noise dpppb 3, jpeg dpppb 3, squared p 5, ruled p 4, table_edge p 3,
finger p 2, show_through p 3, scan p 3
"""
"""The kinds of pictures: name, media (d screen, p paper, b board), and weight."""

MEDIA = {kind: media for kind, media, _ in map(str.split, TABLE.split(","))}
WEIGHTS = np.array([int(row.split()[2]) for row in TABLE.split(",")])
KINDS: tuple[str, ...] = tuple(MEDIA)

PRINTED = 0.03
"""Probability that a digit has the shape of print instead of its image's."""

SLABS = 0.2
"""Probability that a 1 is drawn as a very thick bar."""

BROAD_PENS, WITH_LOOPS = {"thick", "brush"}, {0, 4, 6, 8, 9}
"""Pens that would fill the loops of digits that are not widened for them, and digits with loops."""

SOLID_PENS = {"round", "thick", "pen", "marker"}
SHADOWS = {"shadow", "hard_shadow", "vignette"}
SHEETS = {"squared", "ruled", "crease", "table_edge", "finger", "show_through"}
EXCLUDED: dict[str, set[str]] = {
    "faint": {"blur", "noise", "jpeg", "show_through", "specks", "squared", "ruled", "crease", "coloured", *SHADOWS},
    "tiny": {"border", "small28", "enlarged", "frame", "blur", "broken", "two_parts", "noise", "jpeg"},
    "border": {"small28", "enlarged", "frame", "table_edge"},
    "small28": {
        "enlarged",
        "frame",
        "two_parts",
        "broken",
        "blur",
        "jpeg",
        "checkerboard",
        "specks",
        "noise",
        *SHEETS,
    },
    "enlarged": {"frame", "blur", "jpeg", "checkerboard", "specks", "noise"},
    "scan": {"table_edge", "finger", "show_through", "noise", "faint", "coloured", *SHADOWS},
    "checkerboard": {"light_on_dark", "coloured", "faint"},
    "crossed": {"broken", "two_parts"},
    **{pen: {*PENS, "broken", "two_parts", "crossed"} for pen in ("thick", "brush")},
    **{pen: {*PENS} for pen in ("pen", "pencil", "marker", "chalk")},
    "mouse": {*PENS, "blur", "noise", "jpeg"},
}
"""Combinations of kinds that are impossible or illegible."""

USUAL_PENS = {"d": ("round", "round", "mouse", "marker"), "p": ("pen", "pen", "pencil", "marker"), "b": ("chalk",)}

TIGHT, SPACED = 0.4, 0.15
"""Share of rows whose digits are as near as they can be without touching, and of rows with wide spaces."""

NOT_IN_ROWS = frozenset({"small28", "enlarged", "tiny", "border", "frame", "broken", "two_parts", "thick", "brush"})

PlacedPatch = tuple[Image, float, float]
"""Coverage uint8 [h, w], and the position of its upper left corner: y and x."""


def plan_picture(rng: Rng, kind: str | None = None) -> PicturePlan:
    """Return the medium, pen and effects of a picture: those of `kind`, and a few compatible others."""
    rate = 0.03 if kind is None else 0.015
    first = kind or str(rng.choice(KINDS, p=WEIGHTS / WEIGHTS.sum()))
    medium = str(rng.choice(list(MEDIA[first])))
    chosen = {first}
    for index in np.flatnonzero(rng.random(len(KINDS)) < rate * WEIGHTS):
        other = KINDS[index]
        if medium in MEDIA[other] and first != "plain" and not any(_excludes(other, name) for name in chosen):
            chosen.add(other)
    pen = next((name for name in chosen if name in PENS), None)
    if pen is None:
        fitting = [name for name in USUAL_PENS[medium] if not any(_excludes(name, other) for other in chosen)]
        pen = str(rng.choice(fitting))
    return PicturePlan(medium, pen, frozenset(chosen))


def _excludes(one: str, other: str) -> bool:
    return other in EXCLUDED.get(one, ()) or one in EXCLUDED.get(other, ())


def photograph(
    digit: Image, rng: Rng, kind: str | None = None, *, label: int | None = None
) -> tuple[Image, DrawnDigit]:
    """Return a picture uint8 [H, W, 3] of a digit uint8 [28, 28], bright on black, and the drawn digit.

    With the `label` of the image a 7 can be crossed.
    """
    plan = plan_picture(rng, kind)
    if "enlarged" in plan.effects and rng.random() < 0.5:
        drawn = DrawnInk(to_unit_range(digit), 20, 2)
        plan = replace(plan, pen="round", effects=plan.effects & {"light_on_dark", "coloured", "faint"})
        return _enlarged(render_scene(drawn, plan, rng), drawn, rng)
    printed = rng.random() < PRINTED
    strokes = trace(digit if label is None or not printed else typed_digit(label, rng))
    has_habit = "crossed" in plan.effects or rng.random() < HABITS.get(label, 0)
    if has_habit and not (plan.pen in BROAD_PENS and label in WITH_LOOPS):
        strokes = apply_habit(strokes, label, rng)
    angle = rng.choice([-1, 1]) * rng.uniform(7, 15) if "turned" in plan.effects else None
    slab = label == 1 and plan.pen in SOLID_PENS and rng.random() < SLABS
    drawn = write_on_sheet(deform(strokes, rng, angle), plan, rng, slab=slab)
    picture = render_scene(drawn, plan, rng)
    if "enlarged" in plan.effects:
        return _enlarged(picture, drawn, rng)
    return picture, DrawnDigit.of(drawn.ink, drawn.box)


def write_on_sheet(strokes: Strokes, plan: PicturePlan, rng: Rng, *, slab: bool = False) -> DrawnInk:
    """Return strokes drawn at a random position on a sheet; with `slab`, as a very thick bar."""
    sheet = _sheet(plan, rng)
    nib = choose_nib(plan, sheet.letter, rng)
    share = nib.width / sheet.letter
    strokes = _widen(strokes, share)
    if "broken" in plan.effects:
        gap = share + rng.uniform(0.01, 0.03) + 1 / sheet.letter
        strokes = break_strokes(strokes, int(rng.integers(2, 4)), gap, rng)
    elif "two_parts" in plan.effects:
        strokes = break_strokes(strokes, 1, share + rng.uniform(0.02, 0.06) + 1 / sheet.letter, rng)
    if slab:
        nib = replace(nib, width=max(nib.width, sheet.letter * rng.uniform(0.18, 0.45)))
    patch = _draw_legibly(strokes, sheet.letter, nib)
    if "border" in plan.effects:
        patch = crop(patch, bounding_box(patch > 127))
    ink = np.zeros((sheet.height, sheet.width), np.float32)
    paste(ink, patch, *_position(sheet, patch.shape, plan, rng))
    return DrawnInk(ink, sheet.letter, nib.width)


def _draw_legibly(strokes: Strokes, letter: float, nib: Nib) -> Image:
    """Draw strokes with a total height of `letter` pixels, with a finer nib if a broad one would fill their loops."""
    import cv2

    loops = len(strokes.links) - len(strokes.points) + 1
    for _ in range(5):
        patch = draw(strokes, letter - nib.width, nib)
        if nib.width < 0.09 * letter or cv2.connectedComponents((patch < 128).astype(np.uint8))[0] - 2 >= loops:
            break
        nib = replace(nib, width=0.8 * nib.width)
    return patch


def _widen(strokes: Strokes, width: float) -> Strokes:
    """Return strokes stretched horizontally for a broad pen, so that loops stay open."""
    points = strokes.points * np.array([1 + max(0, width - 0.08) * 2.5, 1], np.float32)
    return replace(strokes, points=points / max(1, float(np.ptp(points, axis=0).max())))


@dataclass(frozen=True)
class Sheet:
    """The size of a picture, and of the digit's longer side, in pixels."""

    height: int
    width: int
    letter: float


def _sheet(plan: PicturePlan, rng: Rng) -> Sheet:
    """Return the size of the picture and of the digit in it."""
    if plan.effects & {"small28", "enlarged"}:
        few = 28 if rng.random() < 0.5 else int(rng.integers(20, 41))
        return Sheet(few, few, max(9, few * rng.uniform(0.3, 0.95)))
    aspect = 1.0 if rng.random() < 0.4 else float(np.exp(rng.uniform(-0.4, 0.4)))
    if "tiny" in plan.effects:
        letter = _log_uniform(16, 34, rng)
        width = min(900.0, 0.65 * letter / rng.uniform(0.03, 0.08))
        return Sheet(int(min(900, width / aspect)), int(width), letter)
    side = _log_uniform(60, 800 if rng.random() < 0.08 else 400, rng)
    height, width = side / max(1, aspect), side * min(1, aspect)
    shares = (0.35, 0.92) if plan.medium == "d" else (0.2, 0.85)
    if plan.effects & {"frame", "finger", "table_edge"}:
        shares = 0.25, 0.6
    return Sheet(int(height), int(width), max(18.0, rng.uniform(*shares) * min(height, width)))


def _log_uniform(low: float, high: float, rng: Rng) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def choose_nib(plan: PicturePlan, letter: float, rng: Rng) -> Nib:
    """Return the nib of a plan's pen for digits of `letter` pixels."""
    pen = PENS[plan.pen]
    width = letter * _log_uniform(*pen.widths, rng)
    if plan.effects & {"small28", "enlarged"}:
        thinnest, smooth = (1.0, rng.random() < 0.35) if plan.medium == "d" else (0.6, True)
        width = float(np.clip(width, thinnest, min(6, (0.27 if plan.pen == "thick" else 0.16) * letter)))
        return Nib(width, pen.press, smooth=smooth)
    if plan.pen == "mouse":
        return Nib(1.0, 0, smooth=rng.random() < 0.3)
    return Nib(max(1.2, width), pen.press * rng.random(), smooth=plan.medium != "d" or rng.random() < 0.8)


def _position(sheet: Sheet, shape: tuple[int, ...], plan: PicturePlan, rng: Rng) -> tuple[int, int]:
    """Return top and left of a patch: usually near the centre, or at the border if the plan says so."""
    room = np.array([sheet.height - shape[0], sheet.width - shape[1]])
    free = 0.2 if plan.effects & {"frame", "table_edge"} else 0
    at = np.clip(0.5 + rng.normal(0, 0.22, 2), free, 1 - free) * room
    if "border" in plan.effects:
        side, over = rng.integers(0, 4), 0.04 * sheet.letter * rng.random()
        at[side // 2] = -over if side % 2 else room[side // 2] + over
    top, left = np.rint(at).astype(int).tolist()
    return top, left


def _enlarged(picture: Image, drawn: DrawnInk, rng: Rng) -> tuple[Image, DrawnDigit]:
    """Return a picture and its digit enlarged two to twelve times, with random interpolation."""
    import cv2

    interpolation = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC)[rng.integers(3)]
    times = int(rng.integers(2, 13))
    large = np.asarray(cv2.resize(picture, None, fx=times, fy=times, interpolation=interpolation), np.uint8)
    x, y, width, height = (times * side for side in drawn.box)
    return large, DrawnDigit.of(drawn.ink, (x, y, width, height))


def page(
    digits: Sequence[Sequence[Image]],
    rng: Rng,
    *,
    labels: Sequence[Sequence[int]] | None = None,
    touching: bool = False,
) -> tuple[Image, list[DrawnDigit]]:
    """Return a picture uint8 [H, W, 3] of lines of digits, each uint8 [28, 28], and the digits on it, line by line.

    All are written by the same hand: with one slant, and with the same habits if `labels` are given. With `touching`,
    about half of the neighbours touch.
    """
    plan = plan_picture(rng)
    while (plan.effects | {plan.pen}) & NOT_IN_ROWS:
        plan = plan_picture(rng)
    longest = max(len(digits) * 2.2 + 2, max(map(len, digits)) * 1.4 + 2)
    letter = min(_log_uniform(28, 80, rng), LARGEST / longest)
    nib = choose_nib(plan, letter, rng)
    uneven, spacing, rise = rng.uniform(0.03, 0.18), rng.uniform(1.5, 2.2), rng.normal(0, 0.03)
    slant, aspect = rng.normal(0, 0.1), np.exp(rng.normal(0, 0.1))
    hand = np.array([[aspect, -slant], [0, 1]], np.float32)
    habits = {label for label, share in HABITS.items() if rng.random() < share}

    def drawn(digit: Image, label: int | None) -> Image:
        """Return the coverage of a digit in this hand."""
        strokes = trace(digit)
        if label in habits:
            strokes = apply_habit(strokes, label, rng)
        strokes = deform(replace(strokes, points=strokes.points @ hand.T), rng)
        size = letter * float(np.clip(np.exp(rng.normal(0, uneven)), 0.7, 1.35))
        return draw(strokes, max(8.0, size - nib.width), nib)

    placed: list[PlacedPatch] = []
    for number, line in enumerate(digits):
        shown = labels[number] if labels is not None else [None] * len(line)
        patches = [drawn(digit, label) for digit, label in zip(line, shown, strict=True)]
        start = number * spacing * letter, rng.uniform(0, 0.6) * letter
        placed += place_row(patches, start, rise + rng.normal(0, 0.01), letter, rng, touching=touching)
    ink, boxes = merge_patches(placed, rng.uniform(0.3, 1, 4) * letter)
    all_drawn = [DrawnDigit.of(to_unit_range(patch), box) for (patch, _, _), box in zip(placed, boxes, strict=True)]
    return render_scene(DrawnInk(ink, letter, nib.width), plan, rng), all_drawn


def place_row(
    patches: Sequence[Image],
    start: tuple[float, float],
    rise: float,
    letter: float,
    rng: Rng,
    *,
    touching: bool = False,
) -> list[PlacedPatch]:
    """Place patches side by side, beginning at `start` (y, x), on a line with the slope `rise` (downwards).

    Some rows are loose, some tight; some have wide spaces between groups of digits.
    """
    (base, x), placed = start, list[PlacedPatch]()
    tight, spaced = rng.random() < TIGHT, rng.random() < SPACED
    for patch in patches:
        y = base + rise * x + letter - len(patch) + rng.normal(0, 0.04) * letter
        if placed:
            x += rng.uniform(0.12, 0.5) * letter
            if spaced and rng.random() < 0.3:
                x += rng.uniform(0.4, 1.3) * letter
            elif touching and rng.random() < 0.5:
                x -= min(_gap(placed[-1], (patch, y, x)), 0.6 * letter) + rng.uniform(0, 0.12) * letter
            elif tight:
                x -= min(max(0.0, _gap(placed[-1], (patch, y, x)) - rng.uniform(0.08, 0.22) * letter), 0.6 * letter)
        placed.append((patch, y, x))
        x += patch.shape[1]
    return placed


def _gap(left: PlacedPatch, right: PlacedPatch) -> float:
    """Return the pixels by which `right` can move to the left until its ink touches that of `left`."""
    top = int(max(left[1], right[1]))
    bottom = int(min(left[1] + len(left[0]), right[1] + len(right[0])))
    before, behind = (patch[top - int(y) : bottom - int(y)] > 127 for patch, y, _ in (left, right))
    rows = min(len(before), len(behind))
    both = before[:rows].any(axis=1) & behind[:rows].any(axis=1)
    room = (before[:rows, ::-1].argmax(axis=1) + behind[:rows].argmax(axis=1))[both]
    return float(right[2] - left[2] - left[0].shape[1] + (room.min() if len(room) else 0))


def merge_patches(placed: Sequence[PlacedPatch], margins: NDArray[np.float64]) -> tuple[Levels, list[Box]]:
    """Return the ink float32 [H, W], 0 to 1, of patches, and their boxes; `margins`: top, left, bottom and right."""
    top = margins[0] - min(y for _, y, _ in placed)
    left = margins[1] - min(x for _, _, x in placed)
    height = int(top + margins[2] + max(y + len(patch) for patch, y, _ in placed))
    width = int(left + margins[3] + max(x + patch.shape[1] for patch, _, x in placed))
    ink = np.zeros((min(LARGEST, height), min(LARGEST, width)), np.float32)
    boxes = [(round(x + left), round(y + top), patch.shape[1], patch.shape[0]) for patch, y, x in placed]
    for (patch, _, _), (x, y, _, _) in zip(placed, boxes, strict=True):
        paste(ink, patch, y, x)
    return ink, boxes
