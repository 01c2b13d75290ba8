"""Render ink as a picture: colours, pens, paper, light and camera.

Each effect changes a scene in place. Effects are applied in the order of `SURFACE`, `LIGHT` and `CAMERA`: those of
`SURFACE` before the ink is drawn, the others after it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.simulator.letters import printed
from mnist_trainer.simulator.scene import (
    BLACK,
    LARGEST,
    Colour,
    DrawnInk,
    Effect,
    Image,
    Levels,
    Rng,
    Scene,
    clouds,
    grain,
    overlay,
    random_colour,
    slope,
    to_unit_range,
    waves,
)


@dataclass(frozen=True)
class Pen:
    """A kind of pen. `widths`: minimum and maximum stroke width relative to a digit's height; `press`: variation of the
    width; `tooth`: visibility of the paper's grain, 0 to 1; `levels`: minimum and maximum grey level of the ink on
    white; `coloured`: probability that the ink is one of `INKS`.
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

INKS = np.array([[20, 25, 80], [35, 55, 150], [30, 80, 190], [185, 35, 40], [25, 105, 55], [110, 40, 120]], np.float32)


@dataclass(frozen=True)
class PicturePlan:
    """Specification of a picture. `medium`: d (screen), p (paper) or b (board); `pen`: a key of `PENS`."""

    medium: str
    pen: str
    effects: frozenset[str]


def render_scene(drawn: DrawnInk, plan: PicturePlan, rng: Rng) -> Image:
    """Return the picture uint8 [H, W, 3] of some ink."""
    paper, colour = _colours(plan, rng)
    planes = np.empty((3, *drawn.ink.shape), np.float32)
    planes[:] = paper
    scene = Scene(planes, drawn)
    effects = plan.effects | _usual_effects(plan, rng)
    _apply(SURFACE, scene, effects, rng)
    overlay(planes, _coverage(plan, scene, rng), colour)
    _apply(LIGHT, scene, effects, rng)
    _apply(CAMERA, scene, effects - {"fine_noise"} if "noise" in effects else effects, rng)
    return _to_picture(planes, effects, rng)


def _usual_effects(plan: PicturePlan, rng: Rng) -> frozenset[str]:
    """Return the effects common to all pictures of a medium: the grain of paper, and often a little noise and JPEG."""
    if plan.medium == "d":
        return frozenset({"fine_jpeg"} if rng.random() < 0.2 and "small28" not in plan.effects else ())
    surface = "texture" if plan.medium == "p" else "board"
    return frozenset({surface} | {name for name in ("fine_noise", "fine_jpeg") if rng.random() < 0.7})


def _colours(plan: PicturePlan, rng: Rng) -> tuple[Colour, Colour]:
    """Return the colours of paper and ink. Their brightness differs clearly unless `faint` is among the effects."""
    pen, clean = PENS[plan.pen], plan.medium == "d"
    level = 255.0 if clean and rng.random() < 0.8 else rng.uniform(*((225, 255) if clean else (165, 248)))
    paper = random_colour(level, 0 if clean and rng.random() < 0.5 else 6, rng)
    ink = random_colour(rng.uniform(*pen.levels) * level / 255, 2, rng)
    if clean and rng.random() < 0.4:
        ink = BLACK
    if "faint" in plan.effects:
        ink = random_colour(level - rng.uniform(28, 65), rng.choice([0, 15]), rng)
    elif rng.random() < pen.coloured:
        ink = rng.choice(INKS[..., None, None]) * np.float32(rng.uniform(0.8, 1.2))
    if "coloured" in plan.effects:
        level = rng.uniform(160, 235)
        paper = random_colour(level, rng.uniform(15, 40), rng)
        ink = random_colour(rng.uniform(10, level - 95), rng.uniform(15, 60), rng)
    if plan.medium == "b":
        return rng.uniform(0, 40) + 255 - paper, 255 - ink
    return (255 - paper, 255 - ink) if "light_on_dark" in plan.effects else (paper, ink)


def _coverage(plan: PicturePlan, scene: Scene, rng: Rng) -> Levels:
    """Return the coverage of the ink [H, W], 0 to 1, which is lower where a dry pen leaves gaps."""
    ink = scene.drawn.ink
    if "specks" in plan.effects:
        ink = np.maximum(ink, _specks(scene, rng))
    if "frame" in plan.effects:
        ink = np.maximum(ink, _frame(scene, rng))
    if plan.pen == "brush":
        ink = ink * _bristles(scene, rng)
    tooth = PENS[plan.pen].tooth
    if tooth and plan.medium != "d" and "faint" not in plan.effects:
        rough = 0.6 * grain(scene.shape, rng) + 0.8 * clouds(scene.shape, rng)
        ink = ink * np.clip(1 - tooth * (0.35 + 0.5 * rough), 0.15, 1)
    return ink


