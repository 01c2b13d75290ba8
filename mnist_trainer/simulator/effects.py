"""What is on paper and boards besides the ink, and the light that falls on them.

What a camera and a file format make of a scene.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.simulator.letters import printed
from mnist_trainer.simulator.scene import (
    BLACK,
    LARGEST,
    Effect,
    Image,
    Levels,
    Random,
    Scene,
    clouds,
    grain,
    overlay,
    random_colour,
    slope,
    waves,
)


def texture(scene: Scene, random: Random) -> None:
    """Paper is not even: fibres, and blotches on some."""
    scene.planes *= 1 + random.uniform(0.002, 0.02) * clouds(scene.shape, random)


def board(scene: Scene, random: Random) -> None:
    """Wiped chalk on a blackboard."""
    wiped = clouds(scene.shape, random) * 5 + waves(scene.shape, random, 4) * 5
    scene.planes += random.uniform(0.2, 1) * wiped


def ruled(scene: Scene, random: Random) -> None:
    """The lines of a writing pad."""
    spacing = scene.writing.letter * random.uniform(0.7, 1.8)
    _rule(scene, random, [np.pi / 2 + random.normal(0, 0.03)], spacing)


def squared(scene: Scene, random: Random) -> None:
    """The squares of an arithmetic book."""
    spacing, angle = max(7.0, scene.writing.letter * random.uniform(0.25, 1.1)), random.normal(0, 0.03)
    _rule(scene, random, [angle, angle + np.pi / 2], spacing)


def _rule(scene: Scene, random: Random, angles: list[float], spacing: float) -> None:
    width = max(0.7, min(spacing * random.uniform(0.015, 0.05), scene.writing.stroke * random.uniform(0.3, 0.8)))
    level = float(scene.planes.mean()) * random.uniform(0.6, 0.88)
    colour, strength = random_colour(level, random.choice([0, 12, 35]), random), random.uniform(0.5, 1)
    for angle in angles:
        offset = (slope(scene.shape, angle) + random.uniform(0, spacing)) % spacing
        near = np.minimum(offset, spacing - offset)
        overlay(scene.planes, strength * np.clip(width / 2 + 0.5 - near, 0, min(1, width)), colour)


def checkerboard(scene: Scene, random: Random) -> None:
    """The grey and white squares that stand for transparency, saved with the picture."""
    cell, grey = random.integers(4, 17), random.integers(190, 246)
    rows, columns = (np.arange(size) // cell for size in scene.shape)
    dark = (np.add.outer(rows, columns) % 2).astype(np.float32)
    scene.planes[:] = 255 - dark * (255 - np.float32(grey))


def show_through(scene: Scene, random: Random) -> None:
    """Print on the other side of the sheet, mirrored and faint."""
    import cv2

    height, width = scene.shape
    page = printed(LARGEST)
    zoom = scene.writing.letter / 60 * random.uniform(0.5, 1.5)
    size = [min(LARGEST, max(8, int(side / zoom))) for side in (width, height)]
    left, top = (int(random.integers(0, len(page) - side + 1)) for side in size)
    part = cv2.resize(page[top : top + size[1], left : left + size[0]][:, ::-1], (width, height))
    part = cv2.GaussianBlur(part, (0, 0), max(0.6, zoom))
    scene.planes *= 1 - part * np.float32(random.uniform(0.06, 0.2) / 255)


def shadow(scene: Scene, random: Random) -> None:
    """Light that falls from one side, and the soft shade of whoever takes the picture."""
    falling = slope(scene.shape, random.uniform(0, 2 * np.pi)) / max(scene.shape)
    light = 1 - falling * random.uniform(0.2, 1.1) - 0.12 * waves(scene.shape, random, 2)
    scene.planes *= np.maximum(light, 0.25) / max(1.0, float(light.max()))


def hard_shadow(scene: Scene, random: Random) -> None:
    """The shade of a hand or a telephone with an edge that one sees."""
    bent = waves(scene.shape, random, 3) * random.uniform(0, 0.08) * max(scene.shape)
    across = random.uniform(-0.35, 0.35) * min(scene.shape)
    soft = max(1.0, min(scene.shape) * random.uniform(0.004, 0.04))
    edge = slope(scene.shape, random.uniform(0, 2 * np.pi)) + bent + across
    scene.planes *= 1 - random.uniform(0.25, 0.6) * np.clip(edge / soft + 0.5, 0, 1)


def vignette(scene: Scene, random: Random) -> None:
    """Corners darker than the middle."""
    y, x = (np.linspace(-1, 1, size, dtype=np.float32) - random.normal(0, 0.15) for size in scene.shape)
    scene.planes *= np.maximum(1 - random.uniform(0.25, 0.45) * np.add.outer(y * y, x * x), 0.15).astype(np.float32)


def crease(scene: Scene, random: Random) -> None:
    """One to five folds: a bright and a dark side, and sheets that lie differently in the light."""
    for _ in range(random.integers(1, 6)):
        bent = waves(scene.shape, random, 2) * random.uniform(0, 0.03) * max(scene.shape)
        bent += random.uniform(-0.45, 0.45) * min(scene.shape)
        from_fold = slope(scene.shape, random.uniform(0, 2 * np.pi)) + bent
        soft = max(1.0, min(scene.shape) * random.uniform(0.004, 0.02))
        side = from_fold / soft
        ridge = side * np.exp(-np.minimum(side * side / 2, 20)) * random.uniform(0.05, 0.25)
        scene.planes *= 1 + ridge - random.uniform(0, 0.1) * np.clip(side, 0, 1)


def table_edge(scene: Scene, random: Random) -> None:
    """A table in view beyond one to three edges of the sheet."""
    level = random.uniform(10, 90) if random.random() < 0.8 else random.uniform(90, 160)
    colour, wood = random_colour(level, 14, random), clouds(scene.shape, random)
    for side in random.permutation(4)[: random.integers(1, 4)]:
        beyond, room = _beyond(scene, int(side), random)
        beyond += room * random.uniform(0.25, 0.9)
        shade = np.exp(np.minimum(beyond, 0) / np.float32(0.02 * max(scene.shape)))
        overlay(scene.planes, shade * np.float32(random.uniform(0, 0.4)), BLACK)
        overlay(scene.planes, np.clip(beyond, 0, 1), colour)
        scene.planes += np.clip(beyond, 0, 1) * wood * np.float32(level * 0.06)


def _beyond(scene: Scene, side: int, random: Random) -> tuple[Levels, float]:
    """Pixels [H, W] beyond the border on `side`, and the room there is up to the writing."""
    room = float(_rooms(scene)[side])
    limit = min(0.12, 0.5 * room / max(scene.shape))
    outwards = slope(scene.shape, side * np.pi / 2 + random.uniform(-limit, limit))
    return outwards - scene.shape[1 - side % 2] / 2, room * 0.8


def _rooms(scene: Scene) -> NDArray[np.intp]:
    """Pixels between the writing and the border at the right, the bottom, the left and the top."""
    height, width = scene.shape
    x, y, w, h = scene.writing.box
    return np.array([width - x - w, height - y - h, x, y])


def finger(scene: Scene, random: Random) -> None:
    """A finger or thumb that holds the sheet where there is most room."""
    rooms = _rooms(scene)
    side, room = int(rooms.argmax()), float(rooms.max())
    thick = float(np.clip(room * 0.7, 3, 0.25 * min(scene.shape)))
    inwards = -slope(scene.shape, side * np.pi / 2) + scene.shape[1 - side % 2] / 2
    across = slope(scene.shape, side * np.pi / 2 + np.pi / 2) + random.uniform(-0.35, 0.35) * scene.shape[side % 2]
    across += random.normal(0, 0.25) * inwards
    tip = room * random.uniform(0.6, 0.9) - thick / 2
    inside = thick / 2 - np.hypot(across, np.maximum(0, inwards - tip))
    skin = np.array([[224, 172, 140], [198, 134, 100], [150, 95, 70], [95, 60, 45]], np.float32)[random.integers(4)]
    bright = float(np.median(scene.planes[1, ::4, ::4])) / 235
    overlay(scene.planes, np.clip(inside / thick + 0.15, 0, 0.15) * 2.5, BLACK)
    rounded = bright * (0.5 + 0.5 * np.sqrt(np.clip(inside / thick * 2, 0, 1)))
    alpha = np.clip(inside / max(1, thick / 30), 0, 1)
    overlay(scene.planes, alpha, skin[:, None, None] * rounded)


SURFACE_EFFECTS: dict[str, Effect] = {
    "checkerboard": checkerboard,
    "texture": texture,
    "board": board,
    "show_through": show_through,
    "ruled": ruled,
    "squared": squared,
}
"""What lies below the ink, in this order."""

LIGHT_EFFECTS: dict[str, Effect] = {
    "crease": crease,
    "table_edge": table_edge,
    "finger": finger,
    "shadow": shadow,
    "hard_shadow": hard_shadow,
    "vignette": vignette,
}
"""What lies above it, in this order."""


def apply_camera(scene: Scene, effects: frozenset[str], random: Random) -> Image:
    """The picture uint8 [H, W, 3] of a scene, with what the effects name of this file's."""
    if "blur" in effects:
        blur(scene, random)
    if "scan" in effects:
        scan(scene, random)
    if "noise" in effects:
        noise(scene, random)
    elif "fine_noise" in effects:
        scene.planes += grain(scene.shape, random) * random.uniform(0.5, 3)
    picture = np.ascontiguousarray(np.clip(scene.planes + 0.5, 0, 255).astype(np.uint8).transpose(1, 2, 0))
    if "jpeg" in effects:
        return compressed(picture, int(random.integers(8, 31)))
    return compressed(picture, int(random.integers(60, 97))) if "fine_jpeg" in effects else picture


