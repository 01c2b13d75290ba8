"""From ink on an empty sheet to a picture: colours, what the pen leaves, the paper, the light and the camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mnist_trainer.simulator.effects import LIGHT_EFFECTS, SURFACE_EFFECTS, apply_camera
from mnist_trainer.simulator.scene import (
    BLACK,
    Colour,
    DrawnInk,
    Image,
    Levels,
    Random,
    Scene,
    clouds,
    grain,
    overlay,
    random_colour,
    to_unit_range,
)


@dataclass(frozen=True)
class Pen:
    """`widths`: least and most share of a digit's height; `press`: how far the width varies; `tooth`: how much of
    the paper's grain shows, 0 to 1; `levels`: least and most grey level of the ink on white; `coloured`: how often
    it is one of `INKS`.
    """

    widths: tuple[float, float]
    press: float
    tooth: float
    levels: tuple[float, float]
    coloured: float


PENS = {
    "round": Pen((0.025, 0.15), 0.6, 0, (0, 40), 0.15),
    "mouse": Pen((0.01, 0.02), 0, 0, (0, 40), 0.1),
    "thick": Pen((0.17, 0.27), 0.3, 0, (0, 60), 0.2),
    "pen": Pen((0.02, 0.07), 0.8, 0.1, (10, 90), 0.7),
    "pencil": Pen((0.02, 0.06), 0.8, 0.6, (60, 120), 0),
    "marker": Pen((0.07, 0.17), 0.4, 0.05, (5, 60), 0.6),
    "chalk": Pen((0.05, 0.12), 0.6, 0.7, (0, 40), 0),
    "brush": Pen((0.12, 0.22), 0.8, 0.25, (0, 50), 0.2),
}

INKS = np.array([[20, 25, 80], [35, 55, 150], [30, 80, 190], [185, 35, 40], [25, 105, 55], [110, 40, 120]], np.float32)[
    ..., None, None
]


@dataclass(frozen=True)
class PicturePlan:
    """What a picture is to be. `medium`: d drawn on a screen, p paper, b board; `pen`: a name of `PENS`."""

    medium: str
    pen: str
    effects: frozenset[str]


def render_scene(writing: DrawnInk, plan: PicturePlan, random: Random) -> Image:
    """The picture uint8 [H, W, 3] of what was written."""
    paper, colour = _colours(plan, random)
    planes = np.empty((3, *writing.ink.shape), np.float32)
    planes[:] = paper
    scene = Scene(planes, writing)
    effects = plan.effects | _usual(plan, random)
    for name, effect in SURFACE_EFFECTS.items():
        if name in effects:
            effect(scene, random)
    overlay(planes, _left_by(plan, scene, random), colour)
    for name, effect in LIGHT_EFFECTS.items():
        if name in effects:
            effect(scene, random)
    return apply_camera(scene, effects, random)


def _usual(plan: PicturePlan, random: Random) -> frozenset[str]:
    """What pictures of a medium have without being asked: the grain of paper, some noise, a little JPEG."""
    if plan.medium == "d":
        return frozenset({"fine_jpeg"} if random.random() < 0.2 and "small28" not in plan.effects else ())
    always = {"texture"} if plan.medium == "p" else {"board"}
    return frozenset(always | {name for name in ("fine_noise", "fine_jpeg") if random.random() < 0.7})


def _colours(plan: PicturePlan, random: Random) -> tuple[Colour, Colour]:
    """The colours of paper and ink, well apart in brightness unless they are to be faint."""
    pen, clean = PENS[plan.pen], plan.medium == "d"
    level = 255.0 if clean and random.random() < 0.8 else random.uniform(*((225, 255) if clean else (165, 248)))
    paper = random_colour(level, 0 if clean and random.random() < 0.5 else 6, random)
    ink = random_colour(random.uniform(*pen.levels) * level / 255, 2, random)
    if clean and random.random() < 0.4:
        ink = BLACK
    if "faint" in plan.effects:
        ink = random_colour(level - random.uniform(28, 65), random.choice([0, 15]), random)
    elif random.random() < pen.coloured:
        ink = random.choice(INKS) * np.float32(random.uniform(0.8, 1.2))
    if "coloured" in plan.effects:
        level = random.uniform(160, 235)
        paper = random_colour(level, random.uniform(15, 40), random)
        ink = random_colour(random.uniform(10, level - 95), random.uniform(15, 60), random)
    if plan.medium == "b":
        return random.uniform(0, 40) + 255 - paper, 255 - ink
    return (255 - paper, 255 - ink) if "light_on_dark" in plan.effects else (paper, ink)


def _left_by(plan: PicturePlan, scene: Scene, random: Random) -> Levels:
    """How much colour [H, W], 0 to 1, lies on the sheet: less where a dry pen leaves gaps."""
    ink = scene.writing.ink
    if "specks" in plan.effects:
        ink = np.maximum(ink, _specks(scene, random))
    if "frame" in plan.effects:
        ink = np.maximum(ink, _frame(scene, random))
    if plan.pen == "brush":
        ink = ink * _bristles(scene, random)
    tooth = PENS[plan.pen].tooth
    if tooth and plan.medium != "d" and "faint" not in plan.effects:
        rough = 0.6 * grain(scene.shape, random) + 0.8 * clouds(scene.shape, random)
        ink = ink * np.clip(1 - tooth * (0.35 + 0.5 * rough), 0.15, 1)
    return ink


def _bristles(scene: Scene, random: Random) -> Levels:
    """What a dry brush leaves [H, W]: streaks along the stroke, that is at equal distance from its edge."""
    import cv2

    distance = cv2.distanceTransform((scene.writing.ink > 0.5).astype(np.uint8), cv2.DIST_L2, 3)
    deepest = max(1.0, float(distance.max()))
    streaks = random.random(12, np.float32)[(distance * (11 / deepest)).astype(int)]
    dry = clouds(scene.shape, random) * 0.45 + random.uniform(0.7, 1.3)
    left: Levels = np.clip(streaks + dry, 0.1, 1)
    return left


def _frame(scene: Scene, random: Random) -> Levels:
    """A box round the digit [H, W], drawn by hand."""
    import cv2

    x, y, width, height = scene.writing.box
    rooms = np.array([x, y, scene.shape[1] - x - width, scene.shape[0] - y - height], float)
    margin = np.minimum(rooms * random.uniform(0.5, 1), scene.writing.letter * random.uniform(0.2, 0.9))
    left, top, right, bottom = x - margin[0], y - margin[1], x + width + margin[2], y + height + margin[3]
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    corners += random.normal(0, 0.01 * scene.writing.letter * random.integers(0, 3), corners.shape)
    canvas = np.zeros(scene.shape, np.uint8)
    thick = max(1, round(scene.writing.letter * random.uniform(0.01, 0.06)))
    cv2.polylines(canvas, [np.rint(corners * 8).astype(np.int32)], True, 255, thick, cv2.LINE_AA, 3)
    return to_unit_range(canvas)


def _specks(scene: Scene, random: Random) -> Levels:
    """Dust and spots of ink [H, W], up to a thirtieth of a digit wide."""
    import cv2

    canvas = np.zeros(scene.shape, np.uint8)
    for _ in range(random.integers(4, 25)):
        at = (random.random(2) * scene.shape[::-1]).astype(int).tolist()
        axes = np.rint(random.uniform(0, max(1, 0.016 * scene.writing.letter), 2)).astype(int).tolist()
        cv2.ellipse(canvas, at, axes, random.uniform(0, 180), 0, 360, int(random.integers(90, 256)), -1)
    return to_unit_range(canvas)
