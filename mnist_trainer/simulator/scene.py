"""The data of a simulated picture: colour planes, drawn digits, and tables of noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from mnist_trainer.pictures.page import Box, bounding_box
from mnist_trainer.pictures.render import render, tight_box

Image = NDArray[np.uint8]
Levels = NDArray[np.float32]
Colour = NDArray[np.float32]
"""Red, green and blue [3, 1, 1], 0 to 255."""
Rng = np.random.Generator

LARGEST = 1000
"""Maximum number of pixels a side of simulated pictures."""

BLACK: Colour = np.zeros((3, 1, 1), np.float32)
TABLE_SIDE = 1024
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True, eq=False)
class DrawnInk:
    """Drawn ink. `ink` float32 [H, W], 0 to 1; `height` of a digit and `stroke` width in pixels."""

    ink: Levels
    height: float
    stroke: float

    @property
    def box(self) -> Box:
        """The bounding box of the ink; the central pixel if there is no ink."""
        height, width = self.ink.shape
        return bounding_box(self.ink > 0) if self.ink.any() else (width // 2, height // 2, 1, 1)


@dataclass(frozen=True, eq=False)
class DrawnDigit:
    """The box of a digit on a picture, and its ideal image uint8 [28, 28], rendered from the ink alone."""

    box: Box
    image: Image

    @classmethod
    def of(cls, ink: Levels, box: Box) -> DrawnDigit:
        """Return the digit with this ink [H, W], 0 to 1."""
        return cls(box, render(ink, tight_box(ink)))


@dataclass(eq=False)
class Scene:
    """A picture that effects change in place: `planes` float32 [3, H, W], 0 to 255, and the drawn ink."""

    planes: Levels
    drawn: DrawnInk

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.drawn.ink.shape
        return height, width


Effect = Callable[[Scene, Rng], None]
"""Changes a scene's planes in place."""


def paste(ink: Levels, patch: Image, top: int, left: int) -> None:
    """Draw coverage uint8 [h, w] onto `ink` [H, W] in place, cropped to it."""
    height, width = ink.shape
    visible = patch[max(0, -top) : max(0, height - top), max(0, -left) : max(0, width - left)]
    target = ink[max(0, top) :, max(0, left) :][: visible.shape[0], : visible.shape[1]]
    np.maximum(target, to_unit_range(visible), out=target)


def to_unit_range(levels: Image) -> Levels:
    """Return levels of 255 as 0 to 1."""
    return levels * np.float32(1 / 255)


def overlay(planes: Levels, alpha: Levels, colour: Colour) -> None:
    """Blend a colour [3, 1, 1] or [3, H, W] into `planes` [3, H, W] in place by `alpha` [H, W], 0 to 1."""
    planes += alpha * (colour - planes)


def random_colour(level: float, strength: float, rng: Rng) -> Colour:
    """Return a random colour of the brightness `level`, 0 to 255, with a tint of the standard deviation `strength`."""
    tint = rng.normal(0, strength, 3).astype(np.float32)
    colour: Colour = np.clip(level + tint - tint @ LUMA, 0, 255).astype(np.float32)
    return colour[:, None, None]


def grain(shape: tuple[int, int], rng: Rng) -> Levels:
    """Return white normal noise [H, W], a random crop of a table (ten times faster than drawing it)."""
    return _random_crop(_white_noise(), shape, rng)


def clouds(shape: tuple[int, int], rng: Rng) -> Levels:
    """Return normal noise [H, W] with the texture of paper."""
    return _random_crop(_paper_noise(), shape, rng)


def waves(shape: tuple[int, int], rng: Rng, cells: int = 3) -> Levels:
    """Return smooth normal noise [H, W], interpolated from `cells` cells along each side."""
    import cv2

    coarse = rng.standard_normal((cells + 1, cells + 1), np.float32)
    return np.asarray(cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC), np.float32)


def slope(shape: tuple[int, int], angle: float) -> Levels:
    """Return the signed distance in pixels [H, W] of each pixel from the centre, in the direction `angle` (radians)."""
    y, x = (np.arange(size, dtype=np.float32) - size / 2 for size in shape)
    distance: Levels = np.add.outer(y * np.float32(np.sin(angle)), x * np.float32(np.cos(angle)))
    return distance


def _random_crop(table: Levels, shape: tuple[int, int], rng: Rng) -> Levels:
    top, left = rng.integers(0, [TABLE_SIDE - shape[0] + 1, TABLE_SIDE - shape[1] + 1])
    rows, columns = rng.choice([-1, 1], 2)
    cropped: Levels = table[top : top + shape[0], left : left + shape[1]][::rows, ::columns]
    return cropped


@cache
def _white_noise() -> Levels:
    return np.random.default_rng(0).standard_normal((TABLE_SIDE, TABLE_SIDE), np.float32)


@cache
def _paper_noise() -> Levels:
    """Return noise at six scales with standard deviation 1, made once."""
    import cv2

    layers = [cv2.GaussianBlur(np.roll(_white_noise(), 331 * i), (0, 0), 2**i) * 2**i for i in range(6)]
    table = np.sum(layers, axis=0, dtype=np.float32)
    return np.asarray(table / table.std(), np.float32)
