"""What a camera and a file format make of a scene."""

from __future__ import annotations

import numpy as np

from mnist_trainer.pictures.simulator.scene import Image, Random, Scene, grain


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