def _bristles(scene: Scene, rng: Rng) -> Levels:
    """Return the coverage factors of a dry brush [H, W]: streaks along the stroke, parallel to its edge."""
    import cv2

    distance = cv2.distanceTransform((scene.drawn.ink > 0.5).astype(np.uint8), cv2.DIST_L2, 3)
    deepest = max(1.0, float(distance.max()))
    streaks = rng.random(12, np.float32)[(distance * (11 / deepest)).astype(int)]
    dry = clouds(scene.shape, rng) * 0.45 + rng.uniform(0.7, 1.3)
    left: Levels = np.clip(streaks + dry, 0.1, 1)
    return left


def _frame(scene: Scene, rng: Rng) -> Levels:
    """Return the coverage [H, W] of a hand-drawn box around the digit."""
    import cv2

    x, y, width, height = scene.drawn.box
    rooms = np.array([x, y, scene.shape[1] - x - width, scene.shape[0] - y - height], float)
    margin = np.minimum(rooms * rng.uniform(0.5, 1), scene.drawn.height * rng.uniform(0.2, 0.9))
    left, top, right, bottom = x - margin[0], y - margin[1], x + width + margin[2], y + height + margin[3]
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    corners += rng.normal(0, 0.01 * scene.drawn.height * rng.integers(0, 3), corners.shape)
    canvas = np.zeros(scene.shape, np.uint8)
    thick = max(1, round(scene.drawn.height * rng.uniform(0.01, 0.06)))
    cv2.polylines(canvas, [np.rint(corners * 8).astype(np.int32)], True, 255, thick, cv2.LINE_AA, 3)
    return to_unit_range(canvas)


def _specks(scene: Scene, rng: Rng) -> Levels:
    """Return the coverage [H, W] of dust and ink spots, at most 1/30 of a digit's height wide."""
    import cv2

    canvas = np.zeros(scene.shape, np.uint8)
    for _ in range(rng.integers(4, 25)):
        at = (rng.random(2) * scene.shape[::-1]).astype(int).tolist()
        axes = np.rint(rng.uniform(0, max(1, 0.016 * scene.drawn.height), 2)).astype(int).tolist()
        cv2.ellipse(canvas, at, axes, rng.uniform(0, 180), 0, 360, int(rng.integers(90, 256)), -1)
    return to_unit_range(canvas)


def texture(scene: Scene, rng: Rng) -> None:
    """Add the fibres and blotches of paper."""
    scene.planes *= 1 + rng.uniform(0.002, 0.02) * clouds(scene.shape, rng)


def board(scene: Scene, rng: Rng) -> None:
    """Add wiped chalk, as on a blackboard."""
    wiped = clouds(scene.shape, rng) * 5 + waves(scene.shape, rng, 4) * 5
    scene.planes += rng.uniform(0.2, 1) * wiped


def ruled(scene: Scene, rng: Rng) -> None:
    """Add ruled lines, as on a writing pad."""
    spacing = scene.drawn.height * rng.uniform(0.7, 1.8)
    _rule(scene, rng, [np.pi / 2 + rng.normal(0, 0.03)], spacing)


def squared(scene: Scene, rng: Rng) -> None:
    """Add squared ruling, as in an exercise book."""
    spacing, angle = max(7.0, scene.drawn.height * rng.uniform(0.25, 1.1)), rng.normal(0, 0.03)
    _rule(scene, rng, [angle, angle + np.pi / 2], spacing)


def _rule(scene: Scene, rng: Rng, angles: list[float], spacing: float) -> None:
    """Draw ruled lines, `spacing` pixels apart, in each of the directions `angles`."""
    width = max(0.7, min(spacing * rng.uniform(0.015, 0.05), scene.drawn.stroke * rng.uniform(0.3, 0.8)))
    level = float(scene.planes.mean()) * rng.uniform(0.6, 0.88)
    colour, strength = random_colour(level, rng.choice([0, 12, 35]), rng), rng.uniform(0.5, 1)
    for angle in angles:
        offset = (slope(scene.shape, angle) + rng.uniform(0, spacing)) % spacing
        near = np.minimum(offset, spacing - offset)
        overlay(scene.planes, strength * np.clip(width / 2 + 0.5 - near, 0, min(1, width)), colour)