def blur(scene: Scene, random: Random) -> None:
    """Out of focus, about as far as the pen is wide, so that the digit can still be read."""
    import cv2

    reach = max(0.8, min(scene.writing.stroke * random.uniform(0.4, 1), 0.07 * scene.writing.letter))
    for plane in scene.planes:
        cv2.GaussianBlur(plane, (0, 0), reach, dst=plane)


def scan(scene: Scene, random: Random) -> None:
    """A scanner's program: paper becomes white, and what is darker becomes nearly black."""
    white = float(np.median(scene.planes[:, ::4, ::4])) * random.uniform(0.85, 0.95)
    black = white * random.uniform(0.2, 0.8)
    scene.planes[:] = (scene.planes - black) * (255 / (white - black))


def noise(scene: Scene, random: Random) -> None:
    """A small sensor in the dark; or pixels that are black or white."""
    strength = random.uniform(6, 22)
    scene.planes += grain(scene.shape, random) * strength
    scene.planes += np.stack([grain(scene.shape, random) for _ in range(3)]) * (strength * 0.4)
    if random.random() < 0.25:
        hit = grain(scene.shape, random)
        scene.planes[:, hit > 2.4] = 255
        scene.planes[:, hit < -2.4] = 0


def compressed(picture: Image, quality: int) -> Image:
    """`picture` [H, W, 3] after JPEG of that quality, 1 to 100."""
    import cv2

    _, file = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.ascontiguousarray(np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR), np.uint8)[..., ::-1])