def checkerboard(scene: Scene, rng: Rng) -> None:
    """Draw the checkerboard that drawing programs show for transparency."""
    cell, grey = rng.integers(4, 17), rng.integers(190, 246)
    rows, columns = (np.arange(size) // cell for size in scene.shape)
    dark = (np.add.outer(rows, columns) % 2).astype(np.float32)
    scene.planes[:] = 255 - dark * (255 - np.float32(grey))


def show_through(scene: Scene, rng: Rng) -> None:
    """Add print that shows through from the other side of the sheet, mirrored and faint."""
    import cv2

    height, width = scene.shape
    page = printed(LARGEST)
    zoom = scene.drawn.height / 60 * rng.uniform(0.5, 1.5)
    size = [min(LARGEST, max(8, int(side / zoom))) for side in (width, height)]
    left, top = (int(rng.integers(0, len(page) - side + 1)) for side in size)
    part = cv2.resize(page[top : top + size[1], left : left + size[0]][:, ::-1], (width, height))
    part = cv2.GaussianBlur(part, (0, 0), max(0.6, zoom))
    scene.planes *= 1 - part * np.float32(rng.uniform(0.06, 0.2) / 255)


def shadow(scene: Scene, rng: Rng) -> None:
    """Add light from one side and a soft shadow."""
    falling = slope(scene.shape, rng.uniform(0, 2 * np.pi)) / max(scene.shape)
    light = 1 - falling * rng.uniform(0.2, 1.1) - 0.12 * waves(scene.shape, rng, 2)
    scene.planes *= np.maximum(light, 0.25) / max(1.0, float(light.max()))


def hard_shadow(scene: Scene, rng: Rng) -> None:
    """Add a shadow with a visible edge, as of a hand or a phone."""
    bent = waves(scene.shape, rng, 3) * rng.uniform(0, 0.08) * max(scene.shape)
    across = rng.uniform(-0.35, 0.35) * min(scene.shape)
    soft = max(1.0, min(scene.shape) * rng.uniform(0.004, 0.04))
    edge = slope(scene.shape, rng.uniform(0, 2 * np.pi)) + bent + across
    scene.planes *= 1 - rng.uniform(0.25, 0.6) * np.clip(edge / soft + 0.5, 0, 1)


def vignette(scene: Scene, rng: Rng) -> None:
    """Darken the corners."""
    y, x = (np.linspace(-1, 1, size, dtype=np.float32) - rng.normal(0, 0.15) for size in scene.shape)
    scene.planes *= np.maximum(1 - rng.uniform(0.25, 0.45) * np.add.outer(y * y, x * x), 0.15).astype(np.float32)


def crease(scene: Scene, rng: Rng) -> None:
    """Add one to five folds, each with a bright and a dark side and a change of brightness across it."""
    for _ in range(rng.integers(1, 6)):
        bent = waves(scene.shape, rng, 2) * rng.uniform(0, 0.03) * max(scene.shape)
        bent += rng.uniform(-0.45, 0.45) * min(scene.shape)
        from_fold = slope(scene.shape, rng.uniform(0, 2 * np.pi)) + bent
        side = from_fold / max(1.0, min(scene.shape) * rng.uniform(0.004, 0.02))
        ridge = side * np.exp(-np.minimum(side * side / 2, 20)) * rng.uniform(0.05, 0.25)
        scene.planes *= 1 + ridge - rng.uniform(0, 0.1) * np.clip(side, 0, 1)


def table_edge(scene: Scene, rng: Rng) -> None:
    """Show a table beyond one to three edges of the sheet."""
    level = rng.uniform(10, 90) if rng.random() < 0.8 else rng.uniform(90, 160)
    colour, wood = random_colour(level, 14, rng), clouds(scene.shape, rng)
    for side in rng.permutation(4)[: rng.integers(1, 4)].tolist():
        room = float(_rooms(scene)[side])
        limit = min(0.12, 0.5 * room / max(scene.shape))
        beyond = slope(scene.shape, side * np.pi / 2 + rng.uniform(-limit, limit)) - scene.shape[1 - side % 2] / 2
        beyond += room * 0.8 * rng.uniform(0.25, 0.9)
        shade = np.exp(np.minimum(beyond, 0) / np.float32(0.02 * max(scene.shape)))
        overlay(scene.planes, shade * np.float32(rng.uniform(0, 0.4)), BLACK)
        overlay(scene.planes, np.clip(beyond, 0, 1), colour)
        scene.planes += np.clip(beyond, 0, 1) * wood * np.float32(level * 0.06)


def _rooms(scene: Scene) -> NDArray[np.intp]:
    """Return the distances in pixels from the ink to the right, bottom, left and top border."""
    height, width = scene.shape
    x, y, w, h = scene.drawn.box
    return np.array([width - x - w, height - y - h, x, y])


def finger(scene: Scene, rng: Rng) -> None:
    """Add a finger that holds the sheet on the side with the most space."""
    rooms = _rooms(scene)
    side, room = int(rooms.argmax()), float(rooms.max())
    thick = float(np.clip(room * 0.7, 3, 0.25 * min(scene.shape)))
    inwards = -slope(scene.shape, side * np.pi / 2) + scene.shape[1 - side % 2] / 2
    across = slope(scene.shape, side * np.pi / 2 + np.pi / 2) + rng.uniform(-0.35, 0.35) * scene.shape[side % 2]
    across += rng.normal(0, 0.25) * inwards
    tip = room * rng.uniform(0.6, 0.9) - thick / 2
    inside = thick / 2 - np.hypot(across, np.maximum(0, inwards - tip))
    skin = np.array([[224, 172, 140], [198, 134, 100], [150, 95, 70], [95, 60, 45]], np.float32)[rng.integers(4)]
    bright = float(np.median(scene.planes[1, ::4, ::4])) / 235
    overlay(scene.planes, np.clip(inside / thick + 0.15, 0, 0.15) * 2.5, BLACK)
    rounded = bright * (0.5 + 0.5 * np.sqrt(np.clip(inside / thick * 2, 0, 1)))
    overlay(scene.planes, np.clip(inside / max(1, thick / 30), 0, 1), skin[:, None, None] * rounded)


def blur(scene: Scene, rng: Rng) -> None:
    """Blur the picture by about the stroke width, so that the digit stays legible."""
    import cv2

    sigma = max(0.8, min(scene.drawn.stroke * rng.uniform(0.4, 1), 0.07 * scene.drawn.height))
    for plane in scene.planes:
        cv2.GaussianBlur(plane, (0, 0), sigma, dst=plane)


def scan(scene: Scene, rng: Rng) -> None:
    """Increase the contrast like a scanner app: paper becomes white, ink nearly black."""
    white = float(np.median(scene.planes[:, ::4, ::4])) * rng.uniform(0.85, 0.95)
    black = white * rng.uniform(0.2, 0.8)
    scene.planes[:] = (scene.planes - black) * (255 / (white - black))


def noise(scene: Scene, rng: Rng) -> None:
    """Add the noise of a small sensor, sometimes with black and white pixels."""
    strength = rng.uniform(6, 22)
    scene.planes += grain(scene.shape, rng) * strength
    scene.planes += np.stack([grain(scene.shape, rng) for _ in range(3)]) * (strength * 0.4)
    if rng.random() < 0.25:
        hit = grain(scene.shape, rng)
        scene.planes[:, hit > 2.4] = 255
        scene.planes[:, hit < -2.4] = 0


def fine_noise(scene: Scene, rng: Rng) -> None:
    """Add the slight noise of a good sensor."""
    scene.planes += grain(scene.shape, rng) * rng.uniform(0.5, 3)


SURFACE: dict[str, Effect] = {
    effect.__name__: effect for effect in (checkerboard, texture, board, show_through, ruled, squared)
}
LIGHT: dict[str, Effect] = {
    effect.__name__: effect for effect in (crease, table_edge, finger, shadow, hard_shadow, vignette)
}
CAMERA: dict[str, Effect] = {effect.__name__: effect for effect in (blur, scan, noise, fine_noise)}


def _apply(table: dict[str, Effect], scene: Scene, names: frozenset[str], rng: Rng) -> None:
    """Apply the effects of a table that are among `names`."""
    for name, effect in table.items():
        if name in names:
            effect(scene, rng)


def _to_picture(planes: Levels, names: frozenset[str], rng: Rng) -> Image:
    """Return the picture uint8 [H, W, 3] of planes [3, H, W], compressed if a JPEG effect is among `names`."""
    picture = np.ascontiguousarray(np.clip(planes + 0.5, 0, 255).astype(np.uint8).transpose(1, 2, 0))
    if "jpeg" in names:
        return jpeg_compress(picture, int(rng.integers(8, 31)))
    return jpeg_compress(picture, int(rng.integers(60, 97))) if "fine_jpeg" in names else picture


def jpeg_compress(picture: Image, quality: int) -> Image:
    """Return `picture` [H, W, 3] after JPEG compression of that quality, 1 to 100."""
    import cv2

    _, file = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.ascontiguousarray(np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR), np.uint8)[..., ::-1])
